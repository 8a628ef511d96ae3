//! Cells of CSV to values and fields.

use crate::cli::typed_text;
use api::{Document, FieldType, Schema, Value, json};

/// What the columns of a CSV file mean.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    names: Vec<String>,
    schema: Schema,
    infers: bool,
}

impl Columns {
    /// Columns called `names`, of a collection with `schema`.
    ///
    /// # Errors
    /// If a name is empty, comes twice, or is a field and an object of fields at once.
    pub(crate) fn new(names: Vec<String>, schema: Schema, infers: bool) -> Result<Columns, String> {
        for (position, name) in names.iter().enumerate() {
            if name.split('.').any(str::is_empty) {
                return Err(format!("column {}: {name:?} is no name of a field", position + 1));
            }
            let clashes = |other: &String| {
                other == name
                    || other.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'))
            };
            if let Some(other) =
                names.iter().enumerate().find(|(at, n)| *at != position && clashes(n))
            {
                return Err(format!("columns {name:?} and {:?} stand for the same field", other.1));
            }
        }
        Ok(Columns { names, schema, infers })
    }

    /// The document of a row.
    ///
    /// # Errors
    /// What is wrong with the row.
    pub(crate) fn document<'c>(
        &self,
        cells: impl ExactSizeIterator<Item = &'c str>,
    ) -> Result<Document, String> {
        if cells.len() != self.names.len() {
            return Err(format!("{} cells where the header has {}", cells.len(), self.names.len()));
        }
        let mut document = Document::new();
        for (name, cell) in self.names.iter().zip(cells) {
            if !cell.is_empty() {
                put(&mut document, name, self.value(name, cell)?);
            }
        }
        Ok(document)
    }

    fn value(&self, name: &str, cell: &str) -> Result<Value, String> {
        let declared = self.schema.fields.iter().find(|field| field.name == name);
        match declared.map(|field| field.kind) {
            Some(kind) if kind != FieldType::Any => typed_text(name, cell, &self.schema),
            _ if self.infers => Ok(infer(cell)),
            _ => Ok(Value::String(cell.to_string())),
        }
    }
}

/// Numbers as JSON has them (so that 007 stays text), true, false, lists and objects; all else is text.
fn infer(cell: &str) -> Value {
    let text = || Value::String(cell.to_string());
    match cell.as_bytes().first() {
        Some(b'0'..=b'9' | b'-' | b't' | b'f' | b'[' | b'{') => {
            json::parse_value(cell.as_bytes()).unwrap_or_else(|_| text())
        }
        _ => text(),
    }
}

/// Puts a value at a dotted path, whose first parts are objects or not there.
fn put(document: &mut Document, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            document.insert(path, value);
        }
        Some((first, rest)) => {
            let inner = document.entry(first.to_string()).or_insert_with(|| Document::new().into());
            if let Value::Document(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str], infers: bool) -> Result<Columns, String> {
        let schema =
            json::parse_document(br#"{"age":"int","zip":"str","born":"date"}"#).expect("JSON");
        let schema = api::parse::parse_schema(&schema).expect("a schema");
        Columns::new(names.iter().map(ToString::to_string).collect(), schema, infers)
    }

    #[test]
    fn cells_take_declared_types_or_what_they_read_like() {
        let columns = columns(&["age", "zip", "born", "n", "a.b", "a.c"], true).expect("columns");
        let cases = [
            (
                ["3", "007", "2024-02-29", "1.5", "x", "[1]"],
                r#"{"age":3,"zip":"007","born":{"$date":"2024-02-29T00:00:00Z"},"n":1.5,"a":{"b":"x","c":[1]}}"#,
            ),
            (
                ["", "1", "", "007", "true", "tru"],
                r#"{"zip":"1","n":"007","a":{"b":true,"c":"tru"}}"#,
            ),
            (
                ["1", "", "", "{\"x\":1}", "-", "null"],
                r#"{"age":1,"n":{"x":1},"a":{"b":"-","c":"null"}}"#,
            ),
        ];
        for (cells, expected) in cases {
            let document = columns.document(cells.into_iter()).expect("a document");
            assert_eq!(json::to_string(&Value::Document(document)), expected);
        }
        let error = columns.document(["x", "", "", "", "", ""].into_iter()).expect_err("no int");
        assert!(error.contains("age is declared int"), "{error}");
        let error = columns.document(["1"].into_iter()).expect_err("short");
        assert!(error.contains("1 cells where the header has 6"), "{error}");
    }

    #[test]
    fn columns_must_not_clash() {
        for (names, part) in [
            (&["a", "b", "a"][..], "same field"),
            (&["a", "a.b"], "same field"),
            (&["a", ""], "no name"),
        ] {
            assert!(columns(names, true).expect_err("clash").contains(part));
        }
        assert!(columns(&["a", "ab", "b.c", "b.d"], true).is_ok());
    }
}
