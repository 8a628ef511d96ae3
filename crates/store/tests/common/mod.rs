//! What the tests share: a store under test and a workload drawn from a seed.
#![allow(dead_code, unreachable_pub)]

pub mod snapshot;

use api::{
    Document, Error, Expectation, FieldSchema, FieldType, Reference, Request, Schema,
    UpdateOptions, Value,
};
use bson::doc;
use store::{Command, Effect, Engine, Entry, MemoryDisk, MemoryEngine, Outcome, Store};

/// A store in memory to which a [`workload`] has been applied.
pub fn store(seed: u64) -> Store<MemoryEngine> {
    let log = workload(seed, 300);
    let mut store = Store::open(MemoryDisk::new().engine()).expect("opened");
    while (store.applied_slot() as usize) < log.len() {
        apply_slots(&mut store, &log, 50);
    }
    store
}

/// Small and repeatable; not for anything but tests (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

pub fn field(name: &str, index: bool, unique: bool) -> FieldSchema {
    FieldSchema { index, unique, ..FieldSchema::new(name, FieldType::Any) }
}

pub fn schema(fields: &[(&str, bool, bool)]) -> Schema {
    let fields = fields.iter().map(|(name, index, unique)| field(name, *index, *unique));
    Schema { fields: fields.collect() }
}

pub fn insert(collection: &str, document: Document) -> Request {
    Request::Insert { collection: collection.to_owned(), documents: vec![document], list: false }
}

pub fn update(collection: &str, filter: Document, changes: Document) -> Request {
    Request::Update {
        collection: collection.to_owned(),
        filter,
        changes,
        options: UpdateOptions::default(),
    }
}

pub fn write(key: &str, value: impl Into<Value>) -> Request {
    Request::Write { key: key.to_owned(), value: value.into() }
}

/// Applies one command under a reference; answers the outcome.
pub fn apply<E: Engine>(store: &mut Store<E>, command: &Command) -> Outcome {
    let slot = store.applied_slot() + 1;
    let bytes = command.encode();
    let mut outcomes =
        store.apply(&[Entry { slot, effect: Effect::Command(&bytes) }]).expect("applied");
    outcomes.remove(0)
}

/// Applies one request under a fresh reference; answers its answer.
pub fn run<E: Engine>(store: &mut Store<E>, request: Request) -> Result<Value, Error> {
    let slot = store.applied_slot() + 1;
    let reference = Reference::new("test", slot);
    let command = Command { reference, acked: slot, time_ms: 0, request };
    apply(store, &command).answer.expect("a command has an answer")
}

/// Applies the commands `from..=to` of a log whose slot 1 is `log[0]`, in one batch.
pub fn apply_slots<E: Engine>(
    store: &mut Store<E>,
    log: &[Option<Vec<u8>>],
    count: usize,
) -> Vec<Outcome> {
    let start = store.applied_slot() as usize;
    let entries: Vec<Entry<'_>> = log[start..]
        .iter()
        .take(count)
        .enumerate()
        .map(|(offset, command)| Entry {
            slot: (start + offset + 1) as u64,
            effect: Effect::from(command.as_deref()),
        })
        .collect();
    store.apply(&entries).expect("applied")
}

/// A log of `length` entries drawn from a seed: everything that the store can do, with retries.
pub fn workload(seed: u64, length: usize) -> Vec<Option<Vec<u8>>> {
    let mut dice = Dice(seed);
    let mut log: Vec<Option<Vec<u8>>> = Vec::with_capacity(length);
    for slot in 1..=length as u64 {
        if dice.one_in(20) {
            log.push(None);
            continue;
        }
        if dice.one_in(10) && !log.is_empty() {
            // A retry of something earlier, perhaps forgotten by now.
            let back = 1 + dice.below(log.len().min(40) as u64) as usize;
            log.push(log[log.len() - back].clone());
            continue;
        }
        let client = format!("client-{}", dice.below(3));
        let reference = Reference::new(client, slot);
        let acked = if dice.one_in(3) { slot.saturating_sub(dice.below(30)) } else { 0 };
        let request = if slot < 4 { create(slot) } else { random_request(&mut dice, slot) };
        log.push(Some(Command { reference, acked, time_ms: slot * 7, request }.encode()));
    }
    log
}

fn create(number: u64) -> Request {
    let schema = match number {
        1 => schema(&[("email", true, true), ("age", true, false)]),
        2 => schema(&[("tags", true, false), ("code", true, true), ("name", false, false)]),
        _ => Schema::default(),
    };
    Request::Create { collection: format!("c{number}"), schema }
}

fn random_request(dice: &mut Dice, slot: u64) -> Request {
    if dice.one_in(15) {
        let requests = (0..1 + dice.below(4)).map(|_| random_member(dice, slot)).collect();
        return Request::Batch { requests };
    }
    random_write(dice, slot)
}

