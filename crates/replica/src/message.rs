//! What nodes say to each other above consensus.

use ::bytes::Bytes;
use paxos::{Message, NodeId};

/// A message between two nodes of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// A message of the consensus core.
    Paxos(Message),
    /// Please have this command decided (the receiver leads, or so the sender thinks).
    Forward {
        /// The sender's name for it, for [`PeerMessage::ForwardRefused`].
        token: u64,
        /// The command, encoded.
        command: Bytes,
    },
    /// The command of [`PeerMessage::Forward`] was not proposed.
    ForwardRefused {
        /// The sender's name for it.
        token: u64,
        /// Whether the leader has too much to do (else it does not lead).
        busy: bool,
    },
    /// Please let `node` take part; it listens at `address`. Passed on to the leader.
    Join {
        /// Who.
        node: NodeId,
        /// Where it listens, `host:port`.
        address: String,
    },
}

impl PeerMessage {
    /// The name of the message's kind, for traces and counters.
    pub fn kind(&self) -> &'static str {
        match self {
            PeerMessage::Paxos(message) => message.kind(),
            PeerMessage::Forward { .. } => "forward",
            PeerMessage::ForwardRefused { .. } => "forward_refused",
            PeerMessage::Join { .. } => "join",
        }
    }
}
