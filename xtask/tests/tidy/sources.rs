//! The form of source files.

use crate::{files, none};

/// Past this a file holds two things.
const LINES_MAX: usize = 1_000;

/// Words for things that are not finished, split so that this file may say them.
const FORBIDDEN: [&str; 5] = [
    concat!("todo", "!"),
    concat!("dbg", "!"),
    concat!("unimple", "mented!"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

#[test]
fn files_say_what_they_are_for() {
    let mut offences = Vec::new();
    for file in files("rs") {
        let opens = file.content.lines().take(3);
        let is_told = opens
            .into_iter()
            .any(|line| line.starts_with("//! ") || line.starts_with("#![doc = include_str!("));
        if !is_told {
            offences.push(format!("{}: does not open with `//!`", file.path));
        }
    }
    none(&offences);
}

#[test]
fn files_stay_short() {
    let mut offences = Vec::new();
    for file in files("rs") {
        let lines = file.content.lines().count();
        if lines > LINES_MAX {
            offences.push(format!("{}: {lines} lines; look for a second noun", file.path));
        }
    }
    none(&offences);
}

#[test]
fn nothing_is_left_half_done() {
    let mut offences = Vec::new();
    for file in files("rs") {
        for (number, line) in (1..).zip(file.content.lines()) {
            for word in FORBIDDEN {
                if line.contains(word) {
                    offences.push(format!("{}:{number}: {word}", file.path));
                }
            }
        }
    }
    none(&offences);
}

/// Crates whose behaviour may depend on nothing but what they are handed.
const DETERMINISTIC: [&str; 7] = ["api", "wal", "paxos", "query", "store", "replica", "sim"];

/// What would let something else in: clocks, threads, surroundings, the order of a hash.
const NOT_DETERMINISTIC: [&str; 8] = [
    "Instant::now",
    "SystemTime::now",
    "thread::spawn",
    "thread::sleep",
    "env::var",
    "HashMap",
    "HashSet",
    "RandomState",
];

/// As the `clippy.toml` of these crates, but for all of them alike and for `src` alone: tests and examples
/// may measure.
#[test]
fn core_crates_are_deterministic() {
    let mut offences = Vec::new();
    for file in files("rs") {
        if !DETERMINISTIC.iter().any(|name| file.path.starts_with(&format!("crates/{name}/src/"))) {
            continue;
        }
        for (number, line) in (1..).zip(file.content.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            for word in NOT_DETERMINISTIC.iter().filter(|word| code.contains(**word)) {
                offences.push(format!("{}:{number}: {word}", file.path));
            }
        }
    }
    none(&offences);
}
