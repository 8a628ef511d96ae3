//! The JSON form of values: cases, and the property that what is written reads back the same.

use api::error::ErrorCode;
use api::json::{self, parse_value, to_string, write_reply};
use api::limits::NESTING_MAX;
use api::{Document, Error, Value};
use proptest::prelude::*;

fn value(text: &str) -> Value {
    parse_value(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    let error = parse_value(text.as_bytes()).expect_err(text);
    assert_eq!(error.code, ErrorCode::BadRequest);
    error.message
}

#[test]
fn numbers_keep_their_kind() {
    assert_eq!(value("18"), Value::Int64(18));
    assert_eq!(value("-9223372036854775808"), Value::Int64(i64::MIN));
    assert_eq!(value("9223372036854775808"), Value::Double(9_223_372_036_854_775_808.0));
    assert_eq!(value("18.0"), Value::Double(18.0));
    assert_eq!(value("1e2"), Value::Double(100.0));
    assert_eq!(to_string(&Value::Double(18.0)), "18.0");
    assert_eq!(to_string(&Value::Int32(18)), "18");
    assert!(refusal("1e999").contains("out of range"));
    for text in ["NaN", "Infinity", "-Infinity", "01", "+1", ".5", "0x10"] {
        refusal(text);
    }
}

#[test]
fn extended_forms_are_values() {
    let date = Value::DateTime(bson::DateTime::from_millis(1_700_000_000_000));
    assert_eq!(value(r#"{"$date":"2023-11-14T22:13:20Z"}"#), date);
    assert_eq!(value(r#"{"$date":1700000000000}"#), date);
    assert_eq!(value(r#"{"$date":{"$numberLong":"1700000000000"}}"#), date);
    assert_eq!(to_string(&date), r#"{"$date":"2023-11-14T22:13:20Z"}"#);
    assert_eq!(value(r#"{"$numberLong":"7"}"#), Value::Int64(7));
    assert_eq!(value(r#"{"$numberInt":"7"}"#), Value::Int32(7));
    assert!(
        matches!(value(r#"{"$numberDouble":"NaN"}"#), Value::Double(number) if number.is_nan())
    );
    assert!(matches!(
        value(r#"{"$binary":{"base64":"AQI=","subType":"00"}}"#),
        Value::Binary(binary) if binary.bytes == [1, 2]
    ));
    // Operators of a query are plain documents.
    for text in [r#"{"$gt":1}"#, r#"{"$regex":"^a","$options":"i"}"#, r#"{"a":1,"$oid":"x"}"#] {
        assert!(matches!(value(text), Value::Document(_)), "{text}");
        assert_eq!(to_string(&value(text)), text);
    }
}

#[test]
fn malformed_texts_are_refused_with_their_place() {
    assert_eq!(refusal(""), "the JSON text is empty");
    assert!(refusal("[1,").contains("line 1 column 3"));
    assert!(refusal("[1] 2").contains("trailing characters"));
    assert!(refusal(r#"{"a":1,"a":2}"#).contains(r#"field "a" is named twice"#));
    assert!(refusal(r#"{"$oid":7}"#).contains("malformed $oid"));
    assert!(refusal(r#"{"$oid":"xyz"}"#).contains("malformed $oid"));
    assert!(refusal(r#"{"$date":"yesterday"}"#).contains("malformed $date"));
    assert!(refusal(r#"{"$date":1,"a":2}"#).contains("stands alone"));
    let not_utf8 = parse_value(b"\"\xff\"").expect_err("not UTF-8");
    assert_eq!(not_utf8.code, ErrorCode::BadRequest);
}

#[test]
fn nesting_is_limited() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert_eq!(json::nesting(&value(&nested(NESTING_MAX))), NESTING_MAX);
    assert!(refusal(&nested(NESTING_MAX + 1)).contains("nested deeper than 100 levels"));
    assert!(refusal(&nested(100_000)).contains("nested deeper than 100 levels"));
}

#[test]
fn the_number_of_values_is_limited() {
    let text = format!("[{}0]", "0,".repeat(json::VALUES_MAX));
    assert!(refusal(&text).contains("more than 2000000 values"));
}

#[test]
fn replies_fit_their_frame_or_are_refused() {
    let mut out = b"before".to_vec();
    let big = Ok(Value::Array(vec![Value::String("x".repeat(100)); 1000]));
    let error = write_reply(&big, 65_535, &mut out).expect_err("too large");
    assert_eq!(error.code, ErrorCode::ResultTooLarge);
    assert_eq!(out, b"before");

    let exactly = Ok(Value::String("x".repeat(100)));
    assert!(write_reply(&exactly, 108, &mut out).is_err());
    write_reply(&exactly, 109, &mut out).expect("fits");
    assert_eq!(out.len(), "before".len() + 109);

    let long = Err(Error::new(ErrorCode::BadRequest, "é\u{1}".repeat(100_000)));
    let mut out = Vec::new();
    write_reply(&long, 65_535, &mut out).expect("cut short");
    assert!(out.len() <= 65_535);
    let reply = parse_value(&out).expect("JSON");
    assert!(matches!(&reply, Value::Array(items) if items[0] == Value::String("ko".into())));
}

/// Values of every type that has a JSON form of its own.
fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(Value::Int64),
        any::<f64>()
            .prop_filter("NaN is no equal of itself", |f| !f.is_nan())
            .prop_map(Value::Double),
        any::<String>().prop_map(Value::String),
        any::<[u8; 12]>().prop_map(|bytes| Value::ObjectId(bson::oid::ObjectId::from_bytes(bytes))),
        any::<i64>().prop_map(|ms| Value::DateTime(bson::DateTime::from_millis(ms))),
        (0i64..4_102_444_800_000).prop_map(|ms| Value::DateTime(bson::DateTime::from_millis(ms))),
        any::<Vec<u8>>().prop_map(|bytes| Value::Binary(bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes
        })),
        any::<(u32, u32)>()
            .prop_map(|(time, increment)| Value::Timestamp(bson::Timestamp { time, increment })),
        Just(Value::MinKey),
        Just(Value::MaxKey),
        Just(Value::Undefined),
        any::<String>().prop_map(Value::Symbol),
        any::<String>().prop_map(Value::JavaScriptCode),
        any::<i32>().prop_map(|n| Value::Decimal128(n.to_string().parse().expect("a number"))),
    ];
    scalar.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec(("[a-z_.é\"\\\\]{0,8}", inner), 0..6)
                .prop_map(|fields| { Value::Document(fields.into_iter().collect::<Document>()) }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(value in any_value()) {
        let text = to_string(&value);
        prop_assert_eq!(parse_value(text.as_bytes()), Ok(value.clone()), "{}", text);
        // And an independent reader takes it for JSON.
        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_value(&bytes);
    }

    #[test]
    fn any_json_like_text_is_read_or_refused(text in "[\\[\\]{}:,\"a$1e.\\-\\\\u ]{0,60}") {
        if let Ok(value) = parse_value(text.as_bytes()) {
            prop_assert_eq!(parse_value(to_string(&value).as_bytes()), Ok(value));
        }
    }
}

/// Strings are looked at in chunks; an escape may stand anywhere within one, before, and behind.
#[test]
fn escapes_are_written_wherever_they_stand() {
    let escapes = [
        ("\"", "\\\""),
        ("\\", "\\\\"),
        ("\n", "\\n"),
        ("\u{1}", "\\u0001"),
        ("\u{1f}", "\\u001f"),
    ];
    let plain = "aé\u{7f}ñ漢🙂/ b".repeat(6);
    let places = plain.char_indices().map(|(place, _)| place).chain([plain.len()]);
    for place in places {
        for (byte, escaped) in escapes {
            let (before, behind) = plain.split_at(place);
            for count in [1, 2, 17] {
                let text = format!("{before}{}{behind}", byte.repeat(count));
                let mut written = Vec::new();
                json::write_string(&text, &mut written);
                let expected = format!("\"{before}{}{behind}\"", escaped.repeat(count));
                assert_eq!(String::from_utf8(written).expect("UTF-8"), expected);
            }
        }
    }
}
