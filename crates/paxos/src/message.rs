//! What nodes say to each other. Every message may be lost, delayed, repeated or overtaken.

use crate::membership::Ancestor;
use crate::types::{Ballot, Entry, Slot};
use alloc::vec::Vec;

/// A message between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Would you follow me? Changes nothing at the receiver (the "pre-vote" that keeps a returning
    /// node from deposing a healthy leader).
    Canvass {
        /// The ballot the sender would use.
        ballot: Ballot,
        /// The slot of the membership it knows.
        membership: Slot,
    },
    /// The answer to [`Message::Canvass`].
    CanvassReply {
        /// The ballot asked about.
        ballot: Ballot,
        /// Whether the sender hears no leader and would promise it.
        granted: bool,
        /// The highest ballot the sender has promised.
        promised: Ballot,
    },
    /// Phase 1a: promise this ballot, and tell what you accepted from `from` on. Repeated with a
    /// higher `from` to fetch the rest of a long suffix.
    Prepare {
        /// The candidate's or leader's ballot.
        ballot: Ballot,
        /// The first slot of interest.
        from: Slot,
    },
    /// Phase 1b: the sender will accept nothing below `ballot`, durably.
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// The `from` of the [`Message::Prepare`] answered.
        from: Slot,
        /// Every slot up to here is decided, and known to the sender.
        decided: Slot,
        /// The sender's last accepted slot.
        last: Slot,
        /// The memberships that led to the one which governs at the sender, that one last; none under
        /// [`Policy::Paxos`](crate::Policy::Paxos).
        lineage: Vec<Ancestor>,
        /// What it accepted, from `max(from, decided + 1)` on: contiguous, perhaps cut short of
        /// `last`.
        entries: Vec<Entry>,
    },
    /// Phase 2a for `first`, `first + 1`, …; with no entries only the news of `decided`.
    Accept {
        /// The leader's ballot.
        ballot: Ballot,
        /// The slot of the first entry.
        first: Slot,
        /// The values; each entry's own ballot is `ballot`.
        entries: Vec<Entry>,
        /// Every slot up to here is decided.
        decided: Slot,
    },
    /// Phase 2b: every slot up to `upto` is accepted in `ballot`, or decided; durably.
    Accepted {
        /// The leader's ballot.
        ballot: Ballot,
        /// The last such slot.
        upto: Slot,
        /// The sender missed something: send again from `upto + 1`.
        gap: bool,
    },
    /// The leader is there.
    Heartbeat {
        /// The leader's ballot.
        ballot: Ballot,
        /// Every slot up to here is decided.
        decided: Slot,
        /// The first slot the leader still has at hand to send; earlier ones must be asked for.
        window: Slot,
        /// Which of the leader's rounds of questions this is (for reads).
        probe: u64,
    },
    /// The sender follows the leader of `ballot` and had promised nothing higher when it got `probe`.
    HeartbeatReply {
        /// The leader's ballot.
        ballot: Ballot,
        /// The probe answered.
        probe: u64,
        /// As in [`Message::Accepted`].
        upto: Slot,
    },
    /// The receiver's ballot is outdated.
    Refuse {
        /// The ballot the sender has promised.
        promised: Ballot,
    },
    /// Send me decided entries from `from` on.
    CatchUp {
        /// The first slot wanted.
        from: Slot,
    },
    /// Decided entries; contiguous.
    CatchUpReply {
        /// The slot of the first entry.
        first: Slot,
        /// Decided values.
        entries: Vec<Entry>,
    },
    /// The entries asked for are no longer in the sender's log, which begins after `floor`.
    Compacted {
        /// The last slot that was cut.
        floor: Slot,
    },
    /// The receiver takes no part, as of the membership decided in `slot`.
    NotMember {
        /// The membership's slot.
        slot: Slot,
        /// It was removed by hand or replaced, and will not be let in again.
        removed: bool,
    },
    /// Lead now: the leader of `ballot` steps aside for the receiver.
    TakeOver {
        /// The sender's ballot.
        ballot: Ballot,
    },
    /// The receiver went on apart from the sender's group (passive policy).
    Diverged {
        /// The leader's ballot.
        ballot: Ballot,
        /// The memberships of the sender's log, latest last.
        lineage: Vec<Ancestor>,
    },
    /// At which slot may a read that begins now be served?
    ReadIndex {
        /// The sender's name for the question.
        token: u64,
    },
    /// The answer to [`Message::ReadIndex`]: once this slot is applied.
    ReadIndexReply {
        /// The question answered.
        token: u64,
        /// The slot.
        slot: Slot,
    },
}

impl Message {
    /// The name of the message's kind, for traces and counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Message::Canvass { .. } => "canvass",
            Message::CanvassReply { .. } => "canvass_reply",
            Message::Prepare { .. } => "prepare",
            Message::Promise { .. } => "promise",
            Message::Accept { .. } => "accept",
            Message::Accepted { .. } => "accepted",
            Message::Heartbeat { .. } => "heartbeat",
            Message::HeartbeatReply { .. } => "heartbeat_reply",
            Message::Refuse { .. } => "refuse",
            Message::CatchUp { .. } => "catch_up",
            Message::CatchUpReply { .. } => "catch_up_reply",
            Message::Compacted { .. } => "compacted",
            Message::NotMember { .. } => "not_member",
            Message::TakeOver { .. } => "take_over",
            Message::Diverged { .. } => "diverged",
            Message::ReadIndex { .. } => "read_index",
            Message::ReadIndexReply { .. } => "read_index_reply",
        }
    }
}
