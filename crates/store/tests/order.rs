//! The order of values, and keys whose byte order is that order.

use api::Value;
use api::order::{compare, equal};
use bson::{Binary, DateTime, Decimal128, Document, Regex, Timestamp, doc, spec::BinarySubtype};
use proptest::prelude::*;
use std::cmp::Ordering;
use store::keys;

fn decimal() -> impl Strategy<Value = Value> {
    let near = prop_oneof![Just(0i32), -6i32..6, -30i32..30, Just(-6000), Just(6000)];
    let coefficient = prop_oneof![0u64..40, any::<u64>(), Just(9_007_199_254_740_993u64)];
    let parsed =
        (any::<bool>(), coefficient, near).prop_map(|(negative, coefficient, exponent)| {
            let sign = if negative { "-" } else { "" };
            format!("{sign}{coefficient}E{exponent}")
        });
    let special = prop_oneof![Just("NaN"), Just("Infinity"), Just("-Infinity"), Just("0.1")];
    prop_oneof![parsed, special.prop_map(str::to_owned)]
        .prop_map(|text| Value::Decimal128(text.parse::<Decimal128>().expect("a decimal")))
}

fn number() -> impl Strategy<Value = Value> {
    let edge = 1i64 << 53;
    prop_oneof![
        any::<i32>().prop_map(Value::Int32),
        (-3i32..4).prop_map(Value::Int32),
        any::<i64>().prop_map(Value::Int64),
        (edge - 3..edge + 4).prop_map(Value::Int64),
        (i64::MAX - 600..=i64::MAX).prop_map(Value::Int64),
        (i64::MIN..i64::MIN + 600).prop_map(Value::Int64),
        any::<f64>().prop_map(Value::Double),
        (-6i32..7).prop_map(|half| Value::Double(f64::from(half) / 2.0)),
        (edge - 3..edge + 4).prop_map(|number| Value::Double(number as f64)),
        Just(Value::Double(0.1)),
        Just(Value::Double(-0.0)),
        Just(Value::Double(f64::NAN)),
        Just(Value::Double(f64::INFINITY)),
        Just(Value::Double(f64::from_bits(1))),
        Just(Value::Double(i64::MAX as f64)),
        decimal(),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a\u{0}\u{ff}é]{0,4}", "[ab]{0,3}"]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => number(),
        2 => text().prop_map(Value::String),
        1 => text().prop_map(Value::Symbol),
        1 => prop_oneof![
            Just(Value::Null), Just(Value::Undefined), Just(Value::MinKey), Just(Value::MaxKey),
            any::<bool>().prop_map(Value::Boolean),
        ],
        1 => any::<[u8; 12]>().prop_map(|bytes| Value::ObjectId(bytes.into())),
        1 => any::<i64>().prop_map(|millis| Value::DateTime(DateTime::from_millis(millis))),
        1 => any::<(u32, u32)>()
            .prop_map(|(time, increment)| Value::Timestamp(Timestamp { time, increment })),
        1 => (prop::collection::vec(0u8..3, 0..4), any::<bool>()).prop_map(|(bytes, uuid)| {
            let subtype = if uuid { BinarySubtype::Uuid } else { BinarySubtype::Generic };
            Value::Binary(Binary { subtype, bytes })
        }),
        1 => ("[ab.]{0,3}", "[im]?").prop_map(|(pattern, options)| {
            Value::RegularExpression(Regex {
                pattern: pattern.try_into().expect("no zero"),
                options: options.try_into().expect("no zero"),
            })
        }),
        1 => text().prop_map(Value::JavaScriptCode),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec(("[ab]{1,2}", inner), 0..3)
                .prop_map(|fields| Value::Document(fields.into_iter().collect::<Document>())),
        ]
    })
}

