//! What processes and the machine have used so far, from `/proc`.

use serde::{Deserialize, Serialize};
use std::fs;
use std::ops::Sub;

/// Used since some time long past.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Seconds on processors.
    pub(crate) cpu_seconds: f64,
    /// Bytes that were caused to be sent to the disk.
    pub(crate) written_bytes: u64,
}

impl Sub for Used {
    type Output = Used;

    fn sub(self, before: Used) -> Used {
        Used {
            cpu_seconds: (self.cpu_seconds - before.cpu_seconds).max(0.0),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
        }
    }
}

/// Processes that are watched.
#[derive(Clone, Debug)]
pub(crate) struct Processes(pub(crate) Vec<u32>);

impl Processes {
    /// What all of them have used together.
    ///
    /// # Errors
    /// In words, which cannot be read.
    pub(crate) fn used(&self) -> Result<Used, String> {
        let mut used = Used::default();
        for pid in &self.0 {
            let stat = read(*pid, "stat")?;
            let io = read(*pid, "io")?;
            let ticks = cpu_ticks(&stat).ok_or_else(|| format!("/proc/{pid}/stat is odd"))?;
            used.cpu_seconds += ticks as f64 / ticks_per_second();
            used.written_bytes += field(&io, "write_bytes:").unwrap_or(0);
        }
        Ok(used)
    }

    /// Mebibytes that each holds in memory now.
    pub(crate) fn resident_mib(&self) -> Result<Vec<f64>, String> {
        let one = |pid: &u32| {
            let status = read(*pid, "status")?;
            Ok(field(&status, "VmRSS:").unwrap_or(0) as f64 / 1024.0)
        };
        self.0.iter().map(one).collect()
    }
}

fn read(pid: u32, name: &str) -> Result<String, String> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).map_err(|error| {
        format!("{path}: {error}; --pids takes processes of this machine that you may look at")
    })
}

/// Seconds that this process has been on processors.
pub(crate) fn own_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    cpu_ticks(&stat).unwrap_or(0) as f64 / ticks_per_second()
}

/// Seconds that all processors together have not been idle, and that the machine's host has kept them.
pub(crate) fn machine_seconds() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0) as f64 / ticks_per_second();
    (at(0) + at(1) + at(2) + at(5) + at(6), at(7))
}

/// User and system time in the text of a `stat` file; the name, in brackets, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// The machine that requests are made on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Host {
    /// Processors that this program may use.
    pub(crate) cores: u64,
    pub(crate) processor: String,
    pub(crate) system: String,
    pub(crate) memory_mib: u64,
    /// Processes that were runnable, on average of the minute before.
    pub(crate) load_before: f64,
}

impl Host {
    pub(crate) fn this() -> Host {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpus = text("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.and_then(|rest| rest.split_once(':')).map(|(_, name)| name.trim());
        let load = text("/proc/loadavg");
        Host {
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            processor: model.unwrap_or(std::env::consts::ARCH).to_string(),
            system: format!("Linux {}", text("/proc/sys/kernel/osrelease").trim()),
            memory_mib: field(&text("/proc/meminfo"), "MemTotal:").unwrap_or(0) / 1024,
            load_before: load.split(' ').next().and_then(|one| one.parse().ok()).unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes_may_hold_brackets_and_blanks() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 31 11 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("nothing"), None);
    }

    #[test]
    fn what_this_process_uses_can_be_read() {
        let this = Processes(vec![std::process::id()]);
        assert!(this.resident_mib().expect("it may be read")[0] > 0.1);
        this.used().expect("it may be read");
        let nobody = Processes(vec![u32::MAX]).used().expect_err("nobody has that number");
        assert!(nobody.contains("/proc/4294967295/stat"), "{nobody}");
    }
}
