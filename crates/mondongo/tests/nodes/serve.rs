//! `mondongo serve`, `status` and `demo` as real processes: one node, three nodes, and what they refuse.

use crate::group::{
    Connection, Group, PATIENCE, free_port, mondongo, refused, run, terminate, wait_for,
    wait_for_end,
};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

/// The client written after the founding document.
const SEED_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seed_client.py");

fn seed_client(address: &str, request: &Value) -> Value {
    let request = request.to_string();
    let output = run(Command::new("python3").args([SEED_CLIENT, address, &request]));
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{request}: {error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    })
}

/// D9, D10: the two requests that the founding document prints, sent by its own client.
fn seed_requests(group: &Group) {
    let schema = json!({"*email": "str", "name": "str", "*age": "int"});
    let last = group.nodes.last().expect("a node");
    assert_eq!(
        seed_client(&last.address, &json!(["create", "users", schema])),
        json!(["ok", null])
    );
    let document = json!({"email": "a", "name": "a", "age": 18});
    let inserted = seed_client(&last.address, &json!(["insert", "users", document]));
    assert_eq!(inserted[0], "ok", "{inserted}");
    let id = inserted[1].as_str().expect("an _id");
    for node in &group.nodes {
        let found = seed_client(&node.address, &json!(["search", "users", {"email": "a"}]));
        let expected = json!(["ok", [{"_id": id, "email": "a", "name": "a", "age": 18}]]);
        assert_eq!(found, expected, "at {}", node.address);
    }
}

#[test]
fn the_seeds_client_is_served_by_one_node() {
    seed_requests(&Group::start(1));
}

/// P12, P15.
#[test]
fn the_seeds_client_is_served_by_each_of_three_nodes() {
    seed_requests(&Group::start(3));
}

