//! Linearizable reads without a log entry ("read-index"; Ongaro's thesis §6.4).
//!
//! A leader that has decided an entry of its own ballot notes its decided slot, asks a quorum whether
//! it still leads (one *probe* for all reads that wait), and then lets the reads be served by any node
//! whose applied slot has reached the noted one. A follower asks the leader for that slot.
//!
//! The probe goes to as few as make a quorum, those that answered first when all were asked last: each question costs
//! both sides a message and a wake-up. All are asked again now and then, and whenever the few are slow.
//!
//! Invariant: the noted slot is not below any slot decided anywhere before the read began. Because
//! the probe was sent after the read began, a quorum had then promised no higher ballot, so every
//! slot decided before was decided in this ballot or an earlier one; and the leader, having decided an
//! entry of its own ballot, knows them all.

use crate::config::PlantedBug;
use crate::core::{Output, Paxos, ReadId, RoleState};
use crate::message::Message;
use crate::types::{NodeId, Slot};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Ticks after which all are asked for a probe that the few have not answered. One may pass at once.
const FEW_TICKS: u64 = 2;
/// Ticks for which the few stay the same: others may have become faster.
const FEW_KEPT_TICKS: u64 = 100;

/// Who asked.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Local(ReadId),
    Remote(NodeId, u64),
}

/// Reads that wait for their slot.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Begun here, not yet sent to any leader, with the tick they began in.
    fresh: Vec<(ReadId, u64)>,
    /// Sent to the leader under a token.
    asked: BTreeMap<u64, Asked>,
    token: u64,
    /// At a leader: waiting for the next probe.
    unprobed: Vec<Origin>,
    /// At a leader: waiting for the answers to a probe, with the slot noted when it was sent.
    probing: VecDeque<(u64, Slot, Vec<Origin>)>,
    /// At a leader: the tick of the last probe.
    probe_tick: u64,
    few: Few,
}

/// Whom a leader asks whether it still leads.
#[derive(Debug, Default)]
struct Few {
    /// With the leader they are a quorum; empty: everybody is asked.
    nodes: Vec<NodeId>,
    /// Until when they are not chosen anew.
    until_tick: u64,
    /// The last probe that everybody was asked for.
    all_asked: u64,
}

#[derive(Debug)]
struct Asked {
    reads: Vec<(ReadId, u64)>,
    sent_tick: u64,
}

impl Reads {
    /// `token`: from which on questions are named. Answers to an earlier life's must name none of
    /// this one's.
    pub(crate) fn new(token: u64) -> Reads {
        Reads { token, ..Reads::default() }
    }

    pub(crate) fn begin(&mut self, id: ReadId, now: u64) {
        self.fresh.push((id, now));
    }

    /// The membership has changed: reads that wait for answers ask again. Who answered before may have been no
    /// quorum of those who decide now, and its slot may be one that the old ones have decided beyond.
    pub(crate) fn on_membership(&mut self) {
        self.few = Few::default();
        let waiting = self.probing.drain(..).flat_map(|(_, _, origins)| origins);
        self.unprobed.extend(waiting);
    }

    /// A leader that steps down lets its own reads begin again; those of others are asked again.
    pub(crate) fn on_step_down(&mut self, now: u64) {
        self.few = Few::default();
        let waiting = self.probing.drain(..).flat_map(|(_, _, origins)| origins);
        for origin in waiting.chain(self.unprobed.drain(..)) {
            if let Origin::Local(id) = origin {
                self.fresh.push((id, now));
            }
        }
    }
}

impl Paxos {
    /// Whether this leader has decided an entry of its own ballot, so that it knows every slot decided
    /// in earlier ones.
    pub(crate) fn is_settled(&self) -> bool {
        match &self.role {
            RoleState::Owning(l) if l.is_leading => {
                self.config.is_planted(PlantedBug::ReadBeforeOwnEntry)
                    || l.own_slot.is_some_and(|slot| self.decided >= slot)
            }
            _ => false,
        }
    }

    pub(crate) fn on_read_index(&mut self, from: NodeId, token: u64) {
        if self.is_leading() {
            self.reads.unprobed.push(Origin::Remote(from, token));
        }
    }

    pub(crate) fn on_read_index_reply(&mut self, token: u64, slot: Slot) {
        if let Some(asked) = self.reads.asked.remove(&token) {
            for (id, _) in asked.reads {
                self.outputs.push(Output::ReadReady { id, slot });
            }
        }
    }

