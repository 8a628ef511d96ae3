//! What goes wrong at random.

use super::{Event, World};
use crate::node::Node;
use paxos::Role;

/// Faults.
impl World {
    /// Whom a fault strikes: anybody, or the leader.
    pub(super) fn victim(&mut self) -> usize {
        let anybody = self.rng.usize(..self.nodes.len());
        if self.rng.f64() >= self.plan.hunt {
            return anybody;
        }
        let leads = |node: &Node| {
            node.up.as_ref().is_some_and(|up| up.replica.core().role() == Role::Leader)
        };
        let leaders: Vec<usize> =
            (0..self.nodes.len()).filter(|index| leads(&self.nodes[*index])).collect();
        if leaders.is_empty() { anybody } else { leaders[self.rng.usize(..leaders.len())] }
    }

    pub(super) fn on_network_fault(&mut self) {
        let victim = self.victim();
        let what = self.network.change(&self.plan, &mut self.rng, victim);
        self.trace.event(self.now_us, format_args!("network: {what}"));
        self.later_fault(self.plan.partition_every_us, Event::NetworkFault);
    }

    pub(super) fn on_link_held(&mut self) {
        let until_us = self.now_us + self.rng.u64(1..=self.plan.hold_us_max);
        let (from, to) = self.network.hold(&mut self.rng, until_us);
        let what = format_args!("network: {from} -> {to} is held until {until_us}");
        self.trace.event(self.now_us, what);
        self.later_fault(self.plan.hold_every_us, Event::LinkHeld);
    }

    pub(super) fn on_crash(&mut self) {
        self.later_fault(self.plan.crash_every_us, Event::Crash);
        let all = self.plan.crash_all && self.rng.u8(..4) == 0;
        let victim = self.victim();
        for index in 0..self.nodes.len() {
            let strikes = all || index == victim;
            if strikes && self.nodes[index].up.is_some() && self.may_stop(index) {
                self.nodes[index].crashes_to_come = self.rng.u64(..=self.plan.burst_max);
                self.crash(index);
            }
        }
    }

    pub(super) fn crash(&mut self, index: usize) {
        self.note_memberships(index);
        self.nodes[index].crash(self.plan.power_loss, &mut self.rng);
        self.trace.event(self.now_us, format_args!("{index} crashes"));
        let mut down = self.rng.u64(1_000..self.plan.down_us_max);
        if self.plan.absence > 0.0 && self.rng.f64() < self.plan.absence {
            down = down.max(self.plan.chaos_us.saturating_sub(self.now_us));
        }
        self.after(down, Event::Start(index));
    }

    pub(super) fn on_pause(&mut self) {
        self.later_fault(self.plan.pause_every_us, Event::Pause);
        let victim = self.victim();
        let until = self.now_us + self.rng.u64(10_000..1_000_000);
        self.nodes[victim].paused_until_us = until;
        self.trace.event(self.now_us, format_args!("{victim} pauses until {until}"));
    }

    pub(super) fn on_clock_stop(&mut self) {
        self.later_fault(self.plan.clock_stop_every_us, Event::ClockStop);
        let victim = self.victim();
        let until = self.now_us + self.rng.u64(50_000..1_500_000);
        self.nodes[victim].clock_stopped_until_us = until;
        self.trace.event(self.now_us, format_args!("{victim}: the clock stops until {until}"));
    }
}
