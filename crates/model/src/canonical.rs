//! One state for all that cannot be told apart any more, and what happens by itself.
//!
//! Each rule either lets something happen at once that can only make more possible (a disk without crashes
//! to come does not lag; what may be sent is sent), or forgets what nobody can ever look at again.

use crate::configuration::PlantedBug;
use crate::protocol::Step;
use crate::state::Promise;
use crate::value::{Ballot, Entry, NODES, Slot};

impl Step<'_> {
    /// Replaces the state by the one that stands for it.
    pub(crate) fn make_canonical(&mut self) {
        self.persist_where_nothing_crashes();
        for ballot in self.configuration.ballots() {
            self.report(ballot);
            self.tell_what_is_decided(ballot);
            self.forget_phase_one(ballot);
            self.forget_ballot(ballot);
        }
        self.forget_ballots_of_decided();
    }

    /// A disk that lags matters only if a crash can find it lagging.
    fn persist_where_nothing_crashes(&mut self) {
        for index in 0..NODES {
            if self.state.nodes[index].crashes_left == 0 {
                while !self.state.nodes[index].pending.is_empty() {
                    self.state.nodes[index].persist_one();
                    self.go_on(index);
                }
            }
        }
    }

    fn is_active(&self, ballot: Ballot) -> bool {
        self.state.nodes[self.configuration.owner(ballot)].owning.ballot == ballot
    }

    /// Followers report what is durable; nobody listens once the owner has given the ballot up.
    fn report(&mut self, ballot: Ballot) {
        if !self.is_active(ballot) {
            self.state.reported[ballot] = Default::default();
            return;
        }
        for index in self.configuration.others(ballot) {
            let node = &self.state.nodes[index];
            if node.promised != ballot {
                continue;
            }
            let durable = if self.is_planted(PlantedBug::AcceptedBeforePersisted) {
                node.accepted
            } else if node.durable_promised == ballot {
                node.accepted_durable()
            } else {
                0
            };
            let reported = &mut self.state.reported[ballot][index];
            *reported = durable.max(*reported);
        }
    }

    /// The owner of a ballot asks for promises once its own is durable, and a leader tells how far it has
    /// decided.
    fn tell_what_is_decided(&mut self, ballot: Ballot) {
        if !self.is_active(ballot) {
            return;
        }
        let index = self.configuration.owner(ballot);
        if self.owns_durably(index) {
            self.state.prepared[ballot] = true;
        }
        let owner = &self.state.nodes[index];
        if owner.owning.is_leading {
            self.state.told[ballot] = owner.decided.max(self.state.told[ballot]);
        }
    }

    /// What phase 1 no longer needs: below the floor, or after the owner has given the ballot up.
    fn forget_phase_one(&mut self, ballot: Ballot) {
        if !self.is_active(ballot) {
            self.state.promises[ballot] = Default::default();
            return;
        }
        let in_parts = self.configuration.tells_in_parts();
        let late_decides = self.is_planted(PlantedBug::LatePromiseDecides);
        let reported = &mut self.state.reported[ballot];
        let node = &mut self.state.nodes[self.configuration.owner(ballot)];
        let owning = &mut node.owning;
        let floor = if owning.is_leading { node.accepted } else { node.decided };
        for slot in 1..=floor {
            owning.recovered[slot] = Entry::NONE;
        }
        if owning.is_leading || owning.must_reach <= node.decided {
            owning.must_reach = 0;
        }
        for (index, promise) in self.state.promises[ballot].iter_mut().enumerate() {
            if owning.promised.contains(index) {
                *promise = Promise::default();
                owning.promise_next[index] = 0;
            } else if promise.is_there && !in_parts {
                for slot in 1..=floor {
                    promise.entries[slot] = Entry::NONE;
                }
                reported[index] = promise.decided.max(reported[index]);
                promise.last = 0;
                if promise.decided <= floor && !late_decides {
                    promise.decided = 0;
                }
            }
        }
    }

    /// What was proposed and told in a ballot is of no use to who has promised a higher one for good, or has
    /// decided the slot for good.
    fn forget_ballot(&mut self, ballot: Ballot) {
        if self.is_planted(PlantedBug::AcceptOutdatedBallot) {
            return;
        }
        let state = &mut self.state;
        let others: Vec<_> = self.configuration.others(ballot).collect();
        if others.iter().all(|index| state.nodes[*index].durable_promised >= ballot) {
            state.prepared[ballot] = false;
        }
        let is_past = |state: &crate::state::State, slot: Slot| {
            others.iter().map(|index| &state.nodes[*index]).all(|node| {
                node.durable_promised > ballot || (node.crashes_left == 0 && node.decided >= slot)
            })
        };
        for slot in 1..=self.configuration.slots {
            if is_past(state, slot) {
                state.proposals[ballot][slot] = Default::default();
            }
        }
        if state.told[ballot] > 0 && is_past(state, state.told[ballot]) {
            state.told[ballot] = 0;
        }
    }

    /// In which ballot a decided value was accepted matters only to who may forget that it is decided.
    fn forget_ballots_of_decided(&mut self) {
        let state = &mut self.state;
        let bare = |entry: Entry| Entry::new(0, entry.value());
        for node in state.nodes.iter_mut().filter(|node| node.crashes_left == 0) {
            for slot in 1..=node.decided {
                node.log[slot] = bare(node.log[slot]);
                node.durable_log[slot] = bare(node.durable_log[slot]);
            }
        }
        if state.nodes.iter().any(|node| node.crashes_left > 0) {
            return;
        }
        for slot in 1..=self.configuration.slots {
            let known: Vec<_> = state.known_at(slot).map(bare).collect();
            state.known[slot] = Default::default();
            for entry in known {
                state.note_known(slot, entry);
            }
        }
    }
}
