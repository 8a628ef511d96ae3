//! The documents of a collection, part by part.
//!
//! With cursors all parts are of one moment. A node without them is asked for one range of `_id`s after the other; then each
//! part is of its own moment, and what is written meanwhile may be in it or not.

use api::parse::{Operation, call_from_value};
use api::value::ID_FIELD;
use api::{Call, Document, Error, ErrorCode, Level, Options, Request, SearchOptions, Value};
use client::Client;

/// Documents that are asked for at once.
const PAGE_DOCUMENTS: u64 = 1000;

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) collection: String,
    pub(super) filter: Document,
    /// Empty: in the order of `_id`.
    pub(super) sort: Document,
    /// Empty: all fields.
    pub(super) fields: Vec<String>,
    /// Most documents.
    pub(super) limit: Option<u64>,
}

/// Gets documents.
pub(super) struct Pages {
    client: Client,
    level: Level,
    wanted: Wanted,
    next: Next,
    /// Documents still wanted.
    left: u64,
    /// The `_id`s of documents that are too long for an answer, since they were taken last.
    too_long: Vec<Value>,
}

enum Next {
    /// Nothing was asked for yet.
    Begin,
    /// The cursor.
    Cursor(String),
    /// The bracket of `_id`s, and the last `_id` of it that was seen.
    Range {
        bracket: usize,
        after: Option<Value>,
    },
    End,
}

impl Pages {
    pub(super) fn new(client: Client, level: Level, wanted: Wanted) -> Pages {
        let left = wanted.limit.unwrap_or(u64::MAX);
        Pages { client, level, wanted, next: Next::Begin, left, too_long: Vec::new() }
    }

