//! One simulated node: what survives a crash, and what runs.

use crate::plan::{Plan, Planted};
use bytes::Bytes;
use paxos::{Ballot, Member, Membership, NodeId, PersistId, Record, Slot};
use replica::{Config, Input, Journal, Output, Replica, RequestId};
use std::collections::BTreeMap;
use store::{MemoryEngine, Store};
use wal::memory::MemoryDisk;

/// A node's machine.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) disk: MemoryDisk,
    pub(crate) engine_disk: store::MemoryDisk,
    pub(crate) up: Option<Up>,
    /// Counts starts; events for an earlier one are void.
    pub(crate) life: u64,
    pub(crate) paused_until_us: u64,
    /// Until then no tick passes, whatever else happens.
    pub(crate) clock_stopped_until_us: u64,
    /// How often it is to crash again as soon as it is back.
    pub(crate) crashes_to_come: u64,
    /// How often it has changed its address.
    pub(crate) moves: u64,
    pub(crate) tick_us: u64,
    founds: bool,
}

/// A node's process.
pub(crate) struct Up {
    pub(crate) replica: Replica,
    pub(crate) journal: Journal<MemoryDisk>,
    pub(crate) store: Store<MemoryEngine>,
    pub(crate) unsynced: Vec<(PersistId, Vec<Record>)>,
    pub(crate) is_syncing: bool,
    pub(crate) unapplied: Vec<(Slot, Option<Bytes>)>,
    pub(crate) is_applying: bool,
    /// Who waits for which request: client, operation, attempt.
    pub(crate) requests: BTreeMap<RequestId, (usize, u64)>,
    pub(crate) request_next: u64,
    pub(crate) decided: Slot,
    pub(crate) outputs: Vec<Output>,
}

fn address_of(id: NodeId, moves: u64) -> String {
    format!("node{id}:{moves}")
}

pub(crate) fn id_of(index: usize) -> NodeId {
    NodeId(index as u64 + 1)
}

impl Node {
    pub(crate) fn new(index: usize, plan: &Plan, tick_us: u64) -> Node {
        Node {
            id: id_of(index),
            disk: MemoryDisk::new(),
            engine_disk: store::MemoryDisk::new(),
            up: None,
            life: 0,
            paused_until_us: 0,
            clock_stopped_until_us: 0,
            crashes_to_come: 0,
            moves: 0,
            tick_us,
            founds: index < plan.founders,
        }
    }

    /// Where it listens in this life.
    pub(crate) fn address(&self) -> String {
        address_of(self.id, self.moves)
    }

    /// Starts the process from what the disk holds.
    ///
    /// # Errors
    /// What would stop a real node: here always a violation, because disks only lose what was not
    /// synced.
    pub(crate) fn start(&mut self, index: usize, plan: &Plan) -> Result<(), String> {
        self.life += 1;
        let options = wal::Options {
            segment_bytes: plan.segment_bytes,
            record_bytes_max: 1 << 20,
            log_id: Some(wal::LogId([self.id.0 as u8; 16])),
            planted: match plan.planted {
                Some(Planted::Wal(bug)) => Some(bug),
                _ => None,
            },
            ..wal::Options::default()
        };
        let opened = Journal::open(self.disk.clone(), options);
        let (mut journal, mut recovered, _) = opened.map_err(|e| format!("node {index}: {e}"))?;
        if self.founds && recovered.last == Slot::ZERO {
            let ballot = Ballot { round: 1, node: id_of(0) };
            journal.found(ballot, founders(plan)).map_err(|e| format!("node {index}: {e}"))?;
            recovered = replica::Recovered { promised: ballot, decided: Slot(1), last: Slot(1) };
        }
        let mut store =
            Store::open(self.engine_disk.engine()).map_err(|e| format!("store: {e}"))?;
        let started = replica::start(&journal, &recovered, &mut store);
        let started = started.map_err(|e| format!("node {index} cannot start: {e}"))?;
        let decided = started.durable.decided;
        let replica = Replica::new(self.config(index, plan), started.durable);
        self.up = Some(Up {
            replica,
            journal,
            store,
            unsynced: Vec::new(),
            is_syncing: false,
            unapplied: Vec::new(),
            is_applying: false,
            requests: BTreeMap::new(),
            request_next: 0,
            decided,
            outputs: Vec::new(),
        });
        Ok(())
    }

    fn config(&self, index: usize, plan: &Plan) -> Config {
        let mut paxos = paxos::Config::new(self.id);
        paxos.chunk_bytes_max = plan.chunk_bytes_max;
        paxos.inflight_bytes_max = plan.inflight_bytes_max;
        paxos.window_bytes_max = plan.window_bytes_max;
        paxos.promote_lag_slots = 5;
        paxos.heartbeat_ticks = paxos.heartbeat_ticks.min(plan.election_ticks.0.div_ceil(4));
        (paxos.election_ticks_min, paxos.election_ticks_max) = plan.election_ticks;
        paxos.retransmit_ticks = plan.retransmit_ticks;
        paxos.planted = match plan.planted {
            Some(Planted::Paxos(bug)) => Some(bug),
            _ => None,
        };
        let session = format!("node-{index}-life-{}", self.life);
        // Another for each life: were two alike, so would be the names of their questions.
        let mut random =
            fastrand::Rng::with_seed(plan.seed ^ (index as u64) << 32 ^ self.life << 40);
        Config::new(paxos, random.u64(..), session, self.address())
    }

    /// Ends the process. A power loss takes what was not synced, as `rng` decides, perhaps in the middle
    /// of writing the log.
    pub(crate) fn crash(&mut self, power_loss: bool, rng: &mut fastrand::Rng) {
        let Some(mut up) = self.up.take() else { return };
        if rng.bool() && !up.unsynced.is_empty() {
            let operations = self.disk.counts().operations;
            self.disk.halt_at(operations + rng.u64(0..4));
            for (_, records) in &up.unsynced {
                // It fails where the machine dies.
                let _ = up.journal.append(records);
            }
            let _ = up.journal.flush();
        }
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
}

fn founders(plan: &Plan) -> Membership {
    let member = |index| {
        let id = id_of(index);
        (id, Member { address: address_of(id, 0), voter: true })
    };
    Membership { base: Slot::ZERO, members: (0..plan.founders).map(member).collect() }
}
