//! Index builds: they go on without clients, and across a change of leader.

mod group;

use api::{Document, IndexKey, IndexSpec, Request, Schema, Value};
use group::{Group, all, without};
use paxos::Policy;
use replica::Config;
use std::cell::Cell;

const COLLECTION: &str = "people";
const DOCUMENTS: i64 = 400;

fn settings(config: &mut Config) {
    config.build_step_documents = 10;
}

fn insert_all() -> Request {
    let document = |n: i64| {
        Document::from_iter(
            [("_id", n), ("a", n % 7)].map(|(k, v)| (k.to_owned(), Value::Int64(v))),
        )
    };
    let documents = (0..DOCUMENTS).map(document).collect();
    Request::Insert { collection: COLLECTION.to_owned(), documents, list: true }
}

fn create_index() -> Request {
    let keys = vec![IndexKey { path: "a".to_owned(), descending: false }];
    let name = IndexSpec::default_name(&keys);
    let index = IndexSpec { name, keys, unique: false, sparse: false, filter: None };
    Request::CreateIndex { collection: COLLECTION.to_owned(), index }
}

/// A group with a collection in which an index is being built, and its leader.
fn building(group: &mut Group) -> usize {
    let leader = group.elect();
    let create = Request::Create { collection: COLLECTION.to_owned(), schema: Schema::default() };
    for request in [create, insert_all()] {
        let id = group.ask(leader, request, 60_000);
        group.until("an answer", all, |group| group.nodes[leader].answers.contains_key(&id));
        assert!(group.nodes[leader].answers[&id].is_ok(), "{:?}", group.nodes[leader].answers[&id]);
    }
    let id = group.ask(leader, create_index(), 60_000);
    // So many messages that a few steps are made, and no more.
    let left = Cell::new(60);
    group.deliver(|_| {
        left.set(left.get() - 1);
        left.get() > 0
    });
    let answer = &group.nodes[leader].answers[&id];
    let state = answer.as_ref().ok().and_then(|answer| answer.as_document()?.get_str("state").ok());
    assert_eq!(state, Some("building"), "{answer:?}");
    leader
}

/// The state of the index at a node, and how many documents the build has done.
fn state(group: &Group, node: usize) -> (String, i64) {
    let describe = Request::Describe { collection: Some(COLLECTION.to_owned()) };
    let answer = group.nodes[node].store.reader().query(&describe).expect("no trouble");
    let Ok(Value::Document(description)) = answer else { return (String::new(), 0) };
    let indexes = description.get_array("indexes").expect("indexes");
    let Some(index) = indexes.get(1).and_then(Value::as_document) else {
        return (String::new(), 0);
    };
    let done = index.get_i64("documents_done").unwrap_or_default();
    (index.get_str("state").expect("a state").to_owned(), done)
}

fn is_ready(group: &Group, node: usize) -> bool {
    state(group, node).0 == "ready"
}

#[test]
fn a_build_goes_on_without_clients_and_across_a_change_of_leader() {
    let mut group = Group::new(Policy::Paxos, 3, settings);
    let old = building(&mut group);
    let (word, done) = state(&group, old);
    assert!(word == "building" && done < DOCUMENTS, "{word} {done}");
    let others = [(old + 1) % 3, (old + 2) % 3];
    group.until("the others build it", without(old), |group| {
        others.iter().all(|node| is_ready(group, *node))
    });
    assert!(!is_ready(&group, old), "it was cut off");
    group.until("the old leader has caught up", all, |group| is_ready(group, old));
    // What it proposed alone, and lost, is proposed no more.
    let applied = |group: &Group| group.nodes[old].replica.applied();
    group.until("all are quiet", all, |group| {
        group.nodes.iter().all(|node| node.replica.applied() == applied(group))
    });
    let before = applied(&group);
    for _ in 0..500 {
        group.tick(all);
    }
    assert_eq!(applied(&group), before, "nothing is left to build");
    let hash = |node: usize| group.nodes[node].store.content_hash().expect("hash");
    assert_eq!(hash(0), hash(1));
    assert_eq!(hash(1), hash(2));
    for node in &group.nodes {
        node.store.verify().expect("sound");
    }
}
