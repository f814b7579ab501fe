//! Shares of traffic (percentages with decimals) and amounts of pods (a number or a percentage).

use crate::fields::{At, quoted};
use crate::model::{Amount, Share};
use crate::yaml::Value;

/// The value as a percentage from 0 to 100 with at most four decimals: a millionth is the smallest share there is.
pub(super) fn share(at: &At<'_>) -> Option<Share> {
    let percent = at.number()?;
    if !(0.0..=100.0).contains(&percent) {
        at.error(format!("{} is out of range", at.found()), "write a percentage from 0 to 100");
        return None;
    }
    let millionths = percent * 10_000.0;
    let whole = millionths.round();
    // Decimal fractions have no exact binary form; what they are off by is far below this.
    if (millionths - whole).abs() > 1e-6 {
        let help = match whole as u32 {
            0 => "the smallest share is 0.0001".to_owned(),
            millionths => format!("round it: {}", Share::from_millionths(millionths)),
        };
        at.error(format!("{} has more than four decimals", at.found()), help);
        return None;
    }
    Some(Share::from_millionths(whole as u32))
}

/// The value as a number of pods, or a percentage of them.
pub(super) fn amount(at: &At<'_>) -> Option<Amount> {
    let Value::String(text) = &at.node.value else {
        return at.integer(0, i64::from(i32::MAX)).map(|count| Amount::Count(count as u32));
    };
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<u32>().ok());
    if percent.is_none() {
        let help = match text.parse::<u32>() {
            Ok(number) => format!("write {number} without quotes, or \"{number}%\" for a percentage"),
            Err(_) => "write a number of pods such as 1, or a percentage such as 25%".to_owned(),
        };
        at.error(format!("{} is neither a number nor a percentage", quoted(text)), help);
    } else if percent > Some(100) {
        at.error(format!("{text} is out of range"), "write a percentage from 0% to 100%");
    }
    percent.filter(|percent| *percent <= 100).map(Amount::Percent)
}
