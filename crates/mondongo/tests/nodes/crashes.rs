//! kill -9 under load, with real processes: what was acknowledged stays, each write is applied once.

use crate::group::{Connection, Group, wait_for};
use client::{Client, Options};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const WRITERS: usize = 4;

/// Writers that go on until they are told to stop, each through a client of its own.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<std::thread::JoinHandle<u64>>,
}

impl Load {
    /// Starts writers: number `w` writes the key `w-0`, `w-1`, … and counts each in a document.
    pub(crate) fn start(group: &Group) -> Load {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writers = (0..WRITERS)
            .map(|writer| {
                let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
                let mut members = group.addresses();
                let count = members.len();
                members.rotate_left(writer % count);
                std::thread::spawn(move || write(writer, &members, &stop, &acknowledged))
            })
            .collect();
        Load { stop, acknowledged, writers }
    }

    /// Waits until `more` writes were acknowledged from now on.
    pub(crate) fn wait_for_more(&self, more: u64) {
        let wanted = self.acknowledged.load(Ordering::SeqCst) + more;
        wait_for("more acknowledged writes", || {
            let failed = self.writers.iter().any(std::thread::JoinHandle::is_finished);
            assert!(!failed, "a writer gave up");
            (self.acknowledged.load(Ordering::SeqCst) >= wanted).then_some(())
        });
    }

    /// Stops the writers; returns how many writes of each were acknowledged.
    pub(crate) fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
    }
}

fn write(writer: usize, members: &[String], stop: &AtomicBool, acknowledged: &AtomicU64) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let options = Options { timeout: Duration::from_secs(60), ..Options::default() };
        let client = Client::connect(members, options).await.expect("a member");
        let mut count = 0;
        while !stop.load(Ordering::SeqCst) {
            let key = format!("{writer}-{count}");
            client.write(&key, count as i64).await.expect("a write is acknowledged in the end");
            let filter = bson(&json!({"_id": writer}));
            let changes = bson(&json!({"$inc": {"count": 1}}));
            let changed = client.update("counts", filter, changes).await.expect("an update");
            assert_eq!(changed, 1);
            count += 1;
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        count
    })
}

fn bson(value: &Value) -> api::Document {
    api::json::parse_document(value.to_string().as_bytes()).expect("a document")
}

fn start_group() -> Group {
    let group = Group::start(3);
    prepare(&group);
    group
}

/// Makes what the writers count in.
pub(crate) fn prepare(group: &Group) {
    let leader = group.leader();
    let created = group.ask(leader, &json!(["create", "counts", {"count": "int"}]));
    assert_eq!(created[0], "ok", "{created}");
    for writer in 0..WRITERS {
        let document = json!({"_id": writer, "count": 0});
        assert_eq!(group.ask(leader, &json!(["insert", "counts", document]))[0], "ok");
    }
}

/// Checks through each node that every acknowledged write is there, once.
pub(crate) fn check(group: &Group, counts: &[u64]) {
    for (number, node) in group.nodes.iter().enumerate() {
        // Until it answers: it may have restarted just now.
        group.ask(number, &json!(["read", "0-0"]));
        let mut connection = Connection::open(&node.address).expect("a connection");
        for (writer, count) in counts.iter().enumerate() {
            let found = connection.ask(&json!(["search", "counts", {"_id": writer}]));
            let found = found.expect("an answer");
            assert_eq!(found[1][0]["count"], *count, "increments of {writer} at node {number}");
            for key in 0..*count {
                let read = json!(["read", format!("{writer}-{key}")]);
                let value = connection.ask(&read).expect("an answer");
                assert_eq!(value, json!(["ok", key]), "key {writer}-{key} at node {number}");
            }
        }
    }
}

/// D18, P12, P15.
#[test]
fn the_leader_killed_twice_under_load_loses_nothing() {
    let mut group = start_group();
    let load = Load::start(&group);
    load.wait_for_more(100);
    for _ in 0..2 {
        let leader = group.leader();
        group.kill(leader);
        load.wait_for_more(100);
        group.start_node(leader, None);
        load.wait_for_more(50);
    }
    let counts = load.stop();
    check(&group, &counts);
}

/// D17.
#[test]
fn all_nodes_killed_at_once_under_load_lose_nothing() {
    let mut group = start_group();
    let load = Load::start(&group);
    load.wait_for_more(200);
    for number in 0..3 {
        group.kill(number);
    }
    for number in 0..3 {
        group.start_node(number, None);
    }
    load.wait_for_more(50);
    let counts = load.stop();
    check(&group, &counts);
}

/// D2, D15: a node joins while writes go on, and then has the same content at the same slot.
#[test]
fn a_fourth_node_joins_under_load_and_has_the_same_content() {
    let mut group = start_group();
    let load = Load::start(&group);
    load.wait_for_more(100);
    let fourth = group.add();
    group.wait_for_voters(4);
    load.wait_for_more(50);
    let counts = load.stop();
    check(&group, &counts);
    let hash = |number| {
        let status = group.ask(number, &json!(["status", {"hash": true}]))[1].clone();
        (status["hash_slot"].clone(), status["hash"].clone())
    };
    wait_for("the same slot at all nodes", || {
        let hashes: Vec<_> = (0..=fourth).map(hash).collect();
        let same_slot = hashes.iter().all(|(slot, _)| *slot == hashes[0].0);
        if same_slot {
            assert!(hashes.iter().all(|(_, hash)| *hash == hashes[0].1), "{hashes:?}");
            assert!(hashes[0].1.is_string());
        }
        same_slot.then_some(())
    });
}
