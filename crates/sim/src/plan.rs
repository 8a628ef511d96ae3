//! What one run will be like, drawn from its seed ("swarm testing": the configuration is random too).
//!
//! Every world has some *ordinary* trouble: lost and late messages, partitions, crashes, pauses. That alone
//! seldom leads to the rare schedules that safety lines are there for, so a world may have *twists* on top
//! ([`Twist`]), each a kind of trouble of its own; two or three together make the rare schedules common.

use fastrand::Rng;
use paxos::Policy;

/// A safety line to leave out, in whichever crate has it; see `docs/design/planted-bugs.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// One of the consensus core.
    Paxos(paxos::PlantedBug),
    /// One of a node's brain.
    Replica(replica::PlantedBug),
    /// One of the log.
    Wal(wal::PlantedBug),
}

impl Planted {
    /// All that a world can have.
    pub fn all() -> impl Iterator<Item = Planted> {
        let of_paxos = paxos::PlantedBug::ALL.into_iter().map(Planted::Paxos);
        let of_replica = replica::PlantedBug::ALL.into_iter().map(Planted::Replica);
        of_paxos.chain(of_replica).chain(wal::PlantedBug::ALL.into_iter().map(Planted::Wal))
    }

    /// Its name, as in `docs/design/planted-bugs.md`.
    pub fn name(self) -> String {
        match self {
            Planted::Paxos(bug) => format!("{bug:?}"),
            Planted::Replica(bug) => format!("{bug:?}"),
            Planted::Wal(bug) => format!("{bug:?}"),
        }
    }
}

/// A kind of trouble that some worlds have and others have not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    /// One direction of one link is held for long, and then everything comes at once, in order. What was
    /// said in an earlier ballot or to an earlier life arrives in a later one.
    HeldLinks,
    /// Each direction of each link goes and comes by itself, so that nodes see the group differently, and
    /// learn from one what another had not told them.
    FlickeringLinks,
    /// Some links let only some kinds of messages through: a node may be led without being told anything,
    /// or be told everything without being led.
    MuffledLinks,
    /// A node's clock stands still while the node goes on: a leader goes on leading long after another was
    /// elected, a question stays open for long.
    StoppedClocks,
    /// Faults strike the leader more often than others: every change of leader is a chance to go wrong.
    HuntedLeader,
    /// A node that crashes comes back at once, and crashes again, several times: it meets the answers to
    /// the questions of its earlier lives.
    RestartBursts,
    /// Nodes come back under other addresses, and several join: memberships that compete.
    Moves,
    /// A node's links are slow, and windows are tiny, so that it lives on what it catches up with.
    Laggard,
    /// Nodes are hasty to elect and slow to give up a question, so that answers come when the group has
    /// another leader than the one asked, and a short world sees many leaders.
    HastyElections,
    /// Five nodes: a leader may lead with a quorum that shares a single node with another's.
    FiveNodes,
    /// Operators remove nodes, promote them, let others lead; nodes stop in good order and come back.
    Churn,
    /// Who is long silent is no longer waited for.
    Evictions,
    /// Disks are lost: machines come back empty, at the same address, as other nodes.
    LostDisks,
    /// Disks damage what they hold, fail, or stall.
    BadDisks,
    /// Disks have no room for a while.
    FullDisks,
    /// Nodes stay away for long, and logs are short: who comes back needs a snapshot.
    Absence,
}

impl Twist {
    /// Those that leave nodes who they are: trouble of networks, processes and clocks.
    pub const CLASSIC: [Twist; 10] = [
        Twist::HeldLinks,
        Twist::FlickeringLinks,
        Twist::MuffledLinks,
        Twist::StoppedClocks,
        Twist::HuntedLeader,
        Twist::RestartBursts,
        Twist::Moves,
        Twist::Laggard,
        Twist::HastyElections,
        Twist::FiveNodes,
    ];

    /// All of them.
    pub const ALL: [Twist; 16] = [
        Twist::HeldLinks,
        Twist::FlickeringLinks,
        Twist::MuffledLinks,
        Twist::StoppedClocks,
        Twist::HuntedLeader,
        Twist::RestartBursts,
        Twist::Moves,
        Twist::Laggard,
        Twist::HastyElections,
        Twist::FiveNodes,
        Twist::Churn,
        Twist::Evictions,
        Twist::LostDisks,
        Twist::BadDisks,
        Twist::FullDisks,
        Twist::Absence,
    ];
}

