//! Groups under random schedules: everything that can happen to nodes, disks and messages, drawn from a seed.

use super::{Group, id};
use fastrand::Rng;
use paxos::{Change, NodeId, Payload, PlantedBug, Policy, Slot};
use std::collections::BTreeSet;

/// What a run is made of, drawn from its seed.
pub(crate) struct Plan {
    pub(crate) policy: Policy,
    pub(crate) partitions: bool,
    pub(crate) membership_churn: bool,
    pub(crate) planted: Option<PlantedBug>,
}

/// A group and what befalls it.
pub(crate) struct World {
    pub(crate) group: Group,
    rng: Rng,
    plan: Plan,
    nodes: u64,
    loss: f64,
    crash: f64,
    slow_disks: f64,
    /// From whom to whom nothing gets through.
    cut: BTreeSet<(NodeId, NodeId)>,
    proposals: u64,
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> World {
        let mut rng = Rng::with_seed(seed);
        let founders = rng.u64(1..=5);
        let nodes = if plan.membership_churn { founders + rng.u64(0..=3) } else { founders };
        let (window, chunk) = (rng.usize(100..2000), rng.usize(100..1000));
        let evict = rng.bool() || plan.policy == Policy::Passive;
        let planted = plan.planted;
        let lag = rng.u64(0..20);
        let adjust = move |config: &mut paxos::Config| {
            config.planted = planted;
            config.window_bytes_max = window;
            config.chunk_bytes_max = chunk;
            config.inflight_bytes_max = 2 * chunk;
            config.undecided_bytes_max = 2000;
            config.promote_lag_slots = lag;
            config.evict_ticks = evict.then_some(60);
            config.change_pause_ticks = 20;
            config.takeover_ticks = 80;
            config.disk_stall_ticks = 40;
        };
        let mut group = Group::under(plan.policy, founders, adjust);
        for n in founders + 1..=nodes {
            group.add(n, adjust, false);
        }
        group.instant_disks = false;
        // The passive policy takes silence for death: no more loss than the repeated questions bear.
        let loss_max = if plan.policy == Policy::Passive { 0.04 } else { 0.25 };
        let loss = rng.f64() * loss_max;
        let (crash, slow_disks) = (rng.f64() * 0.02, rng.f64() * 0.7);
        let cut = BTreeSet::new();
        World { group, rng, plan, nodes, loss, crash, slow_disks, cut, proposals: 0 }
    }

    fn any_node(&mut self) -> u64 {
        self.rng.u64(1..=self.nodes)
    }

    /// One tick of everybody, and what happens around it.
    pub(crate) fn round(&mut self) {
        self.trouble();
        for n in 1..=self.nodes {
            if self.plan.policy == Policy::Passive || self.rng.f64() < 0.95 {
                self.group.tick(n);
            }
        }
        if self.rng.u8(0..4) == 0 {
            self.propose();
        }
        self.deliver_some();
        for n in 1..=self.nodes {
            if self.rng.f64() >= self.slow_disks {
                let count = self.rng.usize(1..8);
                self.group.persist_some(n, count);
            }
        }
        self.after();
    }

    /// What a driver does on its own: snapshots where they are needed; who has diverged stops.
    fn after(&mut self) {
        for n in 1..=self.nodes {
            let node = self.group.node_mut(n);
            if node.diverged.is_some() && !node.is_down {
                node.is_down = true;
            }
            if let Some(from) = node.snapshot_needed.filter(|_| !node.is_down)
                && !self.group.node(from.0).is_down
                && self.rng.bool()
            {
                self.group.give_snapshot(from.0, n);
            }
        }
    }

    fn propose(&mut self) {
        for n in 1..=self.nodes {
            if self.group.is_leader(n) && !self.group.node(n).is_down {
                self.proposals += 1;
                let text = format!("{n}-{}", self.proposals);
                self.group.propose(n, self.proposals, &text);
            }
        }
    }

    fn deliver_some(&mut self) {
        for _ in 0..self.group.wire.len() * 2 {
            let count = self.group.wire.len();
            if count == 0 {
                return;
            }
            let index = self.rng.usize(0..count.min(20));
            let Some((from, to, message)) = self.group.wire.remove(index) else { return };
            if self.rng.f64() < self.loss || self.cut.contains(&(from, to)) {
                continue;
            }
            if self.rng.u8(0..20) == 0 {
                self.group.wire.push_back((from, to, message.clone()));
            }
            self.group.step(to.0, paxos::Input::Message { from, message });
        }
    }

    fn trouble(&mut self) {
        let n = self.any_node();
        let is_down = self.group.node(n).is_down;
        if is_down && self.group.node(n).diverged.is_none() && self.rng.u8(0..40) == 0 {
            self.group.restart(n);
        } else if !is_down && self.rng.f64() < self.crash {
            let kept = self.rng.usize(0..6);
            self.group.crash(n, kept);
            if self.rng.bool() {
                self.group.restart(n);
            }
        }
        if self.rng.u8(0..20) == 0 {
            let n = self.any_node();
            let back = self.rng.u64(0..10);
            let slot = Slot(self.group.node(n).applied.0.saturating_sub(back));
            self.group.compact(n, slot);
        }
        if self.plan.partitions && self.rng.u8(0..60) == 0 {
            self.cut_somewhere();
        }
        if self.rng.u8(0..15) == 0 {
            self.wish();
        }
    }

