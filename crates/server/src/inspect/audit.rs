//! What must hold between the records of one log, beyond what a start needs to know.

use bytes::Bytes;
use paxos::{Ballot, Entry, Payload, Record, Slot};
use std::collections::BTreeMap;
use store::Command;

/// Checks records one after the other.
///
/// Invariants of a log, each checked here:
/// 1. The ballot recorded for a slot never falls, and no two values share slot and ballot.
/// 2. A slot that is decided keeps its value.
/// 3. Every ballot belongs to a node.
/// 4. Every command can be read.
#[derive(Default)]
pub(crate) struct Audit {
    /// The ballot of each slot after the floor, and the checksum of its value.
    entries: BTreeMap<Slot, (Ballot, u32)>,
    decided: Slot,
    /// Entries seen.
    pub(crate) count: u64,
}

impl Audit {
    /// Takes note of a record; what is wrong with it, in words.
    pub(crate) fn note(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Promise(ballot) => check_ballot(*ballot, "a promise")?,
            Record::Accept(slot, entry) => self.note_entry(*slot, entry)?,
            Record::Decided(slot) => self.decided = self.decided.max(*slot),
            Record::Base(base) => {
                self.decided = self.decided.max(base.slot);
                self.entries = self.entries.split_off(&base.slot.next());
            }
        }
        Ok(())
    }

    fn note_entry(&mut self, slot: Slot, entry: &Entry) -> Result<(), String> {
        check_ballot(entry.ballot, &format!("the entry of slot {slot}"))?;
        let checksum = match &entry.payload {
            Payload::Blank => 0,
            Payload::Command(bytes) => {
                check_command(slot, bytes)?;
                crc32c::crc32c(bytes)
            }
            Payload::Membership(membership) => crc32c::crc32c(format!("{membership:?}").as_bytes()),
        };
        self.count += 1;
        if let Some((ballot, before)) = self.entries.insert(slot, (entry.ballot, checksum)) {
            if entry.ballot < ballot {
                return Err(format!(
                    "slot {slot} was accepted in ballot {ballot} and later in {}, which is lower",
                    entry.ballot
                ));
            }
            if before != checksum && entry.ballot == ballot {
                return Err(format!("slot {slot} holds two values of ballot {ballot}"));
            }
            if before != checksum && slot <= self.decided {
                return Err(format!("slot {slot} was decided and has another value now"));
            }
        }
        Ok(())
    }
}

fn check_ballot(ballot: Ballot, what: &str) -> Result<(), String> {
    if ballot.node.0 == 0 || ballot.round == 0 {
        return Err(format!("{what} has ballot {ballot}, which no node can own"));
    }
    Ok(())
}

fn check_command(slot: Slot, bytes: &Bytes) -> Result<(), String> {
    let decoded = Command::decode(bytes);
    decoded.map(drop).map_err(|error| format!("the command of slot {slot} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos::NodeId;

    fn ballot(round: u64) -> Ballot {
        Ballot { round, node: NodeId(7) }
    }

    fn write(round: u64, value: i64) -> Entry {
        let command = Command {
            reference: api::Reference::new("c", 1),
            acked: 0,
            time_ms: 0,
            request: api::Request::Write { key: "k".into(), value: value.into() },
        };
        Entry { ballot: ballot(round), payload: Payload::Command(command.encode().into()) }
    }

    #[test]
    fn what_cannot_be_is_told() {
        let accept = |slot, entry| Record::Accept(Slot(slot), entry);
        let cases: [(&[Record], &str); 6] = [
            (&[accept(1, write(2, 1)), accept(1, write(3, 2)), Record::Decided(Slot(1))], ""),
            (&[accept(1, write(3, 1)), accept(1, write(2, 1))], "which is lower"),
            (&[accept(1, write(2, 1)), accept(1, write(2, 2))], "two values"),
            (
                &[accept(1, write(2, 1)), Record::Decided(Slot(1)), accept(1, write(3, 2))],
                "another value",
            ),
            (&[Record::Promise(Ballot::ZERO)], "no node can own"),
            (
                &[accept(
                    1,
                    Entry { ballot: ballot(1), payload: Payload::Command(Bytes::from("?")) },
                )],
                "cannot be read",
            ),
        ];
        for (records, expected) in cases {
            let mut audit = Audit::default();
            let found = records.iter().try_for_each(|record| audit.note(record));
            let found = found.err().unwrap_or_default();
            assert!(found.contains(expected), "{found:?} for {expected:?}");
            assert_eq!(found.is_empty(), expected.is_empty(), "{found}");
        }
    }
}