/// A request that may stand in a batch.
pub fn random_member(dice: &mut Dice, slot: u64) -> Request {
    match dice.below(10) {
        0 => Request::Expect(Expectation::Value {
            key: format!("k{}", dice.below(5)),
            value: if dice.one_in(2) { Value::Null } else { random_value(dice) },
        }),
        1 => Request::Expect(Expectation::Count {
            collection: format!("c{}", 1 + dice.below(3)),
            filter: random_filter(dice),
            count: dice.below(3),
        }),
        _ => match random_write(dice, slot) {
            Request::Forget { .. } => write("k0", random_value(dice)),
            request => request,
        },
    }
}

fn random_write(dice: &mut Dice, slot: u64) -> Request {
    let collection = format!("c{}", 1 + dice.below(3));
    match dice.below(100) {
        0 => Request::Destroy { collection },
        1..4 => create(1 + dice.below(3)),
        4..44 => Request::Insert {
            collection,
            documents: (0..1 + dice.below(4)).map(|_| random_document(dice)).collect(),
            list: true,
        },
        44..60 => update_request(dice, collection),
        60..68 => Request::Delete { collection, filter: random_filter(dice), multi: true },
        68..80 => write(&format!("k{}", dice.below(20)), random_value(dice)),
        80..88 => Request::Swap { key: format!("k{}", dice.below(20)), value: random_value(dice) },
        88..94 => Request::Cas {
            key: format!("k{}", dice.below(5)),
            expected: if dice.one_in(2) { Value::Null } else { random_value(dice) },
            value: random_value(dice),
        },
        94..97 => Request::Forget {
            reference: Reference::new(
                format!("client-{}", dice.below(3)),
                slot.saturating_sub(dice.below(20)),
            ),
        },
        _ => update(&collection, Document::new(), doc! { "$inc": { "age": 1 } }),
    }
}

fn update_request(dice: &mut Dice, collection: String) -> Request {
    let changes = match dice.below(6) {
        0 => doc! { "email": random_value(dice) },
        1 => doc! { "$set": { "name.first": random_value(dice), "age": random_value(dice) } },
        2 => doc! { "$unset": { "age": 1, "tags.0": 1 } },
        3 => doc! { "$inc": { "age": dice.below(5) as i32 } },
        4 => doc! { "$push": { "tags": random_value(dice) } },
        _ => doc! { "$pull": { "tags": random_value(dice) } },
    };
    Request::Update {
        collection,
        filter: random_filter(dice),
        changes,
        options: UpdateOptions::default(),
    }
}

pub fn random_document(dice: &mut Dice) -> Document {
    let mut document = doc! { "_id": dice.below(200) as i32 };
    if !dice.one_in(4) {
        document.insert("email", format!("e{}", dice.below(400)));
    }
    if !dice.one_in(4) {
        document.insert("age", random_value(dice));
    }
    if !dice.one_in(3) {
        let tags: Vec<Value> = (0..dice.below(4)).map(|_| random_value(dice)).collect();
        document.insert("tags", tags);
    }
    if dice.one_in(2) {
        document.insert("code", dice.below(1000) as i64);
    }
    if dice.one_in(3) {
        document.insert("name", doc! { "first": random_value(dice), "filler": "x".repeat(100) });
    }
    document
}

pub fn random_value(dice: &mut Dice) -> Value {
    match dice.below(12) {
        0 => Value::Null,
        1 => Value::Boolean(dice.one_in(2)),
        2 => Value::Double(dice.below(6) as f64 / 2.0),
        3 => Value::Double(f64::NAN),
        4 => Value::String(format!("s{}", dice.below(5))),
        5 => Value::from(doc! { "b": dice.below(3) as i32 }),
        6 => Value::Array(vec![Value::Int32(dice.below(3) as i32), Value::Null]),
        7 => Value::Array(Vec::new()),
        8 => Value::Int64(dice.below(6) as i64),
        _ => Value::Int32(dice.below(6) as i32),
    }
}

pub fn random_filter(dice: &mut Dice) -> Document {
    let field = ["_id", "email", "age", "tags", "code", "name.first", "tags.0", "missing"]
        [dice.below(8) as usize];
    let operand = |dice: &mut Dice| match field {
        "_id" => Value::Int32(dice.below(200) as i32),
        "email" => Value::String(format!("e{}", dice.below(400))),
        "code" => Value::Int32(dice.below(1000) as i32),
        _ => random_value(dice),
    };
    let (first, second, third) = (operand(dice), operand(dice), operand(dice));
    match dice.below(12) {
        0 => doc! { field: { "$gt": first } },
        1 => doc! { field: { "$gte": first, "$lt": second } },
        2 => doc! { field: { "$lte": first } },
        3 => doc! { field: { "$in": [first, second, third] } },
        4 => doc! { field: { "$ne": first, "$lt": second } },
        5 => doc! { field: { "$exists": dice.one_in(2) }, "age": second },
        6 => doc! { "$or": [{ field: first }, { "age": { "$gt": 3 } }] },
        7 => doc! { "$and": [{ field: { "$gte": first } }, { "age": { "$lt": 4 } }] },
        8 => doc! { field: { "$not": { "$gt": first } } },
        9 => doc! { field: { "$nin": [first, second] }, "tags": third },
        _ => doc! { field: first },
    }
}
