//! The records of a log, in words.

use super::{open_disk, options};
use crate::error::ServerError;
use crate::folder;
use api::{Reference, Request};
use paxos::{Entry, Membership, Payload, Record, Slot, Standing};
use replica::{Examined, JournalError};
use std::collections::BTreeMap;
use std::path::Path;
use store::Command;
use wal::Position;

/// One record of a log.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// The number of its segment.
    pub segment: u32,
    /// Where it begins in the segment, in bytes.
    pub offset: u32,
    /// What it says.
    pub body: Body,
}

/// What a record says.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing below this ballot will be accepted.
    Promise {
        /// The ballot.
        ballot: String,
    },
    /// The entry accepted in a slot.
    Accept {
        /// The slot.
        slot: u64,
        /// The ballot of the leader that proposed it.
        ballot: String,
        /// Whether the log says that it is decided. Where it does not, it may be so all the same.
        is_decided: bool,
        /// What it costs, in bytes; an estimate from above.
        bytes: usize,
        /// What it does.
        entry: Box<EntryBody>,
    },
    /// Every slot up to this one is decided.
    Decided {
        /// The slot.
        slot: u64,
    },
    /// A snapshot stands for every slot up to this one.
    Base {
        /// The slot.
        slot: u64,
        /// The highest promise when it was written.
        promised: String,
        /// The slot of the membership that governs after it.
        membership_slot: u64,
        /// That membership.
        membership: MembershipShown,
    },
}

/// What an entry does.
#[derive(Clone, Debug)]
pub enum EntryBody {
    /// Nothing.
    Blank,
    /// A write.
    Command {
        /// Its unique name.
        reference: Reference,
        /// Its client has the answers of everything below this sequence.
        acked: u64,
        /// The clock of the node that took it, in milliseconds since 1970.
        time_ms: u64,
        /// What is to be done.
        request: Box<Request>,
    },
    /// A command that this version cannot read.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// Who takes part from the next slot on.
    Membership(MembershipShown),
}

/// A membership in words.
#[derive(Clone, Debug)]
pub struct MembershipShown {
    /// By which rule the group decides.
    pub policy: String,
    /// The feature level of the entries that follow.
    pub level: u32,
    /// Who takes part.
    pub members: Vec<MemberShown>,
    /// Who was removed.
    pub removed: Vec<String>,
}

/// A member in words.
#[derive(Clone, Debug)]
pub struct MemberShown {
    /// Its identity.
    pub node: String,
    /// Where it listens.
    pub address: String,
    /// What it counts for: `voter`, `learner` or `away`.
    pub standing: &'static str,
}

/// Reads the log of the node in `path` and shows it to `each`, until that answers false. With `all_records` these are
/// the records in the order in which they were written; without, the entries in the order of their slots, each as it
/// was accepted last. Slots outside `from ..= upto` are left out; records without a slot are shown always.
///
/// The node may be running: then this shows what is on the disk.
///
/// # Errors
/// [`ServerError`]: the folder is no node's, or damage, after what stands before it was shown.
pub fn read_log(
    path: &Path,
    from: u64,
    upto: u64,
    all_records: bool,
    each: impl FnMut(LogRecord) -> bool,
) -> Result<(), ServerError> {
    read_to_end(path, from, upto, all_records, each).map(drop)
}

/// How far a log was read.
pub(super) struct End {
    /// Where the last record begins.
    pub(super) position: Position,
    /// The last slot that the log says is decided.
    pub(super) decided: Slot,
}

/// As [`read_log`], and says how far that was.
pub(super) fn read_to_end(
    path: &Path,
    from: u64,
    upto: u64,
    all_records: bool,
    mut each: impl FnMut(LogRecord) -> bool,
) -> Result<End, ServerError> {
    let identity = folder::identity_of(path)?;
    let failed = |source: JournalError| ServerError::Start {
        path: path.to_path_buf(),
        source: source.into(),
    };
    let disk = open_disk(&path.join("log")).map_err(|error| failed(error.into()))?;
    let options = options(Some(&identity));
    let mut latest: BTreeMap<u64, u64> = BTreeMap::new();
    let mut last = None;
    let first_pass = replica::examine(&disk, &options, |position, record| {
        last = Some(position);
        if let Record::Accept(slot, _) = record
            && (from..=upto).contains(&slot.0)
        {
            latest.insert(slot.0, position.to_u64());
        }
        Ok(())
    });
    let decided = first_pass.as_ref().map_or(Slot::ZERO, |found| found.recovered.decided);
    let mut wanted = true;
    let mut show = |position: Position, record: Record| {
        let is_shown = match &record {
            Record::Accept(slot, _) if all_records => (from..=upto).contains(&slot.0),
            Record::Accept(slot, _) => latest.get(&slot.0) == Some(&position.to_u64()),
            Record::Decided(slot) => all_records && (from..=upto).contains(&slot.0),
            Record::Promise(_) | Record::Base(_) => all_records,
        };
        if wanted && is_shown {
            wanted = each(shown(position, record, decided));
        }
        Ok(())
    };
    let second: Result<Examined, JournalError> =
        replica::examine(&disk, &options, |position, record| {
            // What a running node has written since was not weighed: it is not shown, and not counted as read.
            if last.is_some_and(|last| position <= last) { show(position, record) } else { Ok(()) }
        });
    let examined = first_pass.and(second).map_err(failed)?;
    // What is there between the last record and the end of the log is no record.
    Ok(End { position: last.unwrap_or(examined.recovery.first), decided })
}

pub(super) fn shown(position: Position, record: Record, decided: Slot) -> LogRecord {
    let body = match record {
        Record::Promise(ballot) => Body::Promise { ballot: ballot.to_string() },
        Record::Accept(slot, entry) => Body::Accept {
            slot: slot.0,
            ballot: entry.ballot.to_string(),
            is_decided: slot <= decided,
            bytes: entry.payload.cost_bytes(),
            entry: Box::new(entry_body(&entry)),
        },
        Record::Decided(slot) => Body::Decided { slot: slot.0 },
        Record::Base(base) => Body::Base {
            slot: base.slot.0,
            promised: base.promised.to_string(),
            membership_slot: base.membership.0.0,
            membership: membership_shown(&base.membership.1),
        },
    };
    LogRecord { segment: position.segment, offset: position.offset, body }
}

fn entry_body(entry: &Entry) -> EntryBody {
    match &entry.payload {
        Payload::Blank => EntryBody::Blank,
        Payload::Membership(membership) => EntryBody::Membership(membership_shown(membership)),
        Payload::Command(bytes) => match Command::decode(bytes) {
            Ok(Command { reference, acked, time_ms, request }) => {
                let request = Box::new(request);
                EntryBody::Command { reference, acked, time_ms, request }
            }
            Err(error) => EntryBody::Unreadable { reason: error.to_string() },
        },
    }
}

fn membership_shown(membership: &Membership) -> MembershipShown {
    let members = membership.members.iter().map(|(node, member)| MemberShown {
        node: node.to_string(),
        address: member.address.clone(),
        standing: match member.standing {
            Standing::Voter => "voter",
            Standing::Learner => "learner",
            Standing::Away => "away",
        },
    });
    MembershipShown {
        policy: membership.policy.to_string(),
        level: membership.level,
        members: members.collect(),
        removed: membership.removed.iter().map(ToString::to_string).collect(),
    }
}
