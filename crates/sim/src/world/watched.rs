//! Stories whose acts begin when something has come about: their scenes are looks at the nodes, often.

use super::World;
use paxos::{Paxos, Payload, Role, Slot, Standing};

/// Between two looks.
const LOOK_US: u64 = 300;
/// Most looks at a story: something else came about.
const LOOKS_MAX: u64 = 8_000;

impl World {
    /// The leader is cut off, with what it goes on proposing, until a follower's log has been cut since the follower
    /// promised another; then these two meet, the follower having just started.
    pub(super) fn forgotten_ballot(
        &mut self,
        scene: u64,
        leader: usize,
        follower: usize,
    ) -> (u64, bool) {
        let nodes = self.nodes.len();
        if scene == 0 {
            self.act = 0;
            self.network.strand(&[leader], nodes, true);
            self.gather_clients(leader);
            self.nodes[leader].clock_stopped_until_us = u64::MAX;
        }
        let own = self.nodes[leader].id;
        let follows_another = |core: &Paxos| core.leader().is_some_and(|other| other != own);
        match self.act {
            _ if scene > LOOKS_MAX => {}
            0 => {
                if self.core(follower).is_some_and(follows_another) {
                    self.mark = self.log_end(follower);
                    self.act = 1;
                    self.turn_clients_from(leader);
                }
                return (LOOK_US, false);
            }
            1 => {
                if self.log_begin(follower) <= self.mark {
                    return (10 * LOOK_US, false);
                }
                self.bounce(follower);
                self.nodes[leader].clock_stopped_until_us = 0;
                self.network.strand(&[leader, follower], nodes, true);
                self.act = 2;
                return (self.rng.u64(50_000..300_000), false);
            }
            _ => {}
        }
        self.nodes[leader].clock_stopped_until_us = 0;
        self.network.restore();
        (self.rng.u64(300_000..600_000), true)
    }

    /// The leader and the follower decide something that the follower is not told; the third is told as much of it as
    /// makes it cut its log beyond what the follower knows; then the leader is gone.
    pub(super) fn cut_voter(&mut self, scene: u64, leader: usize, follower: usize) -> (u64, bool) {
        const AHEAD_SLOTS: u64 = 4;
        let nodes = self.nodes.len();
        let other = (0..nodes).find(|node| *node != leader && *node != follower).unwrap_or(leader);
        if scene == 0 {
            self.act = 0;
            self.network.strand(&[other], nodes, true);
            self.gather_clients(leader);
            return (self.rng.u64(10_000..60_000), false);
        }
        let decided = |core: &Paxos| core.decided().0;
        let accepted = |core: &Paxos| core.status().accepted.0;
        let known = self.core(follower).map_or(0, decided);
        let held = self.core(follower).map_or(0, accepted);
        match self.act {
            _ if scene > LOOKS_MAX => {}
            0 => {
                if held >= known + AHEAD_SLOTS {
                    // The leader hears the follower, the follower nobody.
                    self.network.strand(&[leader], nodes, false);
                    self.network.open(leader, other);
                    self.mark = known;
                    self.act = 1;
                }
                return (LOOK_US, false);
            }
            1 => {
                let behind = self.core(other).map_or(0, accepted);
                let floor = self.nodes[other].up.as_ref().map_or(0, |up| up.journal.floor().0);
                if known > self.mark || behind >= held {
                    self.act = 3;
                } else if floor > known {
                    self.network.strand(&[leader], nodes, true);
                    self.nodes[other].clock_stopped_until_us = self.now_us + 700_000;
                    self.act = 2;
                }
                return (LOOK_US, false);
            }
            2 => {
                self.act = 3;
                return (self.rng.u64(300_000..700_000), false);
            }
            _ => {}
        }
        self.network.restore();
        (self.rng.u64(200_000..500_000), true)
    }

    /// Five voters leave out one, and then another, with a third that knows it and does not know that it is decided.
    /// The leader and the fourth go on by themselves; then the fourth meets the three.
    pub(super) fn shrunken_quorum(&mut self, scene: u64, leader: usize) -> (u64, bool) {
        let nodes = self.nodes.len();
        if nodes < 5 {
            return (LOOK_US, true);
        }
        let at = |place: usize| (leader + place) % nodes;
        let (fourth, third, second, first) = (at(1), at(2), at(3), at(4));
        if scene == 0 {
            let leads = |core: &Paxos| {
                core.role() == Role::Leader && core.membership().1.active().count() == nodes
            };
            if !self.core(leader).is_some_and(leads) {
                return (10 * LOOK_US, true);
            }
            self.act = 0;
            self.network.strand(&[first], nodes, true);
            return (LOOK_US, false);
        }
        let is_away = |world: &World, node: usize| {
            let id = world.nodes[node].id;
            world
                .core(leader)
                .is_some_and(|core| core.membership().1.standing(id) == Some(Standing::Away))
        };
        match self.act {
            _ if scene > LOOKS_MAX => {}
            0 => {
                if is_away(self, first) {
                    self.network.strand(&[first, second], nodes, true);
                    self.act = 1;
                }
                return (LOOK_US, false);
            }
            1 => {
                if self.core(third).is_some_and(holds_undecided_membership) {
                    // The leader and the fourth hear the third, and it does not hear them.
                    self.network.strand(&[first, second], nodes, true);
                    self.network.silence(leader, third);
                    self.network.silence(fourth, third);
                    self.act = 2;
                    self.gather_clients(leader);
                    return (self.rng.u64(20_000..60_000), false);
                }
                return (LOOK_US / 3, false);
            }
            2 => {
                self.network.strand(&[first, second, third], nodes, true);
                self.act = 3;
                return (LOOK_US, false);
            }
            3 => {
                let leads =
                    |node: &usize| self.core(*node).is_some_and(|core| core.role() == Role::Leader);
                if ![first, second, third].iter().any(leads) {
                    return (LOOK_US, false);
                }
                self.network.strand(&[leader], nodes, true);
                self.turn_clients_from(leader);
                self.act = 4;
                return (self.rng.u64(100_000..400_000), false);
            }
            _ => {}
        }
        self.network.restore();
        (self.rng.u64(300_000..900_000), true)
    }

    fn core(&self, node: usize) -> Option<&Paxos> {
        self.nodes[node].up.as_ref().map(|up| up.replica.core())
    }

    /// The segment in which the log of a node ends.
    fn log_end(&self, node: usize) -> u64 {
        self.nodes[node].up.as_ref().map_or(0, |up| up.journal.log().end().segment.into())
    }

    /// The segment in which the log of a node begins.
    fn log_begin(&self, node: usize) -> u64 {
        self.nodes[node].up.as_ref().map_or(0, |up| up.journal.log().first().segment.into())
    }

    /// Clients leave this node alone.
    fn turn_clients_from(&mut self, node: usize) {
        let nodes = self.nodes.len();
        for client in &mut self.clients {
            if client.home == Some(node) {
                client.home = Some((node + self.rng.usize(1..nodes.max(2))) % nodes);
            }
        }
    }
}

/// Whether the node holds a membership that it does not know to be decided.
fn holds_undecided_membership(core: &Paxos) -> bool {
    let mut slot = core.decided().next();
    let mut found = false;
    while let Some(entry) = core.entry(slot) {
        found |= matches!(entry.payload, Payload::Membership(_));
        slot = Slot(slot.0 + 1);
    }
    found
}