    pub(crate) fn flush_reads(&mut self) {
        if self.is_leading() {
            self.flush_leader_reads();
        } else if let Some(leader) = self.leader()
            && !self.reads.fresh.is_empty()
        {
            let reads = core::mem::take(&mut self.reads.fresh);
            self.ask_read_index(leader, reads);
        }
    }

    fn ask_read_index(&mut self, leader: NodeId, reads: Vec<(ReadId, u64)>) {
        self.reads.token += 1;
        let token = self.reads.token;
        self.reads.asked.insert(token, Asked { reads, sent_tick: self.now });
        self.send(leader, Message::ReadIndex { token });
    }

    fn flush_leader_reads(&mut self) {
        let asked = core::mem::take(&mut self.reads.asked).into_values().flat_map(|a| a.reads);
        let fresh = core::mem::take(&mut self.reads.fresh);
        let local = asked.chain(fresh).map(|(id, _)| Origin::Local(id));
        self.reads.unprobed.extend(local);
        if !self.is_settled() {
            return;
        }
        self.answer_probed();
        let under_way = !self.reads.probing.is_empty();
        let overdue = self.now >= self.reads.probe_tick + u64::from(self.config.heartbeat_ticks);
        if !self.reads.unprobed.is_empty() && (!under_way || overdue) {
            self.probe();
            self.answer_probed();
        }
        self.ask_all_if_slow();
    }

    /// Asks whether this node still leads, for all reads that wait.
    fn probe(&mut self) {
        let origins = core::mem::take(&mut self.reads.unprobed);
        let probe = self.next_probe();
        self.reads.probe_tick = self.now;
        self.reads.probing.push_back((probe, self.decided, origins));
        if self.config.is_planted(PlantedBug::ReadWithoutProbe) {
            return;
        }
        let few = &mut self.reads.few;
        if few.nodes.is_empty() || self.now >= few.until_tick {
            self.ask_all(probe);
        } else {
            let nodes = core::mem::take(&mut few.nodes);
            self.send_heartbeats_to(|node| nodes.contains(&node));
            self.reads.few.nodes = nodes;
        }
    }

    fn ask_all(&mut self, probe: u64) {
        self.reads.few = Few { all_asked: probe, ..Few::default() };
        self.send_heartbeats();
    }

    /// Asks the others, too, if the few take long.
    fn ask_all_if_slow(&mut self) {
        if let Some((probe, ..)) = self.reads.probing.back()
            && *probe > self.reads.few.all_asked
            && self.now >= self.reads.probe_tick + FEW_TICKS
        {
            self.ask_all(*probe);
        }
    }

    /// The first who answered a probe that everybody was asked for are the few that are asked from here on.
    fn choose_few(&mut self, probe: u64) {
        let mut nodes = Vec::new();
        for node in self.answered(probe) {
            if self.has_quorum(|id| id == self.config.node || nodes.contains(&id)) {
                break;
            }
            nodes.push(node);
        }
        self.reads.few.nodes = nodes;
        self.reads.few.until_tick = self.now + FEW_KEPT_TICKS;
    }

    /// Answers the reads whose probe a quorum has confirmed.
    fn answer_probed(&mut self) {
        while let Some((probe, slot, _)) = self.reads.probing.front() {
            let (probe, slot) = (*probe, *slot);
            let confirmed = self.is_probe_confirmed(probe)
                || self.config.is_planted(PlantedBug::ReadWithoutProbe);
            if !confirmed {
                return;
            }
            if self.reads.few.nodes.is_empty() && probe == self.reads.few.all_asked {
                self.choose_few(probe);
            }
            let Some((_, _, origins)) = self.reads.probing.pop_front() else { return };
            for origin in origins {
                match origin {
                    Origin::Local(id) => self.outputs.push(Output::ReadReady { id, slot }),
                    Origin::Remote(node, token) => {
                        self.send(node, Message::ReadIndexReply { token, slot });
                    }
                }
            }
        }
    }

    /// Asks again what was lost, and drops what nobody can be waiting for any more.
    pub(crate) fn tick_reads(&mut self) {
        let patience = 10 * u64::from(self.config.election_ticks_max);
        let now = self.now;
        self.reads.fresh.retain(|(_, begun)| now < begun + patience);
        if self.is_leading() {
            return;
        }
        let again = u64::from(self.config.retransmit_ticks);
        let lost: Vec<u64> = (self.reads.asked.iter())
            .filter(|(_, asked)| now >= asked.sent_tick + again)
            .map(|(token, _)| *token)
            .collect();
        for token in lost {
            if let Some(asked) = self.reads.asked.remove(&token) {
                self.reads.fresh.extend(asked.reads);
            }
        }
    }
}
