//! Commands to requests: values get the types that the collection's schema declares.

use super::language::{Assignment, Condition, Literal, Operator, SyntaxError};
use api::{Document, FieldType, Schema, Value, json};

/// The document that `add` adds, or the changes that `update` makes.
pub(super) fn document(fields: &[Assignment], schema: &Schema) -> Result<Document, SyntaxError> {
    let mut document = Document::new();
    for field in fields {
        document.insert(field.field.clone(), typed(&field.field, &field.value, schema)?);
    }
    Ok(document)
}

/// The schema that `addcol` declares, in its JSON form.
pub(super) fn schema_document(fields: &[Assignment]) -> Result<Document, SyntaxError> {
    let mut document = Document::new();
    for field in fields {
        let value = if field.value.text.starts_with('{') && !field.value.quoted {
            parse_json(&field.value)?
        } else {
            Value::String(field.value.text.clone())
        };
        document.insert(field.field.clone(), value);
    }
    Ok(document)
}

/// The filter that all conditions together make. Conditions on one field that fit into one object of
/// operators share it (`{"age":{"$gt":10,"$lt":20}}`); the others are joined by `$and`.
pub(super) fn filter(conditions: &[Condition], schema: &Schema) -> Result<Document, SyntaxError> {
    let mut filter = Document::new();
    let mut others = Vec::new();
    for Condition { field, operator, value } in conditions {
        let value = condition_value(field, value, schema)?;
        let Some(name) = operator_name(*operator) else {
            if filter.contains_key(field) {
                others.push(Value::Document(single(field, value)));
            } else {
                filter.insert(field.clone(), value);
            }
            continue;
        };
        match filter.get_mut(field) {
            None => {
                filter.insert(field.clone(), single(name, value));
            }
            Some(Value::Document(operators)) if may_take(operators, name) => {
                operators.insert(name, value);
            }
            Some(_) => {
                let operators = Value::Document(single(name, value));
                others.push(Value::Document(single(field, operators)));
            }
        }
    }
    if !others.is_empty() {
        filter.insert("$and", others);
    }
    Ok(filter)
}

/// A value of the key-value map: JSON if it parses, else text.
pub(super) fn untyped(literal: &Literal) -> Value {
    if literal.quoted {
        return Value::String(literal.text.clone());
    }
    json::parse_value(literal.text.as_bytes())
        .unwrap_or_else(|_| Value::String(literal.text.clone()))
}

/// The value that `text` stands for in a field, as its schema declares it.
///
/// # Errors
/// If it stands for none of that type.
pub(crate) fn typed_text(field: &str, text: &str, schema: &Schema) -> Result<Value, String> {
    let literal = Literal { text: text.to_string(), quoted: false, position: 0 };
    typed(field, &literal, schema).map_err(|error| error.message)
}

fn operator_name(operator: Operator) -> Option<&'static str> {
    match operator {
        Operator::Equal => None,
        Operator::NotEqual => Some("$ne"),
        Operator::Greater => Some("$gt"),
        Operator::GreaterOrEqual => Some("$gte"),
        Operator::Less => Some("$lt"),
        Operator::LessOrEqual => Some("$lte"),
    }
}

/// Whether these are operators, not a value to be equal to, and `name` is not among them yet.
fn may_take(operators: &Document, name: &str) -> bool {
    operators.keys().next().is_some_and(|first| first.starts_with('$'))
        && !operators.contains_key(name)
}

fn single(name: &str, value: impl Into<Value>) -> Document {
    Document::from_iter([(name.to_string(), value.into())])
}

/// A condition may compare an element of a list, so a list field takes any value there.
fn condition_value(field: &str, literal: &Literal, schema: &Schema) -> Result<Value, SyntaxError> {
    match declared(field, schema) {
        Some(FieldType::List | FieldType::Doc) => Ok(untyped(literal)),
        _ => typed(field, literal, schema),
    }
}

fn declared(field: &str, schema: &Schema) -> Option<FieldType> {
    schema.fields.iter().find(|declared| declared.name == field).map(|declared| declared.kind)
}

fn typed(field: &str, literal: &Literal, schema: &Schema) -> Result<Value, SyntaxError> {
    let text = literal.text.as_str();
    let kind = match declared(field, schema) {
        None | Some(FieldType::Any) => return Ok(untyped(literal)),
        Some(kind) => kind,
    };
    if kind == FieldType::Str {
        return Ok(Value::String(text.to_string()));
    }
    if text == "null" && !literal.quoted {
        return Ok(Value::Null);
    }
    let value = match kind {
        FieldType::Int => text.parse().ok().map(Value::Int64),
        FieldType::Float => match text.parse::<i64>() {
            Ok(number) => Some(Value::Int64(number)),
            Err(_) => {
                text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Double)
            }
        },
        FieldType::Bool => text.parse().ok().map(Value::Boolean),
        FieldType::Date => date(text),
        FieldType::List => json_value(literal).filter(|value| matches!(value, Value::Array(_))),
        FieldType::Doc => json_value(literal).filter(|value| matches!(value, Value::Document(_))),
        FieldType::Str | FieldType::Any => None,
    };
    value.ok_or_else(|| SyntaxError {
        position: literal.position,
        message: format!("{field} is declared {}, {text:?} is no {}", kind.as_str(), example(kind)),
    })
}

