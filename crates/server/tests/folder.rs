//! The folder of a node: its identity across crashes, and its lock.

use server::Policy;
use server::ServerError;
use server::folder::{Folder, Identity, Stage};
use std::fs;

#[test]
fn an_identity_comes_back_and_is_replaced_as_a_whole() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let folder = Folder::take(&place.path().join("a/b/db"), "a test").expect("a new folder");
    assert_eq!(folder.identity().expect("none yet"), None);
    let seeds = vec!["localhost:8000".to_string(), "[::1]:8001".to_string()];
    let founder = Identity::founding(Policy::Paxos).expect("random numbers");
    let new = Identity::joining(founder.node, founder.cluster, Policy::Passive, seeds)
        .expect("random numbers");
    folder.write_identity(&new).expect("written");
    assert_eq!(folder.identity().expect("readable"), Some(new.clone()));
    // A crash may leave half of the next one beside it.
    fs::write(folder.path().join("identity.json.new"), "{\"format\"").expect("written");
    assert_eq!(folder.identity().expect("readable"), Some(new.clone()));
    let ready = Identity { stage: Stage::Ready, ..new };
    folder.write_identity(&ready).expect("written");
    assert_eq!(folder.identity().expect("readable"), Some(ready));
}

#[test]
fn a_crash_before_the_first_identity_leaves_a_new_folder() {
    let place = tempfile::tempdir().expect("a temporary folder");
    drop(Folder::take(place.path(), "a test").expect("a new folder"));
    fs::write(place.path().join("identity.json.new"), "{\"format\"").expect("written");
    let folder = Folder::take(place.path(), "a test").expect("still a new folder");
    assert_eq!(folder.identity().expect("none yet"), None);
}

#[test]
fn a_folder_is_taken_once_and_says_by_whom() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let held = Folder::take(place.path(), "the first").expect("a new folder");
    match Folder::take(place.path(), "the second") {
        Err(ServerError::InUse { holder, .. }) => {
            assert_eq!(holder, format!("process {}, the first", std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    drop(held);
    Folder::take(place.path(), "the second").expect("it is free again");
}

#[test]
fn what_must_be_there_is_missed() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let folder = Folder::take(place.path(), "a test").expect("a new folder");
    let new = Identity::founding(Policy::Paxos).expect("random numbers");
    let ready = Identity { stage: Stage::Ready, ..new.clone() };
    folder.check_complete(&new).expect("a new node has nothing yet");
    assert!(matches!(folder.check_complete(&ready), Err(ServerError::Incomplete { .. })));
    fs::create_dir(folder.path().join("store")).expect("made");
    fs::write(folder.path().join("store").join("row"), "1").expect("written");
    assert!(matches!(folder.check_complete(&new), Err(ServerError::Incomplete { .. })));
    fs::create_dir(folder.log_path()).expect("made");
    fs::write(folder.log_path().join("segment-1.log"), "1").expect("written");
    folder.check_complete(&ready).expect("all is there");
}

#[test]
fn damaged_identities_are_named() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let folder = Folder::take(place.path(), "a test").expect("a new folder");
    folder
        .write_identity(&Identity::founding(Policy::Paxos).expect("random numbers"))
        .expect("written");
    let path = place.path().join("identity.json");
    let good = fs::read_to_string(&path).expect("readable");
    // One hexadecimal digit of the node's number: it would be somebody else.
    let digit = good.find("\"node\": \"").expect("a node") + 9;
    let other = if good.as_bytes()[digit] == b'0' { "1" } else { "0" };
    let mut flipped = good.clone();
    flipped.replace_range(digit..=digit, other);
    fs::write(&path, flipped).expect("written");
    let said = folder.identity().expect_err("damage").to_string();
    assert!(said.contains("checksum"), "{said}");
    for name in ["format", "node", "cluster", "policy", "log", "seeds", "stage"] {
        let bad = good.replace(&format!("\"{name}\""), "\"something\"");
        fs::write(&path, bad).expect("written");
        match folder.identity() {
            Err(ServerError::Identity { reason, .. }) => {
                assert!(reason.contains(name), "{name}: {reason}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}
