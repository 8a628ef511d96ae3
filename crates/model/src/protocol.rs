//! What can happen: the actions that are possible in a state, and the state after one of them.

use crate::configuration::{Configuration, PlantedBug};
use crate::properties;
use crate::state::{Node, State};
use crate::value::{Ballot, Entry, NODES, NodeIndex, Slot, Value, Voters};
use stateright::{Model, Property};

/// One thing that can happen. A message that is lost is one whose action is never taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The owner of a ballot begins it: it promises it to itself.
    Begin(Ballot),
    /// A node is asked for its promise, and gives it.
    Promise(NodeIndex, Ballot),
    /// A node whose promise is durable tells what it has accepted.
    Tell(NodeIndex, Ballot),
    /// The owner of a ballot hears what these nodes have told, and goes as far as that lets it.
    Hear(Ballot, Voters),
    /// A leader proposes something of its own.
    Propose(Ballot, Value),
    /// A node accepts the next slot of a ballot.
    Accept(NodeIndex, Ballot),
    /// A node learns how far the leader it follows has decided.
    Learn(NodeIndex),
    /// A node is sent the decided entry of its next slot.
    CatchUp(NodeIndex, Entry),
    /// A leader decides all that a quorum holds.
    Decide(Ballot),
    /// A node's oldest record becomes durable.
    Persist(NodeIndex),
    /// A node loses everything but what is durable, and still knows that this much is decided.
    Crash(NodeIndex, Slot),
}

/// A configuration as something that can be explored.
#[derive(Clone, Debug)]
pub struct Protocol(pub Configuration);

impl Model for Protocol {
    type State = State;
    type Action = Action;

    /// One for each way of sharing the crashes out: a node that will not crash needs no disk that lags.
    fn init_states(&self) -> Vec<State> {
        let crashes = self.0.crashes;
        let mut states = Vec::new();
        for first in 0..=crashes {
            for second in 0..=crashes - first {
                let shares = [first, second, crashes - first - second];
                let nodes = shares.map(|crashes_left| Node { crashes_left, ..Node::default() });
                states.push(State { nodes, changes_left: self.0.changes, ..State::default() });
            }
        }
        states
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for ballot in self.0.ballots() {
            self.actions_of_ballot(state, ballot, actions);
        }
        for node in 0..NODES {
            self.actions_of_node(state, node, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut step = Step { configuration: &self.0, state: *state };
        step.act(action);
        step.make_canonical();
        (step.state != *state).then_some(step.state)
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        properties::of(&self.0)
    }
}

impl Protocol {
    fn actions_of_ballot(&self, state: &State, ballot: Ballot, actions: &mut Vec<Action>) {
        let configuration = &self.0;
        let owner = &state.nodes[configuration.owner(ballot)];
        let (_, voters) = state.membership(configuration.owner(ballot), configuration.founding);
        if ballot > owner.promised && voters.contains(configuration.owner(ballot)) {
            actions.push(Action::Begin(ballot));
        }
        if owner.owning.ballot != ballot {
            return;
        }
        let told = (0..NODES).filter(|node| state.promises[ballot][*node].is_there);
        let told = told.fold(Voters::default(), Voters::with);
        let subsets = (1..1 << NODES).map(Voters).filter(|some| some.and(told) == *some);
        actions.extend(subsets.map(|some| Action::Hear(ballot, some)));
        let step = Step { configuration, state: *state };
        if step.decidable(ballot) > owner.decided {
            actions.push(Action::Decide(ballot));
        }
        step.proposals(ballot, actions);
    }

    fn actions_of_node(&self, state: &State, index: NodeIndex, actions: &mut Vec<Action>) {
        let configuration = &self.0;
        let node = &state.nodes[index];
        let step = Step { configuration, state: *state };
        for ballot in configuration.ballots().filter(|b| configuration.owner(*b) != index) {
            if state.prepared[ballot] && ballot > node.promised {
                actions.push(Action::Promise(index, ballot));
            }
            if step.may_tell(index, ballot) {
                actions.push(Action::Tell(index, ballot));
            }
            if step.may_accept(index, ballot) {
                actions.push(Action::Accept(index, ballot));
            }
        }
        if step.learnable(index) > node.decided {
            actions.push(Action::Learn(index));
        }
        if node.decided < configuration.slots {
            let entries = state.known_at(node.decided + 1);
            actions.extend(entries.map(|entry| Action::CatchUp(index, entry)));
        }
        if !node.pending.is_empty() {
            actions.push(Action::Persist(index));
        }
        if node.crashes_left > 0 {
            let upto = step.decided_durable(index);
            actions.extend((0..=upto).map(|decided| Action::Crash(index, decided)));
        }
    }
}

/// A state that is being changed.
pub(crate) struct Step<'a> {
    pub(crate) configuration: &'a Configuration,
    pub(crate) state: State,
}

impl Step<'_> {
    fn act(&mut self, action: Action) {
        match action {
            Action::Begin(ballot) => self.begin(ballot),
            Action::Promise(node, ballot) => self.promise(node, ballot),
            Action::Tell(node, ballot) => self.tell(node, ballot),
            Action::Hear(ballot, nodes) => self.hear(ballot, nodes),
            Action::Propose(ballot, value) => self.propose(ballot, value),
            Action::Accept(node, ballot) => self.accept_proposal(node, ballot),
            Action::Learn(node) => self.learn(node),
            Action::CatchUp(node, entry) => self.catch_up(node, entry),
            Action::Decide(ballot) => self.decide(ballot),
            Action::Persist(node) => self.persist(node),
            Action::Crash(node, decided) => self.crash(node, decided),
        }
    }

    pub(crate) fn is_planted(&self, bug: PlantedBug) -> bool {
        self.configuration.is_planted(bug)
    }
}
