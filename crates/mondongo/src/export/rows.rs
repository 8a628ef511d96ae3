//! Documents as lines of JSON or rows of CSV.

use api::value::ID_FIELD;
use api::{Document, Value, json};
use std::collections::BTreeSet;
use std::io::{self, Write};

/// Writes documents.
pub(super) enum Rows<W: Write> {
    /// One object in each line, in extended JSON, so that an import has the same values again.
    Lines(W),
    /// A header, then a row for each.
    Cells {
        /// Where to.
        writer: Box<csv::Writer<W>>,
        /// The columns; none before the first document, if nobody has named them.
        columns: Vec<String>,
        /// Whether the columns were named; if not, fields that they lack are noted.
        named: bool,
        /// Fields that no column shows.
        left_out: BTreeSet<String>,
    },
}

/// Most names of left out fields that are noted.
const LEFT_OUT_MAX: usize = 100;

impl<W: Write> Rows<W> {
    /// CSV with these columns; without any, those of the schema and of the first documents.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub(super) fn cells(out: W, columns: &[String]) -> io::Result<Rows<W>> {
        let mut writer = Box::new(csv::Writer::from_writer(out));
        let named = !columns.is_empty();
        if named {
            writer.write_record(columns)?;
        }
        Ok(Rows::Cells { writer, columns: columns.to_vec(), named, left_out: BTreeSet::new() })
    }

    /// Adds documents.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn add(&mut self, documents: &[Document], schema: &[String]) -> io::Result<()> {
        match self {
            Rows::Lines(out) => {
                let mut lines = Vec::new();
                for document in documents {
                    json::write_value(&Value::Document(document.clone()), &mut lines);
                    lines.push(b'\n');
                }
                out.write_all(&lines)
            }
            Rows::Cells { writer, columns, named, left_out } => {
                if columns.is_empty() {
                    *columns = columns_of(documents, schema);
                    writer.write_record(&*columns)?;
                }
                for document in documents {
                    if !*named {
                        note_left_out(document, columns, left_out);
                    }
                    let cells = columns.iter().map(|column| cell(lookup(document, column)));
                    writer.write_record(cells)?;
                }
                Ok(())
            }
        }
    }

    /// All is written: fields that no column shows.
    ///
    /// # Errors
    /// If the last of it cannot be written.
    pub(super) fn finish(self) -> io::Result<(W, BTreeSet<String>)> {
        match self {
            Rows::Lines(out) => Ok((out, BTreeSet::new())),
            Rows::Cells { writer, left_out, .. } => {
                let out = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
                Ok((out, left_out))
            }
        }
    }
}

/// `_id`, the fields of the schema, and what else the first documents have.
fn columns_of(documents: &[Document], schema: &[String]) -> Vec<String> {
    let mut columns = vec![ID_FIELD.to_string()];
    let found = documents.iter().flat_map(|document| document.keys());
    for name in schema.iter().chain(found) {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    columns
}

fn note_left_out(document: &Document, columns: &[String], left_out: &mut BTreeSet<String>) {
    for name in document.keys() {
        if left_out.len() < LEFT_OUT_MAX && !columns.contains(name) {
            left_out.insert(name.clone());
        }
    }
}

/// The value at a path: the field of that whole name, else field by field.
fn lookup<'d>(document: &'d Document, path: &str) -> Option<&'d Value> {
    if let Some(value) = document.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    match document.get(first)? {
        Value::Document(inner) => lookup(inner, rest),
        _ => None,
    }
}

/// A value as a cell: text as it is, dates and object ids as their text, null as nothing, all else as JSON.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::ObjectId(id)) => id.to_hex(),
        Some(Value::DateTime(date)) => date
            .try_to_rfc3339_string()
            .unwrap_or_else(|_| json::to_string(&Value::DateTime(*date))),
        Some(other) => json::to_string(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Vec<Document> {
        texts.iter().map(|text| json::parse_document(text.as_bytes()).expect("JSON")).collect()
    }

    fn written(rows: Rows<Vec<u8>>) -> (String, Vec<String>) {
        let (out, left_out) = rows.finish().expect("written");
        (String::from_utf8(out).expect("UTF-8"), left_out.into_iter().collect())
    }

    #[test]
    fn cells_show_what_columns_name() {
        let documents = parsed(&[
            r#"{"_id":1,"a":"x, \"y\"","b":{"c":[1,2]},"d":{"$date":"2024-02-29T00:00:00Z"}}"#,
            r#"{"_id":2,"e":null,"a":2.5}"#,
        ]);
        let named: Vec<String> = ["_id", "b.c", "a", "d"].map(String::from).to_vec();
        let mut rows = Rows::cells(Vec::new(), &named).expect("a header");
        rows.add(&documents, &[]).expect("written");
        let (text, left_out) = written(rows);
        let expected = "_id,b.c,a,d\n1,\"[1,2]\",\"x, \"\"y\"\"\",2024-02-29T00:00:00Z\n2,,2.5,\n";
        assert_eq!((text.as_str(), left_out.len()), (expected, 0));

        let mut rows = Rows::cells(Vec::new(), &[]).expect("no header yet");
        rows.add(&documents[..1], &["z".into(), "a".into()]).expect("written");
        rows.add(&documents[1..], &[]).expect("written");
        let (text, left_out) = written(rows);
        assert!(text.starts_with("_id,z,a,b,d\n1,,\"x, "), "{text}");
        assert_eq!(left_out, ["e"]);
    }

    #[test]
    fn lines_read_back_as_the_same_values() {
        let text = r#"{"_id":{"$oid":"0123456789abcdef01234567"},"d":{"$date":"2024-02-29T00:00:00Z"},"n":1,"f":1.0}"#;
        let documents = parsed(&[text]);
        let mut rows = Rows::Lines(Vec::new());
        rows.add(&documents, &[]).expect("written");
        let (written, _) = written(rows);
        assert_eq!(parsed(&[written.trim()]), documents);
    }
}
