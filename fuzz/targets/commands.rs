//! Commands in the log: what is understood is written and read again to the same bytes. (Not to those it came from:
//! a document may be written in more than one way.)
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::Command;

fuzz_target!(|data: &[u8]| {
    let Ok(command) = Command::decode(data) else { return };
    let written = command.encode();
    let again = Command::decode(&written).unwrap_or_else(|e| panic!("{e} of {command:?}"));
    assert_eq!(written, again.encode(), "{command:?}");
    // It may be applied: whether it makes sense is asked first, and any answer will do.
    let _ = store::validate(&command.request);
});
