//! Frames between nodes: however the stream is cut, the same payloads come out, and they encode to the bytes
//! they came from.
#![no_main]

use bytes::BytesMut;
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use server::fuzzing::{append_frame, take_frame};

const PAYLOAD_BYTES_MAX: usize = 1 << 16;

/// The payloads of a stream that arrives in pieces, and whether it ends in bytes that are no frame.
fn payloads(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let mut buffer = BytesMut::new();
    let mut found = Vec::new();
    for arrived in stream.chunks(piece) {
        buffer.extend_from_slice(arrived);
        loop {
            match take_frame(&mut buffer, PAYLOAD_BYTES_MAX) {
                Ok(Some(payload)) => found.push(payload.to_vec()),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let piece = usize::from(input.byte()).max(1);
    let stream = input.0;
    let (whole, is_wrong) = payloads(stream, stream.len().max(1));
    assert_eq!(payloads(stream, piece), (whole.clone(), is_wrong));
    let mut again = Vec::new();
    for payload in &whole {
        append_frame(&mut again, payload);
    }
    assert!(stream.starts_with(&again), "frames encode to the bytes they came from");

    // What is sent arrives, however long and however cut.
    let mut sent = Vec::new();
    append_frame(&mut sent, stream);
    if stream.len() <= PAYLOAD_BYTES_MAX {
        assert_eq!(payloads(&sent, piece), (vec![stream.to_vec()], false));
    }
});
