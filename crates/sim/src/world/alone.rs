//! One of two voters is lost for good, or said to be: an operator tells the other one to go on alone
//! (`docs/design/damage.md`).
//!
//! The one promise that the operator must keep is kept here, too: it is never said to both. Whether the other one is
//! really gone is drawn by lot, as the group must lose nothing either way.

use super::World;
use crate::node::index_of;
use api::MemberChange;
use paxos::NodeId;

impl World {
    /// An operator vouches, perhaps after the other one has lost its disk.
    pub(super) fn vouch(&mut self) {
        let drawn = self.rng.usize(..self.plan.founders);
        let survivor = *self.alone.get_or_insert(drawn);
        let others = self.other_voters(survivor);
        if others.is_empty() {
            return;
        }
        let other = others[self.rng.usize(..others.len())];
        let index = index_of(other);
        let is_there = self.nodes[index].id == other && !self.nodes[index].is_removed;
        if self.rng.bool() && is_there && self.are_all_there_is(survivor, other) {
            self.trace
                .event(self.now_us, format_args!("{index} loses its disk, one of two voters"));
            self.report.replacements += 1;
            self.stop(index);
            self.nodes[index].lose_disk();
            let down = self.rng.u64(1_000..self.plan.down_us_max);
            self.after(down, super::Event::Start(index));
        }
        self.ask_at(survivor, MemberChange::Alone { without: other.to_string() });
    }

    /// After the faults: what was not granted, because it came too early or the node started again, is asked for again.
    pub(super) fn vouch_again(&mut self) {
        let Some(survivor) = self.alone else { return };
        let is_led = (self.nodes[survivor].up.as_ref())
            .is_none_or(|up| up.replica.core().leader().is_some());
        let gone = |other: &NodeId| self.nodes[index_of(*other)].id != *other;
        let Some(other) = self.other_voters(survivor).into_iter().find(gone) else { return };
        if !is_led {
            self.ask_at(survivor, MemberChange::Alone { without: other.to_string() });
        }
    }

    fn other_voters(&self, node: usize) -> Vec<NodeId> {
        let machine = &self.nodes[node];
        let Some(up) = &machine.up else { return Vec::new() };
        let voters = up.replica.core().membership().1.voters();
        voters.filter(|id| *id != machine.id).collect()
    }

    /// Whether no membership that any node knows of has anybody but these two, so that one of them may be lost.
    fn are_all_there_is(&mut self, survivor: usize, other: NodeId) -> bool {
        for node in 0..self.nodes.len() {
            self.note_memberships(node);
        }
        let machine = &self.nodes[survivor];
        let is_whole = !machine.is_removed && !machine.is_damaged;
        let mut memberships = self.nodes.iter().flat_map(|node| &node.memberships);
        let are_all = memberships.all(|membership| {
            let members = &membership.members;
            members.is_empty()
                || (members.len() == 2 && membership.are_all_voters(machine.id, other))
        });
        is_whole && are_all && self.to_be_removed.is_empty()
    }
}
