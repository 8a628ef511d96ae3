//! Golden scripts: commands in, answers out (`tests/scripts/*.txt`).
//!
//! A line is a comment (`#`), a request (a JSON list as clients send it), or one of:
//! `@client:sequence [acked=N] [request]` a write under that reference, `skip` an entry without
//! command, `batch` … `end` several writes in one engine batch, `persist`, `crash N` a restart that
//! loses the last N batches, `references COUNT` the bound of the reference table, `slot`, `verify`.
//! Answers stand below, indented. `UPDATE_EXPECT=1` writes them anew.

mod common;

use api::{
    Document, Error, FieldSchema, FieldType, Reference, Request, Schema, SearchOptions, Value,
};
use std::fmt::Write as _;
use std::path::Path;
use store::{Command, Effect, Entry, MemoryDisk, MemoryEngine, Outcome, Store, validate};

struct Runner {
    disk: MemoryDisk,
    store: Store<MemoryEngine>,
    /// Commands of the batch under way.
    batch: Option<Vec<Option<Vec<u8>>>>,
    output: String,
}

impl Runner {
    fn new() -> Runner {
        let disk = MemoryDisk::new();
        let store = Store::open(disk.engine()).expect("opened");
        Runner { disk, store, batch: None, output: String::new() }
    }

    fn line(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "batch" => self.batch = Some(Vec::new()),
            "end" => {
                let batch = self.batch.take().expect("end of a batch");
                self.apply(&batch);
            }
            "skip" => self.submit(None),
            "persist" => self.store.persist().expect("persisted"),
            "crash" => {
                self.disk.crash(rest.parse().expect("a number"));
                self.store = Store::open(self.disk.engine()).expect("opened");
                self.say(&format!("slot {}", self.store.applied_slot()));
            }
            "references" => {
                self.store.set_reference_limits(rest.parse().expect("a number"), u64::MAX);
            }
            "slot" => self.say(&format!("slot {}", self.store.applied_slot())),
            // `fill COLLECTION FROM TO {fields}`: documents with these `_id`s, `n` the same and `m` its half.
            "fill" => self.fill(rest),
            "verify" => {
                self.store.verify().expect("sound");
                self.say("sound");
            }
            _ if word.starts_with('@') => {
                let reference = Reference::parse(&word[1..]).expect("a reference");
                let (acked, request) = match rest.strip_prefix("acked=") {
                    Some(rest) => rest.split_once(' ').expect("a request"),
                    None => ("0", rest),
                };
                self.request(request, Some(reference), acked.parse().expect("a number"));
            }
            _ => self.request(line, None, 0),
        }
    }

    fn fill(&mut self, rest: &str) {
        let parts: Vec<&str> = rest.splitn(3, ' ').collect();
        let number = |part: usize| parts[part].parse::<i64>().expect("a number");
        let documents = (number(1)..=number(2))
            .map(|id| bson::doc! { "_id": id, "n": id, "m": id / 2 })
            .collect();
        let collection = parts[0].to_owned();
        let request = Request::Insert { collection, documents, list: true };
        let slot = self.store.applied_slot() + 1;
        let reference = Reference::new(format!("slot{slot}"), 0);
        let command = Command { reference, acked: 0, time_ms: 0, request }.encode();
        let entry = Entry { slot, effect: Effect::Command(&command) };
        let outcomes = self.store.apply(&[entry]).expect("applied");
        assert!(matches!(outcomes[0].answer, Some(Ok(_))), "{outcomes:?}");
    }

    fn request(&mut self, text: &str, reference: Option<Reference>, acked: u64) {
        let request = parse(text);
        if let Err(error) = validate(&request) {
            return self.say_answer(&Err(error));
        }
        if !request.is_write() {
            let answer = self.store.reader().query(&request).expect("no trouble");
            return self.say_answer(&answer);
        }
        let under_way = self.batch.as_ref().map_or(0, Vec::len) as u64;
        let slot = self.store.applied_slot() + under_way + 1;
        let reference = reference.unwrap_or_else(|| Reference::new(format!("slot{slot}"), 0));
        self.submit(Some(Command { reference, acked, time_ms: 0, request }.encode()));
    }

    fn submit(&mut self, command: Option<Vec<u8>>) {
        match &mut self.batch {
            Some(batch) => batch.push(command),
            None => self.apply(&[command]),
        }
    }

    fn apply(&mut self, commands: &[Option<Vec<u8>>]) {
        let entries: Vec<Entry<'_>> = commands
            .iter()
            .zip(self.store.applied_slot() + 1..)
            .map(|(command, slot)| Entry { slot, effect: Effect::from(command.as_deref()) })
            .collect();
        for Outcome { slot, answer, repeated, .. } in self.store.apply(&entries).expect("applied") {
            match answer {
                None => self.say(&format!("slot {slot}")),
                Some(answer) if repeated => {
                    self.say("repeated:");
                    self.say_answer(&answer);
                }
                Some(answer) => self.say_answer(&answer),
            }
        }
    }

    fn say_answer(&mut self, answer: &Result<Value, Error>) {
        match answer {
            Ok(Value::Array(elements)) if !elements.is_empty() => {
                for element in elements {
                    self.say(&format!("- {}", json(element)));
                }
            }
            Ok(value) => self.say(&json(value)),
            Err(error) => self.say(&format!("ko {error}")),
        }
    }

    fn say(&mut self, text: &str) {
        writeln!(self.output, "    {text}").expect("written");
    }
}

