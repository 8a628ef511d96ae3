//! [`Cursor`]: a long result in parts, from the node that keeps it.

use crate::Client;
use crate::client::named;
use crate::connection::{Connection, Trouble};
use crate::operations::unexpected;
use api::value::Document;
use api::{Call, Error, ErrorCode, Options, Request, SearchOptions, Value};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::{Instant, timeout, timeout_at};

/// A search, or a pipeline, whose documents come part by part, all as they were at one moment.
///
/// The rest is kept by the node that took the search. It lives on when the leader changes; if that node goes
/// away, or nothing is asked for too long, [`Cursor::next`] fails with [`ErrorCode::CursorGone`] and the search
/// has to be made again. No document is left out or given twice before that.
#[derive(Debug)]
pub struct Cursor {
    client: Client,
    connection: Arc<Connection>,
    /// The next part; none: there is none.
    name: Option<String>,
    batch: u64,
    documents: VecDeque<Document>,
}

impl Client {
    /// Searches, and takes the documents in parts of at most `batch`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn search_in_parts(
        &self,
        collection: &str,
        filter: Document,
        search: SearchOptions,
        batch: u64,
    ) -> Result<Cursor, Error> {
        let search = SearchOptions { batch: Some(batch), ..search };
        let collection = collection.into();
        self.in_parts(Request::Search { collection, filter, search }, batch).await
    }

    /// Runs a pipeline, and takes what comes out of it in parts of at most `batch`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn aggregate_in_parts(
        &self,
        collection: &str,
        pipeline: Vec<Document>,
        batch: u64,
    ) -> Result<Cursor, Error> {
        let collection = collection.into();
        let request = Request::Aggregate { collection, pipeline, batch: Some(batch) };
        self.in_parts(request, batch).await
    }

    async fn in_parts(&self, request: Request, batch: u64) -> Result<Cursor, Error> {
        let call = Call { request, options: Options::default() };
        let (answer, connection) = self.call_somewhere(call).await?;
        let client = self.clone();
        let mut cursor =
            Cursor { client, connection, name: None, batch, documents: VecDeque::new() };
        cursor.take(answer)?;
        Ok(cursor)
    }

    /// All documents that a search finds, however many there are: they must fit into memory here.
    ///
    /// # Errors
    /// As [`Client::search_in_parts`] and [`Cursor::next`].
    pub async fn search_all(
        &self,
        collection: &str,
        filter: Document,
        search: SearchOptions,
    ) -> Result<Vec<Document>, Error> {
        let batch = api::limits::PAGE_ITEMS_DEFAULT;
        let mut cursor = self.search_in_parts(collection, filter, search, batch).await?;
        let mut documents = Vec::new();
        while let Some(document) = cursor.next().await? {
            documents.push(document);
        }
        Ok(documents)
    }
}

impl Cursor {
    /// The next document; none: there are no more.
    ///
    /// # Errors
    /// [`ErrorCode::CursorGone`] if the node that keeps the rest has gone or has let it go;
    /// [`ErrorCode::Timeout`] if it did not answer in time (it can be asked again); what it refuses.
    pub async fn next(&mut self) -> Result<Option<Document>, Error> {
        loop {
            if let Some(document) = self.documents.pop_front() {
                return Ok(Some(document));
            }
            let Some(name) = self.name.clone() else { return Ok(None) };
            let batch = Some(self.batch);
            let answer = self.ask(Request::Next { cursor: name, batch, pass_long: false }).await?;
            self.take(answer)?;
        }
    }

    /// Lets the node forget the rest.
    ///
    /// # Errors
    /// As [`Cursor::next`].
    pub async fn close(mut self) -> Result<(), Error> {
        match self.name.take() {
            Some(name) => self.ask(Request::Close { cursor: name }).await.map(drop),
            None => Ok(()),
        }
    }

    /// Asks the node that keeps the rest, over a new connection if need be: a part may be asked for twice.
    async fn ask(&mut self, request: Request) -> Result<Value, Error> {
        let time = self.client.options().timeout;
        let deadline = Instant::now() + time;
        let timeout_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let timeout_ms = Some(timeout_ms.clamp(1, api::limits::TIMEOUT_MS_MAX));
        let call = Call { request, options: Options { timeout_ms, ..Options::default() } };
        let mut is_new = false;
        loop {
            match timeout_at(deadline, self.connection.call(&call)).await {
                Ok(Ok(answer)) => return answer.map_err(|error| named(&self.connection, &error)),
                Ok(Err(Trouble::NotSent(error))) => return Err(error),
                Ok(Err(Trouble::Lost)) if is_new => return Err(self.gone("it breaks connections")),
                Ok(Err(Trouble::Lost)) => {}
                Err(_) => {
                    let silent = Error::new(ErrorCode::Timeout, "no answer in time; ask again");
                    return Err(named(&self.connection, &silent));
                }
            }
            let address = self.connection.address.clone();
            let opening =
                timeout(self.client.options().connect_timeout, Connection::open(&address));
            match opening.await {
                Ok(Ok(connection)) => self.connection = Arc::new(connection),
                Ok(Err(error)) => return Err(self.gone(&error.to_string())),
                Err(_) => return Err(self.gone("it does not answer")),
            }
            is_new = true;
        }
    }

    fn gone(&self, why: &str) -> Error {
        Error::new(
            ErrorCode::CursorGone,
            format!(
                "{}, which keeps the rest of the result, cannot be reached ({why}); search again",
                self.connection.address
            ),
        )
    }

    fn take(&mut self, answer: Value) -> Result<(), Error> {
        let Value::Document(mut page) = answer else { return Err(unexpected("search", &answer)) };
        self.name = match page.remove("cursor") {
            Some(Value::String(name)) => Some(name),
            Some(Value::Null) => None,
            _ => return Err(unexpected("search", &Value::Document(page))),
        };
        let Some(Value::Array(items)) = page.remove("documents") else {
            return Err(unexpected("search", &Value::Document(page)));
        };
        for item in items {
            match item {
                Value::Document(document) => self.documents.push_back(document),
                other => return Err(unexpected("search", &other)),
            }
        }
        Ok(())
    }
}
