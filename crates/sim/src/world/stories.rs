//! Stories, whose scenes follow each other.

use super::{Event, World};
use crate::node::Node;
use crate::plan::Story;
use paxos::{Role, Standing};

/// The slowest clock's tick.
const TICK_US_MAX: u64 = 12_500;

/// Stories: the same few scenes again and again, with whoever leads then, for random times.
impl World {
    pub(super) fn on_story(&mut self, scene: u64) {
        let Some(story) = self.plan.story else { return };
        if scene == 0 {
            self.cast = self.draw_cast();
        }
        let (leader, follower) = self.cast;
        self.trace.event(self.now_us, format_args!("{story:?} {scene}: {leader} {follower}"));
        let (lasts_us, is_last) = match story {
            Story::StrandedLeader => self.stranded_leader(scene, leader, follower),
            Story::StrandedPair => self.stranded_pair(scene, leader, follower),
            Story::RestartedReader => self.restarted_reader(scene, leader, follower),
            Story::ElectedTwice => self.elected_twice(scene, leader, follower),
            Story::LateVoter => self.late_voter(scene, leader, follower),
            Story::StrandedLearner => self.stranded_learner(scene, leader),
            Story::ForgottenPromise => self.forgotten_promise(scene, leader, follower),
            Story::ForgottenBallot => self.forgotten_ballot(scene, leader, follower),
            Story::CutVoter => self.cut_voter(scene, leader, follower),
            Story::ShrunkenQuorum => self.shrunken_quorum(scene, leader),
            Story::Parted => self.parted(scene, follower),
        };
        self.after(lasts_us, Event::Story(if is_last { 0 } else { scene + 1 }));
    }

    fn draw_cast(&mut self) -> (usize, usize) {
        self.draw_cast_but(usize::MAX)
    }

    /// A leader other than `outdated`, and somebody else.
    fn draw_cast_but(&mut self, outdated: usize) -> (usize, usize) {
        let nodes = self.nodes.len();
        let leads = |node: &Node| {
            node.up.as_ref().is_some_and(|up| up.replica.core().role() == Role::Leader)
        };
        let mut indexes = 0..nodes;
        let leader = indexes.find(|index| *index != outdated && leads(&self.nodes[*index]));
        let leader = leader.unwrap_or(0);
        let follower = match self.plan.laggard {
            Some((laggard, _)) if laggard != leader && laggard < nodes => laggard,
            _ => (leader + self.rng.usize(1..nodes.max(2))) % nodes,
        };
        (leader, follower)
    }

    /// The leader is no longer heard, is asked for much, also by a node that has moved; another leads, and
    /// is asked by that node too; when this one goes the first is back.
    fn stranded_leader(&mut self, scene: u64, leader: usize, follower: usize) -> (u64, bool) {
        let nodes = self.nodes.len();
        match scene {
            0 => {
                self.network.strand(&[leader], nodes, false);
                self.gather_clients(leader);
                (self.rng.u64(10_000..150_000), false)
            }
            1 => {
                self.bounce(follower);
                (self.rng.u64(20_000..150_000), false)
            }
            2 => {
                self.network.strand(&[leader], nodes, true);
                (self.rng.u64(200_000..600_000), false)
            }
            3 => {
                self.bounce(follower);
                (self.rng.u64(20_000..150_000), false)
            }
            _ => {
                self.network.restore();
                let (successor, _) = self.draw_cast();
                if successor != leader && self.nodes[successor].up.is_some() {
                    self.crash(successor);
                }
                (self.rng.u64(100_000..600_000), true)
            }
        }
    }

    /// A follower that has missed something hears only the leader, first when nobody else does, then
    /// when that leader has learned from its successor.
    fn stranded_pair(&mut self, scene: u64, leader: usize, follower: usize) -> (u64, bool) {
        let nodes = self.nodes.len();
        match scene {
            0 => {
                self.network.strand(&[follower], nodes, true);
                (self.rng.u64(20_000..150_000), false)
            }
            1 => {
                self.network.strand_but(follower, leader, nodes);
                (self.rng.u64(1_000..200_000), false)
            }
            2 => {
                self.network.strand(&[leader, follower], nodes, true);
                self.gather_clients(leader);
                let until_us = self.now_us + self.rng.u64(300_000..900_000);
                self.nodes[follower].clock_stopped_until_us = until_us;
                (self.rng.u64(100_000..400_000), false)
            }
            3 => {
                self.network.strand_but(follower, leader, nodes);
                (self.rng.u64(50_000..400_000), false)
            }
            _ => {
                self.network.restore();
                (self.rng.u64(50_000..300_000), true)
            }
        }
    }

