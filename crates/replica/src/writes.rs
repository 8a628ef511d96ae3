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

/// The writes of one node.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    pending: BTreeMap<Reference, Pending>,
    /// Which write a token names, while this node's own core may refuse it.
    tokens: BTreeMap<u64, Reference>,
    token: u64,
    /// To be handed to the leader at the next flush.
    fresh: Vec<Reference>,
}

impl Writes {
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Takes a write in, or adds a waiter to the same write.
    pub(crate) fn begin(
        &mut self,
        reference: Reference,
        command: impl FnOnce() -> Bytes,
        waiter: RequestId,
        deadline: u64,
    ) {
        if let Some(pending) = self.pending.get_mut(&reference) {
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
        self.pending.insert(reference.clone(), pending);
        self.fresh.push(reference);
    }

    /// The lowest sequence of `client` that is under way.
    pub(crate) fn lowest_under_way(&self, client: &str) -> Option<u64> {
        let from = Reference::new(client, 0);
        let (first, _) = self.pending.range(from..).next()?;
        (first.client == client).then_some(first.sequence)
    }

    /// What is to be handed to the leader of `ballot` now: each with the token it is handed under.
    pub(crate) fn take_due(&mut self, ballot: Ballot, now: u64) -> Vec<(u64, Bytes)> {
        let mut due = Vec::new();
        for reference in std::mem::take(&mut self.fresh) {
            let Some(pending) = self.pending.get_mut(&reference) else { continue };
            let doublings = pending.tries.min(RETRY_DOUBLINGS_MAX);
            pending.tries += 1;
            pending.retry_tick = now + (RETRY_TICKS << doublings);
            pending.sent_in = Some(ballot);
            self.token += 1;
            due.push((self.token, pending.command.clone()));
            self.tokens.insert(self.token, reference);
        }
        due
    }

    /// Marks what was handed to an earlier leader, or waited long enough, to be handed over again.
    pub(crate) fn renew(&mut self, ballot: Ballot, now: u64) {
        let due = |pending: &Pending| {
            pending.sent_in.is_some_and(|b| b != ballot) || now >= pending.retry_tick
        };
        let again: Vec<Reference> = (self.pending.iter_mut())
            .filter(|(_, pending)| pending.sent_in.is_some() && due(pending))
            .map(|(reference, pending)| {
                pending.sent_in = None;
                reference.clone()
            })
            .collect();
        self.fresh.extend(again);
        // Tokens of what is long gone: a refusal for them would say nothing.
        let pending = &self.pending;
        self.tokens.retain(|_, reference| pending.contains_key(reference));
    }

    /// The leader did not propose the write of `token`: its turn comes again by its retry time, at once
    /// if the leader has changed. Answers whoever waits if the leader is too busy and nobody else can
    /// have taken the write.
    pub(crate) fn refused(&mut self, token: u64, busy: bool) -> Vec<RequestId> {
        let Some(reference) = self.tokens.remove(&token) else { return Vec::new() };
        let Some(pending) = self.pending.get(&reference) else { return Vec::new() };
        if busy && pending.tries == 1 {
            let pending = self.pending.remove(&reference);
            return pending.into_iter().flat_map(|p| p.waiters).map(|(id, _)| id).collect();
        }
        Vec::new()
    }

    /// The entry of `reference` was applied: who waits for it.
    pub(crate) fn finish(&mut self, reference: &Reference) -> Vec<RequestId> {
        let pending = self.pending.remove(reference);
        pending.into_iter().flat_map(|p| p.waiters).map(|(id, _)| id).collect()
    }

    /// Who has waited too long, with what to say. `is_down`: no leader has been known for a while.
    pub(crate) fn expire(&mut self, now: u64, is_down: bool) -> Vec<(RequestId, Error)> {
        let mut expired = Vec::new();
        self.pending.retain(|_, pending| {
            let error = if pending.tries == 0 { error_down() } else { error_unknown() };
            let mut late = Vec::new();
            pending.waiters.retain(|(id, deadline)| {
                let keep = now < *deadline && !is_down;
                if !keep {
                    late.push(*id);
                }
                keep
            });
            expired.extend(late.into_iter().map(|id| (id, error.clone())));
            !pending.waiters.is_empty()
        });
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
