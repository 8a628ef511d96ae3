//! Documents as a table.

use super::render::scalar;
use api::{Document, Value};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Widest cell, in columns of a terminal; what is longer is cut.
const CELL_WIDTH_MAX: usize = 40;
/// Most columns; fields beyond them are told but not shown.
const COLUMNS_MAX: usize = 40;

/// A table of documents, with a line for each; none if there is something else in the list.
pub(super) fn table(items: &[Value]) -> Option<String> {
    let documents: Option<Vec<&Document>> = items.iter().map(Value::as_document).collect();
    let documents = documents?;
    if documents.is_empty() {
        return Some("(none)\n".into());
    }
    let (columns, left_out) = columns(&documents);
    let mut rows: Vec<Vec<String>> = vec![columns.iter().map(|name| cut(name)).collect()];
    for document in &documents {
        rows.push(columns.iter().map(|name| cell(document.get(name.as_str()))).collect());
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or_default())
        .collect();
    let is_number = |column: &String| {
        let found = documents.iter().filter_map(|document| document.get(column.as_str()));
        found.clone().next().is_some()
            && found
                .into_iter()
                .all(|value| matches!(value, Value::Int32(_) | Value::Int64(_) | Value::Double(_)))
    };
    let numbers: Vec<bool> = columns.iter().map(is_number).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        text += line(row, &widths, &numbers).trim_end();
        text.push('\n');
        if number == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text += &(rules.join("  ") + "\n");
        }
    }
    if left_out > 0 {
        text += &format!("({left_out} more fields are not shown)\n");
    }
    text += &match documents.len() {
        1 => "(1 doc)\n".to_string(),
        count => format!("({count} docs)\n"),
    };
    Some(text)
}

/// The names of all fields, as they come up; how many are left out.
fn columns(documents: &[&Document]) -> (Vec<String>, usize) {
    let mut columns: Vec<String> = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    for name in documents.iter().flat_map(|document| document.keys()) {
        if known.insert(name) && columns.len() < COLUMNS_MAX {
            columns.push(name.clone());
        }
    }
    let left_out = known.len() - columns.len();
    (columns, left_out)
}

fn line(cells: &[String], widths: &[usize], numbers: &[bool]) -> String {
    let padded = cells.iter().zip(widths).zip(numbers).map(|((cell, width), is_number)| {
        let blanks = " ".repeat(width - cell.width());
        if *is_number { blanks + cell } else { cell.clone() + &blanks }
    });
    padded.collect::<Vec<_>>().join("  ")
}

fn cell(value: Option<&Value>) -> String {
    value.map_or_else(String::new, |value| cut(&scalar(value)))
}

/// What fits into a cell, without control characters.
fn cut(text: &str) -> String {
    let clean = |character: char| if character.is_control() { '·' } else { character };
    let mut cut = String::new();
    let mut width = 0;
    for character in text.chars().map(clean) {
        width += character.width().unwrap_or(0);
        if width > CELL_WIDTH_MAX {
            while cut.width() >= CELL_WIDTH_MAX {
                cut.pop();
            }
            cut.push('…');
            return cut;
        }
        cut.push(character);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_numbers_to_the_right_and_long_text_cut() {
        let items: Vec<Value> = [
            r#"{"_id":"a","age":5,"name":"Ana María 日本"}"#,
            r#"{"_id":"bb","age":18,"more":{"x":[1]}}"#,
        ]
        .iter()
        .map(|text| api::json::parse_value(text.as_bytes()).expect("JSON"))
        .collect();
        let expected = "_id  age  name            more\n---  ---  --------------  ---------\n\
                        a      5  Ana María 日本\nbb    18                  {\"x\":[1]}\n(2 docs)\n";
        assert_eq!(table(&items).expect("documents"), expected);
        let long = vec![Value::from(bson::doc! { "t": "x".repeat(100) })];
        let text = table(&long).expect("documents");
        assert!(text.contains(&format!("{}…", "x".repeat(39))), "{text}");
        assert_eq!(table(&[Value::Int64(1)]), None);
        assert_eq!(table(&[]).as_deref(), Some("(none)\n"));
    }
}
