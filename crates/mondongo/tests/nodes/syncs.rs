//! No write is acknowledged before a majority has synced it, and writes that wait together share a sync. Seen in
//! the system calls of each node, and counted; nothing here depends on how long anything takes.

use crate::group::{Connection, Group};
use crate::tracer::{LogTrace, Tracer};
use serde_json::json;

/// Three nodes, each with a tracer.
struct Traced {
    /// Kept as long as the nodes, and let go before them.
    _tracers: Vec<Tracer>,
    group: Group,
    traces: Vec<LogTrace>,
}

impl Traced {
    /// None, with the reason printed: this machine does not allow it.
    fn start(swallow: bool) -> Option<Traced> {
        let group = Group::start(3);
        let attach = |number: usize| {
            let path = group.folder.path().join(format!("node{number}.trace"));
            LogTrace::attach(group.pid(number), path, swallow)
        };
        let (tracers, traces) = (0..3).map(attach).collect::<Option<Vec<_>>>()?.into_iter().unzip();
        Some(Traced { _tracers: tracers, group, traces })
    }

    /// How many nodes have synced all these texts.
    fn having(&self, texts: &[String]) -> usize {
        self.traces.iter().filter(|trace| trace.are_synced(texts)).count()
    }

    fn syncs(&self) -> Vec<usize> {
        self.traces.iter().map(LogTrace::syncs).collect()
    }
}

/// One client, one put after the other: when the answer is there, the put itself was written to the logs of a
/// majority, and each of them synced after that. (Tried with a log thread that reports a batch before it has
/// flushed it: the second put is found synced nowhere.)
#[test]
fn a_put_is_acknowledged_once_a_majority_has_synced_it() {
    const PUTS: usize = 40;
    let Some(traced) = Traced::start(false) else { return };
    let leader = traced.group.leader();
    let before = traced.syncs();
    let mut connection = Connection::open(&traced.group.nodes[leader].address).expect("connected");
    for number in 0..PUTS {
        let value = format!("put-{number:05}-of-one-client");
        assert_eq!(connection.ask(&json!(["write", "k", value])).expect("an answer")[0], "ok");
        let having = traced.having(std::slice::from_ref(&value));
        assert!(having >= 2, "{value} was acknowledged and is synced at {having} of three nodes");
    }
    let after = traced.syncs();
    let each: Vec<usize> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let enough = each.iter().filter(|syncs| **syncs >= PUTS).count();
    assert!(enough >= 2, "{PUTS} puts one after another, syncs of the logs: {each:?}");
    eprintln!("{PUTS} puts one after another: {each:?} syncs of the logs");
}

/// Puts that come together are synced together: far fewer syncs than puts, and each put is still in them.
#[test]
fn puts_that_wait_together_share_a_sync() {
    const CLIENTS: usize = 64;
    const ROUNDS: usize = 12;
    let Some(traced) = Traced::start(false) else { return };
    let address = &traced.group.nodes[traced.group.leader()].address;
    let mut connections: Vec<Connection> =
        (0..CLIENTS).map(|_| Connection::open(address).expect("connected")).collect();
    let before = traced.syncs();
    for round in 0..ROUNDS {
        let values: Vec<String> =
            (0..CLIENTS).map(|client| format!("put-{round:03}-of-{client:03}")).collect();
        for (client, connection) in connections.iter_mut().enumerate() {
            let key = format!("k{client}");
            connection.send(&json!(["write", key, values[client]])).expect("sent");
        }
        for connection in &mut connections {
            assert_eq!(connection.receive().expect("an answer")[0], "ok");
        }
        let having = traced.having(&values);
        assert!(having >= 2, "round {round} was acknowledged and is synced at {having} of three");
    }
    let puts = CLIENTS * ROUNDS;
    let after = traced.syncs();
    let each: Vec<usize> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert!(each.iter().all(|syncs| syncs * 4 <= puts), "{puts} puts, syncs of the logs: {each:?}");
    eprintln!("{puts} puts by {CLIENTS} clients: {each:?} syncs of the logs");
}

/// The planted bug of the two above: the kernel tells the nodes of syncs that it did not do, and the check notices.
#[test]
fn a_sync_that_was_not_done_is_noticed() {
    let Some(traced) = Traced::start(true) else { return };
    let value = "put-that-nobody-syncs".to_owned();
    let leader = traced.group.leader();
    assert_eq!(traced.group.ask(leader, &json!(["write", "k", value]))[0], "ok");
    assert_eq!(traced.having(&[value]), 0);
}
