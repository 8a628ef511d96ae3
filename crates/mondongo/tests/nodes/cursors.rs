//! Long results in parts, and several writes as one step, at real nodes (spec X1, X2).

use crate::group::{Connection, Group, wait_for};
use client::{Client, Options};
use serde_json::{Value, json};

/// A collection with numbered documents of a hundred bytes or so.
fn fill(group: &Group, count: usize) {
    assert_eq!(group.ask(0, &json!(["create", "c", {}])), json!(["ok", null]));
    for first in (0..count).step_by(200) {
        let document = |number| json!({ "_id": number, "text": "x".repeat(90) });
        let documents: Vec<Value> = (first..count.min(first + 200)).map(document).collect();
        assert_eq!(group.ask(0, &json!(["insert", "c", documents]))[0], "ok");
    }
}

fn ids(page: &Value) -> Vec<usize> {
    let documents = page["documents"].as_array().unwrap_or_else(|| panic!("no page: {page}"));
    documents.iter().map(|d| d["_id"].as_u64().expect("a number") as usize).collect()
}

/// X2: a result over 65,535 bytes, without `hello`, is a `ko` with a cursor; with it, it is an answer.
#[test]
fn a_long_result_comes_in_parts_or_in_a_long_frame() {
    let group = Group::start(1);
    fill(&group, 1_500);
    let mut connection = Connection::open(&group.nodes[0].address).expect("connected");
    let mut ask = |request: &Value| connection.ask(request).expect("an answer");

    let answer = ask(&json!(["search", "c", {}]));
    let reason = answer[1].as_str().expect("a reason");
    assert!(answer[0] == "ko" && reason.starts_with("result_too_large: "), "{answer}");
    let mut cursor = json!(reason.rsplit(' ').next().expect("a cursor"));
    let mut found = Vec::new();
    while !cursor.is_null() {
        // Written meanwhile: not seen.
        ask(&json!(["insert", "c", { "_id": 10_000 + found.len() }]));
        let answer = ask(&json!(["next", cursor]));
        assert_eq!(answer[0], "ok", "{answer}");
        // The answer may be lost: the same part again.
        assert_eq!(ask(&json!(["next", cursor])), answer);
        found.extend(ids(&answer[1]));
        cursor = answer[1]["cursor"].clone();
    }
    assert_eq!(found, (0..1_500).collect::<Vec<_>>());

    // On purpose, and closed before its end.
    let answer = ask(&json!(["search", "c", {}, { "batch": 7, "sort": { "_id": -1 }, "skip": 5 }]));
    assert_eq!(ids(&answer[1]).len(), 7);
    let cursor = answer[1]["cursor"].clone();
    assert_eq!(ids(&ask(&json!(["next", cursor, { "batch": 2 }]))[1]).len(), 2);
    let open = |status: &Value| status[1]["cursors"].as_u64();
    assert_eq!(open(&ask(&json!(["status"]))), Some(1));
    assert_eq!(ask(&json!(["close", cursor])), json!(["ok", true]));
    assert_eq!(open(&ask(&json!(["status"]))), Some(0));
    let answer = ask(&json!(["next", cursor]));
    assert!(answer[1].as_str().is_some_and(|said| said.starts_with("cursor_gone: ")), "{answer}");

    // What is short for a frame of 4 bytes.
    assert_eq!(ask(&json!(["write", "k", "y".repeat(65_000)]))[0], "ok");
    assert_eq!(ask(&json!(["update", "c", { "_id": 3 }, { "text": "z".repeat(60_000) }]))[0], "ok");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client =
            Client::connect(&group.addresses(), Options::default()).await.expect("connected");
        let whole = client.search("c", client_document(), api::SearchOptions::default()).await;
        assert!(whole.expect("a long frame").len() > 1_500);
        let all = client.search_all("c", client_document(), api::SearchOptions::default()).await;
        assert!(all.expect("in parts").len() > 1_500);
        // Up to 16 MiB both ways.
        let text = "x".repeat(15 << 20);
        client.write("long", text.as_str()).await.expect("written");
        assert_eq!(client.read("long").await.expect("read"), api::Value::from(text));
    });
}

fn client_document() -> api::Document {
    api::Document::new()
}

