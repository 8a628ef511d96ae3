//! The direction of dependencies, as ARCHITECTURE.md draws it.

use crate::{files, none, root};
use std::fs;
use toml::{Table, Value};

/// From the bottom to the top: a crate uses only crates before it, and of those only the ones named.
const MAY_USE: [(&str, &[&str]); 12] = [
    ("api", &[]),
    ("wal", &[]),
    ("paxos", &[]),
    ("query", &["api"]),
    ("store", &["api", "query"]),
    ("replica", &["api", "wal", "paxos", "store"]),
    ("sim", &["api", "wal", "paxos", "store", "replica"]),
    ("client", &["api"]),
    ("gateway", &["api"]),
    ("server", &["api", "wal", "paxos", "store", "replica", "gateway"]),
    ("mondongo", &["api", "client", "server"]),
    ("model", &[]),
];

/// Crates that may use an asynchronous runtime. The others neither wait nor know a socket.
const MAY_USE_TOKIO: [&str; 4] = ["client", "gateway", "server", "mondongo"];

fn manifest(path: &str) -> Table {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.parse().unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The names under `[dependencies]` and `[build-dependencies]`; tests may look further.
fn dependencies(manifest: &Table) -> Vec<String> {
    let sections = ["dependencies", "build-dependencies"];
    let tables = sections.iter().filter_map(|section| manifest.get(*section)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

#[test]
fn crates_depend_in_one_direction() {
    let mut offences = Vec::new();
    for (name, may_use) in MAY_USE {
        for dependency in dependencies(&manifest(&format!("crates/{name}/Cargo.toml"))) {
            let is_ours = MAY_USE.iter().any(|(ours, _)| *ours == dependency);
            if is_ours && !may_use.contains(&dependency.as_str()) {
                offences.push(format!("{name} may not use {dependency} (see ARCHITECTURE.md)"));
            }
            if dependency == "tokio" && !MAY_USE_TOKIO.contains(&name) {
                offences.push(format!("{name} may not use tokio: it does not wait"));
            }
        }
    }
    none(&offences);
}

#[test]
fn every_crate_has_its_place() {
    let mut offences = Vec::new();
    for entry in fs::read_dir(root().join("crates")).expect("there are crates") {
        let name = entry.expect("a folder can be listed").file_name();
        let name = name.to_string_lossy();
        if !MAY_USE.iter().any(|(known, _)| *known == name) {
            offences.push(format!("crates/{name} has no place in the order of dependencies"));
        }
        let manifest = manifest(&format!("crates/{name}/Cargo.toml"));
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        if lints.and_then(Value::as_bool) != Some(true) {
            offences.push(format!("crates/{name} does not use the lints of the workspace"));
        }
    }
    none(&offences);
}

#[test]
fn only_some_crates_name_tokio() {
    let mut offences = Vec::new();
    for file in files("rs") {
        let Some(name) = file.path.strip_prefix("crates/").and_then(|p| p.split('/').next()) else {
            continue;
        };
        if !MAY_USE_TOKIO.contains(&name) && file.content.contains("tokio::") {
            offences.push(format!("{}: names tokio", file.path));
        }
    }
    none(&offences);
}
