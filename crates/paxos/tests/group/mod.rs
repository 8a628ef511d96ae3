//! A group of cores in one process: messages and disks move only when a test says so.

use bytes::Bytes;
use paxos::{
    Ballot, Base, Change, ChangeId, Config, Durable, Entry, Input, Member, Membership, Message,
    NodeId, Output, Paxos, Payload, PersistId, PlantedBug, Policy, ProposalId, ReadId, Record,
    Refusal, Slot, Standing,
};
use std::collections::{BTreeMap, VecDeque};

/// One core with its disk.
pub(crate) struct Node {
    pub(crate) core: Paxos,
    config: Config,
    /// Records that are durable.
    disk: Vec<Record>,
    /// Records that are not.
    writing: Vec<(PersistId, Vec<Record>)>,
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
        let disk = if is_founder {
            vec![Record::Promise(ballot), Record::Accept(Slot(1), entry), Record::Decided(Slot(1))]
        } else {
            Vec::new()
        };
        let core = Paxos::recover(config.clone(), n, durable(&disk));
        let node = Node {
            core,
            config,
            disk,
            writing: Vec::new(),
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

    pub(crate) fn step(&mut self, n: u64, input: Input) {
        let Some(node) = self.nodes.get_mut(&id(n)) else { return };
        node.core.step(input);
        let mut outputs = Vec::new();
        node.core.flush(&mut outputs);
        let mut fetches = Vec::new();
        for output in outputs {
            match output {
                Output::Persist { id, records } => node.writing.push((id, records)),
                Output::Send { to, message } => self.wire.push_back((id(n), to, message)),
                Output::Decided { slot, payload } => node.delivered.push((slot, payload)),
                Output::Refused { id, .. } => node.refused.push(id),
                Output::ChangeRefused { reason, .. } => node.changes_refused.push(reason),
                Output::NeedSnapshot { from } => node.snapshot_needed = Some(from),
                Output::Installed { slot } => node.installed.push(slot),
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
                let entries = (from.0..=upto.0.min(from.0 + 2))
                    .map(|slot| latest(&node.disk, Slot(slot)).expect("decided is durable"))
                    .collect();
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
        let Some(node) = self.nodes.get_mut(&id(n)) else { return };
        let Some((last, _)) = node.writing.last() else { return };
        let last = *last;
        let writing = std::mem::take(&mut node.writing);
        node.disk.extend(writing.into_iter().flat_map(|(_, records)| records));
        self.step(n, Input::Persisted(last));
    }

    /// Ends the process and starts it again with what is durable.
    pub(crate) fn restart(&mut self, n: u64) {
        let Some(node) = self.nodes.get_mut(&id(n)) else { return };
        node.writing.clear();
        node.core = Paxos::recover(node.config.clone(), n + 77, durable(&node.disk));
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
        self.nodes.keys().map(|id| id.0).filter(|n| self.is_leader(*n)).collect()
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
        self.nodes.values().flat_map(|node| &node.delivered).all(|(slot, payload)| {
            values.entry(*slot).or_insert_with(|| payload.clone()) == payload
        })
    }
}

fn latest(disk: &[Record], slot: Slot) -> Option<Entry> {
    disk.iter().rev().find_map(|record| match record {
        Record::Accept(found, entry) if *found == slot => Some(entry.clone()),
        _ => None,
    })
}

fn durable(disk: &[Record]) -> Durable {
    let mut durable = Durable::default();
    for record in disk {
        match record {
            Record::Promise(ballot) => durable.promised = durable.promised.max(*ballot),
            Record::Decided(slot) => durable.decided = durable.decided.max(*slot),
            Record::Accept(..) => {}
            Record::Base(Base { slot, promised, membership }) => {
                durable.promised = durable.promised.max(*promised);
                durable.decided = durable.decided.max(*slot);
                durable.floor = *slot;
                durable.membership = membership.clone();
            }
        }
    }
    let mut slot = durable.floor.next();
    while let Some(entry) = latest(disk, slot) {
        if slot > durable.decided {
            durable.entries.push(entry);
        } else if let Payload::Membership(membership) = entry.payload {
            durable.membership = (slot, membership);
        }
        slot = slot.next();
    }
    durable
}
