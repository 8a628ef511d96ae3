//! Indexes: whichever of them a query uses, it answers what reading all documents does, in the same order;
//! and whatever was written while they were made and dropped, their rows are those of the documents.

mod common;

use api::{Document, Error, IndexKey, IndexSpec, Reference, Request, Schema, SearchOptions, Value};
use bson::doc;
use common::snapshot::{import_all, pull};
use common::{Dice, apply_slots, run, schema};
use proptest::prelude::*;
use store::{
    Command, Found, MemoryDisk, MemoryEngine, PageLimits, PageStart, PlantedBug, Reader, Store,
    plant_in_thread, set_first_documents_in_thread,
};

const INDEXED: &str = "indexed";
const PLAIN: &str = "plain";
const PATHS: [&str; 6] = ["a", "b", "c.d", "c.e", "c", "s"];

fn memory() -> Store<MemoryEngine> {
    Store::open(MemoryDisk::new().engine()).expect("opened")
}

fn scalar(dice: &mut Dice) -> Value {
    match dice.below(18) {
        14 => rare(dice),
        0 => Value::Null,
        1 => Value::Double(f64::NAN),
        2 => Value::Double(dice.below(6) as f64 / 2.0),
        3 => Value::Boolean(dice.one_in(2)),
        4 => Value::String(["", "a", "a\u{0}", "ab", "b"][dice.below(5) as usize].to_owned()),
        5 => Value::from(doc! { "d": dice.below(3) as i32 }),
        6 => Value::Int64(dice.below(5) as i64),
        _ => Value::Int32(dice.below(5) as i32),
    }
}

/// Values whose keys lose something, or nearly do.
fn rare(dice: &mut Dice) -> Value {
    let bytes = vec![0, 255, dice.below(2) as u8];
    match dice.below(16) {
        0 => Value::Double(-0.0),
        1 => Value::Double(f64::from_bits(0x7ff8_0000_0000_0001)),
        2 => Value::Double(f64::INFINITY),
        3 => Value::Int64((1 << 53) + dice.below(3) as i64),
        4 => Value::Int64(-(1 << 60) - dice.below(3) as i64),
        5 => Value::Int64([i64::MIN, i64::MAX, 1 << 62][dice.below(3) as usize]),
        6 => Value::Decimal128("1.00".parse().expect("a decimal")),
        7 => Value::Symbol("a".to_owned()),
        8 => Value::DateTime(bson::DateTime::from_millis(dice.below(3) as i64 - 1)),
        9 => Value::Timestamp(bson::Timestamp { time: 1, increment: dice.below(2) as u32 }),
        10 => Value::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes }),
        11 => Value::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::from(200), bytes }),
        12 => Value::ObjectId(bson::oid::ObjectId::from_bytes([dice.below(2) as u8; 12])),
        13 => [Value::MinKey, Value::MaxKey, Value::Undefined][dice.below(3) as usize].clone(),
        14 => Value::Double(1e300),
        _ => Value::String("\u{0}a\u{0}\u{ff}".to_owned()),
    }
}

fn list(dice: &mut Dice) -> Value {
    let element = |dice: &mut Dice| match dice.below(12) {
        0 => Value::Array(vec![scalar(dice)]),
        _ => scalar(dice),
    };
    Value::Array((0..dice.below(4)).map(|_| element(dice)).collect())
}

fn part(dice: &mut Dice, lists: bool) -> Document {
    let mut part = Document::new();
    if !dice.one_in(4) {
        part.insert("d", if lists && dice.one_in(5) { list(dice) } else { scalar(dice) });
    }
    if !dice.one_in(4) {
        part.insert("e", scalar(dice));
    }
    part
}

fn document(dice: &mut Dice, id: i64, lists: bool) -> Document {
    let mut document = doc! { "_id": id };
    for name in ["a", "b"] {
        if !dice.one_in(5) {
            let value = if lists && dice.one_in(5) { list(dice) } else { scalar(dice) };
            document.insert(name, value);
        }
    }
    match dice.below(if lists { 6 } else { 3 }) {
        0 => {}
        1 | 2 => {
            document.insert("c", part(dice, lists));
        }
        3 => {
            document.insert("c", scalar(dice));
        }
        _ => {
            let parts = (0..dice.below(3)).map(|_| match dice.below(6) {
                0 => scalar(dice),
                _ => Value::Document(part(dice, lists)),
            });
            document.insert("c", Value::Array(parts.collect()));
        }
    }
    if dice.one_in(2) {
        document.insert("s", ["on", "off"][dice.below(2) as usize]);
    }
    document
}

