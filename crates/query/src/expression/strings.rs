//! Operators on text. Positions count characters (code points).

use super::operators::{Arguments, any_nothing, argument};
use super::{Budget, convert, is_nothing, wrong};
use crate::error::bad_query;
use api::limits::DOCUMENT_BYTES_MAX;
use api::{Error, Value};

type Answer = Result<Option<Value>, Error>;

fn text<'a>(name: &str, arguments: Arguments<'a, '_>, position: usize) -> Result<&'a str, Error> {
    match argument(arguments, position) {
        Some(Value::String(text) | Value::Symbol(text)) => Ok(text),
        other => Err(wrong(name, "strings", other)),
    }
}

pub(super) fn concat(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let mut joined = String::new();
    for position in 0..arguments.len() {
        let part = text(name, arguments, position)?;
        budget.charge_bytes(part.len())?;
        if joined.len() + part.len() > DOCUMENT_BYTES_MAX {
            return Err(bad_query(format!("$concat: more than {DOCUMENT_BYTES_MAX} bytes")));
        }
        joined.push_str(part);
    }
    Ok(Some(Value::String(joined)))
}

/// The first argument as text: null is empty, numbers and dates are written out, as `$toString` does.
fn written_out(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Result<String, Error> {
    let text = match argument(arguments, 0) {
        Some(Value::String(text)) => text.clone(),
        Some(value) if !is_nothing(Some(value)) => convert::written(name, value)?,
        _ => String::new(),
    };
    budget.charge_bytes(text.len())?;
    Ok(text)
}

pub(super) fn case(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    let text = written_out(name, arguments, budget)?;
    // Of letters beyond ASCII some change their number of bytes; MongoDB leaves them as they are.
    let changed =
        if name == "$toLower" { text.to_ascii_lowercase() } else { text.to_ascii_uppercase() };
    Ok(Some(Value::String(changed)))
}

pub(super) fn substring(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    let text = written_out(name, arguments, budget)?;
    let number = |position: usize| {
        let value = argument(arguments, position);
        value
            .and_then(convert::whole_number)
            .ok_or_else(|| wrong(name, "whole numbers for start and length", value))
    };
    let (start, length) = (number(1)?, number(2)?);
    let start = usize::try_from(start)
        .map_err(|_| bad_query(format!("{name}: the start cannot be negative")))?;
    let length = match usize::try_from(length) {
        Ok(length) => length,
        Err(_) if name == "$substr" => usize::MAX,
        Err(_) => return Err(bad_query(format!("{name}: the length cannot be negative"))),
    };
    Ok(Some(Value::String(text.chars().skip(start).take(length).collect())))
}

pub(super) fn length(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    let text = text(name, arguments, 0)?;
    budget.charge_bytes(text.len())?;
    let length = if name == "$strLenBytes" { text.len() } else { text.chars().count() };
    Ok(Some(Value::Int32(length as i32)))
}

pub(super) fn split(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let (text, divider) = (text(name, arguments, 0)?, text(name, arguments, 1)?);
    if divider.is_empty() {
        return Err(bad_query("$split: the divider is empty"));
    }
    let mut parts = Vec::new();
    for part in text.split(divider) {
        budget.charge_bytes(part.len())?;
        parts.push(Value::String(part.to_owned()));
    }
    Ok(Some(Value::Array(parts)))
}

pub(super) fn trim(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let subject = text(name, arguments, 0)?;
    budget.charge_bytes(subject.len())?;
    let chars = if arguments.len() > 1 { Some(text(name, arguments, 1)?) } else { None };
    if chars.is_some_and(|chars| chars.len() > 1024) {
        return Err(bad_query(format!("{name}: more than 1024 bytes of characters to take off")));
    }
    let taken = |c: char| match chars {
        Some(chars) => chars.contains(c),
        None => c.is_whitespace() || c == '\0',
    };
    let mut left = subject;
    if name != "$rtrim" {
        left = left.trim_start_matches(taken);
    }
    if name != "$ltrim" {
        left = left.trim_end_matches(taken);
    }
    Ok(Some(Value::String(left.to_owned())))
}

pub(super) fn index_of(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    if is_nothing(argument(arguments, 0)) {
        return Ok(Some(Value::Null));
    }
    let (subject, wanted) = (text(name, arguments, 0)?, text(name, arguments, 1)?);
    budget.charge_bytes(subject.len())?;
    let position = subject.find(wanted).map(|bytes| subject[..bytes].chars().count());
    Ok(Some(Value::Int32(position.map_or(-1, |position| position as i32))))
}

pub(super) fn compare_ignoring_case(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    let mut texts = Vec::with_capacity(2);
    for position in 0..2 {
        texts.push(match argument(arguments, position) {
            value if is_nothing(value) => String::new(),
            _ => text(name, arguments, position)?.to_ascii_uppercase(),
        });
        budget.charge_bytes(texts[position].len())?;
    }
    Ok(Some(Value::Int32(texts[0].cmp(&texts[1]) as i32)))
}
