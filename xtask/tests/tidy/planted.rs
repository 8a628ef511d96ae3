//! Every planted bug has its line in the table of planted bugs.

use crate::{files, none, root};
use std::fs;

/// Where the bugs of each enum are listed; the log keeps its own list beside its format.
const LISTS: [&str; 4] = [
    "docs/design/planted-bugs.md",
    "docs/design/wal-format.md",
    "docs/design/regressions.md",
    "docs/requirements.md",
];

/// The variants of every `enum PlantedBug` of the sources: file and name.
fn variants() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in files("rs").into_iter().filter(|file| file.path.starts_with("crates/")) {
        let Some((_, body)) = file.content.split_once("pub enum PlantedBug {") else { continue };
        let (body, _) = body.split_once("\n}").expect("an enum ends");
        for line in body.lines().map(str::trim) {
            let name: String = line.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
            if !name.is_empty() {
                found.push((file.path.clone(), name));
            }
        }
    }
    assert!(!found.is_empty(), "the sources have planted bugs");
    found
}

#[test]
fn every_planted_bug_is_listed() {
    let lists = LISTS.map(|path| fs::read_to_string(root().join(path)).unwrap_or_default());
    if lists[0].is_empty() {
        // The table comes with the first test that plants a bug in a simulated world.
        return;
    }
    let mut offences = Vec::new();
    for (file, name) in variants() {
        if !lists.iter().any(|list| list.contains(&format!("`{name}`"))) {
            offences.push(format!("{file}: `{name}` is not in {}", LISTS[0]));
        }
    }
    none(&offences);
}

#[test]
fn every_test_that_a_list_names_exists() {
    let sources = files("rs");
    let mut offences = Vec::new();
    for path in LISTS {
        let list = fs::read_to_string(root().join(path)).unwrap_or_default();
        for name in list.split('`').skip(1).step_by(2).filter(|word| is_name_of_test(word)) {
            let definition = format!("fn {name}(");
            if !sources.iter().any(|file| file.content.contains(&definition)) {
                offences.push(format!("{path}: there is no test `{name}`"));
            }
        }
    }
    none(&offences);
}

/// Names of tests are sentences: several words, all lower case.
fn is_name_of_test(word: &str) -> bool {
    word.matches('_').count() >= 2
        && word.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
}