fn index(dice: &mut Dice) -> IndexSpec {
    let mut keys: Vec<IndexKey> = Vec::new();
    for _ in 0..1 + dice.below(3) {
        let path = PATHS[dice.below(6) as usize].to_owned();
        if keys.iter().all(|key| key.path != path) {
            keys.push(IndexKey { path, descending: dice.one_in(2) });
        }
    }
    let filter = match dice.below(8) {
        0 => Some(doc! { "s": "on" }),
        1 => Some(doc! { "a": { "$gte": 1 }, "s": { "$exists": true } }),
        _ => None,
    };
    let sparse = filter.is_none() && dice.one_in(4);
    IndexSpec { name: IndexSpec::default_name(&keys), keys, unique: false, sparse, filter }
}

fn test(dice: &mut Dice) -> Value {
    match dice.below(12) {
        0 => Value::from(doc! { "$gt": scalar(dice) }),
        1 => Value::from(doc! { "$gte": scalar(dice), "$lt": scalar(dice) }),
        2 => Value::from(doc! { "$lte": scalar(dice) }),
        3 => Value::from(doc! { "$in": [scalar(dice), scalar(dice), list(dice)] }),
        4 => Value::from(doc! { "$elemMatch": { "$gte": 1, "$lt": scalar(dice) } }),
        5 => Value::from(doc! { "$exists": dice.one_in(3) }),
        6 => list(dice),
        7 => Value::from(doc! { "$ne": scalar(dice) }),
        _ => scalar(dice),
    }
}

fn filter(dice: &mut Dice) -> Document {
    let mut filter = Document::new();
    for _ in 0..dice.below(4) {
        filter.insert(PATHS[dice.below(6) as usize], test(dice));
    }
    if dice.one_in(3) {
        filter.insert("s", "on");
    }
    if dice.one_in(2) {
        let branches: Vec<Document> = (0..1 + dice.below(3)).map(|_| branch(dice, 2)).collect();
        filter.insert("$or", branches);
    }
    match dice.below(10) {
        0 => {
            let branches = vec![branch(dice, 1), branch(dice, 1)];
            filter.insert("$and", vec![doc! { "$or": branches }]);
        }
        1 | 2 => {
            // Two elements of a list may meet them.
            let path = PATHS[dice.below(6) as usize];
            let (from, to) = (dice.below(4) as i32, dice.below(4) as i32);
            let tests = [doc! { path: { "$gte": from } }, doc! { path: { "$lt": to } }];
            filter.insert("$and", tests.to_vec());
        }
        _ => {}
    }
    filter
}

/// A branch of an `$or`: mostly what an index could find, now and then alternatives again.
fn branch(dice: &mut Dice, depth: u32) -> Document {
    let mut branch = Document::new();
    for _ in 0..1 + dice.below(2) {
        let path = ["a", "b", "c.d", "c.e", "c", "s", "_id"][dice.below(7) as usize];
        branch.insert(path, if dice.one_in(2) { scalar(dice) } else { test(dice) });
    }
    if depth > 0 && dice.one_in(5) {
        let inner = vec![self::branch(dice, depth - 1), self::branch(dice, depth - 1)];
        if dice.one_in(2) {
            return doc! { "$or": inner };
        }
        branch.insert("$or", inner);
    }
    branch
}

fn options(dice: &mut Dice) -> SearchOptions {
    let mut options = SearchOptions::default();
    for _ in 0..dice.below(3) {
        let path = ["a", "b", "c.d", "c.e", "s", "_id"][dice.below(6) as usize];
        if options.sort.iter().all(|(other, _)| other != path) {
            options.sort.push((path.to_owned(), if dice.one_in(2) { 1 } else { -1 }));
        }
    }
    if dice.one_in(2) {
        options.limit = Some(dice.below(6));
    }
    options.skip = dice.below(4).saturating_sub(1);
    options.count = dice.one_in(4);
    if dice.one_in(2) {
        options.fields = Some(fields(dice));
    }
    options
}

