//! The language against a naive model of it, on drawn documents (`tests/common/model.rs`).
//!
//! `QUERY_CASES=1000000` runs so many cases of each instead of the handful; `QUERY_SEED=7` runs one.
//! A rule that the model gets wrong on purpose must be noticed: so it is one that is compared.

mod common;

use api::{Document, Value};
use common::model::Wrong;
use common::{draw, model};
use fastrand::Rng;
use query::{Circumstances, Filter, Projection, SortKeys, Update};

/// What differs in one case, if anything does.
type Check = fn(&mut Rng) -> Result<(), String>;

/// Runs a check on cases drawn from the seeds 0, 1, 2 and so on.
fn each_case(check: Check) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect(name));
    let (first, count) = match number("QUERY_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("QUERY_CASES").unwrap_or(15_000)),
    };
    for seed in first..first + count {
        if let Err(difference) = check(&mut Rng::with_seed(seed)) {
            panic!("seed {seed}: {difference}");
        }
    }
}

fn filters(rng: &mut Rng) -> Result<(), String> {
    let filter = draw::filter(rng, 2);
    let parsed = Filter::parse(&filter).map_err(|error| format!("{filter}: {error}"))?;
    for _ in 0..4 {
        let document = draw::stored(rng);
        let expected = model::matches(&filter, &Value::Document(document.clone()));
        if parsed.matches(&document) != expected {
            return Err(format!("{filter} on {document}: the model says {expected}"));
        }
    }
    Ok(())
}

fn updates(rng: &mut Rng) -> Result<(), String> {
    let (update, array_filters) = draw::update(rng);
    let filter = draw::filter(rng, 1);
    let parsed = Update::parse(&update, &array_filters);
    for _ in 0..2 {
        let document = draw::stored(rng);
        // Which element the filter found is the filter's business, not the model's.
        let found = Filter::parse(&filter).expect("a filter").check_position(&document);
        let position = found.expect("no expression").1;
        let expected = model::updated(&update, &array_filters, &document, position);
        let got = parsed.clone().and_then(|parsed| {
            let mut changed = document.clone();
            let circumstances = Circumstances { position, ..Circumstances::default() };
            parsed.apply(&mut changed, &circumstances).map(|()| changed)
        });
        let same = match (&got, &expected) {
            (Ok(got), Ok(expected)) => bytes(got) == bytes(expected),
            (Err(_), Err(_)) => true,
            _ => false,
        };
        if !same {
            let asked = format!("{update} {array_filters:?} on {document}");
            return Err(format!("{asked}: {got:?}, the model says {expected:?}"));
        }
    }
    Ok(())
}

fn projections(rng: &mut Rng) -> Result<(), String> {
    let all = Filter::parse(&Document::new()).expect("a filter");
    let fields = draw::projection(rng);
    let document = draw::stored(rng);
    let Ok(projection) = Projection::parse(Some(&fields)) else {
        // One path led to another; the model does not say what that means.
        let paths: Vec<Vec<&str>> = fields.keys().map(|path| path.split('.').collect()).collect();
        let collides = paths.iter().enumerate().any(|(position, one)| {
            let leads = |two: &Vec<&str>| one.starts_with(two) || two.starts_with(one);
            paths[position + 1..].iter().any(leads)
        });
        return if collides { Ok(()) } else { Err(format!("{fields} is refused")) };
    };
    let got = projection.apply(document.clone(), &all).expect("no position is needed");
    let expected = model::projected(&fields, &document);
    if bytes(&got) != bytes(&expected) {
        return Err(format!("{fields} of {document}: {got}, the model says {expected}"));
    }
    Ok(())
}

fn orders(rng: &mut Rng) -> Result<(), String> {
    let (path, up) = (draw::path(rng), rng.bool());
    let keys = Document::from_iter([(path.clone(), Value::Int32(if up { 1 } else { -1 }))]);
    let keys = SortKeys::parse("sort", &keys).expect("keys");
    let (left, right) = (draw::stored(rng), draw::stored(rng));
    let got = keys.compare(&keys.rank(&left), &keys.rank(&right));
    let key =
        |document: &Document| model::sort_value(&Value::Document(document.clone()), &path, up);
    let expected = model::compare(&key(&left), &key(&right));
    let expected = if up { expected } else { expected.reverse() };
    if got != expected {
        return Err(format!("{path} up {up}: {left} and {right}: the model says {expected:?}"));
    }
    Ok(())
}

fn bytes(document: &Document) -> Vec<u8> {
    document.to_vec().expect("it can be written")
}

#[test]
fn filters_mean_what_the_model_means() {
    each_case(filters);
}

#[test]
fn updates_do_what_the_model_does() {
    each_case(updates);
}

#[test]
fn projections_keep_what_the_model_keeps() {
    each_case(projections);
}

#[test]
fn documents_are_ordered_as_the_model_orders() {
    each_case(orders);
}

/// Each of these rules, wrong on one side, shows within the cases that every test run draws.
#[test]
fn a_wrong_rule_is_noticed() {
    let rules: [(Wrong, Check); 18] = [
        (Wrong::NullIsNotNothing, filters),
        (Wrong::RangesCrossTypes, filters),
        (Wrong::ListsInListsAreEntered, filters),
        (Wrong::NegationsNeedOneElement, filters),
        (Wrong::FieldsHaveNoOrder, updates),
        (Wrong::NanIsInRanges, filters),
        (Wrong::NumbersAreNoElements, filters),
        (Wrong::AllIsIn, filters),
        (Wrong::UnsetElementsAreRemoved, updates),
        (Wrong::SlicedBeforeSorted, updates),
        (Wrong::NumbersStayNarrow, updates),
        (Wrong::SetsTellTypesApart, updates),
        (Wrong::FieldsComeAsWritten, updates),
        (Wrong::PushedAtTheEnd, updates),
        (Wrong::ConflictsAreAllowed, updates),
        (Wrong::EmptyListsAreNull, orders),
        (Wrong::GreatestCountsUpward, orders),
        (Wrong::ListsAreNotProjected, projections),
    ];
    for (wrong, check) in rules {
        model::plant(Some(wrong));
        let noticed = (0..15_000).find(|seed| check(&mut Rng::with_seed(*seed)).is_err());
        model::plant(None);
        let seed = noticed.unwrap_or_else(|| panic!("nobody noticed {wrong:?}"));
        println!("{wrong:?}: seed {seed}");
    }
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
