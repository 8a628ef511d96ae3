//! What the owner of a ballot does: ask, hear, lead, propose, decide.

use crate::configuration::PlantedBug;
use crate::protocol::{Action, Step};
use crate::state::{Owning, Promise, Violation};
use crate::value::{Ballot, Entry, NODES, NodeIndex, Slot, Value, Voters};

impl Step<'_> {
    /// The owner of `ballot` promises it to itself.
    pub(crate) fn begin(&mut self, ballot: Ballot) {
        let owner = self.configuration.owner(ballot);
        self.promise(owner, ballot);
        let next = if self.configuration.tells_in_parts() {
            self.state.nodes[owner].decided + 1
        } else {
            1
        };
        self.state.nodes[owner].owning =
            Owning { ballot, promise_next: [next; NODES], ..Owning::default() };
    }

    /// Whether the owner of a ballot has its own promise on disk.
    pub(crate) fn owns_durably(&self, owner: NodeIndex) -> bool {
        let node = &self.state.nodes[owner];
        node.durable_promised == node.owning.ballot
            || self.is_planted(PlantedBug::OwnPromiseBeforePersisted)
    }

    /// The owner of `ballot` hears what `nodes` have told, all at once, and then goes on.
    pub(crate) fn hear(&mut self, ballot: Ballot, nodes: Voters) {
        for node in (0..NODES).filter(|node| nodes.contains(*node)) {
            let promise = std::mem::take(&mut self.state.promises[ballot][node]);
            let owner = self.configuration.owner(ballot);
            if self.state.nodes[owner].owning.ballot != ballot {
                return;
            }
            self.hear_one(ballot, node, &promise);
        }
        self.go_on(self.configuration.owner(ballot));
    }

    fn hear_one(&mut self, ballot: Ballot, node: NodeIndex, promise: &Promise) {
        let any = self.is_planted(PlantedBug::AdoptAnyBallot);
        let owner = self.configuration.owner(ballot);
        let Owner { decided, accepted, .. } = self.owner(owner);
        let ignores = self.is_planted(PlantedBug::LateReachIgnored);
        let owning = &mut self.state.nodes[owner].owning;
        if owning.is_leading && promise.decided > accepted && !ignores {
            // It would propose in slots that are decided: phase 1 has to begin anew.
            *owning = Owning::default();
            return;
        }
        // What was proposed already in this ballot is settled by the quorum that allowed it.
        let floor = if owning.is_leading { accepted } else { decided };
        let mut next = owning.promise_next[node].max(promise.decided + 1);
        let told = (1..=self.configuration.slots).filter(|slot| promise.entries[*slot].is_some());
        for slot in told {
            let entry = promise.entries[slot];
            next = slot + 1;
            if slot > floor {
                recover(&mut owning.recovered[slot], entry, any);
            }
        }
        owning.must_reach = owning.must_reach.max(promise.decided);
        owning.promise_next[node] = next;
        if next > promise.last || !self.configuration.tells_in_parts() {
            owning.promised = owning.promised.with(node);
            // Knowing that a slot is decided is as good as having accepted it in this ballot (I6).
            let reported = &mut self.state.reported[ballot][node];
            *reported = promise.decided.max(*reported);
            if self.is_planted(PlantedBug::LatePromiseDecides)
                && self.state.nodes[owner].owning.is_leading
            {
                self.decide_upto(owner, promise.decided.min(accepted));
            }
        }
    }

    fn owner(&self, owner: NodeIndex) -> Owner {
        let node = &self.state.nodes[owner];
        let (governs_since, voters) = self.state.membership(owner, self.configuration.founding);
        let mut promised = node.owning.promised;
        if self.owns_durably(owner) {
            promised = promised.with(owner);
        }
        let undecided = node.decided + 1..=node.accepted;
        let barrier =
            undecided.clone().find(|slot| node.log[*slot].value().as_membership().is_some());
        Owner {
            decided: node.decided,
            accepted: node.accepted,
            governs_since,
            voters,
            promised,
            barrier,
        }
    }

    /// Does what a node does by itself after anything has changed: it leads as soon as it can, and proposes
    /// what it was told as soon as it may.
    pub(crate) fn go_on(&mut self, index: NodeIndex) {
        let owning = self.state.nodes[index].owning;
        if owning.ballot == 0 {
            return;
        }
        if !owning.is_leading && !self.try_lead(index) {
            return;
        }
        while let Some(value) = self.forced(index) {
            self.propose_next(index, value);
        }
    }

    fn try_lead(&mut self, index: NodeIndex) -> bool {
        let any = self.is_planted(PlantedBug::AdoptAnyBallot);
        let owner = self.owner(index);
        let must_reach = self.state.nodes[index].owning.must_reach;
        let has_reached =
            owner.decided >= must_reach || self.is_planted(PlantedBug::LeadWithoutReaching);
        if !self.configuration.has_quorum(owner.voters, owner.promised) || !has_reached {
            return false;
        }
        let node = &mut self.state.nodes[index];
        for slot in node.decided + 1..=self.configuration.slots {
            if node.log[slot].is_some() {
                recover(&mut node.owning.recovered[slot], node.log[slot], any);
            }
        }
        if self.configuration.is_planted(PlantedBug::ForgetAcceptedSuffix) {
            node.owning.recovered = Default::default();
        }
        node.owning.is_leading = true;
        true
    }

    /// Whether a leader may propose now.
    fn may_propose(&self, owner: &Owner) -> bool {
        let no_barrier = self.is_planted(PlantedBug::NoMembershipBarrier);
        owner.accepted < self.configuration.slots
            && self.configuration.has_quorum(owner.voters, owner.promised)
            && (owner.barrier.is_none() || no_barrier)
    }

    /// What a leader must propose next: what it was told, a blank before that, its own first entry.
    fn forced(&self, index: NodeIndex) -> Option<Value> {
        let owner = self.owner(index);
        if !self.may_propose(&owner) {
            return None;
        }
        let owning = &self.state.nodes[index].owning;
        let slot = owner.accepted + 1;
        let told = owning.recovered[slot];
        if told.is_some() {
            let is_outdated =
                told.value().as_membership().is_some_and(|(base, _)| base != owner.governs_since);
            let stays = self.is_planted(PlantedBug::StaleMembershipStays);
            return Some(if is_outdated && !stays { Value::BLANK } else { told.value() });
        }
        if (slot..=self.configuration.slots).any(|later| owning.recovered[later].is_some()) {
            return Some(Value::BLANK);
        }
        (self.configuration.settled_first && owning.own_slot == 0)
            .then(|| Value::own(owning.ballot))
    }

    /// What a leader may propose of its own accord.
    pub(crate) fn proposals(&self, ballot: Ballot, actions: &mut Vec<Action>) {
        let index = self.configuration.owner(ballot);
        let owning = &self.state.nodes[index].owning;
        let owner = self.owner(index);
        if !owning.is_leading || !self.may_propose(&owner) || self.forced(index).is_some() {
            return;
        }
        actions.push(Action::Propose(ballot, Value::own(ballot)));
        let is_settled = owning.own_slot != 0 && owning.own_slot <= owner.decided;
        if self.state.changes_left == 0 || (self.configuration.settled_first && !is_settled) {
            return;
        }
        let changed = (0..NODES).map(|node| owner.voters.toggled(node));
        let changed = changed.filter(|voters| voters.count() > 0);
        actions.extend(
            changed.map(|voters| {
                Action::Propose(ballot, Value::membership(owner.governs_since, voters))
            }),
        );
    }

    /// A leader proposes `value` of its own accord.
    pub(crate) fn propose(&mut self, ballot: Ballot, value: Value) {
        if value.as_membership().is_some() {
            self.state.changes_left -= 1;
        }
        self.propose_next(self.configuration.owner(ballot), value);
    }

    fn propose_next(&mut self, index: NodeIndex, value: Value) {
        let node = &mut self.state.nodes[index];
        let (ballot, slot) = (node.owning.ballot, node.accepted + 1);
        if self.configuration.settled_first
            && node.owning.own_slot == 0
            && value == Value::own(ballot)
        {
            node.owning.own_slot = slot;
        }
        let before = self.state.proposals[ballot][slot];
        if before.is_some() && before != value {
            self.state.violation = Violation::OneProposal;
        }
        self.state.proposals[ballot][slot] = value;
        self.accept(index, slot, Entry::new(ballot, value));
    }

    /// The highest slot up to which a quorum holds everything, as far as the owner of `ballot` knows.
    pub(crate) fn decidable(&self, ballot: Ballot) -> Slot {
        let index = self.configuration.owner(ballot);
        let node = &self.state.nodes[index];
        if !node.owning.is_leading {
            return 0;
        }
        let owner = self.owner(index);
        let own = if self.is_planted(PlantedBug::OwnVoteBeforePersisted) {
            node.accepted
        } else {
            node.accepted_durable()
        };
        let holds = |node: NodeIndex, slot: Slot| {
            if node == index {
                return slot <= own;
            }
            owner.promised.contains(node) && slot <= self.state.reported[ballot][node]
        };
        let upto = owner.barrier.unwrap_or(owner.accepted);
        let is_held = |slot: &Slot| {
            let holders = (0..NODES).filter(|node| holds(*node, *slot));
            let holders = holders.fold(Voters::default(), Voters::with);
            self.configuration.has_quorum(owner.voters, holders)
        };
        (owner.decided + 1..=upto).rev().find(is_held).unwrap_or(0)
    }

    /// A leader decides all that a quorum holds.
    pub(crate) fn decide(&mut self, ballot: Ballot) {
        let upto = self.decidable(ballot);
        let owner = self.configuration.owner(ballot);
        self.decide_upto(owner, upto);
        if self.state.lost > 0 {
            self.state.lost = 2;
        }
        self.go_on(owner);
    }
}

/// What the owner of a ballot sees when it looks at itself.
struct Owner {
    decided: Slot,
    accepted: Slot,
    governs_since: Slot,
    voters: Voters,
    /// Who has promised, itself too once that is durable.
    promised: Voters,
    /// The slot of a membership that is proposed and not decided.
    barrier: Option<Slot>,
}

fn recover(place: &mut Entry, told: Entry, any: bool) {
    if any || !place.is_some() || told.ballot() > place.ballot() {
        *place = told;
    }
}
