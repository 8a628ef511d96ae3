//! Documents name only what is there.

use crate::{Text, files, none, root};
use std::process::Command;

/// Endings by which a word in back-ticks is taken for a path.
const ENDINGS: [&str; 7] = [".rs", ".md", ".toml", ".txt", ".log", ".lock", "/"];

/// Folders in which a path that is short for another one may be meant: `src/x.rs` of a crate whose page
/// speaks of itself is written out in full instead.
const ROOTS: [&str; 7] = ["crates/", "docs/", "xtask/", "fuzz/", ".ci/", ".cargo/", "target/"];

/// What stands in back-ticks, with the number of its line. Fenced blocks are left out.
fn ticked(text: &Text) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_fenced = false;
    for (number, line) in (1..).zip(text.content.lines()) {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            let words = line.split('`').skip(1).step_by(2);
            found.extend(words.map(|word| (number, word.to_owned())));
        }
    }
    found
}

fn is_path(word: &str) -> bool {
    let is_one_word = !word.contains(|c: char| c.is_whitespace() || "<>*{}()[]…|$\"".contains(c));
    let is_rooted = ROOTS.iter().any(|root| word.starts_with(root) && word.len() > root.len());
    let is_top = !word.contains('/') && (word.ends_with(".md") || word.ends_with(".toml"));
    is_one_word && (is_rooted || is_top) && (is_rooted || ENDINGS.iter().any(|e| word.ends_with(e)))
}

/// Whether `word` is a file or folder: from the root, or from the folder of the document.
fn is_there(word: &str, document: &str) -> bool {
    let beside = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    root().join(word).exists() || root().join(beside).join(word).exists()
}

#[test]
fn paths_exist() {
    let mut offences = Vec::new();
    for text in files("md") {
        for (number, word) in ticked(&text) {
            let path = word.split('#').next().unwrap_or_default();
            let path = path.split(':').next().unwrap_or_default();
            let is_built = path.starts_with("target/");
            if is_path(path) && !is_built && !is_there(path, &text.path) {
                offences.push(format!("{}:{number}: there is no `{word}`", text.path));
            }
        }
    }
    none(&offences);
}

#[test]
fn links_lead_somewhere() {
    let mut offences = Vec::new();
    for text in files("md") {
        for (number, line) in (1..).zip(text.content.lines()) {
            for rest in line.split("](").skip(1) {
                let target = rest.split([')', '#']).next().unwrap_or_default();
                let is_file = target.contains('.') && !target.contains("://");
                if is_file && !is_there(target, &text.path) {
                    offences.push(format!("{}:{number}: no file behind {target}", text.path));
                }
            }
        }
    }
    none(&offences);
}

/// The subcommands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let commands = help.split("Commands:").nth(1).unwrap_or_default();
    let lines = commands.lines().skip(1).take_while(|line| line.starts_with("  "));
    lines.filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

/// The subcommands of `mondongo`: variants of its `enum Command`, in kebab case. Empty while it has none.
fn commands_of_mondongo() -> Vec<String> {
    let mut found = Vec::new();
    for file in files("rs").into_iter().filter(|f| f.path.starts_with("crates/mondongo/src/")) {
        let Some((_, body)) = file.content.split_once("enum Command {") else { continue };
        let (body, _) = body.split_once("\n}").expect("an enum ends");
        for line in
            body.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "))
        {
            let name: String =
                line.trim().chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
            found.extend((!name.is_empty()).then(|| name.to_lowercase()));
        }
    }
    found
}

/// The word after every `start` in `text`, if it looks like a subcommand, with its line.
fn words_after<'a>(text: &'a Text, start: &str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.content.lines()) {
        for rest in line.split(start).skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
            if end > 0 {
                found.push((number, &rest[..end]));
            }
        }
    }
    found
}

#[test]
fn commands_of_xtask_exist() {
    let help = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("--help").output();
    let help = help.expect("xtask runs");
    let known = listed(&String::from_utf8_lossy(&help.stdout));
    assert!(known.contains(&"check".to_owned()), "the help lists commands: {known:?}");
    let mut offences = Vec::new();
    for text in files("md") {
        for (number, word) in words_after(&text, "cargo xtask ") {
            if !known.iter().any(|command| command == word) {
                offences.push(format!("{}:{number}: cargo xtask has no `{word}`", text.path));
            }
        }
    }
    none(&offences);
}

#[test]
fn commands_of_mondongo_exist() {
    let known = commands_of_mondongo();
    if known.is_empty() {
        return;
    }
    let mut offences = Vec::new();
    for text in files("md") {
        for start in ["`mondongo ", "cargo run --release -- ", "target/release/mondongo "] {
            for (number, word) in words_after(&text, start) {
                if !known.iter().any(|command| command == word) {
                    offences.push(format!("{}:{number}: mondongo has no `{word}`", text.path));
                }
            }
        }
    }
    none(&offences);
}

#[test]
fn no_path_of_one_machine() {
    let mut offences = Vec::new();
    for text in files("md") {
        for (number, line) in (1..).zip(text.content.lines()) {
            for folder in ["/home/", "/root/", "/work/", "/tmp/", "/Users/", "/var/", "C:\\"] {
                if line.contains(folder) {
                    offences.push(format!("{}:{number}: {folder}… is of one machine", text.path));
                }
            }
        }
    }
    none(&offences);
}
