//! Frames between nodes: length, checksum, payload. No socket here.

use bytes::{Buf as _, Bytes, BytesMut};

/// Length and checksum, 4 bytes each, little-endian.
const HEADER_BYTES: usize = 8;
/// Longest payload. Messages hold 1 MiB of entries, or a single larger one; a command is 16 MiB and a
/// little at most.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Payloads up to this length are copied out of the buffer they were read into. Entries live long and
/// share the memory of what they were read with: a small one must not keep a large buffer.
const COPIED_BYTES_MAX: usize = 32 << 10;

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// A length beyond the limit.
    #[error("a frame announces {0} bytes, the most is {PAYLOAD_BYTES_MAX}")]
    TooLong(usize),
    /// The bytes are not those that were sent.
    #[error("a frame has a wrong checksum")]
    Checksum,
}

/// Appends one frame whose payload `write` appends.
pub(super) fn append(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    write(out);
    let length = out.len() - start - HEADER_BYTES;
    assert!(length <= PAYLOAD_BYTES_MAX, "no message is longer: commands are bounded");
    let length = (length as u32).to_le_bytes();
    let checksum = checksum(length, &out[start + HEADER_BYTES..]).to_le_bytes();
    out[start..start + 4].copy_from_slice(&length);
    out[start + 4..start + HEADER_BYTES].copy_from_slice(&checksum);
}

/// Takes the first payload off `buffer`, if it is complete and at most `bytes_max` long.
///
/// # Errors
/// [`FrameError`]; the rest of the stream means nothing then.
pub(super) fn take(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(length) = announced(buffer) else { return Ok(None) };
    if length > bytes_max {
        return Err(FrameError::TooLong(length));
    }
    if buffer.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    let mut header = buffer.split_to(HEADER_BYTES);
    let length_field = header.get_u32_le().to_le_bytes();
    let expected = header.get_u32_le();
    let payload = if length <= COPIED_BYTES_MAX {
        let payload = Bytes::copy_from_slice(&buffer[..length]);
        buffer.advance(length);
        payload
    } else {
        buffer.split_to(length).freeze()
    };
    if checksum(length_field, &payload) != expected {
        return Err(FrameError::Checksum);
    }
    Ok(Some(payload))
}

/// How many bytes the frame under way still lacks; 0 if none is under way, or its length is not known.
pub(super) fn missing(buffer: &BytesMut) -> usize {
    announced(buffer).map_or(0, |length| (HEADER_BYTES + length).saturating_sub(buffer.len()))
}

fn announced(buffer: &BytesMut) -> Option<usize> {
    if buffer.len() < HEADER_BYTES {
        return None;
    }
    buffer.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize)
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        append(&mut out, |out| out.extend_from_slice(payload));
        out
    }

    #[test]
    fn a_frame_comes_back_whole_and_only_whole() {
        for length in [0, 1, 100, COPIED_BYTES_MAX + 1] {
            let payload = vec![7; length];
            let bytes = framed(&payload);
            let mut buffer = BytesMut::from(&bytes[..bytes.len() - 1]);
            assert_eq!(take(&mut buffer, PAYLOAD_BYTES_MAX), Ok(None));
            buffer.extend_from_slice(&bytes[bytes.len() - 1..]);
            buffer.extend_from_slice(b"next");
            assert_eq!(take(&mut buffer, PAYLOAD_BYTES_MAX), Ok(Some(Bytes::from(payload))));
            assert_eq!(&buffer[..], b"next");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = framed(b"a payload");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = BytesMut::from(&bytes[..]);
            damaged[bit / 8] ^= 1 << (bit % 8);
            let taken = take(&mut damaged, 1 << 10);
            assert!(!matches!(taken, Ok(Some(_))), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_come() {
        let mut buffer = BytesMut::from(&[0xff; HEADER_BYTES][..]);
        assert_eq!(take(&mut buffer, 1 << 10), Err(FrameError::TooLong(u32::MAX as usize)));
    }
}
