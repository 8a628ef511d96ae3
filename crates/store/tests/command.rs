//! Commands as bytes: what is written is read, and garbage is refused without a panic.

mod common;

use api::{Reference, Request, Value};
use bson::doc;
use common::workload;
use proptest::prelude::*;
use store::Command;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..Default::default() })]

    #[test]
    fn random_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Command::decode(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = store::COMMAND_VERSION;
        }
        let _ = Command::decode(&bytes);
    }

    #[test]
    fn mutated_commands_never_panic(
        seed in any::<u64>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for bytes in workload(seed, 8).into_iter().flatten() {
            let mut mutated = bytes.clone();
            for (index, byte) in &changes {
                mutated[index.index(bytes.len())] = *byte;
            }
            if let Ok(command) = Command::decode(&mutated) {
                let _ = store::validate(&command.request);
                let _ = Command::decode(&command.encode());
            }
            let _ = Command::decode(&mutated[..cut.index(bytes.len())]);
        }
    }

    #[test]
    fn what_is_written_is_read(seed in any::<u64>()) {
        for bytes in workload(seed, 40).into_iter().flatten() {
            let command = Command::decode(&bytes).expect("a command");
            prop_assert_eq!(command.encode(), bytes);
        }
    }
}

/// The bytes of version 1, for ever: logs hold them.
#[test]
fn version_one_bytes_stay() {
    let request = Request::Cas {
        key: "k".to_owned(),
        expected: Value::Null,
        value: Value::from(doc! { "a": 1 }),
    };
    let reference = Reference::new("me", 300);
    let command = Command { reference, acked: 7, time_ms: 1, request };
    let expected = [
        1, // version
        2, b'm', b'e', 0xac, 2, // client, sequence
        7, // acked
        1, // time
        8, // cas
        1, b'k', // key
        7, 0, 0, 0, 0x0a, 0, 0, // null
        19, 0, 0, 0, 3, 0, 12, 0, 0, 0, 0x10, b'a', 0, 1, 0, 0, 0, 0, 0, // {a: 1}
    ];
    assert_eq!(command.encode(), expected);
    assert_eq!(Command::decode(&expected).expect("read"), command);
}

#[test]
fn a_refusal_names_the_place() {
    let error = Command::decode(&[9, 1]).expect_err("no such version");
    assert_eq!(error.to_string(), "byte 0: expected command version 1");
    let error = Command::decode(&[1, 2, b'm']).expect_err("cut off");
    assert_eq!(error.to_string(), "byte 2: expected a client");
}
