//! The options object at the end of a request.

use super::Operation;
use super::arguments::got;
use crate::error::{Error, ErrorCode};
use crate::limits::{PAGE_ITEMS_MAX, TIMEOUT_MS_MAX};
use crate::reference::Reference;
use crate::request::{Level, Options, Request};
use crate::value::{Document, Value};

/// The options that are left; what nobody takes is refused.
pub(super) struct OptionReader {
    operation: &'static str,
    left: Document,
    known: Vec<&'static str>,
}

impl OptionReader {
    pub(super) fn new(operation: &Operation, options: Document) -> OptionReader {
        OptionReader { operation: operation.name, left: options, known: Vec::new() }
    }

    /// Takes an option of any type.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.left.remove(name)
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Boolean(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(name, "true or false", &other)),
        }
    }

    /// A whole number from 0.
    pub(super) fn count(&mut self, name: &'static str) -> Result<Option<u64>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match whole_number(&value) {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(name, "a whole number from 0", &value)),
            },
        }
    }

    pub(super) fn document(&mut self, name: &'static str) -> Result<Option<Document>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Document(document)) => Ok(Some(document)),
            Some(other) => Err(self.wrong(name, "an object", &other)),
        }
    }

    /// Option `batch`: how many items a part of a long result has at most.
    pub(super) fn page_items(&mut self) -> Result<Option<u64>, Error> {
        match self.count("batch")? {
            Some(count) if !(1..=PAGE_ITEMS_MAX).contains(&count) => Err(Error::new(
                ErrorCode::BadRequest,
                format!(
                    "{}: option batch must be 1 to {PAGE_ITEMS_MAX}, got {count}",
                    self.operation
                ),
            )),
            count => Ok(count),
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", &other)),
        }
    }

    /// Takes the options common to all requests and refuses what is left.
    pub(super) fn finish(mut self, request: &Request) -> Result<Options, Error> {
        let mut options = Options::default();
        if request.is_write() {
            options.reference =
                self.text("ref")?.map(|text| Reference::parse(&text)).transpose()?;
            options.acked = self.count("acked")?;
            self.check_acked(&options)?;
        }
        if let Request::CreateIndex { .. } = request {
            options.wait = self.boolean("wait")?.unwrap_or(false);
        }
        if has_level(request) {
            options.level = self.level()?;
        }
        if !matches!(request, Request::Hello { .. }) {
            options.timeout_ms = self.count("timeout_ms")?;
        }
        if let Some(milliseconds) = options.timeout_ms
            && !(1..=TIMEOUT_MS_MAX).contains(&milliseconds)
        {
            return Err(Error::new(
                ErrorCode::BadRequest,
                format!(
                    "{}: option timeout_ms must be 1 to {TIMEOUT_MS_MAX}, got {milliseconds}",
                    self.operation
                ),
            ));
        }
        self.refuse_rest()?;
        Ok(options)
    }

    fn level(&mut self) -> Result<Level, Error> {
        match self.text("level")?.as_deref() {
            None | Some("linearizable") => Ok(Level::Linearizable),
            Some("local") => Ok(Level::Local),
            Some(other) => {
                let value = Value::String(other.to_string());
                Err(self.wrong("level", "\"linearizable\" or \"local\"", &value))
            }
        }
    }

    fn check_acked(&self, options: &Options) -> Result<(), Error> {
        let message = match (options.acked, &options.reference) {
            (None, _) => return Ok(()),
            (Some(_), None) => "option acked goes with option ref only".to_string(),
            (Some(acked), Some(reference)) if acked > reference.sequence => format!(
                "option acked is {acked}, beyond the request's own sequence {}",
                reference.sequence
            ),
            (Some(_), Some(_)) => return Ok(()),
        };
        Err(Error::new(ErrorCode::BadRequest, format!("{}: {message}", self.operation)))
    }

    fn refuse_rest(&self) -> Result<(), Error> {
        let Some(name) = self.left.keys().next() else { return Ok(()) };
        let known = if self.known.is_empty() { "none".to_string() } else { self.known.join(", ") };
        Err(Error::new(
            ErrorCode::UnknownOption,
            format!("{}: unknown option {name:?}; known here: {known}", self.operation),
        ))
    }

    pub(super) fn wrong(&self, name: &str, expected: &str, value: &Value) -> Error {
        Error::new(
            ErrorCode::BadRequest,
            format!("{}: option {name} must be {expected}, got {}", self.operation, got(value)),
        )
    }
}

/// Reads of the store take a level; `status` and `members` are about the node that is asked.
fn has_level(request: &Request) -> bool {
    matches!(
        request,
        Request::Describe { .. }
            | Request::Search { .. }
            | Request::Count { .. }
            | Request::Distinct { .. }
            | Request::Aggregate { .. }
            | Request::Read { .. }
    )
}

pub(super) fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::Int64(number) => u64::try_from(*number).ok(),
        Value::Int32(number) => u64::try_from(*number).ok(),
        // 10.0 is how some languages write 10.
        Value::Double(number) if number.fract() == 0.0 && (0.0..9e15).contains(number) => {
            Some(*number as u64)
        }
        _ => None,
    }
}
