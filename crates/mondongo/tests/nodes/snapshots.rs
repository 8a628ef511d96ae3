//! Snapshots and cut logs: who gets which, under load and through crashes, and what they carry (spec D15, P9,
//! P10).

use crate::faults::{finish, progress};
use crate::group::{Group, wait_for};
use crate::harness::same::same_content;
use crate::harness::workload::Settings;
use client::{Client, Options};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

const SHORT_LOG: [&str; 2] = ["--log-retain-mib", "1"];
/// So much that stores are made durable meanwhile, and logs cut.
pub(crate) const LONG_MIB: usize = 40;
const SENDS: &str = "sends a snapshot";
const USES: &str = "a snapshot has taken the place of the store";

/// Writes `mebibytes` of values of 1 MiB through the client library, to as many keys.
pub(crate) fn write_bulk(group: &Group, mebibytes: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let options = Options { timeout: Duration::from_secs(30), ..Options::default() };
        let client = Client::connect(&group.addresses(), options).await.expect("a client");
        let value = "x".repeat(1 << 20);
        for number in 0..mebibytes {
            client.write(&format!("bulk-{number}"), value.as_str()).await.expect("a write");
        }
    });
}

/// How often a node's log holds `words`.
fn count(group: &Group, number: usize, words: &str) -> usize {
    group.log(number).matches(words).count()
}

/// D15: a newcomer and whoever was away for long get a snapshot, whoever was away briefly does not; clients
/// write all the while.
#[test]
fn a_newcomer_and_who_was_away_for_long_get_a_snapshot_under_load() {
    let mut group = Group::with_arguments(3, &SHORT_LOG);
    let pace = Duration::from_millis(10);
    let load = group.load(Settings { clients: 3, pace, ..Settings::default() });
    write_bulk(&group, LONG_MIB);
    progress(&load, 50);
    let fourth = group.add();
    group.wait_for_voters(4);
    group.wait_for_log(fourth, USES);
    let senders = (0..3).filter(|number| count(&group, *number, SENDS) > 0).count();
    assert!(senders >= 1, "somebody says that it sends one");
    progress(&load, 30);

    let leader = group.leader();
    let (briefly, long) = ((leader + 1) % 4, (leader + 2) % 4);
    let before = count(&group, briefly, USES);
    group.kill(briefly);
    progress(&load, 20);
    group.start_node(briefly, None);
    group.wait_for_voters(4);
    progress(&load, 20);
    let before_long = count(&group, long, USES);
    group.kill(long);
    write_bulk(&group, LONG_MIB);
    group.start_node(long, None);
    progress(&load, 20);
    finish(load);
    assert_eq!(count(&group, briefly, USES), before, "the log had what it lacked");
    assert!(count(&group, long, USES) > before_long, "{}", group.log(long));
}

/// P9, P10: the first answer again at another node after a leader change, at a node that has everything from a
/// snapshot, and after a restart of all; and a clear refusal once it is forgotten. Never a second effect.
#[test]
fn references_survive_snapshots_leader_changes_and_restarts_of_all() {
    let mut group = Group::with_arguments(3, &SHORT_LOG);
    let first = json!(["swap", "k", "one", {"ref": "tester:1"}]);
    let second = json!(["swap", "k", "two", {"ref": "tester:2"}]);
    assert_eq!(group.ask(0, &first), json!(["ok", null]));
    assert_eq!(group.ask(1, &second), json!(["ok", "one"]));
    let check = |group: &Group, number: usize| {
        assert_eq!(group.ask(number, &first), json!(["ok", null]), "at {number}");
        assert_eq!(group.ask(number, &second), json!(["ok", "one"]), "at {number}");
        assert_eq!(group.ask(number, &json!(["read", "k"])), json!(["ok", "two"]));
    };
    // Another node, another leader.
    let leader = group.leader();
    group.kill(leader);
    check(&group, (leader + 1) % 3);
    group.start_node(leader, None);
    group.wait_for_voters(3);
    // A node that knows of them by a snapshot alone, and leads.
    write_bulk(&group, LONG_MIB);
    let fourth = group.add();
    group.wait_for_voters(4);
    group.wait_for_log(fourth, USES);
    let told = group.member("lead", 0, &[&group.nodes[fourth].address]);
    assert!(told.is_ok(), "{told:?}");
    check(&group, fourth);
    // All nodes from cut logs.
    for number in 0..4 {
        group.kill(number);
    }
    for number in 0..4 {
        group.start_node(number, None);
    }
    for number in 0..4 {
        check(&group, number);
    }
    let third = json!(["swap", "k", "three", {"ref": "tester:3", "acked": 3}]);
    assert_eq!(group.ask(0, &third), json!(["ok", "two"]));
    for number in 0..4 {
        for forgotten in [&first, &second] {
            let said = group.ask(number, forgotten);
            let reason = said[1].as_str().unwrap_or_default();
            assert!(reason.starts_with("forgotten_reference: "), "{said}");
        }
        assert_eq!(group.ask(number, &third), json!(["ok", "two"]), "the last is known still");
    }
    assert_eq!(group.ask(0, &json!(["borrar_ref", "tester:3"]))[0], "ok");
    // A second entry of the third may stand before that one: node 1 has met both once it has read.
    assert_eq!(group.ask(1, &json!(["read", "k"])), json!(["ok", "three"]));
    let said = group.ask(1, &third);
    assert!(said[1].as_str().unwrap_or_default().starts_with("forgotten_reference: "), "{said}");
    assert_eq!(group.ask(2, &json!(["read", "k"])), json!(["ok", "three"]));
    same_content(&group.addresses()).unwrap_or_else(|error| panic!("{error:#}"));
}

