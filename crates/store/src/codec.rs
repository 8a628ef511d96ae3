//! Bytes of rows and commands: fixed and variable numbers, strings, BSON.

use crate::command::DecodeError;
use api::{Document, Error, ErrorCode, Value, binary};
use bson::RawDocument;
use bson::spec::ElementType;

/// The field name under which a lone value is kept in a BSON document.
const VALUE: &str = "";
/// Its length, the kind and the name of the field, and the end.
const LONE_BYTES: usize = 4 + 1 + 1 + 1;

/// Appends in the forms that [`Reader`] reads.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Seven bits a byte, lowest first; the top bit says that more follow.
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(crate) fn string(&mut self, string: &str) {
        self.number(string.len() as u64);
        self.0.extend_from_slice(string.as_bytes());
    }

    /// A BSON document; it carries its own length. Nothing is written if BSON cannot hold it, so
    /// that reading fails; [`crate::validate`] refuses such documents beforehand.
    pub(crate) fn document(&mut self, document: &Document) {
        let _ = binary::append_document(document, &mut self.0);
    }

    /// A BSON document with the value as its only field. The usual kinds are written here, without a document
    /// made for them.
    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                // What BSON cannot hold is not written, as in `document`.
                let Ok(length) = i32::try_from(text.len() + 1) else { return };
                self.lone(ElementType::String, 4 + text.len() + 1, |out| {
                    out.extend_from_slice(&length.to_le_bytes());
                    out.extend_from_slice(text.as_bytes());
                    out.push(0);
                });
            }
            Value::Int32(number) => {
                self.lone(ElementType::Int32, 4, |out| {
                    out.extend_from_slice(&number.to_le_bytes());
                });
            }
            Value::Int64(number) => {
                self.lone(ElementType::Int64, 8, |out| {
                    out.extend_from_slice(&number.to_le_bytes());
                });
            }
            Value::Boolean(boolean) => {
                self.lone(ElementType::Boolean, 1, |out| out.push(u8::from(*boolean)));
            }
            Value::Null => self.lone(ElementType::Null, 0, |_| ()),
            _ => {
                let mut holder = Document::new();
                holder.insert(VALUE, value.clone());
                self.document(&holder);
            }
        }
    }

    /// A BSON document of one field with an empty name, whose content takes so many bytes.
    fn lone(&mut self, kind: ElementType, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let length = LONE_BYTES + bytes;
        let Ok(written) = i32::try_from(length) else { return };
        let start = self.0.len();
        self.0.reserve(length);
        self.0.extend_from_slice(&written.to_le_bytes());
        self.0.push(kind as u8);
        self.0.push(0);
        write(&mut self.0);
        self.0.push(0);
        assert!(self.0.len() - start == length, "a value takes the bytes that it says");
    }

    /// An answer: a value, or a refusal with its code's word and its message.
    pub(crate) fn answer(&mut self, answer: &Result<Value, Error>) {
        match answer {
            Ok(value) => {
                self.byte(1);
                self.value(value);
            }
            Err(error) => {
                self.byte(0);
                self.string(error.code.as_str());
                self.string(&error.message);
            }
        }
    }
}

/// Reads from the front; never past the end, never by panic.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, position: 0 }
    }

    pub(crate) fn error(&self, expected: &'static str) -> DecodeError {
        DecodeError { position: self.position, expected }
    }

    /// Everything not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.position == self.bytes.len() { Ok(()) } else { Err(self.error("the end")) }
    }

    pub(crate) fn take(
        &mut self,
        length: usize,
        expected: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let end = self.position.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.error(expected))?;
        let bytes = &self.bytes[self.position..end];
        self.position = end;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        expected: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, expected)?);
        Ok(array)
    }

    pub(crate) fn byte(&mut self, expected: &'static str) -> Result<u8, DecodeError> {
        Ok(self.take(1, expected)?[0])
    }

    pub(crate) fn flag(&mut self, expected: &'static str) -> Result<bool, DecodeError> {
        match self.byte(expected)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.error(expected)),
        }
    }

    pub(crate) fn number(&mut self, expected: &'static str) -> Result<u64, DecodeError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(expected)?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(self.error(expected));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.error(expected))
    }

    /// A count of things that take at least a byte each, so that garbage cannot ask for memory.
    pub(crate) fn count(&mut self, expected: &'static str) -> Result<usize, DecodeError> {
        let count = self.number(expected)?;
        let left = (self.bytes.len() - self.position) as u64;
        if count > left {
            return Err(self.error(expected));
        }
        Ok(count as usize)
    }

    pub(crate) fn string(&mut self, expected: &'static str) -> Result<String, DecodeError> {
        let length = self.count(expected)?;
        let bytes = self.take(length, expected)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.error(expected))?;
        Ok(text.to_owned())
    }

    pub(crate) fn document(&mut self, expected: &'static str) -> Result<Document, DecodeError> {
        let bytes = self.document_bytes(expected)?;
        binary::parse_document(bytes).map_err(|_| self.error(expected))
    }

    fn document_bytes(&mut self, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        let left = &self.bytes[self.position..];
        let length = left.first_chunk::<4>().map(|bytes| i32::from_le_bytes(*bytes));
        let length = length.and_then(|length| usize::try_from(length).ok());
        self.take(length.ok_or_else(|| self.error(expected))?, expected)
    }

    pub(crate) fn value(&mut self, expected: &'static str) -> Result<Value, DecodeError> {
        let bytes = self.document_bytes(expected)?;
        // Without a document around it: one is read for every command and every kept answer.
        let holder = RawDocument::from_bytes(bytes).map_err(|_| self.error(expected))?;
        binary::check_levels(holder).map_err(|_| self.error(expected))?;
        let mut fields = holder.iter();
        match (fields.next(), fields.next()) {
            (Some(Ok((key, value))), None) if key.as_str() == VALUE => {
                Value::try_from(value).map_err(|_| self.error(expected))
            }
            _ => Err(self.error(expected)),
        }
    }

    pub(crate) fn answer(&mut self) -> Result<Result<Value, Error>, DecodeError> {
        if self.flag("an answer")? {
            return Ok(Ok(self.value("an answer")?));
        }
        let code = self.string("an error code")?;
        let code = ErrorCode::parse(&code).ok_or_else(|| self.error("a known error code"))?;
        Ok(Err(Error::new(code, self.string("an error message")?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written by hand is what BSON's own library writes.
    #[test]
    fn a_lone_value_is_a_document_of_one_field() {
        let values = [
            Value::String(String::new()),
            Value::String("a\0ñ🙂".repeat(90)),
            Value::Int32(-7),
            Value::Int64(i64::MIN),
            Value::Boolean(true),
            Value::Boolean(false),
            Value::Null,
            Value::Double(0.5),
            Value::Array(vec![Value::Null]),
        ];
        for value in values {
            let mut writer = Writer(vec![9]);
            writer.value(&value);
            let mut holder = Document::new();
            holder.insert(VALUE, value.clone());
            assert_eq!(writer.0[1..], holder.to_vec().expect("BSON"), "{value}");
            let mut reader = Reader::new(&writer.0[1..]);
            assert_eq!(reader.value("a value").expect("read"), value);
            reader.end().expect("all of it");
        }
    }
}
