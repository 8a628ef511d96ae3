//! The passive policy: the leader and every follower that is there; who falls silent is taken to have
//! stopped (spec D13, D14).

use crate::crashes::{Load, check, prepare};
use crate::disks::SmallDisk;
use crate::group::{Connection, Group, refused, run, wait_for};
use crate::harness::same::same_content;
use client::{Client, Options};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use std::time::Duration;

pub(crate) const PASSIVE: [&str; 4] = ["--replication", "passive", "--takeover-after", "1s"];

/// So many writes last for several heartbeats, by which a follower learns that it is waited for: before that it
/// does not know whether it may take over.
pub(crate) const SETTLING_WRITES: u64 = 200;

fn passive(count: usize) -> Group {
    let group = Group::with_arguments(count, &PASSIVE);
    let leader = group.leader();
    for number in 0..SETTLING_WRITES {
        assert_eq!(group.ask(leader, &json!(["write", "settling", number]))[0], "ok");
    }
    group
}

/// Stops the writers; demands of every node that everything is there, once, and that all hold the same.
pub(crate) fn finish(group: &Group, load: Load) {
    let counts = load.stop();
    // Reads say what a node has applied, so all must have applied everything.
    same_content(&group.addresses()).unwrap_or_else(|error| panic!("{error:#}"));
    check(group, &counts);
}

/// What a node answers by itself, once it listens.
fn ask_once(group: &Group, number: usize, request: &Value) -> Value {
    wait_for("an answer", || Connection::open(&group.nodes[number].address).ok()?.ask(request).ok())
}

/// D14: the follower fails, the leader goes on alone at once; the follower comes back and is waited for again.
#[test]
fn a_passive_leader_goes_on_alone_and_takes_its_follower_back() {
    let mut group = passive(2);
    prepare(&group);
    let load = Load::start(&group);
    load.wait_for_more(50);
    let leader = group.leader();
    let follower = 1 - leader;
    group.kill(follower);
    // Without the follower, and without an operator.
    load.wait_for_more(50);
    assert_eq!(group.status(leader).expect("an answer")["away"].as_array().map(Vec::len), Some(1));
    group.start_node(follower, None);
    group.wait_for_voters(2);
    load.wait_for_more(50);
    finish(&group, load);
    let status = group.status(follower).expect("an answer");
    assert_eq!((&status["policy"], &status["role"]), (&json!("passive"), &json!("follower")));
}

/// D14, D18: the leader fails, the follower takes over with every acknowledged write; the old leader follows.
#[test]
fn a_passive_follower_takes_over_with_every_acknowledged_write() {
    let mut group = passive(2);
    prepare(&group);
    let load = Load::start(&group);
    load.wait_for_more(50);
    for _ in 0..2 {
        let old = group.leader();
        group.kill(old);
        load.wait_for_more(50);
        assert_eq!(group.leader(), 1 - old);
        group.start_node(old, None);
        group.wait_for_voters(2);
        load.wait_for_more(SETTLING_WRITES);
        assert_eq!(group.leader(), 1 - old, "whoever comes back follows");
    }
    finish(&group, load);
}

/// D14, D17: whoever has no room takes no entry, and a passive leader waits for all that are there: so it stops.
#[test]
fn a_passive_backup_with_a_full_disk_holds_nobody_up() {
    let Some(disk) = SmallDisk::mount(320) else { return };
    let mut group = Group::empty_with(&[&PASSIVE[..], &["--disk-reserve-mib", "48"]].concat());
    group.add();
    let victim = group.add_at(disk.folder(), None);
    group.wait_for_voters(2);
    prepare(&group);
    let load = Load::start(&group);
    load.wait_for_more(SETTLING_WRITES);
    assert_eq!(group.leader(), 0);
    let filler = disk.fill_but(40);
    let status = group.wait_for_exit(victim);
    let log = group.log(victim);
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("every write would wait for it"), "{log}");
    load.wait_for_more(50);
    // Still without room.
    group.start_node(victim, None);
    assert_eq!(group.wait_for_exit(victim).code(), Some(1));
    load.wait_for_more(50);
    fs::remove_file(filler).expect("removed");
    group.start_node(victim, None);
    group.wait_for_voters(2);
    load.wait_for_more(50);
    finish(&group, load);
}

/// D14: who was dropped may lack what was acknowledged since, so it leads only if an operator says so.
#[test]
fn a_follower_that_was_dropped_does_not_lead_by_itself() {
    let mut group = passive(2);
    let leader = group.leader();
    let dropped = 1 - leader;
    group.kill(dropped);
    assert_eq!(group.ask(leader, &json!(["write", "k", 1])), json!(["ok", 1]));
    group.kill(leader);
    group.start_node(dropped, None);
    let said = wait_for("the dropped one to be down", || {
        let answer = ask_once(&group, dropped, &json!(["write", "k", 2]));
        answer[1].as_str().is_some_and(|reason| reason.starts_with("down:")).then_some(answer)
    });
    assert_eq!(said[0], "ko");
    // Longer than it would take.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(ask_once(&group, dropped, &json!(["write", "k", 2]))[0], "ko");
    let status = group.status(dropped).expect("an answer");
    assert_ne!(status["role"], "leader", "{status}");
    group.start_node(leader, None);
    group.wait_for_voters(2);
    assert_eq!(group.ask(group.leader(), &json!(["read", "k"])), json!(["ok", 1]));
}

