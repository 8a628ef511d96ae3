//! One simulated machine: what survives a crash, and the process on it.

use crate::plan::{Plan, Planted};
use bytes::Bytes;
use paxos::{Ballot, Member, Membership, NodeId, PersistId, Record, Slot, Standing};
use replica::{Config, Effect, Input, Journal, Output, Replica, RequestId};
use std::collections::{BTreeMap, VecDeque};
use store::engine::MemoryView;
use store::{Import, MemoryEngine, Snapshot, Store};
use wal::memory::MemoryDisk;

/// Identities of one machine are this far apart: one for each time that it lost its disk.
const MACHINES_MAX: u64 = 64;

/// A machine, and the node that lives on it at present.
pub(crate) struct Node {
    /// Who it is since it last lost its disk.
    pub(crate) id: NodeId,
    index: usize,
    /// The folder of the log.
    pub(crate) disk: MemoryDisk,
    /// The folder of the store.
    pub(crate) engine_disk: store::MemoryDisk,
    /// A snapshot that is complete and durable beside the store, with its slot.
    pub(crate) ready: Option<(Slot, store::MemoryDisk)>,
    pub(crate) up: Option<Up>,
    /// Counts starts; events for an earlier one are void.
    pub(crate) life: u64,
    /// Counts lost disks.
    pub(crate) generation: u64,
    pub(crate) paused_until_us: u64,
    /// Until then no tick passes, whatever else happens.
    pub(crate) clock_stopped_until_us: u64,
    /// Until then the disk of the log does nothing.
    pub(crate) stalled_until_us: u64,
    /// How often it is to crash again as soon as it is back.
    pub(crate) crashes_to_come: u64,
    /// How often it has changed its address.
    pub(crate) moves: u64,
    pub(crate) tick_us: u64,
    /// It was told that it takes no part any more; only a node with a new identity will run here again.
    pub(crate) is_removed: bool,
    /// A fault has damaged its disk, so it may say so.
    pub(crate) is_damaged: bool,
    /// An operation of its disk is to fail.
    pub(crate) is_failing: bool,
    /// The memberships that it held when it last was up, decided or not.
    pub(crate) memberships: Vec<Membership>,
    /// Where its log ended before the last flush that is sure to be there: damage behind that cannot be told from
    /// a torn write.
    pub(crate) last_flush: wal::Position,
    founds: bool,
}

/// What the log is to do, in this order.
pub(crate) enum LogWork {
    Persist(PersistId, Vec<Record>),
    Cut(Slot),
}

/// What the store is to do, in this order.
pub(crate) enum StoreWork {
    Apply(Vec<(Slot, Effect)>),
    BeginImport,
    Import(Bytes),
    FinishImport,
    Switch(Slot),
    Read { to: NodeId, slot: Slot, cursor: Bytes, bytes_max: usize },
    Drop(Slot),
}

/// A snapshot that is being taken in.
pub(crate) struct Incoming {
    pub(crate) disk: store::MemoryDisk,
    pub(crate) import: Import<MemoryEngine>,
}

/// The process on a machine.
pub(crate) struct Up {
    pub(crate) replica: Replica,
    last_flush: wal::Position,
    pub(crate) journal: Journal<MemoryDisk>,
    pub(crate) store: Store<MemoryEngine>,
    pub(crate) log_work: Vec<LogWork>,
    pub(crate) is_syncing: bool,
    pub(crate) store_work: VecDeque<StoreWork>,
    pub(crate) is_storing: bool,
    pub(crate) incoming: Option<Incoming>,
    /// The snapshot that is ready, opened.
    pub(crate) successor: Option<Store<MemoryEngine>>,
    /// Views that others pull.
    pub(crate) views: BTreeMap<Slot, Snapshot<MemoryView>>,
    /// Who waits for which request: client, operation.
    pub(crate) requests: BTreeMap<RequestId, (usize, u64)>,
    pub(crate) request_next: u64,
    pub(crate) decided: Slot,
    pub(crate) outputs: Vec<Output>,
}

/// The first identity of a machine.
pub(crate) fn id_of(index: usize) -> NodeId {
    NodeId(index as u64 + 1)
}

/// The machine that a node lives, or lived, on.
pub(crate) fn index_of(id: NodeId) -> usize {
    ((id.0 - 1) % MACHINES_MAX) as usize
}

/// Why a node does not start.
pub(crate) enum Refusal {
    /// It says that its log or its store is damaged.
    Damage(String),
    /// Never to be seen while disks lose nothing but what was not synced.
    Wrong(String),
}

