//! The one inbox of the event loop: everything that happens to a node enters here.
//!
//! The event loop takes everything at once. Whoever puts something in wakes it only while it rests
//! ([`Inbox::rest`]) and has not been woken yet, so a burst costs one wake-up, and what comes while the event loop
//! is at work costs none.

use crate::error::ServerError;
use crate::service::Asked;
use api::{Error, ErrorCode, Value};
use bytes::Bytes;
use paxos::{Entry, NodeId, PersistId, Slot};
use replica::{Imported, PeerMessage, RequestId};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use store::Outcome;
use tokio::sync::Notify;

/// Most requests in the inbox; further ones are refused as busy.
const REQUESTS_MAX: usize = 16_384;
/// Most requests taken at once: between them the node tells the others that it is there.
const REQUESTS_AT_ONCE: usize = 1_024;
/// Bytes of peer messages in the inbox beyond which connections of peers wait until it is emptied.
const PEER_BYTES_MAX: usize = 32 << 20;

/// Whether requests are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The node starts: it is joining or replaying its log.
    #[default]
    Starting,
    /// It serves.
    Serving,
    /// It stops: nothing new is taken.
    Stopping,
}

/// What another node's connection says of it.
#[derive(Debug)]
pub(crate) enum PeerNews {
    /// It is connected to us, and listens at `address`.
    Here {
        /// Who.
        node: NodeId,
        /// Where it listens.
        address: String,
        /// The connection's number.
        connection: u64,
    },
    /// Its connection has ended.
    Gone {
        /// Who.
        node: NodeId,
        /// The connection's number.
        connection: u64,
    },
    /// A member of the group to join was reached.
    Seed {
        /// Who.
        node: NodeId,
        /// Where it listens.
        address: String,
    },
}

/// Entries read for a follower.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) to: NodeId,
    pub(crate) first: Slot,
    pub(crate) entries: Vec<Entry>,
}

/// What the inbox holds.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) news: Vec<PeerNews>,
    pub(crate) peers: Vec<(NodeId, PeerMessage)>,
    peer_bytes: usize,
    pub(crate) requests: VecDeque<Asked>,
    pub(crate) persisted: Option<PersistId>,
    pub(crate) fetched: Vec<Fetched>,
    /// The applied slot, and the outcomes up to it.
    pub(crate) applied: Option<(Slot, Vec<Outcome>)>,
    /// Everything up to here is durable in the store.
    pub(crate) stored: Option<Slot>,
    /// Chunks of this node's snapshots, for whom, and the snapshot's slot.
    pub(crate) snapshot_reads: Vec<(NodeId, Slot, Bytes)>,
    pub(crate) imported: Vec<Imported>,
    /// The slot of a snapshot that is durable beside the store, and the membership in it.
    pub(crate) import_finished: Option<(Slot, Option<(Slot, Bytes)>)>,
    /// The slot of a snapshot that is the store now; what was applied before it stands in `applied`.
    pub(crate) switched: Option<Slot>,
    /// The node is to stop soon: another should lead.
    pub(crate) hands_over: bool,
    pub(crate) answers: Vec<(RequestId, Result<Value, Error>)>,
    pub(crate) failure: Option<ServerError>,
    /// The event loop is to end.
    pub(crate) is_over: bool,
    /// Some requests are still in the inbox.
    pub(crate) has_left_some: bool,
    phase: Phase,
    /// Whether anything waits for what is applied.
    applied_is_awaited: bool,
    /// Whether something came that the event loop should look at before it rests.
    is_filled: bool,
    /// Whether the event loop rests and nobody has woken it.
    is_at_rest: bool,
}

/// The inbox of one node.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    mail: Mutex<Mail>,
    filled: Notify,
    emptied: Notify,
}

impl Inbox {
    /// Takes everything, except that of very many requests the later ones stay for the next time. Waits for nothing. The event
    /// loop is at work from here on.
    pub(crate) fn take(&self) -> Mail {
        let mut mail = self.lock();
        let (phase, applied_is_awaited) = (mail.phase, mail.applied_is_awaited);
        let was_full = mail.peer_bytes >= PEER_BYTES_MAX;
        let mut taken = std::mem::take(&mut *mail);
        (mail.phase, mail.applied_is_awaited) = (phase, applied_is_awaited);
        if taken.requests.len() > REQUESTS_AT_ONCE {
            let mut rest = std::mem::take(&mut taken.requests);
            taken.requests = rest.drain(..REQUESTS_AT_ONCE).collect();
            taken.has_left_some = true;
            mail.requests = rest;
            mail.is_filled = true;
        }
        drop(mail);
        if was_full {
            self.emptied.notify_waiters();
        }
        taken
    }

    /// Waits until there is something to take, after [`Inbox::rest`] said that there is not.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Puts something in.
    pub(crate) fn put(&self, put: impl FnOnce(&mut Mail)) {
        let mut mail = self.lock();
        put(&mut mail);
        self.wake(mail);
    }

    /// Says that the store has applied everything up to a slot, with what came of it. If nothing waits for that, the
    /// event loop learns it when it looks next, which it does at each tick.
    pub(crate) fn put_applied(&self, through: Slot, mut outcomes: Vec<Outcome>) {
        let mut mail = self.lock();
        match &mut mail.applied {
            Some((slot, earlier)) => {
                *slot = through;
                earlier.append(&mut outcomes);
            }
            none => *none = Some((through, outcomes)),
        }
        if mail.applied_is_awaited {
            self.wake(mail);
        }
    }

