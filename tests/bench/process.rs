//! What a process has used, by Linux' own count.

use std::fs;

use anyhow::{Context, Result};

/// CPU seconds and memory of a process so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu_seconds: f64,
    /// Resident memory now.
    pub(crate) rss_mib: f64,
    /// The most that was resident since it started.
    pub(crate) peak_rss_mib: f64,
}

/// Clock ticks a second: `USER_HZ`, which Linux fixes for every architecture that Rust runs on.
const TICKS: f64 = 100.0;

/// Two numbers of ticks in `/proc/PID/stat`, the first `at` behind the name, in seconds.
fn cpu_seconds(pid: &str, at: usize) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    // The name may hold anything, but not a `)` behind the last one.
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| -> Result<f64> { Ok(fields.get(n).context("stat")?.parse()?) };
    Ok((ticks(at)? + ticks(at + 1)?) / TICKS)
}

/// CPU seconds of all processes that this one has started and seen end.
pub(crate) fn children_cpu() -> Result<f64> {
    cpu_seconds("self", 13)
}

/// Reads `/proc/PID`.
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let cpu_seconds = cpu_seconds(&pid.to_string(), 11)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |key: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).context("status")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    };
    Ok(Usage { cpu_seconds, rss_mib: mib("VmRSS:")?, peak_rss_mib: mib("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let before = usage(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while usage(std::process::id()).unwrap().cpu_seconds < before.cpu_seconds + 0.05 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(before.rss_mib > 0.5 && before.peak_rss_mib >= before.rss_mib * 0.9, "{before:?}");
    }
}
