//! Where a result comes from: the program's source, the machine, the time.

use serde::{Deserialize, Serialize};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// State of the source's folder when something was made from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// The commit.
    pub commit: String,
    /// Whether tracked files differ from it, or the program is older than it: what ran may then have been built from something else.
    pub dirty: bool,
}

impl Checkout {
    /// The commit, marked if the program may have been built from something else.
    pub fn revision(&self) -> String {
        format!("{}{}", self.commit, if self.dirty { "-dirty" } else { "" })
    }
}

/// The checkout that the program was compiled in, if it is still there.
pub fn checkout() -> Option<Checkout> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // An unpacked archive inside somebody else's repository is not that repository.
    let top = std::fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()?;
    if top != std::fs::canonicalize(folder).ok()? {
        return None;
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let committed = git(&["show", "--no-patch", "--format=%ct", "HEAD"])?.parse().ok()?;
    let built = std::env::current_exe().and_then(|program| program.metadata()?.modified());
    // Times of commits are whole seconds.
    let older = built.map_or(true, |built| seconds(built) < committed);
    Some(Checkout { commit, dirty: older || !changes.is_empty() })
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Instruction sets that the processor offers and the arithmetic may use.
#[cfg(target_arch = "x86_64")]
pub fn instruction_set() -> Vec<&'static str> {
    let mut sets = vec!["sse2"];
    if is_x86_feature_detected!("avx2") {
        sets.push("avx2");
    }
    if is_x86_feature_detected!("fma") {
        sets.push("fma");
    }
    if is_x86_feature_detected!("avx512f") {
        sets.push("avx512f");
    }
    // The screen in 16-bit integers.
    if is_x86_feature_detected!("avx512vnni") {
        sets.push("avx512vnni");
    }
    sets
}

/// Instruction sets that the processor offers and the arithmetic may use.
#[cfg(not(target_arch = "x86_64"))]
pub fn instruction_set() -> Vec<&'static str> {
    Vec::new()
}

/// Processor architecture and operating system that the program was compiled for.
pub fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

/// The name of the processor, where the system tells it.
pub fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'))?.1.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// A time as date and time in coordinated universal time (RFC 3339).
pub fn utc(time: SystemTime) -> String {
    calendar(seconds(time))
}

/// Seconds since 1970 as date and time (the civil calendar of Hinnant 2013).
fn calendar(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days from 1 March of the year 0, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (date, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_built_from_something_else_is_marked() {
        let of = |dirty| Checkout { commit: "98472c2".into(), dirty }.revision();
        assert_eq!((of(false), of(true)), ("98472c2".into(), "98472c2-dirty".into()));
    }

    #[test]
    fn dates_follow_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(calendar(seconds), text);
        }
    }
}
