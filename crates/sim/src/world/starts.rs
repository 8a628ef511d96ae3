//! Starts and stops, and what a node does that cannot go on as itself.

use super::{Event, Phase, World};
use crate::client::Client;
use crate::node::{Node, Refusal, index_of};
use paxos::{Entry, Membership, Message, NodeId, Payload, Policy, Standing};
use replica::{Input, PeerMessage, decode_peer_message};

/// Most time before a node that was removed, or that lost its disk, is back as another.
const REPLACED_AFTER_US_MAX: u64 = 500_000;
/// How often a node that is not in yet turns to another one to be let in.
const SEEK_EVERY_US: u64 = 1_000_000;

impl World {
    pub(super) fn on_start(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].up.is_some() {
            return Ok(());
        }
        if self.nodes[node].is_removed {
            self.report.replacements += 1;
            self.nodes[node].lose_disk();
        } else if self.nodes[node].life > 0 && self.rng.f64() < self.plan.move_chance {
            self.nodes[node].moves += 1;
        }
        match self.nodes[node].start(&self.plan) {
            Ok(()) => {}
            Err(Refusal::Damage(what)) => return self.on_damage_found(node, &what),
            Err(Refusal::Wrong(what)) => return Err(what),
        }
        self.nodes[node].is_damaged = false;
        self.trace.event(self.now_us, format_args!("{node} starts"));
        let life = self.nodes[node].life;
        self.report.restarts += u64::from(life > 1);
        let tick_us = self.nodes[node].tick_us;
        self.after(tick_us, Event::Tick(node, life));
        if self.nodes[node].crashes_to_come > 0 {
            self.nodes[node].crashes_to_come -= 1;
            let up = self.rng.u64(1_000..100_000);
            self.after(up, Event::CrashAgain(node, life));
        }
        self.step(node, Input::Tick)?;
        self.on_seek(node, life)
    }

    /// The node damaged by a fault says so: it comes back as another.
    fn on_damage_found(&mut self, node: usize, what: &str) -> Result<(), String> {
        if !self.nodes[node].is_damaged {
            return Err(format!("node {node}: {what}"));
        }
        self.trace.event(self.now_us, format_args!("{node} is damaged: {what}"));
        self.report.damages += 1;
        self.nodes[node].is_damaged = false;
        self.nodes[node].is_removed = true;
        self.start_later(node);
        Ok(())
    }

    fn start_later(&mut self, node: usize) {
        let delay = self.rng.u64(1_000..REPLACED_AFTER_US_MAX);
        self.after(delay, Event::Start(node));
    }

    /// A node that does not know the group, or that has moved, turns to a member.
    pub(super) fn on_seek(&mut self, node: usize, life: u64) -> Result<(), String> {
        if !self.is_alive(node, life) {
            return Ok(());
        }
        let machine = &self.nodes[node];
        let Some(up) = &machine.up else { return Ok(()) };
        let (_, membership) = up.replica.core().membership();
        let is_in =
            membership.members.get(&machine.id).is_some_and(|m| m.address == machine.address());
        if is_in {
            return Ok(());
        }
        self.after(SEEK_EVERY_US, Event::Seek(node, life));
        // At first any founder's machine is named, also one that knows no group any more. Where that has led to nothing
        // once the faults have ended, somebody looks for a machine that takes part.
        let takes_part = |index: &usize| {
            self.nodes[*index].up.as_ref().is_some_and(|up| {
                let members = &up.replica.core().membership().1.members;
                members.contains_key(&self.nodes[*index].id)
            })
        };
        let members: Vec<usize> = match self.phase {
            Phase::Chaos => Vec::new(),
            _ => (0..self.nodes.len()).filter(takes_part).collect(),
        };
        let anybody = match &members[..] {
            [] => self.rng.usize(..self.plan.founders),
            members => members[self.rng.usize(..members.len())],
        };
        // In a story newcomers ask its leader as often as anybody else.
        let asks_leader = self.plan.story.is_some() && self.rng.bool();
        let mut seed = if asks_leader { self.cast.0 } else { anybody };
        if seed == node {
            seed = (seed + 1) % self.nodes.len();
        }
        if seed == node {
            return Ok(());
        }
        let seed = self.nodes[seed].id;
        self.step(node, Input::Seed(seed))
    }

    /// The node learns that it takes no part any more, and stops for good.
    pub(super) fn on_removed(&mut self, node: usize) -> Result<(), String> {
        let id = self.nodes[node].id;
        if !self.agreement.is_removed(id) {
            return Err(format!("node {node} stops as removed, and nobody has removed it"));
        }
        self.trace.event(self.now_us, format_args!("{node} is removed"));
        self.report.removals += 1;
        self.stop(node);
        self.nodes[node].is_removed = true;
        self.start_later(node);
        Ok(())
    }

    /// The process ends, the machine goes on.
    pub(super) fn stop(&mut self, node: usize) {
        self.note_memberships(node);
        self.nodes[node].crash(false, &mut self.rng);
    }

    /// The memberships that this node might bring to life again: for who may lose a disk.
    pub(super) fn note_memberships(&mut self, node: usize) {
        let machine = &mut self.nodes[node];
        let Some(up) = &machine.up else { return };
        let core = up.replica.core();
        let (governing_slot, governing) = core.membership();
        machine.memberships = vec![governing.clone()];
        if up.is_recording(governing_slot) {
            machine.memberships.push(up.journal.membership().1);
        }
        let mut slot = core.status().decided.next();
        while let Some(Entry { payload, .. }) = core.entry(slot) {
            if let Payload::Membership(membership) = payload {
                machine.memberships.push(membership.clone());
            }
            slot = slot.next();
        }
    }

    /// The disk of the log fails: the process can only stop.
    pub(super) fn on_log_failed(&mut self, node: usize, what: &str) -> Result<(), String> {
        if !std::mem::take(&mut self.nodes[node].is_failing) {
            return Err(format!("node {node}: {what}"));
        }
        self.trace.event(self.now_us, format_args!("{node} stops: {what}"));
        self.stop(node);
        let down = self.rng.u64(1_000..self.plan.down_us_max);
        self.after(down, Event::Start(node));
        Ok(())
    }

    /// The faults end.
    pub(super) fn on_heal(&mut self) -> Result<(), String> {
        self.trace.event(self.now_us, format_args!("heal"));
        self.phase = Phase::Healing;
        self.network.heal();
        self.clients.iter_mut().for_each(Client::wind_up);
        for index in 0..self.nodes.len() {
            self.nodes[index].paused_until_us = 0;
            self.nodes[index].clock_stopped_until_us = 0;
            self.nodes[index].stalled_until_us = 0;
            self.step(index, Input::DiskFull(false))?;
            if self.nodes[index].up.is_none() {
                self.after(0, Event::Start(index));
            }
        }
        self.after(1_000_000, Event::Sweep);
        Ok(())
    }

    /// Whether the group can do without what is on this machine's disk, whichever of the memberships known
    /// anywhere will govern: a quorum of each has its disk.
    pub(super) fn may_lose(&mut self, victim: usize) -> bool {
        for node in 0..self.nodes.len() {
            self.note_memberships(node);
        }
        let is_whole = |id| {
            let machine = &self.nodes[index_of(id)];
            machine.id == id && !machine.is_removed && !machine.is_damaged
        };
        // A wish may be granted long after it was made.
        let stays = |id| !self.to_be_removed.contains(&id) && id != self.nodes[victim].id;
        let spares = |id| is_whole(id) && stays(id);
        if self.plan.policy == Policy::Passive {
            // Who went on alone, and was not found out yet, has what nobody else has. And who has met no leader
            // since it started waits for all.
            let is_led = |node: &Node| {
                node.up.as_ref().is_some_and(|up| up.replica.core().leader().is_some())
            };
            return self.nodes.len() > 1
                && self.nodes.iter().all(is_led)
                && (0..self.nodes.len()).all(|node| self.all_others_take_part(node));
        }
        // A learner that has just lost its disk may still be made a voter, and so may one that is away, if it has answered
        // before: then they are votes more to do without, and decide whether another one away keeps its vote.
        let may_come_to_count = |id: NodeId, standing| match standing {
            Standing::Voter => false,
            Standing::Learner => true,
            Standing::Away => self.may_return(id),
        };
        let can_do_without = |m: &Membership| {
            let lost = m.members.iter().filter(|(id, _)| !spares(**id));
            let lost = lost.filter(|(id, member)| may_come_to_count(**id, member.standing));
            let lost: Vec<NodeId> = lost.map(|(id, _)| *id).collect();
            m.members.is_empty()
                || (0..1_u32 << lost.len()).all(|some| {
                    let mut later = m.clone();
                    let promoted = lost.iter().enumerate().filter(|(bit, _)| some >> bit & 1 == 1);
                    for (_, id) in promoted {
                        let member = later.members.get_mut(id);
                        member.expect("it is one of them").standing = Standing::Voter;
                    }
                    later.has_quorum(spares)
                })
        };
        let mut memberships = self.nodes.iter().flat_map(|node| &node.memberships);
        memberships.all(can_do_without)
            && self.nodes.iter().any(|node| !node.memberships.is_empty())
    }

    /// Whether some leader has, or may yet get, an answer by which this node, which is away, comes to count again.
    fn may_return(&self, id: NodeId) -> bool {
        let core_of = |node: NodeId| {
            let machine = &self.nodes[index_of(node)];
            machine.up.as_ref().filter(|_| machine.id == node).map(|up| up.replica.core())
        };
        let is_under_way = |event: &Event| {
            let Event::Deliver { to, from, bytes } = event else { return false };
            let Some(core) = core_of(*to).filter(|_| *from == id) else { return false };
            match decode_peer_message(bytes.clone()) {
                Ok(PeerMessage::Paxos(Message::HeartbeatReply { ballot, probe, .. })) => {
                    core.is_answer(ballot, probe)
                }
                _ => false,
            }
        };
        let leaders = self.nodes.iter().filter_map(|machine| core_of(machine.id));
        leaders.into_iter().any(|core| core.has_answered(id))
            || self.events.iter().flatten().any(is_under_way)
    }
}
