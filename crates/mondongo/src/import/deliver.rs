//! A batch to the group: each document once, whatever breaks on the way, and bad ones singled out.
//!
//! A batch is one request and one atomic step. Its reference is made of the number of its first record, so that an import
//! which goes on after a crash sends the same batch under the same reference, and what was done is not done again. A batch
//! that is refused for a document in it is halved until that document stands alone; the halves have references of their
//! own, made of their first record and how often it was halved.

use super::batches::{Batch, Item};
use super::options::OnDuplicate;
use super::rejects::Reject;
use api::parse::{Operation, call_from_value};
use api::value::ID_FIELD;
use api::{Call, Document, Error, ErrorCode, Reference, Request, SearchOptions, Value};
use client::Client;
use std::cell::Cell;
use std::pin::Pin;
use std::time::{Duration, Instant};

/// References of one record: it can be halved out of a batch that often.
const REFERENCES_PER_RECORD: u64 = 64;
/// Added to the depth when a reference was forgotten and the batch certainly had no effect.
const SECOND_TRY: u64 = 32;
/// The wait before a batch is sent again, and the longest.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_LONGEST: Duration = Duration::from_secs(5);

/// Sends batches.
pub(crate) struct Delivery {
    pub(crate) client: Client,
    /// The client of the references.
    pub(crate) name: String,
    pub(crate) collection: String,
    pub(crate) on_duplicate: OnDuplicate,
    /// How long nothing may be answered.
    pub(crate) patience: Duration,
    /// Records that are done, durably noted: their references will not be used again.
    pub(crate) durable_records: Cell<u64>,
    /// When something was answered last.
    pub(crate) answered: Cell<Instant>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    pub(crate) taken: u64,
    pub(crate) skipped: u64,
    pub(crate) rejects: Vec<Reject>,
}

/// Why an import cannot go on. It can be run again.
#[derive(Clone, Debug)]
pub(crate) struct Stopped(pub(crate) String);

type Deliver<'a> = Pin<Box<dyn Future<Output = Result<(), Stopped>> + 'a>>;

impl Delivery {
    /// Delivers a batch.
    ///
    /// # Errors
    /// [`Stopped`].
    pub(crate) async fn deliver(&self, batch: &Batch) -> Result<Delivered, Stopped> {
        let mut delivered = Delivered { rejects: batch.rejects.clone(), ..Delivered::default() };
        if !batch.items.is_empty() {
            self.deliver_items(&batch.items, 0, &mut delivered).await?;
        }
        delivered.rejects.sort_by_key(|reject| reject.line);
        Ok(delivered)
    }