    /// The `_id`s of documents that were passed over because no answer has room for them.
    pub(super) fn take_too_long(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.too_long)
    }

    /// The next documents; none at the end.
    ///
    /// # Errors
    /// As [`Client::call`]; [`ErrorCode::Unavailable`] for an order that needs cursors where there are none.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Document>>, Error> {
        loop {
            if self.left == 0 {
                self.close().await;
            }
            let has_cursors = self.has_cursors();
            let mut documents = match &mut self.next {
                Next::End => return Ok(None),
                Next::Begin if has_cursors => self.open_cursor().await?,
                Next::Begin if !self.wanted.sort.is_empty() => {
                    return Err(Error::new(
                        ErrorCode::Unavailable,
                        "this version has no cursors, so only the order of _id can be exported",
                    ));
                }
                Next::Begin => {
                    self.next = Next::Range { bracket: 0, after: None };
                    continue;
                }
                Next::Cursor(cursor) => {
                    let cursor = std::mem::take(cursor);
                    let next = Value::Array(vec!["next".into(), cursor.into(), page_option()]);
                    let answer = self.client.call(call_from_value(next)?).await?;
                    self.take_page(answer)?
                }
                Next::Range { bracket, after } => {
                    let (bracket, after) = (*bracket, after.take());
                    self.range(bracket, after).await?
                }
            };
            if documents.is_empty() && self.too_long.is_empty() {
                continue;
            }
            documents.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= documents.len() as u64;
            return Ok(Some(documents));
        }
    }

    /// A folder that is only read has nobody who would keep a cursor.
    fn has_cursors(&self) -> bool {
        self.level != Level::Local && Operation::find("next").is_some()
    }

    /// The rest is not wanted.
    async fn close(&mut self) {
        if let Next::Cursor(cursor) = std::mem::replace(&mut self.next, Next::End)
            && let Ok(call) = call_from_value(Value::Array(vec!["close".into(), cursor.into()]))
        {
            // If it does not arrive, the node closes the cursor after a while.
            let _ = self.client.call(call).await;
        }
    }

    async fn open_cursor(&mut self) -> Result<Vec<Document>, Error> {
        let mut options = Document::new();
        let id_order = Document::from_iter([(ID_FIELD.to_string(), Value::Int64(1))]);
        let sort = if self.wanted.sort.is_empty() { id_order } else { self.wanted.sort.clone() };
        options.insert("sort", sort);
        options.insert("batch", i64::try_from(PAGE_DOCUMENTS.min(self.left)).unwrap_or(i64::MAX));
        options.insert("pass_long", true);
        if let Some(fields) = self.projection() {
            options.insert("fields", fields);
        }
        if let Some(limit) = self.wanted.limit {
            options.insert("limit", i64::try_from(limit).unwrap_or(i64::MAX));
        }
        let search = Value::Array(vec![
            "search".into(),
            self.wanted.collection.clone().into(),
            self.wanted.filter.clone().into(),
            options.into(),
        ]);
        let mut call = call_from_value(search)?;
        call.options.level = self.level;
        let answer = self.client.call(call).await?;
        self.take_page(answer)
    }

    /// Reads `{"documents": […], "cursor": …}`; a plain list is all there is.
    fn take_page(&mut self, answer: Value) -> Result<Vec<Document>, Error> {
        self.next = Next::End;
        let Value::Document(mut page) = answer else { return documents(answer) };
        if let Some(Value::String(cursor)) = page.remove("cursor") {
            self.next = Next::Cursor(cursor);
        }
        if let Some(Value::Array(mut ids)) = page.remove("too_long") {
            self.too_long.append(&mut ids);
        }
        documents(page.remove("documents").unwrap_or(Value::Null))
    }

    async fn range(
        &mut self,
        bracket: usize,
        after: Option<Value>,
    ) -> Result<Vec<Document>, Error> {
        let brackets = brackets();
        let Some(least) = brackets.get(bracket) else {
            self.next = Next::End;
            return Ok(Vec::new());
        };
        let condition = match (&after, least) {
            (Some(after), _) => single("$gt", after.clone()),
            (None, Value::Null) => single("$eq", Value::Null),
            (None, least) => single("$gte", least.clone()),
        };
        let ids = Value::Document(single(ID_FIELD, condition.into()));
        let parts = Value::Array(vec![self.wanted.filter.clone().into(), ids]);
        let limit = PAGE_DOCUMENTS.min(self.left);
        let search = SearchOptions {
            sort: vec![(ID_FIELD.to_string(), 1)],
            limit: Some(limit),
            fields: self.projection(),
            ..SearchOptions::default()
        };
        let (collection, filter) = (self.wanted.collection.clone(), single("$and", parts));
        let request = Request::Search { collection, filter, search };
        let options = Options { level: self.level, ..Options::default() };
        let answer = self.client.call(Call { request, options }).await?;
        let found = documents(answer)?;
        let last = found.last().and_then(|document| document.get(ID_FIELD)).cloned();
        self.next = match last {
            Some(last) if found.len() as u64 == limit => Next::Range { bracket, after: Some(last) },
            _ => Next::Range { bracket: bracket + 1, after: None },
        };
        Ok(found)
    }

    /// The wanted fields; `_id` comes always, as ranges go by it.
    fn projection(&self) -> Option<Document> {
        let fields = &self.wanted.fields;
        let shown = fields.iter().map(|field| (field.clone(), Value::Int64(1)));
        (!fields.is_empty()).then(|| shown.collect())
    }
}

fn page_option() -> Value {
    let mut options = single("batch", Value::Int64(PAGE_DOCUMENTS as i64));
    options.insert("pass_long", true);
    Value::Document(options)
}

fn single(name: &str, value: Value) -> Document {
    Document::from_iter([(name.to_string(), value)])
}

fn documents(answer: Value) -> Result<Vec<Document>, Error> {
    let odd = || Error::new(ErrorCode::Internal, "the node answered a search with something odd");
    let Value::Array(items) = answer else { return Err(odd()) };
    let document = |item| match item {
        Value::Document(document) => Ok(document),
        _ => Err(odd()),
    };
    items.into_iter().map(document).collect()
}

/// The least value of each kind of `_id`, in their order: a comparison finds only values of its own kind.
fn brackets() -> Vec<Value> {
    let binary = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: Vec::new() };
    vec![
        Value::Null,
        Value::Double(f64::NEG_INFINITY),
        Value::String(String::new()),
        Value::Document(Document::new()),
        Value::Array(Vec::new()),
        Value::Binary(binary),
        Value::ObjectId(bson::oid::ObjectId::from_bytes([0; 12])),
        Value::Boolean(false),
        Value::DateTime(bson::DateTime::MIN),
    ]
}