fn key_order(left: &Value, right: &Value) -> Ordering {
    keys::encode(left).cmp(&keys::encode(right))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..Default::default() })]

    #[test]
    fn order_is_antisymmetric_and_reflexive(left in value(), right in value()) {
        prop_assert_eq!(compare(&left, &right), compare(&right, &left).reverse());
        prop_assert_eq!(compare(&left, &left), Ordering::Equal);
    }

    #[test]
    fn order_is_transitive(a in value(), b in value(), c in value()) {
        let mut values = [a, b, c];
        values.sort_by(compare);
        prop_assert_ne!(compare(&values[0], &values[1]), Ordering::Greater);
        prop_assert_ne!(compare(&values[1], &values[2]), Ordering::Greater);
        prop_assert_ne!(compare(&values[0], &values[2]), Ordering::Greater);
    }

    #[test]
    fn numbers_are_ordered_transitively(a in number(), b in number(), c in number()) {
        let mut values = [a, b, c];
        values.sort_by(compare);
        prop_assert_ne!(compare(&values[0], &values[2]), Ordering::Greater);
        if equal(&values[0], &values[1]) && equal(&values[1], &values[2]) {
            prop_assert!(equal(&values[0], &values[2]));
        }
    }

    #[test]
    fn byte_order_of_keys_is_value_order(left in value(), right in value()) {
        prop_assert_eq!(key_order(&left, &right), compare(&left, &right));
    }

    #[test]
    fn byte_order_of_number_keys_is_value_order(left in number(), right in number()) {
        prop_assert_eq!(key_order(&left, &right), compare(&left, &right));
    }

    #[test]
    fn keys_tell_their_end(left in value(), right in value()) {
        let mut key = keys::encode(&left);
        let length = key.len();
        keys::append(&mut key, &right);
        prop_assert_eq!(keys::length(&key), Some(length));
        prop_assert_eq!(keys::length(&key[length..]), Some(key.len() - length));
    }

    /// Or an index that descends could not hold them.
    #[test]
    fn no_key_is_the_beginning_of_another(left in value(), right in value()) {
        let (left_key, right_key) = (keys::encode(&left), keys::encode(&right));
        prop_assert_eq!(right_key.starts_with(&left_key), equal(&left, &right));
    }

    /// Two fields, in either direction, with more behind them.
    #[test]
    fn byte_order_of_entries_is_the_order_of_an_index(
        left in (value(), value()),
        right in (value(), value()),
        descending in any::<(bool, bool)>(),
        behind in any::<(u8, u8)>(),
    ) {
        let entry = |(first, second): &(Value, Value), behind: u8| {
            let mut entry = Vec::new();
            keys::append_directed(&mut entry, first, descending.0);
            prop_assert_eq!(keys::length_directed(&entry, descending.0), Some(entry.len()));
            keys::append_directed(&mut entry, second, descending.1);
            entry.push(behind);
            Ok(entry)
        };
        let directed = |order: Ordering, descending| if descending { order.reverse() } else { order };
        let expected = directed(compare(&left.0, &right.0), descending.0)
            .then(directed(compare(&left.1, &right.1), descending.1))
            .then(behind.0.cmp(&behind.1));
        prop_assert_eq!(entry(&left, behind.0)?.cmp(&entry(&right, behind.1)?), expected);
    }

    #[test]
    fn key_length_survives_garbage(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Some(length) = keys::length(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }

    /// `key ++ FF` stands behind everything that begins with `key`, before every greater value.
    #[test]
    fn the_bound_after_a_key_divides(left in value(), right in value(), id in value()) {
        let mut bound = keys::encode(&left);
        bound.push(0xff);
        let mut entry = keys::encode(&right);
        keys::append(&mut entry, &id);
        prop_assert_eq!(entry < bound, compare(&right, &left) != Ordering::Greater);
    }
}

#[test]
fn brackets_stand_in_the_order_of_the_manual() {
    let oid = Value::ObjectId([0; 12].into());
    let ladder = [
        Value::MinKey,
        Value::Undefined,
        Value::Null,
        Value::Double(f64::NAN),
        Value::Double(f64::NEG_INFINITY),
        Value::Int64(i64::MIN),
        Value::Double(-0.5),
        Value::Int32(0),
        Value::Decimal128("0.1".parse().unwrap()),
        Value::Double(0.1),
        Value::Int64(9_007_199_254_740_992),
        Value::Int64(9_007_199_254_740_993),
        Value::Int64(i64::MAX),
        Value::Double(i64::MAX as f64),
        Value::Decimal128("1E+6000".parse().unwrap()),
        Value::Double(f64::INFINITY),
        Value::String(String::new()),
        Value::String("B".into()),
        Value::Symbol("a".into()),
        Value::Document(Document::new()),
        Value::from(doc! { "b": 1 }),
        Value::from(doc! { "a": "x" }),
        Value::Array(vec![]),
        Value::Array(vec![Value::Int32(1)]),
        Value::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![9] }),
        Value::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 0] }),
        oid,
        Value::Boolean(false),
        Value::Boolean(true),
        Value::DateTime(DateTime::from_millis(-1)),
        Value::DateTime(DateTime::from_millis(0)),
        Value::Timestamp(Timestamp { time: 0, increment: 1 }),
        Value::RegularExpression(Regex {
            pattern: "a".to_owned().try_into().unwrap(),
            options: String::new().try_into().unwrap(),
        }),
        Value::JavaScriptCode("x".into()),
        Value::MaxKey,
    ];
    for pair in ladder.windows(2) {
        assert_eq!(compare(&pair[0], &pair[1]), Ordering::Less, "{pair:?}");
        assert_eq!(key_order(&pair[0], &pair[1]), Ordering::Less, "{pair:?}");
    }
    for (left, right) in [
        (Value::Int32(1), Value::Double(1.0)),
        (Value::Int64(1), Value::Decimal128("1.00".parse().unwrap())),
        (Value::Double(0.0), Value::Double(-0.0)),
        (Value::Double(f64::NAN), Value::Decimal128("NaN".parse().unwrap())),
        (Value::Double(0.5), Value::Decimal128("0.5".parse().unwrap())),
        (Value::String("a".into()), Value::Symbol("a".into())),
    ] {
        assert!(equal(&left, &right), "{left} {right}");
        assert_eq!(keys::encode(&left), keys::encode(&right), "{left} {right}");
    }
}
