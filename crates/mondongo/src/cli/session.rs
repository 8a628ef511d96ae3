//! One session: a line of text to a request to the group to text.

use super::language::{self, Command, Output, Setting, SyntaxError};
use super::operations::{self, Typed};
use super::{help, render, request, table};
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

/// Documents that are asked for at once.
const PAGE_DOCUMENTS: i64 = 1000;

/// A client with what the prompt knows of the store.
pub(super) struct Session {
    client: Client,
    /// How fresh reads are.
    level: Level,
    output: Output,
    timing: bool,
    /// Whether long answers are shown page by page, where that is possible.
    pager: bool,
    /// Most documents of one answer; none: all.
    documents_max: Option<usize>,
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
    /// Whether it is a list of documents, which may be shown as a table.
    is_list: bool,
}

enum Failure {
    Syntax(SyntaxError),
    Refused(Error),
}

impl Session {
    pub(super) fn new(client: Client, output: Output) -> Session {
        Session {
            client,
            level: Level::default(),
            output,
            timing: false,
            pager: true,
            documents_max: None,
            schemas: BTreeMap::new(),
        }
    }

    /// From here on an answer has so many documents at most, and no more are fetched.
    pub(super) fn limit_documents(&mut self, documents_max: usize) {
        self.documents_max = Some(documents_max);
    }

    /// From here on long answers are shown at once.
    pub(super) fn without_pager(&mut self) {
        self.pager = false;
    }

    /// Whether long answers are shown page by page.
    pub(super) fn wants_pager(&self) -> bool {
        self.pager && self.output != Output::Json
    }