/// D3: several lines that are typed or pasted at once are all carried out, though each takes a while.
#[test]
fn the_prompt_keeps_what_is_typed_while_a_command_runs() {
    let group = Group::start(1);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/type_ahead.py");
    let program = mondongo().get_program().to_owned();
    let output = run(Command::new("python3").arg(script).arg(program).arg(&group.nodes[0].address));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// P6: any node takes any operation, and every node sees it at once.
#[test]
fn what_is_written_through_any_node_is_read_through_every_node() {
    let group = Group::start(3);
    for writer in 0..3 {
        for round in 0..5 {
            let value = format!("{writer}-{round}");
            let written = group.ask(writer, &json!(["write", "key", value]));
            assert_eq!(written, json!(["ok", value]));
            for reader in 0..3 {
                assert_eq!(group.ask(reader, &json!(["read", "key"])), json!(["ok", value]));
            }
        }
    }
    let before = group.ask(1, &json!(["swap", "key", "last"]));
    assert_eq!(before, json!(["ok", "2-4"]));
}

/// D1.
#[test]
fn a_node_that_restarts_with_or_without_a_member_named_is_the_same_member() {
    let mut group = Group::start(3);
    group.ask(0, &json!(["write", "key", 1]));
    let first = group.nodes[0].address.clone();
    let before = group.status(1).expect("an answer")["node"].clone();
    for seed in [None, Some(first.as_str())] {
        assert!(group.stop(1).success());
        group.start_node(1, seed);
        assert_eq!(group.ask(1, &json!(["read", "key"])), json!(["ok", 1]));
        assert_eq!(group.status(1).expect("an answer")["node"], before);
    }
    group.wait_for_voters(3);
}

#[test]
fn a_group_finds_together_again_when_all_its_addresses_have_changed() {
    let mut group = Group::start(3);
    group.ask(0, &json!(["write", "key", 1]));
    for number in 0..3 {
        assert!(group.stop(number).success());
        group.nodes[number].address = format!("127.0.0.1:{}", free_port());
    }
    let first = group.nodes[0].address.clone();
    for number in 0..3 {
        group.start_node(number, (number > 0).then_some(first.as_str()));
    }
    assert_eq!(group.ask(2, &json!(["read", "key"])), json!(["ok", 1]));
    wait_for("the new addresses in the membership", || {
        let status = group.status(0)?;
        let members = status["members"].as_array()?.iter();
        let known: Vec<&str> = members.filter_map(|m| m["address"].as_str()).collect();
        group.addresses().iter().all(|address| known.contains(&address.as_str())).then_some(())
    });
}

#[test]
fn a_node_that_is_asked_to_stop_answers_what_is_under_way_and_exits_with_0() {
    let mut group = Group::start(1);
    let mut connection = Connection::open(&group.nodes[0].address).expect("a connection");
    assert_eq!(connection.ask(&json!(["write", "a", 1])).expect("an answer"), json!(["ok", 1]));
    for number in 0..100 {
        connection.send(&json!(["write", "b", number])).expect("a request is sent");
    }
    // The last was taken in once the first of them is answered or the node stops; either way each
    // request that was taken in is answered.
    assert_eq!(connection.receive().expect("an answer"), json!(["ok", 0]));
    assert_eq!(group.stop(0).code(), Some(0), "{}", group.log(0));
    let mut last = 0;
    while let Ok(answer) = connection.receive() {
        assert_eq!(answer[0], "ok", "{answer}");
        last = answer[1].as_i64().expect("a number");
    }
    group.start_node(0, None);
    let found = group.ask(0, &json!(["read", "b"]));
    assert!(found[1].as_i64().expect("a number") >= last, "{found} after {last}");
    assert!(group.log(0).contains("stopped"));
}

#[test]
fn a_folder_in_use_and_an_address_in_use_are_refused() {
    let group = Group::start(1);
    let folder = &group.nodes[0].folder;
    let elsewhere = format!("localhost:{}", free_port());
    let said = refused(folder, &[&elsewhere]);
    assert!(said.contains("in use by another process"), "{said}");
    assert!(said.contains(&group.nodes[0].address), "it says where the holder listens: {said}");
    let other = group.folder.path().join("other");
    let said = refused(&other, &[&group.nodes[0].address]);
    assert!(said.contains(&group.nodes[0].address) && said.contains("in use"), "{said}");
    assert!(!other.exists(), "a node that never was leaves no folder");
    // One that was there before stays, as empty as it was.
    fs::create_dir(&other).expect("made");
    refused(&other, &[&group.nodes[0].address]);
    assert_eq!(fs::read_dir(&other).expect("it is there").count(), 0);
}

#[test]
fn a_node_of_another_cluster_is_refused_and_nothing_changes() {
    let mut group = Group::start(1);
    let mut other = Group::start(1);
    other.ask(0, &json!(["write", "key", "kept"]));
    assert!(other.stop(0).success());
    let identity = other.nodes[0].folder.join("identity.json");
    let before = fs::read(&identity).expect("an identity");
    let address = other.nodes[0].address.clone();
    let said = refused(&other.nodes[0].folder, &[&address, &group.nodes[0].address]);
    assert!(said.contains("belongs to cluster"), "{said}");
    assert_eq!(fs::read(&identity).expect("an identity"), before);
    other.start_node(0, None);
    assert_eq!(other.ask(0, &json!(["read", "key"])), json!(["ok", "kept"]));
    assert_eq!(group.stop(0).code(), Some(0));
}

/// Two processes with one identity would vote twice.
#[test]
fn a_copied_folder_is_kept_out_while_its_original_is_heard() {
    let mut group = Group::start(3);
    let leader = group.leader();
    let number = (0..3).find(|number| *number != leader).expect("a follower");
    assert!(group.stop(number).success());
    let original = group.nodes[number].folder.clone();
    let copy = original.with_extension("copy");
    assert!(run(Command::new("cp").arg("-r").args([&original, &copy])).status.success());
    group.start_node(number, None);
    group.ask(number, &json!(["write", "key", "kept"]));
    let address = format!("localhost:{}", free_port());
    let mut process = mondongo()
        .arg("serve")
        .args([&copy])
        .args([&address, &group.nodes[leader].address])
        .stderr(Stdio::null())
        .spawn()
        .expect("a copy");
    wait_for("the leader to refuse the copy", || {
        group.log(leader).contains("a copied folder cannot be used").then_some(())
    });
    terminate(&process);
    wait_for_end(&mut process, "the copy");
    assert_eq!(group.ask(number, &json!(["read", "key"])), json!(["ok", "kept"]));
}

/// X4.
#[test]
fn bad_folders_and_addresses_are_named() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let free = format!("localhost:{}", free_port());
    let file = place.path().join("file");
    fs::write(&file, "not a folder").expect("a file");
    assert!(refused(&file, &[&free]).contains("is not a folder"));
    let foreign = place.path().join("foreign");
    fs::create_dir(&foreign).expect("a folder");
    fs::write(foreign.join("thesis.txt"), "precious").expect("a file");
    let said = refused(&foreign, &[&free]);
    assert!(said.contains("thesis.txt") && said.contains("identity.json"), "{said}");
    assert!(!foreign.join("lock").exists(), "nothing was put there");
    let new = place.path().join("new");
    for (address, reason) in [
        ("localhost", "no port"),
        ("localhost:zero", "no number"),
        ("localhost:0", "port 0"),
        (":8000", "no host"),
        ("0.0.0.0:8000", "--insecure"),
        ("::1:8000", "brackets"),
    ] {
        let said = refused(&new, &[address]);
        assert!(said.contains(reason), "{address}: {said}");
    }
    let said = refused(&new, &["0.0.0.0:8000", "--insecure"]);
    assert!(said.contains("--advertise"), "{said}");
    let said = refused(&new, &[&free, "nowhere"]);
    assert!(said.contains("nowhere"), "{said}");
    assert!(!new.exists(), "a wrong command line makes no folder");
}