fn fields(dice: &mut Dice) -> Document {
    let mut fields = Document::new();
    for _ in 0..dice.below(4) {
        let path = ["a", "b", "c.d", "c.e", "s"][dice.below(5) as usize];
        fields.insert(path, 1);
    }
    match dice.below(4) {
        0 if !fields.is_empty() => drop(fields.insert("_id", 0)),
        1 => drop(fields.insert("_id", 1)),
        2 if dice.one_in(4) => fields = doc! { "a": 0, "c.d": 0 },
        _ => {}
    }
    fields
}

/// A query about nothing but fields of an index, and perhaps `_id`.
fn of_index(dice: &mut Dice, index: &IndexSpec) -> (Document, SearchOptions) {
    let mut options = options(dice);
    let (mut filter, mut fields) = (Document::new(), Document::new());
    options.sort.clear();
    for key in &index.keys {
        if !dice.one_in(3) {
            filter.insert(&key.path, test(dice));
        }
        if !dice.one_in(3) {
            fields.insert(&key.path, 1);
        }
        if dice.one_in(3) {
            options.sort.push((key.path.clone(), if dice.one_in(2) { 1 } else { -1 }));
        }
    }
    if fields.is_empty() || dice.one_in(2) {
        fields.insert("_id", i32::from(fields.is_empty() || dice.one_in(4)));
    }
    // Nothing may lead to what is asked for as well.
    if fields.contains_key("c") {
        for path in ["c.d", "c.e"] {
            fields.remove(path);
        }
    }
    options.fields = Some(fields);
    (filter, options)
}

/// An `_id` of some type.
fn id(dice: &mut Dice, number: i64) -> Value {
    match dice.below(6) {
        0 => Value::Int64(number),
        1 => Value::Double(number as f64),
        2 => Value::String(number.to_string()),
        3 if dice.one_in(3) => Value::from(doc! { "n": number }),
        _ => Value::Int32(number as i32),
    }
}

/// The same fields in any order.
fn shuffled(dice: &mut Dice, document: Document) -> Document {
    let mut fields: Vec<(String, Value)> = document.into_iter().collect();
    for place in (1..fields.len()).rev() {
        fields.swap(place, dice.below(place as u64 + 1) as usize);
    }
    fields.into_iter().collect()
}

/// The same documents with indexes and without; some are refused for their lists.
fn twins(dice: &mut Dice) -> (Store<MemoryEngine>, Vec<IndexSpec>) {
    let mut store = memory();
    for name in [INDEXED, PLAIN] {
        let create = Request::Create { collection: name.to_owned(), schema: schema(&[]) };
        run(&mut store, create).expect("created");
    }
    let mut indexes = Vec::new();
    for _ in 0..4 {
        let index = index(dice);
        let create = Request::CreateIndex { collection: INDEXED.to_owned(), index: index.clone() };
        if run(&mut store, create).is_ok() {
            indexes.push(index);
        }
    }
    let lists = dice.one_in(2);
    for number in 0..40 {
        let mut document = document(dice, number, lists);
        document.insert("_id", id(dice, number));
        let document = if dice.one_in(2) { shuffled(dice, document) } else { document };
        if run(&mut store, common::insert(INDEXED, document.clone())).is_ok() {
            run(&mut store, common::insert(PLAIN, document)).expect("inserted");
        }
    }
    // Changes of types, of nothing to null, and of the order of fields.
    for _ in 0..dice.below(6) {
        let filter = doc! { "a": { "$gte": dice.below(3) as i32 } };
        let changes = match dice.below(4) {
            0 => doc! { "$inc": { "a": 0.0 } },
            1 => doc! { "$mul": { "b": 1i64 } },
            2 => doc! { "$rename": { "a": "b" } },
            _ => doc! { "$set": { "a": scalar(dice), "s": Value::Null } },
        };
        if run(&mut store, common::update(INDEXED, filter.clone(), changes.clone())).is_ok() {
            run(&mut store, common::update(PLAIN, filter, changes)).expect("updated");
        }
    }
    (store, indexes)
}

fn search(
    reader: &Reader<MemoryEngine>,
    collection: &str,
    filter: &Document,
    search: &SearchOptions,
) -> Result<Value, Error> {
    let (collection, filter, search) = (collection.to_owned(), filter.clone(), search.clone());
    reader.query(&Request::Search { collection, filter, search }).expect("no trouble")
}

