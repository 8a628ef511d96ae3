//! The bytes of messages and records, format version 2 (byte tables in `docs/design/paxos-bytes.md`).
//!
//! Numbers are little-endian. What is read comes from a socket or a disk, so nothing here panics: bytes
//! that do not make sense are a [`Malformed`].

use crate::membership::{Ancestor, HISTORY_MAX, Member, Membership, Policy, Standing};
use crate::message::Message;
use crate::record::{Base, Record};
use crate::types::{Ballot, Entry, NodeId, Payload, Slot};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::{Buf, BufMut, Bytes};
use core::fmt;

/// Bytes that are no message or record of a version known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What was being read.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed bytes: {}", self.what)
    }
}

impl core::error::Error for Malformed {}

/// Appends the bytes of `message`.
pub fn encode_message(message: &Message, out: &mut Vec<u8>) {
    match message {
        Message::Canvass { ballot, membership } => {
            out.put_u8(1);
            put_ballot(*ballot, out);
            out.put_u64_le(membership.0);
        }
        Message::CanvassReply { ballot, granted, promised } => {
            out.put_u8(2);
            put_ballot(*ballot, out);
            out.put_u8(u8::from(*granted));
            put_ballot(*promised, out);
        }
        Message::Prepare { ballot, from } => {
            out.put_u8(3);
            put_ballot(*ballot, out);
            out.put_u64_le(from.0);
        }
        Message::Promise { ballot, from, decided, last, lineage, entries } => {
            out.put_u8(4);
            put_ballot(*ballot, out);
            out.put_u64_le(from.0);
            out.put_u64_le(decided.0);
            out.put_u64_le(last.0);
            put_ancestors(lineage, out);
            put_entries(entries, out);
        }
        Message::Accept { ballot, first, entries, decided } => {
            out.put_u8(5);
            put_ballot(*ballot, out);
            out.put_u64_le(first.0);
            out.put_u64_le(decided.0);
            put_entries(entries, out);
        }
        Message::Accepted { ballot, upto, gap } => {
            out.put_u8(6);
            put_ballot(*ballot, out);
            out.put_u64_le(upto.0);
            out.put_u8(u8::from(*gap));
        }
        Message::Heartbeat { ballot, decided, window, probe } => {
            out.put_u8(7);
            put_ballot(*ballot, out);
            out.put_u64_le(decided.0);
            out.put_u64_le(window.0);
            out.put_u64_le(*probe);
        }
        Message::HeartbeatReply { ballot, probe, upto } => {
            out.put_u8(8);
            put_ballot(*ballot, out);
            out.put_u64_le(*probe);
            out.put_u64_le(upto.0);
        }
        Message::Refuse { promised } => {
            out.put_u8(9);
            put_ballot(*promised, out);
        }
        Message::CatchUp { from } => {
            out.put_u8(10);
            out.put_u64_le(from.0);
        }
        Message::CatchUpReply { first, entries } => {
            out.put_u8(11);
            out.put_u64_le(first.0);
            put_entries(entries, out);
        }
        Message::ReadIndex { token } => {
            out.put_u8(12);
            out.put_u64_le(*token);
        }
        Message::ReadIndexReply { token, slot } => {
            out.put_u8(13);
            out.put_u64_le(*token);
            out.put_u64_le(slot.0);
        }
        Message::Compacted { floor } => {
            out.put_u8(14);
            out.put_u64_le(floor.0);
        }
        Message::NotMember { slot, removed } => {
            out.put_u8(15);
            out.put_u64_le(slot.0);
            out.put_u8(u8::from(*removed));
        }
        Message::TakeOver { ballot } => {
            out.put_u8(16);
            put_ballot(*ballot, out);
        }
        Message::Diverged { ballot, lineage } => {
            out.put_u8(17);
            put_ballot(*ballot, out);
            put_ancestors(lineage, out);
        }
    }
}

