//! Writes under way at the node that took them.
//!
//! Invariants:
//! 1. A write is answered by the outcome of an entry with its reference, or by its deadline.
//! 2. A write that was handed to any leader and has no outcome is of unknown fate: it is never answered
//!    with an error that says it had no effect.
//! 3. `acked` of this node's own session is below every reference of the session still under way.

use crate::node::RequestId;
use api::{Error, ErrorCode, Reference, Value};
use bytes::Bytes;
use paxos::Ballot;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Ticks before a write without an outcome is sent again; doubles with every try (spec P7).
const RETRY_TICKS: u64 = 30;
/// Most doublings of that wait.
const RETRY_DOUBLINGS_MAX: u32 = 4;

/// One write.
#[derive(Debug)]
pub(crate) struct Pending {
    waiters: Vec<(RequestId, u64)>,
    pub(crate) command: Bytes,
    /// How often it was handed to a leader.
    tries: u32,
    retry_tick: u64,
    /// The ballot of the leader it was handed to last.
    sent_in: Option<Ballot>,
}

/// The name of a write: its client and its sequence. Cheap to copy, and compared once per client.
type Name = (Arc<str>, u64);

/// The writes of one node.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// By client, then by sequence; no client without any. Most writes are of this node's own session, so that a map by
    /// reference would compare the same long name over and over.
    pending: BTreeMap<Arc<str>, BTreeMap<u64, Pending>>,
    count: usize,
    /// Which write a token names, while this node's own core may refuse it.
    tokens: BTreeMap<u64, Name>,
    token: u64,
    /// To be handed to the leader at the next flush.
    fresh: Vec<Name>,
}

impl Writes {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Takes a write in, or adds a waiter to the same write.
    pub(crate) fn begin(
        &mut self,
        reference: &Reference,
        command: impl FnOnce() -> Bytes,
        waiter: RequestId,
        deadline: u64,
    ) {
        let client = match self.pending.get_key_value(reference.client.as_str()) {
            Some((client, _)) => Arc::clone(client),
            None => Arc::from(reference.client.as_str()),
        };
        let of_client = self.pending.entry(Arc::clone(&client)).or_default();
        if let Some(pending) = of_client.get_mut(&reference.sequence) {
            pending.waiters.push((waiter, deadline));
            return;
        }
        let pending = Pending {
            waiters: vec![(waiter, deadline)],
            command: command(),
            tries: 0,
            retry_tick: 0,
            sent_in: None,
        };
        of_client.insert(reference.sequence, pending);
        self.count += 1;
        self.fresh.push((client, reference.sequence));
    }

    /// The lowest sequence of `client` that is under way.
    pub(crate) fn lowest_under_way(&self, client: &str) -> Option<u64> {
        self.pending.get(client)?.keys().next().copied()
    }

    /// What is to be handed to the leader of `ballot` now: each with the token it is handed under.
    pub(crate) fn take_due(&mut self, ballot: Ballot, now: u64) -> Vec<(u64, Bytes)> {
        let mut due = Vec::new();
        for (client, sequence) in std::mem::take(&mut self.fresh) {
            let of_client = self.pending.get_mut(&client);
            let Some(pending) = of_client.and_then(|all| all.get_mut(&sequence)) else { continue };
            let doublings = pending.tries.min(RETRY_DOUBLINGS_MAX);
            pending.tries += 1;
            pending.retry_tick = now + (RETRY_TICKS << doublings);
            pending.sent_in = Some(ballot);
            self.token += 1;
            due.push((self.token, pending.command.clone()));
            self.tokens.insert(self.token, (client, sequence));
        }
        due
    }

    /// Marks what was handed to an earlier leader, or waited long enough, to be handed over again.
    pub(crate) fn renew(&mut self, ballot: Ballot, now: u64) {
        let due = |pending: &Pending| {
            pending.sent_in.is_some_and(|b| b != ballot) || now >= pending.retry_tick
        };
        for (client, of_client) in &mut self.pending {
            for (sequence, pending) in of_client {
                if pending.sent_in.is_some() && due(pending) {
                    pending.sent_in = None;
                    self.fresh.push((Arc::clone(client), *sequence));
                }
            }
        }
        // Tokens of what is long gone: a refusal for them would say nothing.
        let pending = &self.pending;
        self.tokens.retain(|_, (client, sequence)| {
            pending.get(client).is_some_and(|all| all.contains_key(sequence))
        });
    }

    /// The leader did not propose the write of `token`: its turn comes again by its retry time, at once
    /// if the leader has changed. Answers whoever waits if the leader is too busy and nobody else can
    /// have taken the write.
    pub(crate) fn refused(&mut self, token: u64, busy: bool) -> Vec<RequestId> {
        let Some((client, sequence)) = self.tokens.remove(&token) else { return Vec::new() };
        let pending = self.pending.get(&client).and_then(|all| all.get(&sequence));
        if busy && pending.is_some_and(|pending| pending.tries == 1) {
            return self.remove(&client, sequence);
        }
        Vec::new()
    }

    /// The entry of `reference` was applied: who waits for it.
    pub(crate) fn finish(&mut self, reference: &Reference) -> Vec<RequestId> {
        self.remove(&reference.client, reference.sequence)
    }

    /// Takes a write out, and answers who waited for it.
    fn remove(&mut self, client: &str, sequence: u64) -> Vec<RequestId> {
        let Some(of_client) = self.pending.get_mut(client) else { return Vec::new() };
        let Some(pending) = of_client.remove(&sequence) else { return Vec::new() };
        if of_client.is_empty() {
            self.pending.remove(client);
        }
        self.count -= 1;
        pending.waiters.into_iter().map(|(id, _)| id).collect()
    }

    /// Who has waited too long, with what to say. `is_down`: no leader has been known for a while.
    pub(crate) fn expire(&mut self, now: u64, is_down: bool) -> Vec<(RequestId, Error)> {
        let mut expired = Vec::new();
        let mut count = 0;
        self.pending.retain(|_, of_client| {
            of_client.retain(|_, pending| {
                let error = || if pending.tries == 0 { error_down() } else { error_unknown() };
                let is_late = |deadline: u64| now >= deadline || is_down;
                let late = pending.waiters.iter().filter(|(_, deadline)| is_late(*deadline));
                expired.extend(late.map(|(id, _)| (*id, error())));
                pending.waiters.retain(|(_, deadline)| !is_late(*deadline));
                !pending.waiters.is_empty()
            });
            count += of_client.len();
            !of_client.is_empty()
        });
        self.count = count;
        expired
    }
}

/// No quorum: the request had no effect.
pub(crate) fn error_down() -> Error {
    Error::new(
        ErrorCode::Down,
        "this node reaches no leader, so the request had no effect; try another member",
    )
}

fn error_unknown() -> Error {
    Error::new(
        ErrorCode::Timeout,
        "no answer in time: the request may take effect or not; send it again with the same ref to \
         learn which",
    )
}

/// An answer as clients get it.
pub(crate) type Answer = Result<Value, Error>;
