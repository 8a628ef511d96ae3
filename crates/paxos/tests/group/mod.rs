//! A group of cores in one process: messages and disks move only when a test says so.

#![allow(dead_code, reason = "each test file uses a part of it")]

mod disk;
pub(crate) mod world;

use bytes::Bytes;
use disk::{Disk, message_through_bytes, through_bytes};
use paxos::{
    Ballot, Change, ChangeId, Config, Entry, Input, Member, Membership, Message, NodeId, Output,
    Paxos, Payload, PlantedBug, Policy, ProposalId, ReadId, Record, Refusal, Slot, Standing,
};
use std::collections::{BTreeMap, VecDeque};

/// One core with its disk.
pub(crate) struct Node {
    pub(crate) core: Paxos,
    pub(crate) config: Config,
    pub(crate) disk: Disk,
    pub(crate) is_down: bool,
    lives: u64,
    /// Up to where the store is, with the membership as of then.
    pub(crate) applied: Slot,
    pub(crate) applied_membership: (Slot, Membership),
    /// What was handed out, in order.
    pub(crate) delivered: Vec<(Slot, Payload)>,
    pub(crate) ready: Vec<(ReadId, Slot)>,
    pub(crate) refused: Vec<ProposalId>,
    pub(crate) changes_refused: Vec<Refusal>,
    /// Whom it was told to get a snapshot from.
    pub(crate) snapshot_needed: Option<NodeId>,
    pub(crate) installed: Vec<Slot>,
    /// Whether the group went on without it, and whether for good.
    pub(crate) not_member: Option<bool>,
    pub(crate) diverged: Option<Slot>,
    pub(crate) overwritten: Vec<(Slot, Entry)>,
    pub(crate) unsupported: Option<u32>,
}

/// The group.
pub(crate) struct Group {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    /// Messages under way, oldest first.
    pub(crate) wire: VecDeque<(NodeId, NodeId, Message)>,
    /// Whether disks are instant.
    pub(crate) instant_disks: bool,
    /// What was handed out anywhere, and whether two nodes ever differed.
    pub(crate) values: BTreeMap<Slot, Payload>,
    pub(crate) is_split: bool,
    pub(crate) founding: Membership,
}

pub(crate) fn id(n: u64) -> NodeId {
    NodeId(n)
}

pub(crate) fn command(text: &str) -> Payload {
    Payload::Command(Bytes::copy_from_slice(text.as_bytes()))
}

impl Group {
    /// `voters` founders with ids 1, 2, … that know each other.
    pub(crate) fn new(voters: u64, planted: Option<PlantedBug>) -> Group {
        Group::with(voters, |config| config.planted = planted)
    }

    pub(crate) fn with(voters: u64, adjust: impl Fn(&mut Config)) -> Group {
        Group::under(Policy::Paxos, voters, adjust)
    }

    pub(crate) fn under(policy: Policy, voters: u64, adjust: impl Fn(&mut Config)) -> Group {
        let member = |n| (id(n), Member::new(format!("node{n}:1"), Standing::Voter));
        let founding = Membership::of(policy, (1..=voters).map(member));
        let mut group = Group {
            nodes: BTreeMap::new(),
            wire: VecDeque::new(),
            instant_disks: true,
            values: BTreeMap::new(),
            is_split: false,
            founding: founding.clone(),
        };
        for n in 1..=voters {
            group.add(n, &adjust, true);
        }
        group
    }

    /// Adds a node; one that is no founder knows nothing.
    pub(crate) fn add(&mut self, n: u64, adjust: impl Fn(&mut Config), is_founder: bool) {
        let mut config = Config::new(id(n));
        config.promote_lag_slots = 2;
        adjust(&mut config);
        let ballot = Ballot { round: 1, node: id(1) };
        let entry = Entry { ballot, payload: Payload::Membership(self.founding.clone()) };
        let mut disk = Disk::default();
        if is_founder {
            disk.records = vec![
                Record::Promise(ballot),
                Record::Accept(Slot(1), entry),
                Record::Decided(Slot(1)),
            ];
        }
        let durable = disk.durable();
        let (applied, applied_membership) = (durable.decided, durable.membership.clone());
        let core = Paxos::recover(config.clone(), n, durable);
        let node = Node {
            core,
            config,
            disk,
            is_down: false,
            lives: 0,
            applied,
            applied_membership,
            delivered: Vec::new(),
            ready: Vec::new(),
            refused: Vec::new(),
            changes_refused: Vec::new(),
            snapshot_needed: None,
            installed: Vec::new(),
            not_member: None,
            diverged: None,
            overwritten: Vec::new(),
            unsupported: None,
        };
        self.nodes.insert(id(n), node);
    }

