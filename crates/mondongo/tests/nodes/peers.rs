//! Bad input where other nodes speak: each is told in the log and ends its connection, and nothing else
//! happens to a group at work.

use crate::faults::{finish, progress};
use crate::group::{Group, PATIENCE, free_port, wait_for};
use crate::harness::workload::Settings;
use serde_json::json;
use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

const MAGIC: &[u8] = b"\xffMONDONGO";
/// A node that nobody knows.
const STRANGER: u64 = 0x00de_ad00_beef_0000;

/// Length, checksum, payload (`docs/design/peer-protocol.md`).
fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_le_bytes();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&length), payload).to_le_bytes();
    [&length[..], &checksum, payload].concat()
}

/// What a node says first.
struct Hello {
    version: u16,
    cluster: [u8; 16],
    node: u64,
    expected: u64,
}

impl Hello {
    /// Of a stranger that knows where it is.
    fn to(group: &Group, number: usize) -> Hello {
        let status = group.status(number).expect("a status");
        let text = |name: &str| status[name].as_str().expect("a text").to_owned();
        let cluster = u128::from_str_radix(&text("cluster"), 16).expect("hexadecimal");
        let expected = u64::from_str_radix(&text("node"), 16).expect("hexadecimal");
        Hello { version: 2, cluster: cluster.to_be_bytes(), node: STRANGER, expected }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut payload = self.version.to_le_bytes().to_vec();
        payload.extend_from_slice(&self.cluster);
        payload.extend_from_slice(&self.node.to_le_bytes());
        payload.extend_from_slice(&self.expected.to_le_bytes());
        payload.extend_from_slice(b"127.0.0.1:1");
        [MAGIC, &frame(&payload)].concat()
    }

    /// Says it; the connection and the first byte of the answer.
    fn say(&self, address: &str) -> (TcpStream, u8) {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.write_all(&self.bytes()).expect("it is sent");
        let mut header = [0; 8];
        stream.read_exact(&mut header).expect("an answer");
        let length = u32::from_le_bytes(header[..4].try_into().expect("4 bytes"));
        let mut answer = vec![0; length as usize];
        stream.read_exact(&mut answer).expect("an answer");
        (stream, answer[0])
    }
}

/// Sends bytes after a good greeting; the node must end the connection.
fn send(group: &Group, number: usize, bytes: &[u8]) {
    let (mut stream, answer) = Hello::to(group, number).say(&group.nodes[number].address);
    assert_eq!(answer, 1, "a stranger of the same group is welcome");
    // The node may end it before all is sent.
    let _ = stream.write_all(bytes);
    let mut rest = Vec::new();
    // In order or by a reset.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "it only listens: {rest:?}");
}

#[test]
fn frames_that_mean_nothing_end_their_connection_and_no_more() {
    let group = Group::start(3);
    let load = group.load(Settings::default());
    progress(&load, 50);
    let mut damaged = frame(b"\x01 a message");
    damaged[10] ^= 1;
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("an unknown kind", frame(&[99; 40]), "it sent garbage"),
        ("no message of consensus", frame(&[1; 200]), "it sent garbage"),
        ("an empty message", frame(&[]), "it sent garbage"),
        ("a wrong checksum", damaged, "a frame has a wrong checksum"),
        ("too long", [0xff; 64].to_vec(), "a frame announces 4294967295 bytes"),
    ];
    for (what, bytes, said) in &cases {
        for number in 0..3 {
            send(&group, number, bytes);
            wait_for(what, || group.log(number).contains(said).then_some(()));
        }
    }
    progress(&load, 100);
    finish(load);
}

/// X8: a node of a later version, and one of another group.
#[test]
fn strange_greetings_are_refused_and_told() {
    let group = Group::start(3);
    let load = group.load(Settings::default());
    progress(&load, 50);
    for number in 0..3 {
        let address = &group.nodes[number].address;
        let good = || Hello::to(&group, number);
        for (hello, said) in [
            (Hello { version: 3, ..good() }, "speaks version 3"),
            (Hello { cluster: [7; 16], ..good() }, "this node belongs to cluster"),
            (Hello { expected: STRANGER + 1, ..good() }, "this node is"),
            (Hello { node: good().expected, ..good() }, "a copied folder cannot be used"),
        ] {
            let (mut stream, answer) = hello.say(address);
            assert_eq!(answer, 2, "refused: {said}");
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            wait_for(said, || group.log(number).contains(said).then_some(()));
        }
    }
    progress(&load, 100);
    finish(load);
}

/// A forwarded command that no node would make must not get into the log, or it would stop every node that
/// applies it.
#[test]
fn a_forwarded_command_that_means_nothing_hurts_nobody() {
    let group = Group::start(3);
    let load = group.load(Settings::default());
    progress(&load, 50);
    for number in 0..3 {
        let (mut stream, answer) = Hello::to(&group, number).say(&group.nodes[number].address);
        assert_eq!(answer, 1);
        stream.write_all(&frame(b"\x02 this is no command")).expect("it is sent");
        stream.write_all(&frame(b"\x02")).expect("it is sent");
        stream.shutdown(Shutdown::Write).expect("it is ended");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    progress(&load, 100);
    finish(load);
}

/// Everything that was ever sent through it, by connection.
type Recorded = Arc<Mutex<Vec<Arc<Mutex<Vec<u8>>>>>>;

/// Passes connections at `port` on to `target` and keeps what the callers say.
fn record(port: u16, target: String) -> Recorded {
    let recorded = Recorded::default();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let all = Arc::clone(&recorded);
    std::thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            let Ok(node) = TcpStream::connect(&target) else { continue };
            let said = Arc::new(Mutex::new(Vec::new()));
            all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&said));
            let (from, to) = (caller.try_clone().expect("a socket"), node.try_clone());
            let to = to.expect("a socket");
            std::thread::spawn(move || pass(&from, &to, Some(&said)));
            std::thread::spawn(move || pass(&node, &caller, None));
        }
    });
    recorded
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, said: Option<&Mutex<Vec<u8>>>) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        if let Some(said) = said {
            said.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..count]);
        }
        if to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    // Both ends learn that it is over; one of them knows already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Whole connections of the past come again: every message in them is outdated, and says what its sender
/// once did say.
#[test]
fn replayed_connections_change_nothing() {
    let mut group = Group::start(2);
    let port = free_port();
    // The node is known to the others under the address of the recorder.
    let folder = group.folder.path().join("recorded");
    let third = group.add_at(folder, Some(format!("127.0.0.1:{port}")));
    let target = group.nodes[third].address.clone();
    let recorded = record(port, target.clone());
    group.wait_for_voters(3);
    let load = group.load(Settings::default());
    progress(&load, 200);
    // The past has several leaders.
    let leader = group.leader();
    group.kill(leader);
    if leader != third {
        progress(&load, 100);
    }
    group.start_node(leader, None);
    group.wait_for_voters(3);
    progress(&load, 100);
    let streams: Vec<Vec<u8>> = {
        let all = recorded.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    };
    let longest = streams.iter().map(Vec::len).max().unwrap_or_default();
    assert!(longest > 1_000, "nodes did speak through the recorder: {longest} bytes");
    for _ in 0..3 {
        for bytes in streams.iter().filter(|bytes| bytes.len() > 100) {
            let mut stream = TcpStream::connect(&target).expect("a connection");
            // The node may end it when its peer connects again.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let mut rest = Vec::new();
            stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            let _ = stream.read_to_end(&mut rest);
        }
        progress(&load, 100);
    }
    group.ask(third, &json!(["read", "k"]));
    finish(load);
}
