//! The tests that the founding documents name, and crashes and pauses under concurrent clients whose
//! history is checked.

use crate::group::{Connection, Group, wait_for};
use crate::harness::workload::{Settings, Workload};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Ends the clients, and demands that their history is linearizable, that every acknowledged write is
/// there once, and that all nodes hold the same.
pub(crate) fn finish(load: Workload) {
    let finished = load.finish().unwrap_or_else(|error| panic!("{error:#}"));
    finished.check_everywhere().unwrap_or_else(|error| panic!("{error:#}"));
    let notes = &finished.notes;
    assert!(notes.answered > 0 && notes.repeated > 0, "the clients did something: {notes:?}");
}

/// Waits until `more` operations were acknowledged.
pub(crate) fn progress(load: &Workload, more: u64) {
    load.wait_for(more).unwrap_or_else(|error| panic!("{error:#}"));
}

/// Asks a node once; it must have answered within `most`.
fn ask_once(group: &Group, number: usize, request: &Value, most: Duration) -> Value {
    let begun = Instant::now();
    let mut connection = Connection::open(&group.nodes[number].address).expect("a connection");
    let answer = connection.ask(request).expect("an answer");
    assert!(begun.elapsed() < most, "{request} took {:?}", begun.elapsed());
    answer
}

/// One client that goes from node to node sees each of its operations as if there were one node.
fn basic_operations(group: &Group) {
    let count = group.nodes.len();
    let mut turn = 0;
    let mut ask = |request: Value| {
        turn += 1;
        group.ask(turn % count, &request)
    };
    assert_eq!(ask(json!(["lee", "clave"])), json!(["ok", null]));
    let mut before = Value::Null;
    for number in 0..6 {
        assert_eq!(ask(json!(["escribe", "otra", number])), json!(["ok", number]));
        assert_eq!(ask(json!(["read", "otra"])), json!(["ok", number]));
        assert_eq!(ask(json!(["escribe_hash", "clave", number])), json!(["ok", before]));
        assert_eq!(ask(json!(["lee", "clave"])), json!(["ok", number]));
        before = json!(number);
    }
    assert_eq!(ask(json!(["cas", "clave", 5, "x"])), json!(["ok", {"swapped": true}]));
    let refused = json!(["ok", {"swapped": false, "current": "x"}]);
    assert_eq!(ask(json!(["cas", "clave", 5, "y"])), refused);
    let write = json!(["escribe", "clave", "once", {"ref": "p12:1"}]);
    assert_eq!(ask(write.clone()), json!(["ok", "once"]));
    assert_eq!(ask(json!(["escribe", "clave", "later"])), json!(["ok", "later"]));
    assert_eq!(ask(write), json!(["ok", "once"]), "the first answer again");
    assert_eq!(ask(json!(["lee", "clave"])), json!(["ok", "later"]), "but no second effect");
    assert_eq!(ask(json!(["borrar_ref", "p12:1"]))[0], "ok");

    let created = ask(json!(["create", "people", {"*name": "str", "*age": "int"}]));
    assert_eq!(created, json!(["ok", null]));
    for age in 1..=6 {
        let document = json!({"_id": age, "name": "n", "age": age});
        assert_eq!(ask(json!(["insert", "people", document])), json!(["ok", age]));
    }
    let older = json!({"age": {"$gt": 3}});
    let changes = json!({"$inc": {"age": 10}});
    assert_eq!(ask(json!(["update", "people", older, changes])), json!(["ok", 3]));
    let found = ask(json!(["search", "people", {"age": {"$gt": 13}}, {"count": true}]));
    assert_eq!(found, json!(["ok", 3]));
    assert_eq!(ask(json!(["delete", "people", {"age": {"$lte": 3}}])), json!(["ok", 3]));
    assert_eq!(ask(json!(["search", "people", {}, {"count": true}])), json!(["ok", 3]));
    assert_eq!(ask(json!(["destroy", "people"])), json!(["ok", null]));
}

