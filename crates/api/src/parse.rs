//! Request lists to [`Call`]s (spec §3): `[operation, arg1, …]`, optionally with one options object
//! at the end.
//!
//! Whether a last object is an argument or the options is decided by the operation's number of
//! arguments alone: `["write","k",{"a":1}]` writes an object, `["write","k",{"a":1},{"ref":"c:1"}]`
//! writes it under a reference.
//!
//! Every refusal names the operation, the position of the argument (the operation's name is
//! position 0), what was expected and what was there.

mod arguments;
mod feeds;
mod index;
mod options;
mod queries;
mod schema;

pub use feeds::parse_place;
pub use index::parse_index_keys;
pub use schema::{parse_schema, schema_document};

use crate::error::{Error, ErrorCode};
use crate::json::{self, NESTING_OF_REQUEST, VALUES_MAX};
use crate::reference::Reference;
use crate::request::{Call, FaultSwitch, MemberChange, Request, SearchOptions};
use crate::value::{Document, Value};
use arguments::{Arguments, got, path_of};
use options::OptionReader;

/// Every operation with its other names and its argument names. A `?` marks an argument that may be
/// left out.
pub const OPERATIONS: &[Operation] = &[
    Operation { name: "create", aliases: &[], arguments: &["collection", "schema"] },
    Operation { name: "describe", aliases: &[], arguments: &["collection?"] },
    Operation { name: "destroy", aliases: &[], arguments: &["collection"] },
    Operation { name: "insert", aliases: &[], arguments: &["collection", "documents"] },
    Operation { name: "search", aliases: &[], arguments: &["collection", "query"] },
    Operation { name: "update", aliases: &[], arguments: &["collection", "query", "changes"] },
    Operation { name: "replace", aliases: &[], arguments: &["collection", "query", "document"] },
    Operation { name: "modify", aliases: &[], arguments: &["collection", "query", "changes"] },
    Operation { name: "delete", aliases: &[], arguments: &["collection", "query"] },
    Operation { name: "count", aliases: &[], arguments: &["collection", "query"] },
    Operation { name: "distinct", aliases: &[], arguments: &["collection", "field", "query"] },
    Operation { name: "aggregate", aliases: &[], arguments: &["collection", "pipeline"] },
    Operation { name: "create_index", aliases: &[], arguments: &["collection", "keys"] },
    Operation { name: "drop_index", aliases: &[], arguments: &["collection", "name"] },
    Operation { name: "alter", aliases: &[], arguments: &["collection", "changes"] },
    Operation { name: "read", aliases: &["lee", "get"], arguments: &["key"] },
    Operation { name: "write", aliases: &["escribe", "put"], arguments: &["key", "value"] },
    Operation {
        name: "swap",
        aliases: &["write_hash", "escribe_hash"],
        arguments: &["key", "value"],
    },
    Operation { name: "cas", aliases: &[], arguments: &["key", "expected", "value"] },
    Operation { name: "batch", aliases: &[], arguments: &["requests"] },
    Operation {
        name: "expect",
        aliases: &[],
        arguments: &["key or collection", "value or query", "count?"],
    },
    Operation { name: "next", aliases: &[], arguments: &["cursor"] },
    Operation { name: "close", aliases: &[], arguments: &["cursor"] },
    Operation { name: "watch", aliases: &[], arguments: &["subject"] },
    Operation { name: "forget", aliases: &["borrar_ref"], arguments: &["reference"] },
    Operation { name: "status", aliases: &[], arguments: &[] },
    Operation { name: "members", aliases: &[], arguments: &[] },
    Operation { name: "member", aliases: &[], arguments: &["action", "node?"] },
    Operation { name: "deaf", aliases: &["sordo"], arguments: &[] },
    Operation { name: "listen", aliases: &["escucha"], arguments: &[] },
    Operation { name: "unreliable", aliases: &["no_fiable"], arguments: &["loss"] },
    Operation { name: "reliable", aliases: &["fiable"], arguments: &[] },
    Operation { name: "hello", aliases: &[], arguments: &["settings"] },
];