    /// Where the group can be reached, as far as is known.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.client.addresses()
    }

    /// The names of the fields of some documents of a collection.
    pub(super) async fn sample(&self, collection: &str) -> Result<Vec<String>, Error> {
        const SAMPLE: u64 = 20;
        let search = SearchOptions { limit: Some(SAMPLE), ..SearchOptions::default() };
        let (collection, filter) = (collection.to_string(), Document::new());
        let found = self.request(Request::Search { collection, filter, search }).await?;
        let mut names: Vec<String> = Vec::new();
        if let Value::Array(documents) = &found {
            for name in documents.iter().filter_map(Value::as_document).flat_map(Document::keys) {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        Ok(names)
    }

    /// From here on reads show what the node knows that is talked to.
    pub(super) fn read_locally(&mut self) {
        self.level = Level::Local;
    }

    async fn request(&self, request: Request) -> Result<Value, Error> {
        let level = if is_read(&request) { self.level } else { Level::default() };
        self.client.call(Call { request, options: Options { level, ..Options::default() } }).await
    }

    /// Runs one command, which may have several lines.
    pub(super) async fn run(&mut self, text: &str) -> Outcome {
        let began = Instant::now();
        let mut outcome = self.run_untimed(text.trim_end()).await;
        if self.timing && outcome.verdict != Verdict::Exit {
            let time = format!("({:.1} ms)\n", began.elapsed().as_secs_f64() * 1e3);
            match self.output {
                Output::Json => outcome.error += &time,
                Output::Blocks | Output::Table => outcome.output += &time,
            }
        }
        outcome
    }

    async fn run_untimed(&mut self, text: &str) -> Outcome {
        match language::parse(text) {
            Ok(Command::Nothing) => Outcome::done(String::new()),
            Ok(Command::Exit) => {
                let answer = Answer::of_text("Bye");
                Outcome { verdict: Verdict::Exit, ..self.success(&answer) }
            }
            Ok(Command::Raw(raw)) => self.run_raw(&raw).await,
            Ok(command) => match self.execute(command).await {
                Ok(answer) => self.success(&answer),
                Err(failure) => self.failure(text, failure),
            },
            Err(error) => self.failure(text, Failure::Syntax(error)),
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
            Command::Help { topic: None } => Answer::of_text(help::HELP),
            Command::Help { topic: Some(topic) } => match help::about(&topic) {
                Some(text) => Answer::of_text(&text),
                None => {
                    let message = format!("there is no command {topic:?}; help lists all");
                    return Err(Error::new(ErrorCode::BadRequest, message).into());
                }
            },
            Command::Set(setting) => self.set(setting),
            Command::Operation(typed) => self.operate(&typed).await?,
            Command::Count { collection, conditions } => {
                let filter = request::filter(&conditions, &self.schema(&collection).await?)?;
                let search = SearchOptions { count: true, ..SearchOptions::default() };
                let value = self.request(Request::Search { collection, filter, search }).await?;
                Answer { text: format!("{}\n", render::scalar(&value)), value, is_list: false }
            }
            Command::Distinct { collection, field, conditions } => {
                let filter = request::filter(&conditions, &self.schema(&collection).await?)?;
                let list = vec![
                    "distinct".into(),
                    collection.into(),
                    field.into(),
                    Value::Document(filter),
                ];
                let value = self.call(parse::call_from_value(Value::Array(list))?).await?;
                Answer { text: render::answer(&value), value, is_list: false }
            }
            Command::AddCollection { collection, fields } => {
                let schema = parse::parse_schema(&request::schema_document(&fields)?)?;
                self.schemas.remove(&collection);
                let value = self.request(Request::Create { collection, schema }).await?;
                Answer { value, text: "Col added.\n".to_string(), is_list: false }
            }
            Command::RemoveCollection { collection } => {
                self.schemas.remove(&collection);
                let value = self.request(Request::Destroy { collection }).await?;
                Answer { value, text: "Col removed.\n".to_string(), is_list: false }
            }
            Command::Describe { collection } => self.describe(collection).await?,
            Command::Add { collection, fields } => {
                let document = request::document(&fields, &self.schema(&collection).await?)?;
                let documents = vec![document];
                let insert = Request::Insert { collection, documents, list: false };
                let value = self.request(insert).await?;
                let text = format!("Doc added with _id {}.\n", render::scalar(&value));
                Answer { value, text, is_list: false }
            }
            Command::Search { collection, conditions } => {
                let filter = request::filter(&conditions, &self.schema(&collection).await?)?;
                let list = vec!["search".into(), collection.into(), Value::Document(filter)];
                let (value, more) = self.search(list).await?;
                Answer { text: render::documents(&value) + more, value, is_list: true }
            }
            Command::Update { collection, conditions, changes } => {
                let schema = self.schema(&collection).await?;
                let filter = request::filter(&conditions, &schema)?;
                let changes = request::document(&changes, &schema)?;
                let options = UpdateOptions::default();
                let value =
                    self.request(Request::Update { collection, filter, changes, options }).await?;
                Answer { text: render::count(&value, "updated"), value, is_list: false }
            }
            Command::Remove { collection, conditions } => {
                let filter = request::filter(&conditions, &self.schema(&collection).await?)?;
                let value =
                    self.request(Request::Delete { collection, filter, multi: true }).await?;
                Answer { text: render::count(&value, "removed"), value, is_list: false }
            }
            Command::Get { .. }
            | Command::Put { .. }
            | Command::Swap { .. }
            | Command::Cas { .. } => self.execute_on_key(command).await?,
            Command::Status => {
                let value = self.request(Request::Status { hash: false }).await?;
                Answer { text: render::report(&value), value, is_list: false }
            }
            Command::Members => {
                let value = self.request(Request::Members).await?;
                Answer { text: render::report(&value), value, is_list: false }
            }
            Command::Fault(switch) => {
                let value = self.request(Request::Fault(switch)).await?;
                let node = self.client.connected_to().await.unwrap_or_default();
                Answer { text: render::faults(&node, &value), value, is_list: false }
            }
        };
        Ok(answer)
    }

    fn set(&mut self, setting: Setting) -> Answer {
        match setting {
            Setting::Output(output) => self.output = output,
            Setting::Timing(on) => self.timing = on,
            Setting::Pager(on) => self.pager = on,
        }
        Answer::of_text("Set.")
    }

    /// Carries out an operation of the protocol, and says in its own words what there are words for.
    async fn operate(&mut self, typed: &Typed) -> Result<Answer, Failure> {
        let call = typed.call()?;
        self.schemas.clear();
        let name = call.request.name();
        let is_plain_search = matches!(
            &call.request,
            Request::Search { search, .. } if !search.count && !search.explain
        );
        if is_plain_search && let Value::Array(list) = &typed.request {
            let (value, more) = self.search(list.clone()).await?;
            let is_list = matches!(value, Value::Array(_));
            return Ok(Answer { text: render::answer(&value) + more, value, is_list });
        }
        let value = self.call(call).await?;
        let text = match (name, &value) {
            ("create", Value::Null) => "Col added.\n".into(),
            ("destroy", Value::Null) => "Col removed.\n".into(),
            ("insert", Value::Array(ids)) => {
                let ids: Vec<String> = ids.iter().map(render::scalar).collect();
                format!("{} docs added with _id {}.\n", ids.len(), ids.join(", "))
            }
            ("insert", id) => format!("Doc added with _id {}.\n", render::scalar(id)),
            ("update" | "replace", Value::Int32(_) | Value::Int64(_)) => {
                render::count(&value, "updated")
            }
            ("delete", Value::Int32(_) | Value::Int64(_)) => render::count(&value, "removed"),
            ("write", _) => "Key written.\n".into(),
            (_, value) => render::answer(value),
        };
        let is_list = matches!(value, Value::Array(_));
        Ok(Answer { value, text, is_list })
    }

    /// Shows changes as they come, for ever or until something goes wrong.
    pub(super) async fn follow(&mut self, typed: &Typed, mut show: impl FnMut(&str)) -> Outcome {
        let mut request = typed.request.clone();
        loop {
            let call = match parse::call_from_value(request.clone()) {
                Ok(call) => call,
                Err(_) => match typed.call() {
                    Err(error) => return self.failure("", Failure::Syntax(error)),
                    Ok(_) => return Outcome::done(String::new()),
                },
            };
            let mut answer = match self.call(call).await {
                Ok(Value::Document(answer)) => answer,
                Ok(other) => return Outcome::done(render::answer(&other)),
                Err(error) => return self.failure("", Failure::Refused(error)),
            };
            if let Some(Value::Array(events)) = answer.get("events") {
                events.iter().for_each(|event| show(&format!("{}\n", json::to_string(event))));
            }
            // Each answer says where the next one begins.
            let Some(next) = answer.remove("next") else { return Outcome::done(String::new()) };
            if let Value::Array(items) = &mut request
                && let Some(Value::Document(subject)) = items.get_mut(1)
            {
                subject.insert("from", next);
            }
        }
    }

    /// Sends a search, part by part where the node has cursors, up to the limit of this session; behind it what is to be
    /// told of the rest.
    async fn search(&self, mut list: Vec<Value>) -> Result<(Value, &'static str), Error> {
        const ALL: &str = "";
        const MORE: &str = "There are more; give a limit, or export the collection.\n";
        // A folder that is only read has nobody who would keep a cursor.
        let has_cursors = parse::Operation::find("next").is_some() && self.level != Level::Local;
        const WITHOUT_OPTIONS: usize = 3;
        if list.len() == WITHOUT_OPTIONS {
            list.push(Value::Document(Document::new()));
        }
        match list.last_mut() {
            Some(Value::Document(options)) if has_cursors && !options.contains_key("batch") => {
                options.insert("batch", PAGE_DOCUMENTS);
            }
            _ => return Ok((self.call(parse::call_from_value(Value::Array(list))?).await?, ALL)),
        }
        let mut answer = self.call(parse::call_from_value(Value::Array(list))?).await?;
        let mut all = Vec::new();
        loop {
            let Value::Document(mut page) = answer else { return Ok((answer, ALL)) };
            if let Some(Value::Array(mut documents)) = page.remove("documents") {
                all.append(&mut documents);
            }
            let Some(Value::String(cursor)) = page.remove("cursor") else {
                return Ok((Value::Array(all), ALL));
            };
            if self.documents_max.is_some_and(|most| all.len() >= most) {
                let close = Value::Array(vec!["close".into(), cursor.into()]);
                // If it does not arrive, the node closes the cursor after a while.
                let _ = self.client.call(parse::call_from_value(close)?).await;
                return Ok((Value::Array(all), MORE));
            }
            let next = Value::Array(vec!["next".into(), cursor.into()]);
            answer = self.client.call(parse::call_from_value(next)?).await?;
        }
    }

    async fn call(&self, mut call: Call) -> Result<Value, Error> {
        if self.level == Level::Local && is_read(&call.request) {
            call.options.level = Level::Local;
        }
        self.client.call(call).await
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
                Answer { text: format!("{}\n", shown(&value)), value, is_list: false }
            }
            Command::Put { key, value } => {
                let value = request::untyped(&value);
                let value = self.request(Request::Write { key, value }).await?;
                Answer { text: "Key written.\n".to_string(), value, is_list: false }
            }
            Command::Swap { key, value } => {
                let value = request::untyped(&value);
                let value = self.request(Request::Swap { key, value }).await?;
                Answer {
                    text: format!("Key written, it was: {}\n", shown(&value)),
                    value,
                    is_list: false,
                }
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
                Answer { value, text, is_list: false }
            }
            _ => Answer::of_text(""),
        })
    }

    async fn describe(&self, collection: Option<String>) -> Result<Answer, Failure> {
        let value = self.request(Request::Describe { collection: collection.clone() }).await?;
        let whole = match collection {
            Some(name) => Value::Document(Document::from_iter([(name, value.clone())])),
            None => value.clone(),
        };
        let text = render::collections(&collections(&whole)?, &whole);
        Ok(Answer { text, value, is_list: false })
    }

    /// A request as the native protocol has it; its answer is shown as it has it, too.
    async fn run_raw(&mut self, text: &str) -> Outcome {
        let answer = match parse::parse_call(text.as_bytes()) {
            Ok(call) => {
                self.schemas.clear();
                self.call(call).await
            }
            Err(error) => Err(error),
        };
        let verdict = answer.as_ref().map_or_else(verdict_of, |_| Verdict::Done);
        let pointed = match &answer {
            Err(error) if self.output != Output::Json && error.message.contains(" at line ") => {
                let place = operations::json_error(text, 0, error).position;
                render::pointer(text, place)
            }
            _ => String::new(),
        };
        Outcome { output: reply_line(&answer), error: pointed, verdict }
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
        let as_table = || match &answer.value {
            Value::Array(items) if answer.is_list => table::table(items),
            _ => None,
        };
        Outcome::done(match self.output {
            Output::Json => reply_line(&Ok(answer.value.clone())),
            Output::Table => as_table().unwrap_or_else(|| answer.text.clone()),
            Output::Blocks => answer.text.clone(),
        })
    }

    fn failure(&self, line: &str, failure: Failure) -> Outcome {
        let (error, pointer) = match failure {
            Failure::Refused(error) => (error, String::new()),
            Failure::Syntax(SyntaxError { position, message }) if self.output == Output::Json => {
                let message = format!("at character {}: {message}", position + 1);
                (Error::new(ErrorCode::BadRequest, message), String::new())
            }
            Failure::Syntax(SyntaxError { position, message }) => {
                let pointer = render::pointer(line, position);
                (Error::new(ErrorCode::BadRequest, message), pointer)
            }
        };
        let verdict = verdict_of(&error);
        if self.output == Output::Json {
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
        Answer { value: Value::String(text.to_string()), text: format!("{text}\n"), is_list: false }
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
    const READS: [&str; 6] = ["read", "search", "describe", "count", "distinct", "aggregate"];
    READS.contains(&request.name())
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
