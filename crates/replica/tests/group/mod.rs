//! A group of replicas whose logs, stores and messages do at once what they are asked to, but for what a script
//! stops.
#![allow(dead_code, reason = "each test file uses a part of it")]

use api::{Call, Error, Options, Request, Value};
use bytes::Bytes;
use paxos::{Ballot, Member, Membership, NodeId, Policy, Role, Slot, Standing};
use replica::{
    Config, Imported, Input, Journal, Output, PeerMessage, Replica, RequestId, decode_peer_message,
    encode_peer_message,
};
use std::collections::{BTreeMap, VecDeque};
use store::engine::MemoryView;
use store::{Cursor, Import, MemoryEngine, Snapshot, Store};
use wal::memory::MemoryDisk;

/// A test fails that waits for longer.
const PATIENCE_TICKS: u32 = 5_000;

/// One node with its machine.
pub(crate) struct Node {
    pub(crate) replica: Replica,
    pub(crate) journal: Journal<MemoryDisk>,
    pub(crate) store: Store<MemoryEngine>,
    /// What was asked for, in order, but for messages.
    pub(crate) seen: Vec<Output>,
    /// Views of the store that others pull.
    pub(crate) views: BTreeMap<Slot, Snapshot<MemoryView>>,
    import: Option<Import<MemoryEngine>>,
    successor: Option<Store<MemoryEngine>>,
    pub(crate) answers: BTreeMap<RequestId, Result<Value, Error>>,
    request_next: u64,
}

/// A message on its way: from, to, what.
pub(crate) type Sent = (NodeId, NodeId, PeerMessage);

/// The group, and what is on its way.
pub(crate) struct Group {
    pub(crate) nodes: Vec<Node>,
    messages: VecDeque<Sent>,
    /// All messages that were handed over.
    pub(crate) delivered: Vec<Sent>,
}

/// The identity of the node at this place.
pub(crate) fn id(index: usize) -> NodeId {
    NodeId(index as u64 + 1)
}

/// Lets every message through.
pub(crate) fn all(_: &Sent) -> bool {
    true
}

/// Nothing from or to this node.
pub(crate) fn without(index: usize) -> impl Fn(&Sent) -> bool {
    move |(from, to, _)| *from != id(index) && *to != id(index)
}

/// What arrives of it: it is written and read as between processes.
fn over_the_wire(message: &PeerMessage) -> PeerMessage {
    let mut bytes = Vec::new();
    encode_peer_message(message, &mut bytes);
    let read = decode_peer_message(Bytes::from(bytes)).expect("what is written can be read");
    assert_eq!(&read, message);
    read
}

impl Group {
    /// A founded group of so many; `set` changes their settings.
    pub(crate) fn new(policy: Policy, nodes: usize, set: impl Fn(&mut Config)) -> Group {
        let member = |index| (id(index), Member::new(format!("node{index}:1"), Standing::Voter));
        Group::of(&Membership::of(policy, (0..nodes).map(member)), set)
    }

    /// The same of these members, all of which are there.
    pub(crate) fn of(membership: &Membership, set: impl Fn(&mut Config)) -> Group {
        let nodes = 0..membership.members.len();
        let nodes = nodes.map(|index| Node::new(membership, index, &set)).collect();
        Group { nodes, messages: VecDeque::new(), delivered: Vec::new() }
    }

    /// Hands an input to a node and carries out what it wants; messages wait.
    pub(crate) fn step(&mut self, index: usize, input: Input) {
        let node = &mut self.nodes[index];
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            node.replica.step(input);
            let mut outputs = Vec::new();
            node.replica.flush(&mut outputs);
            for output in outputs {
                if let Output::Send { to, message } = output {
                    self.messages.push_back((id(index), to, message));
                } else {
                    node.seen.push(output.clone());
                    node.carry_out(output, &mut inputs);
                }
            }
        }
    }

    /// Delivers what `passes` lets through, and drops the rest, until nothing is on its way.
    pub(crate) fn deliver(&mut self, mut passes: impl FnMut(&Sent) -> bool) {
        while let Some(sent) = self.messages.pop_front() {
            let index = (sent.1.0 - 1) as usize;
            if index < self.nodes.len() && passes(&sent) {
                self.delivered.push(sent.clone());
                let (from, _, message) = sent;
                let message = over_the_wire(&message);
                self.step(index, Input::Peer { from, message });
            }
        }
    }

    /// One tick of everybody, and what follows.
    pub(crate) fn tick(&mut self, mut passes: impl FnMut(&Sent) -> bool) {
        for index in 0..self.nodes.len() {
            self.step(index, Input::Tick);
            self.deliver(&mut passes);
        }
    }

    /// Ticks until it is so.
    pub(crate) fn until(
        &mut self,
        what: &str,
        mut passes: impl FnMut(&Sent) -> bool,
        mut is_so: impl FnMut(&Group) -> bool,
    ) {
        for _ in 0..PATIENCE_TICKS {
            if is_so(self) {
                return;
            }
            self.tick(&mut passes);
        }
        panic!("it never came about: {what}");
    }

    /// Who leads, once somebody does and has decided something of its own.
    pub(crate) fn elect(&mut self) -> usize {
        self.until("a leader", all, |group| group.leader().is_some());
        self.leader().unwrap_or_default()
    }

    fn leader(&self) -> Option<usize> {
        let settled = |node: &Node| {
            let core = node.replica.core();
            core.role() == Role::Leader && core.status().is_settled
        };
        self.nodes.iter().position(settled)
    }

    /// Asks a node; the answer is in its `answers`.
    pub(crate) fn ask(&mut self, index: usize, request: Request, timeout_ms: u64) -> RequestId {
        let node = &mut self.nodes[index];
        node.request_next += 1;
        let request_id = RequestId(node.request_next);
        let options = Options { timeout_ms: Some(timeout_ms), ..Options::default() };
        let call = Call { request, options };
        self.step(index, Input::Request { id: request_id, call, now_ms: 0 });
        request_id
    }

    /// Writes key `n` at a node, which must be answered.
    pub(crate) fn write(&mut self, index: usize, n: usize, passes: impl Fn(&Sent) -> bool) {
        let request = self.ask(index, write(n), 60_000);
        self.until("a write", passes, |group| group.nodes[index].answers.contains_key(&request));
        let answer = &self.nodes[index].answers[&request];
        assert!(answer.is_ok(), "{answer:?}");
    }

    /// How many messages of this kind `to` was given.
    pub(crate) fn count(&self, to: usize, kind: &str) -> usize {
        let is_one = |(_, receiver, message): &&Sent| *receiver == id(to) && message.kind() == kind;
        self.delivered.iter().filter(is_one).count()
    }
}

