//! [`Watch`]: a feed of changes that follows the group.

use crate::Client;
use crate::backoff::Backoff;
use crate::client::named;
use crate::connection::Connection;
use crate::operations::unexpected;
use api::parse::parse_place;
use api::value::Document;
use api::{Call, Error, ErrorCode, Options, Place, Request, Subject, Value};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::timeout;

/// How long a node holds the question while nothing happens.
const HOLD: Duration = Duration::from_secs(15);
/// What its answer may take longer.
const GRACE: Duration = Duration::from_secs(3);

/// A change.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Where it stands in the feed. [`Event::resume`] is where to go on behind it.
    pub place: Place,
    /// The whole event: `slot`, `position`, `op` (`insert`, `update`, `delete`, `write`, `create`, `destroy`),
    /// `collection` or `key`, and `_id`, `document`, `value` where there are such.
    pub fields: Document,
}

impl Event {
    /// The place behind it: a watch from there goes on with the next event.
    pub fn resume(&self) -> Place {
        Place { position: self.place.position + 1, ..self.place }
    }
}

/// Changes of a collection, a key or the keys with a prefix, one after the other, each once, as long as it is
/// asked.
///
/// It has a connection of its own. When its node fails it goes on with another member, from where it stands:
/// nothing is left out and nothing comes twice. Events that are not taken wait at the nodes.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    watch: api::Watch,
    connection: Option<Connection>,
    /// Which address is asked next.
    turn: usize,
    next: Place,
    events: VecDeque<Event>,
}

impl Client {
    /// Watches from now on: whatever is acknowledged after this has returned will be told.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn watch(&self, subject: Subject, filter: Option<Document>) -> Result<Watch, Error> {
        let watch = api::Watch { subject, filter, from: None, batch: None };
        let answer = self.request(Request::Watch(watch.clone())).await?;
        let (_, next) = read_page(answer)?;
        Ok(self.watch_from(watch.subject, watch.filter, next))
    }

    /// Watches from a place on: [`Watch::place`] of an earlier watch, or [`Event::resume`].
    pub fn watch_from(&self, subject: Subject, filter: Option<Document>, from: Place) -> Watch {
        let watch = api::Watch { subject, filter, from: None, batch: None };
        let client = self.clone();
        Watch { client, watch, connection: None, turn: 0, next: from, events: VecDeque::new() }
    }
}

impl Watch {
    /// The place from which another watch would go on with what [`Watch::next`] gives next.
    pub fn place(&self) -> Place {
        self.events.front().map_or(self.next, |event| event.place)
    }

    /// The next event; waits for it as long as it takes. Dropped while it waits, it loses nothing.
    ///
    /// # Errors
    /// [`ErrorCode::Compacted`] if no member that can be reached keeps the changes asked for; what a node
    /// refuses for good, such as a filter.
    pub async fn next(&mut self) -> Result<Event, Error> {
        let options = self.client.options();
        let mut backoff = Backoff::new(options.backoff_first, options.backoff_longest);
        let mut compacted = 0;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let error = match self.ask().await {
                Ok((events, next)) => {
                    (self.events, self.next, compacted) = (events, next, 0);
                    continue;
                }
                Err(error) => error,
            };
            self.connection = None;
            self.turn += 1;
            match error.code {
                ErrorCode::Compacted => {
                    compacted += 1;
                    if compacted >= self.client.addresses().len() {
                        return Err(error);
                    }
                }
                code if code.is_retryable_elsewhere() || code == ErrorCode::Timeout => {
                    tracing::debug!(%error, "the watch goes on elsewhere");
                    tokio::time::sleep(backoff.next()).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// Asks one node once.
    async fn ask(&mut self) -> Result<(VecDeque<Event>, Place), Error> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            let addresses = self.client.addresses();
            let address = &addresses[self.turn % addresses.len()];
            let down = |why: String| Error::new(ErrorCode::Down, format!("{address}: {why}"));
            let opening = timeout(self.client.options().connect_timeout, Connection::open(address));
            let opened = opening.await.map_err(|_| down("no answer in time".into()))?;
            self.connection = Some(opened.map_err(|error| down(error.to_string()))?);
        }
        let connection = self.connection.as_ref().expect("it was opened");
        let watch = api::Watch { from: Some(self.next), ..self.watch.clone() };
        let timeout_ms = Some(u64::try_from(HOLD.as_millis()).unwrap_or(u64::MAX));
        let options = Options { timeout_ms, ..Options::default() };
        let call = Call { request: Request::Watch(watch), options };
        let silent = || Error::new(ErrorCode::Timeout, "it does not answer");
        let answer = timeout(HOLD + GRACE, connection.call(&call)).await.map_err(|_| silent())?;
        let answer = answer.map_err(Error::from)?;
        read_page(answer.map_err(|error| named(connection, &error))?)
    }
}

fn read_page(answer: Value) -> Result<(VecDeque<Event>, Place), Error> {
    let Value::Document(mut page) = answer else { return Err(unexpected("watch", &answer)) };
    let next = page.get("next").and_then(parse_place);
    let events = page.remove("events");
    let (Some(next), Some(Value::Array(events))) = (next, events) else {
        return Err(unexpected("watch", &Value::Document(page)));
    };
    let read = |event: Value| match event {
        Value::Document(fields) => {
            let number = |name| u64::try_from(fields.get_i64(name).ok()?).ok();
            match (number("slot"), number("position")) {
                (Some(slot), Some(position)) => {
                    Ok(Event { place: Place { slot, position }, fields })
                }
                _ => Err(unexpected("watch", &Value::Document(fields))),
            }
        }
        other => Err(unexpected("watch", &other)),
    };
    Ok((events.into_iter().map(read).collect::<Result<_, _>>()?, next))
}
