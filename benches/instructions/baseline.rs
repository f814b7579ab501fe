//! The committed counts, and how others compare with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::support::{Outcome, during};

/// Growth, or shrinking, by more than this share is news.
const TOLERANCE: f64 = 0.05;
/// And by at least so many instructions: the loop around a case of a few dozen is not the case.
const TOLERANCE_MIN: f64 = 3.0;

/// Built in half the time of the one that is shipped; what it leaves out it leaves out of both sides of a comparison.
const PROFILE: &str = "counts";
const SAVE: &str = "cargo bench --profile counts --bench instructions -- --save";

/// What `baseline.json` holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Baseline {
    /// As `rustc -V` says it: another compiler makes other instructions.
    rustc: String,
    /// So does another instruction set.
    arch: String,
    /// And another profile.
    profile: String,
    /// Instructions by case.
    counts: BTreeMap<String, f64>,
}

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Held,
    Regressed,
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/baseline.json")
}

/// The compiler that cargo uses here.
fn rustc() -> Outcome<String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = during("asking rustc for its version", Command::new(program).arg("-V").output())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The profile that this program was built with: cargo names the directory after it.
fn profile() -> Outcome<String> {
    let own = during("finding the benchmark's binary", std::env::current_exe())?;
    let name = own.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}

/// Only counts of the baseline's own profile can be held against it, or take its place.
pub(crate) fn require_profile() -> Outcome<()> {
    match profile()? {
        right if right == PROFILE => Ok(()),
        other => Err(format!(
            "built with profile {other}; the baseline is of another: cargo bench --profile {PROFILE} --bench instructions"
        )),
    }
}

/// Makes these counts the baseline.
pub(crate) fn save(counted: &[(&str, f64)]) -> Outcome<()> {
    let counts = counted.iter().map(|(name, count)| ((*name).to_owned(), count.round())).collect();
    let arch = std::env::consts::ARCH.to_owned();
    let baseline = Baseline { rustc: rustc()?, arch, profile: profile()?, counts };
    let text = during("writing the baseline", serde_json::to_string_pretty(&baseline))?;
    during("writing the baseline", std::fs::write(file(), text + "\n"))?;
    for (name, count) in counted {
        println!("{name:<40} {count:>12.0}");
    }
    println!("\nsaved as the baseline of {}: {}", baseline.rustc, file().display());
    Ok(())
}

impl Baseline {
    pub(crate) fn read() -> Outcome<Self> {
        let text = during("reading the baseline", std::fs::read(file()))?;
        during("the baseline", serde_json::from_slice(&text))
    }

    /// Prints a table and what it means. Only counts of the same compiler and instruction set can regress.
    pub(crate) fn compare(&self, counted: &[(&str, f64)]) -> Outcome<Verdict> {
        let (rustc, profile) = (rustc()?, profile()?);
        println!("instructions per operation; baseline: {}, {}, {}\n", self.rustc, self.arch, self.profile);
        println!("{:<40} {:>12} {:>12} {:>9}", "case", "before", "now", "change");
        let (mut more, mut less) = (Vec::new(), Vec::new());
        for (name, now) in counted {
            let change = self.counts.get(*name).map(|before| Change { before: *before, now: *now });
            let shown = change.map_or_else(
                || format!("{:>12} {now:>12.0} {:>9}", "-", "new"),
                |Change { before, now }| {
                    format!("{before:>12.0} {now:>12.0} {:>+8.1}%", (now / before.max(1.0) - 1.0) * 100.0)
                },
            );
            let news = change.and_then(Change::news);
            let mark = match news {
                Some(News::More) => "  MORE",
                Some(News::Less) => "  less",
                None => "",
            };
            println!("{name:<40} {shown}{mark}");
            match news {
                Some(News::More) => more.push(*name),
                Some(News::Less) => less.push(*name),
                None => {}
            }
        }
        let now = format!("{rustc}, {}, {profile}", std::env::consts::ARCH);
        let before = format!("{}, {}, {}", self.rustc, self.arch, self.profile);
        Ok(conclude(&more, &less, (now != before).then_some(&*now)))
    }
}

/// The closing lines. `other` is a build that is not the baseline's.
fn conclude(more: &[&str], less: &[&str], other: Option<&str>) -> Verdict {
    println!();
    if let Some(build) = other {
        println!("only reported, not judged: this is {build}");
        return Verdict::Held;
    }
    if !less.is_empty() {
        println!("less by over 5 %: {}; make it the baseline: {SAVE}", less.join(", "));
    }
    if more.is_empty() {
        println!("no case takes over 5 % more instructions than the baseline");
        return Verdict::Held;
    }
    println!("REGRESSION, over 5 % more instructions: {}", more.join(", "));
    println!("mend it, or give the reason in the commit that makes it the baseline: {SAVE}");
    Verdict::Regressed
}

/// A case that the baseline has.
#[derive(Debug, Clone, Copy)]
struct Change {
    before: f64,
    now: f64,
}

/// A change that matters.
#[derive(Debug, Clone, Copy)]
enum News {
    More,
    Less,
}

impl Change {
    fn news(self) -> Option<News> {
        let by = self.now - self.before;
        let matters = by.abs() > (self.before * TOLERANCE).max(TOLERANCE_MIN);
        matters.then_some(if by > 0.0 { News::More } else { News::Less })
    }
}
