//! House rules that a compiler does not check, as tests: documents name only what is there, crates
//! depend in one direction, sources keep their form.
//!
//! Every test gathers all offences before it fails, so that one run tells everything.

mod crates;
mod documents;
mod planted;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the project.
struct Text {
    /// Where it is, from the root, with `/`.
    path: String,
    /// What it says.
    content: String,
}

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files of the project whose name ends in `.extension`, in order of path.
fn files(extension: &str) -> Vec<Text> {
    let mut found = Vec::new();
    gather(&root(), "", extension, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "there is no .{extension} file below {}", root().display());
    found
}

fn gather(folder: &Path, prefix: &str, extension: &str, found: &mut Vec<Text>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let entry = entry.expect("a folder can be listed");
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type().expect("a file has a type").is_dir() {
            gather(&entry.path(), &format!("{path}/"), extension, found);
        } else if Path::new(&name).extension().is_some_and(|e| e == extension) {
            let content =
                fs::read_to_string(entry.path()).unwrap_or_else(|e| panic!("{path}: {e}"));
            found.push(Text { path, content });
        }
    }
}

/// Fails with every offence on a line of its own.
fn none(offences: &[String]) {
    assert!(offences.is_empty(), "{} offences:\n{}", offences.len(), offences.join("\n"));
}
