//! What operators do: they change who takes part, stop nodes in good order, and let a full disk be.

use super::{Event, OPERATOR, Phase, World};
use crate::node::{Node, index_of};
use api::{Call, MemberChange, Options, Request};
use paxos::{Membership, NodeId, Policy, Role, Slot};
use replica::Input;

/// Most time that a node that is asked to stop waits for another leader.
const HAND_OVER_US_MAX: u64 = 500_000;
/// Ticks after which a node that nobody leads will not be led without an operator.
const VAIN_TICKS: u64 = 1_000;

impl World {
    /// An operator wants something.
    pub(super) fn on_wish(&mut self) -> Result<(), String> {
        self.later_fault(self.plan.wish_every_us, Event::Wish);
        if self.plan.may_go_alone && self.rng.bool() {
            self.vouch();
            return Ok(());
        }
        let victim = self.victim();
        let node = self.nodes[victim].id.to_string();
        let change = match self.rng.u8(..10) {
            0..=2 if self.may_lose(victim) => {
                self.to_be_removed.insert(self.nodes[victim].id);
                MemberChange::Remove { node }
            }
            0..=4 => MemberChange::Promote { node },
            5 => MemberChange::Add { node },
            6 | 7 => MemberChange::Lead { node: Some(node) },
            8 => MemberChange::Lead { node: None },
            _ => return self.step(victim, Input::HandOver),
        };
        self.ask_for(change);
        Ok(())
    }

    fn ask_for(&mut self, change: MemberChange) {
        let node = self.rng.usize(..self.nodes.len());
        // Under the passive policy that would be the word of an operator who knows that no other node has more.
        let is_vouching = self.plan.policy == Policy::Passive
            && change == MemberChange::Lead { node: Some(self.nodes[node].id.to_string()) };
        if !is_vouching {
            self.ask_at(node, change);
        }
    }

    pub(super) fn ask_at(&mut self, node: usize, change: MemberChange) {
        self.trace.event(self.now_us, format_args!("operator at {node}: {change:?}"));
        let call = Box::new(Call { request: Request::Member(change), options: Options::default() });
        self.after(100, Event::Request { node, client: OPERATOR, number: 0, call });
    }

    /// After the faults, operators remove members that will not come back, because their disk is lost, and let
    /// nobody learn for ever.
    pub(super) fn on_sweep(&mut self) -> Result<(), String> {
        if self.phase == Phase::Chaos {
            return Ok(());
        }
        if self.plan.may_part {
            self.merge_by_hand()?;
        }
        if self.plan.policy == Policy::Passive {
            self.mend_waiting_by_hand()?;
        }
        if self.plan.may_go_alone {
            self.vouch_again();
        }
        self.after(1_000_000, Event::Sweep);
        let present = |id: NodeId| self.nodes[index_of(id)].id == id;
        let mut gone: Option<NodeId> = None;
        for machine in &self.nodes {
            let Some(up) = &machine.up else { continue };
            let (_, membership) = up.replica.core().membership();
            gone = gone.or(membership.members.keys().copied().find(|id| !present(*id)));
        }
        if let Some(id) = gone {
            self.ask_for(MemberChange::Remove { node: id.to_string() });
        }
        Ok(())
    }

    /// Two leaders that do not know each other, as each side has replaced the other's nodes by others at the same
    /// addresses, never meet. Somebody has to see it, and lets one of them start over (passive policy).
    fn merge_by_hand(&mut self) -> Result<(), String> {
        let membership_of_leader = |node: &Node| {
            let core = node.up.as_ref()?.replica.core();
            (core.role() == Role::Leader).then(|| core.membership().1.clone())
        };
        let leaders = self.nodes.iter().enumerate();
        let leaders =
            leaders.filter_map(|(index, node)| Some((index, membership_of_leader(node)?)));
        let leaders: Vec<(usize, Membership)> = leaders.collect();
        let [(first, membership), .., (last, other)] = &leaders[..] else { return Ok(()) };
        let knows = |membership: &Membership, index: usize| {
            membership.members.contains_key(&self.nodes[index].id)
        };
        if knows(membership, *last) || knows(other, *first) {
            return Ok(());
        }
        self.on_diverged(*last, Slot::ZERO.next())
    }