/// BSON bytes, because NaN is not equal to itself.
fn bytes(value: &Value) -> Vec<u8> {
    doc! { "v": value }.to_vec().expect("BSON")
}

/// How often a hint was served, and how often several indexes answered, with their documents in order and not.
#[derive(Default)]
struct Served {
    hints: usize,
    merged: usize,
    united: usize,
    covered: usize,
    /// Of which without a look at any document, though some were found.
    unread: usize,
}

impl Served {
    fn add(&mut self, other: &Served) {
        self.hints += other.hints;
        self.merged += other.merged;
        self.united += other.united;
        self.covered += other.covered;
        self.unread += other.unread;
    }
}

/// The answer in parts, a document or two at a time.
fn in_parts(
    reader: &Reader<MemoryEngine>,
    filter: &Document,
    options: &SearchOptions,
) -> Result<Value, Error> {
    let search = SearchOptions { batch: Some(1), ..options.clone() };
    let request =
        Request::Search { collection: INDEXED.to_owned(), filter: filter.clone(), search };
    let found = reader.query_within(&request, usize::MAX).expect("no trouble")?;
    let Found::Pages(pages) = found else { panic!("pages were asked for") };
    let (mut items, mut start) = (Vec::new(), Some(PageStart::default()));
    while let Some(here) = start {
        let limits = PageLimits { items: 1 + items.len() as u64 % 2, bytes: usize::MAX };
        let page = pages.page(&here, limits).expect("no trouble")?;
        items.extend(page.items);
        start = page.next;
    }
    Ok(Value::Array(items))
}

/// Whether every plan of many queries answers what a scan does.
fn plans_agree(seed: u64, queries: usize) -> Result<Served, String> {
    let mut dice = Dice(seed);
    let (store, indexes) = twins(&mut dice);
    let reader = store.reader();
    let mut served = Served::default();
    for _ in 0..queries {
        let (filter, options) = match indexes.get(dice.below(12) as usize) {
            Some(index) => of_index(&mut dice, index),
            None => (filter(&mut dice), options(&mut dice)),
        };
        let expected = search(&reader, PLAIN, &filter, &options).expect("a valid query");
        let names = indexes.iter().map(|index| Some(Value::from(index.name.clone())));
        for hint in names.chain([None, Some(Value::from("_id_"))]) {
            let options = SearchOptions { hint, ..options.clone() };
            // Refused, where it cannot serve.
            let Ok(answer) = search(&reader, INDEXED, &filter, &options) else { continue };
            served.hints += usize::from(options.hint.is_some());
            let explain = SearchOptions { explain: true, ..options.clone() };
            let plan = search(&reader, INDEXED, &filter, &explain);
            if let Ok(Value::Document(plan)) = &plan
                && !options.count
                && plan.get_bool("covered").expect("said")
            {
                served.covered += 1;
                let number = |name| plan.get_i64(name).expect("a number");
                let is_unread = number("documents_examined") == 0 && number("returned") > 0;
                served.unread += usize::from(is_unread);
            }
            if let Ok(Value::Document(plan)) = &plan
                && plan.get_str("plan").ok() == Some("union")
            {
                let is_merged = plan.get_bool("ordered_by_index").unwrap_or(false);
                served.merged += usize::from(is_merged);
                served.united += usize::from(!is_merged);
            }
            let answer = match options.count {
                false if bytes(&answer) == bytes(&expected) => {
                    in_parts(&reader, &filter, &options).expect("a valid query")
                }
                _ => answer,
            };
            if bytes(&answer) != bytes(&expected) {
                return Err(format!(
                    "seed {seed} filter {filter} options {options:?}\nplan {plan:?}\ngot {answer}\nnot {expected}"
                ));
            }
        }
    }
    store.verify().map_err(|error| error.to_string())?;
    Ok(served)
}

