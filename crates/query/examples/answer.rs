//! Answers questions on standard input, one JSON object a line, so that another implementation can
//! be asked the same (`cargo xtask mongomock`).
//!
//! `{"docs": [..], "filter": {..}}` answers which documents are meant, as positions; with `update`
//! the documents after it, with `fields` what is answered of those meant, with `pipeline` what comes
//! out of it. A refusal is `{"error": "…"}`.

use api::{Document, Error, Value};
use query::{Circumstances, Filter, Pipeline, Projection, SortKeys, Update};
use std::io::{BufRead, Write};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match question(&line?) {
            Ok(question) => answer(&question).unwrap_or_else(|error| refusal(&error.message)),
            Err(what) => refusal(&what),
        };
        writeln!(out, "{}", answer.into_relaxed_extjson())?;
    }
    Ok(())
}

fn refusal(what: &str) -> Value {
    Value::from(bson::doc! { "error": what })
}

fn question(line: &str) -> Result<Document, String> {
    let json: serde_json::Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    match Value::try_from(json).map_err(|e| e.to_string())? {
        Value::Document(question) => Ok(question),
        other => Err(format!("{other} is no question")),
    }
}

fn documents(question: &Document, name: &str) -> Vec<Document> {
    let list = question.get_array(name).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|value| value.as_document().cloned()).collect()
}

fn answer(question: &Document) -> Result<Value, Error> {
    let mut all = documents(question, "docs");
    if question.contains_key("pipeline") {
        let pipeline = Pipeline::parse(&documents(question, "pipeline"))?;
        let mut run = pipeline.run();
        for document in all {
            if !run.push(document)? {
                break;
            }
        }
        return Ok(list(run.finish()?));
    }
    let filter = Filter::parse(question.get_document("filter").unwrap_or(&Document::new()))?;
    if let Ok(changes) = question.get_document("update") {
        let update = Update::parse(changes, &documents(question, "array_filters"))?;
        for document in &mut all {
            let (means, position) = filter.check_position(document)?;
            if means {
                let circumstances = Circumstances { position, ..Circumstances::default() };
                update.apply(document, &circumstances)?;
            }
        }
        return Ok(list(all));
    }
    if let Ok(keys) = question.get_document("sort") {
        let keys = SortKeys::parse("sort", keys)?;
        all.sort_by_key(|document| document.get_i32("_id").unwrap_or_default());
        all.sort_by(|left, right| keys.compare(&keys.rank(left), &keys.rank(right)));
    }
    let projection = Projection::parse(question.get_document("fields").ok())?;
    let mut found = Vec::new();
    for document in all {
        if filter.check(&document)? {
            found.push(projection.apply(document, &filter)?);
        }
    }
    Ok(list(found))
}

fn list(documents: Vec<Document>) -> Value {
    Value::Array(documents.into_iter().map(Value::Document).collect())
}