fn json(value: &Value) -> String {
    value.clone().into_relaxed_extjson().to_string()
}

fn value(json: serde_json::Value) -> Value {
    Value::try_from(json).expect("extended JSON")
}

fn document(json: serde_json::Value) -> Document {
    match value(json) {
        Value::Document(document) => document,
        other => panic!("{other} is no document"),
    }
}

fn parse(text: &str) -> Request {
    let parts: Vec<serde_json::Value> =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let string = |index: usize| parts[index].as_str().expect("a string").to_owned();
    let part = |index: usize| parts[index].clone();
    match parts[0].as_str().expect("an operation") {
        "create" => Request::Create { collection: string(1), schema: parse_schema(&part(2)) },
        "destroy" => Request::Destroy { collection: string(1) },
        "describe" => Request::Describe { collection: (parts.len() > 1).then(|| string(1)) },
        "insert" => {
            let list = parts[2].is_array();
            let documents = match part(2) {
                serde_json::Value::Array(documents) => {
                    documents.into_iter().map(document).collect()
                }
                one => vec![document(one)],
            };
            Request::Insert { collection: string(1), documents, list }
        }
        "search" => {
            let search = parts.get(3).map_or_else(SearchOptions::default, parse_options);
            Request::Search { collection: string(1), filter: document(part(2)), search }
        }
        "update" | "replace" | "modify" | "delete" | "count" | "distinct" | "aggregate" => {
            let list = Value::Array(parts.into_iter().map(value).collect());
            let mut request = api::parse::call_from_value(list).expect("a request").request;
            request.draw_ids(&mut || Value::String("drawn".to_owned()));
            request
        }
        "read" => Request::Read { key: string(1), empty_if_absent: parts.len() > 2 },
        "write" => Request::Write { key: string(1), value: value(part(2)) },
        "swap" => Request::Swap { key: string(1), value: value(part(2)) },
        "cas" => Request::Cas { key: string(1), expected: value(part(2)), value: value(part(3)) },
        "forget" => Request::Forget { reference: Reference::parse(&string(1)).expect("one") },
        // One more step of a build; the leader proposes it, clients cannot.
        "build" => Request::BuildIndex { documents: parts[1].as_u64().expect("a number") as u32 },
        _ => {
            api::parse::parse_call(text.as_bytes())
                .unwrap_or_else(|e| panic!("{text}: {e}"))
                .request
        }
    }
}

/// `{"*email!": "str"}`: `*` indexed, `*…!` unique, `…?` required is `+`.
fn parse_schema(json: &serde_json::Value) -> Schema {
    let fields = json.as_object().expect("a schema").iter().map(|(name, kind)| FieldSchema {
        name: name.trim_start_matches(['*', '!', '+']).to_owned(),
        kind: FieldType::parse(kind.as_str().expect("a type")).expect("a known type"),
        index: name.contains('*'),
        unique: name.contains('!'),
        required: name.contains('+'),
        default: None,
    });
    Schema { fields: fields.collect() }
}

fn parse_options(json: &serde_json::Value) -> SearchOptions {
    let mut options = SearchOptions::default();
    for (name, value) in json.as_object().expect("options") {
        match name.as_str() {
            "sort" => {
                let keys = value.as_object().expect("a sort").iter();
                let key = |(path, direction): (&String, &serde_json::Value)| {
                    (path.clone(), direction.as_i64().expect("1 or -1") as i8)
                };
                options.sort = keys.map(key).collect();
            }
            "limit" => options.limit = value.as_u64(),
            "skip" => options.skip = value.as_u64().expect("a number"),
            "fields" => options.fields = Some(document(value.clone())),
            "count" => options.count = true,
            "explain" => options.explain = true,
            "hint" => options.hint = Some(self::value(value.clone())),
            other => panic!("unknown option {other}"),
        }
    }
    options
}

/// Runs a script and answers it with the answers it gets now.
fn replay(script: &str) -> String {
    let mut runner = Runner::new();
    for line in script.lines().filter(|line| !line.starts_with("    ")) {
        writeln!(runner.output, "{line}").expect("written");
        if !line.is_empty() && !line.starts_with('#') {
            runner.line(line);
        }
    }
    runner.store.verify().expect("sound at the end");
    runner.output
}

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("scripts")
        .map(|entry| entry.expect("one").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let script = std::fs::read_to_string(&path).expect("read");
        let replayed = replay(&script);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, replayed).expect("written");
            continue;
        }
        for (number, (expected, got)) in script.lines().zip(replayed.lines()).enumerate() {
            assert_eq!(expected, got, "{} line {}", path.display(), number + 1);
        }
        assert_eq!(script, replayed, "{}", path.display());
    }
}
