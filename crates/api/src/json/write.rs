//! Values and replies to JSON text.

use super::extended;
use crate::error::{Error, ErrorCode};
use crate::value::{Document, Value};

/// Appends the JSON text of `value`.
pub fn write_value(value: &Value, out: &mut Vec<u8>) {
    // No limit, so it cannot be exceeded.
    let _ = Writer { out, bytes_max: usize::MAX }.value(value);
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let plain = plain_bytes(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(byte) = rest.get(plain) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        rest = &rest[plain + 1..];
    }
    out.push(b'"');
}

/// Bytes that are looked at together: without a branch for each, a compiler makes a few instructions of it.
const CHUNK: usize = 16;

/// How many bytes at the beginning stand for themselves.
fn plain_bytes(bytes: &[u8]) -> usize {
    let needs_escape = |byte: &u8| (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\');
    let is_plain = |chunk: &&[u8]| !chunk.iter().fold(false, |any, byte| any | needs_escape(byte));
    let plain = bytes.chunks_exact(CHUNK).take_while(is_plain).count() * CHUNK;
    let rest = &bytes[plain..];
    plain + rest.iter().position(needs_escape).unwrap_or(rest.len())
}

/// Appends a reply: `["ok", result]` or `["ko", "code: message"]`, at most `bytes_max` bytes of it.
///
/// A message too long for `bytes_max` is cut short, so that a refusal can always be told.
///
/// # Errors
/// [`ErrorCode::ResultTooLarge`] if a result does not fit; `out` is then as it was before. Writing
/// stops soon after the limit, so a huge result costs no more memory than one that just fits.
pub fn write_reply(
    reply: &Result<Value, Error>,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = out.len();
    match reply {
        Ok(result) => {
            out.extend_from_slice(b"[\"ok\",");
            let mut writer = Writer { out, bytes_max: start.saturating_add(bytes_max) };
            let fits = writer.value(result).is_ok();
            out.push(b']');
            if !fits || out.len() - start > bytes_max {
                out.truncate(start);
                return Err(Error::new(
                    ErrorCode::ResultTooLarge,
                    format!("the result does not fit the {bytes_max} bytes of a frame"),
                ));
            }
        }
        Err(error) => write_refusal(&error.to_string(), bytes_max, out),
    }
    Ok(())
}

fn write_refusal(reason: &str, bytes_max: usize, out: &mut Vec<u8>) {
    // One byte may become six (`\u0000`).
    let reason_bytes_max = bytes_max.saturating_sub(16) / 6;
    let cut = reason.floor_char_boundary(reason_bytes_max);
    let reason = if out_length(reason) + 16 > bytes_max { &reason[..cut] } else { reason };
    out.extend_from_slice(b"[\"ko\",");
    write_string(reason, out);
    out.push(b']');
}

fn out_length(text: &str) -> usize {
    if text.len() < 1024 {
        return text.len() * 6;
    }
    let mut written = Vec::new();
    write_string(text, &mut written);
    written.len()
}

struct TooLong;

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Length of `out` beyond which to give up.
    bytes_max: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) -> Result<(), TooLong> {
        match value {
            Value::String(text) => write_string(text, self.out),
            Value::Document(document) => self.document(document)?,
            Value::Array(items) => self.list(items)?,
            Value::Int64(number) => self.number(number),
            Value::Int32(number) => self.number(number),
            Value::Double(number) if number.is_finite() => self.number(number),
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Null => self.out.extend_from_slice(b"null"),
            other => extended::write(other, self.out),
        }
        if self.out.len() > self.bytes_max { Err(TooLong) } else { Ok(()) }
    }

    fn document(&mut self, document: &Document) -> Result<(), TooLong> {
        self.out.push(b'{');
        for (position, (name, value)) in document.iter().enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            write_string(name, self.out);
            self.out.push(b':');
            self.value(value)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn list(&mut self, items: &[Value]) -> Result<(), TooLong> {
        self.out.push(b'[');
        for (position, item) in items.iter().enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            self.value(item)?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// Of a double the shortest text that reads back as the same number, with a point or an exponent.
    fn number(&mut self, number: &impl serde::Serialize) {
        // Writing to a vector does not fail.
        let _ = serde_json::to_writer(&mut *self.out, number);
    }
}
