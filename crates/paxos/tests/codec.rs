//! Bytes of messages and records that are refused.

use bytes::Bytes;
use paxos::codec::{Malformed, decode_membership, decode_record, encode_membership, encode_record};
use paxos::{Ballot, Entry, Member, Membership, NodeId, Payload, Policy, Record, Slot, Standing};

/// A membership of the nodes 1 and 2 in a record, and where their ids stand.
fn record_of_two_members() -> (Vec<u8>, [usize; 2]) {
    let member = |n: u64| (NodeId(n), Member::new("host:1", Standing::Voter));
    let payload = Payload::Membership(Membership::of(Policy::Paxos, [member(1), member(2)]));
    let ballot = Ballot { round: 7, node: NodeId(1) };
    let mut bytes = Vec::new();
    encode_record(&Record::Accept(Slot(5), Entry { ballot, payload }), &mut bytes);
    let member_bytes = 8 + 1 + 8 + 4 + "host:1".len();
    // Behind the members: how many were removed, and how many memberships led to this one.
    let second = bytes.len() - 4 - 4 - member_bytes;
    (bytes, [second - member_bytes, second])
}

/// One membership has one encoding, so that equal entries are equal bytes on every node.
#[test]
fn members_out_of_order_or_twice_are_refused() {
    let (bytes, [first, second]) = record_of_two_members();
    assert!(decode_record(Bytes::from(bytes.clone())).is_ok());
    for (at, id) in [(first, 3_u8), (second, 1)] {
        let mut changed = bytes.clone();
        changed[at] = id;
        let refused = decode_record(Bytes::from(changed));
        assert_eq!(refused, Err(Malformed { what: "order of members" }));
    }
}

/// Where a member was left out takes the place of whom it replaces, which only learners do: so bytes of feature level 2 can be
/// read by who knows level 1 alone, and stops for the level instead of taking them for damage.
#[test]
fn where_a_member_was_left_out_changes_no_length() {
    let bytes_of = |left| {
        let mut away = Member::new("host:1", Standing::Away);
        away.left = left;
        let membership = Membership::of(Policy::Paxos, [(NodeId(1), away)]);
        let bytes = encode_membership(&membership);
        let read = decode_membership(bytes.clone().into()).expect("it was written so");
        assert_eq!(read, membership);
        bytes
    };
    let (untold, told) = (bytes_of(None), bytes_of(Some(Slot(0x0102_0304))));
    assert_eq!(untold.len(), told.len());
    let differ = untold.iter().zip(&told).filter(|(a, b)| a != b).map(|(_, b)| *b);
    assert_eq!(differ.collect::<Vec<u8>>(), [4, 3, 2, 1]);
}
