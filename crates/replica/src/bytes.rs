//! The bytes of a [`PeerMessage`] (byte table in `docs/design/peer-protocol.md`).

use crate::message::PeerMessage;
use bytes::{Buf, Bytes};
use paxos::codec::{Malformed, decode_message, encode_message};
use paxos::{Change, NodeId, Refusal, Slot};

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
        PeerMessage::Change { token, change } => {
            out.push(4);
            out.extend_from_slice(&token.to_le_bytes());
            let (kind, number) = match change {
                Change::Remove { node } => (1, node.0),
                Change::Allow { node } => (2, node.0),
                Change::Promote { node } => (3, node.0),
                Change::Lead { node } => (4, node.unwrap_or_default().0),
                Change::Raise { level } => (5, u64::from(*level)),
                Change::Join { .. } | Change::Evict { .. } | Change::GoOnAlone { .. } => {
                    unreachable!("these are not asked for so")
                }
            };
            out.push(kind);
            out.extend_from_slice(&number.to_le_bytes());
        }
        PeerMessage::ChangeRefused { token, reason } => {
            out.push(5);
            out.extend_from_slice(&token.to_le_bytes());
            let index = REFUSALS.iter().position(|known| known == reason);
            out.push(index.and_then(|i| u8::try_from(i).ok()).expect("every refusal is listed"));
        }
        PeerMessage::SnapshotAsk { slot, cursor } => {
            out.push(6);
            out.extend_from_slice(&slot.0.to_le_bytes());
            out.extend_from_slice(cursor);
        }
        PeerMessage::SnapshotChunk { chunk } => {
            out.push(7);
            out.extend_from_slice(chunk);
        }
    }
}

/// The refusals, in the order of their numbers on the wire.
const REFUSALS: [Refusal; 10] = [
    Refusal::Unknown,
    Refusal::LastVoter,
    Refusal::UnsafeQuorum,
    Refusal::AddressInUse,
    Refusal::Removed,
    Refusal::NotFollowing,
    Refusal::NotAVoter,
    Refusal::NotOneOfTwo,
    Refusal::StillHeard,
    Refusal::NoSuchLevel,
];

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
        4 => {
            let token = number(&mut bytes)?;
            let kind = bytes.try_get_u8().map_err(|_| short)?;
            let number = number(&mut bytes)?;
            let node = NodeId(number);
            let named = || if node.0 == 0 { Err(Malformed { what: "node" }) } else { Ok(node) };
            let change = match kind {
                1 => Change::Remove { node: named()? },
                2 => Change::Allow { node: named()? },
                3 => Change::Promote { node: named()? },
                4 => Change::Lead { node: named().ok() },
                5 => match u32::try_from(number) {
                    Ok(level) => Change::Raise { level },
                    Err(_) => return Err(Malformed { what: "feature level" }),
                },
                _ => return Err(Malformed { what: "change kind" }),
            };
            end(&bytes)?;
            Ok(PeerMessage::Change { token, change })
        }
        5 => {
            let token = number(&mut bytes)?;
            let index = bytes.try_get_u8().map_err(|_| short)?;
            let reason = REFUSALS.get(usize::from(index)).copied();
            let reason = reason.ok_or(Malformed { what: "refusal" })?;
            end(&bytes)?;
            Ok(PeerMessage::ChangeRefused { token, reason })
        }
        6 => {
            let slot = number(&mut bytes)?;
            if slot >= u64::MAX / 2 {
                return Err(Malformed { what: "slot" });
            }
            Ok(PeerMessage::SnapshotAsk { slot: Slot(slot), cursor: bytes })
        }
        7 => Ok(PeerMessage::SnapshotChunk { chunk: bytes }),
        _ => Err(Malformed { what: "peer message kind" }),
    }
}

fn end(bytes: &Bytes) -> Result<(), Malformed> {
    if bytes.has_remaining() { Err(Malformed { what: "bytes after the end" }) } else { Ok(()) }
}