/// D14: writes go to the leader alone, and whoever asks elsewhere is told where it is; reads say what a node has.
#[test]
fn a_passive_follower_names_the_leader_and_the_client_library_goes_there() {
    let group = passive(2);
    let leader = group.leader();
    let follower = 1 - leader;
    assert_eq!(group.ask(leader, &json!(["write", "k", 1])), json!(["ok", 1]));
    let said = ask_once(&group, follower, &json!(["write", "k", 2]));
    let reason = said[1].as_str().unwrap_or_default();
    assert!(reason.starts_with("not_leader: "), "{said}");
    assert!(reason.ends_with(&group.nodes[leader].address), "{said}");
    wait_for("the follower to have applied it", || {
        (ask_once(&group, follower, &json!(["read", "k"])) == json!(["ok", 1])).then_some(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let only = [group.nodes[follower].address.clone()];
        let client = Client::connect(&only, Options::default()).await.expect("a client");
        client.write("k", 3_i64).await.expect("it follows to the leader");
    });
    assert_eq!(group.ask(leader, &json!(["read", "k"])), json!(["ok", 3]));
}

/// D14: with three, who is dropped holds up nobody, and another takes over from the leader.
#[test]
fn three_passive_nodes_lose_one_and_then_their_leader() {
    let mut group = passive(3);
    prepare(&group);
    let load = Load::start(&group);
    load.wait_for_more(50);
    let leader = group.leader();
    let dropped = (leader + 1) % 3;
    group.kill(dropped);
    load.wait_for_more(50);
    group.kill(leader);
    load.wait_for_more(50);
    assert_eq!(group.leader(), (leader + 2) % 3);
    for number in [dropped, leader] {
        group.start_node(number, None);
    }
    group.wait_for_voters(3);
    load.wait_for_more(20);
    finish(&group, load);
}

/// What a node is to write.
fn value(number: usize) -> String {
    format!("of node {number}")
}

/// D14: what two leaders wrote while each took the other for stopped: one goes on, the other keeps what is only
/// its own in a file, says so, and joins anew.
#[test]
fn two_passive_leaders_that_meet_keep_what_the_group_lacks() {
    let group = passive(2);
    assert_eq!(group.ask(group.leader(), &json!(["write", "both", 0])), json!(["ok", 0]));
    let old = group.leader();
    let new = 1 - old;
    let ids = [group.id(0), group.id(1)];
    group.pause(old);
    wait_for("the follower to take over", || {
        (ask_once(&group, new, &json!(["write", "k", value(new)]))[0] == "ok").then_some(())
    });
    group.pause(new);
    group.resume(old);
    // It finds that the other has stopped, as it must think.
    wait_for("the old leader to go on alone", || {
        (ask_once(&group, old, &json!(["write", "k", value(old)]))[0] == "ok").then_some(())
    });
    group.resume(new);
    // Whoever has the lower ballot: the old leader, or the new one if the old one has heard of its ballot.
    let over = "starts over as a new member of its group";
    let loser = wait_for("one of them to start over", || {
        (0..2).find(|number| group.log(*number).contains(over))
    });
    group.wait_for_voters(2);
    assert_ne!(group.id(loser), ids[loser], "it is somebody else now");
    assert_eq!(group.id(1 - loser), ids[1 - loser]);
    same_content(&group.addresses()).unwrap_or_else(|error| panic!("{error:#}"));
    for number in 0..2 {
        let read = ask_once(&group, number, &json!(["read", "k"]));
        assert_eq!(read, json!(["ok", value(1 - loser)]), "at {number}");
    }
    let names = fs::read_dir(&group.nodes[loser].folder).expect("a folder");
    let kept: Vec<_> = (names.map(|entry| entry.expect("a name").path()))
        .filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.starts_with("diverged-") && name.ends_with(".jsonl"))
        })
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let text = fs::read_to_string(&kept[0]).expect("the file");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let written = json!(["write", "k", value(loser)]);
    assert!(lines.iter().any(|line| line["request"] == written), "{text}");
    assert!(!text.contains(&value(1 - loser)), "{text}");
    let log = group.log(loser);
    assert!(log.contains(&kept[0].display().to_string()), "{log}");
}

/// D13: founded once, inherited, and refused where it contradicts.
#[test]
fn a_policy_that_contradicts_the_groups_is_refused() {
    let mut group = passive(1);
    let (folder, address) = (group.nodes[0].folder.clone(), group.nodes[0].address.clone());
    let new = group.folder.path().join("new");
    let elsewhere = format!("127.0.0.1:{}", crate::group::free_port());
    let said = refused(&new, &[&elsewhere, &address, "--replication", "paxos"]);
    assert!(said.contains("passive") && said.contains("--replication"), "{said}");
    assert!(!new.join("identity.json").exists(), "nothing was founded");
    assert!(group.stop(0).success());
    let said = refused(&folder, &[&address, "--replication", "paxos"]);
    assert!(said.contains("passive") && said.contains("not paxos"), "{said}");
    let output = run(Command::new(env!("CARGO_BIN_EXE_mondongo")).args([
        "serve",
        "nowhere",
        "localhost:1",
        "--replication",
        "hope",
    ]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("write paxos or passive"), "{said}");
}