/// X2: a cursor lives at its node, whoever leads; elsewhere, and after a restart, it is gone and says so.
#[test]
fn a_cursor_survives_a_change_of_leader_and_not_its_node() {
    let mut group = Group::with_arguments(3, &["--cursor-timeout", "2s"]);
    fill(&group, 600);
    let leader = group.leader();
    let at = (leader + 1) % 3;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // Up to there.
    wait_for("what was inserted at every node", || {
        let count = json!(["search", "c", {}, { "count": true, "level": "local" }]);
        (0..3).all(|number| group.ask(number, &count) == json!(["ok", 600])).then_some(())
    });
    let one = [group.nodes[at].address.clone()];
    let client = runtime.block_on(Client::connect(&one, Options::default())).expect("connected");
    let search = api::SearchOptions::default();
    let opening = client.search_in_parts("c", client_document(), search.clone(), 50);
    let mut cursor = runtime.block_on(opening).expect("opened");
    let mut found = 0;
    let mut read = |cursor: &mut client::Cursor, count: usize| {
        for _ in 0..count {
            let document = runtime.block_on(cursor.next()).expect("the next").expect("one more");
            assert_eq!(document.get_i64("_id").ok(), Some(found));
            found += 1;
        }
    };
    read(&mut cursor, 120);
    group.kill(leader);
    read(&mut cursor, 200);
    let rest: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
    group.one_leader_among(&rest);
    read(&mut cursor, 280);
    assert_eq!(runtime.block_on(cursor.next()).expect("the end"), None);

    // Elsewhere nobody knows it.
    let answer = group.ask(at, &json!(["search", "c", {}, { "batch": 5, "level": "local" }]));
    let name = answer[1]["cursor"].clone();
    let other = rest.into_iter().find(|number| *number != at).expect("another");
    let elsewhere = group.ask(other, &json!(["next", name]));
    assert!(
        elsewhere[1].as_str().is_some_and(|said| said.starts_with("cursor_gone: ")),
        "{elsewhere}"
    );
    assert_eq!(group.ask(at, &json!(["next", name]))[0], "ok");
    // Nobody asks for it any more.
    wait_for("the cursor to time out", || (group.status(at)?["cursors"] == json!(0)).then_some(()));
    // With its node it goes.
    group.start_node(leader, None);
    let mut cursor = runtime
        .block_on(client.search_in_parts("c", client_document(), search, 50))
        .expect("opened");
    let home = runtime.block_on(client.connected_to()).expect("somewhere");
    let home = group.nodes.iter().position(|node| node.address == home).expect("one of them");
    for _ in 0..50 {
        runtime.block_on(cursor.next()).expect("the next").expect("one more");
    }
    group.kill(home);
    let error = runtime.block_on(cursor.next()).expect_err("its node is gone");
    assert_eq!(error.code, api::ErrorCode::CursorGone, "{error}");
    group.start_node(home, None);
    wait_for("the node to serve again", || group.status(home));
    let error = runtime.block_on(cursor.next()).expect_err("it is another life of it");
    assert_eq!(error.code, api::ErrorCode::CursorGone, "{error}");
}

/// X1: a batch at any node is one step, exactly once.
#[test]
fn a_batch_is_one_step_at_every_node() {
    let mut group = Group::start(3);
    assert_eq!(
        group.ask(0, &json!(["create", "c", { "n": { "type": "int", "unique": true } }])),
        json!(["ok", null])
    );
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client =
            Client::connect(&group.addresses(), Options::default()).await.expect("connected");
        let insert = |n: i64| api::Request::Insert {
            collection: "c".into(),
            documents: vec![api::Document::from_iter([("n".to_owned(), api::Value::from(n))])],
            list: false,
        };
        let swap = |value: i64| api::Request::Swap { key: "k".into(), value: value.into() };
        for round in 0..20 {
            let mut requests = vec![insert(round), swap(round)];
            if round % 2 == 1 {
                // It is there already.
                requests.push(insert(0));
            }
            match client.batch(requests).await {
                Ok(answers) => assert!(round % 2 == 0 && answers.len() == 2),
                Err(error) => {
                    assert_eq!((round % 2, error.code), (1, api::ErrorCode::Duplicate), "{error}");
                    assert!(error.message.contains("position 2"), "{error}");
                }
            }
            if round == 9 {
                group.kill(2);
            }
        }
        assert_eq!(client.read("k").await.expect("read"), api::Value::Int64(18));
        assert_eq!(client.count("c", client_document()).await.expect("counted"), 10);
    });
    let refused = group.ask(0, &json!(["batch", [["write", "k", 1], ["batch", []]]]));
    assert!(refused[1].as_str().is_some_and(|said| said.contains("position 1")), "{refused}");
    let refused = group.ask(0, &json!(["batch", [["write", "k", 1, { "ref": "a:1" }]]]));
    assert!(refused[1].as_str().is_some_and(|said| said.contains("position 0")), "{refused}");
}

