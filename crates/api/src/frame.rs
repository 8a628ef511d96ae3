//! Frames of the native protocol: bytes in, payloads out; no socket (spec §3).
//!
//! A frame is a big-endian length of 2 bytes, or of 4 after `hello`, and that many bytes of payload.
//!
//! **Bounded memory.** A [`Decoder`] holds the bytes it was given and no more: a length that
//! announces much reserves nothing. A length beyond the limit is refused before its payload arrives.

use crate::error::{Error, ErrorCode};
use crate::limits::{LONG_FRAME_BYTES_MAX, SHORT_FRAME_BYTES_MAX};

/// How the length of a frame is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LengthField {
    /// 2 bytes: payloads to [`SHORT_FRAME_BYTES_MAX`]. Every connection begins so.
    #[default]
    Short,
    /// 4 bytes: payloads to [`LONG_FRAME_BYTES_MAX`].
    Long,
}

impl LengthField {
    /// The length field of so many bytes, as `hello` asks for: 2 or 4.
    pub fn of_bytes(bytes: u8) -> Option<LengthField> {
        match bytes {
            2 => Some(LengthField::Short),
            4 => Some(LengthField::Long),
            _ => None,
        }
    }

    /// Bytes of the length field.
    pub fn bytes(self) -> usize {
        match self {
            LengthField::Short => 2,
            LengthField::Long => 4,
        }
    }

    /// Longest payload, in bytes.
    pub fn payload_bytes_max(self) -> usize {
        match self {
            LengthField::Short => SHORT_FRAME_BYTES_MAX,
            LengthField::Long => LONG_FRAME_BYTES_MAX,
        }
    }

    /// The length that `bytes` begin with, if all of the field is there.
    fn read(self, bytes: &[u8]) -> Option<usize> {
        match self {
            LengthField::Short => {
                let field = bytes.first_chunk::<2>()?;
                Some(usize::from(u16::from_be_bytes(*field)))
            }
            LengthField::Long => {
                let field = bytes.first_chunk::<4>()?;
                Some(u32::from_be_bytes(*field) as usize)
            }
        }
    }
}

/// Divides a stream of bytes into payloads.
///
/// Give it bytes with [`Decoder::push`], then take payloads with [`Decoder::next`] until there is
/// none. The length field may change between two payloads.
#[derive(Debug, Default)]
pub struct Decoder {
    length_field: LengthField,
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that were taken already.
    taken: usize,
}

impl Decoder {
    /// A decoder that begins with that length field.
    pub fn new(length_field: LengthField) -> Decoder {
        Decoder { length_field, ..Decoder::default() }
    }

    /// Changes the length field from the next payload on.
    pub fn set_length_field(&mut self, length_field: LengthField) {
        self.length_field = length_field;
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.reclaim();
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer to which arriving bytes may be appended without a copy, instead of
    /// [`Decoder::push`]. Nothing else may be done to it.
    pub fn buffer_mut(&mut self) -> &mut Vec<u8> {
        self.reclaim();
        &mut self.buffer
    }

    /// The next payload, or none until more bytes arrive.
    ///
    /// # Errors
    /// [`ErrorCode::TooLarge`] if the next length is beyond the limit. The stream cannot be followed
    /// from there on.
    // Not an iterator: the payload borrows the decoder.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<&[u8]>, Error> {
        let field_bytes = self.length_field.bytes();
        let rest = &self.buffer[self.taken..];
        let Some(length) = self.length_field.read(rest) else { return Ok(None) };
        let bytes_max = self.length_field.payload_bytes_max();
        if length > bytes_max {
            return Err(Error::new(
                ErrorCode::TooLarge,
                format!("a frame may have {bytes_max} bytes at most, this one announces {length}"),
            ));
        }
        if rest.len() < field_bytes + length {
            return Ok(None);
        }
        let start = self.taken + field_bytes;
        self.taken = start + length;
        Ok(Some(&self.buffer[start..start + length]))
    }

    /// Bytes that are held and belong to a payload that is not complete (or not taken) yet.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len() - self.taken
    }

    /// Bytes that the payload under way still lacks, as far as its length is known: 0 if none is
    /// under way.
    pub fn missing_bytes(&self) -> usize {
        let rest = &self.buffer[self.taken..];
        if rest.is_empty() {
            return 0;
        }
        let field_bytes = self.length_field.bytes();
        match self.length_field.read(rest) {
            Some(length) => (field_bytes + length).saturating_sub(rest.len()),
            None => field_bytes - rest.len(),
        }
    }

    /// Gives back memory that is not needed: all of it if nothing is held, most of it if what is held
    /// is the start of a frame behind a much longer one.
    pub fn release(&mut self) {
        self.reclaim();
        if self.buffer.len() < self.buffer.capacity() / 4 {
            self.buffer.shrink_to_fit();
        }
    }

    /// Moves what is held to the front. It is at most the start of one frame whenever payloads were
    /// taken until there was none, so each byte is moved once at most.
    fn reclaim(&mut self) {
        if self.taken == self.buffer.len() {
            self.buffer.clear();
        } else if self.taken > 0 {
            self.buffer.drain(..self.taken);
        }
        self.taken = 0;
    }
}

/// Appends one frame whose payload `write` appends.
///
/// # Errors
/// What `write` returns; [`ErrorCode::TooLarge`] if the payload is beyond the limit. `out` is then as
/// it was before.
pub fn encode(
    length_field: LengthField,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
) -> Result<(), Error> {
    let start = out.len();
    let field_bytes = length_field.bytes();
    out.resize(start + field_bytes, 0);
    let written = write(out).and_then(|()| {
        let length = out.len() - start - field_bytes;
        let bytes_max = length_field.payload_bytes_max();
        if length <= bytes_max {
            return Ok(length as u32);
        }
        Err(Error::new(
            ErrorCode::TooLarge,
            format!("a frame may have {bytes_max} bytes at most, this one would have {length}"),
        ))
    });
    match written {
        Ok(length) => {
            let field = length.to_be_bytes();
            out[start..start + field_bytes].copy_from_slice(&field[4 - field_bytes..]);
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

const _: () = assert!(SHORT_FRAME_BYTES_MAX == u16::MAX as usize);
const _: () = assert!(LONG_FRAME_BYTES_MAX < u32::MAX as usize);
