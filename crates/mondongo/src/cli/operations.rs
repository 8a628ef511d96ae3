//! The operations of the native protocol as commands: their name, then their arguments as JSON or words.
//!
//! Whatever a node can do is in reach of the prompt, because the list of operations is that of the protocol.

use super::language::{Command, Literal, SyntaxError};
use super::request;
use api::parse::{Operation, call_from_value};
use api::{Call, Error, Value, json};

/// Arguments that are text, however they are written.
const TEXTS: [&str; 9] = [
    "collection",
    "field",
    "key",
    "name",
    "action",
    "node",
    "cursor",
    "reference",
    "key or collection",
];

/// Commands of the prompt that become an operation when JSON follows the collection.
const WITH_JSON: [(&str, &str); 7] = [
    ("addcol", "create"),
    ("add", "insert"),
    ("search", "search"),
    ("count", "count"),
    ("distinct", "distinct"),
    ("update", "update"),
    ("remove", "delete"),
];

/// An operation with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Typed {
    /// As the protocol has it.
    pub(crate) request: Value,
    /// Where each of its items stands, in characters from the start.
    pub(crate) positions: Vec<usize>,
    /// What was typed as the last of them.
    pub(crate) last: String,
}

impl Typed {
    /// The operation's name.
    pub(crate) fn name(&self) -> &str {
        match &self.request {
            Value::Array(items) => items.first().and_then(Value::as_str).unwrap_or_default(),
            _ => "",
        }
    }

    /// The call.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(crate) fn call(&self) -> Result<Call, SyntaxError> {
        call_from_value(self.request.clone()).map_err(|error| SyntaxError {
            position: self.position_of(&error),
            message: error.message,
        })
    }

    /// Where the option or the argument stands that a refusal names; else where the operation does.
    fn position_of(&self, error: &Error) -> usize {
        if let Some(place) = option_named(&error.message)
            .and_then(|option| place_of_field(&self.last, option))
            .filter(|_| self.positions.len() > 1)
        {
            return self.positions.last().copied().unwrap_or_default() + place;
        }
        let number = error.message.split("argument ").nth(1).and_then(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<usize>().ok()
        });
        let positions = &self.positions;
        number.and_then(|n| positions.get(n)).or(positions.first()).copied().unwrap_or_default()
    }
}

/// The option that a refusal is about.
fn option_named(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("option ")?;
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split([' ', ':', ',']).next().filter(|name| !name.is_empty()),
    }
}

/// Where a field of an object begins in its text, in characters; none if the text is no object or has no such field.
fn place_of_field(text: &str, field: &str) -> Option<usize> {
    let (mut depth, mut string, mut escaped) = (0, None, false);
    for (place, (at, character)) in text.char_indices().enumerate() {
        match string {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some((start, from)) if character == '"' => {
                string = None;
                let is_name = text[at + 1..].trim_start().starts_with(':');
                if depth == 1 && is_name && text.get(from + 1..at) == Some(field) {
                    return Some(start);
                }
            }
            Some(_) => {}
            None => match character {
                '"' => string = Some((place, at)),
                '{' | '[' => depth += 1,
                '}' | ']' => depth -= 1,
                _ => {}
            },
        }
    }
    None
}

/// The operation that `word` stands for if a list or an object comes behind so many words, or behind any.
pub(crate) fn find(word: &str, is_command: bool) -> Option<(&'static Operation, Option<usize>)> {
    if !is_command {
        return Operation::find(word).map(|operation| (operation, None));
    }
    let (command, operation) = WITH_JSON.iter().find(|(command, _)| *command == word)?;
    let words_before = if *command == "distinct" { 2 } else { 1 };
    Operation::find(operation).map(|operation| (operation, Some(words_before)))
}

/// Puts an operation together from what was typed.
///
/// # Errors
/// If a part that looks like JSON is none.
pub(crate) fn typed(
    operation: &Operation,
    position: usize,
    literals: &[Literal],
) -> Result<Command, SyntaxError> {
    let (mut items, mut positions) = (vec![Value::from(operation.name)], vec![position]);
    let last = literals.last().map(|literal| literal.text.clone()).unwrap_or_default();
    for (literal, number) in literals.iter().zip(0..) {
        let name = operation.arguments.get(number).map(|name| name.trim_end_matches('?'));
        items.push(argument(literal, name)?);
        positions.push(literal.position);
    }
    Ok(Command::Operation(Typed { request: Value::Array(items), positions, last }))
}

