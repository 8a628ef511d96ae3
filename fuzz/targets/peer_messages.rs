//! Messages between nodes: what is understood encodes to the bytes it came from.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use replica::{decode_peer_message, encode_peer_message};

fuzz_target!(|data: &[u8]| {
    let Ok(message) = decode_peer_message(Bytes::copy_from_slice(data)) else { return };
    let mut again = Vec::new();
    encode_peer_message(&message, &mut again);
    assert_eq!(data, again, "{message:?}");
});
