//! More is asked of a node than it can do: what it could only answer late it refuses at once, and says so; what it
//! has taken it answers; and when there is less to do it refuses nobody. Counted on a node whose disk is held.

use crate::group::{Connection, Group, wait_for};
use crate::tracer::hold_syncs;
use serde_json::{Value, json};

/// More than may wait however long it takes.
const FLOOD: usize = 300;

fn put(connection: &mut Connection, key: &str) {
    // Not given up while the disk is held.
    let options = json!({"timeout_ms": 600_000});
    connection.send(&json!(["write", key, key, options])).expect("sent");
}

fn is_busy(answer: &Value) -> bool {
    answer[0] == "ko" && answer[1].as_str().is_some_and(|reason| reason.starts_with("busy: "))
}

/// Without the bound of time all of these wait, as tens of thousands may (`node.rs`), and the first refusal is
/// waited for in vain.
#[test]
fn who_comes_to_a_line_that_does_not_move_is_refused_and_nobody_once_it_moves() {
    let group = Group::start(1);
    let open = || Connection::open(&group.nodes[0].address).expect("a connection");
    let (mut first, mut reader) = (open(), open());
    assert_eq!(reader.ask(&json!(["write", "before", 1])).expect("an answer"), json!(["ok", 1]));
    let Some(tracer) = hold_syncs(group.pid(0)) else { return };
    for number in 0..FLOOD {
        put(&mut first, &format!("first{number}"));
    }
    // Those who come before the first has waited for long may wait, too; then one is refused. Each has a connection
    // of its own, for answers come in the order of the questions.
    let mut waiting: Vec<Connection> = Vec::new();
    let refused = wait_for("a put to be refused", || {
        let mut another = open();
        put(&mut another, &format!("later{}", waiting.len()));
        waiting.push(another);
        let index = waiting.iter_mut().position(Connection::has_answer)?;
        Some(waiting.remove(index).receive().expect("an answer"))
    });
    assert!(is_busy(&refused), "{refused}");
    // From now on everyone is, until the line moves.
    let mut later = open();
    for number in 0..100 {
        put(&mut later, &format!("refused{number}"));
        let answer = later.receive().expect("an answer");
        assert!(is_busy(&answer), "{answer}");
    }
    // Who reads does not wait for the disk, and the operator gets an answer.
    let read = reader.ask(&json!(["read", "before", {"level": "local"}]));
    assert_eq!(read.expect("an answer"), json!(["ok", 1]));
    assert_eq!(group.status(0).expect("a status")["role"], "leader");
    tracer.detach();
    for number in 0..FLOOD {
        let answer = first.receive().expect("an answer");
        assert_eq!(answer[0], "ok", "number {number} of those that were taken: {answer}");
    }
    for mut taken in waiting {
        let answer = taken.receive().expect("an answer");
        // Those that came last may have been refused like the one before them.
        assert!(answer[0] == "ok" || is_busy(&answer), "{answer}");
    }
    for number in 0..100 {
        put(&mut later, &format!("after{number}"));
        let answer = later.receive().expect("an answer");
        assert_eq!(answer[0], "ok", "there is nothing to do any more: {answer}");
        let refused = reader.ask(&json!(["read", format!("refused{number}")]));
        assert_eq!(refused.expect("an answer"), json!(["ok", null]), "a refusal does nothing");
    }
}
