//! `bench` against real nodes: what it counts is what the store then holds (D5).

use crate::group::{Group, mondongo, wait_for};
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};

fn command(group: &Group, words: &[&str]) -> Command {
    let mut command = mondongo();
    command.arg("bench").arg(group.addresses().join(",")).args(words);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(group: &Group, words: &[&str]) -> Output {
    command(group, words).output().expect("it runs")
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn measured(group: &Group, words: &[&str]) -> Value {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    let output = run(group, &words);
    assert!(output.status.success(), "{words:?}: {}", told(&output));
    assert!(output.stderr.is_empty(), "{}", told(&output));
    serde_json::from_slice(&output.stdout).expect("one object")
}

fn documents(group: &Group) -> u64 {
    let answer = group.ask(0, &json!(["count", "bench", {}]));
    answer[1].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

/// D5: inserts that were counted are there, no more and no fewer; every answer of every operation is right.
#[test]
fn bench_counts_what_the_store_then_holds() {
    let group = Group::start(3);
    let report = measured(&group, &["--operation", "insert", "--count", "700", "--clients", "7"]);
    assert_eq!(report["results"]["operations"]["insert"]["right"], 700);
    assert_eq!(documents(&group), 700);
    let histogram = report["results"]["all"]["histogram_ns"].as_array().expect("pairs");
    let counted: u64 = histogram.iter().map(|pair| pair[1].as_u64().expect("a count")).sum();
    assert_eq!(counted, 700);
    let at = report["results"]["clients_at"].as_object().expect("members");
    assert_eq!((at.len(), at.values().filter_map(Value::as_u64).sum::<u64>()), (3, 7));

    // Loading replaces the documents; then only inserts add any. The pids are those of the nodes.
    let pids: Vec<String> = (0..3).map(|number| group.pid(number).to_string()).collect();
    let names =
        ["put", "get", "get-local", "swap", "cas", "insert", "search", "range", "update", "batch"];
    let mix: Vec<String> = names.iter().map(|name| format!("{name}=1")).collect();
    let (mix, pids) = (mix.join(","), pids.join(","));
    let words = [
        "--operation",
        &mix,
        "--preload",
        "--keys",
        "300",
        "--count",
        "2000",
        "--clients",
        "6",
        "--threads",
        "2",
        "--pipeline",
        "3",
        "--distribution",
        "zipf",
        "--batch",
        "4",
        "--pids",
        &pids,
        "--first",
    ];
    let report = measured(&group, &words);
    let of = |name: &str| report["results"]["operations"][name]["right"].as_u64().expect(name);
    assert_eq!(names.iter().map(|name| of(name)).sum::<u64>(), 2_000);
    assert_eq!(documents(&group), 300 + of("insert"));
    assert_eq!(report["results"]["processes"]["resident_mib"].as_array().map(Vec::len), Some(3));
    assert_eq!(report["results"]["clients_at"].as_object().map(serde_json::Map::len), Some(1));
    let key = group.ask(1, &json!(["read", "bench/000000299"]));
    assert_eq!(key[1].as_str().map(str::len), Some(256), "{key}");

    // An open loop sends what is due.
    let words = [
        "--operation",
        "get",
        "--keys",
        "300",
        "--rate",
        "500",
        "--count",
        "250",
        "--arrivals",
        "uniform",
    ];
    let report = measured(&group, &words);
    assert_eq!(
        (&report["results"]["open"]["due"], &report["results"]["open"]["sent"]),
        (&json!(250), &json!(250))
    );
    // The last of them was due after 498 ms.
    assert!(
        report["results"]["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.498),
        "{report}"
    );
}

/// What is missing or in the way is told before anything is measured.
#[test]
fn bench_tells_what_it_cannot_measure() {
    let mut group = Group::start(1);
    for (words, part) in [
        (&["--operation", "get", "--keys", "10"][..], "bench/000000000 holds null"),
        (&["--operation", "search", "--keys", "10"], "insert them with --preload"),
        (&["--pids", "4294967295"], "/proc/4294967295/stat"),
    ] {
        let output = run(&group, words);
        assert_eq!(output.status.code(), Some(3), "{}", told(&output));
        assert!(told(&output).contains(part), "{}", told(&output));
    }
    assert_eq!(group.ask(0, &json!(["create", "other", {"email": "int"}]))[0], "ok");
    let output = run(&group, &["--operation", "insert", "--collection", "other"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(told(&output).contains("another schema"), "{}", told(&output));
    assert_eq!(documents_of(&group, "other"), 0);
    // Told at once, not after the run.
    let output = run(&group, &["--output", "/nowhere/report.json", "--duration", "1h"]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains("--output /nowhere/report.json"), "{}", told(&output));
    group.kill(0);
    let output = run(&group, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(told(&output).contains("no member can be reached"), "{}", told(&output));
}

fn documents_of(group: &Group, collection: &str) -> u64 {
    group.ask(0, &json!(["count", collection, {}]))[1].as_u64().expect("a number")
}

/// Ctrl-C ends it early, with what was measured; a right exit status tells it from a failure.
#[test]
fn an_interrupted_bench_shows_what_it_measured() {
    let group = Group::start(1);
    let words = ["--operation", "insert", "--duration", "1h", "--warm-up", "0s", "--json"];
    let child = command(&group, &words).spawn().expect("it runs");
    wait_for("some documents", || {
        let answer = group.ask(0, &json!(["count", "bench", {}]));
        answer[1].as_u64().filter(|count| *count >= 100)
    });
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", told(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(report["results"]["interrupted"], true);
    assert_eq!(report["results"]["all"]["right"], documents(&group));
}
