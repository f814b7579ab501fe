//! What a profile is made of: numbers and times that cannot be out of range, read from flags and from YAML alike.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A percentage, from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Percent(f64);

impl Percent {
    /// As a part of 1.
    pub(crate) fn part(self) -> f64 {
        self.0 / 100.0
    }
}

/// Requests per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate(pub(crate) f64);

/// How far a log-normal distribution is spread: the standard deviation of its logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread(pub(crate) f64);

/// A number of things, from 1 to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count<const MAX: u32>(pub(crate) u32);

/// A time, with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) Duration);

impl Time {
    /// In milliseconds.
    pub(crate) fn ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Something that is written as a number.
trait Number: Sized {
    /// What is to be written.
    const WANTED: &'static str;

    fn of(number: f64) -> Option<Self>;
}

impl Number for Percent {
    const WANTED: &'static str = "a percentage from 0 to 100, without its sign";

    fn of(number: f64) -> Option<Self> {
        (0.0..=100.0).contains(&number).then_some(Self(number))
    }
}

impl Number for Rate {
    const WANTED: &'static str = "requests per second, from 0 to 1000000";

    fn of(number: f64) -> Option<Self> {
        (0.0..=1e6).contains(&number).then_some(Self(number))
    }
}

impl Number for Spread {
    const WANTED: &'static str = "a spread from 0 (all alike) to 5; 0.5 is usual";

    fn of(number: f64) -> Option<Self> {
        (0.0..=5.0).contains(&number).then_some(Self(number))
    }
}

impl<const MAX: u32> Number for Count<MAX> {
    const WANTED: &'static str = "a whole number from 1 on";

    fn of(number: f64) -> Option<Self> {
        ((1.0..=f64::from(MAX)).contains(&number) && number.fract() == 0.0).then_some(Self(number as u32))
    }
}

/// Says what is wrong and what is to be written instead.
fn number<T: Number>(number: f64) -> Result<T, String> {
    T::of(number).ok_or_else(|| format!("{number} is out of range: write {}", T::WANTED))
}

fn number_in<T: Number>(text: &str) -> Result<T, String> {
    number(text.parse().map_err(|_| format!("`{text}` is no number: write {}", T::WANTED))?)
}

struct NumberVisitor<T>(PhantomData<T>);

impl<T: Number> Visitor<'_> for NumberVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WANTED)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        number(value).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.visit_f64(value as f64)
    }
}

fn deserialize_number<'de, T: Number, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(NumberVisitor(PhantomData))
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        number_in(text)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        number_in(text)
    }
}

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        number_in(text)
    }
}

impl<const MAX: u32> FromStr for Count<MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        number_in(text).map_err(|why| format!("{why}, at most {MAX}"))
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_number(deserializer)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_number(deserializer)
    }
}

impl<'de> Deserialize<'de> for Spread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_number(deserializer)
    }
}

impl<'de, const MAX: u32> Deserialize<'de> for Count<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_number(deserializer)
    }
}

const TIME: &str = "a time with its unit, as in `90s`, `10m` or `1h 30m`";

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map(Self).map_err(|_| format!("`{text}` is no time: write {TIME}"))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;

        impl Visitor<'_> for TimeVisitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(TIME)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(TimeVisitor)
    }
}
