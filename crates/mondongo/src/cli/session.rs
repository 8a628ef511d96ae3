//! One session: a line of text to a request to the group to text.

use super::language::{self, Command, SyntaxError};
use super::{render, request};
use api::value::Document;
use api::{
    Call, Error, ErrorCode, Level, Options, Request, Schema, SearchOptions, UpdateOptions, Value,
    json, parse,
};
use client::Client;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a schema is believed before it is asked for again. Another client may remove a collection
/// and make another of its name.
const SCHEMA_AGE_MAX: Duration = Duration::from_secs(1);

/// A client with what the prompt knows of the store.
pub(super) struct Session {
    client: Client,
    /// How fresh reads are.
    level: Level,
    json: bool,
    schemas: BTreeMap<String, (Schema, Instant)>,
}

/// What a line came to.
pub(super) struct Outcome {
    /// For the standard output.
    pub(super) output: String,
    /// For the error output.
    pub(super) error: String,
    pub(super) verdict: Verdict,
}

/// Whether and how to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Failed,
    /// It failed because no node answered; the next command would fare no better.
    Unreachable,
    Exit,
}

/// What a command answers, in both of its forms.
struct Answer {
    value: Value,
    text: String,
}

enum Failure {
    Syntax(SyntaxError),
    Refused(Error),
}

impl Session {
    pub(super) fn new(client: Client, json: bool) -> Session {
        Session { client, level: Level::default(), json, schemas: BTreeMap::new() }
    }

    /// From here on reads show what the node knows that is talked to.
    pub(super) fn read_locally(&mut self) {
        self.level = Level::Local;
    }

    async fn request(&self, request: Request) -> Result<Value, Error> {
        let level = if is_read(&request) { self.level } else { Level::default() };
        self.client.call(Call { request, options: Options { level, ..Options::default() } }).await
    }

    /// Runs one line.
    pub(super) async fn run(&mut self, line: &str) -> Outcome {
        let line = line.trim_end();
        match language::parse(line) {
            Ok(Command::Nothing) => Outcome::done(String::new()),
            Ok(Command::Exit) => {
                let answer = Answer::of_text("Bye");
                Outcome { verdict: Verdict::Exit, ..self.success(&answer) }
            }
            Ok(Command::Raw(text)) => self.run_raw(&text).await,
            Ok(command) => match self.execute(command).await {
                Ok(answer) => self.success(&answer),
                Err(failure) => self.failure(line, failure),
            },
            Err(error) => self.failure(line, Failure::Syntax(error)),
        }
    }

    /// The names and schemas of all collections, asked of the group.
    pub(super) async fn catalog(&self) -> Result<Vec<(String, Schema, Value)>, Error> {
        let answer = self.request(Request::Describe { collection: None }).await?;
        collections(&answer)
    }