    fn deliver_items<'a>(
        &'a self,
        items: &'a [Item],
        depth: u64,
        delivered: &'a mut Delivered,
    ) -> Deliver<'a> {
        Box::pin(async move {
            assert!(depth < SECOND_TRY, "a batch is halved fewer times than that");
            let mut refusal = self.send(items, depth).await?;
            if refusal.as_ref().is_some_and(|error| error.code == ErrorCode::ForgottenReference) {
                refusal = self.after_forgotten(items, depth).await?;
            }
            let Some(error) = refusal else {
                delivered.taken += items.len() as u64;
                return Ok(());
            };
            if !is_about_documents(error.code) {
                return Err(Stopped(error.to_string()));
            }
            if let [item] = items {
                return self.refused(item, &error, delivered);
            }
            let (first, second) = items.split_at(items.len() / 2);
            self.deliver_items(first, depth + 1, delivered).await?;
            self.deliver_items(second, depth + 1, delivered).await
        })
    }

    /// One document was refused.
    fn refused(
        &self,
        item: &Item,
        error: &Error,
        delivered: &mut Delivered,
    ) -> Result<(), Stopped> {
        match (error.code, self.on_duplicate) {
            (ErrorCode::Duplicate, OnDuplicate::Skip) => delivered.skipped += 1,
            (ErrorCode::Duplicate, OnDuplicate::Fail) => {
                return Err(Stopped(format!("line {}: {error}", item.line)));
            }
            _ => delivered.rejects.push(Reject {
                line: item.line,
                reason: error.to_string(),
                text: item.text.clone(),
            }),
        }
        Ok(())
    }

    /// What the group forgot about it can be seen from the documents: it took all of them or none.
    async fn after_forgotten(&self, items: &[Item], depth: u64) -> Result<Option<Error>, Stopped> {
        let ids: Vec<Value> =
            items.iter().filter_map(|item| item.document.get(ID_FIELD).cloned()).collect();
        let within = Document::from_iter([("$in".to_string(), Value::Array(ids))]);
        let filter = Document::from_iter([(ID_FIELD.to_string(), Value::Document(within))]);
        let search = SearchOptions { count: true, ..SearchOptions::default() };
        let collection = self.collection.clone();
        let request = Request::Search { collection, filter, search };
        let call = Call { request, options: api::Options::default() };
        let found = match self.ask(call).await? {
            Ok(Value::Int64(found)) => u64::try_from(found).unwrap_or_default(),
            Ok(other) => return Err(Stopped(format!("an odd answer to a count: {other}"))),
            Err(error) => return Err(Stopped(error.to_string())),
        };
        if found == items.len() as u64 && self.on_duplicate != OnDuplicate::Replace {
            return Ok(None);
        }
        self.send(items, depth + SECOND_TRY).await
    }

    /// Sends documents as one step; the refusal, if it was refused.
    async fn send(&self, items: &[Item], depth: u64) -> Result<Option<Error>, Stopped> {
        let sequence = items[0].record * REFERENCES_PER_RECORD + depth;
        let mut call = match self.on_duplicate {
            OnDuplicate::Replace => {
                replacing(&self.collection, items).map_err(|error| Stopped(error.to_string()))?
            }
            _ => Call {
                request: Request::Insert {
                    collection: self.collection.clone(),
                    documents: items.iter().map(|item| item.document.clone()).collect(),
                    list: true,
                },
                options: api::Options::default(),
            },
        };
        call.options.reference = Some(Reference::new(self.name.clone(), sequence));
        call.options.acked = Some(self.durable_records.get() * REFERENCES_PER_RECORD);
        Ok(self.ask(call).await?.err())
    }

    /// Asks until there is an answer, as long as anything is answered at all.
    async fn ask(&self, call: Call) -> Result<Result<Value, Error>, Stopped> {
        let mut wait = WAIT_FIRST;
        loop {
            match self.client.call(call.clone()).await {
                Err(error) if is_passing(error.code) => {
                    let silent = self.answered.get().elapsed();
                    if silent >= self.patience {
                        let silent = Duration::from_secs(silent.as_secs());
                        let silent = humantime::format_duration(silent);
                        return Err(Stopped(format!(
                            "nothing was taken for {silent}; last: {error}"
                        )));
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(WAIT_LONGEST);
                }
                answer => {
                    self.answered.set(Instant::now());
                    return Ok(answer);
                }
            }
        }
    }
}

/// Whether it may be over soon. A time-out may have had effect; the same reference finds out.
fn is_passing(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Timeout | ErrorCode::DiskFull) || code.is_retryable_elsewhere()
}

/// Whether documents are refused, and not that anybody sends some.
fn is_about_documents(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::BadRequest
            | ErrorCode::BadQuery
            | ErrorCode::SchemaViolation
            | ErrorCode::Duplicate
            | ErrorCode::TooLarge
    )
}

/// Why this version cannot replace documents, if it cannot.
pub(crate) fn why_not_replacing() -> Option<&'static str> {
    let needed = ["replace", "batch"];
    needed.iter().any(|name| Operation::find(name).is_none()).then_some(
        "replacing documents needs operations that this version has not: replace and batch",
    )
}

/// Every document takes the place of the one with its `_id`, as one step.
fn replacing(collection: &str, items: &[Item]) -> Result<Call, Error> {
    let replace = |item: &Item| {
        let id = item.document.get(ID_FIELD).cloned().unwrap_or(Value::Null);
        let equal = Document::from_iter([("$eq".to_string(), id)]);
        let filter = Document::from_iter([(ID_FIELD.to_string(), Value::Document(equal))]);
        let upsert = Document::from_iter([("upsert".to_string(), Value::Boolean(true))]);
        Value::Array(vec![
            "replace".into(),
            collection.into(),
            filter.into(),
            item.document.clone().into(),
            upsert.into(),
        ])
    };
    let requests = items.iter().map(replace).collect();
    call_from_value(Value::Array(vec!["batch".into(), Value::Array(requests)]))
}
