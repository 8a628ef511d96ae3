//! `create_index` with `wait`: the answer comes when the index is ready.
//!
//! That an index is begun is one entry of the log and answered with it; waiting is this node's own affair, so it
//! is done here, by looking at the node's state now and then until the time of the request is over. The build
//! does not depend on anybody waiting for it.

use crate::inbox::Inbox;
use crate::service::Asked;
use api::limits::{TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX};
use api::{Call, Document, Error, ErrorCode, Level, Options, Request, Value};
use gateway::Reply;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

/// Between the first two looks at a build; each wait after that is twice as long, up to the longest.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LONGEST: Duration = Duration::from_millis(200);

/// An index that is waited for.
pub(crate) struct Wait {
    inbox: Arc<Inbox>,
    collection: String,
    index: String,
    deadline: Instant,
    milliseconds: u64,
}

impl Wait {
    /// Waits for the index that the call makes; `None` if the call does not ask for that.
    pub(crate) fn of(call: &Call, inbox: &Arc<Inbox>) -> Option<Wait> {
        let Request::CreateIndex { collection, index } = &call.request else { return None };
        let milliseconds =
            call.options.timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT).clamp(1, TIMEOUT_MS_MAX);
        call.options.wait.then(|| Wait {
            inbox: Arc::clone(inbox),
            collection: collection.clone(),
            index: index.name.clone(),
            deadline: Instant::now() + Duration::from_millis(milliseconds),
            milliseconds,
        })
    }

    /// Answers once the index that `begun` tells of is built.
    pub(crate) async fn run(self, begun: oneshot::Receiver<Result<Value, Error>>, reply: Reply) {
        let answer = match begun.await {
            Ok(Ok(Value::Document(answer))) => self.until_built(answer).await,
            Ok(answer) => answer,
            Err(_) => return,
        };
        reply.send(answer);
    }

    async fn until_built(&self, begun: Document) -> Result<Value, Error> {
        let mut state = begun;
        let mut wait = LOOK_FIRST;
        loop {
            match state.get_str("state") {
                Ok("building") => {}
                Ok("failed") => return Err(self.failed(&state)),
                _ => {
                    let name = Value::String(self.index.clone());
                    let answer = [("name", name), ("state", Value::String("ready".to_owned()))];
                    return Ok(Value::Document(
                        answer.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(),
                    ));
                }
            }
            if Instant::now() + wait >= self.deadline {
                return Err(self.out_of_time(&state));
            }
            sleep(wait).await;
            wait = (wait * 2).min(LOOK_LONGEST);
            state = match self.look().await? {
                Some(now) => now,
                None => state,
            };
        }
    }

    /// What `describe` says of the index here; none if the node is too busy to say.
    async fn look(&self) -> Result<Option<Document>, Error> {
        let (reply, answer) = Reply::channel();
        let left = self.deadline.saturating_duration_since(Instant::now()).as_millis();
        let timeout_ms = Some(u64::try_from(left).unwrap_or(u64::MAX).clamp(1, TIMEOUT_MS_MAX));
        let request = Request::Describe { collection: Some(self.collection.clone()) };
        // What this node has applied includes the entry that began the build.
        let options = Options { level: Level::Local, timeout_ms, ..Options::default() };
        let came = Instant::now().into_std();
        self.inbox.ask(Asked { call: Call { request, options }, reply, bytes: 512, came });
        let described = match timeout_at(self.deadline, answer).await {
            Ok(Ok(Ok(Value::Document(described)))) => described,
            Ok(Ok(Err(error))) if error.code == ErrorCode::UnknownCollection => {
                return Err(self.gone("its collection was destroyed"));
            }
            Ok(Ok(Err(error))) if error.code != ErrorCode::Busy => return Err(error),
            _ => return Ok(None),
        };
        let indexes = described.get_array("indexes").map(Vec::as_slice).unwrap_or_default();
        let is_it = |index: &&Value| {
            index.as_document().is_some_and(|index| index.get_str("name").ok() == Some(&self.index))
        };
        match indexes.iter().find(is_it).and_then(Value::as_document) {
            Some(index) => Ok(Some(index.clone())),
            None => Err(self.gone("it was dropped")),
        }
    }

    fn failed(&self, state: &Document) -> Error {
        let reason = state.get_str("reason").unwrap_or("no reason is known");
        let (code, reason) = match reason.split_once(": ") {
            Some((code, rest)) => match ErrorCode::parse(code) {
                Some(code) => (code, rest),
                None => (ErrorCode::Refused, reason),
            },
            None => (ErrorCode::Refused, reason),
        };
        Error::new(
            code,
            format!(
                "create_index: index {} of {} could not be built: {reason}; it stays, failed, to be dropped",
                self.index, self.collection
            ),
        )
    }

    fn out_of_time(&self, state: &Document) -> Error {
        let done = state.get_i64("documents_done").map(|done| format!(" ({done} documents done)"));
        Error::new(
            ErrorCode::Timeout,
            format!(
                "create_index: index {index} of {collection} is not ready after {} ms{}; the build goes on: \
                 ask [\"describe\",\"{collection}\"], or send the same request again with a longer timeout_ms",
                self.milliseconds,
                done.unwrap_or_default(),
                index = self.index,
                collection = self.collection,
            ),
        )
    }

    fn gone(&self, why: &str) -> Error {
        Error::new(
            ErrorCode::UnknownIndex,
            format!(
                "create_index: index {} of {} was waited for, but {why}",
                self.index, self.collection
            ),
        )
    }
}