/// The numbers of the segments of a node's log.
fn segments(folder: &Path) -> Vec<u32> {
    let names = fs::read_dir(folder.join("log")).expect("a log");
    let number = |name: String| name.strip_prefix("segment-")?.strip_suffix(".log")?.parse().ok();
    let mut all: Vec<u32> =
        names.filter_map(|e| number(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    all.sort_unstable();
    all
}

/// Old segments are removed, the node starts from what is left, and segments in each other's place are noticed.
#[test]
fn old_segments_are_removed_and_swapped_ones_are_noticed() {
    let mut group = Group::with_arguments(1, &SHORT_LOG);
    // Segments have 64 MiB.
    write_bulk(&group, 200);
    let left = wait_for("the first segments to be removed", || {
        let left = segments(&group.nodes[0].folder);
        (left.first().is_some_and(|first| *first >= 3)).then_some(left)
    });
    assert!(left.len() <= 2, "{left:?}");
    group.kill(0);
    group.start_node(0, None);
    let found = group.ask(0, &json!(["read", "bulk-199", {"level": "local"}]));
    // Too long for a frame with a length of two bytes, and so there.
    assert!(found[1].as_str().is_some_and(|said| said.starts_with("result_too_large")), "{found}");
    assert!(!group.log(0).contains("floor=0 last=2"), "{}", group.log(0));

    // Enough for two segments that are needed: the log is cut no further than the store is durable.
    let mut group = Group::start(1);
    write_bulk(&group, 80);
    assert!(group.stop(0).success());
    let folder = group.nodes[0].folder.join("log");
    let all = segments(&group.nodes[0].folder);
    assert!(all.len() >= 2, "{all:?}");
    let path = |number: u32| folder.join(format!("segment-{number:010}.log"));
    let aside = folder.join("aside");
    let swap = || {
        for (from, to) in [(path(1), aside.clone()), (path(2), path(1)), (aside.clone(), path(2))] {
            fs::rename(from, to).expect("it is moved");
        }
    };
    swap();
    let address = group.nodes[0].address.clone();
    let said = crate::group::refused(&group.nodes[0].folder, &[&address]);
    assert!(said.contains("segment") && said.contains("cannot start from"), "{said}");
    swap();
    group.start_node(0, None);
    assert_eq!(group.ask(0, &json!(["write", "k", 1])), json!(["ok", 1]));
}

/// Whether a node is taking in a snapshot.
fn is_importing(folder: &Path) -> bool {
    let Ok(names) = fs::read_dir(folder) else { return false };
    let is_numbered = |name: String| name.starts_with("store-");
    names.flatten().any(|entry| is_numbered(entry.file_name().to_string_lossy().into_owned()))
}

/// D15: neither a crash of who takes a snapshot in nor one of who sends it stops it for good.
#[test]
fn a_snapshot_is_completed_though_receiver_and_sender_are_killed() {
    let mut group = Group::with_arguments(3, &SHORT_LOG);
    write_bulk(&group, LONG_MIB);
    let load = group.load(Settings { clients: 2, ..Settings::default() });
    let fourth = group.add();
    let folder = group.nodes[fourth].folder.clone();
    for _ in 0..2 {
        wait_for("the snapshot to begin", || is_importing(&folder).then_some(()));
        group.kill(fourth);
        let seed = group.nodes[1].address.clone();
        group.start_node(fourth, Some(&seed));
    }
    wait_for("the snapshot to begin again", || is_importing(&folder).then_some(()));
    let sender = (0..3).max_by_key(|number| count(&group, *number, SENDS)).expect("three");
    group.kill(sender);
    progress(&load, 30);
    group.start_node(sender, None);
    group.wait_for_voters(4);
    group.wait_for_log(fourth, USES);
    finish(load);
    same_content(&group.addresses()).unwrap_or_else(|error| panic!("{error:#}"));
}