/// P12.
#[test]
fn p12_basic_operations_are_coherent_and_consistent() {
    basic_operations(&Group::start(3));
}

/// P13, P5.
#[test]
fn p13_the_service_works_with_unreliable_messages() {
    let group = Group::with_faults(3);
    for number in 0..3 {
        let faults = json!(["ok", {"deaf": false, "loss": 0.1}]);
        assert_eq!(group.ask(number, &json!(["no_fiable", 0.1])), faults);
    }
    let load = group.load(Settings::default());
    basic_operations(&group);
    progress(&load, 300);
    // Much worse at one of them.
    let leader = group.leader();
    group.ask(leader, &json!(["unreliable", 0.5]));
    progress(&load, 200);
    for number in 0..3 {
        assert_eq!(group.ask(number, &json!(["fiable"]))[1], json!({"deaf": false, "loss": 0.0}));
    }
    progress(&load, 200);
    finish(load);
}

/// P14, P8, P5.
#[test]
fn p14_the_service_works_with_deaf_servers_for_some_intervals() {
    let group = Group::with_faults(3);
    let load = group.load(Settings::default());
    progress(&load, 100);
    for _ in 0..2 {
        // The leader each time: somebody else must take over.
        let deaf = group.leader();
        let others: Vec<usize> = (0..3).filter(|number| *number != deaf).collect();
        assert_eq!(group.ask(deaf, &json!(["sordo"]))[1]["deaf"], true);
        group.one_leader_among(&others);
        progress(&load, 100);
        assert_eq!(group.status(deaf).expect("it answers")["faults"]["deaf"], true);
        let answer = ask_once(&group, deaf, &json!(["lee", "k"]), Duration::from_secs(20));
        let reason = answer[1].as_str().unwrap_or_default();
        assert!(reason.starts_with("down: "), "a deaf node knows nothing for certain: {answer}");
        let local = json!(["lee", "k", {"level": "local"}]);
        assert_eq!(group.ask(deaf, &local), json!(["ok", null]), "but what it knew it tells");
        assert_eq!(group.ask(deaf, &json!(["escucha"]))[1]["deaf"], false);
        group.one_leader_among(&[0, 1, 2]);
        progress(&load, 50);
    }
    // A follower.
    let leader = group.leader();
    let deaf = (leader + 1) % 3;
    group.ask(deaf, &json!(["deaf"]));
    progress(&load, 100);
    group.ask(deaf, &json!(["listen"]));
    group.one_leader_among(&[0, 1, 2]);
    finish(load);
    for number in 0..3 {
        let log = group.log(number);
        assert!(log.contains("--fault-injection"), "{log}");
    }
    assert!(group.log(deaf).contains("fault switch: deaf"), "{}", group.log(deaf));
}

/// P15.
#[test]
fn p15_the_service_works_with_concurrent_clients() {
    let group = Group::start(3);
    let pace = Duration::ZERO;
    let load = group.load(Settings { clients: 16, keys: 3, pace, ..Settings::default() });
    progress(&load, 4_000);
    finish(load);
}

/// P5: the switches are nothing that any client finds at any node.
#[test]
fn fault_switches_are_refused_where_they_were_not_asked_for() {
    let group = Group::start(1);
    for request in [json!(["sordo"]), json!(["listen"]), json!(["unreliable", 1.0])] {
        let answer = group.ask(0, &request);
        let reason = answer[1].as_str().unwrap_or_default();
        assert!(reason.starts_with("unavailable: ") && reason.contains("--fault-injection"));
    }
    assert_eq!(group.ask(0, &json!(["write", "k", 1])), json!(["ok", 1]));
    assert!(group.status(0).expect("a status").get("faults").is_none());
}

