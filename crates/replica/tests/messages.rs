//! The bytes of messages between nodes: what is written is read, and nothing else is.

use bytes::Bytes;
use paxos::{Ballot, Change, Message, NodeId, Refusal, Slot};
use replica::{PeerMessage, decode_peer_message, encode_peer_message};

/// Every kind, with every change and every refusal.
fn messages() -> Vec<PeerMessage> {
    let node = NodeId(7);
    let changes = [
        Change::Remove { node },
        Change::Allow { node },
        Change::Promote { node },
        Change::Lead { node: Some(node) },
        Change::Lead { node: None },
        Change::Raise { level: 2 },
    ];
    let refusals = [
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
    let bytes = Bytes::from_static(b"bytes");
    let mut messages = vec![
        PeerMessage::Paxos(Message::TakeOver { ballot: Ballot { round: 3, node } }),
        PeerMessage::Forward { command: bytes.clone() },
        PeerMessage::Join { node, address: "host:1".into() },
        PeerMessage::SnapshotAsk { slot: Slot(9), cursor: bytes.clone() },
        PeerMessage::SnapshotAsk { slot: Slot::ZERO, cursor: Bytes::new() },
        PeerMessage::SnapshotChunk { chunk: bytes },
    ];
    messages.extend(changes.map(|change| PeerMessage::Change { token: 5, change }));
    messages.extend(refusals.map(|reason| PeerMessage::ChangeRefused { token: 5, reason }));
    messages
}

fn bytes_of(message: &PeerMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_peer_message(message, &mut bytes);
    bytes
}

#[test]
fn every_kind_of_message_is_read_as_it_was_written() {
    let mut kinds = std::collections::BTreeSet::new();
    for message in messages() {
        let read = decode_peer_message(Bytes::from(bytes_of(&message)));
        assert_eq!(read.as_ref(), Ok(&message), "{message:?}");
        kinds.insert(message.kind());
    }
    assert_eq!(kinds.len(), 7, "{kinds:?}");
}

#[test]
fn what_is_cut_short_or_has_more_to_it_is_refused_where_the_length_is_known() {
    for message in messages() {
        let bytes = bytes_of(&message);
        let ends_where_it_ends = matches!(
            message,
            PeerMessage::Paxos(_) | PeerMessage::Change { .. } | PeerMessage::ChangeRefused { .. }
        );
        if ends_where_it_ends {
            for length in 0..bytes.len() {
                let read = decode_peer_message(Bytes::copy_from_slice(&bytes[..length]));
                assert!(read.is_err(), "{message:?} cut to {length}");
            }
            let read = decode_peer_message(Bytes::from([&bytes[..], &[0]].concat()));
            assert!(read.is_err(), "{message:?} with a byte more");
        }
    }
}

#[test]
fn bytes_that_are_no_message_are_refused_by_what_is_wrong_with_them() {
    let change =
        |kind: u8, number: u64| [&[4][..], &[0; 8], &[kind], &number.to_le_bytes()].concat();
    for (bytes, what) in [
        (vec![], "peer message"),
        (vec![0], "peer message kind"),
        (vec![8], "peer message kind"),
        (vec![3, 1, 0], "peer message"),
        ([&[3][..], &[0; 8], b"host:1"].concat(), "join"),
        ([&[3][..], &7_u64.to_le_bytes()].concat(), "join"),
        ([&[3][..], &7_u64.to_le_bytes(), &[0xFF]].concat(), "address"),
        (change(1, 0), "node"),
        (change(0, 7), "change kind"),
        (change(6, 7), "change kind"),
        (change(5, 1 << 32), "feature level"),
        ([&[5][..], &[0; 8], &[200]].concat(), "refusal"),
        ([&[6][..], &[0xFF; 8]].concat(), "slot"),
    ] {
        let read = decode_peer_message(Bytes::from(bytes.clone()));
        assert_eq!(read.expect_err("it means nothing").what, what, "{bytes:?}");
    }
}
