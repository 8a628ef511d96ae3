//! Fixed work on one thread, for counting what it costs: `counts WORKLOAD OPERATIONS`.
//!
//! `cargo xtask counts` runs it under valgrind. The same arguments do the same work, whatever the machine: no
//! clock, no lots, no files. A workload may print counts of its own, one `name number` in a line.

use api::{
    Document, FieldSchema, FieldType, Reference, Request, Schema, SearchOptions, UpdateOptions,
    Value, json, parse,
};
use bson::doc;
use bytes::Bytes;
use paxos::{
    Ballot, Config, Durable, Input, Member, Membership, Message, NodeId, Output, Paxos, Policy,
    ProposalId, Slot, Standing, codec,
};
use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use store::{Command, Effect, Entry, Found, MemoryDisk, MemoryEngine, Store};

/// Commands that are applied together, as many as some dozen clients have under way.
const BATCH: usize = 16;

/// Documents that there are where some are changed or looked for.
const DOCUMENTS: u64 = 2_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let workload = arguments.next().ok_or("which workload?")?;
    let operations: u64 = arguments.next().ok_or("how many operations?")?.parse()?;
    match workload.as_str() {
        "store-put" => Loaded::new()?.apply_all(operations, put),
        "store-insert" => Loaded::new()?.apply_all(operations, insert),
        "store-update" => Loaded::with_documents()?.apply_all(operations, update),
        "store-find" => Loaded::with_documents()?.query_all(operations, find, 1),
        "store-range" => Loaded::with_documents()?.query_all(operations, range, 10),
        "paxos-propose" => Group::elected()?.propose(operations),
        "log-append" => append(operations),
        "request-put" => requests(operations),
        "filter" => filter(operations),
        other => Err(format!("there is no workload {other}").into()),
    }
}

/// Different for different numbers, in no order.
fn scatter(number: u64) -> u64 {
    let product = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 29)
}

fn email(number: u64) -> String {
    format!("user-{number:09}@example.org")
}

fn put(number: u64) -> Request {
    let key = format!("key-{:09}", scatter(number) % 10_000);
    Request::Write { key, value: Value::String("v".repeat(256)) }
}

fn insert(number: u64) -> Request {
    let documents = vec![document(number)];
    Request::Insert { collection: "people".into(), documents, list: false }
}

fn document(number: u64) -> Document {
    let mut document = Document::new();
    document.insert("_id", format!("{:016x}", scatter(number)));
    document.insert("email", email(number));
    document.insert("age", (number % 80) as i64);
    document.insert("about", "x".repeat(140));
    document
}

/// One field of one document, found by an indexed field, gets another value.
fn update(number: u64) -> Request {
    let changes = doc! { "$set": { "score": number as i64 } };
    let options = UpdateOptions { multi: true, ..UpdateOptions::default() };
    Request::Update { collection: "people".into(), filter: by_email(number), changes, options }
}

fn find(number: u64) -> Request {
    let search = SearchOptions::default();
    Request::Search { collection: "people".into(), filter: by_email(number), search }
}

fn by_email(number: u64) -> Document {
    doc! { "email": email(scatter(number) % DOCUMENTS) }
}

/// The first ten of a range of an indexed field, in its order.
fn range(number: u64) -> Request {
    let low = (scatter(number) % 75) as i64;
    let filter = doc! { "age": { "$gte": low, "$lte": low + 5 } };
    let search = SearchOptions {
        sort: vec![("age".into(), 1)],
        limit: Some(10),
        ..SearchOptions::default()
    };
    Request::Search { collection: "people".into(), filter, search }
}

/// A store in memory with a collection of two indexes.
struct Loaded {
    store: Store<MemoryEngine>,
}

impl Loaded {
    fn new() -> Result<Loaded, Failure> {
        let mut loaded = Loaded { store: Store::open(MemoryDisk::new().engine())? };
        let field = |name: &str, kind| FieldSchema {
            name: name.into(),
            kind,
            index: true,
            unique: false,
            required: false,
            default: None,
        };
        let fields = vec![field("email", FieldType::Str), field("age", FieldType::Int)];
        loaded.apply_all(1, |_| Request::Create {
            collection: "people".into(),
            schema: Schema { fields: fields.clone() },
        })?;
        Ok(loaded)
    }