/// P15, D17, D18: kill -9 of the leader, of a follower, of all.
#[test]
fn kill_9_of_leader_follower_and_all_under_concurrent_clients_is_linearizable() {
    let mut group = Group::start(3);
    let load = group.load(Settings::default());
    progress(&load, 200);
    let leader = group.leader();
    group.kill(leader);
    progress(&load, 100);
    group.start_node(leader, None);
    progress(&load, 50);
    let follower = (group.leader() + 1) % 3;
    group.kill(follower);
    progress(&load, 100);
    group.start_node(follower, None);
    progress(&load, 50);
    for number in 0..3 {
        group.kill(number);
    }
    for number in 0..3 {
        group.start_node(number, None);
    }
    group.wait_for_voters(3);
    progress(&load, 200);
    finish(load);
}

/// No stale read across a pause: etcd's and RedisRaft's.
#[test]
fn a_paused_leader_answers_no_stale_read_and_leads_no_more() {
    let group = Group::start(3);
    let load = group.load(Settings::default());
    progress(&load, 100);
    for round in 0..2 {
        let paused = group.leader();
        let other = (paused + 1) % 3;
        group.ask(other, &json!(["write", "k", "old"]));
        let mut connection = Connection::open(&group.nodes[paused].address).expect("a connection");
        assert_eq!(connection.ask(&json!(["read", "k"])).expect("an answer"), json!(["ok", "old"]));
        group.pause(paused);
        // These wait in its sockets until it goes on.
        for _ in 0..50 {
            connection.send(&json!(["read", "k"])).expect("the system takes it");
        }
        let new = json!(["write", "k", format!("new {round}")]);
        assert_eq!(group.ask(other, &new)[0], "ok", "another leads meanwhile");
        progress(&load, 100);
        // Whether it was the system that delivered late or the node: what begins now sees it.
        let mut late = Connection::open(&group.nodes[paused].address).expect("the system accepts");
        for _ in 0..50 {
            late.send(&json!(["read", "k"])).expect("the system takes it");
        }
        group.resume(paused);
        for _ in 0..50 {
            let answer = late.receive().expect("an answer");
            let is_new = answer == json!(["ok", format!("new {round}")]);
            assert!(is_new || answer[0] == "ko", "a stale read: {answer}");
        }
        for _ in 0..50 {
            connection.receive().expect("an answer");
        }
        group.one_leader_among(&[0, 1, 2]);
        progress(&load, 50);
    }
    finish(load);
}

/// Each in turn stops in order, the leader among them: nothing is lost, and the others go on.
#[test]
fn graceful_stops_under_concurrent_clients_lose_nothing() {
    let mut group = Group::start(3);
    let load = group.load(Settings::default());
    progress(&load, 100);
    for _ in 0..2 {
        let leader = group.leader();
        assert_eq!(group.stop(leader).code(), Some(0), "{}", group.log(leader));
        progress(&load, 100);
        group.start_node(leader, None);
        group.wait_for_voters(3);
        progress(&load, 50);
    }
    finish(load);
}

/// P8: without a quorum a node says so, soon, and serves local reads; with one it goes on.
#[test]
fn without_a_quorum_a_node_says_down_and_reads_locally() {
    let mut group = Group::start(3);
    group.ask(0, &json!(["write", "k", "kept"]));
    wait_for("node 0 to have it", || {
        let local = group.ask(0, &json!(["read", "k", {"level": "local"}]));
        (local == json!(["ok", "kept"])).then_some(())
    });
    group.kill(1);
    group.kill(2);
    for request in [json!(["read", "k"]), json!(["write", "k", "lost?"])] {
        // Once it has noticed; until then the outcome of a write may be unknown.
        wait_for("down", || {
            let answer = ask_once(&group, 0, &request, Duration::from_secs(20));
            answer[1].as_str().is_some_and(|reason| reason.starts_with("down: ")).then_some(())
        });
    }
    let local = json!(["read", "k", {"level": "local"}]);
    assert_eq!(group.ask(0, &local), json!(["ok", "kept"]));
    group.start_node(1, None);
    group.wait_for_voters(3);
    assert_eq!(group.ask(0, &json!(["write", "k", "again"])), json!(["ok", "again"]));
}