    pub(crate) fn node(&self, n: u64) -> &Node {
        &self.nodes[&id(n)]
    }

    pub(crate) fn node_mut(&mut self, n: u64) -> &mut Node {
        self.nodes.get_mut(&id(n)).expect("it is there")
    }

    pub(crate) fn step(&mut self, n: u64, input: Input) {
        let Some(node) = self.nodes.get_mut(&id(n)) else { return };
        if node.is_down {
            return;
        }
        node.core.step(input);
        let mut outputs = Vec::new();
        node.core.flush(&mut outputs);
        let mut fetches = Vec::new();
        for output in outputs {
            match output {
                Output::Persist { id, records } => {
                    let records = records.iter().map(through_bytes).collect();
                    node.disk.writing.push((id, records));
                }
                Output::Send { to, message } => {
                    self.wire.push_back((id(n), to, message_through_bytes(&message)));
                }
                Output::Decided { slot, payload } => {
                    node.applied = slot;
                    if let Payload::Membership(membership) = &payload {
                        node.applied_membership = (slot, membership.clone());
                    }
                    let known = self.values.entry(slot).or_insert_with(|| payload.clone());
                    self.is_split |= *known != payload;
                    node.delivered.push((slot, payload));
                }
                Output::Refused { id, .. } => node.refused.push(id),
                Output::ChangeRefused { reason, .. } => node.changes_refused.push(reason),
                Output::NeedSnapshot { from } => node.snapshot_needed = Some(from),
                Output::Installed { slot } => {
                    node.applied = slot;
                    node.applied_membership = node.disk.durable().membership;
                    node.installed.push(slot);
                }
                Output::NotMember { removed } => node.not_member = Some(removed),
                Output::Unsupported { level } => node.unsupported = Some(level),
                Output::Overwritten { slot, entry } => node.overwritten.push((slot, entry)),
                Output::Diverged { from } => node.diverged = Some(from),
                Output::ReadReady { id, slot } => node.ready.push((id, slot)),
                Output::Fetch { to, from, upto, .. } => fetches.push((to, from, upto)),
            }
        }
        let fetched: Vec<Input> = fetches
            .into_iter()
            .map(|(to, from, upto)| {
                let entries = node.disk.entries(from, upto.min(Slot(from.0 + 2)));
                Input::Fetched { to, first: from, entries }
            })
            .collect();
        for input in fetched {
            self.step(n, input);
        }
        if self.instant_disks {
            self.persist(n);
        }
    }

    /// Makes durable what `n` has written.
    pub(crate) fn persist(&mut self, n: u64) {
        self.persist_some(n, usize::MAX);
    }

    /// Makes the first `count` batches of `n` durable.
    pub(crate) fn persist_some(&mut self, n: u64, count: usize) {
        let Some(node) = self.nodes.get_mut(&id(n)) else { return };
        if let Some(last) = node.disk.sync(count) {
            self.step(n, Input::Persisted(last));
        }
    }

    /// Ends the process; of what was not durable, `kept` records are.
    pub(crate) fn crash(&mut self, n: u64, kept: usize) {
        let Some(node) = self.nodes.get_mut(&id(n)) else { return };
        node.disk.crash(kept);
        node.is_down = true;
        // The passive policy counts on connections that end with the process (`docs/design/passive.md`).
        if self.founding.policy == Policy::Passive {
            self.wire.retain(|(_, to, _)| *to != id(n));
        }
    }

    /// Ends the process, if it still runs, and starts it again with what is durable.
    pub(crate) fn restart(&mut self, n: u64) {
        let Some(node) = self.nodes.get_mut(&id(n)) else { return };
        node.disk.crash(0);
        node.lives += 1;
        let durable = node.disk.durable();
        (node.applied, node.applied_membership) = (durable.decided, durable.membership.clone());
        node.core = Paxos::recover(node.config.clone(), n + 77 * node.lives, durable);
        (node.is_down, node.snapshot_needed) = (false, None);
    }

    /// Cuts the log of `n` behind `slot`, or behind what is durable and handed out.
    pub(crate) fn compact(&mut self, n: u64, slot: Slot) {
        let Some(node) = self.nodes.get_mut(&id(n)) else { return };
        if node.is_down {
            return;
        }
        let slot = slot.min(node.applied);
        // Its store is durable up to there, so the log need not say that the slots are decided.
        let decided = node.core.status().decided;
        node.disk.records.push(Record::Decided(slot.min(decided)));
        node.disk.compact(slot);
        self.step(n, Input::Compacted(slot));
    }