    async fn execute(&mut self, command: Command) -> Result<Answer, Failure> {
        let answer = match command {
            Command::Nothing | Command::Exit | Command::Raw(_) => Answer::of_text(""),
            Command::Help => Answer::of_text(render::HELP),
            Command::AddCollection { collection, fields } => {
                let schema = parse::parse_schema(&request::schema_document(&fields)?)?;
                self.schemas.remove(&collection);
                let value = self.request(Request::Create { collection, schema }).await?;
                Answer { value, text: "Col added.\n".to_string() }
            }
            Command::RemoveCollection { collection } => {
                self.schemas.remove(&collection);
                let value = self.request(Request::Destroy { collection }).await?;
                Answer { value, text: "Col removed.\n".to_string() }
            }
            Command::Describe { collection } => self.describe(collection).await?,
            Command::Add { collection, fields } => {
                let document = request::document(&fields, &self.schema(&collection).await?)?;
                let documents = vec![document];
                let insert = Request::Insert { collection, documents, list: false };
                let value = self.request(insert).await?;
                let text = format!("Doc added with _id {}.\n", render::scalar(&value));
                Answer { value, text }
            }
            Command::Search { collection, conditions } => {
                let filter = request::filter(&conditions, &self.schema(&collection).await?)?;
                let search = SearchOptions::default();
                let value = self.request(Request::Search { collection, filter, search }).await?;
                Answer { text: render::documents(&value), value }
            }
            Command::Update { collection, conditions, changes } => {
                let schema = self.schema(&collection).await?;
                let filter = request::filter(&conditions, &schema)?;
                let changes = request::document(&changes, &schema)?;
                let options = UpdateOptions::default();
                let value =
                    self.request(Request::Update { collection, filter, changes, options }).await?;
                Answer { text: render::count(&value, "updated"), value }
            }
            Command::Remove { collection, conditions } => {
                let filter = request::filter(&conditions, &self.schema(&collection).await?)?;
                let value =
                    self.request(Request::Delete { collection, filter, multi: true }).await?;
                Answer { text: render::count(&value, "removed"), value }
            }
            Command::Get { .. }
            | Command::Put { .. }
            | Command::Swap { .. }
            | Command::Cas { .. } => self.execute_on_key(command).await?,
            Command::Status => {
                let value = self.request(Request::Status { hash: false }).await?;
                Answer { text: render::report(&value), value }
            }
            Command::Members => {
                let value = self.request(Request::Members).await?;
                Answer { text: render::report(&value), value }
            }
            Command::Fault(switch) => {
                let value = self.request(Request::Fault(switch)).await?;
                let node = self.client.connected_to().await.unwrap_or_default();
                Answer { text: render::faults(&node, &value), value }
            }
        };
        Ok(answer)
    }

    async fn execute_on_key(&self, command: Command) -> Result<Answer, Failure> {
        let shown = |value: &Value| match value {
            Value::Null => "(none)".to_string(),
            other => render::scalar(other),
        };
        Ok(match command {
            Command::Get { key } => {
                let request = Request::Read { key, empty_if_absent: false };
                let value = self.request(request).await?;
                Answer { text: format!("{}\n", shown(&value)), value }
            }
            Command::Put { key, value } => {
                let value = request::untyped(&value);
                let value = self.request(Request::Write { key, value }).await?;
                Answer { text: "Key written.\n".to_string(), value }
            }
            Command::Swap { key, value } => {
                let value = request::untyped(&value);
                let value = self.request(Request::Swap { key, value }).await?;
                Answer { text: format!("Key written, it was: {}\n", shown(&value)), value }
            }
            Command::Cas { key, expected, value } => {
                let (expected, value) = (request::untyped(&expected), request::untyped(&value));
                let value = self.request(Request::Cas { key, expected, value }).await?;
                let swapped = document_field(&value, "swapped") == Some(&Value::Boolean(true));
                let text = if swapped {
                    "Key written.\n".to_string()
                } else {
                    let current = document_field(&value, "current").unwrap_or(&Value::Null);
                    format!("Key not written, it is: {}\n", shown(current))
                };
                Answer { value, text }
            }
            _ => Answer::of_text(""),
        })
    }

    async fn describe(&self, collection: Option<String>) -> Result<Answer, Failure> {
        let value = self.request(Request::Describe { collection: collection.clone() }).await?;
        let described = match collection {
            Some(name) => {
                let whole = Document::from_iter([(name, value.clone())]);
                collections(&Value::Document(whole))?
            }
            None => collections(&value)?,
        };
        Ok(Answer { text: render::collections(&described), value })
    }

    /// A request as the native protocol has it; its answer is shown as it has it, too.
    async fn run_raw(&mut self, text: &str) -> Outcome {
        let answer = match parse::parse_call(text.as_bytes()) {
            Ok(mut call) => {
                self.schemas.clear();
                if self.level == Level::Local && is_read(&call.request) {
                    call.options.level = Level::Local;
                }
                self.client.call(call).await
            }
            Err(error) => Err(error),
        };
        let verdict = answer.as_ref().map_or_else(verdict_of, |_| Verdict::Done);
        Outcome { output: reply_line(&answer), error: String::new(), verdict }
    }