    /// A follower hears from its leader only later, and has started again meanwhile; it is read from
    /// all the time.
    fn restarted_reader(&mut self, scene: u64, leader: usize, follower: usize) -> (u64, bool) {
        match scene {
            0 | 2 => {
                self.bounce(follower);
                (self.rng.u64(5_000..60_000), false)
            }
            1 => {
                let holds_us = self.rng.u64(150_000..700_000);
                self.network.hold_link((leader, follower), self.now_us + holds_us);
                self.gather_clients(follower);
                (self.rng.u64(50_000..holds_us), false)
            }
            _ => (self.rng.u64(300_000..800_000), true),
        }
    }

    /// What a follower answers a leader comes when that leader has lost and won again; then it is cut off
    /// and read from.
    fn elected_twice(&mut self, scene: u64, leader: usize, follower: usize) -> (u64, bool) {
        let nodes = self.nodes.len();
        match scene {
            0 => {
                self.gather_clients(leader);
                let until_us = self.now_us + self.rng.u64(500_000..1_500_000);
                self.network.hold_link((follower, leader), until_us);
                (self.rng.u64(50_000..300_000), false)
            }
            1 => {
                self.network.strand(&[leader], nodes, true);
                (self.rng.u64(150_000..400_000), false)
            }
            2 => {
                // The other two elect, and the first leader has an even chance.
                self.network.strand(&[follower], nodes, true);
                let (successor, _) = self.draw_cast();
                if successor != leader && successor != follower {
                    self.bounce(successor);
                }
                (self.rng.u64(150_000..500_000), false)
            }
            3 => {
                self.network.strand(&[leader], nodes, true);
                self.gather_clients(leader);
                let lasts_us = self.rng.u64(200_000..700_000);
                self.nodes[leader].clock_stopped_until_us = self.now_us + lasts_us;
                (lasts_us, false)
            }
            _ => {
                self.network.restore();
                (self.rng.u64(50_000..300_000), true)
            }
        }
    }

    /// A follower learns from the leader that it had what two later leaders decided, and only then gives
    /// its promise to the first of them, which does not know of the second.
    fn late_voter(&mut self, scene: u64, leader: usize, follower: usize) -> (u64, bool) {
        let nodes = self.nodes.len();
        match scene {
            0 => {
                self.network.strand(&[follower], nodes, true);
                (self.rng.u64(20_000..200_000), false)
            }
            1 => {
                self.network.strand_but(follower, leader, nodes);
                let until_us = self.now_us + self.rng.u64(600_000..1_000_000);
                self.network.hold_link((follower, leader), until_us);
                (self.rng.u64(30_000..100_000), false)
            }
            2 => {
                // Its question stays open while the others elect somebody.
                self.nodes[follower].clock_stopped_until_us = self.now_us + 1_500_000;
                self.network.strand(&[leader, follower], nodes, true);
                (self.rng.u64(200_000..400_000), false)
            }
            3 => {
                let (first, _) = self.draw_cast_but(leader);
                self.second = first;
                self.gather_clients(first);
                self.nodes[first].clock_stopped_until_us = u64::MAX;
                self.network.strand(&[first], nodes, true);
                self.network.strand_also_but(follower, leader, nodes);
                (self.rng.u64(300_000..600_000), false)
            }
            4 => {
                let first = self.second;
                self.nodes[first].clock_stopped_until_us = 0;
                self.network.strand(&[first, follower], nodes, true);
                (self.rng.u64(50_000..300_000), false)
            }
            _ => {
                self.nodes[follower].clock_stopped_until_us = 0;
                self.network.restore();
                (self.rng.u64(50_000..300_000), true)
            }
        }
    }