fn argument(literal: &Literal, name: Option<&str>) -> Result<Value, SyntaxError> {
    if literal.quoted || name.is_some_and(|name| TEXTS.contains(&name)) {
        return Ok(Value::String(literal.text.clone()));
    }
    if literal.text.starts_with(['{', '[']) {
        return json::parse_value(literal.text.as_bytes())
            .map_err(|error| json_error(&literal.text, literal.position, &error));
    }
    Ok(request::untyped(literal))
}

/// What is wrong with a JSON text that stands at `position`, with the place that its message names.
pub(crate) fn json_error(text: &str, position: usize, error: &Error) -> SyntaxError {
    let place = place_in(text, &error.message).unwrap_or_default();
    SyntaxError { position: position + place, message: error.message.clone() }
}

/// The character that `… at line L column C` means; columns are counted in bytes.
fn place_in(text: &str, message: &str) -> Option<usize> {
    let (_, place) = message.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
    let (line, column): (usize, usize) = (line.parse().ok()?, digits.parse().ok()?);
    let before: usize = text.split('\n').take(line - 1).map(|l| l.chars().count() + 1).sum();
    let within = text.split('\n').nth(line.checked_sub(1)?)?;
    let end = within.floor_char_boundary(column.saturating_sub(1).min(within.len()));
    Some(before + within[..end].chars().count())
}

#[cfg(test)]
mod tests {
    use super::super::language::{self, Command};
    use api::json;

    fn request(line: &str) -> String {
        match language::parse(line) {
            Ok(Command::Operation(typed)) => {
                typed.call().unwrap_or_else(|error| panic!("{line}: {}", error.message));
                json::to_string(&typed.request)
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn operations_take_json_and_words() {
        let cases = [
            (
                r#"aggregate users [{"$match": {"a": 1}}]"#,
                r#"["aggregate","users",[{"$match":{"a":1}}]]"#,
            ),
            (r#"search users {"a": 1} {"limit": 3}"#, r#"["search","users",{"a":1},{"limit":3}]"#),
            (r#"add users {"a": 1}"#, r#"["insert","users",{"a":1}]"#),
            (r#"addcol users {"a": "int"}"#, r#"["create","users",{"a":"int"}]"#),
            (
                r#"update users {} {"$inc": {"n": 1}} {"multi": false}"#,
                r#"["update","users",{},{"$inc":{"n":1}},{"multi":false}]"#,
            ),
            (
                r#"replace users {"_id": 1} {"a": 2} {"upsert": true}"#,
                r#"["replace","users",{"_id":1},{"a":2},{"upsert":true}]"#,
            ),
            (r#"delete users {"a": {"$gt": 3}}"#, r#"["delete","users",{"a":{"$gt":3}}]"#),
            ("read 5", r#"["read","5"]"#),
            ("write 5 5", r#"["write","5",5]"#),
            ("write k \"5\"", r#"["write","k","5"]"#),
            ("borrar_ref c:1", r#"["forget","c:1"]"#),
            ("member lead localhost:8001", r#"["member","lead","localhost:8001"]"#),
            ("aggregate users [\n {\"$limit\": 1}\n]", r#"["aggregate","users",[{"$limit":1}]]"#),
        ];
        for (line, expected) in cases {
            assert_eq!(request(line), expected, "{line}");
        }
    }

    #[test]
    fn errors_in_json_and_arguments_are_pointed_at() {
        let syntax = |line: &str| match language::parse(line) {
            Err(error) => error,
            Ok(Command::Operation(typed)) => typed.call().expect_err(line),
            Ok(other) => panic!("{line}: {other:?}"),
        };
        for (line, position, part) in [
            (r#"aggregate users [{"a" 1}]"#, 22, "expected `:`"),
            (r#"aggregate users {}"#, 16, "argument 2"),
            (r#"search users {"a": tru}"#, 22, "expected ident"),
            ("aggregate users [\n  {\"añ\": x}]", 27, "expected value"),
            ("aggregate", 0, "takes"),
            // An option, by its name or by its value.
            (r#"search users {} {"limit": 3, "sorted": 1}"#, 29, "unknown option"),
            (r#"search users {"a": "limit"} {"x": 1, "limit": -3}"#, 37, "limit"),
            (r#"search users {} {"añ": {"sort": 1}, "sort": 7}"#, 36, "option sort"),
            (r#"update users {} {"a": 1} {"multi": "yes"}"#, 26, "option multi"),
            (r#"create_index users {"a": 1} {"unique": 1}"#, 29, "option unique"),
            (r#"write k 1 {"timeout_ms": 0}"#, 11, "timeout_ms"),
        ] {
            let error = syntax(line);
            assert_eq!(error.position, position, "{line}: {}", error.message);
            assert!(error.message.contains(part), "{line}: {}", error.message);
        }
    }
}
