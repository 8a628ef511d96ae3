//! One simulated client: one operation under way, retried anywhere under one reference.

use crate::checker::{Action, Operation};
use crate::plan::Plan;
use api::{Call, Document, IndexKey, IndexSpec, Options, Reference, Request, UpdateOptions, Value};
use fastrand::Rng;
use std::collections::BTreeMap;

/// Most operations that a client begins once the faults have ended. Without trouble nothing new happens, and the time
/// that more of them took is better spent on other worlds.
const LAST_OPERATIONS: u64 = 3;

/// The collection that clients insert into.
pub(crate) const COLLECTION: &str = "things";

/// The index that clients make and drop.
const INDEX: &str = "by-m";

/// What a client is doing.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) number: u64,
    pub(crate) call: Call,
    pub(crate) key: usize,
    pub(crate) start_us: u64,
    pub(crate) attempt: u64,
}

impl Current {
    /// The value that it is to write.
    pub(crate) fn value(&self) -> Option<&str> {
        match single(&self.call.request) {
            Request::Write { value, .. }
            | Request::Swap { value, .. }
            | Request::Cas { value, .. } => value.as_str(),
            _ => None,
        }
    }
}

/// What an answer means for the checkers.
pub(crate) enum Meaning {
    /// For the histories of these keys.
    Keys(Vec<(usize, Operation)>),
    /// Documents of these identities were inserted.
    Inserted(Vec<String>),
    /// Nothing to check.
    Nothing,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) current: Option<Current>,
    /// The node it asked last.
    pub(crate) home: Option<usize>,
    done: u64,
    /// How many operations it has in all.
    operations: u64,
    last_seen: BTreeMap<usize, Value>,
}

impl Client {
    pub(crate) fn new(index: usize, plan: &Plan) -> Client {
        let operations = plan.operations as u64;
        Client { index, current: None, home: None, done: 0, operations, last_seen: BTreeMap::new() }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.current.is_none() && self.done >= self.operations
    }

    /// The faults have ended: a few operations more show whether the group still works.
    pub(crate) fn wind_up(&mut self) {
        self.operations = self.operations.min(self.done + LAST_OPERATIONS);
    }

    /// Begins the next operation.
    pub(crate) fn begin(&mut self, plan: &Plan, rng: &mut Rng, now_us: u64) -> &Current {
        self.done += 1;
        let number = self.done;
        let key = rng.usize(..plan.keys);
        let name = format!("key-{key}");
        let value = Value::String(format!("v{}-{number}", self.index));
        let request = match rng.u8(..10) {
            _ if self.index == 0 && number == 1 => {
                Request::Create { collection: COLLECTION.to_owned(), schema: schema() }
            }
            3..=8 if plan.has_batches && key < 2 => pair(&value),
            3..=5 | 9 if plan.has_indexes => self.document_request(number),
            0..=2 => Request::Read { key: name, empty_if_absent: false },
            3..=5 => Request::Write { key: name, value },
            6 | 7 => Request::Swap { key: name, value },
            8 => {
                let expected = self.last_seen.get(&key).cloned().unwrap_or(Value::Null);
                Request::Cas { key: name, expected, value }
            }
            _ => self.insert(number, 1),
        };
        let mut options = Options { timeout_ms: Some(rng.u64(100..2_000)), ..Options::default() };
        if request.is_write() {
            options.reference = Some(Reference::new(format!("client-{}", self.index), number));
            options.acked = (rng.f64() < plan.piggyback).then_some(number);
        }
        let call = Call { request, options };
        self.current.insert(Current { number, call, key, start_us: now_us, attempt: 0 })
    }

    /// In worlds with indexes: they come and go over documents that are added and changed, of which there are more at
    /// once than one step of a build takes.
    fn document_request(&self, number: u64) -> Request {
        let collection = COLLECTION.to_owned();
        let name = INDEX.to_owned();
        match (self.index as u64 + number) % 6 {
            _ if self.index == 0 && number <= 3 => {
                self.insert(number, store::BUILD_STEP_DOCUMENTS * 2 / 3)
            }
            0 | 1 => {
                let keys = vec![IndexKey { path: "m".to_owned(), descending: true }];
                let index = IndexSpec { name, keys, unique: false, sparse: false, filter: None };
                Request::CreateIndex { collection, index }
            }
            2 => Request::DropIndex { collection, name },
            3 => self.insert(number, 3),
            _ => {
                let number = i64::try_from(number).unwrap_or(0);
                let filter = document([("n", (number / 2).into())]);
                let changes = document([("m", number.into())]);
                let options = UpdateOptions::default();
                Request::Update { collection, filter, changes, options }
            }
        }
    }

