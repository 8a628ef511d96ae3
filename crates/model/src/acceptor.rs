//! What every node does: promise, tell, accept, learn, catch up, write, crash.

use crate::configuration::PlantedBug;
use crate::protocol::Step;
use crate::state::{Node, Owning, Promise, Record, Violation};
use crate::value::{Ballot, Entry, NodeIndex, Slot, Value};

impl Step<'_> {
    /// A node promises `ballot`, its own or another's.
    pub(crate) fn promise(&mut self, node: NodeIndex, ballot: Ballot) {
        let node = &mut self.state.nodes[node];
        node.promised = ballot;
        node.accepted = node.decided;
        node.owning = Owning::default();
        node.pending.push(Record::Promise(ballot));
    }

    /// Whether the owner of `ballot` still waits for what `node` has to tell, and `node` may tell it.
    pub(crate) fn may_tell(&self, node: NodeIndex, ballot: Ballot) -> bool {
        let owning = &self.state.nodes[self.configuration.owner(ballot)].owning;
        let teller = &self.state.nodes[node];
        let is_durable = teller.durable_promised == ballot
            || self.is_planted(PlantedBug::PromiseBeforePersisted);
        owning.ballot == ballot
            && !owning.promised.contains(node)
            && !self.state.promises[ballot][node].is_there
            && teller.promised == ballot
            && is_durable
    }

    /// A node tells what it has accepted after its decided slot, or a part of it.
    pub(crate) fn tell(&mut self, node: NodeIndex, ballot: Ballot) {
        let owning = &self.state.nodes[self.configuration.owner(ballot)].owning;
        let from = owning.promise_next[node];
        let teller = self.state.nodes[node];
        let mut promise = Promise {
            is_there: true,
            decided: teller.decided,
            last: teller.last(),
            ..Promise::default()
        };
        let start = from.max(teller.decided + 1);
        let told = (start..=promise.last).take(usize::from(self.configuration.told_max));
        for slot in told {
            promise.entries[slot] = teller.log[slot];
        }
        self.state.promises[ballot][node] = promise;
    }

    /// Whether `node` can accept the slot after its last in `ballot`.
    pub(crate) fn may_accept(&self, node: NodeIndex, ballot: Ballot) -> bool {
        let node = &self.state.nodes[node];
        let outdated = self.is_planted(PlantedBug::AcceptOutdatedBallot) && ballot < node.promised;
        (ballot == node.promised || outdated)
            && node.accepted < self.configuration.slots
            && self.state.proposals[ballot][node.accepted + 1].is_some()
    }

    /// A node accepts what was proposed in `ballot`.
    pub(crate) fn accept_proposal(&mut self, node: NodeIndex, ballot: Ballot) {
        let slot = self.state.nodes[node].accepted + 1;
        let value = self.state.proposals[ballot][slot];
        self.accept(node, slot, Entry::new(ballot, value));
        if ballot < self.state.nodes[node].promised {
            // Planted: an outdated ballot's owner is told as if nothing were promised.
            let reported = &mut self.state.reported[ballot][node];
            *reported = slot.max(*reported);
        }
    }

    /// A node writes `entry` at `slot`.
    pub(crate) fn accept(&mut self, node: NodeIndex, slot: Slot, entry: Entry) {
        let node = &mut self.state.nodes[node];
        node.log[slot] = entry;
        node.pending.push(Record::Accept(slot, entry));
        node.accepted = node.accepted.max(slot);
    }

    /// How far a node that follows can learn that slots are decided.
    pub(crate) fn learnable(&self, index: NodeIndex) -> Slot {
        let node = &self.state.nodes[index];
        if node.promised == 0 || self.configuration.owner(node.promised) == index {
            return 0;
        }
        let held = if self.is_planted(PlantedBug::DecidedBeyondAccepted) {
            node.last()
        } else {
            node.accepted
        };
        self.state.told[node.promised].min(held)
    }

    /// A node learns what the leader it follows has decided.
    pub(crate) fn learn(&mut self, index: NodeIndex) {
        let upto = self.learnable(index);
        let node = &mut self.state.nodes[index];
        node.accepted = node.accepted.max(upto);
        self.decide_upto(index, upto);
    }

    /// A node takes note that every slot up to `upto` is decided.
    pub(crate) fn decide_upto(&mut self, index: NodeIndex, upto: Slot) {
        while self.state.nodes[index].decided < upto {
            let (governs_since, _) = self.state.membership(index, self.configuration.founding);
            let node = &mut self.state.nodes[index];
            node.decided += 1;
            let (slot, entry) = (node.decided, node.log[node.decided]);
            self.state.note_known(slot, entry);
            if entry.value().as_membership().is_some_and(|(base, _)| base != governs_since) {
                self.state.violation = Violation::MembershipBase;
            }
        }
    }

    /// A node is sent the decided entry of its next slot. One that leads has then stepped down.
    pub(crate) fn catch_up(&mut self, index: NodeIndex, entry: Entry) {
        let keeps = self.is_planted(PlantedBug::CatchUpKeepsAccepted);
        let node = &mut self.state.nodes[index];
        if node.owning.is_leading {
            node.owning = Owning::default();
        }
        let slot = node.decided + 1;
        let present = node.log[slot];
        if present.value() != entry.value() && (slot > node.accepted || !keeps) {
            // The ballot recorded for a slot never falls (I9).
            let ballot = present.ballot().max(entry.ballot());
            self.accept(index, slot, Entry::new(ballot, entry.value()));
        }
        let node = &mut self.state.nodes[index];
        node.accepted = node.accepted.max(slot);
        self.decide_upto(index, slot);
        self.go_on(index);
    }

    /// A node's oldest record becomes durable.
    pub(crate) fn persist(&mut self, index: NodeIndex) {
        self.state.nodes[index].persist_one();
        self.go_on(index);
    }

    /// The highest slot that a node can still know to be decided after a crash: what says so is written
    /// after the entries.
    pub(crate) fn decided_durable(&self, index: NodeIndex) -> Slot {
        let node = &self.state.nodes[index];
        node.accepted_durable().min(node.decided)
    }

    /// A node loses what is not durable and starts again. The record of a decided slot is written when
    /// something else is, so it may have been lost as well.
    pub(crate) fn crash(&mut self, index: NodeIndex, decided: Slot) {
        let node = &mut self.state.nodes[index];
        if !node.pending.is_empty() {
            self.state.lost = self.state.lost.max(1);
        }
        let mut started = Node {
            promised: node.durable_promised,
            log: node.durable_log,
            accepted: decided,
            decided,
            durable_promised: node.durable_promised,
            durable_log: node.durable_log,
            crashes_left: node.crashes_left - 1,
            ..Node::default()
        };
        let is_of_promised = |node: &Node, slot: Slot| {
            slot <= self.configuration.slots
                && node.log[slot].value() != Value::NONE
                && node.log[slot].ballot() == node.promised
        };
        while is_of_promised(&started, started.accepted + 1) {
            started.accepted += 1;
        }
        *node = started;
    }
}
