//! What one run will be like, drawn from its seed ("swarm testing": the configuration is random too).

use fastrand::Rng;

/// A safety line to leave out, in whichever crate has it; see `docs/design/planted-bugs.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// One of the consensus core.
    Paxos(paxos::PlantedBug),
    /// One of the log.
    Wal(wal::PlantedBug),
}

/// One run's configuration. Times in microseconds of the simulated clock.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed it was drawn from.
    pub seed: u64,
    /// Nodes that found the group together.
    pub founders: usize,
    /// Nodes that join it later.
    pub joiners: usize,
    /// Clients, each with one operation under way.
    pub clients: usize,
    /// Operations of each client.
    pub operations: usize,
    /// Most time between an answer and the client's next operation.
    pub think_us: u64,
    /// Keys they share.
    pub keys: usize,
    /// How long faults go on.
    pub chaos_us: u64,
    /// Least and most delay of a message.
    pub delay_us: (u64, u64),
    /// Chance that a message is lost.
    pub loss: f64,
    /// Chance that a message comes twice.
    pub duplication: f64,
    /// Chance that a message is much later than others.
    pub straggling: f64,
    /// Mean time between two faults of the network.
    pub partition_every_us: u64,
    /// Mean time between two crashes of a node.
    pub crash_every_us: u64,
    /// Whether a crash may take all nodes at once.
    pub crash_all: bool,
    /// Whether a crash loses what was not synced (power loss) or nothing (kill).
    pub power_loss: bool,
    /// Mean time between two pauses of a node.
    pub pause_every_us: u64,
    /// Least and most time of a sync.
    pub sync_us: (u64, u64),
    /// Least and most time of applying a batch.
    pub apply_us: (u64, u64),
    /// Chance that an apply is followed by the store being persisted.
    pub persist_store: f64,
    /// The log's segment length.
    pub segment_bytes: u64,
    /// The core's bounds, small so that chunks, windows and fetches happen.
    pub chunk_bytes_max: usize,
    /// As above.
    pub window_bytes_max: usize,
    /// As above.
    pub inflight_bytes_max: usize,
    /// Chance that a client sends one operation to two nodes at once.
    pub double_send: f64,
    /// Chance that a client repeats an operation that was answered.
    pub repeat_answered: f64,
    /// Chance that an operation tells which answers the client has.
    pub piggyback: f64,
    /// A safety line left out, to see that it is missed.
    pub planted: Option<Planted>,
}

impl Plan {
    /// Draws the plan of `seed`.
    pub fn draw(seed: u64) -> Plan {
        let mut rng = Rng::with_seed(seed ^ 0x51a7_0000);
        let often = |rng: &mut Rng, choices: &[u64]| choices[rng.usize(..choices.len())];
        let is_dense = rng.u8(..4) == 0;
        let founders = [1, 2, 3, 3, 3, 3, 3, 5][rng.usize(..8)];
        let joiners = [0, 0, 0, 1, 1, 2][rng.usize(..6)];
        let delay_min = if is_dense { 20 } else { rng.u64(20..2_000) };
        let delay_spread = if is_dense { 500 } else { 8_000 };
        let sync_min = rng.u64(50..2_000);
        let sync_spread = if is_dense { 1_000 } else { 20_000 };
        let chaos = rng.f64();
        let chunk_bytes_max = [200, 600, 2_000, 20_000][rng.usize(..4)];
        Plan {
            seed,
            founders,
            joiners,
            clients: if is_dense { rng.usize(4..12) } else { rng.usize(1..6) },
            operations: if is_dense { rng.usize(40..150) } else { rng.usize(5..40) },
            think_us: if is_dense { 2_000 } else { 50_000 },
            keys: rng.usize(1..4),
            chaos_us: rng.u64(500_000..3_000_000),
            delay_us: (delay_min, delay_min + rng.u64(100..=delay_spread)),
            loss: if rng.bool() { 0.0 } else { rng.f64() * 0.2 * chaos },
            duplication: if rng.bool() { 0.0 } else { rng.f64() * 0.1 },
            straggling: if rng.bool() { 0.0 } else { rng.f64() * 0.05 },
            partition_every_us: often(&mut rng, &[200_000, 500_000, 2_000_000, u64::MAX]),
            crash_every_us: often(&mut rng, &[100_000, 300_000, 1_000_000, u64::MAX]),
            crash_all: rng.u8(..4) == 0,
            power_loss: rng.u8(..4) != 0,
            pause_every_us: often(&mut rng, &[300_000, 1_000_000, u64::MAX, u64::MAX]),
            sync_us: (sync_min, sync_min + rng.u64(100..=sync_spread)),
            apply_us: (10, rng.u64(50..10_000)),
            persist_store: rng.f64() * 0.3,
            segment_bytes: [8_192, 16_384, 65_536][rng.usize(..3)],
            chunk_bytes_max,
            window_bytes_max: [300, 2_000, 100_000][rng.usize(..3)],
            inflight_bytes_max: chunk_bytes_max * rng.usize(1..5),
            double_send: rng.f64() * 0.1,
            repeat_answered: rng.f64() * 0.1,
            piggyback: rng.f64(),
            planted: None,
        }
    }

    /// All nodes there will be.
    pub fn nodes(&self) -> usize {
        self.founders + self.joiners
    }
}
