//! The checker itself: histories that are fine and histories that are not.

use api::Value;
use sim::checker::{Action, History, Operation};

fn check(operations: &[(u64, u64, Action)]) -> Result<(), String> {
    let mut history = History::default();
    for (client, (start_us, end_us, action)) in operations.iter().enumerate() {
        let (start_us, end_us, action) = (*start_us, *end_us, action.clone());
        history.add(Operation { client, start_us, end_us, action });
    }
    history.check()
}

fn value(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::String(text.to_owned()) }
}

fn read(text: &str) -> Action {
    Action::Read(value(text))
}

fn write(text: &str) -> Action {
    Action::Write(value(text))
}

fn swap(old: &str, new: &str) -> Action {
    Action::Swap(value(old), value(new))
}

const NEVER: u64 = u64::MAX;

#[test]
fn histories_that_some_order_explains_pass() {
    let fine: &[&[(u64, u64, Action)]] = &[
        &[],
        &[(1, 2, read(""))],
        &[(1, 2, write("a")), (3, 4, read("a"))],
        // Concurrent: the read may see the write or not.
        &[(1, 9, write("a")), (2, 3, read("")), (4, 5, read("a"))],
        // Two writes at once, read in either order, once.
        &[(1, 9, write("a")), (1, 9, write("b")), (10, 11, read("a"))],
        // An unanswered write that was seen, and one that was not.
        &[(1, NEVER, write("a")), (50, 60, read("a")), (1, NEVER, write("b"))],
        &[(1, 2, swap("", "a")), (3, 4, swap("a", "b")), (5, 6, read("b"))],
        // Swaps at once, in the order their answers tell.
        &[(1, 9, swap("a", "b")), (1, 9, swap("", "a")), (10, 11, read("b"))],
        // A write between two swaps that are not linked.
        &[(1, 2, swap("", "a")), (3, 4, write("w")), (5, 6, swap("w", "b"))],
    ];
    for history in fine {
        assert_eq!(check(history), Ok(()), "{history:?}");
    }
}

/// P11.
#[test]
fn histories_that_no_order_explains_fail() {
    let wrong: &[&[(u64, u64, Action)]] = &[
        // A read of what nobody wrote.
        &[(1, 2, read("a"))],
        // A stale read.
        &[(1, 2, write("a")), (3, 4, write("b")), (5, 6, read("a"))],
        &[(1, 2, write("a")), (3, 4, read(""))],
        // A value goes and comes back.
        &[(1, 9, write("a")), (1, 9, write("b")), (10, 11, read("a")), (12, 13, read("b"))],
        // A read before the write began.
        &[(5, 6, write("a")), (1, 2, read("a"))],
        // A lost update: two swaps of the same value.
        &[(1, 2, write("a")), (3, 9, swap("a", "b")), (3, 9, swap("a", "c"))],
        // A swap of a value that was overwritten before it began.
        &[(1, 2, write("a")), (3, 4, write("b")), (5, 6, swap("a", "c"))],
        // Something stands between a swap's value and the swap: the write of "w" is after "a" was seen
        // and before the swap began.
        &[(1, 2, write("a")), (3, 4, write("w")), (5, 6, read("w")), (7, 8, swap("a", "b"))],
        // An acknowledged write is lost.
        &[(1, 2, write("a")), (3, 4, swap("a", "b")), (5, 6, read("a"))],
        // A write takes effect twice.
        &[(1, 2, write("a")), (3, 4, write("b")), (5, 6, read("b")), (7, 8, read("a"))],
        // Swaps in a chain against real time.
        &[(10, 11, swap("", "a")), (1, 2, swap("a", "b"))],
    ];
    for history in wrong {
        assert!(check(history).is_err(), "{history:?}");
    }
}

/// The quick checker against the definition, on every small history a generator makes.
#[test]
fn the_checker_agrees_with_trying_all_orders() {
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut fine, mut wrong) = (0, 0);
    for _ in 0..20_000 {
        let operations = draw(&mut rng);
        let quick = check(&operations).is_ok();
        let slow = some_order_explains(&operations, &value(""), &mut vec![false; operations.len()]);
        assert_eq!(quick, slow, "{operations:?}");
        if slow { fine += 1 } else { wrong += 1 }
    }
    assert!(fine > 1000 && wrong > 1000, "the generator makes both kinds: {fine}, {wrong}");
}

fn draw(rng: &mut fastrand::Rng) -> Vec<(u64, u64, Action)> {
    let count = rng.usize(1..=5);
    let names = ["a", "b", "c", "d", "e"];
    (0..count)
        .map(|index| {
            let seen = ["", "a", "b", "c"][rng.usize(..4)];
            let action = match rng.u8(..3) {
                0 => write(names[index]),
                1 if seen != names[index] => swap(seen, names[index]),
                _ => read(seen),
            };
            let start = rng.u64(1..12);
            let end = start + rng.u64(1..8);
            let unanswered = matches!(action, Action::Write(_)) && rng.u8(..5) == 0;
            (start, if unanswered { NEVER } else { end }, action)
        })
        .collect()
}

fn some_order_explains(
    operations: &[(u64, u64, Action)],
    now: &Value,
    placed: &mut Vec<bool>,
) -> bool {
    let pending =
        |placed: &[bool]| -> Vec<usize> { (0..operations.len()).filter(|i| !placed[*i]).collect() };
    let left = pending(placed);
    // What has no answer need not happen.
    if left.iter().all(|i| operations[*i].1 == NEVER) {
        return true;
    }
    left.iter().any(|i| {
        let (start, _, action) = &operations[*i];
        let is_next = left.iter().all(|other| operations[*other].1 >= *start);
        let next = match action {
            Action::Read(v) if v == now => now.clone(),
            Action::Write(v) => v.clone(),
            Action::Swap(old, new) if old == now => new.clone(),
            _ => return false,
        };
        if !is_next {
            return false;
        }
        placed[*i] = true;
        let explained = some_order_explains(operations, &next, placed);
        placed[*i] = false;
        explained
    })
}
