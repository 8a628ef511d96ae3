//! The node as the gateway sees it.

use crate::build_wait::Wait;
use crate::cursors::Cursors;
use crate::faults::Faults;
use crate::inbox::Inbox;
use crate::watch_thread::Watches;
use api::{Call, Document, Error, Expectation, ModifyAction, Request, Value, Watch};
use gateway::{Reply, ReplySink, Service};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A request that has come in.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) call: Call,
    pub(crate) reply: Reply,
    /// About how much memory the call takes.
    pub(crate) bytes: usize,
    /// When it came.
    pub(crate) came: Instant,
}

/// Puts calls into the inbox.
#[derive(Clone, Debug)]
pub(crate) struct NodeService {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) cursors: Arc<Cursors>,
    pub(crate) watches: Arc<Watches>,
}

impl Service for NodeService {
    fn start(&self, call: Call, reply: Reply) {
        let reply = match call.request {
            // Not through the inbox: a node that is cut off must still be told to listen.
            Request::Fault(switch) => return reply.send(self.faults.switch(switch)),
            Request::Status { .. } => Reply::new(
                Arc::new(OwnStatus {
                    faults: Arc::clone(&self.faults),
                    cursors: Arc::clone(&self.cursors),
                    watches: Arc::clone(&self.watches),
                    reply: Mutex::new(Some(reply)),
                }),
                0,
            ),
            Request::CreateIndex { .. } => match Wait::of(&call, &self.inbox) {
                None => reply,
                Some(wait) => {
                    let (begun, answer) = Reply::channel();
                    tokio::spawn(wait.run(answer, reply));
                    begun
                }
            },
            _ => reply,
        };
        let bytes = request_bytes(&call.request);
        self.inbox.ask(Asked { call, reply, bytes, came: Instant::now() });
    }
}

/// Adds to a node's status, on its way out, what the replica does not know of.
struct OwnStatus {
    faults: Arc<Faults>,
    cursors: Arc<Cursors>,
    watches: Arc<Watches>,
    reply: Mutex<Option<Reply>>,
}

impl ReplySink for OwnStatus {
    fn deliver(&self, _ticket: u64, mut answer: Result<Value, Error>) {
        if let Ok(Value::Document(status)) = &mut answer {
            self.faults.describe(status);
            self.cursors.describe(status);
            self.watches.describe(status);
        }
        let reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reply) = reply {
            reply.send(answer);
        }
    }
}

/// About what a value costs besides the bytes of its strings.
const VALUE_BYTES: usize = 48;

/// About how much memory a request takes while it is under way.
fn request_bytes(request: &Request) -> usize {
    let of = match request {
        Request::Batch { requests } => requests.iter().map(request_bytes).sum(),
        Request::Expect(Expectation::Value { value, .. }) => value_bytes(value),
        Request::Expect(Expectation::Count { filter, .. }) => document_bytes(filter),
        Request::Watch(Watch { filter: Some(filter), .. }) => document_bytes(filter),
        Request::Insert { documents, .. } => documents.iter().map(document_bytes).sum(),
        Request::Search { filter, .. }
        | Request::Delete { filter, .. }
        | Request::Count { filter, .. }
        | Request::Distinct { filter, .. } => document_bytes(filter),
        Request::Update { filter, changes, options, .. } => {
            let filters = options.array_filters.iter().map(document_bytes).sum::<usize>();
            document_bytes(filter) + document_bytes(changes) + filters
        }
        Request::Replace { filter, document, .. } => {
            document_bytes(filter) + document_bytes(document)
        }
        Request::Modify { filter, action, options, .. } => {
            let action = match action {
                ModifyAction::Update { changes, array_filters, .. } => {
                    let filters = array_filters.iter().map(document_bytes).sum::<usize>();
                    document_bytes(changes) + filters
                }
                ModifyAction::Remove => 0,
            };
            document_bytes(filter) + action + options.fields.as_ref().map_or(0, document_bytes)
        }
        Request::Aggregate { pipeline, .. } => pipeline.iter().map(document_bytes).sum(),
        Request::Write { value, .. } | Request::Swap { value, .. } => value_bytes(value),
        Request::Cas { expected, value, .. } => value_bytes(expected) + value_bytes(value),
        _ => 0,
    };
    of + 512
}

fn document_bytes(document: &Document) -> usize {
    document.iter().map(|(name, value)| VALUE_BYTES + name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Binary(binary) => binary.bytes.len(),
            Value::Document(document) => document_bytes(document),
            Value::Array(items) => items.iter().map(value_bytes).sum(),
            _ => 0,
        }
}