/// Reads a message that takes all of `bytes`; commands share their memory.
///
/// # Errors
/// [`Malformed`] if they are not exactly one message.
pub fn decode_message(bytes: Bytes) -> Result<Message, Malformed> {
    let mut r = Reader { bytes };
    let message = match r.u8("message kind")? {
        1 => Message::Canvass { ballot: r.ballot()?, membership: r.slot()? },
        2 => Message::CanvassReply {
            ballot: r.ballot()?,
            granted: r.bool("granted")?,
            promised: r.ballot()?,
        },
        3 => Message::Prepare { ballot: r.ballot()?, from: r.slot()? },
        4 => Message::Promise {
            ballot: r.ballot()?,
            from: r.slot()?,
            decided: r.slot()?,
            last: r.slot()?,
            lineage: r.ancestors()?,
            entries: r.entries()?,
        },
        5 => {
            let (ballot, first, decided) = (r.ballot()?, r.slot()?, r.slot()?);
            Message::Accept { ballot, first, entries: r.entries()?, decided }
        }
        6 => Message::Accepted { ballot: r.ballot()?, upto: r.slot()?, gap: r.bool("gap")? },
        7 => Message::Heartbeat {
            ballot: r.ballot()?,
            decided: r.slot()?,
            window: r.slot()?,
            probe: r.u64("probe")?,
        },
        8 => {
            Message::HeartbeatReply { ballot: r.ballot()?, probe: r.u64("probe")?, upto: r.slot()? }
        }
        9 => Message::Refuse { promised: r.ballot()? },
        10 => Message::CatchUp { from: r.slot()? },
        11 => Message::CatchUpReply { first: r.slot()?, entries: r.entries()? },
        12 => Message::ReadIndex { token: r.u64("token")? },
        13 => Message::ReadIndexReply { token: r.u64("token")?, slot: r.slot()? },
        14 => Message::Compacted { floor: r.slot()? },
        15 => Message::NotMember { slot: r.slot()?, removed: r.bool("removed")? },
        16 => Message::TakeOver { ballot: r.ballot()? },
        17 => Message::Diverged { ballot: r.ballot()?, lineage: r.ancestors()? },
        _ => return Err(Malformed { what: "message kind" }),
    };
    r.end()?;
    Ok(message)
}

/// Appends the bytes of `record`.
pub fn encode_record(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Promise(ballot) => {
            out.put_u8(1);
            put_ballot(*ballot, out);
        }
        Record::Accept(slot, entry) => {
            out.put_u8(2);
            out.put_u64_le(slot.0);
            put_entry(entry, out);
        }
        Record::Decided(slot) => {
            out.put_u8(3);
            out.put_u64_le(slot.0);
        }
        Record::Base(Base { slot, promised, membership: (membership_slot, membership) }) => {
            out.put_u8(4);
            out.put_u64_le(slot.0);
            put_ballot(*promised, out);
            out.put_u64_le(membership_slot.0);
            put_membership(membership, out);
        }
    }
}

/// Reads a record that takes all of `bytes`; a command shares their memory.
///
/// # Errors
/// [`Malformed`] if they are not exactly one record.
pub fn decode_record(bytes: Bytes) -> Result<Record, Malformed> {
    let mut r = Reader { bytes };
    let record = match r.u8("record kind")? {
        1 => Record::Promise(r.ballot()?),
        2 => Record::Accept(r.slot()?, r.entry()?),
        3 => Record::Decided(r.slot()?),
        4 => {
            let (slot, promised, membership_slot) = (r.slot()?, r.ballot()?, r.slot()?);
            if membership_slot > slot {
                return Err(Malformed { what: "a membership after its base" });
            }
            Record::Base(Base { slot, promised, membership: (membership_slot, r.membership()?) })
        }
        _ => return Err(Malformed { what: "record kind" }),
    };
    r.end()?;
    Ok(record)
}

fn put_ballot(ballot: Ballot, out: &mut Vec<u8>) {
    out.put_u64_le(ballot.round);
    out.put_u64_le(ballot.node.0);
}