    /// For the event loop, at the end of its turn: from here on it is woken, unless there is something to take already.
    /// Then it is false. `awaits_applied`: whether something waits for
    /// what is applied.
    pub(crate) fn rest(&self, awaits_applied: bool) -> bool {
        let mut mail = self.lock();
        mail.applied_is_awaited = awaits_applied;
        mail.is_filled |= awaits_applied && mail.applied.is_some();
        mail.is_at_rest = !mail.is_filled;
        mail.is_at_rest
    }

    /// Takes a request, or answers it at once if the node does not serve or has too many waiting.
    pub(crate) fn ask(&self, asked: Asked) {
        let mut mail = self.lock();
        let refusal = match mail.phase {
            Phase::Starting => (ErrorCode::Down, "this node is starting; try another member"),
            Phase::Stopping => (ErrorCode::Stopping, "this node is stopping; try another member"),
            Phase::Serving if mail.requests.len() >= REQUESTS_MAX => {
                (ErrorCode::Busy, "this node has too many requests waiting; try again")
            }
            Phase::Serving => {
                mail.requests.push_back(asked);
                self.wake(mail);
                return;
            }
        };
        drop(mail);
        asked.reply.send(Err(Error::new(refusal.0, refusal.1)));
    }

    /// Takes messages of another node, of `bytes` in all; waits first if too many are there.
    pub(crate) async fn deliver(
        &self,
        from: NodeId,
        messages: &mut Vec<PeerMessage>,
        bytes: usize,
    ) {
        loop {
            let emptied = self.emptied.notified();
            {
                let mut mail = self.lock();
                if mail.phase == Phase::Starting {
                    messages.clear();
                    return;
                }
                if mail.peer_bytes < PEER_BYTES_MAX {
                    mail.peer_bytes += bytes;
                    mail.peers.extend(messages.drain(..).map(|message| (from, message)));
                    self.wake(mail);
                    return;
                }
            }
            emptied.await;
        }
    }

    /// Whether requests are taken.
    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Goes on to another phase.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    /// Reports that the node cannot go on; the first report counts.
    pub(crate) fn fail(&self, error: ServerError) {
        self.put(|mail| {
            mail.failure.get_or_insert(error);
        });
    }

    fn wake(&self, mut mail: MutexGuard<'_, Mail>) {
        mail.is_filled = true;
        let is_at_rest = std::mem::take(&mut mail.is_at_rest);
        drop(mail);
        if is_at_rest {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports a defect if the thread that holds it ends by a panic.
#[derive(Debug)]
pub(crate) struct Alarm {
    pub(crate) inbox: std::sync::Arc<Inbox>,
    pub(crate) part: &'static str,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.inbox.fail(ServerError::Defect { part: self.part });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Call, Options, Request};
    use gateway::Reply;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Instant;

    fn ask(inbox: &Inbox) {
        let (reply, _answer) = Reply::channel();
        let call = Call { request: Request::Status { hash: false }, options: Options::default() };
        inbox.ask(Asked { call, reply, bytes: 0, came: Instant::now() });
    }

    /// The rest is not forgotten: the event loop does not rest before it has taken it.
    #[test]
    fn of_very_many_requests_some_are_taken_at_a_time() {
        let inbox = Inbox::default();
        inbox.set_phase(Phase::Serving);
        for _ in 0..REQUESTS_AT_ONCE * 2 + 1 {
            ask(&inbox);
        }
        for (count, has_left_some) in
            [(REQUESTS_AT_ONCE, true), (REQUESTS_AT_ONCE, true), (1, false)]
        {
            assert!(!inbox.rest(false), "there is more");
            let mail = inbox.take();
            assert_eq!((mail.requests.len(), mail.has_left_some), (count, has_left_some));
        }
        assert!(inbox.rest(false));
    }

    /// Whether the event loop would be woken.
    fn is_woken(inbox: &Inbox) -> bool {
        let filled = pin!(inbox.filled());
        filled.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn what_comes_while_the_event_loop_rests_wakes_it_once() {
        let inbox = Inbox::default();
        assert!(inbox.rest(false));
        assert!(!is_woken(&inbox));
        inbox.put(|mail| mail.stored = Some(Slot(1)));
        inbox.put(|mail| mail.stored = Some(Slot(2)));
        assert!(is_woken(&inbox));
        assert!(!is_woken(&inbox));
        assert_eq!(inbox.take().stored, Some(Slot(2)));
        assert!(inbox.rest(false));
    }

    #[test]
    fn what_comes_while_the_event_loop_works_is_seen_before_it_rests() {
        let inbox = Inbox::default();
        assert!(inbox.rest(false));
        let _ = inbox.take();
        inbox.put(|mail| mail.persisted = Some(PersistId(1)));
        assert!(!is_woken(&inbox), "it is awake");
        assert!(!inbox.rest(false));
        assert_eq!(inbox.take().persisted, Some(PersistId(1)));
        assert!(inbox.rest(false));
    }

    #[test]
    fn what_is_applied_wakes_nobody_who_does_not_wait_for_it() {
        let inbox = Inbox::default();
        assert!(inbox.rest(false));
        inbox.put_applied(Slot(1), Vec::new());
        assert!(!is_woken(&inbox));
        inbox.put_applied(Slot(2), Vec::new());
        assert_eq!(inbox.take().applied, Some((Slot(2), Vec::new())));
        assert!(inbox.rest(true));
        inbox.put_applied(Slot(3), Vec::new());
        assert!(is_woken(&inbox));
    }

    #[test]
    fn what_was_applied_before_somebody_waited_for_it_is_not_missed() {
        let inbox = Inbox::default();
        assert!(inbox.rest(false));
        let _ = inbox.take();
        inbox.put_applied(Slot(1), Vec::new());
        assert!(!inbox.rest(true));
        assert_eq!(inbox.take().applied, Some((Slot(1), Vec::new())));
    }
}