/// One operation of the native protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its name.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// The names of its arguments; one that ends in `?` may be left out.
    pub arguments: &'static [&'static str],
}

impl Operation {
    /// The operation called `name`, or so called by an alias.
    pub fn find(name: &str) -> Option<&'static Operation> {
        OPERATIONS
            .iter()
            .find(|operation| operation.name == name || operation.aliases.contains(&name))
    }

    /// How it is written, for error messages and help: `["cas", key, expected, value]`.
    pub fn usage(&self) -> String {
        let mut text = format!("[\"{}\"", self.name);
        for argument in self.arguments {
            text.push_str(", ");
            text.push_str(argument);
        }
        text.push(']');
        text
    }

    fn required(&self) -> usize {
        self.arguments.iter().filter(|argument| !argument.ends_with('?')).count()
    }
}

/// Reads a request from JSON text.
///
/// # Errors
/// [`ErrorCode::BadRequest`] for broken JSON, wrong arity or a wrong type;
/// [`ErrorCode::UnknownOperation`]; [`ErrorCode::UnknownOption`]; [`ErrorCode::TooLarge`] for a name
/// or key that is too long.
pub fn parse_call(text: &[u8]) -> Result<Call, Error> {
    call_from_value(json::parse_nested(text, NESTING_OF_REQUEST, VALUES_MAX)?)
}

/// Reads a request from its list.
///
/// # Errors
/// As [`parse_call`].
pub fn call_from_value(request: Value) -> Result<Call, Error> {
    let call = read_call(request)?;
    if let Request::Expect(_) = call.request {
        return Err(bad(
            "expect is a condition of a batch: write it into one, [\"batch\", [[\"expect\", …], …]]",
        ));
    }
    Ok(call)
}

/// Reads a request, or a condition of a batch.
fn read_call(request: Value) -> Result<Call, Error> {
    let mut items = match request {
        Value::Array(items) => items.into_iter(),
        other => {
            return Err(bad(format!(
                "a request is a list [operation, arg1, …], got {}",
                got(&other)
            )));
        }
    };
    let name = match items.next() {
        Some(Value::String(name)) => name,
        Some(other) => {
            return Err(bad(format!(
                "argument 0 (operation) must be a string, got {}",
                got(&other)
            )));
        }
        None => return Err(bad("the request is an empty list, it lacks the operation")),
    };
    let operation = Operation::find(&name).ok_or_else(|| unknown_operation(&name))?;
    let (arguments, options) = split_options(operation, items.collect())?;
    parse_operation(
        operation,
        Arguments::new(operation, arguments),
        OptionReader::new(operation, options),
    )
}

/// Takes the options object off the end, as the number of arguments decides.
fn split_options(
    operation: &Operation,
    mut arguments: Vec<Value>,
) -> Result<(Vec<Value>, Document), Error> {
    let required = operation.required();
    let count_max = operation.arguments.len();
    // An argument that may be left out is a name, never an object, so an object in its place is
    // the options.
    let has_options = arguments.len() > required
        && arguments.len() <= count_max + 1
        && matches!(arguments.last(), Some(Value::Document(_)));
    let options = match arguments.pop_if(|_| has_options) {
        Some(Value::Document(options)) => options,
        _ => Document::new(),
    };
    if arguments.len() < required || arguments.len() > count_max {
        let expected = match (required, count_max) {
            (0, 0) => "no arguments".to_string(),
            (1, 1) => "1 argument".to_string(),
            (least, most) if least == most => format!("{most} arguments"),
            (least, most) => format!("{least} to {most} arguments"),
        };
        return Err(bad(format!(
            "{} takes {expected} and at most one object of options, got {}; write {}",
            operation.name,
            arguments.len(),
            operation.usage()
        )));
    }
    Ok((arguments, options))
}