/// A few faults that follow each other, again and again, aimed at whoever leads then. Each is a schedule
/// that needs so many steps in order that random faults would hardly ever take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// A leader goes on alone, is asked for much, also by a node that has moved, and is back when its
    /// successor goes: what it proposed to itself competes with what was decided.
    StrandedLeader,
    /// A follower with a question under way hears only a leader that was deposed: the answer knows of
    /// decisions that the follower's own ballot does not.
    StrandedPair,
    /// A follower starts again while the answers to its questions are on their way.
    RestartedReader,
    /// A leader loses, and wins again, and only then gets the answers to what it asked the first time: they
    /// confirm nothing now.
    ElectedTwice,
    /// A follower learns what a later leader decided, and only then promises an earlier one, which does
    /// not know that it was deposed.
    LateVoter,
    /// The leader and a node that only learns yet hear nobody else, and are asked for much: they are no quorum.
    StrandedLearner,
    /// A follower loses its power while it writes down that it has promised another leader; the one before has
    /// proposed something, and is the first that it hears again.
    ForgottenPromise,
    /// A leader that was cut off is back when a follower has just started whose log was cut since it promised another
    /// leader.
    ForgottenBallot,
    /// A follower holds more than it knows to be decided, and asks to lead; the only other one there knows more to be
    /// decided, holds less, and has cut its log.
    CutVoter,
    /// A group of five leaves two out, so that the others decide by two; those two and the third do not know yet.
    ShrunkenQuorum,
    /// A group falls into two parts, for longer than either waits for the other, and is asked to write on both sides;
    /// then they meet. For the passive policy.
    Parted,
}

