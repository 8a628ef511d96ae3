//! The disk of one node of a group: records that are durable, batches that are not, and what they add up to.

use paxos::{Base, Durable, Entry, Membership, Message, Payload, PersistId, Record, Slot, codec};

/// A log without segments: a list of records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) records: Vec<Record>,
    /// Batches that are not durable yet, oldest first.
    pub(crate) writing: Vec<(PersistId, Vec<Record>)>,
}

impl Disk {
    /// Makes the first `count` batches durable; the last of them.
    pub(crate) fn sync(&mut self, count: usize) -> Option<PersistId> {
        let count = count.min(self.writing.len());
        let done: Vec<_> = self.writing.drain(..count).collect();
        let last = done.last().map(|(id, _)| *id);
        self.records.extend(done.into_iter().flat_map(|(_, records)| records));
        last
    }

    /// Power is lost: of what was not durable a prefix of `kept` records stays.
    pub(crate) fn crash(&mut self, kept: usize) {
        let writing = std::mem::take(&mut self.writing);
        let records = writing.into_iter().flat_map(|(_, records)| records);
        self.records.extend(records.take(kept));
    }

    /// The last entry recorded at `slot`.
    pub(crate) fn entry(&self, slot: Slot) -> Option<Entry> {
        self.records.iter().rev().find_map(|record| match record {
            Record::Accept(found, entry) if *found == slot => Some(entry.clone()),
            _ => None,
        })
    }

    /// Decided entries from `from` to `upto`, as far as they are still there.
    pub(crate) fn entries(&self, from: Slot, upto: Slot) -> Vec<Entry> {
        let floor = self.durable().floor;
        let slots = from.0..=upto.0;
        slots.map_while(|slot| self.entry(Slot(slot)).filter(|_| Slot(slot) > floor)).collect()
    }

    /// The membership that governs after `slot`, and its slot.
    pub(crate) fn membership_at(&self, slot: Slot) -> (Slot, Membership) {
        let (mut next, mut found) = (Slot(1), (Slot::ZERO, Membership::default()));
        for record in &self.records {
            if let Record::Base(Base { slot, membership, .. }) = record {
                (next, found) = (slot.next(), membership.clone());
            }
        }
        while next <= slot
            && let Some(entry) = self.entry(next)
        {
            if let Payload::Membership(membership) = entry.payload {
                found = (next, membership);
            }
            next = next.next();
        }
        found
    }

    /// Cuts the log behind `slot`, which is durable and decided.
    pub(crate) fn compact(&mut self, slot: Slot) {
        let durable = self.durable();
        if slot <= durable.floor {
            return;
        }
        let base = Base { slot, promised: durable.promised, membership: self.membership_at(slot) };
        self.records.retain(|record| match record {
            Record::Accept(found, _) => *found > slot,
            Record::Decided(found) => *found > slot,
            Record::Promise(_) | Record::Base(_) => false,
        });
        self.records.insert(0, Record::Base(base));
    }

    /// What a node restarts from.
    pub(crate) fn durable(&self) -> Durable {
        let mut durable = Durable::default();
        for record in &self.records {
            match record {
                Record::Promise(ballot) => durable.promised = durable.promised.max(*ballot),
                Record::Decided(slot) => durable.decided = durable.decided.max(*slot),
                Record::Accept(..) => {}
                Record::Base(Base { slot, promised, membership }) => {
                    durable.promised = durable.promised.max(*promised);
                    durable.decided = durable.decided.max(*slot);
                    durable.floor = *slot;
                    durable.membership = membership.clone();
                }
            }
        }
        let mut slot = durable.floor.next();
        while let Some(entry) = self.entry(slot) {
            if slot > durable.decided {
                durable.entries.push(entry);
            } else if let Payload::Membership(membership) = entry.payload {
                durable.membership = (slot, membership);
            }
            slot = slot.next();
        }
        durable
    }
}

/// `record` as it comes back from its bytes.
pub(crate) fn through_bytes(record: &Record) -> Record {
    let mut bytes = Vec::new();
    codec::encode_record(record, &mut bytes);
    let read = codec::decode_record(bytes.into()).expect("what was written can be read");
    assert_eq!(read, *record);
    read
}

/// `message` as it comes out of its bytes.
pub(crate) fn message_through_bytes(message: &Message) -> Message {
    let mut bytes = Vec::new();
    codec::encode_message(message, &mut bytes);
    let read = codec::decode_message(bytes.into()).expect("what was sent can be read");
    assert_eq!(read, *message);
    read
}