fn parse_operation(
    operation: &Operation,
    mut arguments: Arguments,
    mut options: OptionReader,
) -> Result<Call, Error> {
    let request = match operation.name {
        "create" => {
            let collection = arguments.name()?;
            let schema = arguments.document()?;
            Request::Create { collection, schema: parse_schema(&schema)? }
        }
        "describe" => Request::Describe { collection: arguments.optional_name()? },
        "destroy" => Request::Destroy { collection: arguments.name()? },
        "insert" => {
            let collection = arguments.name()?;
            let (documents, list) = arguments.documents()?;
            Request::Insert { collection, documents, list }
        }
        "search" => Request::Search {
            collection: arguments.name()?,
            filter: arguments.document()?,
            search: search_options(&mut options)?,
        },
        "update" | "replace" | "modify" | "delete" | "count" | "distinct" | "aggregate" => {
            queries::parse(operation.name, &mut arguments, &mut options)?
        }
        "create_index" => Request::CreateIndex {
            collection: arguments.name()?,
            index: index::index_spec(&arguments.document()?, &mut options)?,
        },
        "drop_index" => {
            Request::DropIndex { collection: arguments.name()?, name: arguments.name()? }
        }
        "alter" => index::alter(&mut arguments, &mut options)?,
        "read" => Request::Read {
            key: arguments.key()?,
            empty_if_absent: options.boolean("empty")?.unwrap_or(false),
        },
        "write" => Request::Write { key: arguments.key()?, value: arguments.value()? },
        "swap" => Request::Swap { key: arguments.key()?, value: arguments.value()? },
        "cas" => Request::Cas {
            key: arguments.key()?,
            expected: arguments.value()?,
            value: arguments.value()?,
        },
        "batch" => Request::Batch { requests: feeds::batch_members(arguments.list()?)? },
        "expect" => feeds::expectation(&mut arguments)?,
        "next" => Request::Next {
            cursor: arguments.cursor()?,
            batch: options.page_items()?,
            pass_long: options.boolean("pass_long")?.unwrap_or(false),
        },
        "close" => Request::Close { cursor: arguments.cursor()? },
        "watch" => feeds::watch(arguments.document()?, options.page_items()?)?,
        "forget" => {
            let text = arguments.text()?;
            Request::Forget { reference: Reference::parse(&text)? }
        }
        "status" => Request::Status { hash: options.boolean("hash")?.unwrap_or(false) },
        "members" => Request::Members,
        "member" => Request::Member(member_change(&mut arguments)?),
        "deaf" => Request::Fault(FaultSwitch::Deaf),
        "listen" => Request::Fault(FaultSwitch::Listen),
        "unreliable" => Request::Fault(FaultSwitch::Unreliable { loss: arguments.share()? }),
        "reliable" => Request::Fault(FaultSwitch::Reliable),
        "hello" => hello(&arguments.document()?)?,
        other => return Err(unknown_operation(other)),
    };
    let options = options.finish(&request)?;
    Ok(Call { request, options })
}

/// The actions of `["member", action, node]`.
const MEMBER_ACTIONS: &str =
    "\"add\", \"remove\", \"promote\", \"lead\", \"raise\" or \"alone_other_is_gone_for_good\"";

fn member_change(arguments: &mut Arguments) -> Result<MemberChange, Error> {
    let action = arguments.text()?;
    if action == "raise" {
        let level = arguments.optional_count()?.filter(|level| *level > 0);
        let level = level.and_then(|level| u32::try_from(level).ok());
        let lacks = || bad("member raise lacks the feature level: a whole number from 1");
        return Ok(MemberChange::Raise { level: level.ok_or_else(lacks)? });
    }
    let mut node = arguments.optional_name()?;
    let mut required = || {
        node.take().ok_or_else(|| bad(format!("member {action} lacks the node: its id or address")))
    };
    Ok(match action.as_str() {
        "add" => MemberChange::Add { node: required()? },
        "remove" => MemberChange::Remove { node: required()? },
        "promote" => MemberChange::Promote { node: required()? },
        "lead" => MemberChange::Lead { node },
        // Nobody is to say this by the way.
        "alone_other_is_gone_for_good" => MemberChange::Alone { without: required()? },
        other => {
            return Err(bad(format!("member: the action must be {MEMBER_ACTIONS}, got {other:?}")));
        }
    })
}