fn example(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Str | FieldType::Any => "text",
        FieldType::Int => "whole number of 64 bits",
        FieldType::Float => "number",
        FieldType::Bool => "true or false",
        FieldType::Date => {
            "date such as 2024-02-29T12:30:00Z, 2024-02-29, or milliseconds since 1970"
        }
        FieldType::List => "list such as [1,2]",
        FieldType::Doc => "object such as {\"a\":1}",
    }
}

/// A date as text with or without a time of day (UTC if it names no zone), or milliseconds.
fn date(text: &str) -> Option<Value> {
    if let Ok(milliseconds) = text.parse() {
        return Some(Value::DateTime(bson::DateTime::from_millis(milliseconds)));
    }
    let spellings = [text.to_string(), format!("{text}Z"), format!("{text}T00:00:00Z")];
    let mut dates = spellings.iter().map(bson::DateTime::parse_rfc3339_str);
    dates.find_map(Result::ok).map(Value::DateTime)
}

fn json_value(literal: &Literal) -> Option<Value> {
    json::parse_value(literal.text.as_bytes()).ok()
}

fn parse_json(literal: &Literal) -> Result<Value, SyntaxError> {
    json::parse_value(literal.text.as_bytes())
        .map_err(|error| SyntaxError { position: literal.position, message: error.message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::language::{Command, parse};

    fn schema() -> Schema {
        let document = json::parse_document(
            br#"{"*email":"str","age":"int","height":"float","member":"bool","born":"date","tags":"list","home":"doc","any":"any"}"#,
        );
        api::parse::parse_schema(&document.expect("JSON")).expect("a schema")
    }

    fn added(fields: &str) -> Result<String, SyntaxError> {
        let Command::Add { fields, .. } = parse(&format!("add c {fields}"))? else { panic!() };
        document(&fields, &schema()).map(|document| json::to_string(&Value::Document(document)))
    }

    fn sought(conditions: &str) -> String {
        let parsed = parse(&format!("search c {conditions}")).expect("a command");
        let Command::Search { conditions, .. } = parsed else { panic!() };
        let filter = filter(&conditions, &schema()).expect("a filter");
        json::to_string(&Value::Document(filter))
    }

    #[test]
    fn values_take_their_declared_type() {
        let cases = [
            ("email=18 age=18", r#"{"email":"18","age":18}"#),
            ("email=null age=null", r#"{"email":"null","age":null}"#),
            ("age=\"18\" height=1", r#"{"age":18,"height":1}"#),
            ("height=1.5 member=true", r#"{"height":1.5,"member":true}"#),
            ("born=2024-02-29", r#"{"born":{"$date":"2024-02-29T00:00:00Z"}}"#),
            ("born=2024-02-29T12:30:00", r#"{"born":{"$date":"2024-02-29T12:30:00Z"}}"#),
            ("born=0", r#"{"born":{"$date":"1970-01-01T00:00:00Z"}}"#),
            ("tags=[1, \"a b\"]", r#"{"tags":[1,"a b"]}"#),
            ("home={\"city\": \"a, b\"}", r#"{"home":{"city":"a, b"}}"#),
            (
                "any=1 other=true text=a quoted=\"1\"",
                r#"{"any":1,"other":true,"text":"a","quoted":"1"}"#,
            ),
        ];
        for (fields, expected) in cases {
            assert_eq!(added(fields).as_deref(), Ok(expected), "{fields}");
        }
    }

    #[test]
    fn values_of_another_type_are_pointed_at() {
        for (fields, position, part) in [
            ("email=a age=old", 18, "age is declared int, \"old\" is no whole number"),
            ("age=1.5", 10, "whole number"),
            ("age=9223372036854775808", 10, "64 bits"),
            ("height=NaN", 13, "number"),
            ("member=yes", 13, "true or false"),
            ("born=yesterday", 11, "2024-02-29"),
            ("tags=a", 11, "list such as"),
            ("home=[1]", 11, "object such as"),
        ] {
            let error = added(fields).expect_err(fields);
            assert_eq!(error.position, position, "{fields}");
            assert!(error.message.contains(part), "{}", error.message);
        }
    }

    #[test]
    fn conditions_become_one_filter() {
        let cases = [
            ("", "{}"),
            ("*", "{}"),
            ("email=a", r#"{"email":"a"}"#),
            ("age>10 age<20", r#"{"age":{"$gt":10,"$lt":20}}"#),
            ("age >= 10 age<=20 email!=b", r#"{"age":{"$gte":10,"$lte":20},"email":{"$ne":"b"}}"#),
            ("age=10 age>5 age=11", r#"{"age":10,"$and":[{"age":{"$gt":5}},{"age":11}]}"#),
            ("age>10 age>12", r#"{"age":{"$gt":10},"$and":[{"age":{"$gt":12}}]}"#),
            ("tags=a home.city=b", r#"{"tags":"a","home.city":"b"}"#),
            ("any={\"a\":1} any>1", r#"{"any":{"a":1},"$and":[{"any":{"$gt":1}}]}"#),
        ];
        for (conditions, expected) in cases {
            assert_eq!(sought(conditions), expected, "{conditions}");
        }
    }
}
