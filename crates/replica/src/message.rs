//! What nodes say to each other above consensus.

use ::bytes::Bytes;
use paxos::{Message, NodeId};

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
}

impl PeerMessage {
    /// The name of the message's kind, for traces and counters.
    pub fn kind(&self) -> &'static str {
        match self {
            PeerMessage::Paxos(message) => message.kind(),
            PeerMessage::Forward { .. } => "forward",
            PeerMessage::Join { .. } => "join",
        }
    }
}