    /// Brings `n` the snapshot of `from`.
    pub(crate) fn give_snapshot(&mut self, from: u64, n: u64) {
        let source = self.node(from);
        let (slot, membership) = (source.applied, source.applied_membership.clone());
        self.node_mut(n).snapshot_needed = None;
        self.step(n, Input::Installed { slot, membership });
    }

    pub(crate) fn tick(&mut self, n: u64) {
        self.step(n, Input::Tick);
    }

    /// Ticks `n` alone until it has canvassed.
    pub(crate) fn tick_until_canvass(&mut self, n: u64) {
        for _ in 0..100 {
            self.tick(n);
            let canvasses = |(from, _, m): &(NodeId, NodeId, Message)| {
                *from == id(n) && matches!(m, Message::Canvass { .. })
            };
            if self.wire.iter().any(canvasses) {
                return;
            }
        }
        panic!("node {n} does not canvass");
    }

    /// Delivers every message that `passes` lets through, and all that follow from them; others are
    /// lost.
    pub(crate) fn deliver(&mut self, passes: impl Fn(NodeId, NodeId, &Message) -> bool) {
        while let Some((from, to, message)) = self.wire.pop_front() {
            if passes(from, to, &message) {
                self.step(to.0, Input::Message { from, message });
            }
        }
    }

    pub(crate) fn deliver_all(&mut self) {
        self.deliver(|_, _, _| true);
    }

    /// `n` ticks of everybody, with all messages that `passes` lets through.
    pub(crate) fn run(&mut self, ticks: usize, passes: impl Fn(NodeId, NodeId, &Message) -> bool) {
        let all: Vec<u64> = self.nodes.keys().map(|id| id.0).collect();
        for _ in 0..ticks {
            for n in &all {
                self.tick(*n);
            }
            self.deliver(&passes);
        }
    }

    pub(crate) fn run_all(&mut self, ticks: usize) {
        self.run(ticks, |_, _, _| true);
    }

    /// Makes `n` leader of all who hear it.
    pub(crate) fn elect(&mut self, n: u64) {
        for _ in 0..20 {
            // The others have not heard a leader for long enough to grant.
            let all: Vec<u64> = self.nodes.keys().map(|id| id.0).collect();
            for other in all.iter().filter(|other| **other != n) {
                for _ in 0..20 {
                    let before = self.wire.len();
                    self.tick(*other);
                    self.wire.truncate(before);
                }
            }
            self.wire.clear();
            self.tick_until_canvass(n);
            self.deliver_all();
            if self.is_leader(n) {
                return;
            }
        }
        panic!("node {n} does not lead");
    }

    pub(crate) fn is_leader(&self, n: u64) -> bool {
        self.node(n).core.leader() == Some(id(n))
    }

    pub(crate) fn leaders(&self) -> Vec<u64> {
        self.nodes
            .keys()
            .map(|id| id.0)
            .filter(|n| !self.node(*n).is_down && self.is_leader(*n))
            .collect()
    }

    pub(crate) fn propose(&mut self, n: u64, number: u64, text: &str) {
        let command = Bytes::copy_from_slice(text.as_bytes());
        self.step(n, Input::Propose { id: ProposalId(number), command });
    }

    pub(crate) fn read(&mut self, n: u64, number: u64) {
        self.step(n, Input::Read(ReadId(number)));
    }

    pub(crate) fn join(&mut self, leader: u64, n: u64) {
        self.change(leader, Change::Join { node: id(n), address: format!("node{n}:1") });
    }

    /// Asks `n` for a change, as somebody who wants to know of a refusal.
    pub(crate) fn change(&mut self, n: u64, change: Change) {
        self.step(n, Input::Change { id: ChangeId(1), change });
    }

    pub(crate) fn decided(&self, n: u64) -> Slot {
        self.node(n).core.status().decided
    }

    /// The commands that `n` has handed out.
    pub(crate) fn commands(&self, n: u64) -> Vec<String> {
        let text = |payload: &Payload| match payload {
            Payload::Command(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        };
        self.node(n).delivered.iter().filter_map(|(_, payload)| text(payload)).collect()
    }

    /// Whether no two nodes hold different values as decided in a slot.
    pub(crate) fn agrees(&self) -> bool {
        let mut values: BTreeMap<Slot, Payload> = BTreeMap::new();
        !self.is_split
            && self.nodes.values().flat_map(|node| &node.delivered).all(|(slot, payload)| {
                values.entry(*slot).or_insert_with(|| payload.clone()) == payload
            })
    }
}
