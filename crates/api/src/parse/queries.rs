//! The requests of the query language beside `search`: changes and summaries.

use super::arguments::{Arguments, path_of};
use super::options::OptionReader;
use super::{bad, parse_sort};
use crate::error::Error;
use crate::request::{ModifyAction, ModifyOptions, Request, UpdateOptions, Upsert};
use crate::value::{Document, Value};

pub(super) fn parse(
    operation: &str,
    arguments: &mut Arguments,
    options: &mut OptionReader,
) -> Result<Request, Error> {
    let collection = arguments.name()?;
    Ok(match operation {
        "update" => Request::Update {
            collection,
            filter: arguments.document()?,
            changes: arguments.document()?,
            options: UpdateOptions {
                multi: options.boolean("multi")?.unwrap_or(true),
                upsert: upsert(options)?,
                array_filters: array_filters(options)?,
            },
        },
        "replace" => Request::Replace {
            collection,
            filter: arguments.document()?,
            document: arguments.document()?,
            upsert: upsert(options)?,
        },
        "modify" => modify(collection, arguments, options)?,
        "delete" => Request::Delete {
            collection,
            filter: arguments.document()?,
            multi: options.boolean("multi")?.unwrap_or(true),
        },
        "count" => Request::Count { collection, filter: arguments.document()? },
        "distinct" => {
            let field = path_of("field", arguments.text()?)?;
            Request::Distinct { collection, field, filter: arguments.document()? }
        }
        _ => {
            let (pipeline, batch) = (arguments.list_of_documents()?, options.page_items()?);
            Request::Aggregate { collection, pipeline, batch }
        }
    })
}

fn upsert(options: &mut OptionReader) -> Result<Upsert, Error> {
    let insert = options.boolean("upsert")?.unwrap_or(false);
    Ok(if insert { Upsert::Insert { new_id: None } } else { Upsert::No })
}

fn array_filters(options: &mut OptionReader) -> Result<Vec<Document>, Error> {
    let filters = match options.take("array_filters") {
        None => return Ok(Vec::new()),
        Some(Value::Array(filters)) => filters,
        Some(other) => return Err(options.wrong("array_filters", "a list of filters", &other)),
    };
    let document = |filter: Value| match filter {
        Value::Document(filter) => Ok(filter),
        other => Err(options.wrong("array_filters", "a list of filters", &other)),
    };
    filters.into_iter().map(document).collect()
}

fn modify(
    collection: String,
    arguments: &mut Arguments,
    options: &mut OptionReader,
) -> Result<Request, Error> {
    let filter = arguments.document()?;
    let changes = arguments.document()?;
    let remove = options.boolean("remove")?.unwrap_or(false);
    let after = match options.text("return")?.as_deref() {
        None | Some("before") => false,
        Some("after") => true,
        Some(other) => {
            let value = Value::String(other.to_owned());
            return Err(options.wrong("return", "\"before\" or \"after\"", &value));
        }
    };
    let upsert = upsert(options)?;
    let array_filters = array_filters(options)?;
    let sort = options.take("sort").map(parse_sort).transpose()?.unwrap_or_default();
    let options = ModifyOptions { sort, fields: options.document("fields")? };
    let action = if remove {
        if !changes.is_empty() || after || upsert.is_insert() || !array_filters.is_empty() {
            return Err(bad(
                "modify: option remove goes with empty changes {}, and without the options upsert, \
                 array_filters and return \"after\"",
            ));
        }
        ModifyAction::Remove
    } else {
        ModifyAction::Update { changes, upsert, after, array_filters }
    };
    Ok(Request::Modify { collection, filter, action, options })
}