fn put_entries(entries: &[Entry], out: &mut Vec<u8>) {
    out.put_u32_le(u32::try_from(entries.len()).expect("a chunk is bounded"));
    for entry in entries {
        put_entry(entry, out);
    }
}

fn put_entry(entry: &Entry, out: &mut Vec<u8>) {
    put_ballot(entry.ballot, out);
    match &entry.payload {
        Payload::Blank => out.put_u8(0),
        Payload::Command(bytes) => {
            out.put_u8(1);
            put_bytes(bytes, out);
        }
        Payload::Membership(membership) => {
            out.put_u8(2);
            put_membership(membership, out);
        }
    }
}

fn put_membership(membership: &Membership, out: &mut Vec<u8>) {
    out.put_u64_le(membership.base.0);
    out.put_u8(match membership.policy {
        Policy::Paxos => 0,
        Policy::Passive => 1,
    });
    out.put_u32_le(membership.level);
    put_ballot(membership.origin, out);
    out.put_u64_le(membership.own_slot.0);
    out.put_u32_le(u32::try_from(membership.members.len()).expect("groups are small"));
    for (node, member) in &membership.members {
        out.put_u64_le(node.0);
        out.put_u8(match member.standing {
            Standing::Learner => 0,
            Standing::Voter => 1,
            Standing::Away => 2,
        });
        // One field, so that a node of feature level 1, which knows only the first use of it, can read the level and stop.
        out.put_u64_le(match member.standing {
            Standing::Learner | Standing::Voter => member.replaces.unwrap_or_default().0,
            Standing::Away => member.left.unwrap_or_default().0,
        });
        put_bytes(member.address.as_bytes(), out);
    }
    out.put_u32_le(u32::try_from(membership.removed.len()).expect("the list is bounded"));
    for node in &membership.removed {
        out.put_u64_le(node.0);
    }
    put_ancestors(&membership.history, out);
}

fn put_ancestors(ancestors: &[Ancestor], out: &mut Vec<u8>) {
    out.put_u32_le(u32::try_from(ancestors.len()).expect("the list is bounded"));
    for ancestor in ancestors {
        put_ancestor(ancestor, out);
    }
}

fn put_ancestor(ancestor: &Ancestor, out: &mut Vec<u8>) {
    out.put_u64_le(ancestor.slot.0);
    put_ballot(ancestor.ballot, out);
    out.put_u64_le(ancestor.own_slot.0);
}

/// The bytes of a membership alone, as the store keeps them.
pub fn encode_membership(membership: &Membership) -> Vec<u8> {
    let mut out = Vec::new();
    put_membership(membership, &mut out);
    out
}

/// Reads a membership that takes all of `bytes`.
///
/// # Errors
/// [`Malformed`] if they are not exactly one membership.
pub fn decode_membership(bytes: Bytes) -> Result<Membership, Malformed> {
    let mut r = Reader { bytes };
    let membership = r.membership()?;
    r.end()?;
    Ok(membership)
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.put_u32_le(u32::try_from(bytes.len()).expect("lengths fit 32 bits"));
    out.put_slice(bytes);
}

struct Reader {
    bytes: Bytes,
}

impl Reader {
    fn need(&self, count: usize, what: &'static str) -> Result<(), Malformed> {
        if self.bytes.remaining() < count { Err(Malformed { what }) } else { Ok(()) }
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.need(1, what)?;
        Ok(self.bytes.get_u8())
    }

