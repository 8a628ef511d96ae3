//! The first words between nodes: a hello and the answer to it. What is understood encodes to the bytes it came from.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| server::fuzzing::check_greeting(data));