    fn cut_somewhere(&mut self) {
        self.cut.clear();
        if self.rng.bool() {
            return;
        }
        let side: Vec<bool> = (0..=self.nodes).map(|_| self.rng.bool()).collect();
        let one_way = self.rng.u8(0..3) == 0;
        for a in 1..=self.nodes {
            for b in 1..=self.nodes {
                let apart = side[a as usize] != side[b as usize];
                if apart && (!one_way || side[a as usize]) {
                    self.cut.insert((id(a), id(b)));
                }
            }
        }
    }

    fn wish(&mut self) {
        let node = id(self.any_node());
        let change = if self.plan.membership_churn {
            match self.rng.u8(0..8) {
                0 | 1 => Change::Join { node, address: format!("node{}:1", node.0) },
                2 => Change::Remove { node },
                3 => Change::Allow { node },
                4 => Change::Promote { node },
                5 if self.plan.policy == Policy::Paxos => Change::Evict { node },
                6 => Change::Lead { node: Some(node) },
                _ => Change::Lead { node: None },
            }
        } else {
            Change::Lead { node: None }
        };
        for n in 1..=self.nodes {
            if self.group.is_leader(n) {
                self.group.change(n, change.clone());
            }
        }
    }

    /// Everything works from now on; demands that what is proposed comes to be known by every member.
    ///
    /// # Panics
    /// If it does not within many ticks.
    pub(crate) fn heal(&mut self) {
        self.calm();
        for _ in 0..40 {
            if self.makes_progress() {
                return;
            }
        }
        panic!("no progress: {}", self.describe());
    }

    /// Ends all trouble.
    pub(crate) fn calm(&mut self) {
        self.cut.clear();
        self.group.instant_disks = true;
        for n in 1..=self.nodes {
            if self.group.node(n).is_down && self.group.node(n).diverged.is_none() {
                self.group.restart(n);
            }
            self.group.persist(n);
        }
    }

    /// Ticks in calm.
    pub(crate) fn run_calmly(&mut self, ticks: usize) {
        for _ in 0..ticks {
            for n in 1..=self.nodes {
                self.group.tick(n);
            }
            self.group.deliver_all();
            self.after();
        }
    }

    fn makes_progress(&mut self) -> bool {
        self.run_calmly(50);
        let Some(leader) = self.leader() else { return false };
        self.proposals += 1;
        let text = format!("healed {}", self.proposals);
        self.group.propose(leader, self.proposals, &text);
        self.run_calmly(50);
        let knows = |n: &u64| {
            let delivered = self.group.node(*n).delivered.last();
            delivered.is_some_and(|(_, p)| *p == super::command(&text))
        };
        let (_, membership) = self.group.node(leader).core.membership();
        let mut members = membership.members.keys().map(|node| node.0);
        members.all(|n| self.group.node(n).is_down || knows(&n))
    }

    /// The only leader that is up and knows it.
    pub(crate) fn leader(&self) -> Option<u64> {
        let leaders = self.group.leaders();
        let mut up = leaders.into_iter().filter(|n| !self.group.node(*n).is_down);
        up.next().filter(|_| up.next().is_none())
    }

    pub(crate) fn describe(&self) -> String {
        let nodes = self.group.nodes.iter().map(|(id, node)| {
            let (slot, membership) = node.core.membership();
            let standings: Vec<String> = membership
                .members
                .iter()
                .map(|(id, m)| format!("{}:{:?}", id.0, m.standing))
                .collect();
            let status = node.core.status();
            format!(
                "{} {:?} down={} ballot={}.{} acc={} dec={} del={} at {slot} [{}] div={:?} need={:?}",
                id.0,
                status.role,
                node.is_down,
                status.ballot.round,
                status.ballot.node.0,
                status.accepted,
                status.decided,
                status.delivered,
                standings.join(" "),
                node.diverged,
                node.snapshot_needed,
            )
        });
        nodes.collect::<Vec<_>>().join("\n")
    }

    /// Entries that `n` has handed out and that differ from what `leader` has: the first, if any.
    pub(crate) fn first_difference(&self, n: u64, leader: u64) -> Option<Slot> {
        let truth: std::collections::BTreeMap<Slot, &Payload> =
            self.group.node(leader).delivered.iter().map(|(slot, p)| (*slot, p)).collect();
        let delivered = self.group.node(n).delivered.iter();
        let differs = |(slot, p): &&(Slot, Payload)| truth.get(slot).is_some_and(|t| *t != p);
        delivered.filter(differs).map(|(slot, _)| *slot).min()
    }
}
