//! What nodes say to each other above consensus.

use ::bytes::Bytes;
use paxos::{Change, Message, NodeId, Refusal, Slot};

/// A message between two nodes of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// A message of the consensus core.
    Paxos(Message),
    /// Please have this command decided (the receiver leads, or so the sender thinks). Never refused: a
    /// refusal of one copy could not tell what became of another. The sender sends it again.
    Forward {
        /// The command, encoded.
        command: Bytes,
    },
    /// Please let `node` take part; it listens at `address`. Passed on to the leader.
    Join {
        /// Who.
        node: NodeId,
        /// Where it listens, `host:port`.
        address: String,
    },
    /// Please change who takes part (the receiver leads, or so the sender thinks). Not answered when it is granted:
    /// the membership shows it.
    Change {
        /// The sender's name for the wish.
        token: u64,
        /// The wish.
        change: Change,
    },
    /// The wish will not be granted.
    ChangeRefused {
        /// Which.
        token: u64,
        /// Why.
        reason: Refusal,
    },
    /// Send me the chunk of a snapshot that follows this one.
    SnapshotAsk {
        /// The applied slot of the snapshot; zero: any.
        slot: Slot,
        /// Where to go on; empty: from the start.
        cursor: Bytes,
    },
    /// A chunk of a snapshot.
    SnapshotChunk {
        /// The chunk, as the store made it.
        chunk: Bytes,
    },
}

impl PeerMessage {
    /// The name of the message's kind, for traces and counters.
    pub fn kind(&self) -> &'static str {
        match self {
            PeerMessage::Paxos(message) => message.kind(),
            PeerMessage::Forward { .. } => "forward",
            PeerMessage::Join { .. } => "join",
            PeerMessage::Change { .. } => "change",
            PeerMessage::ChangeRefused { .. } => "change_refused",
            PeerMessage::SnapshotAsk { .. } => "snapshot_ask",
            PeerMessage::SnapshotChunk { .. } => "snapshot_chunk",
        }
    }
}
