//! Chunks of a snapshot and places in one: what is refused changes nothing, and a place is read again as the same place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::{Chunk, Cursor, Import, MemoryDisk};

fuzz_target!(|data: &[u8]| {
    if let Ok(cursor) = Cursor::decode(data) {
        assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
    }
    let understood = Chunk::decode(data).is_ok();
    let mut import = Import::begin(MemoryDisk::new().engine()).expect("an empty engine");
    let before = import.progress().clone();
    if import.add(data).is_err() {
        assert_eq!(*import.progress(), before, "a refused chunk was taken in part");
    } else {
        assert!(understood);
    }
});