    /// So many documents of this operation's own, which has one insert at most.
    fn insert(&self, number: u64, count: usize) -> Request {
        let number_value = i64::try_from(number).unwrap_or(0);
        let one = |place: usize| {
            let id = match place {
                0 => format!("v{}-{number}", self.index),
                _ => format!("v{}-{number}-{place}", self.index),
            };
            let number = Value::Int64(number_value);
            document([("_id", Value::String(id)), ("n", number.clone()), ("m", number)])
        };
        let documents = (0..count).map(one).collect();
        Request::Insert { collection: COLLECTION.to_owned(), documents, list: count > 1 }
    }

    /// Ends the operation with its answer.
    ///
    /// # Errors
    /// If no correct store answers so.
    pub(crate) fn finish(&mut self, answer: &Value, now_us: u64) -> Result<Meaning, String> {
        let Some(current) = self.current.take() else { return Ok(Meaning::Nothing) };
        if let Request::Batch { requests } = &current.call.request {
            return self.finish_pair(requests, answer, &current, now_us);
        }
        let action = match current.call.request {
            Request::Read { .. } => Action::Read(answer.clone()),
            Request::Write { value, .. } => Action::Write(value),
            Request::Swap { value, .. } => Action::Swap(answer.clone(), value),
            Request::Cas { expected, value, .. } => cas_action(expected, value, answer)?,
            Request::Insert { documents, .. } => {
                let ids = documents.iter().filter_map(|document| document.get_str("_id").ok());
                return Ok(Meaning::Inserted(ids.map(str::to_owned).collect()));
            }
            _ => return Ok(Meaning::Nothing),
        };
        let seen = match &action {
            Action::Read(value) | Action::Write(value) | Action::Swap(_, value) => value.clone(),
        };
        self.last_seen.insert(current.key, seen);
        let (client, start_us) = (self.index, current.start_us);
        let operation = Operation { client, start_us, end_us: now_us, action };
        Ok(Meaning::Keys(vec![(current.key, operation)]))
    }

    /// Two keys that are always written together always hold the same.
    fn finish_pair(
        &mut self,
        requests: &[Request],
        answer: &Value,
        current: &Current,
        now_us: u64,
    ) -> Result<Meaning, String> {
        let before = match answer.as_array().map(Vec::as_slice) {
            Some([first, second]) if first == second => first,
            _ => return Err(format!("a batch over two keys found {answer:?} in them")),
        };
        let mut operations = Vec::new();
        for (key, request) in requests.iter().enumerate() {
            let Request::Swap { value, .. } = request else { continue };
            self.last_seen.insert(key, value.clone());
            let action = Action::Swap(before.clone(), value.clone());
            let (client, start_us) = (self.index, current.start_us);
            operations.push((key, Operation { client, start_us, end_us: now_us, action }));
        }
        Ok(Meaning::Keys(operations))
    }
}

/// What a write may have done that got no answer by the end of the run.
pub(crate) fn unanswered(client: usize, current: Current) -> Vec<(usize, Operation)> {
    let start_us = current.start_us;
    let operation = |action| Operation { client, start_us, end_us: u64::MAX, action };
    let action = match current.call.request {
        Request::Write { value, .. } | Request::Swap { value, .. } => Action::Write(value),
        Request::Cas { expected, value, .. } => Action::Swap(expected, value),
        Request::Batch { requests } => {
            let values =
                requests.into_iter().enumerate().filter_map(|(key, request)| match request {
                    Request::Swap { value, .. } => Some((key, operation(Action::Write(value)))),
                    _ => None,
                });
            return values.collect();
        }
        _ => return Vec::new(),
    };
    vec![(current.key, operation(action))]
}

/// The first two keys get this value, both or neither.
fn pair(value: &Value) -> Request {
    let swap = |key| Request::Swap { key: format!("key-{key}"), value: value.clone() };
    Request::Batch { requests: (0..2).map(swap).collect() }
}

/// The first request of a batch, or the request.
pub(crate) fn single(request: &Request) -> &Request {
    match request {
        Request::Batch { requests } => requests.first().unwrap_or(request),
        request => request,
    }
}

fn cas_action(expected: Value, value: Value, answer: &Value) -> Result<Action, String> {
    let document = answer.as_document().ok_or_else(|| format!("cas answered {answer:?}"))?;
    if document.get_bool("swapped").unwrap_or(false) {
        return Ok(Action::Swap(expected, value));
    }
    let current = document.get("current").cloned().unwrap_or(Value::Null);
    if current == expected {
        return Err(format!("cas was refused although the value is {current:?}, as expected"));
    }
    Ok(Action::Read(current))
}

fn document<const N: usize>(fields: [(&str, Value); N]) -> Document {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn schema() -> api::Schema {
    let field = api::FieldSchema {
        name: "n".to_owned(),
        kind: api::FieldType::Int,
        index: true,
        unique: false,
        required: false,
        default: None,
    };
    api::Schema { fields: vec![field] }
}
