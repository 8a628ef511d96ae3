//! Answers as the prompt shows them, in the words of the founding document.

use api::value::{Document, ID_FIELD};
use api::{FieldSchema, Schema, Value, json};

/// The answer to `search`.
pub(super) fn documents(answer: &Value) -> String {
    let mut text = String::from("Results:\n");
    let Value::Array(documents) = answer else { return text + &scalar(answer) + "\n" };
    if documents.is_empty() {
        text.push_str("  (none)\n");
    }
    for document in documents {
        match document {
            Value::Document(document) => add_document(document, &mut text),
            other => text += &format!("- {}\n", scalar(other)),
        }
    }
    text
}

/// A sentence on how many documents something was done with: `Doc updated.`, `3 docs updated.`
pub(super) fn count(answer: &Value, done: &str) -> String {
    match answer {
        Value::Int64(1) | Value::Int32(1) => format!("Doc {done}.\n"),
        number => format!("{} docs {done}.\n", scalar(number)),
    }
}

/// The answer to `desc`: collections with their schemas, and the indexes that no field's `*` tells of, which
/// are taken from the answer to `describe`.
pub(super) fn collections(described: &[(String, Schema, Value)], answer: &Value) -> String {
    let mut text = String::from("Collections:\n");
    if described.is_empty() {
        text.push_str("  (none)\n");
    }
    for (name, schema, count) in described {
        let count = match count {
            Value::Int64(1) | Value::Int32(1) => "1 doc".to_string(),
            number => format!("{} docs", scalar(number)),
        };
        text += &format!("- {name}: {count}\n");
        for field in &schema.fields {
            text += &format!("  {}\n", declaration(field));
        }
        let description = answer.as_document().and_then(|all| all.get(name));
        let indexes = description.and_then(Value::as_document).and_then(|d| d.get("indexes"));
        for index in indexes.and_then(Value::as_array).into_iter().flatten() {
            text += &index_line(index, schema).unwrap_or_default();
        }
    }
    text
}

/// An index; none for that on `_id`, and for a ready one that the schema shows.
fn index_line(index: &Value, schema: &Schema) -> Option<String> {
    let index = index.as_document()?;
    let (name, keys) = (index.get_str("name").ok()?, index.get_document("keys").ok()?);
    let state = index.get_str("state").unwrap_or_default();
    let is_shown = schema.fields.iter().any(|field| {
        (field.index || field.unique) && name == format!("{}_1", field.name) && state == "ready"
    });
    if name == "_id_" || is_shown {
        return None;
    }
    let mut line = format!("  index {name}: {}", scalar(&Value::Document(keys.clone())));
    for property in ["unique", "sparse"] {
        if index.get_bool(property).unwrap_or_default() {
            line += &format!(", {property}");
        }
    }
    for property in ["where", "documents_done", "reason"] {
        if let Some(value) = index.get(property) {
            line += &format!(", {property} {}", scalar(value));
        }
    }
    Some(line + &format!(", {state}\n"))
}

/// The faults of a node after one was turned on or off.
pub(super) fn faults(node: &str, answer: &Value) -> String {
    let field = |name| answer.as_document().and_then(|document| document.get(name));
    let hearing = match field("deaf") {
        Some(Value::Boolean(true)) => "deaf",
        _ => "listening",
    };
    let loss = field("loss").map_or_else(|| "0".to_string(), scalar);
    format!("Node {node} is {hearing} and loses {loss} of its messages.\n")
}

/// A document or a list of documents about a node or the group.
pub(super) fn report(answer: &Value) -> String {
    let mut text = String::new();
    match answer {
        Value::Document(document) => {
            for (name, value) in document {
                text += &format!("{name}: {}\n", scalar(value));
            }
        }
        Value::Array(items) => {
            for item in items {
                add_report_item(item, &mut text);
            }
        }
        other => text += &format!("{}\n", scalar(other)),
    }
    text
}