/// X2: what comes out of a pipeline is read in parts as a search is, whether it is held or looked up.
#[test]
fn a_pipeline_comes_in_parts() {
    let group = Group::start(1);
    fill(&group, 1_000);
    let mut connection = Connection::open(&group.nodes[0].address).expect("connected");
    let mut ask = |request: &Value| connection.ask(request).expect("an answer");
    let search = json!([{ "$match": { "_id": { "$gte": 100 } } }, { "$sort": { "_id": 1 } }, { "$limit": 700 }]);
    let computed = json!([{ "$match": { "_id": { "$gte": 100 } } }, { "$project": { "n": 1 } }, { "$limit": 700 }]);
    for pipeline in [search, computed] {
        let mut answer = ask(&json!(["aggregate", "c", pipeline, { "batch": 64 }]));
        let mut found = Vec::new();
        loop {
            assert_eq!(answer[0], "ok", "{answer}");
            found.extend(ids(&answer[1]));
            assert!(ids(&answer[1]).len() <= 64);
            // Written meanwhile: not seen.
            ask(&json!(["delete", "c", { "_id": 799 - found.len() as i64 / 64 }]));
            let cursor = &answer[1]["cursor"];
            if cursor.is_null() {
                break;
            }
            answer = ask(&json!(["next", cursor]));
        }
        let first = found.len();
        found.sort_unstable();
        found.dedup();
        assert_eq!((first, found.len()), (700, 700));
    }
    let refused = ask(&json!(["aggregate", "c", [], { "batch": 0 }]));
    assert!(refused[1].as_str().is_some_and(|said| said.contains("option batch")), "{refused}");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client =
            Client::connect(&group.addresses(), Options::default()).await.expect("connected");
        let pipeline =
            vec![api::Document::from_iter([("$sort".to_string(), api::Value::from(sort_by_id()))])];
        let mut cursor = client.aggregate_in_parts("c", pipeline, 100).await.expect("a cursor");
        let mut count = 0;
        while cursor.next().await.expect("a document").is_some() {
            count += 1;
        }
        assert!(count > 900, "{count}");
    });
}

fn sort_by_id() -> api::Document {
    api::Document::from_iter([("_id".to_string(), api::Value::from(-1i64))])
}

/// D6: with `wait` the answer comes when the index is ready; or that there was no time, and the build goes on.
#[test]
fn an_index_is_waited_for() {
    let group = Group::start(3);
    fill(&group, 4_000);
    let mut connection = Connection::open(&group.nodes[1].address).expect("connected");
    let mut ask = |request: &Value| connection.ask(request).expect("an answer");
    let ready = |name: &str| json!(["ok", { "name": name, "state": "ready" }]);
    let options = json!({ "wait": true, "timeout_ms": 120_000 });
    assert_eq!(ask(&json!(["create_index", "c", { "text": 1 }, options])), ready("text_1"));
    // One that is there is ready at once; nothing is waited for where nobody asks for it.
    assert_eq!(ask(&json!(["create_index", "c", { "text": 1 }, options])), ready("text_1"));
    let answer = ask(&json!(["create_index", "c", { "a": 1 }, { "timeout_ms": 1, "wait": true }]));
    let said = answer[1].as_str().unwrap_or_default().to_string();
    assert!(answer[0] == "ko" && said.starts_with("timeout: "), "{answer}");
    // It may not even have been begun in so short a time; then it is begun now, and goes on as it would have.
    assert_eq!(ask(&json!(["create_index", "c", { "a": 1 }, options])), ready("a_1"));
    // What cannot be built is told with the reason, and stays to be dropped.
    assert_eq!(
        ask(&json!(["update", "c", { "_id": { "$in": [3_000, 3_500] } }, { "u": 7 }]))[0],
        "ok"
    );
    let unique = json!({ "unique": true, "wait": true, "timeout_ms": 120_000 });
    let answer = ask(&json!(["create_index", "c", { "u": 1 }, unique]));
    let said = answer[1].as_str().unwrap_or_default();
    assert!(said.starts_with("duplicate: ") && said.contains("E11000"), "{answer}");
    assert_eq!(ask(&json!(["drop_index", "c", "u_1"])), json!(["ok", null]));
    let refused = ask(&json!(["search", "c", {}, { "wait": true }]));
    assert!(
        refused[1].as_str().is_some_and(|said| said.starts_with("unknown_option")),
        "{refused}"
    );
}
