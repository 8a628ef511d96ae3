//! The language against a naive model of it, on drawn documents (`tests/common/model.rs`).
//!
//! `QUERY_CASES=1000000` runs so many cases of each instead of the handful; `QUERY_SEED=7` runs one.

mod common;

use api::{Document, Value};
use common::{draw, model};
use fastrand::Rng;
use query::{Circumstances, Filter, Projection, SortKeys, Update};

/// Runs a check on cases drawn from the seeds 0, 1, 2 and so on.
fn each_case(check: impl Fn(&mut Rng, u64)) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect(name));
    let (first, count) = match number("QUERY_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("QUERY_CASES").unwrap_or(15_000)),
    };
    for seed in first..first + count {
        check(&mut Rng::with_seed(seed), seed);
    }
}

#[test]
fn filters_mean_what_the_model_means() {
    each_case(|rng, seed| {
        let filter = draw::filter(rng, 2);
        let parsed =
            Filter::parse(&filter).unwrap_or_else(|e| panic!("seed {seed}: {filter}: {e}"));
        for _ in 0..4 {
            let document = draw::stored(rng);
            let expected = model::matches(&filter, &Value::Document(document.clone()));
            assert_eq!(parsed.matches(&document), expected, "seed {seed}: {filter} on {document}");
        }
    });
}

#[test]
fn filters_are_not_all_true_or_all_false() {
    let (mut yes, mut no) = (0, 0);
    for seed in 0..2_000 {
        let mut rng = Rng::with_seed(seed);
        let filter = Filter::parse(&draw::filter(&mut rng, 2)).expect("a filter");
        let count = if filter.matches(&draw::stored(&mut rng)) { &mut yes } else { &mut no };
        *count += 1;
    }
    assert!(yes > 150 && no > 150, "{yes} yes, {no} no");
}

#[test]
fn updates_do_what_the_model_does() {
    each_case(|rng, seed| {
        let (update, array_filters) = draw::update(rng);
        let filter = draw::filter(rng, 1);
        let parsed = Update::parse(&update, &array_filters);
        for _ in 0..2 {
            let document = draw::stored(rng);
            let shown = || format!("seed {seed}: {update} {array_filters:?} on {document}");
            // Which element the filter found is the filter's business, not the model's.
            let found = Filter::parse(&filter).expect("a filter").check_position(&document);
            let position = found.expect("no expression").1;
            let expected = model::updated(&update, &array_filters, &document, position);
            let got = parsed.clone().and_then(|parsed| {
                let mut changed = document.clone();
                let circumstances = Circumstances { position, ..Circumstances::default() };
                parsed.apply(&mut changed, &circumstances).map(|()| changed)
            });
            match (&got, &expected) {
                (Ok(got), Ok(expected)) => {
                    assert_eq!(bytes(got), bytes(expected), "{}: {got} or {expected}", shown());
                }
                (Err(_), Err(_)) => {}
                _ => panic!("{}: {got:?} or {expected:?}", shown()),
            }
        }
    });
}

#[test]
fn updates_are_not_all_refused() {
    let mut done = 0;
    for seed in 0..2_000 {
        let mut rng = Rng::with_seed(seed);
        let (update, array_filters) = draw::update(&mut rng);
        let Ok(update) = Update::parse(&update, &array_filters) else { continue };
        let mut document = draw::stored(&mut rng);
        done += u32::from(update.apply(&mut document, &Circumstances::default()).is_ok());
    }
    assert!(done > 400, "{done} of 2000 updates went through");
}

#[test]
fn projections_keep_what_the_model_keeps() {
    let all = Filter::parse(&Document::new()).expect("a filter");
    each_case(|rng, seed| {
        let fields = draw::projection(rng);
        let document = draw::stored(rng);
        let Ok(projection) = Projection::parse(Some(&fields)) else {
            // One path led to another; the model does not say what that means.
            let paths: Vec<Vec<&str>> =
                fields.keys().map(|path| path.split('.').collect()).collect();
            let collides = paths.iter().enumerate().any(|(position, one)| {
                paths[position + 1..].iter().any(|two| one.starts_with(two) || two.starts_with(one))
            });
            assert!(collides, "seed {seed}: {fields}");
            return;
        };
        let got = projection.apply(document.clone(), &all).expect("no position is needed");
        let expected = model::projected(&fields, &document);
        assert_eq!(
            bytes(&got),
            bytes(&expected),
            "seed {seed}: {fields} of {document}: {got} or {expected}"
        );
    });
}

#[test]
fn documents_are_ordered_as_the_model_orders() {
    each_case(|rng, seed| {
        let (path, up) = (draw::path(rng), rng.bool());
        let keys = Document::from_iter([(path.clone(), Value::Int32(if up { 1 } else { -1 }))]);
        let keys = SortKeys::parse("sort", &keys).expect("keys");
        let (left, right) = (draw::stored(rng), draw::stored(rng));
        let got = keys.compare(&keys.rank(&left), &keys.rank(&right));
        let key =
            |document: &Document| model::sort_value(&Value::Document(document.clone()), &path, up);
        let expected = model::compare(&key(&left), &key(&right));
        let expected = if up { expected } else { expected.reverse() };
        assert_eq!(got, expected, "seed {seed}: {path} up {up}: {left} and {right}");
    });
}

fn bytes(document: &Document) -> Vec<u8> {
    document.to_vec().expect("it can be written")
}