    fn with_documents() -> Result<Loaded, Failure> {
        let mut loaded = Loaded::new()?;
        loaded.apply_all(DOCUMENTS, |number| {
            let mut document = document(number);
            document.insert("score", 0i64);
            let documents = vec![document];
            Request::Insert { collection: "people".into(), documents, list: false }
        })?;
        Ok(loaded)
    }

    /// Commands encoded, decoded and applied, as entries of a log are.
    fn apply_all(
        &mut self,
        operations: u64,
        request: impl Fn(u64) -> Request,
    ) -> Result<(), Failure> {
        let command = |slot: u64, request: Request| {
            let reference = Reference::new("7f1e8a52-0c3b-4d5e-9f60-718293a4b5c6", slot);
            Command { reference, acked: slot.saturating_sub(64), time_ms: slot, request }.encode()
        };
        let mut numbers = 0..operations;
        loop {
            let first = self.store.applied_slot() + 1;
            let batch: Vec<Vec<u8>> = (numbers.by_ref().take(BATCH).zip(first..))
                .map(|(number, slot)| command(slot, request(number)))
                .collect();
            if batch.is_empty() {
                return Ok(());
            }
            let entries: Vec<Entry<'_>> = (first..)
                .zip(&batch)
                .map(|(slot, command)| Entry { slot, effect: Effect::Command(command) })
                .collect();
            let outcomes = self.store.apply(&entries)?;
            if !outcomes.iter().all(|outcome| matches!(outcome.answer, Some(Ok(_)))) {
                return Err(format!("refused: {outcomes:?}").into());
            }
        }
    }

    /// Searches that each find so many documents, with the text of the answers.
    fn query_all(
        &mut self,
        operations: u64,
        request: impl Fn(u64) -> Request,
        documents: usize,
    ) -> Result<(), Failure> {
        let reader = self.store.reader();
        let mut out = Vec::new();
        for number in 0..operations {
            let answer = reader.query_within(&request(number), 16 << 20)??;
            let Found::Whole(Value::Array(found)) = answer else { return Err("no list".into()) };
            if found.len() != documents {
                return Err(format!("{} documents, not {documents}", found.len()).into());
            }
            out.clear();
            json::write_reply(&Ok(Value::Array(found)), usize::MAX, &mut out)?;
            black_box(&out);
        }
        Ok(())
    }
}

/// Records of the size that a put has, ten to a flush.
fn append(operations: u64) -> Result<(), Failure> {
    let options = wal::Options { log_id: Some(wal::LogId([1; 16])), ..wal::Options::default() };
    let (mut log, _) = wal::Log::open(wal::memory::MemoryDisk::new(), options, |_, _| Ok(()))?;
    let record = vec![b'r'; 400];
    for number in 1..=operations {
        log.append(black_box(&record))?;
        if number % 10 == 0 {
            log.flush()?;
        }
    }
    log.flush()?;
    Ok(())
}

/// A request from bytes, and its answer to bytes.
fn requests(operations: u64) -> Result<(), Failure> {
    let value = "v".repeat(256);
    let (mut bytes, mut out) = (0, Vec::new());
    for number in 0..operations {
        let text = format!(
            r#"["write","key-{number:09}","{value}",{{"ref":"7f1e8a52-0c3b-4d5e-9f60-718293a4b5c6:{number}","acked":{number},"timeout_ms":1800}}]"#
        );
        let call = parse::parse_call(black_box(text.as_bytes()))?;
        let Request::Write { value, .. } = call.request else { return Err("no write".into()) };
        out.clear();
        json::write_reply(&Ok(value), usize::MAX, &mut out)?;
        bytes += black_box(&out).len();
    }
    if bytes as u64 != operations * 265 {
        return Err(format!("answers of {bytes} bytes").into());
    }
    Ok(())
}

/// A prepared filter and a document that it finds, one that it does not.
fn filter(operations: u64) -> Result<(), Failure> {
    let text =
        br#"{"age":{"$gte":10,"$lt":70},"$or":[{"email":{"$regex":"^user-0"}},{"about":null}]}"#;
    let filter = query::Filter::parse(&json::parse_document(text)?)?;
    let documents = [document(30), document(5)];
    let mut found = 0;
    for number in 0..operations {
        found += u64::from(black_box(&filter).matches(&documents[(number % 2) as usize]));
    }
    if found == operations.div_ceil(2) { Ok(()) } else { Err(format!("{found} were found").into()) }
}