fn search_options(options: &mut OptionReader) -> Result<SearchOptions, Error> {
    let batch = options.page_items()?;
    let pass_long = options.boolean("pass_long")?.unwrap_or(false);
    if pass_long && batch.is_none() {
        return Err(bad("search: option pass_long goes with option batch only"));
    }
    Ok(SearchOptions {
        sort: options.take("sort").map(parse_sort).transpose()?.unwrap_or_default(),
        limit: options.count("limit")?,
        skip: options.count("skip")?.unwrap_or(0),
        fields: options.document("fields")?,
        count: options.boolean("count")?.unwrap_or(false),
        explain: options.boolean("explain")?.unwrap_or(false),
        batch,
        pass_long,
        hint: index::hint(options)?,
    })
}

/// Reads a sort: `{"a":1,"b":-1}`, `[["a",1],["b",-1]]`, `"a"` or `"-a"`, or a list of the latter.
///
/// # Errors
/// [`ErrorCode::BadRequest`] if it is none of these.
pub fn parse_sort(sort: Value) -> Result<Vec<(String, i8)>, Error> {
    let keys = match sort {
        Value::Document(document) => document
            .into_iter()
            .map(|(path, direction)| Ok((path_of("sort", path)?, sort_direction(&direction)?)))
            .collect::<Result<Vec<_>, Error>>()?,
        Value::Array(items) => {
            items.into_iter().map(parse_sort_key).collect::<Result<Vec<_>, Error>>()?
        }
        one => vec![parse_sort_key(one)?],
    };
    for (position, (path, _)) in keys.iter().enumerate() {
        if keys[..position].iter().any(|(earlier, _)| earlier == path) {
            return Err(bad(format!("option sort: {path:?} is named twice")));
        }
    }
    Ok(keys)
}

fn parse_sort_key(key: Value) -> Result<(String, i8), Error> {
    match key {
        Value::String(text) => match text.strip_prefix('-') {
            Some(path) => Ok((path_of("sort", path.to_string())?, -1)),
            None => Ok((path_of("sort", text)?, 1)),
        },
        Value::Array(pair) => match <[Value; 2]>::try_from(pair) {
            Ok([Value::String(path), direction]) => {
                Ok((path_of("sort", path)?, sort_direction(&direction)?))
            }
            _ => Err(bad("option sort: a list holds names or pairs [name, 1 or -1]")),
        },
        other => Err(bad(format!(
            "option sort must be {{\"name\":1}}, [[\"name\",-1]], \"name\" or \"-name\", got {}",
            got(&other)
        ))),
    }
}

fn sort_direction(direction: &Value) -> Result<i8, Error> {
    match direction {
        Value::Int64(1) | Value::Int32(1) => Ok(1),
        Value::Int64(-1) | Value::Int32(-1) => Ok(-1),
        Value::Double(number) if *number == 1.0 => Ok(1),
        Value::Double(number) if *number == -1.0 => Ok(-1),
        other => {
            Err(bad(format!("option sort: the direction must be 1 or -1, got {}", got(other))))
        }
    }
}

fn hello(settings: &Document) -> Result<Request, Error> {
    let mut frame_length_bytes = 2;
    for (name, value) in settings {
        match (name.as_str(), value) {
            ("frame", Value::Int64(2)) => frame_length_bytes = 2,
            ("frame", Value::Int64(4)) => frame_length_bytes = 4,
            ("frame", other) => {
                return Err(bad(format!("hello: frame must be 2 or 4, got {}", got(other))));
            }
            (other, _) => {
                return Err(Error::new(
                    ErrorCode::UnknownOption,
                    format!("hello: unknown setting {other:?}; known: frame"),
                ));
            }
        }
    }
    Ok(Request::Hello { frame_length_bytes })
}

fn unknown_operation(name: &str) -> Error {
    let known: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    let shown: String = name.chars().take(60).collect();
    Error::new(
        ErrorCode::UnknownOperation,
        format!("{shown:?} is not an operation; known: {}", known.join(", ")),
    )
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::BadRequest, message)
}
