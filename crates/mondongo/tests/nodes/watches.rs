//! Feeds of changes at real nodes: woken, resumed at other nodes, and refused where the log is cut (spec X1).

use crate::group::{Connection, Group, wait_for};
use api::{Document, Subject};
use client::{Client, Options};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Asks for what follows `from` until there is something, at one node.
fn poll(group: &Group, number: usize, subject: &Value, from: &Value) -> (Vec<Value>, Value) {
    let mut subject = subject.clone();
    subject["from"] = from.clone();
    let answer = group.ask(number, &json!(["watch", subject, { "timeout_ms": 2_000 }]));
    assert_eq!(answer[0], "ok", "{answer}");
    let events = answer[1]["events"].as_array().expect("events").clone();
    (events, answer[1]["next"].clone())
}

fn brief(event: &Value) -> Value {
    let name = event.get("collection").or(event.get("key")).cloned();
    let what = event.get("document").or(event.get("value")).or(event.get("_id")).cloned();
    json!([event["op"], name, what])
}

/// Every kind of change, as one node and then another tells it.
#[test]
fn changes_are_told_in_order_from_any_place_at_any_node() {
    let group = Group::start(3);
    let begin = group.ask(0, &json!(["watch", { "collection": "c" }]));
    let begin = begin[1]["next"].clone();
    for request in [
        json!(["create", "c", { "n": { "type": "int", "unique": true } }]),
        json!(["insert", "c", [{ "_id": 1, "n": 1 }, { "_id": 2, "n": 2 }]]),
        json!(["write", "other", 1]),
        json!(["update", "c", {}, { "$inc": { "m": 1 } }]),
        json!(["insert", "c", { "_id": 3, "n": 1 }]),
        json!(["batch", [["delete", "c", { "_id": 2 }], ["insert", "c", { "_id": 2, "n": 7 }], ["write", "k", 5]]]),
        json!(["delete", "c", { "_id": 1 }]),
        json!(["destroy", "c"]),
    ] {
        group.ask(1, &request);
    }
    let expected = [
        json!(["create", "c", null]),
        json!(["insert", "c", { "_id": 1, "n": 1 }]),
        json!(["insert", "c", { "_id": 2, "n": 2 }]),
        json!(["update", "c", { "_id": 1, "n": 1, "m": 1 }]),
        json!(["update", "c", { "_id": 2, "n": 2, "m": 1 }]),
        json!(["update", "c", { "_id": 2, "n": 7 }]),
        json!(["delete", "c", 1]),
        json!(["destroy", "c", null]),
    ];
    // One event at a time, each from another node, with its own place in between.
    let (mut from, mut told, mut number) = (begin.clone(), Vec::new(), 0);
    while told.len() < expected.len() {
        number = (number + 1) % 3;
        let subject = json!({ "collection": "c", "from": from });
        let asked = json!(["watch", subject, { "timeout_ms": 2_000, "batch": 1 }]);
        let answer = group.ask(number, &asked);
        assert_eq!(answer[0], "ok", "{answer}");
        told.extend(answer[1]["events"].as_array().expect("events").iter().map(brief));
        from = answer[1]["next"].clone();
    }
    assert_eq!(told, expected);

    // A filter, and keys.
    let (events, _) = poll(&group, 2, &json!({ "collection": "c", "filter": { "m": 1 } }), &begin);
    let operations: Vec<&str> = events.iter().filter_map(|event| event["op"].as_str()).collect();
    assert_eq!(operations, ["create", "update", "update", "delete", "destroy"]);
    let (events, next) = poll(&group, 0, &json!({ "prefix": "" }), &begin);
    let events: Vec<Value> = events.iter().map(brief).collect();
    assert_eq!(events, [json!(["write", "other", 1]), json!(["write", "k", 5])]);

    // Nothing happens to it: only the place goes on. Then it is woken.
    group.ask(0, &json!(["write", "another", 1]));
    let mut connection = Connection::open(&group.nodes[0].address).expect("connected");
    let ask = |from: &Value, time: u32| json!(["watch", { "key": "k", "from": from }, { "timeout_ms": time }]);
    let answer = connection.ask(&ask(&next, 50)).expect("an answer");
    assert_eq!(answer[1]["events"], json!([]));
    assert!(answer[1]["next"][0].as_u64() > next[0].as_u64(), "{answer} after {next}");
    let begun = Instant::now();
    connection.send(&ask(&answer[1]["next"], 60_000)).expect("sent");
    wait_for("the watch to wait", || (group.status(0)?["watches"].as_u64()? > 0).then_some(()));
    group.ask(2, &json!(["swap", "k", 6]));
    let answer = connection.receive().expect("an answer");
    assert_eq!(brief(&answer[1]["events"][0]), json!(["write", "k", 6]), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(30), "it was woken");
}