/// More of them with `MONDONGO_INDEX_CASES`.
fn cases(usual: u64) -> u64 {
    std::env::var("MONDONGO_INDEX_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn every_index_answers_what_a_scan_does() {
    let mut served = Served::default();
    for seed in 0..cases(150) {
        served.add(&plans_agree(seed, 25).unwrap_or_else(|difference| panic!("{difference}")));
    }
    let Served { hints, merged, united, covered, unread } = served;
    let enough = hints > 5_000 && merged > 20 && united > 50 && covered > 500 && unread > 100;
    assert!(
        enough || cases(150) < 150,
        "{hints} plans were forced, {merged} unions merged, {united} sorted, {covered} covered, \
         {unread} of them without a document"
    );
}

/// The property above is worth something only if it notices.
#[test]
fn random_queries_notice_planted_bugs() {
    for bug in [
        PlantedBug::MultikeyIntersected,
        PlantedBug::PartialWithoutImplication,
        PlantedBug::UnionCountsTwice,
        PlantedBug::OldFormStays,
    ] {
        plant_in_thread(Some(bug));
        let noticed = (0..300).any(|seed| plans_agree(seed, 25).is_err());
        plant_in_thread(None);
        assert!(noticed, "{bug:?}");
    }
}

/// A log in which indexes come and go while documents are written.
fn workload(seed: u64, length: usize) -> Vec<Option<Vec<u8>>> {
    let mut dice = Dice(seed);
    let log = (1..=length as u64).map(|slot| {
        let request = if slot == 1 {
            let schema = schema(&[("a", true, false), ("u", false, true)]);
            Request::Create { collection: INDEXED.to_owned(), schema }
        } else {
            random_request(&mut dice, slot)
        };
        let reference = Reference::new("c", slot);
        Some(Command { reference, acked: slot, time_ms: 0, request }.encode())
    });
    log.collect()
}

fn random_request(dice: &mut Dice, slot: u64) -> Request {
    let collection = INDEXED.to_owned();
    match dice.below(100) {
        0..38 => {
            let mut document = document(dice, dice.0 as i64 % 60, true);
            if dice.one_in(2) {
                document.insert("u", dice.below(40) as i64);
            }
            common::insert(INDEXED, document)
        }
        38..52 => {
            let filter = doc! { "_id": { "$gt": dice.below(60) as i64 - 30 } };
            let changes = doc! { PATHS[dice.below(2) as usize]: scalar(dice) };
            common::update(INDEXED, filter, changes)
        }
        52..58 => Request::Delete { collection, filter: filter(dice), multi: false },
        58..78 => Request::BuildIndex { documents: 1 + dice.below(5) as u32 },
        78..90 => {
            let unique = dice.one_in(5);
            Request::CreateIndex { collection, index: IndexSpec { unique, ..index(dice) } }
        }
        90..97 => {
            let name = IndexSpec::default_name(&index(dice).keys);
            Request::DropIndex { collection, name }
        }
        97..99 => {
            let fields = [("b", slot.is_multiple_of(2), false)];
            let drop = if slot.is_multiple_of(3) { vec!["b".to_owned()] } else { Vec::new() };
            Request::Alter { collection, add: schema(&fields), drop, check: true }
        }
        _ => match dice.below(4) {
            0 => Request::Destroy { collection },
            _ => Request::Create { collection, schema: Schema::default() },
        },
    }
}

/// The states of all indexes, as `describe` tells them.
fn states(store: &Store<MemoryEngine>) -> Vec<(String, String)> {
    let describe = Request::Describe { collection: Some(INDEXED.to_owned()) };
    let Ok(Value::Document(description)) = store.reader().query(&describe).expect("no trouble")
    else {
        return Vec::new();
    };
    let indexes = description.get_array("indexes").expect("indexes").iter();
    let state = |index: &Value| {
        let index = index.as_document().expect("a document");
        let text = |name: &str| index.get_str(name).expect("a string").to_owned();
        (text("name"), text("state"))
    };
    indexes.map(state).collect()
}

#[test]
fn rows_follow_from_the_log_alone_while_indexes_are_built_and_dropped() {
    set_first_documents_in_thread(3);
    let (mut building, mut failed) = (0, 0);
    for seed in 0..cases(40) {
        let log = workload(seed, 220);
        let (mut single, disk) = (memory(), MemoryDisk::new());
        let mut batched = Store::open(disk.engine()).expect("opened");
        let mut dice = Dice(seed);
        let mut hashes = vec![single.content_hash().expect("hash").1];
        for _ in &log {
            apply_slots(&mut single, &log, 1);
            hashes.push(single.content_hash().expect("hash").1);
            for (_, state) in states(&single) {
                building += usize::from(state == "building");
                failed += usize::from(state == "failed");
            }
            if dice.one_in(20) {
                single.verify().expect("sound");
            }
        }
        while (batched.applied_slot() as usize) < log.len() {
            apply_slots(&mut batched, &log, 1 + dice.below(30) as usize);
            match dice.below(6) {
                0 => batched.persist().expect("persisted"),
                1 => {
                    drop(batched);
                    disk.crash(dice.below(3) as usize);
                    batched = Store::open(disk.engine()).expect("opened");
                }
                2 => {
                    // A build goes on in a store made of a snapshot.
                    let snapshot = batched.reader().snapshot().expect("snapshot");
                    assert!(!pull(&snapshot, 2_000).is_empty());
                    let copy = import_all(&snapshot, MemoryDisk::new().engine(), 2_000);
                    copy.verify().expect("sound");
                    assert_eq!(copy.content_hash(), batched.content_hash());
                }
                _ => {}
            }
            let (slot, hash) = batched.content_hash().expect("hash");
            assert_eq!(hash, hashes[slot as usize], "seed {seed} slot {slot}");
            batched.verify().unwrap_or_else(|error| panic!("seed {seed} slot {slot}: {error}"));
        }
        assert_eq!(states(&single), states(&batched));
    }
    assert!(building > 100 && failed > 0, "{building} building, {failed} failed");
}

fn create_index(keys: &[(&str, bool)], unique: bool) -> Request {
    let key = |(path, descending): &(&str, bool)| IndexKey {
        path: (*path).to_owned(),
        descending: *descending,
    };
    let keys: Vec<IndexKey> = keys.iter().map(key).collect();
    let name = IndexSpec::default_name(&keys);
    let index = IndexSpec { name, keys, unique, sparse: false, filter: None };
    Request::CreateIndex { collection: INDEXED.to_owned(), index }
}

fn collection_of(documents: impl Iterator<Item = Document>) -> Store<MemoryEngine> {
    let mut store = memory();
    let create = Request::Create { collection: INDEXED.to_owned(), schema: Schema::default() };
    run(&mut store, create).expect("created");
    for document in documents {
        run(&mut store, common::insert(INDEXED, document)).expect("inserted");
    }
    store
}

/// Whether an index that is built while documents behind and ahead of the build are written is sound.
fn build_sees_writes(bug: Option<PlantedBug>) -> bool {
    set_first_documents_in_thread(10);
    plant_in_thread(bug);
    let mut store = collection_of((0..30).map(|id| doc! { "_id": id, "a": id }));
    run(&mut store, create_index(&[("a", false)], false)).expect("begun");
    // The first ten are done.
    for id in [2, 25] {
        let change = common::update(INDEXED, doc! { "_id": id }, doc! { "a": 100 + id });
        run(&mut store, change).expect("updated");
    }
    run(&mut store, common::insert(INDEXED, doc! { "_id": -1, "a": 7 })).expect("inserted");
    let delete =
        Request::Delete { collection: INDEXED.to_owned(), filter: doc! { "_id": 4 }, multi: true };
    run(&mut store, delete).expect("deleted");
    while states(&store).iter().any(|(_, state)| state == "building") {
        run(&mut store, Request::BuildIndex { documents: 7 }).expect("a step");
    }
    plant_in_thread(None);
    store.verify().is_ok()
}

#[test]
fn a_build_keeps_up_with_writes_behind_it() {
    assert!(build_sees_writes(None));
    assert!(!build_sees_writes(Some(PlantedBug::BuildForgetsWrites)));
}

/// The `_id`s that a search by one index finds.
fn ids(store: &Store<MemoryEngine>, filter: Document, sort: &[(&str, i8)]) -> Option<Vec<i32>> {
    let sort = sort.iter().map(|(path, direction)| ((*path).to_owned(), *direction)).collect();
    let search = SearchOptions { sort, ..SearchOptions::default() };
    let request = Request::Search { collection: INDEXED.to_owned(), filter, search };
    let Ok(Ok(Value::Array(found))) = store.reader().query(&request) else { return None };
    found.iter().map(|one| one.as_document()?.get_i32("_id").ok()).collect()
}

/// A list meets two tests by two elements.
fn lists_are_found_by_two_elements(bug: Option<PlantedBug>) -> bool {
    plant_in_thread(bug);
    let mut store = collection_of([doc! { "_id": 1, "a": [1, 9] }].into_iter());
    run(&mut store, create_index(&[("a", false)], false)).expect("made");
    let found = ids(&store, doc! { "a": { "$gt": 5, "$lt": 3 } }, &[]);
    plant_in_thread(None);
    found == Some(vec![1])
}

#[test]
fn tests_on_a_field_with_lists_do_not_narrow_one_another() {
    assert!(lists_are_found_by_two_elements(None));
    assert!(!lists_are_found_by_two_elements(Some(PlantedBug::MultikeyIntersected)));
}

fn partial_index_leaves_nothing_out(bug: Option<PlantedBug>) -> bool {
    plant_in_thread(bug);
    let documents = [doc! { "_id": 1, "a": 1, "s": "on" }, doc! { "_id": 2, "a": 1 }];
    let mut store = collection_of(documents.into_iter());
    let Request::CreateIndex { collection, mut index } = create_index(&[("a", false)], false)
    else {
        return false;
    };
    index.filter = Some(doc! { "s": "on" });
    run(&mut store, Request::CreateIndex { collection, index }).expect("made");
    let all = ids(&store, doc! { "a": 1 }, &[]);
    let some = ids(&store, doc! { "a": 1, "s": "on" }, &[]);
    plant_in_thread(None);
    all == Some(vec![1, 2]) && some == Some(vec![1])
}

#[test]
fn a_partial_index_serves_only_queries_that_imply_it() {
    assert!(partial_index_leaves_nothing_out(None));
    assert!(!partial_index_leaves_nothing_out(Some(PlantedBug::PartialWithoutImplication)));
}

fn descending_index_orders(bug: Option<PlantedBug>) -> bool {
    plant_in_thread(bug);
    let texts = ["a", "a\u{0}", "ab", "", "b"];
    let documents = (0..).zip(texts).map(|(id, text)| doc! { "_id": id, "a": text });
    let mut store = collection_of(documents);
    run(&mut store, create_index(&[("a", true)], false)).expect("made");
    let filter = doc! { "a": { "$gte": "" } };
    let found = ids(&store, filter, &[("a", -1)]);
    plant_in_thread(None);
    found == Some(vec![4, 2, 1, 0, 3])
}

#[test]
fn a_descending_index_has_the_opposite_order() {
    assert!(descending_index_orders(None));
    assert!(!descending_index_orders(Some(PlantedBug::DescendingKeyHalfInverted)));
}

/// A document that both branches find, each by its own index, in the order of `_id` and in another.
fn union_counts_once(bug: Option<PlantedBug>) -> bool {
    let documents = [doc! { "_id": 1, "a": 1, "b": 2, "n": 9 }, doc! { "_id": 2, "a": 1, "n": 8 }];
    let mut store = collection_of(documents.into_iter());
    run(&mut store, create_index(&[("a", false)], false)).expect("made");
    run(&mut store, create_index(&[("b", false)], false)).expect("made");
    plant_in_thread(bug);
    let filter = doc! { "$or": [{ "a": 1 }, { "b": 2 }] };
    let merged = ids(&store, filter.clone(), &[]);
    let sorted = ids(&store, filter, &[("n", 1)]);
    plant_in_thread(None);
    merged == Some(vec![1, 2]) && sorted == Some(vec![2, 1])
}

#[test]
fn a_document_that_two_branches_find_comes_once() {
    assert!(union_counts_once(None));
    assert!(!union_counts_once(Some(PlantedBug::UnionCountsTwice)));
}

/// An update that changes a value's type, and nothing that a key tells, is seen in answers from entries.
fn entries_tell_types(bug: Option<PlantedBug>) -> bool {
    let mut store = collection_of([doc! { "_id": 1, "a": 1 }].into_iter());
    run(&mut store, create_index(&[("a", false)], false)).expect("made");
    plant_in_thread(bug);
    run(&mut store, common::update(INDEXED, doc! {}, doc! { "a": 1.0 })).expect("updated");
    plant_in_thread(None);
    let fields = Some(doc! { "a": 1, "_id": 0 });
    let options = SearchOptions { fields, ..SearchOptions::default() };
    let found = search(&store.reader(), INDEXED, &doc! { "a": 1 }, &options).expect("found");
    found == Value::Array(vec![doc! { "a": 1.0 }.into()]) && store.verify().is_ok()
}

#[test]
fn an_entry_tells_the_type_that_its_key_does_not() {
    assert!(entries_tell_types(None));
    assert!(!entries_tell_types(Some(PlantedBug::OldFormStays)));
}

/// Updates of fields that indexes are on and of others, of their order and their absence: the entries are those of
/// the documents afterwards.
fn entries_follow_updates(bug: Option<PlantedBug>) -> bool {
    let documents = [
        doc! { "_id": 1, "a": 1, "b": { "c": 1, "d": 1 }, "n": 1 },
        doc! { "_id": 2, "n": 1 },
        doc! { "_id": 3, "b": { "c": 0.0 }, "a": [1, 2] },
    ];
    let changes = [
        doc! { "$set": { "n": 2 } },
        doc! { "$set": { "b.c": -0.0 } },
        doc! { "$set": { "a": 1 } },
        doc! { "$unset": { "a": 1 } },
        doc! { "$set": { "m": 1, "a": 1 } },
        doc! { "$rename": { "n": "a" } },
        doc! { "$set": { "b.d": 2 } },
        doc! { "$unset": { "b": 1 } },
        doc! { "$set": { "b": { "c": [1, 2] } } },
        doc! { "$set": { "a": 1i64, "n": 3 } },
        doc! { "$set": { "a": 1.0 } },
    ];
    let mut store = collection_of(documents.into_iter());
    for keys in [&[("a", false)][..], &[("a", true), ("b.c", false)], &[("b", false), ("a", false)]]
    {
        run(&mut store, create_index(keys, false)).expect("made");
    }
    let Request::CreateIndex { collection, mut index } = create_index(&[("b.c", false)], false)
    else {
        return false;
    };
    index.filter = Some(doc! { "n": 1 });
    index.name = "partial".into();
    run(&mut store, Request::CreateIndex { collection, index }).expect("made");
    plant_in_thread(bug);
    let mut is_sound = true;
    for change in changes {
        run(&mut store, common::update(INDEXED, doc! {}, change)).expect("updated");
        is_sound &= store.verify().is_ok();
    }
    plant_in_thread(None);
    is_sound
}

#[test]
fn an_update_leaves_only_entries_that_stay_as_they_are() {
    assert!(entries_follow_updates(None));
    assert!(!entries_follow_updates(Some(PlantedBug::AddedFieldsUnnoticed)));
}

/// Two documents of the same value fail the build, which can be seen, dropped and begun anew.
#[test]
fn a_duplicate_found_while_building_fails_the_index_and_nothing_else() {
    set_first_documents_in_thread(5);
    let mut store =
        collection_of((0..20).map(|id| doc! { "_id": id, "a": if id == 17 { 3 } else { id } }));
    run(&mut store, create_index(&[("a", false)], true)).expect("begun");
    for _ in 0..5 {
        run(&mut store, Request::BuildIndex { documents: 7 }).expect("a step");
    }
    assert_eq!(states(&store)[1], ("a_1".to_owned(), "failed".to_owned()));
    store.verify().expect("sound");
    run(&mut store, common::insert(INDEXED, doc! { "_id": 99, "a": 3 })).expect("not kept");
    let drop = Request::DropIndex { collection: INDEXED.to_owned(), name: "a_1".to_owned() };
    run(&mut store, drop).expect("dropped");
    let change = common::update(INDEXED, doc! { "_id": { "$in": [17, 99] } }, doc! { "a": null });
    run(&mut store, change).expect("updated");
    run(&mut store, create_index(&[("a", false)], true)).expect("begun");
    for _ in 0..5 {
        run(&mut store, Request::BuildIndex { documents: 7 }).expect("a step");
    }
    assert_eq!(states(&store)[1], ("a_1".to_owned(), "ready".to_owned()));
    store.verify().expect("sound");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 20, ..Default::default() })]

    #[test]
    fn plans_of_any_seed_agree(seed in any::<u64>()) {
        prop_assert_eq!(plans_agree(seed, 20).map(|_| ()).err(), None);
    }
}