impl Node {
    pub(crate) fn new(index: usize, plan: &Plan, tick_us: u64) -> Node {
        Node {
            id: id_of(index),
            index,
            disk: MemoryDisk::new(),
            engine_disk: store::MemoryDisk::new(),
            ready: None,
            up: None,
            life: 0,
            generation: 0,
            paused_until_us: 0,
            clock_stopped_until_us: 0,
            stalled_until_us: 0,
            crashes_to_come: 0,
            moves: 0,
            tick_us,
            is_removed: false,
            is_damaged: false,
            is_failing: false,
            memberships: Vec::new(),
            last_flush: wal::Position { segment: 0, offset: 0 },
            founds: index < plan.founders,
        }
    }

    /// Where it listens in this life.
    pub(crate) fn address(&self) -> String {
        address_of(self.index, self.moves)
    }

    /// An empty disk, and so another identity, at the same address.
    pub(crate) fn lose_disk(&mut self) {
        assert!(self.up.is_none(), "only a node that is down loses its disk");
        self.generation += 1;
        self.id = NodeId(id_of(self.index).0 + self.generation * MACHINES_MAX);
        self.disk = MemoryDisk::new();
        self.engine_disk = store::MemoryDisk::new();
        self.ready = None;
        self.founds = false;
        self.is_removed = false;
        self.is_damaged = false;
        self.memberships.clear();
        self.last_flush = wal::Position { segment: 0, offset: 0 };
    }

    /// How the log is opened.
    pub(crate) fn log_options(&self, plan: &Plan) -> wal::Options {
        let mut log_id = [0; 16];
        log_id[..8].copy_from_slice(&self.id.0.to_le_bytes());
        wal::Options {
            segment_bytes: plan.segment_bytes,
            record_bytes_max: 1 << 20,
            log_id: Some(wal::LogId(log_id)),
            planted: match plan.planted {
                Some(Planted::Wal(bug)) => Some(bug),
                _ => None,
            },
            ..wal::Options::default()
        }
    }

    /// Starts the process from what the disk holds.
    pub(crate) fn start(&mut self, plan: &Plan) -> Result<(), Refusal> {
        self.life += 1;
        let index = self.index;
        let wrong = |what: String| Refusal::Wrong(format!("node {index}: {what}"));
        let opened = Journal::open(self.disk.clone(), self.log_options(plan));
        let (mut journal, mut recovered, recovery) =
            opened.map_err(|e| Refusal::Damage(e.to_string()))?;
        if self.founds && recovered.last == Slot::ZERO {
            let ballot = Ballot { round: 1, node: id_of(0) };
            journal.found(ballot, founders(plan)).map_err(|e| wrong(e.to_string()))?;
            (recovered.promised, recovered.decided, recovered.last) = (ballot, Slot(1), Slot(1));
        }
        self.choose_store(recovered.floor).map_err(&wrong)?;
        let opened = Store::open(self.engine_disk.engine());
        let mut store = opened.map_err(|e| wrong(e.to_string()))?;
        let started = replica::start(&journal, &recovered, &mut store)
            .map_err(|e| wrong(format!("cannot start: {e}")))?;
        let decided = started.durable.decided;
        if let Some(Planted::Replica(bug)) = plan.planted {
            journal.plant(bug);
        }
        let log_bytes = if recovery.records == 0 { 0 } else { journal.log().bytes_on_disk() };
        let replica = Replica::new(self.config(plan), started.durable, log_bytes);
        self.up = Some(Up {
            last_flush: self.last_flush,
            replica,
            journal,
            store,
            log_work: Vec::new(),
            is_syncing: false,
            store_work: VecDeque::new(),
            is_storing: false,
            incoming: None,
            successor: None,
            views: BTreeMap::new(),
            requests: BTreeMap::new(),
            request_next: 0,
            decided,
            outputs: Vec::new(),
        });
        Ok(())
    }

    /// A snapshot that is ready becomes the store if the log has come to rely on it: it was cut, or rather based,
    /// beyond what the store has. Otherwise it was not needed, and goes.
    fn choose_store(&mut self, floor: Slot) -> Result<(), String> {
        let Some((slot, disk)) = self.ready.take() else { return Ok(()) };
        let present = Store::open(self.engine_disk.engine()).map_err(|e| e.to_string())?;
        if present.applied_slot() < floor.0 && slot >= floor {
            self.engine_disk = disk;
        }
        Ok(())
    }