    /// A node that nobody leads, and that waits for others which have started over: all it knows, so that nobody is left
    /// who can tell it anything, or, in a group that may have parted, some of those that are to be asked after a restart.
    /// Where somebody leads a group that does not list it, it starts over too; where nobody leads, an operator vouches for
    /// the one of them that has decided most (passive policy, `docs/design/passive.md`).
    fn mend_waiting_by_hand(&mut self) -> Result<(), String> {
        let is_led =
            |node: &Node| node.up.as_ref().is_some_and(|up| up.replica.core().leader().is_some());
        let is_gone = |id: NodeId| self.nodes[index_of(id)].id != id;
        let is_left_alone = |node: &Node| {
            let Some(up) = node.up.as_ref().filter(|_| !is_led(node)) else { return false };
            let members = &up.replica.core().membership().1.members;
            members.contains_key(&node.id)
                && members.keys().all(|id| *id == node.id || is_gone(*id))
        };
        let waits_in_vain = |node: &Node| {
            let Some(up) = node.up.as_ref().filter(|_| !is_led(node)) else { return false };
            let core = up.replica.core();
            let membership = core.membership().1;
            self.plan.may_part
                && core.status().silence_ticks >= VAIN_TICKS
                && membership.is_active(node.id)
                && membership.active().any(is_gone)
        };
        let leaders = self.nodes.iter().filter_map(|node| {
            let core = node.up.as_ref()?.replica.core();
            (core.role() == Role::Leader).then(|| core.membership().1)
        });
        let is_listed = |node: &Node| {
            leaders.clone().any(|membership| membership.members.contains_key(&node.id))
        };
        let is_led_anywhere = self.nodes.iter().any(is_led);
        let decided =
            |index: &usize| self.nodes[*index].up.as_ref().map(|up| up.replica.core().decided());
        let left = (0..self.nodes.len()).filter(|index| {
            let node = &self.nodes[*index];
            is_left_alone(node) || (waits_in_vain(node) && !(is_led_anywhere && is_listed(node)))
        });
        let Some(left) = left.max_by_key(decided) else { return Ok(()) };
        if is_led_anywhere {
            return match self.plan.may_part {
                true => self.on_diverged(left, Slot::ZERO.next()),
                false => Ok(()),
            };
        }
        let node = Some(self.nodes[left].id.to_string());
        self.ask_at(left, MemberChange::Lead { node });
        Ok(())
    }

    /// A node is asked to stop.
    pub(super) fn on_stop_asked(&mut self) -> Result<(), String> {
        self.later_fault(self.plan.stop_every_us, Event::StopAsked);
        let victim = self.victim();
        if self.nodes[victim].up.is_none() || !self.may_stop(victim) {
            return Ok(());
        }
        self.trace.event(self.now_us, format_args!("{victim} is asked to stop"));
        let life = self.nodes[victim].life;
        let delay = self.rng.u64(1_000..HAND_OVER_US_MAX);
        self.after(delay, Event::StopNow(victim, life));
        self.step(victim, Input::HandOver)
    }

    pub(super) fn on_stop_now(&mut self, node: usize, life: u64) {
        if !self.is_alive(node, life) || !self.may_stop(node) {
            return;
        }
        self.trace.event(self.now_us, format_args!("{node} stops"));
        self.stop(node);
        let down = self.rng.u64(1_000..self.plan.down_us_max);
        self.after(down, Event::Start(node));
    }

    /// A node's disk has no room for a while.
    pub(super) fn on_disk_full(&mut self) -> Result<(), String> {
        self.later_fault(self.plan.disk_full_every_us, Event::DiskFull);
        let victim = self.victim();
        let life = self.nodes[victim].life;
        let lasts = self.rng.u64(10_000..1_500_000);
        self.after(lasts, Event::DiskRoom(victim, life));
        self.trace.event(self.now_us, format_args!("{victim}: the disk is full"));
        self.step(victim, Input::DiskFull(true))
    }
}
