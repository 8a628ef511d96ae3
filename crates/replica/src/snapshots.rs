//! Snapshots between nodes: asking for one where others have cut their logs, giving one, and when to cut the
//! own log.
//!
//! Who needs a snapshot pulls it, chunk by chunk, so that it decides how fast it comes, and asks again for what
//! is lost. Who gives it keeps a view of its store at one applied slot while it is asked for.
//!
//! Invariants:
//! 1. The core is told of a snapshot when it is complete, checked and durable; the store takes its place when the log
//!    durably says so. So whatever a crash leaves, log and store belong together, or the snapshot is not used.
//! 2. The log is cut only up to slots that the store holds durably.

use crate::message::PeerMessage;
use crate::node::{Output, PlantedBug, Replica};
use bytes::Bytes;
use paxos::codec::decode_membership;
use paxos::{Membership, NodeId, Slot};
use std::collections::{BTreeMap, VecDeque};

/// Ticks without an answer after which a chunk is asked for again.
const RETRY_TICKS: u64 = 100;
/// How often a chunk is asked for before another node is tried.
const TRIES_MAX: u32 = 5;
/// Ticks without a question after which a view is let go.
const LEASE_TICKS: u64 = 3_000;
/// Most bytes of entries between two places where the log can be cut.
const MARK_BYTES_MAX: u64 = 1 << 20;
/// At least so many such places are in what is to stay.
const MARKS_MIN: u64 = 16;
/// How many times the usual length of log a snapshot under way may hold up the cutting.
const HELD_TIMES_MAX: u64 = 4;

/// What this node is doing about snapshots.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    fetch: Option<Fetch>,
    /// Views kept for others: when each was last asked for.
    leases: BTreeMap<Slot, u64>,
    /// The log has been told to use this one; the store does not yet.
    switching: Option<Slot>,
}

/// A snapshot that is on its way here.
#[derive(Debug)]
struct Fetch {
    from: NodeId,
    /// The snapshot's slot, once it is known.
    slot: Slot,
    cursor: Bytes,
    stage: Stage,
    asked_tick: u64,
    tries: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A chunk is asked for.
    Asking,
    /// A chunk is being taken in.
    Importing,
    /// All is there and is made durable.
    Finishing,
}

/// How a chunk was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is in.
    Chunk {
        /// The slot of the snapshot that it belongs to.
        slot: Slot,
        /// Where the next one begins.
        cursor: Bytes,
        /// It was the last.
        is_complete: bool,
    },
    /// It was damaged on its way: the import stands where it stood.
    Again,
    /// It does not fit, being of another snapshot, or the import cannot go on.
    Misfit,
}

impl Replica {
    /// The core lacks entries that `from` has cut.
    pub(crate) fn on_need_snapshot(&mut self, from: NodeId) {
        if self.snapshots.fetch.is_some() || self.snapshots.switching.is_some() {
            return;
        }
        self.begin_fetch(from);
    }

    fn begin_fetch(&mut self, from: NodeId) {
        self.outputs.push(Output::BeginImport);
        self.snapshots.fetch = Some(Fetch {
            from,
            slot: Slot::ZERO,
            cursor: Bytes::new(),
            stage: Stage::Asking,
            asked_tick: self.now,
            tries: 0,
        });
        self.ask_chunk();
    }

    fn ask_chunk(&mut self) {
        let now = self.now;
        let Some(fetch) = &mut self.snapshots.fetch else { return };
        (fetch.stage, fetch.asked_tick) = (Stage::Asking, now);
        let (slot, cursor) = (fetch.slot, fetch.cursor.clone());
        let to = fetch.from;
        let message = PeerMessage::SnapshotAsk { slot, cursor };
        self.outputs.push(Output::Send { to, message });
    }

    pub(crate) fn on_snapshot_chunk(&mut self, from: NodeId, chunk: Bytes) {
        let Some(fetch) = &mut self.snapshots.fetch else { return };
        if fetch.from == from && fetch.stage == Stage::Asking {
            fetch.stage = Stage::Importing;
            self.outputs.push(Output::Import { chunk });
        }
    }

    pub(crate) fn on_imported(&mut self, imported: Imported) {
        let Some(fetch) = &mut self.snapshots.fetch else { return };
        match imported {
            Imported::Chunk { slot, cursor, is_complete } => {
                (fetch.slot, fetch.cursor, fetch.tries) = (slot, cursor, 0);
                if is_complete {
                    fetch.stage = Stage::Finishing;
                    self.outputs.push(Output::FinishImport);
                } else {
                    self.ask_chunk();
                }
            }
            Imported::Again => self.ask_chunk(),
            // The view was let go, or the bytes are not what they should be: from the start, as soon as the
            // core says again that it needs one.
            Imported::Misfit => self.snapshots.fetch = None,
        }
    }

    /// The snapshot is durable beside the store. `group` is the membership it holds, with its slot.
    pub(crate) fn on_import_finished(&mut self, slot: Slot, group: Option<(Slot, Bytes)>) {
        self.snapshots.fetch = None;
        let decoded = group.map(|(slot, bytes)| decode_membership(bytes).map(|m| (slot, m)));
        let membership: (Slot, Membership) = match decoded {
            Some(Ok(membership)) => membership,
            // A store without a membership is of no group: not to be used.
            Some(Err(_)) | None => {
                self.outputs.push(Output::BeginImport);
                return;
            }
        };
        if slot <= self.paxos.status().decided {
            // The log has brought what the snapshot was for.
            self.outputs.push(Output::BeginImport);
            return;
        }
        self.paxos.step(paxos::Input::Installed { slot, membership });
        if self.paxos.status().decided == slot {
            self.snapshots.switching = Some(slot);
            if self.config.planted == Some(PlantedBug::StoreBeforeLog) {
                self.outputs.push(Output::SwitchStore { slot });
            }
        } else {
            // A leader needs none.
            self.outputs.push(Output::BeginImport);
        }
    }

