//! The bytes of a [`PeerMessage`] (byte table in `docs/design/peer-protocol.md`).

use crate::message::PeerMessage;
use bytes::{Buf, Bytes};
use paxos::NodeId;
use paxos::codec::{Malformed, decode_message, encode_message};

/// Appends the bytes of `message`.
pub fn encode_peer_message(message: &PeerMessage, out: &mut Vec<u8>) {
    match message {
        PeerMessage::Paxos(message) => {
            out.push(1);
            encode_message(message, out);
        }
        PeerMessage::Forward { command } => {
            out.push(2);
            out.extend_from_slice(command);
        }
        PeerMessage::Join { node, address } => {
            out.push(3);
            out.extend_from_slice(&node.0.to_le_bytes());
            out.extend_from_slice(address.as_bytes());
        }
    }
}

/// Reads a message that takes all of `bytes`; commands share their memory.
///
/// # Errors
/// [`Malformed`] if they are not exactly one message.
pub fn decode_peer_message(mut bytes: Bytes) -> Result<PeerMessage, Malformed> {
    let short = Malformed { what: "peer message" };
    let kind = bytes.try_get_u8().map_err(|_| short)?;
    let number = |bytes: &mut Bytes| bytes.try_get_u64_le().map_err(|_| short);
    match kind {
        1 => decode_message(bytes).map(PeerMessage::Paxos),
        2 => Ok(PeerMessage::Forward { command: bytes }),
        3 => {
            let node = NodeId(number(&mut bytes)?);
            let address =
                String::from_utf8(bytes.to_vec()).map_err(|_| Malformed { what: "address" })?;
            if node.0 == 0 || address.is_empty() {
                return Err(Malformed { what: "join" });
            }
            Ok(PeerMessage::Join { node, address })
        }
        _ => Err(Malformed { what: "peer message kind" }),
    }
}