    /// As soon as there is a learner, it and the leader are alone.
    fn stranded_learner(&mut self, scene: u64, leader: usize) -> (u64, bool) {
        const POLL_US: u64 = 10_000;
        if scene > 0 {
            self.network.restore();
            return (self.rng.u64(100_000..500_000), true);
        }
        let Some(up) = &self.nodes[leader].up else { return (POLL_US, true) };
        let (_, membership) = up.replica.core().membership();
        let learns = |node: &Node| membership.standing(node.id) == Some(Standing::Learner);
        let is_leading = up.replica.core().role() == Role::Leader;
        let learner = self.nodes.iter().position(learns).filter(|_| is_leading);
        let Some(learner) = learner else { return (POLL_US, true) };
        self.network.strand(&[leader, learner], self.nodes.len(), true);
        self.gather_clients(leader);
        (self.rng.u64(300_000..900_000), false)
    }

    /// The leader is cut off until the follower writes down another's ballot, and then the other is.
    fn forgotten_promise(&mut self, scene: u64, leader: usize, follower: usize) -> (u64, bool) {
        const POLL_US: u64 = 500;
        const POLLS_MAX: u64 = 2_000;
        let nodes = self.nodes.len();
        let other = (0..nodes).find(|node| *node != leader && *node != follower).unwrap_or(leader);
        let stopped = |node: usize| self.nodes[node].clock_stopped_until_us == u64::MAX;
        if scene == 0 {
            self.network.strand(&[leader], nodes, true);
            self.gather_clients(leader);
            self.nodes[leader].clock_stopped_until_us = u64::MAX;
            return (POLL_US, false);
        }
        if stopped(leader) {
            let (own, machine) = (self.nodes[leader].id, &self.nodes[follower]);
            let writes_promise = machine.up.as_ref().is_some_and(|up| {
                let owner = up.replica.core().status().ballot.node;
                up.is_syncing && owner != own && owner != machine.id
            });
            if !writes_promise && scene < POLLS_MAX {
                return (POLL_US, false);
            }
            self.bounce(follower);
            self.nodes[leader].clock_stopped_until_us = 0;
            self.nodes[other].clock_stopped_until_us = u64::MAX;
            self.network.strand(&[leader, follower], nodes, true);
            // It proposes more than the one before gets decided, or it would learn of that and step down.
            for client in &mut self.clients {
                client.home = Some(other);
            }
            return (self.rng.u64(200_000..600_000), false);
        }
        if stopped(other) {
            self.nodes[other].clock_stopped_until_us = 0;
            self.network.strand(&[leader], nodes, true);
            return (self.rng.u64(100_000..300_000), false);
        }
        self.network.restore();
        (self.rng.u64(300_000..600_000), true)
    }

    /// A part of the group, with the follower, is out of the others' reach for longer than it waits for them.
    fn parted(&mut self, scene: u64, follower: usize) -> (u64, bool) {
        if scene > 0 {
            self.network.restore();
            return (self.rng.u64(800_000..2_000_000), true);
        }
        let nodes = self.nodes.len();
        let mut part = vec![follower];
        part.extend((0..nodes.saturating_sub(2)).filter(|other| *other != follower));
        part.truncate(self.rng.usize(1..nodes.max(2)));
        self.network.strand(&part, nodes, true);
        // Silence, a wait that is drawn, and asking everybody for as long again.
        let ticks = self.plan.takeover_ticks + 3 * self.plan.election_ticks.1;
        let waits_us = u64::from(ticks) * TICK_US_MAX;
        (self.rng.u64(waits_us / 2..waits_us + 1_500_000), false)
    }

    /// The node crashes and is back at once.
    pub(super) fn bounce(&mut self, node: usize) {
        if self.nodes[node].up.is_some() {
            self.note_memberships(node);
            self.nodes[node].crash(self.plan.power_loss, &mut self.rng);
            self.trace.event(self.now_us, format_args!("{node} crashes"));
            self.after(1_000, Event::Start(node));
        }
    }

    /// About half of the clients turn to this node.
    pub(super) fn gather_clients(&mut self, node: usize) {
        for client in &mut self.clients {
            if self.rng.bool() {
                client.home = Some(node);
            }
        }
    }
}
