//! The consensus core's records in the log: what is understood encodes to the bytes it came from.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use paxos::codec::{decode_record, encode_record};

fuzz_target!(|data: &[u8]| {
    let Ok(record) = decode_record(Bytes::copy_from_slice(data)) else { return };
    let mut again = Vec::new();
    encode_record(&record, &mut again);
    assert_eq!(data, again, "{record:?}");
});