/// What is not kept any more is refused as such, and never left out.
#[test]
fn a_place_behind_a_cut_log_is_compacted() {
    let mut group = Group::with_arguments(1, &["--log-retain-mib", "1"]);
    let text = "x".repeat(60_000);
    for number in 0..60 {
        group.ask(0, &json!(["write", format!("k{}", number % 3), text]));
    }
    let first = json!(["watch", { "prefix": "k", "from": 1 }, { "timeout_ms": 100 }]);
    let refused = wait_for("the log to be cut", || {
        let answer = group.ask(0, &first);
        (answer[0] == "ko").then(|| answer[1].as_str().unwrap_or_default().to_owned())
    });
    assert!(refused.starts_with("compacted: "), "{refused}");
    let now = group.ask(0, &json!(["watch", { "prefix": "k" }]))[1]["next"].clone();
    // Before and after a restart.
    for value in 0..2 {
        group.ask(0, &json!(["write", "k0", value]));
        group.kill(0);
        group.start_node(0, None);
        wait_for("the node to serve again", || group.status(0));
    }
    let (events, _) = poll(&group, 0, &json!({ "prefix": "k" }), &now);
    let told: Vec<Value> = events.iter().map(brief).collect();
    assert_eq!(told, [json!(["write", "k0", 0]), json!(["write", "k0", 1])]);
}

/// X1: watches across kill -9 of the node they are at, and of the leader: nothing left out, nothing twice.
#[test]
fn a_watch_follows_the_group_through_kills_without_gap_or_repeat() {
    const WRITES: i64 = 240;
    let mut group = Group::start(3);
    group.ask(0, &json!(["create", "c", {}]));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let addresses = group.addresses();
    let connect = || {
        Client::connect(
            &addresses,
            Options { timeout: Duration::from_secs(30), ..Options::default() },
        )
    };
    let (writer, watcher) = runtime.block_on(async {
        (connect().await.expect("connected"), connect().await.expect("connected"))
    });
    // The watch stands before the first write.
    let watching = |subject: Subject, is_last: fn(&Document) -> bool| {
        let mut watch = runtime.block_on(watcher.watch(subject, None)).expect("a watch");
        runtime.spawn(async move {
            let mut told = Vec::new();
            loop {
                let event = watch.next().await.expect("an event");
                let is_over = is_last(&event.fields);
                told.push(event);
                if is_over {
                    return told;
                }
            }
        })
    };
    let of_key = watching(Subject::Key("k".into()), |event| {
        event.get_i64("value").is_ok_and(|value| value == WRITES - 1)
    });
    let of_collection = watching(Subject::Collection("c".into()), |event| {
        event.get_i64("_id").is_ok_and(|id| id == WRITES - 1)
    });
    let writing = runtime.spawn(async move {
        for number in 0..WRITES {
            writer.swap("k", number).await.expect("swapped");
            let document = Document::from_iter([("_id".to_owned(), api::Value::Int64(number))]);
            writer.insert("c", document).await.expect("inserted");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    // By turns the leader and another.
    for round in 0..4 {
        let leader = group.leader();
        let victim = if round % 2 == 0 { leader } else { (leader + 1) % 3 };
        group.kill(victim);
        let others: Vec<usize> = (0..3).filter(|number| *number != victim).collect();
        group.one_leader_among(&others);
        group.start_node(victim, None);
        wait_for("the node to serve again", || group.status(victim));
    }
    let patience = Duration::from_secs(60);
    let (key, collection) = runtime.block_on(async {
        writing.await.expect("written");
        let told = async { (of_key.await.expect("told"), of_collection.await.expect("told")) };
        tokio::time::timeout(patience, told).await.expect("all is told in the end")
    });
    let expected: Vec<i64> = (0..WRITES).collect();
    let values: Vec<i64> =
        key.iter().filter_map(|event| event.fields.get_i64("value").ok()).collect();
    assert_eq!(values, expected, "of the key");
    let ids: Vec<i64> =
        collection.iter().filter_map(|event| event.fields.get_i64("_id").ok()).collect();
    assert_eq!(ids, expected, "of the collection");
    // Once more from the middle, at whichever node: the same.
    let middle = key[100].resume();
    let mut again = watcher.watch_from(Subject::Key("k".into()), None, middle);
    for event in &key[101..] {
        let told = runtime.block_on(async { tokio::time::timeout(patience, again.next()).await });
        assert_eq!(&told.expect("in time").expect("an event"), event);
    }
}