    fn bool(&mut self, what: &'static str) -> Result<bool, Malformed> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed { what }),
        }
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.need(4, what)?;
        Ok(self.bytes.get_u32_le())
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.need(8, what)?;
        Ok(self.bytes.get_u64_le())
    }

    /// Slots near the end of the number range are refused, so that counting on never overflows.
    fn slot(&mut self) -> Result<Slot, Malformed> {
        match self.u64("slot")? {
            slot if slot < u64::MAX / 2 => Ok(Slot(slot)),
            _ => Err(Malformed { what: "slot" }),
        }
    }

    fn ballot(&mut self) -> Result<Ballot, Malformed> {
        let (round, node) = (self.u64("ballot")?, NodeId(self.u64("ballot")?));
        if round >= u64::MAX / 2 {
            return Err(Malformed { what: "ballot" });
        }
        Ok(Ballot { round, node })
    }

    fn bytes(&mut self, what: &'static str) -> Result<Bytes, Malformed> {
        let count = self.u32(what)? as usize;
        self.need(count, what)?;
        Ok(self.bytes.split_to(count))
    }

    fn entries(&mut self) -> Result<Vec<Entry>, Malformed> {
        const ENTRY_BYTES_MIN: usize = 17;
        let count = self.u32("entry count")? as usize;
        if count > self.bytes.remaining() / ENTRY_BYTES_MIN {
            return Err(Malformed { what: "entry count" });
        }
        (0..count).map(|_| self.entry()).collect()
    }

    fn entry(&mut self) -> Result<Entry, Malformed> {
        let ballot = self.ballot()?;
        let payload = match self.u8("payload kind")? {
            0 => Payload::Blank,
            1 => Payload::Command(self.bytes("command")?),
            2 => Payload::Membership(self.membership()?),
            _ => return Err(Malformed { what: "payload kind" }),
        };
        Ok(Entry { ballot, payload })
    }

    fn membership(&mut self) -> Result<Membership, Malformed> {
        let base = self.slot()?;
        let policy = match self.u8("policy")? {
            0 => Policy::Paxos,
            1 => Policy::Passive,
            _ => return Err(Malformed { what: "policy" }),
        };
        let level = self.u32("feature level")?;
        let (origin, own_slot) = (self.ballot()?, self.slot()?);
        let count = self.u32("member count")?;
        let mut members = BTreeMap::new();
        for _ in 0..count {
            let node = self.node("member")?;
            // In order of id, so that one membership has one encoding; and nobody twice.
            if members.last_key_value().is_some_and(|(last, _)| *last >= node) {
                return Err(Malformed { what: "order of members" });
            }
            members.insert(node, self.member()?);
        }
        let count = self.u32("removed count")? as usize;
        self.need(count.saturating_mul(8), "removed count")?;
        let removed = (0..count).map(|_| self.node("removed node")).collect::<Result<_, _>>()?;
        let history = self.ancestors()?;
        Ok(Membership { base, policy, level, origin, own_slot, members, removed, history })
    }

    fn node(&mut self, what: &'static str) -> Result<NodeId, Malformed> {
        match self.u64(what)? {
            0 => Err(Malformed { what }),
            id => Ok(NodeId(id)),
        }
    }

    fn member(&mut self) -> Result<Member, Malformed> {
        let standing = match self.u8("standing")? {
            0 => Standing::Learner,
            1 => Standing::Voter,
            2 => Standing::Away,
            _ => return Err(Malformed { what: "standing" }),
        };
        let (mut replaces, mut left) = (None, None);
        match standing {
            Standing::Away => left = Some(self.slot()?).filter(|slot| *slot > Slot::ZERO),
            _ => replaces = Some(NodeId(self.u64("replaced member")?)).filter(|id| id.0 > 0),
        }
        let address = String::from_utf8(self.bytes("address")?.to_vec())
            .map_err(|_| Malformed { what: "address" })?;
        Ok(Member { address, standing, replaces, left })
    }

    fn ancestors(&mut self) -> Result<Vec<Ancestor>, Malformed> {
        let count = self.u32("ancestor count")? as usize;
        if count > HISTORY_MAX + 1 {
            return Err(Malformed { what: "ancestor count" });
        }
        (0..count).map(|_| self.ancestor()).collect()
    }

    fn ancestor(&mut self) -> Result<Ancestor, Malformed> {
        Ok(Ancestor { slot: self.slot()?, ballot: self.ballot()?, own_slot: self.slot()? })
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.bytes.has_remaining() {
            return Err(Malformed { what: "bytes after the end" });
        }
        Ok(())
    }
}
