//! `import` and `export` against real nodes: each line once through crashes, bad lines kept, round trips.

use crate::group::{Group, mondongo, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn command(group: &Group, words: &[&str]) -> Command {
    let mut command = mondongo();
    command.arg(words[0]).arg(group.addresses().join(",")).args(&words[1..]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(group: &Group, words: &[&str]) -> Output {
    command(group, words).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn told(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn write(group: &Group, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = group.folder.path().join(name);
    fs::write(&path, content).expect("written");
    path
}

fn show(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The lines of an export.
fn exported(group: &Group, collection: &str) -> Vec<Value> {
    let output = run(group, &["export", collection, "-", "--quiet"]);
    assert!(output.status.success(), "{}", told(&output));
    let lines = text(&output.stdout);
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn rejected(path: &Path) -> Vec<(u64, String)> {
    let lines = fs::read_to_string(path).expect("rejected lines");
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("JSON");
        let reason = value["reason"].as_str().expect("a reason").to_string();
        (value["line"].as_u64().expect("a number"), reason)
    };
    lines.lines().map(line).collect()
}

/// Killed again and again, and with a node killed meanwhile, an import takes every line once; bad lines are told once.
#[test]
fn an_import_killed_in_the_middle_goes_on_and_takes_each_line_once() {
    let mut group = Group::start(3);
    assert_eq!(group.ask(0, &json!(["create", "c", {"n": "int"}]))[0], "ok");
    const LINES: u64 = 30_000;
    let bad = |n: u64| n % 1_000 == 77;
    let line = |n| format!("{{\"n\":{}}}\n", if bad(n) { "\"x\"".into() } else { n.to_string() });
    let file = write(&group, "lines.jsonl", (0..LINES).map(line).collect::<String>());
    let state = group.folder.path().join("lines.jsonl.import-state");
    let reached = || {
        let text = fs::read_to_string(&state).ok()?;
        let value: Value = serde_json::from_str(&text).expect("the state is always whole");
        value["reached"]["records"].as_u64()
    };
    let words = ["import", "c", show(&file), "--batch", "50"];
    let mut before = 0;
    for kill in 0..3 {
        let mut child = command(&group, &words).spawn().expect("it runs");
        wait_for("some progress", || {
            assert!(child.try_wait().expect("known").is_none(), "it ended before it was killed");
            reached().filter(|now| *now > before)
        });
        if kill == 1 {
            group.kill(0);
        }
        child.kill().expect("killed");
        child.wait().expect("it ends");
        before = reached().expect("a state");
        assert!(before < LINES, "it was killed in the middle");
    }
    group.start_node(0, None);
    let output = run(&group, &words);
    assert_eq!(output.status.code(), Some(1), "some lines are bad: {}", told(&output));
    assert!(told(&output).contains("goes on after line"), "{}", told(&output));
    assert!(told(&output).contains("29,970 documents imported, 30 rejected"), "{}", told(&output));
    let mut found: BTreeMap<u64, u64> = BTreeMap::new();
    for document in exported(&group, "c") {
        *found.entry(document["n"].as_u64().expect("a number")).or_default() += 1;
    }
    let expected: BTreeMap<u64, u64> = (0..LINES).filter(|n| !bad(*n)).map(|n| (n, 1)).collect();
    assert!(found == expected, "{} of {}", found.len(), expected.len());
    let lines: Vec<u64> =
        rejected(&group.folder.path().join("lines.jsonl.rejected")).iter().map(|r| r.0).collect();
    assert_eq!(lines, (0..30).map(|n| n * 1_000 + 78).collect::<Vec<_>>());
    assert!(!state.exists(), "nothing is left to go on with");
}

/// Bad lines have their number and reason; what is done with duplicates is as it was asked for.
#[test]
fn bad_lines_and_duplicates_are_told() {
    let group = Group::start(1);
    assert_eq!(group.ask(0, &json!(["create", "c", {"age": "int", "zip": "str"}]))[0], "ok");
    let csv = "_id,age,zip,a.b\n1,30,007,x\n2,old,1,\n3,4,5\n1,31,8,\n4,,\"two\nlines\",2\n";
    let file = write(&group, "t.csv", csv);
    let output = run(&group, &["import", "c", show(&file)]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let reasons = rejected(&group.folder.path().join("t.csv.rejected"));
    let lines: Vec<u64> = reasons.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 4, 5], "{reasons:?}");
    for ((_, reason), part) in
        reasons.iter().zip(["age is declared int", "3 cells where the header has 4", "duplicate"])
    {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(
        exported(&group, "c"),
        [
            json!({"_id": 1, "age": 30, "zip": "007", "a": {"b": "x"}}),
            json!({"_id": 4, "zip": "two\nlines", "a": {"b": 2}}),
        ]
    );
    let more = write(&group, "more.jsonl", "{\"_id\":1}\n\n{\"_id\":9}\n");
    let output = run(&group, &["import", "c", show(&more), "--on-duplicate", "skip"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(told(&output).contains("1 documents imported, 1 passed over"), "{}", told(&output));
    assert!(!group.folder.path().join("more.jsonl.rejected").exists());
    let output = run(&group, &["import", "c", show(&more), "--on-duplicate", "fail", "--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(answer["stopped"].as_str().is_some_and(|reason| reason.contains("line 1")), "{answer}");
    // What it was stopped at is noted; another import does not go on with it.
    let output = run(&group, &["import", "c", show(&more)]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains("of another import"), "{}", told(&output));
    let output = run(&group, &["import", "c", show(&more), "--restart"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let output = run(&group, &["import", "nowhere", show(&more)]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains("say --create"), "{}", told(&output));
}

/// What is exported is imported as the same, whatever way it comes in: plain, compressed, through a pipe, as CSV.
#[test]
fn exports_and_imports_are_inverse() {
    let group = Group::start(1);
    let documents: Vec<Value> = (0..2_500)
        .map(|n| match n % 5 {
            0 => json!({"_id": n, "f": 0.5, "l": [1, "a", {"x": null}], "t": "a \"b\", c\n"}),
            1 => json!({"_id": format!("s{n}"), "d": {"$date": "2024-02-29T12:30:00Z"}}),
            2 => json!({"_id": {"$oid": format!("{n:024x}")}, "n": -n}),
            3 => json!({"_id": {"a": n}, "b": true, "deep": {"er": {"still": [[]]}}}),
            _ => json!({"_id": {"$date": format!("{}-01-01T00:00:00Z", 1970 + n)}, "n": n}),
        })
        .collect();
    let lines: String = documents.iter().map(|document| format!("{document}\n")).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines.as_bytes()).expect("compressed");
    let zstd = ruzstd::encoding::compress_to_vec(
        lines.as_bytes(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    let inputs = [
        write(&group, "a.jsonl", &lines),
        write(&group, "b.jsonl.gz", gzip.finish().expect("compressed")),
        write(&group, "c.jsonl.zst", zstd),
    ];
    let mut all = Vec::new();
    for (input, collection) in inputs.iter().zip(["a", "b", "c"]) {
        let output = run(&group, &["import", collection, show(input), "--create", "--quiet"]);
        assert!(output.status.success(), "{}", told(&output));
        all.push(exported(&group, collection));
    }
    let pipe = command(&group, &["import", "d", "-", "--create"]).stdin(Stdio::piped()).spawn();
    let mut pipe = pipe.expect("it runs");
    let mut stdin = pipe.stdin.take().expect("a pipe");
    all[0].iter().for_each(|document| writeln!(stdin, "{document}").expect("it reads"));
    drop(stdin);
    let output = pipe.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", told(&output));
    all.push(exported(&group, "d"));
    assert_eq!(all[0].len(), documents.len());
    assert!(all.iter().all(|one| *one == all[0]), "all ways in give the same");
    assert!(documents.iter().all(|document| all[0].contains(document)), "nothing has changed");

    let csv = group.folder.path().join("part.csv");
    let query = "{\"t\":{\"$exists\":true}}";
    let words = ["export", "a", show(&csv), "--query", query, "--fields", "_id,f,l,t"];
    let output = run(&group, &words);
    assert!(output.status.success(), "{}", told(&output));
    let output = run(&group, &["import", "e", show(&csv), "--create"]);
    assert!(output.status.success(), "{}", told(&output));
    let part: Vec<&Value> = all[0].iter().filter(|document| document["t"].is_string()).collect();
    let again = exported(&group, "e");
    assert_eq!(again.iter().collect::<Vec<_>>(), part);
}

/// Replacing puts documents in the place of those with their `_id`s; of lines with one `_id` the last one wins.
#[test]
fn an_import_can_replace_what_is_there() {
    let group = Group::start(1);
    let line = |n: u64, v: &str| format!("{{\"_id\":{n},\"v\":\"{v}\"}}\n");
    let first: String = (0..1_500).map(|n| line(n, "old")).collect();
    let first = write(&group, "first.jsonl", first);
    let output = run(&group, &["import", "c", show(&first), "--create"]);
    assert!(output.status.success(), "{}", told(&output));
    let second: String =
        (1_000..2_000).map(|n| line(n, "new") + &line(n / 2, &format!("half {n}"))).collect();
    let second = write(&group, "second.jsonl", second);
    let output = run(&group, &["import", "c", show(&second), "--upsert", "--batch", "100"]);
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("2,000 documents imported"), "{}", told(&output));
    let found = exported(&group, "c");
    assert_eq!(found.len(), 2_000);
    for document in &found {
        let n = document["_id"].as_u64().expect("a number");
        let expected = match n {
            0..500 => "old".to_string(),
            500..1_000 => format!("half {}", n * 2 + 1),
            _ => "new".to_string(),
        };
        assert_eq!(document["v"], expected.as_str(), "{n}");
    }
    // The prompt fetches as many parts as there are.
    let output = mondongo()
        .args(["cli", &group.nodes[0].address, "--json", "-c", "search c *"])
        .output()
        .expect("it runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer[1].as_array().map(Vec::len), Some(2_000), "all documents");
}

/// A document that no answer has room for is left out and named, and all others are written.
#[test]
fn an_export_goes_on_past_a_document_too_long_for_any_answer() {
    let group = Group::start(1);
    assert_eq!(group.ask(0, &json!(["create", "c", {}]))[0], "ok");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // 12.8 MB of BSON, 17 MB of JSON: it can only grow to that.
    let long = |field: &str| {
        let bytes = vec![7; 6_400_000];
        let subtype = bson::spec::BinarySubtype::Generic;
        let binary = api::Value::Binary(bson::Binary { subtype, bytes });
        api::Document::from_iter([(field.to_string(), binary)])
    };
    let one = |id: i64| api::Document::from_iter([("_id".to_string(), api::Value::from(id))]);
    runtime.block_on(async {
        let options = client::Options::default();
        let client = client::Client::connect(&group.addresses(), options).await.expect("connected");
        client.insert_many("c", (0..10).map(one).collect()).await.expect("inserted");
        for id in [0, 4, 9] {
            for field in ["a", "b"] {
                assert_eq!(client.update("c", one(id), long(field)).await.expect("updated"), 1);
            }
        }
    });
    let file = group.folder.path().join("c.jsonl");
    let output = run(&group, &["export", "c", show(&file), "--quiet"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("3 documents are too long"), "{}", told(&output));
    let ids = |path: &Path| -> Vec<i64> {
        let lines = fs::read_to_string(path).expect("a file");
        let id = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["_id"].as_i64();
        lines.lines().filter_map(id).collect()
    };
    assert_eq!(ids(&file), [1, 2, 3, 5, 6, 7, 8]);
    assert_eq!(ids(&group.folder.path().join("c.jsonl.rejected")), [0, 4, 9]);
    // Parts of them can be had.
    let output = run(&group, &["export", "c", show(&file), "--quiet", "--fields", "a"]);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(ids(&file).len(), 10);
    assert!(!group.folder.path().join("c.jsonl.rejected").exists());
}