    /// The log durably says that the snapshot stands for the slots before.
    pub(crate) fn on_installed(&mut self, slot: Slot) {
        assert!(slot > self.delivered, "a snapshot stands for what was not handed out");
        self.delivered = slot;
        if self.config.planted != Some(PlantedBug::StoreBeforeLog) {
            self.outputs.push(Output::SwitchStore { slot });
        }
    }

    /// The store is the snapshot now.
    pub(crate) fn on_switched(&mut self, slot: Slot) {
        self.snapshots.switching = None;
        self.retention.begin(slot);
        self.set_applied(slot);
    }

    /// Somebody asks for a chunk.
    pub(crate) fn on_snapshot_ask(&mut self, to: NodeId, slot: Slot, cursor: Bytes) {
        if self.snapshots.switching.is_some() {
            return;
        }
        if slot > Slot::ZERO {
            self.snapshots.leases.entry(slot).and_modify(|tick| *tick = self.now);
        }
        let bytes_max = self.config.snapshot_chunk_bytes;
        self.outputs.push(Output::ReadSnapshot { to, slot, cursor, bytes_max });
    }

    /// A chunk of the snapshot at `slot` for `to` was read.
    pub(crate) fn on_snapshot_read(&mut self, to: NodeId, slot: Slot, chunk: Bytes) {
        self.snapshots.leases.insert(slot, self.now);
        let message = PeerMessage::SnapshotChunk { chunk };
        self.outputs.push(Output::Send { to, message });
    }

    pub(crate) fn tick_snapshots(&mut self) {
        let now = self.now;
        let over: Vec<Slot> = (self.snapshots.leases.iter())
            .filter(|(_, tick)| now >= **tick + LEASE_TICKS)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in over {
            self.snapshots.leases.remove(&slot);
            self.outputs.push(Output::DropSnapshot { slot });
        }
        let Some(fetch) = &mut self.snapshots.fetch else { return };
        if fetch.stage != Stage::Asking || now < fetch.asked_tick + RETRY_TICKS {
            return;
        }
        fetch.tries += 1;
        if fetch.tries >= TRIES_MAX {
            // Whoever is asked for entries next may have a snapshot, too.
            self.snapshots.fetch = None;
        } else {
            self.ask_chunk();
        }
    }

    /// Whether a snapshot is on its way here.
    pub fn is_fetching_snapshot(&self) -> bool {
        self.snapshots.fetch.is_some() || self.snapshots.switching.is_some()
    }

    /// Cuts the log if it is longer than it needs to be.
    pub(crate) fn maybe_cut(&mut self) {
        if self.snapshots.switching.is_some() {
            return;
        }
        let retain = self.config.log_retain_bytes;
        let held = self.snapshots.leases.keys().next().copied();
        let held = held.filter(|_| self.retention.bytes() < HELD_TIMES_MAX * retain);
        let cuts_early = self.config.planted == Some(PlantedBug::CutBeforeStored);
        let stored = if cuts_early { self.delivered } else { self.stored };
        let upto = held.unwrap_or(stored).min(stored);
        if let Some(upto) = self.retention.cut(upto) {
            self.outputs.push(Output::Cut { upto });
            self.paxos.step(paxos::Input::Compacted(upto));
        }
    }
}

/// How much log there is, and where it can be cut.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    /// Slots, each with the bytes of entries since the mark before.
    marks: VecDeque<(Slot, u64)>,
    marked_bytes: u64,
    /// Since the last mark.
    open_bytes: u64,
    /// How much of the log is to stay.
    retain_bytes: u64,
}

impl Retention {
    /// A log of which about `retain_bytes` are to stay and that holds `bytes` of entries, all up to `slot`.
    pub(crate) fn new(retain_bytes: u64, slot: Slot, bytes: u64) -> Retention {
        let marks =
            if slot > Slot::ZERO { VecDeque::from([(slot, bytes)]) } else { VecDeque::new() };
        Retention {
            marked_bytes: marks.front().map_or(0, |(_, bytes)| *bytes),
            marks,
            open_bytes: 0,
            retain_bytes,
        }
    }

    fn begin(&mut self, slot: Slot) {
        *self = Retention::new(self.retain_bytes, slot, 0);
    }

    pub(crate) fn add(&mut self, slot: Slot, bytes: u64) {
        self.open_bytes += bytes;
        if self.open_bytes >= MARK_BYTES_MAX.min(self.retain_bytes / MARKS_MIN) {
            self.marks.push_back((slot, self.open_bytes));
            self.marked_bytes += self.open_bytes;
            self.open_bytes = 0;
        }
    }

    fn bytes(&self) -> u64 {
        self.marked_bytes + self.open_bytes
    }

    /// The slot to cut up to so that about as much stays as is to, if there are more than half as many again; not
    /// beyond `upto`.
    fn cut(&mut self, upto: Slot) -> Option<Slot> {
        let retain = self.retain_bytes;
        if self.bytes() <= retain + retain / 2 {
            return None;
        }
        let mut cut = None;
        while let Some((slot, bytes)) = self.marks.front().copied()
            && slot <= upto
            && self.bytes() - bytes >= retain
        {
            cut = Some(slot);
            self.marks.pop_front();
            self.marked_bytes -= bytes;
        }
        cut
    }
}
