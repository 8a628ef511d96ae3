//! Who leads: handed over before a node stops, moved by hand, not taken by whoever comes back; and neighbours of
//! another version (spec D18, design: leadership, versions).

use crate::faults::{finish, progress};
use crate::group::{Group, refused, wait_for};
use crate::harness::workload::Settings;
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

/// The ballot and the leader that a node knows.
fn reign(group: &Group, number: usize) -> Option<(Value, Value)> {
    let status = group.status(number)?;
    Some((status["ballot"].clone(), status["leader"].clone()))
}

/// D18: SIGTERM of the leader, time and again: another leads before it ends, and clients hardly notice.
#[test]
fn a_leader_that_stops_in_order_hands_over_first() {
    let mut group = Group::start(3);
    let load = group.load(Settings::default());
    progress(&load, 100);
    for _ in 0..2 {
        let leader = group.leader();
        let others: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
        let begun = Instant::now();
        assert!(group.stop(leader).success(), "{}", group.log(leader));
        let log = group.log(leader);
        let stop = log.rfind("stopping").expect("it says that it stops");
        assert!(log[stop..].contains("follows"), "it has seen another lead: {log}");
        // The others hear so at about the same time, on a machine that is not busy.
        wait_for("the others to know who leads", || {
            group.status(others[0]).filter(|status| status["leader"].is_string())
        });
        progress(&load, 100);
        let pause = load.longest_pause_since(begun);
        eprintln!("handing over: longest pause {} ms", pause.as_millis());
        group.start_node(leader, None);
        group.wait_for_voters(3);
        progress(&load, 50);
    }
    finish(load);
}

#[test]
fn leadership_is_moved_by_hand() {
    let group = Group::start(3);
    let load = group.load(Settings { clients: 3, ..Settings::default() });
    progress(&load, 50);
    for step in 1..=3 {
        let to = (group.leader() + step % 2 + 1) % 3;
        let address = group.nodes[to].address.clone();
        // Whichever node is asked.
        let told = group.member("lead", step % 3, &[&address]);
        let list = told.unwrap_or_else(|said| panic!("{said}"));
        let line = list.lines().find(|line| line.contains(&address));
        assert!(line.is_some_and(|line| line.contains("leader")), "{list}");
        assert_eq!(group.one_leader_among(&[0, 1, 2]), to);
        progress(&load, 30);
    }
    let before = group.leader();
    let told = group.member("lead", before, &[]);
    assert!(told.is_ok(), "{told:?}");
    assert_ne!(group.one_leader_among(&[0, 1, 2]), before, "somebody else");
    progress(&load, 30);
    finish(load);
}

/// A node that was dead, or stood still, joins in under the leader that there is.
#[test]
fn a_node_that_comes_back_deposes_nobody() {
    let mut group = Group::start(3);
    let load = group.load(Settings { clients: 3, ..Settings::default() });
    progress(&load, 50);
    let leader = group.leader();
    let back = (leader + 1) % 3;
    let before = reign(&group, leader).expect("an answer");
    for round in 0..4 {
        if round % 2 == 0 {
            group.kill(back);
            progress(&load, 30);
            group.start_node(back, None);
        } else {
            group.pause(back);
            std::thread::sleep(Duration::from_millis(700));
            group.resume(back);
        }
        wait_for("the one that came back to follow", || {
            (reign(&group, back)? == before).then_some(())
        });
        progress(&load, 30);
    }
    assert_eq!(reign(&group, leader), Some(before), "the same leader in the same ballot");
    finish(load);
}

/// Versions: a folder or a log that a later version has written is refused and left alone.
#[test]
fn a_folder_of_a_later_version_is_refused_and_kept() {
    let mut group = Group::start(2);
    assert_eq!(group.ask(0, &json!(["write", "k", 1])), json!(["ok", 1]));
    assert!(group.stop(1).success());
    let (folder, address) = (group.nodes[1].folder.clone(), group.nodes[1].address.clone());
    let identity = folder.join("identity.json");
    let text = fs::read_to_string(&identity).expect("an identity");
    let later = text.replace("\"format\": 2", "\"format\": 3");
    assert_ne!(later, text, "the version stands there: {text}");
    fs::write(&identity, later).expect("written");
    let said = refused(&folder, &[&address]);
    assert!(said.contains("format version 3") && said.contains("only version 2"), "{said}");
    fs::write(&identity, text).expect("written");

    let mut segments: Vec<_> = (fs::read_dir(folder.join("log")).expect("a log"))
        .map(|entry| entry.expect("a name").path())
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("segment")))
        .collect();
    segments.sort();
    let first = &segments[0];
    let kept = fs::read(first).expect("a segment");
    let mut later = kept.clone();
    later[8..12].copy_from_slice(&9_u32.to_le_bytes());
    let checksum = crc32c::crc32c(&later[..60]).to_le_bytes();
    later[60..64].copy_from_slice(&checksum);
    fs::write(first, later).expect("written");
    let said = refused(&folder, &[&address]);
    assert!(said.contains("version 9"), "a later version is no damage: {said}");
    fs::write(first, kept).expect("written");
    group.start_node(1, None);
    group.wait_for_voters(2);
    assert_eq!(group.ask(1, &json!(["read", "k"])), json!(["ok", 1]));
}