    async fn schema(&mut self, collection: &str) -> Result<Schema, Failure> {
        if let Some((schema, asked)) = self.schemas.get(collection)
            && asked.elapsed() < SCHEMA_AGE_MAX
        {
            return Ok(schema.clone());
        }
        let asked = Instant::now();
        let request = Request::Describe { collection: Some(collection.to_string()) };
        let schema = schema_of(collection, &self.request(request).await?)?;
        self.schemas.insert(collection.to_string(), (schema.clone(), asked));
        Ok(schema)
    }

    fn success(&self, answer: &Answer) -> Outcome {
        Outcome::done(if self.json {
            reply_line(&Ok(answer.value.clone()))
        } else {
            answer.text.clone()
        })
    }

    fn failure(&self, line: &str, failure: Failure) -> Outcome {
        let (error, pointer) = match failure {
            Failure::Refused(error) => (error, String::new()),
            Failure::Syntax(SyntaxError { position, message }) if self.json => {
                let message = format!("at character {}: {message}", position + 1);
                (Error::new(ErrorCode::BadRequest, message), String::new())
            }
            Failure::Syntax(SyntaxError { position, message }) => {
                let pointer = render::pointer(line, position);
                (Error::new(ErrorCode::BadRequest, message), pointer)
            }
        };
        let verdict = verdict_of(&error);
        if self.json {
            return Outcome { output: reply_line(&Err(error)), error: String::new(), verdict };
        }
        let text = if pointer.is_empty() {
            format!("Error: {error}\n")
        } else {
            format!("{pointer}Error: {}\n", error.message)
        };
        Outcome { output: String::new(), error: text, verdict }
    }
}

impl Outcome {
    fn done(output: String) -> Outcome {
        Outcome { output, error: String::new(), verdict: Verdict::Done }
    }
}

impl Answer {
    fn of_text(text: &str) -> Answer {
        let text = text.trim_end();
        Answer { value: Value::String(text.to_string()), text: format!("{text}\n") }
    }
}

impl From<SyntaxError> for Failure {
    fn from(error: SyntaxError) -> Failure {
        Failure::Syntax(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Refused(error)
    }
}

/// Whether it reads the store, so that it may say how fresh the answer must be.
fn is_read(request: &Request) -> bool {
    let is_about_the_node = matches!(
        request,
        Request::Status { .. }
            | Request::Members
            | Request::Member(_)
            | Request::Fault(_)
            | Request::Hello { .. }
    );
    !request.is_write() && !is_about_the_node
}

fn verdict_of(error: &Error) -> Verdict {
    match error.code {
        ErrorCode::Down | ErrorCode::Timeout => Verdict::Unreachable,
        _ => Verdict::Failed,
    }
}

/// One line of JSON, as on the wire.
fn reply_line(reply: &Result<Value, Error>) -> String {
    let mut out = Vec::new();
    if let Err(error) = json::write_reply(reply, usize::MAX, &mut out) {
        return format!("[\"ko\",\"{error}\"]\n");
    }
    out.push(b'\n');
    String::from_utf8_lossy(&out).into_owned()
}

fn document_field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Document(document) => document.get(name),
        _ => None,
    }
}

/// Reads the answer to `describe`.
fn collections(answer: &Value) -> Result<Vec<(String, Schema, Value)>, Error> {
    let Value::Document(all) = answer else { return Ok(Vec::new()) };
    all.iter()
        .map(|(name, description)| {
            let count = document_field(description, "documents").unwrap_or(&Value::Null).clone();
            Ok((name.clone(), schema_of(name, description)?, count))
        })
        .collect()
}

fn schema_of(collection: &str, description: &Value) -> Result<Schema, Error> {
    match document_field(description, "schema") {
        Some(Value::Document(schema)) => parse::parse_schema(schema),
        _ => Err(Error::new(
            ErrorCode::Internal,
            format!("the node described {collection} without its schema"),
        )),
    }
}