/// A write of about 200 bytes.
pub(crate) fn write(n: usize) -> Request {
    Request::Write { key: format!("key-{n}"), value: Value::String("x".repeat(200)) }
}

impl Node {
    fn new(membership: &Membership, index: usize, set: impl Fn(&mut Config)) -> Node {
        let options = wal::Options { segment_bytes: 8_192, ..wal::Options::default() };
        let opened = Journal::open(MemoryDisk::new(), options).expect("an empty folder");
        let (mut journal, mut recovered, _) = opened;
        let ballot = Ballot { round: 1, node: id(0) };
        journal.found(ballot, membership.clone()).expect("room");
        (recovered.promised, recovered.decided, recovered.last) = (ballot, Slot(1), Slot(1));
        let mut store = Store::open(store::MemoryDisk::new().engine()).expect("an empty store");
        let started = replica::start(&journal, &recovered, &mut store).expect("both are whole");
        let core = paxos::Config::new(id(index));
        let address = format!("node{index}:1");
        let mut config = Config::new(core, index as u64 + 1, format!("session-{index}"), address);
        set(&mut config);
        Node {
            replica: Replica::new(config, started.durable, journal.log().bytes_on_disk()),
            journal,
            store,
            seen: Vec::new(),
            views: BTreeMap::new(),
            import: None,
            successor: None,
            answers: BTreeMap::new(),
            request_next: 0,
        }
    }

    fn carry_out(&mut self, output: Output, inputs: &mut VecDeque<Input>) {
        match output {
            Output::Persist { id, records } => {
                self.journal.append(&records).expect("room");
                self.journal.flush().expect("a healthy disk");
                inputs.push_back(Input::Persisted(id));
            }
            Output::Apply { entries } => {
                let batch: Vec<store::Entry<'_>> =
                    entries.iter().map(|(slot, effect)| effect.entry(*slot)).collect();
                let outcomes = self.store.apply(&batch).expect("a healthy store");
                let through = Slot(self.store.applied_slot());
                inputs.push_back(Input::Applied { through, outcomes });
                inputs.push_back(Input::Stored(through));
            }
            Output::Cut { upto } => self.journal.cut(upto).expect("a healthy disk"),
            Output::Query { id, request } => {
                let answer = self.store.reader().query(&request).expect("a healthy store");
                self.answers.insert(id, answer);
            }
            Output::Reply { id, answer } => {
                self.answers.insert(id, answer);
            }
            Output::Fetch { to, from, upto, bytes_max } => {
                let entries = self.journal.entries(from, upto, bytes_max).unwrap_or_default();
                inputs.push_back(Input::Fetched { to, first: from, entries });
            }
            Output::ReadSnapshot { to, slot, cursor, bytes_max } => {
                inputs.push_back(self.read_snapshot(to, slot, &cursor, bytes_max));
            }
            Output::DropSnapshot { slot } => {
                self.views.remove(&slot);
            }
            Output::BeginImport => {
                self.import =
                    Some(Import::begin(store::MemoryDisk::new().engine()).expect("an empty store"));
            }
            Output::Import { chunk } => inputs.extend(self.import(&chunk)),
            Output::FinishImport => {
                let Some(import) = self.import.take() else { return };
                let store = import.finish().expect("it is complete");
                let group = store.group().map(|(slot, bytes)| (Slot(slot), bytes));
                let slot = Slot(store.applied_slot());
                self.successor = Some(store);
                inputs.push_back(Input::ImportFinished { slot, group });
            }
            Output::SwitchStore { slot } => {
                self.store = self.successor.take().expect("it was imported");
                inputs.extend([Input::Switched(slot), Input::Stored(slot)]);
            }
            _ => {}
        }
    }

    fn read_snapshot(&mut self, to: NodeId, slot: Slot, cursor: &Bytes, bytes_max: usize) -> Input {
        let (slot, cursor) = match Cursor::decode(cursor) {
            Ok(cursor) if self.views.contains_key(&slot) => (slot, cursor),
            _ => {
                let view = self.store.reader().snapshot().expect("a healthy store");
                let slot = Slot(view.slot());
                self.views.insert(slot, view);
                (slot, Cursor::start())
            }
        };
        let chunk = self.views[&slot].chunk(&cursor, bytes_max).expect("a healthy store");
        Input::SnapshotRead { to, slot, chunk }
    }

    fn import(&mut self, chunk: &Bytes) -> Option<Input> {
        let imported = match self.import.as_mut()?.add(chunk) {
            Ok(progress) => Imported::Chunk {
                slot: Slot(progress.slot.unwrap_or_default()),
                cursor: Bytes::from(progress.cursor.encode()),
                is_complete: progress.is_complete,
            },
            Err(_) => Imported::Misfit,
        };
        Some(Input::Imported(imported))
    }
}
