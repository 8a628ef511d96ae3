//! One method per operation, with the types of its arguments and its answer.

use crate::Client;
use api::value::Document;
use api::{Error, ErrorCode, Request, Schema, SearchOptions, UpdateOptions, Value};

/// What became of a compare-and-set.
#[derive(Clone, Debug, PartialEq)]
pub enum CasOutcome {
    /// The value was as expected and is now the new one.
    Swapped,
    /// The value was another one, this.
    Current(Value),
}

/// Each may fail as [`Client::call`] does.
impl Client {
    /// The value of `key`; [`Value::Null`] where there is none.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn read(&self, key: &str) -> Result<Value, Error> {
        self.request(Request::Read { key: key.into(), empty_if_absent: false }).await
    }

    /// Sets `key`; [`Value::Null`] removes it.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn write(&self, key: &str, value: impl Into<Value>) -> Result<Value, Error> {
        self.request(Request::Write { key: key.into(), value: value.into() }).await
    }

    /// Sets `key` and returns the value before.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn swap(&self, key: &str, value: impl Into<Value>) -> Result<Value, Error> {
        self.request(Request::Swap { key: key.into(), value: value.into() }).await
    }

    /// Sets `key` if its value is `expected`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn cas(
        &self,
        key: &str,
        expected: impl Into<Value>,
        value: impl Into<Value>,
    ) -> Result<CasOutcome, Error> {
        let (expected, value) = (expected.into(), value.into());
        let request = Request::Cas { key: key.into(), expected, value };
        match self.request(request).await? {
            Value::Document(mut answer) => match answer.get("swapped") {
                Some(Value::Boolean(true)) => Ok(CasOutcome::Swapped),
                Some(Value::Boolean(false)) => {
                    Ok(CasOutcome::Current(answer.remove("current").unwrap_or(Value::Null)))
                }
                _ => Err(unexpected("cas", &Value::Document(answer))),
            },
            other => Err(unexpected("cas", &other)),
        }
    }

    /// Makes a collection.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn create(&self, collection: &str, schema: Schema) -> Result<(), Error> {
        self.request(Request::Create { collection: collection.into(), schema }).await.map(drop)
    }

    /// Describes one collection, or all of them.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn describe(&self, collection: Option<&str>) -> Result<Document, Error> {
        let request = Request::Describe { collection: collection.map(String::from) };
        match self.request(request).await? {
            Value::Document(description) => Ok(description),
            other => Err(unexpected("describe", &other)),
        }
    }

    /// Removes a collection and all in it.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn destroy(&self, collection: &str) -> Result<(), Error> {
        self.request(Request::Destroy { collection: collection.into() }).await.map(drop)
    }

    /// Adds a document; returns its `_id`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn insert(&self, collection: &str, document: Document) -> Result<Value, Error> {
        let collection = collection.into();
        self.request(Request::Insert { collection, documents: vec![document], list: false }).await
    }

    /// Adds all documents or none; returns their `_id`s.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn insert_many(
        &self,
        collection: &str,
        documents: Vec<Document>,
    ) -> Result<Vec<Value>, Error> {
        let collection = collection.into();
        match self.request(Request::Insert { collection, documents, list: true }).await? {
            Value::Array(ids) => Ok(ids),
            other => Err(unexpected("insert", &other)),
        }
    }

    /// The documents that match `filter`.
    ///
    /// # Errors
    /// As [`Client::call`]; [`ErrorCode::BadRequest`] for `count` or `explain`, whose answer is no list:
    /// use [`Client::count`] or [`Client::request`].
    pub async fn search(
        &self,
        collection: &str,
        filter: Document,
        search: SearchOptions,
    ) -> Result<Vec<Document>, Error> {
        if search.count || search.explain {
            return Err(Error::new(
                ErrorCode::BadRequest,
                "search: with count or explain the answer is no list of documents",
            ));
        }
        let collection = collection.into();
        let answer = self.request(Request::Search { collection, filter, search }).await?;
        let Value::Array(items) = answer else { return Err(unexpected("search", &answer)) };
        items
            .into_iter()
            .map(|item| match item {
                Value::Document(document) => Ok(document),
                other => Err(unexpected("search", &other)),
            })
            .collect()
    }

    /// How many documents match `filter`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn count(&self, collection: &str, filter: Document) -> Result<u64, Error> {
        let search = SearchOptions { count: true, ..SearchOptions::default() };
        let collection = collection.into();
        number("search", &self.request(Request::Search { collection, filter, search }).await?)
    }

    /// Changes the documents that match `filter`; returns how many it changed.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn update(
        &self,
        collection: &str,
        filter: Document,
        changes: Document,
    ) -> Result<u64, Error> {
        let collection = collection.into();
        number(
            "update",
            &self
                .request(Request::Update {
                    collection,
                    filter,
                    changes,
                    options: UpdateOptions::default(),
                })
                .await?,
        )
    }

    /// Deletes the documents that match `filter`; returns how many it deleted.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn delete(&self, collection: &str, filter: Document) -> Result<u64, Error> {
        let collection = collection.into();
        number("delete", &self.request(Request::Delete { collection, filter, multi: true }).await?)
    }

    /// Does several writes as one step, or none of them; returns their answers. [`Request::Expect`] is a
    /// condition: the batch is refused if it does not hold, and so it is if a [`Request::Cas`] does not swap.
    ///
    /// # Errors
    /// As [`Client::call`]; [`ErrorCode::ConditionFailed`]. The message names the position.
    pub async fn batch(&self, requests: Vec<Request>) -> Result<Vec<Value>, Error> {
        match self.request(Request::Batch { requests }).await? {
            Value::Array(answers) => Ok(answers),
            other => Err(unexpected("batch", &other)),
        }
    }

    /// What the node that the client talks to says of itself.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn status(&self) -> Result<Value, Error> {
        self.request(Request::Status { hash: false }).await
    }

    /// The members of the group.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn members_of_group(&self) -> Result<Value, Error> {
        self.request(Request::Members).await
    }
}

fn number(operation: &str, answer: &Value) -> Result<u64, Error> {
    let number = match answer {
        Value::Int64(number) => u64::try_from(*number).ok(),
        Value::Int32(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    number.ok_or_else(|| unexpected(operation, answer))
}

pub(crate) fn unexpected(operation: &str, answer: &Value) -> Error {
    let text: String = api::json::to_string(answer).chars().take(100).collect();
    Error::new(ErrorCode::Internal, format!("{operation}: the node gave an odd answer: {text}"))
}
