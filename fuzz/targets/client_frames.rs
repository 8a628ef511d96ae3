//! Frames of the native protocol: however the stream is cut, the same payloads come out, and they encode to
//! the bytes they came from. What the first bytes say about the protocol, more bytes do not take back.
#![no_main]

use api::frame::{Decoder, LengthField, encode};
use fuzz::Input;
use gateway::detect::{Detected, detect};
use libfuzzer_sys::fuzz_target;

/// The payloads of a stream that arrives in pieces, and whether it ends in a length beyond the limit.
fn payloads(length_field: LengthField, stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let mut decoder = Decoder::new(length_field);
    let mut found = Vec::new();
    for arrived in stream.chunks(piece) {
        decoder.push(arrived);
        loop {
            match decoder.next() {
                Ok(Some(payload)) => found.push(payload.to_vec()),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
        assert!(decoder.held_bytes() <= stream.len(), "no more is held than came");
        decoder.release();
    }
    (found, false)
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let length_field = if input.byte() & 1 == 0 { LengthField::Short } else { LengthField::Long };
    let piece = usize::from(input.byte()).max(1);
    let stream = input.0;
    let (whole, is_too_long) = payloads(length_field, stream, stream.len().max(1));
    assert_eq!(payloads(length_field, stream, piece), (whole.clone(), is_too_long));
    let mut again = Vec::new();
    for payload in &whole {
        let written = encode(length_field, &mut again, |out| {
            out.extend_from_slice(payload);
            Ok(())
        });
        written.expect("what was received can be sent");
    }
    assert!(stream.starts_with(&again), "frames encode to the bytes they came from");

    let mut known = Detected::NeedMore;
    for length in 0..=stream.len().min(64) {
        let now = detect(&stream[..length]);
        assert!(known == Detected::NeedMore || known == now, "{known:?} became {now:?}");
        known = now;
    }
});