    fn config(&self, plan: &Plan) -> Config {
        let mut paxos = paxos::Config::new(self.id);
        paxos.chunk_bytes_max = plan.chunk_bytes_max;
        paxos.inflight_bytes_max = plan.inflight_bytes_max;
        paxos.window_bytes_max = plan.window_bytes_max;
        paxos.promote_lag_slots = plan.promote_lag_slots;
        paxos.evict_ticks = plan.evict_ticks;
        paxos.change_pause_ticks = plan.change_pause_ticks;
        paxos.takeover_ticks = plan.takeover_ticks.max(plan.election_ticks.0);
        paxos.disk_stall_ticks = plan.disk_stall_ticks;
        paxos.heartbeat_ticks = paxos.heartbeat_ticks.min(plan.election_ticks.0.div_ceil(4));
        (paxos.election_ticks_min, paxos.election_ticks_max) = plan.election_ticks;
        paxos.retransmit_ticks = plan.retransmit_ticks;
        paxos.planted = match plan.planted {
            Some(Planted::Paxos(bug)) => Some(bug),
            _ => None,
        };
        let session = format!("node-{}-life-{}", self.index, self.life);
        // Another for each life: were two alike, so would be the names of their questions.
        let mut random =
            fastrand::Rng::with_seed(plan.seed ^ (self.index as u64) << 32 ^ self.life << 40);
        let mut config = Config::new(paxos, random.u64(..), session, self.address());
        config.log_retain_bytes = plan.log_retain_bytes;
        config.snapshot_chunk_bytes = plan.snapshot_chunk_bytes;
        config.planted = match plan.planted {
            Some(Planted::Replica(bug)) => Some(bug),
            _ => None,
        };
        config
    }

    /// Ends the process. A power loss takes what was not synced, as `rng` decides, perhaps in the middle
    /// of writing the log.
    pub(crate) fn crash(&mut self, power_loss: bool, rng: &mut fastrand::Rng) {
        let Some(mut up) = self.up.take() else { return };
        if rng.bool() && !up.log_work.is_empty() {
            let operations = self.disk.counts().operations;
            self.disk.halt_at(operations + rng.u64(0..6));
            // It fails where the machine dies.
            let _ = up.work_on_log();
        }
        self.last_flush = up.last_flush;
        self.is_failing = false;
        drop(up);
        if power_loss {
            self.disk.crash(rng.u64(..));
            let unpersisted = self.engine_disk.unpersisted_batches();
            self.engine_disk.crash(rng.usize(..=unpersisted));
        } else {
            self.disk.restart();
        }
    }
}

impl Up {
    /// Hands in one input and takes all outputs.
    pub(crate) fn step(&mut self, input: Input) -> Vec<Output> {
        self.replica.step(input);
        let mut outputs = std::mem::take(&mut self.outputs);
        self.replica.flush(&mut outputs);
        outputs
    }

    /// Whether the log was given, and has not written yet, that what is in `slot` is decided.
    pub(crate) fn is_recording(&self, slot: Slot) -> bool {
        let tells = |record: &Record| match record {
            Record::Decided(decided) => *decided >= slot,
            Record::Base(base) => base.slot >= slot,
            Record::Promise(_) | Record::Accept(..) => false,
        };
        self.log_work
            .iter()
            .any(|work| matches!(work, LogWork::Persist(_, records) if records.iter().any(tells)))
    }

    /// Does all that the log was given, with one sync in the end; answers which batch is durable then.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn work_on_log(&mut self) -> Result<Option<PersistId>, replica::JournalError> {
        let mut last = None;
        for work in std::mem::take(&mut self.log_work) {
            match work {
                LogWork::Persist(id, records) => {
                    self.journal.append(&records)?;
                    last = Some(id);
                }
                LogWork::Cut(upto) => {
                    let begins = self.journal.log().durable_end();
                    self.journal.cut(upto)?;
                    self.last_flush = begins;
                }
            }
        }
        let begins = self.journal.log().durable_end();
        let is_new = self.journal.log().buffered_bytes() > 0;
        self.journal.flush()?;
        if is_new {
            self.last_flush = begins;
        }
        Ok(last)
    }
}

fn address_of(index: usize, moves: u64) -> String {
    format!("node{}:{moves}", index + 1)
}

fn founders(plan: &Plan) -> Membership {
    let member = |index| (id_of(index), Member::new(address_of(index, 0), Standing::Voter));
    Membership::of(plan.policy, (0..plan.founders).map(member))
}