/// A fault that can be left out: its name, and how.
type Fault = (&'static str, fn(&mut Plan));

/// One run's configuration. Times in microseconds of the simulated clock.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed it was drawn from.
    pub seed: u64,
    /// What distinguishes this world's trouble from the ordinary; the fields below say how.
    pub twists: Vec<Twist>,
    /// Faults that follow each other.
    pub story: Option<Story>,
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
    /// Whether they also make and drop indexes, over many documents.
    pub has_indexes: bool,
    /// Whether the first two keys are written only together, in batches.
    pub has_batches: bool,
    /// An operator tells one node, always the same, to go on without another one, which may be gone or not (two voters).
    pub may_go_alone: bool,
    /// Keys they share.
    pub keys: usize,
    /// Chance that a client asks the node that it asked before.
    pub loyalty: f64,
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
    /// Whether such a fault may stop only some kinds of messages.
    pub muffles: bool,
    /// Mean time between two links being held.
    pub hold_every_us: u64,
    /// Most time that a link is held.
    pub hold_us_max: u64,
    /// Mean time between two changes of single links.
    pub flicker_every_us: u64,
    /// A node whose messages, both ways, are slower than others', and most of that time.
    pub laggard: Option<(usize, u64)>,
    /// Chance that a fault strikes the leader rather than anybody.
    pub hunt: f64,
    /// Mean time between two crashes of a node.
    pub crash_every_us: u64,
    /// Whether a crash may take all nodes at once.
    pub crash_all: bool,
    /// Most time that a node is down.
    pub down_us_max: u64,
    /// Most crashes that follow a crash as soon as the node is back.
    pub burst_max: u64,
    /// Whether a crash loses what was not synced (power loss) or nothing (kill).
    pub power_loss: bool,
    /// Chance that a node that comes back has another address.
    pub move_chance: f64,
    /// Mean time between two pauses of a node.
    pub pause_every_us: u64,
    /// Mean time between two stops of a node's clock alone.
    pub clock_stop_every_us: u64,
    /// Least and most ticks of silence before a node looks for another leader.
    pub election_ticks: (u32, u32),
    /// Ticks after which what is unanswered is asked again.
    pub retransmit_ticks: u32,
    /// Least and most time of a sync.
    pub sync_us: (u64, u64),
    /// Least and most time of applying a batch.
    pub apply_us: (u64, u64),
    /// Chance that an apply is followed by the store being persisted.
    pub persist_store: f64,
    /// Mean time between two wishes of operators.
    pub wish_every_us: u64,
    /// Mean time between two nodes being stopped in good order.
    pub stop_every_us: u64,
    /// Mean time between two disks without room.
    pub disk_full_every_us: u64,
    /// Mean time between two lost disks.
    pub lose_every_us: u64,
    /// Mean time between two damaged logs.
    pub damage_every_us: u64,
    /// Mean time between two failing operations of a log's disk.
    pub fail_every_us: u64,
    /// Mean time between two disks that do nothing for a while.
    pub stall_every_us: u64,
    /// Chance that a node that crashes stays away until the faults end.
    pub absence: f64,
    /// The passive policy's assumption that who is silent has stopped does not hold here.
    pub may_part: bool,
    /// By which rule the group decides.
    pub policy: Policy,
    /// How far behind a learner may be to become a voter.
    pub promote_lag_slots: u64,
    /// After how many ticks of silence a voter is no longer waited for.
    pub evict_ticks: Option<u64>,
    /// Least ticks between two changes that nobody asked for.
    pub change_pause_ticks: u64,
    /// Under the passive policy: ticks of silence before another node takes over.
    pub takeover_ticks: u32,
    /// Ticks without a word of the disk after which a leader hands over.
    pub disk_stall_ticks: u64,
    /// About how much of its log a node keeps.
    pub log_retain_bytes: u64,
    /// About how long a chunk of a snapshot is.
    pub snapshot_chunk_bytes: usize,
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
        let mut plan = Plan::ordinary(seed, &mut rng);
        plan.has_batches = seed % 10 == 1 && plan.keys > 1;
        if Plan::is_classic(seed) {
            plan.be_classic(&mut rng);
            return plan;
        }
        // A quarter of the worlds have no twist; in the others some or many come together.
        let chance = one_of(&mut rng, [0.0, 0.2, 0.35, 0.6]);
        for twist in Twist::ALL {
            if rng.f64() < chance {
                plan.twist(twist, &mut rng);
            }
        }
        match rng.u8(..15) {
            0..=4 => plan.tell(&mut rng),
            5..=7 => plan.be_passive(&mut rng),
            _ => {}
        }
        if matches!(seed % 100, 36 | 86) && plan.story.is_none() && plan.policy == Policy::Paxos {
            plan.be_pair(&mut rng);
        }
        plan
    }

    /// Three worlds of ten are about the consensus core alone. Who is one of them is in the seed, so that the others
    /// do not depend on it.
    fn is_classic(seed: u64) -> bool {
        matches!(seed % 10, 2 | 7 | 8)
    }

    /// Few nodes that keep their disks and their logs: where operators, snapshots and damage come between, the long
    /// schedules that the core's rarest mistakes need hardly ever come about.
    fn be_classic(&mut self, rng: &mut Rng) {
        self.founders = one_of(rng, [1, 2, 3, 3, 3, 3, 3, 5]);
        self.promote_lag_slots = 5;
        self.change_pause_ticks = 0;
        self.disk_stall_ticks = 200;
        self.log_retain_bytes = 1 << 20;
        let chance = one_of(rng, [0.0, 0.35, 0.6]);
        for twist in Twist::CLASSIC {
            if rng.f64() < chance {
                self.twist(twist, rng);
            }
        }
        match self.seed % 100 {
            17 => self.tell_of_cut_voters(rng),
            27 => self.tell_of_promises(rng),
            47 => self.tell_of_shrunken_quorums(rng),
            67 => self.tell_of_forgotten_ballots(rng),
            77 => self.tell_of_learners(rng),
            _ if rng.bool() => self.tell(rng),
            _ => {}
        }
    }

    /// Two voters, of which one may be lost for good, and an operator who tells the other one to go on alone.
    fn be_pair(&mut self, rng: &mut Rng) {
        self.may_go_alone = true;
        // Of three nobody may go on alone, however often an operator says so.
        self.founders = one_of(rng, [2, 2, 2, 3]);
        self.joiners = rng.usize(0..2);
        self.laggard = None;
        self.partition_every_us = one_of(rng, [200_000, 500_000]);
        self.wish_every_us = one_of(rng, [50_000, 150_000, 400_000]);
        self.chaos_us = rng.u64(2_000_000..6_000_000);
        self.operations = self.operations.max(40);
    }

    /// Makes room for [`Story::ForgottenPromise`]: slow disks.
    fn tell_of_promises(&mut self, rng: &mut Rng) {
        self.tell_of_learners(rng);
        self.story = Some(Story::ForgottenPromise);
        (self.founders, self.joiners) = (3, 0);
        self.sync_us = (3_000, rng.u64(4_000..20_000));
        self.delay_us = (50, rng.u64(100..3_000));
        for fault in ["crash", "pause", "clock"] {
            self.leave_out(fault);
        }
    }

    /// Makes room for [`Story::ForgottenBallot`]: logs that are cut all the time, and clients that fill them.
    fn tell_of_forgotten_ballots(&mut self, rng: &mut Rng) {
        self.tell_of_promises(rng);
        self.story = Some(Story::ForgottenBallot);
        self.cut_all_the_time();
        self.sync_us = (50, rng.u64(200..3_000));
        self.clients = rng.usize(8..14);
        self.operations = 300;
        self.chaos_us = rng.u64(4_000_000..8_000_000);
    }

    /// Makes room for [`Story::CutVoter`]: logs that are cut all the time, much under way at once, and a follower that
    /// is behind is told little at a time.
    fn tell_of_cut_voters(&mut self, rng: &mut Rng) {
        self.tell_of_promises(rng);
        self.story = Some(Story::CutVoter);
        self.cut_all_the_time();
        self.clients = rng.usize(8..14);
        self.operations = 200;
        self.think_us = 2_000;
        self.chunk_bytes_max = 200;
        self.inflight_bytes_max = 20_000;
        self.window_bytes_max = 100;
        self.snapshot_chunk_bytes = 10_000;
    }

    /// Makes room for [`Story::ShrunkenQuorum`]: five voters of which two are left out soon.
    fn tell_of_shrunken_quorums(&mut self, rng: &mut Rng) {
        self.tell_of_promises(rng);
        self.story = Some(Story::ShrunkenQuorum);
        self.founders = 5;
        self.evict_ticks = Some(u64::from(self.election_ticks.1) + rng.u64(1..10));
        self.sync_us = (50, rng.u64(200..3_000));
        self.operations = 200;
        self.chaos_us = rng.u64(4_000_000..8_000_000);
    }

    /// What is applied is durable in the store at once, and no log is kept for anybody.
    fn cut_all_the_time(&mut self) {
        self.persist_store = 1.0;
        self.log_retain_bytes = 0;
        self.segment_bytes = 8_192;
        self.apply_us = (10, 500);
    }

    /// Makes room for [`Story::StrandedLearner`]: newcomers that do not become voters at once.
    fn tell_of_learners(&mut self, rng: &mut Rng) {
        self.story = Some(Story::StrandedLearner);
        self.founders = one_of(rng, [2, 3, 3]);
        self.joiners = rng.usize(1..4);
        self.change_pause_ticks = rng.u64(50..200);
        self.chaos_us = rng.u64(2_000_000..4_000_000);
        self.clients = rng.usize(4..10);
        self.operations = rng.usize(20..60);
        self.loyalty = 0.95;
        for fault in ["partition", "flicker", "hold", "laggard"] {
            self.leave_out(fault);
        }
    }

    /// The group decides by the passive policy. In every other such world its assumption holds: whoever is silent has
    /// stopped.
    fn be_passive(&mut self, rng: &mut Rng) {
        self.policy = Policy::Passive;
        self.may_part = rng.bool();
        self.founders = self.founders.min(5);
        self.evict_ticks = Some(rng.u64(40..150));
        self.takeover_ticks = rng.u32(60..150).max(self.election_ticks.1);
        self.chaos_us = rng.u64(1_500_000..5_000_000);
        let out: &[&str] = if self.may_part {
            &["lose", "damage"]
        } else {
            &["partition", "hold", "flicker", "pause", "clock", "stall", "fail", "laggard"]
        };
        for fault in out {
            self.leave_out(fault);
        }
        self.loss = self.loss.min(0.05);
        if self.may_part && rng.u8(..3) > 0 {
            self.part(rng);
        }
    }

    /// Makes room for two parts that go on apart and meet again: clients that write all the time, and logs that say in
    /// the end what was written.
    fn part(&mut self, rng: &mut Rng) {
        self.story = Some(Story::Parted);
        self.founders = one_of(rng, [2, 2, 2, 2, 3, 4]);
        self.joiners = 0;
        self.laggard = None;
        self.chaos_us = rng.u64(4_000_000..9_000_000);
        self.evict_ticks = Some(rng.u64(40..80));
        self.takeover_ticks = rng.u32(60..110).max(self.election_ticks.1);
        self.clients = rng.usize(2..7);
        self.operations = rng.usize(40..100);
        self.think_us = 100_000;
        self.loyalty = one_of(rng, [0.0, 0.5]);
        self.log_retain_bytes = 1 << 20;
        self.crash_every_us = self.crash_every_us.max(1_000_000);
        for fault in ["partition", "hold", "flicker", "wish", "absence"] {
            self.leave_out(fault);
        }
        // A node that has just started does not take over, so that with much else two sides seldom come about.
        if rng.u8(..4) > 0 {
            for fault in ["crash", "pause", "clock", "stall", "fail", "full", "stop"] {
                self.leave_out(fault);
            }
        }
    }

    /// Faults that can be left out, each with how.
    const FAULTS: [Fault; 22] = [
        ("partition", |plan| plan.partition_every_us = u64::MAX),
        ("hold", |plan| plan.hold_every_us = u64::MAX),
        ("flicker", |plan| plan.flicker_every_us = u64::MAX),
        ("crash", |plan| plan.crash_every_us = u64::MAX),
        ("pause", |plan| plan.pause_every_us = u64::MAX),
        ("clock", |plan| plan.clock_stop_every_us = u64::MAX),
        ("stall", |plan| plan.stall_every_us = u64::MAX),
        ("fail", |plan| plan.fail_every_us = u64::MAX),
        ("damage", |plan| plan.damage_every_us = u64::MAX),
        ("lose", |plan| plan.lose_every_us = u64::MAX),
        ("full", |plan| plan.disk_full_every_us = u64::MAX),
        ("wish", |plan| plan.wish_every_us = u64::MAX),
        ("stop", |plan| plan.stop_every_us = u64::MAX),
        ("evict", |plan| plan.evict_ticks = None),
        ("story", |plan| plan.story = None),
        ("move", |plan| plan.move_chance = 0.0),
        ("power", |plan| plan.power_loss = false),
        ("loss", |plan| plan.loss = 0.0),
        ("duplication", |plan| plan.duplication = 0.0),
        ("straggling", |plan| plan.straggling = 0.0),
        ("laggard", |plan| plan.laggard = None),
        ("absence", |plan| plan.absence = 0.0),
    ];

    /// The names of all faults, for [`Plan::leave_out`].
    pub fn faults() -> impl Iterator<Item = &'static str> {
        Plan::FAULTS.into_iter().map(|(name, _)| name)
    }

    /// Leaves out a fault. Answers whether there is one of this name.
    pub fn leave_out(&mut self, fault: &str) -> bool {
        let found = Plan::FAULTS.into_iter().find(|(name, _)| *name == fault);
        if let Some((_, leave_out)) = found {
            leave_out(self);
        }
        found.is_some()
    }

    /// Makes room for a story: long enough, with the nodes it needs, clients that stay and keep writing,
    /// and few other faults to spoil it.
    fn tell(&mut self, rng: &mut Rng) {
        let stories = [
            Story::StrandedLeader,
            Story::StrandedPair,
            Story::RestartedReader,
            Story::ElectedTwice,
            Story::LateVoter,
        ];
        let story = one_of(rng, stories);
        self.story = Some(story);
        self.chaos_us = rng.u64(2_000_000..4_000_000);
        self.clients = rng.usize(4..10);
        self.operations = rng.usize(20..60);
        self.loyalty = 0.95;
        self.loss = 0.0;
        self.partition_every_us = u64::MAX;
        self.flicker_every_us = u64::MAX;
        self.crash_every_us = self.crash_every_us.max(1_000_000);
        self.pause_every_us = u64::MAX;
        // They are told of nodes that stay who and where they are.
        for what in ["lose", "damage", "fail", "stall", "wish", "stop", "absence", "full"] {
            self.leave_out(what);
        }
        match story {
            Story::StrandedLeader => {
                self.founders = 3;
                self.joiners = rng.usize(0..2);
                self.move_chance = 1.0;
                self.sync_us = (50, rng.u64(200..5_000));
            }
            Story::StrandedPair => {
                self.founders = 5;
                self.joiners = 0;
                self.twist(Twist::Laggard, rng);
                self.twist(Twist::HastyElections, rng);
                // What the follower has missed comes in one answer.
                self.chunk_bytes_max = 20_000;
                self.inflight_bytes_max = 20_000;
            }
            Story::RestartedReader => self.founders = self.founders.max(3),
            Story::ElectedTwice => {
                self.founders = 3;
                self.joiners = 0;
                self.twist(Twist::HastyElections, rng);
                self.hold_every_us = u64::MAX;
                self.think_us = 10_000;
                self.operations = 100;
            }
            Story::LateVoter => {
                self.founders = 5;
                self.joiners = 0;
                self.laggard = None;
                self.window_bytes_max = 300;
                self.chunk_bytes_max = 20_000;
                self.inflight_bytes_max = 20_000;
                self.sync_us = (50, rng.u64(200..3_000));
            }
            Story::StrandedLearner
            | Story::ForgottenPromise
            | Story::ForgottenBallot
            | Story::CutVoter
            | Story::ShrunkenQuorum
            | Story::Parted => unreachable!("they are told elsewhere"),
        }
    }

    fn ordinary(seed: u64, rng: &mut Rng) -> Plan {
        let is_dense = rng.u8(..4) == 0;
        let founders = one_of(rng, [1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 6, 7]);
        let joiners = one_of(rng, [0, 0, 0, 1, 1, 2]);
        let delay_min = if is_dense { 20 } else { rng.u64(20..2_000) };
        let delay_spread = if is_dense { 500 } else { 8_000 };
        let sync_min = rng.u64(50..2_000);
        let sync_spread = if is_dense { 1_000 } else { 20_000 };
        let chaos = rng.f64();
        let chunk_bytes_max = one_of(rng, [200, 600, 2_000, 20_000]);
        Plan {
            seed,
            twists: Vec::new(),
            story: None,
            founders,
            joiners,
            clients: if is_dense { rng.usize(4..12) } else { rng.usize(1..6) },
            operations: if is_dense { rng.usize(40..150) } else { rng.usize(5..40) },
            think_us: if is_dense { 2_000 } else { 50_000 },
            has_indexes: seed % 100 == 4,
            has_batches: false,
            may_go_alone: false,
            keys: rng.usize(1..4),
            loyalty: one_of(rng, [0.0, 0.5, 0.95]),
            chaos_us: rng.u64(500_000..3_000_000),
            delay_us: (delay_min, delay_min + rng.u64(100..=delay_spread)),
            loss: if rng.bool() { 0.0 } else { rng.f64() * 0.2 * chaos },
            duplication: if rng.bool() { 0.0 } else { rng.f64() * 0.1 },
            straggling: if rng.bool() { 0.0 } else { rng.f64() * 0.05 },
            partition_every_us: one_of(rng, [200_000, 500_000, 2_000_000, u64::MAX]),
            muffles: false,
            hold_every_us: u64::MAX,
            hold_us_max: 0,
            flicker_every_us: u64::MAX,
            laggard: None,
            hunt: 0.0,
            crash_every_us: one_of(rng, [100_000, 300_000, 1_000_000, u64::MAX]),
            crash_all: rng.u8(..4) == 0,
            down_us_max: 800_000,
            burst_max: 0,
            power_loss: rng.u8(..4) != 0,
            move_chance: 0.0,
            pause_every_us: one_of(rng, [300_000, 1_000_000, u64::MAX, u64::MAX]),
            clock_stop_every_us: u64::MAX,
            election_ticks: (20, 30),
            retransmit_ticks: 15,
            sync_us: (sync_min, sync_min + rng.u64(100..=sync_spread)),
            apply_us: (10, rng.u64(50..10_000)),
            persist_store: rng.f64() * 0.3,
            wish_every_us: u64::MAX,
            stop_every_us: u64::MAX,
            disk_full_every_us: u64::MAX,
            lose_every_us: u64::MAX,
            damage_every_us: u64::MAX,
            fail_every_us: u64::MAX,
            stall_every_us: u64::MAX,
            absence: 0.0,
            may_part: false,
            policy: Policy::Paxos,
            promote_lag_slots: one_of(rng, [0, 5, 5, 50]),
            evict_ticks: None,
            change_pause_ticks: one_of(rng, [0, 20, 100]),
            takeover_ticks: 100,
            disk_stall_ticks: one_of(rng, [20, 100, 200]),
            log_retain_bytes: one_of(rng, [500, 2_000, 10_000, 1 << 20]),
            snapshot_chunk_bytes: one_of(rng, [200, 1_000, 10_000]),
            segment_bytes: one_of(rng, [8_192, 16_384, 65_536]),
            chunk_bytes_max,
            window_bytes_max: one_of(rng, [300, 2_000, 100_000]),
            inflight_bytes_max: chunk_bytes_max * rng.usize(1..5),
            double_send: rng.f64() * 0.1,
            repeat_answered: rng.f64() * 0.1,
            piggyback: rng.f64(),
            planted: None,
        }
    }

    fn twist(&mut self, twist: Twist, rng: &mut Rng) {
        if !self.twists.contains(&twist) {
            self.twists.push(twist);
        }
        match twist {
            Twist::HeldLinks => {
                self.hold_every_us = one_of(rng, [30_000, 100_000, 300_000]);
                self.hold_us_max = one_of(rng, [300_000, 1_000_000, 3_000_000]);
            }
            Twist::FlickeringLinks => {
                self.flicker_every_us = one_of(rng, [20_000, 60_000, 200_000]);
            }
            Twist::MuffledLinks => {
                self.muffles = true;
                self.partition_every_us = one_of(rng, [100_000, 200_000, 500_000]);
            }
            Twist::StoppedClocks => {
                self.clock_stop_every_us = one_of(rng, [100_000, 300_000, 1_000_000]);
            }
            Twist::HuntedLeader => {
                self.hunt = one_of(rng, [0.5, 0.9]);
                self.partition_every_us = self.partition_every_us.min(500_000);
            }
            Twist::RestartBursts => {
                self.burst_max = rng.u64(2..8);
                self.down_us_max = one_of(rng, [2_000, 20_000, 100_000]);
                self.crash_every_us = one_of(rng, [100_000, 300_000, 1_000_000]);
            }
            Twist::Moves => {
                self.move_chance = one_of(rng, [0.3, 1.0]);
                self.crash_all = rng.bool();
                self.joiners = rng.usize(1..3);
                self.crash_every_us = one_of(rng, [100_000, 300_000, 500_000]);
                self.down_us_max = one_of(rng, [20_000, 200_000]);
            }
            Twist::Laggard => {
                let node = rng.usize(..self.founders);
                self.laggard = Some((node, one_of(rng, [20_000, 100_000, 400_000])));
                self.chunk_bytes_max = 200;
                self.inflight_bytes_max = 200;
                self.window_bytes_max = 300;
            }
            Twist::HastyElections => {
                let least = rng.u32(5..9);
                self.election_ticks = (least, least + rng.u32(2..6));
                self.retransmit_ticks = one_of(rng, [5, 15, 60]);
                self.hunt = self.hunt.max(0.3);
                self.sync_us = (50, rng.u64(200..5_000));
            }
            Twist::FiveNodes => {
                self.founders = 5;
                self.joiners = self.joiners.min(1);
            }
            Twist::Churn => {
                self.wish_every_us = one_of(rng, [50_000, 200_000, 500_000]);
                self.stop_every_us = one_of(rng, [300_000, 1_000_000, u64::MAX]);
                self.joiners = self.joiners.max(rng.usize(0..3));
            }
            Twist::Evictions => {
                let least = u64::from(self.election_ticks.1) + 1;
                self.evict_ticks = Some(least + rng.u64(0..80));
                self.change_pause_ticks = one_of(rng, [0, 5, 30]);
                self.chaos_us = self.chaos_us.max(2_000_000);
            }
            Twist::LostDisks => {
                self.lose_every_us = one_of(rng, [200_000, 500_000, 1_500_000]);
            }
            Twist::BadDisks => {
                let often = [100_000, 500_000, u64::MAX];
                self.damage_every_us = one_of(rng, [200_000, 600_000, u64::MAX]);
                self.fail_every_us = one_of(rng, often);
                self.stall_every_us = one_of(rng, often);
            }
            Twist::FullDisks => {
                self.disk_full_every_us = one_of(rng, [100_000, 500_000, 1_000_000]);
            }
            Twist::Absence => {
                self.absence = one_of(rng, [0.1, 0.4]);
                self.chaos_us = rng.u64(2_000_000..6_000_000);
                self.operations = self.operations.max(60);
                self.log_retain_bytes = one_of(rng, [500, 3_000]);
                self.persist_store = self.persist_store.max(0.3);
                self.crash_every_us = self.crash_every_us.min(500_000);
            }
        }
    }

    /// All nodes there will be.
    pub fn nodes(&self) -> usize {
        self.founders + self.joiners
    }
}

fn one_of<T: Copy, const N: usize>(rng: &mut Rng, choices: [T; N]) -> T {
    choices[rng.usize(..N)]
}
