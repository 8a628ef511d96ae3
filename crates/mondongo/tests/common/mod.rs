//! A node for tests of the prompt: the real gateway in front of a few lines of memory.

use api::{Call, Document, Error, ErrorCode, FaultSwitch, Request, Schema, Value, parse};
use gateway::{Reply, Service, Settings, native};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The `_id`s of the seed's session, in its order; then numbers.
const SEED_IDS: [&str; 2] =
    ["2dc694b9-ead6-4805-9cfb-14fb00c47f1a", "a2d3ae6c-44af-4fb5-8197-3a3f590ed8b1"];

#[derive(Clone, Default)]
struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    collections: BTreeMap<String, (Schema, Vec<Document>)>,
    keys: BTreeMap<String, Value>,
}

/// Starts a node; returns its address. It lives as long as the test's process.
pub(crate) fn start_node() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || serve(listener));
    address
}

fn serve(listener: std::net::TcpListener) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        listener.set_nonblocking(true).expect("nonblocking");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let next = AtomicU64::new(0);
        let ids: gateway::IdSource = Arc::new(move || {
            let number = next.fetch_add(1, Ordering::Relaxed) as usize;
            SEED_IDS.get(number).map_or_else(|| format!("id-{number}"), |id| (*id).to_string())
        });
        let settings = Arc::new(Settings { ids, ..Settings::default() });
        let memory = Memory::default();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(native::serve(stream, b"", memory.clone(), Arc::clone(&settings)));
        }
    });
}

impl Service for Memory {
    fn start(&self, call: Call, reply: Reply) {
        reply.send(self.state.lock().expect("lock").answer(call.request));
    }
}

impl State {
    fn answer(&mut self, request: Request) -> Result<Value, Error> {
        Ok(match request {
            Request::Create { collection, schema } => {
                if self.collections.contains_key(&collection) {
                    return Err(Error::new(ErrorCode::CollectionExists, collection));
                }
                self.collections.insert(collection, (schema, Vec::new()));
                Value::Null
            }
            Request::Destroy { collection } => {
                self.collection(&collection)?;
                self.collections.remove(&collection);
                Value::Null
            }
            Request::Describe { collection: None } => {
                let all = self.collections.iter();
                Value::Document(all.map(|(name, held)| (name.clone(), description(held))).collect())
            }
            Request::Describe { collection: Some(name) } => description(self.collection(&name)?),
            Request::Insert { collection, documents, list } => {
                let ids: Vec<Value> =
                    documents.iter().map(|d| d.get("_id").expect("an _id").clone()).collect();
                self.collection(&collection)?.1.extend(documents);
                if list { Value::Array(ids) } else { ids[0].clone() }
            }
            Request::Search { collection, filter, .. } => {
                let documents = &self.collection(&collection)?.1;
                let found = documents.iter().filter(|document| matches(document, &filter));
                Value::Array(found.cloned().map(Value::Document).collect())
            }
            Request::Update { collection, filter, changes, .. } => {
                let documents = &mut self.collection(&collection)?.1;
                let mut count = 0;
                for document in documents.iter_mut().filter(|document| matches(document, &filter)) {
                    document.extend(changes.clone());
                    count += 1;
                }
                Value::Int64(count)
            }
            Request::Delete { collection, filter, .. } => {
                let documents = &mut self.collection(&collection)?.1;
                let before = documents.len();
                documents.retain(|document| !matches(document, &filter));
                Value::Int64((before - documents.len()) as i64)
            }
            Request::Read { key, .. } => self.keys.get(&key).cloned().unwrap_or(Value::Null),
            Request::Write { key, value } => {
                self.keys.insert(key, value.clone());
                value
            }
            Request::Swap { key, value } => self.keys.insert(key, value).unwrap_or(Value::Null),
            Request::Cas { key, expected, value } => {
                let current = self.keys.get(&key).cloned().unwrap_or(Value::Null);
                let swapped = current == expected;
                let mut answer = Document::from_iter([("swapped".to_string(), swapped.into())]);
                if swapped {
                    self.keys.insert(key, value);
                } else {
                    answer.insert("current", current);
                }
                Value::Document(answer)
            }
            request if request.name() == "status" => Value::Document(Document::from_iter([
                ("role".to_string(), "leader".into()),
                ("applied".to_string(), 7i64.into()),
            ])),
            Request::Fault(switch) => Value::Document(Document::from_iter([
                ("deaf".to_string(), (switch == FaultSwitch::Deaf).into()),
                (
                    "loss".to_string(),
                    match switch {
                        FaultSwitch::Unreliable { loss } => loss.into(),
                        _ => 0.0.into(),
                    },
                ),
            ])),
            Request::Members => Value::Array(Vec::new()),
            _ => Value::Null,
        })
    }

    fn collection(&mut self, name: &str) -> Result<&mut (Schema, Vec<Document>), Error> {
        let unknown = || Error::new(ErrorCode::UnknownCollection, format!("there is no {name:?}"));
        self.collections.get_mut(name).ok_or_else(unknown)
    }
}

fn description((schema, documents): &(Schema, Vec<Document>)) -> Value {
    Value::Document(Document::from_iter([
        ("schema".to_string(), Value::Document(parse::schema_document(schema))),
        ("documents".to_string(), Value::Int64(documents.len() as i64)),
    ]))
}

/// Equality and the comparisons of whole numbers, which is what the tests ask for.
fn matches(document: &Document, filter: &Document) -> bool {
    filter.iter().all(|(field, wanted)| match wanted {
        Value::Document(operators) => operators.iter().all(|(operator, bound)| {
            let order = match (document.get(field), bound) {
                (Some(Value::Int64(held)), Value::Int64(bound)) => held.cmp(bound),
                _ => return false,
            };
            match operator.as_str() {
                "$gt" => order.is_gt(),
                "$gte" => order.is_ge(),
                "$lt" => order.is_lt(),
                "$lte" => order.is_le(),
                "$ne" => order.is_ne(),
                other => panic!("{other} is not asked for here"),
            }
        }),
        wanted => document.get(field) == Some(wanted),
    })
}