/// Three cores whose disks and network are instant. Messages go through bytes.
struct Group {
    cores: BTreeMap<NodeId, Paxos>,
    wire: VecDeque<(NodeId, NodeId, Vec<u8>)>,
    decided: u64,
    messages: u64,
    bytes: u64,
    records: u64,
    record_bytes: u64,
}

impl Group {
    fn elected() -> Result<Group, Failure> {
        let member = |n: u64| (NodeId(n), Member::new(format!("node{n}:1"), Standing::Voter));
        let membership = Membership::of(Policy::Paxos, (1..=3).map(member));
        let core = |n: u64| {
            let durable = Durable {
                promised: Ballot { round: 1, node: NodeId(1) },
                decided: Slot(1),
                floor: Slot(1),
                membership: (Slot(1), membership.clone()),
                entries: Vec::new(),
            };
            (NodeId(n), Paxos::recover(Config::new(NodeId(n)), n, durable))
        };
        let mut group = Group {
            cores: (1..=3).map(core).collect(),
            wire: VecDeque::new(),
            decided: 0,
            messages: 0,
            bytes: 0,
            records: 0,
            record_bytes: 0,
        };
        for _ in 0..1_000 {
            for node in 1..=3 {
                group.step(NodeId(node), Input::Tick)?;
                group.deliver()?;
            }
            if group.leader().is_some() {
                return Ok(group);
            }
        }
        Err("nobody leads".into())
    }

    fn leader(&self) -> Option<NodeId> {
        self.cores.iter().find(|(id, core)| core.leader() == Some(**id)).map(|(id, _)| *id)
    }

    fn propose(mut self, operations: u64) -> Result<(), Failure> {
        let leader = self.leader().ok_or("nobody leads")?;
        let command = Bytes::from(vec![b'c'; 350]);
        (self.decided, self.messages, self.bytes) = (0, 0, 0);
        (self.records, self.record_bytes) = (0, 0);
        for number in 0..operations {
            let id = ProposalId(number);
            self.step(leader, Input::Propose { id, command: command.clone() })?;
            self.deliver()?;
        }
        // The followers hear of the last ones by heartbeats.
        for _ in 0..20 {
            for node in 1..=3 {
                self.step(NodeId(node), Input::Tick)?;
            }
            self.deliver()?;
        }
        if self.decided != 3 * operations {
            return Err(format!("{} were handed out", self.decided).into());
        }
        println!("messages {}\nbytes {}", self.messages, self.bytes);
        println!("records {}\nrecord-bytes {}", self.records, self.record_bytes);
        Ok(())
    }

    fn deliver(&mut self) -> Result<(), Failure> {
        while let Some((from, to, bytes)) = self.wire.pop_front() {
            let message: Message =
                codec::decode_message(bytes.into()).map_err(|error| format!("{error:?}"))?;
            self.step(to, Input::Message { from, message })?;
        }
        Ok(())
    }

    fn step(&mut self, node: NodeId, input: Input) -> Result<(), Failure> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let core = self.cores.get_mut(&node).ok_or("there is no such core")?;
            core.step(input);
            let mut outputs = Vec::new();
            core.flush(&mut outputs);
            for output in outputs {
                match output {
                    Output::Persist { id, records } => {
                        for record in &records {
                            let mut bytes = Vec::new();
                            codec::encode_record(record, &mut bytes);
                            self.records += 1;
                            self.record_bytes += bytes.len() as u64;
                        }
                        inputs.push_back(Input::Persisted(id));
                    }
                    Output::Send { to, message } => {
                        let mut bytes = Vec::new();
                        codec::encode_message(&message, &mut bytes);
                        self.messages += 1;
                        self.bytes += bytes.len() as u64;
                        self.wire.push_back((node, to, bytes));
                    }
                    Output::Decided { payload: paxos::Payload::Command(_), .. } => {
                        self.decided += 1;
                    }
                    Output::Decided { .. } => {}
                    other => return Err(format!("nobody expects {other:?}").into()),
                }
            }
        }
        Ok(())
    }
}
