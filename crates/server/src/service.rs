//! The node as the gateway sees it.

use crate::faults::Faults;
use crate::inbox::Inbox;
use api::{Call, Document, Error, ModifyAction, Request, Value};
use gateway::{Reply, ReplySink, Service};
use std::sync::{Arc, Mutex, PoisonError};

/// A request that has come in.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) call: Call,
    pub(crate) reply: Reply,
    /// About how much memory the call takes.
    pub(crate) bytes: usize,
}

/// Puts calls into the inbox.
#[derive(Clone, Debug)]
pub(crate) struct NodeService {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) faults: Arc<Faults>,
}

impl Service for NodeService {
    fn start(&self, call: Call, reply: Reply) {
        let reply = match call.request {
            // Not through the inbox: a node that is cut off must still be told to listen.
            Request::Fault(switch) => return reply.send(self.faults.switch(switch)),
            Request::Status { .. } => Reply::new(
                Arc::new(WithFaults {
                    faults: Arc::clone(&self.faults),
                    reply: Mutex::new(Some(reply)),
                }),
                0,
            ),
            _ => reply,
        };
        let bytes = request_bytes(&call.request);
        self.inbox.ask(Asked { call, reply, bytes });
    }
}

/// Adds the faults to a node's status on its way out.
struct WithFaults {
    faults: Arc<Faults>,
    reply: Mutex<Option<Reply>>,
}

impl ReplySink for WithFaults {
    fn deliver(&self, _ticket: u64, mut answer: Result<Value, Error>) {
        if let Ok(Value::Document(status)) = &mut answer {
            self.faults.describe(status);
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
