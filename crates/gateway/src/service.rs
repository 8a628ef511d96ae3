//! The node as the gateway sees it.

use api::{Call, Error, ErrorCode, Value};
use std::sync::Arc;

/// The node as the gateway sees it: something that takes calls and answers each of them once.
///
/// Clones share the node; every connection holds one.
pub trait Service: Clone + Send + Sync + 'static {
    /// Starts `call`, without waiting for it; the answer goes to `reply`, from any thread, before or
    /// after this returns.
    ///
    /// A connection calls this in the order of its requests. The call is complete when it comes: every
    /// document to insert has its `_id`. A [`api::Request::Hello`] never comes. The service answers
    /// within the call's `timeout_ms` and refuses with [`ErrorCode::Busy`] before its queues grow
    /// without bound.
    fn start(&self, call: Call, reply: Reply);
}

/// Takes the answers of one connection (or of one caller), each marked with the ticket of its request.
pub trait ReplySink: Send + Sync {
    /// Takes the answer of request `ticket`. It may wake a task; it does not block.
    fn deliver(&self, ticket: u64, answer: Result<Value, Error>);
}

/// Where a request came from, as far as it matters for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The connection: a number that no other connection of this process has. 0: none.
    pub connection: u64,
    /// Most bytes of JSON that the answer may have, `["ok",…]` included.
    pub answer_bytes_max: usize,
}

impl Default for Origin {
    fn default() -> Origin {
        Origin { connection: 0, answer_bytes_max: api::limits::LONG_FRAME_BYTES_MAX }
    }
}

/// The way back for the answer of one request.
///
/// Dropped without an answer it answers [`ErrorCode::Timeout`]: the node went away, the request may
/// have taken effect or not.
pub struct Reply {
    sink: Option<Arc<dyn ReplySink>>,
    ticket: u64,
    origin: Origin,
}

impl Reply {
    /// The way back to `sink` for the request `ticket`.
    pub fn new(sink: Arc<dyn ReplySink>, ticket: u64) -> Reply {
        Reply { sink: Some(sink), ticket, origin: Origin::default() }
    }

    /// The same, knowing where the request came from.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Reply {
        self.origin = origin;
        self
    }

    /// Where the request came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// A way back to one waiting caller: the answer comes out of the receiver.
    pub fn channel() -> (Reply, tokio::sync::oneshot::Receiver<Result<Value, Error>>) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (Reply::new(Arc::new(OneAnswer(std::sync::Mutex::new(Some(sender)))), 0), receiver)
    }

    /// Answers the request.
    pub fn send(mut self, answer: Result<Value, Error>) {
        if let Some(sink) = self.sink.take() {
            sink.deliver(self.ticket, answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            let error = Error::new(
                ErrorCode::Timeout,
                "the node stopped before it answered; the request may take effect or not",
            );
            sink.deliver(self.ticket, Err(error));
        }
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

struct OneAnswer(std::sync::Mutex<Option<tokio::sync::oneshot::Sender<Result<Value, Error>>>>);

impl ReplySink for OneAnswer {
    fn deliver(&self, _ticket: u64, answer: Result<Value, Error>) {
        let sender = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // The caller may have gone; then nobody wants the answer.
            let _ = sender.send(answer);
        }
    }
}