#[test]
fn a_folder_that_has_lost_its_log_or_is_of_another_version_is_refused() {
    let mut group = Group::start(1);
    group.ask(0, &json!(["write", "key", 1]));
    assert!(group.stop(0).success());
    let (folder, address) = (group.nodes[0].folder.clone(), group.nodes[0].address.clone());
    let identity = folder.join("identity.json");
    let text = fs::read_to_string(&identity).expect("an identity");
    for (instead, reason) in [
        (text.replace("\"format\": 2", "\"format\": 3"), "format version 3"),
        (text.replace("\"ready\"", "\"perhaps\""), "stage"),
        (text[..text.len() / 2].to_string(), "no JSON"),
    ] {
        fs::write(&identity, instead).expect("it is written");
        let said = refused(&folder, &[&address]);
        assert!(said.contains(reason), "{said}");
    }
    fs::write(&identity, &text).expect("it is written");
    let log = folder.join("log");
    fs::rename(&log, folder.join("log-elsewhere")).expect("it is moved");
    let said = refused(&folder, &[&address]);
    assert!(said.contains("lost its log"), "{said}");
    fs::rename(folder.join("log-elsewhere"), &log).expect("it is moved back");
    // The store is made of the log, so it can be made again.
    fs::remove_dir_all(folder.join("store")).expect("it is removed");
    group.start_node(0, None);
    assert_eq!(group.ask(0, &json!(["read", "key"])), json!(["ok", 1]));
}

/// A crash while a folder is made leaves the stage `new`, with or without a log.
/// D1.
#[test]
fn a_crash_while_founding_or_joining_is_made_good_at_the_next_start() {
    let mut group = Group::start(2);
    group.ask(0, &json!(["write", "key", 1]));
    for number in [1, 0] {
        assert!(group.stop(number).success());
        let identity = group.nodes[number].folder.join("identity.json");
        let text = fs::read_to_string(&identity).expect("an identity");
        assert!(text.contains("\"ready\""), "{text}");
        fs::write(&identity, text.replace("\"ready\"", "\"new\"")).expect("written");
    }
    for number in [0, 1] {
        group.start_node(number, None);
    }
    assert_eq!(group.ask(1, &json!(["read", "key"])), json!(["ok", 1]));

    let mut founder = Group::start(1);
    assert!(founder.stop(0).success());
    let folder = founder.nodes[0].folder.clone();
    let identity = folder.join("identity.json");
    let text = fs::read_to_string(&identity).expect("an identity");
    fs::write(&identity, text.replace("\"ready\"", "\"new\"")).expect("written");
    fs::remove_dir_all(folder.join("log")).expect("removed");
    fs::remove_dir_all(folder.join("store")).expect("removed");
    founder.start_node(0, None);
    assert_eq!(founder.ask(0, &json!(["write", "key", 2])), json!(["ok", 2]));
}