/// A value in one line: text as it is unless it holds control characters, dates and object ids as
/// their text, all else as JSON.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if !text.chars().any(char::is_control) => text.clone(),
        Value::DateTime(date) => {
            date.try_to_rfc3339_string().unwrap_or_else(|_| json::to_string(value))
        }
        Value::ObjectId(id) => id.to_hex(),
        other => json::to_string(other),
    }
}

/// The answer to an operation that has no words of its own, by its form.
pub(super) fn answer(value: &Value) -> String {
    match value {
        Value::Null => "Done.\n".into(),
        Value::Document(_) => report(value),
        Value::Array(items) if items.iter().all(|item| matches!(item, Value::Document(_))) => {
            documents(value)
        }
        Value::Array(items) => {
            let mut text = String::from("Results:\n");
            if items.is_empty() {
                text.push_str("  (none)\n");
            }
            for item in items {
                text += &format!("- {}\n", scalar(item));
            }
            text
        }
        other => format!("{}\n", scalar(other)),
    }
}

/// The line with the place that is wrong, and below it a mark at that place.
pub(super) fn pointer(text: &str, position: usize) -> String {
    let before: String = text.chars().take(position).collect();
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let position = before[start..].chars().count();
    let line = text[start..].lines().next().unwrap_or_default();
    // A tab takes the same room in both lines.
    let blank = |character: char| if character == '\t' { '\t' } else { ' ' };
    let indent: String = line.chars().take(position).map(blank).collect();
    format!("{line}\n{indent}^\n")
}

fn add_document(document: &Document, text: &mut String) {
    let id = document.get(ID_FIELD).map_or_else(|| "(none)".to_string(), scalar);
    *text += &format!("- id: {id}\n");
    for (name, value) in document.iter().filter(|(name, _)| *name != ID_FIELD) {
        *text += &format!("  {name}: {}\n", scalar(value));
    }
}

fn add_report_item(item: &Value, text: &mut String) {
    let Value::Document(document) = item else {
        *text += &format!("- {}\n", scalar(item));
        return;
    };
    for (position, (name, value)) in document.iter().enumerate() {
        let bullet = if position == 0 { "-" } else { " " };
        *text += &format!("{bullet} {name}: {}\n", scalar(value));
    }
}

fn declaration(field: &FieldSchema) -> String {
    let star = if field.index { "*" } else { "" };
    let unique = if field.unique { " unique" } else { "" };
    let required = if field.required { " required" } else { "" };
    format!("{star}{}: {}{unique}{required}", field.name, field.kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_with_the_node_that_has_them() {
        let answer = Document::from_iter([
            ("deaf".to_string(), Value::Boolean(true)),
            ("loss".to_string(), Value::Double(0.25)),
        ]);
        let said = faults("localhost:8001", &Value::Document(answer));
        assert_eq!(said, "Node localhost:8001 is deaf and loses 0.25 of its messages.\n");
    }

    #[test]
    fn errors_are_pointed_at_in_characters() {
        assert_eq!(pointer("añadir x", 7), "añadir x\n       ^\n");
        assert_eq!(pointer("a\tb", 2), "a\tb\n \t^\n");
        assert_eq!(pointer("search u {\n  añ: 1\n}", 14), "  añ: 1\n   ^\n");
    }

    #[test]
    fn text_is_shown_as_it_is_unless_it_would_break_the_line() {
        assert_eq!(scalar(&Value::String("a b".into())), "a b");
        assert_eq!(scalar(&Value::String("a\nb".into())), r#""a\nb""#);
        assert_eq!(scalar(&Value::Int64(18)), "18");
        assert_eq!(scalar(&Value::Array(vec![Value::String("a".into())])), r#"["a"]"#);
    }

    #[test]
    fn counts_speak_of_one_and_of_many() {
        assert_eq!(count(&Value::Int64(1), "updated"), "Doc updated.\n");
        assert_eq!(count(&Value::Int64(0), "updated"), "0 docs updated.\n");
        assert_eq!(count(&Value::Int64(3), "removed"), "3 docs removed.\n");
    }
}
