//! Several writes as one: all of them, or none (`docs/design/protocols.md`).
//!
//! A batch is one command, so one log entry. Its requests are carried out one after the other over the same
//! overlay, each seeing what came before. The first that is refused, and a condition that does not hold,
//! refuses the whole; what the others did is taken back, in the overlay and in memory.
//!
//! What a batch may cost is bounded by what it says and does alone, so that every node draws the same line.

use crate::apply::Applying;
use crate::codec::Writer;
use crate::command::request_bytes;
use crate::documents;
use crate::engine::View;
use crate::failure::{Failure, Fatal, Outcome, bad_request};
use crate::search::Search;
use crate::{pairs, validate};
use api::limits::{BATCH_REQUESTS_MAX, DOCUMENT_BYTES_MAX};
use api::{Error, ErrorCode, Expectation, Request, SearchOptions, Value, order};
use query::show;

/// Most bytes of answers of one batch.
const ANSWER_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;

/// Checks what can be checked of a batch without the content of the store.
///
/// # Errors
/// The first request that is not valid, with its position; or that there are too many, or too large ones.
pub(crate) fn validate_all(requests: &[Request]) -> Result<(), Error> {
    if requests.is_empty() || requests.len() > BATCH_REQUESTS_MAX {
        return Err(bad_request(format!(
            "batch: 1 to {BATCH_REQUESTS_MAX} requests, not {}",
            requests.len()
        )));
    }
    let mut size = 0;
    for (position, request) in requests.iter().enumerate() {
        let checked = check_member(request).and_then(|()| validate::validate(request));
        checked.map_err(|error| error.at_position(position, request.name()))?;
        size += request_bytes(request);
    }
    validate::check_size("batch: all requests together", size)
}

fn check_member(request: &Request) -> Result<(), Error> {
    let is_write = request.is_write() || matches!(request, Request::Expect(_));
    if !is_write
        || matches!(
            request,
            Request::Batch { .. } | Request::Forget { .. } | Request::BuildIndex { .. }
        )
    {
        return Err(bad_request("it is no part of a batch; a batch holds writes, and expect"));
    }
    Ok(())
}

impl<V: View> Applying<'_, V> {
    /// Carries out a batch. On a refusal the overlay must be rolled back; the state is as before.
    pub(crate) fn batch(&mut self, requests: &[Request]) -> Outcome<Value> {
        let before = (self.state.catalog_version, self.state.next_collection);
        let done = self.members(requests);
        if let Err(Failure::Rejected(_)) = done {
            #[cfg(feature = "planted-bugs")]
            if self.planted == Some(crate::PlantedBug::BatchStays) {
                return done;
            }
            self.overlay.roll_back();
            (self.state.catalog_version, self.state.next_collection) = before;
            self.state.reload_collections(self.overlay)?;
        }
        done
    }

    fn members(&mut self, requests: &[Request]) -> Outcome<Value> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut answer_bytes = 0;
        for (position, request) in requests.iter().enumerate() {
            let done = check_member(request).map_err(Failure::from);
            let done = done.and_then(|()| self.run(request));
            let answer = done.and_then(|answer| {
                answer_bytes += value_bytes(&answer);
                self.check_member_done(request, &answer, answer_bytes)?;
                Ok(answer)
            });
            let at = |error: Error| {
                let mut error = error.at_position(position, request.name());
                error.message.push_str("; nothing of the batch was done");
                error
            };
            answers.push(answer.map_err(|failure| match failure {
                Failure::Rejected(error) => Failure::Rejected(at(error)),
                fatal @ Failure::Fatal(_) => fatal,
            })?);
        }
        Ok(Value::Array(answers))
    }

    /// Refuses a batch for what one of its requests came to.
    fn check_member_done(
        &self,
        request: &Request,
        answer: &Value,
        answer_bytes: usize,
    ) -> Result<(), Error> {
        if let (Request::Cas { key, expected, .. }, Value::Document(outcome)) = (request, answer)
            && matches!(outcome.get("swapped"), Some(Value::Boolean(false)))
        {
            let current = outcome.get("current").unwrap_or(&Value::Null);
            return Err(does_not_hold(key, current, expected));
        }
        if answer_bytes > ANSWER_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::ResultTooLarge,
                format!("the answers of the batch take more than {ANSWER_BYTES_MAX} bytes of BSON"),
            ));
        }
        documents::check_written(self.overlay)
    }

    /// Refuses what is not as it is expected.
    pub(crate) fn expect(&self, expectation: &Expectation) -> Outcome<Value> {
        match expectation {
            Expectation::Value { key, value } => {
                validate::check_key(key)?;
                let current = pairs::read(self.overlay, key)?;
                if !order::equal(&current, value) {
                    return Err(does_not_hold(key, &current, value).into());
                }
            }
            Expectation::Count { collection, filter, count } => {
                let found = self.state.catalog.get(collection)?;
                let options = SearchOptions::default();
                let search = Search::parse(filter, &options)?;
                // One more than expected is enough to know, and to say so.
                let most = count.saturating_add(1);
                let mut matching = 0;
                search.for_each(self.overlay, found, &mut |_| {
                    matching += 1;
                    Ok(matching < most)
                })?;
                let found: u64 = matching;
                if found != *count {
                    return Err(Error::new(
                        ErrorCode::ConditionFailed,
                        format!(
                            "collection {collection:?}: {} match, not {count}",
                            if found > *count {
                                "more documents".to_owned()
                            } else {
                                format!("{found} documents")
                            }
                        ),
                    )
                    .into());
                }
            }
        }
        Ok(Value::Boolean(true))
    }
}

fn does_not_hold(key: &str, current: &Value, expected: &Value) -> Error {
    Error::new(
        ErrorCode::ConditionFailed,
        format!("key {key:?} holds {}, not {}", show(current), show(expected)),
    )
}

fn value_bytes(value: &Value) -> usize {
    let mut writer = Writer::default();
    writer.value(value);
    writer.0.len()
}

impl crate::apply::State {
    /// Reads again what is kept of collections in memory, after changes were taken back.
    fn reload_collections(&mut self, view: &impl View) -> Result<(), Fatal> {
        let collections = crate::apply::Collections::load(view)?;
        (self.catalog, self.counts) = (collections.catalog, collections.counts);
        (self.destroyed, self.dropped) = (collections.destroyed, collections.dropped);
        self.building = collections.building;
        Ok(())
    }
}