#[test]
fn garbage_at_the_port_hurts_nobody() {
    let mut group = Group::start(2);
    group.ask(0, &json!(["write", "key", 1]));
    let magic = b"\xffMONDONGO";
    let mut hello = magic.to_vec();
    hello.extend_from_slice(&[16, 0, 0, 0, 1, 2, 3, 4]);
    hello.extend_from_slice(&[7; 16]);
    let garbage: [&[u8]; 7] = [
        b"\x00\x05hello",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\xff\xff[\"write\",",
        magic,
        &hello,
        &[0xfe; 4096],
    ];
    for bytes in garbage {
        for node in &group.nodes {
            let mut stream = TcpStream::connect(&node.address).expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            // The node may close before all is sent.
            let _ = stream.write_all(bytes);
            if bytes.starts_with(magic) {
                let mut answer = Vec::new();
                // Closed in order or reset: either way it ends, without an answer that lasts.
                let _ = stream.read_to_end(&mut answer);
                assert!(answer.len() < 500, "{answer:?}");
            }
        }
    }
    assert_eq!(group.ask(1, &json!(["swap", "key", 2])), json!(["ok", 1]));
    assert_eq!(group.ask(0, &json!(["read", "key"])), json!(["ok", 2]));
    assert!(group.log(0).contains("began like a node's"), "{}", group.log(0));
    for number in 0..2 {
        assert_eq!(group.stop(number).code(), Some(0));
    }
}

/// A member cannot be reached: the new node keeps trying and says so, and joins once it is there.
/// D2.
#[test]
fn a_node_waits_for_the_member_to_join_through() {
    let mut group = Group::start(1);
    let first = group.nodes[0].address.clone();
    assert!(group.stop(0).success());
    let second = group.add();
    wait_for("a complaint", || group.log(second).contains("can be reached").then_some(()));
    let early = Connection::open(&group.nodes[second].address)
        .and_then(|mut connection| connection.ask(&json!(["read", "key"])))
        .expect("an answer while it waits");
    assert!(early[1].as_str().is_some_and(|reason| reason.starts_with("down: ")), "{early}");
    group.start_node(0, None);
    assert_eq!(group.nodes[0].address, first);
    group.wait_for_voters(2);
}

#[test]
fn unknown_options_are_refused_and_help_is_given() {
    for command in ["serve", "status", "demo"] {
        let output = run(mondongo().args([command, "--no-such-option"]));
        assert_eq!(output.status.code(), Some(2), "{command}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("--no-such-option"), "{command}: {said}");
        let output = run(mondongo().args([command, "--help"]));
        assert!(output.status.success(), "{command}");
    }
    let place = tempfile::tempdir().expect("a temporary folder");
    let output = run(mondongo()
        .env("MONDONGO_LOG", "loud")
        .arg("serve")
        .arg(place.path().join("db"))
        .arg("localhost:1"));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("MONDONGO_LOG"));
}

/// D5, X3.
#[test]
fn status_shows_every_member_and_who_is_out_of_reach() {
    let mut group = Group::start(3);
    group.ask(0, &json!(["write", "key", 1]));
    let one = group.nodes[1].address.clone();
    let output = run(mondongo().args(["status", &one]));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{table}");
    for address in group.addresses() {
        assert!(table.contains(&address), "{address} is missing:\n{table}");
    }
    let victim = (0..3).find(|number| *number != group.leader()).expect("a follower");
    group.kill(victim);
    let members = group.addresses().join(",");
    let output = run(mondongo().args(["status", "--json", &members]));
    assert!(output.status.success());
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for (number, node) in all["nodes"].as_array().expect("nodes").iter().enumerate() {
        assert_eq!(node["reachable"], number != victim, "{all}");
    }
    let leader = group.leader();
    group.kill(leader);
    wait_for("the loss of the leader to be told", || {
        (!run(mondongo().args(["status", &members])).status.success()).then_some(())
    });
}

#[test]
fn the_demo_runs_a_command_and_its_nodes_end_with_it() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let port = free_port().to_string();
    for (key, expected) in [("put greeting hola", "Key written."), ("get greeting", "hola")] {
        let output = run(mondongo()
            .args(["demo", "nodes", "--port", &port, "-c", key])
            .current_dir(place.path()));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(expected), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success());
    }
    // Killed or terminated, it leaves nobody behind either.
    for signal in ["-KILL", "-TERM"] {
        let mut demo = mondongo()
            .args(["demo", "nodes", "--port", &port])
            .current_dir(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let mut said = Vec::new();
        let mut output = demo.stdout.take().expect("its output");
        wait_for("the introduction", || {
            let mut chunk = [0; 1024];
            let count = output.read(&mut chunk).expect("output");
            assert!(count > 0, "the demo ended: {}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&chunk[..count]);
            String::from_utf8_lossy(&said).contains("Leave with exit").then_some(())
        });
        let first = format!("localhost:{}", address_port(&said));
        assert!(Connection::open(&first).is_ok(), "the first node listens");
        if signal == "-TERM" {
            terminate(&demo);
        } else {
            demo.kill().expect("it can be killed");
        }
        assert!(!wait_for_end(&mut demo, "the demo").success());
        wait_for("the nodes to end", || {
            let locks = (1..=3).map(|n| place.path().join(format!("nodes/node{n}/lock")));
            let is_free = |path| fs::File::open(path).is_ok_and(|lock| lock.try_lock().is_ok());
            locks.into_iter().all(is_free).then_some(())
        });
    }
}

/// The port in the first line of an introduction that names an address.
fn address_port(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let (_, rest) = said.split_once("localhost:").expect("an address");
    rest.chars().take_while(char::is_ascii_digit).collect()
}
