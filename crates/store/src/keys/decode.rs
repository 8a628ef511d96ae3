//! The values of keys, as far as keys tell them.

use super::{DIGITS, EXACT, STRING_END, STRING_ZERO};
use api::Value;
use api::order::Bracket;
use bson::spec::BinarySubtype;
use bson::{Binary, DateTime, Timestamp};

/// What a key says of its value.
#[derive(Clone, Debug)]
pub(crate) enum Decoded {
    /// A number; of which type, the key does not tell.
    Number(KeyNumber),
    /// The value; of a string and a symbol, the string.
    Value(Value),
}

/// A number as its key has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyNumber {
    /// The greatest double not above it.
    floor: f64,
    /// Its digits, if it is above that: the number is `0.d1d2… × 10^exponent`, of 34 digits.
    digits: Option<(i16, u128)>,
}

/// Digits of a number in a key.
const DIGITS_MAX: u32 = 34;

impl KeyNumber {
    /// The double that it is, if it is one.
    pub(crate) fn double(self) -> Option<f64> {
        self.digits.is_none().then_some(self.floor)
    }

    /// The whole number of 64 bits that it is, if it is one.
    pub(crate) fn whole(self) -> Option<i64> {
        let magnitude = match self.digits {
            None => {
                // 2^63 itself is beyond the greatest.
                let fits = self.floor.fract() == 0.0
                    && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0)
                        .contains(&self.floor);
                return fits.then_some(self.floor as i64);
            }
            Some((exponent, digits)) => {
                let behind = DIGITS_MAX.checked_sub(u32::try_from(exponent).ok()?)?;
                let unit = 10u128.checked_pow(behind)?;
                digits.is_multiple_of(unit).then_some(digits / unit)?
            }
        };
        let magnitude = i128::try_from(magnitude).ok()?;
        i64::try_from(if self.floor < 0.0 { -magnitude } else { magnitude }).ok()
    }
}

/// The value of a key that is not inverted; `None` if it is none, or of a type whose values keys do not
/// tell: documents, lists, patterns, code, pointers.
pub(crate) fn decode(key: &[u8]) -> Option<Decoded> {
    const MIN_KEY: u8 = Bracket::MinKey as u8;
    const UNDEFINED: u8 = Bracket::Undefined as u8;
    const NULL: u8 = Bracket::Null as u8;
    const NUMBER: u8 = Bracket::Number as u8;
    const STRING: u8 = Bracket::String as u8;
    const BINARY: u8 = Bracket::Binary as u8;
    const OBJECT_ID: u8 = Bracket::ObjectId as u8;
    const BOOLEAN: u8 = Bracket::Boolean as u8;
    const DATE_TIME: u8 = Bracket::DateTime as u8;
    const TIMESTAMP: u8 = Bracket::Timestamp as u8;
    const MAX_KEY: u8 = Bracket::MaxKey as u8;
    let (bracket, body) = key.split_first()?;
    let value = match *bracket {
        NUMBER => return Some(Decoded::Number(number(body)?)),
        MIN_KEY => Value::MinKey,
        UNDEFINED => Value::Undefined,
        NULL => Value::Null,
        MAX_KEY => Value::MaxKey,
        STRING => Value::String(string(body)?),
        BOOLEAN => Value::Boolean(*body.first()? == 1),
        OBJECT_ID => Value::ObjectId(bson::oid::ObjectId::from_bytes(body.try_into().ok()?)),
        DATE_TIME => {
            let ordered = u64::from_be_bytes(body.try_into().ok()?);
            Value::DateTime(DateTime::from_millis((ordered ^ (1 << 63)) as i64))
        }
        TIMESTAMP => {
            let both = u64::from_be_bytes(body.try_into().ok()?);
            Value::Timestamp(Timestamp { time: (both >> 32) as u32, increment: both as u32 })
        }
        BINARY => {
            let (subtype, bytes) = body.get(4..)?.split_first()?;
            Value::Binary(Binary { subtype: BinarySubtype::from(*subtype), bytes: bytes.to_vec() })
        }
        _ => return None,
    };
    Some(Decoded::Value(value))
}

fn number(body: &[u8]) -> Option<KeyNumber> {
    let ordered = u64::from_be_bytes(body.get(..8)?.try_into().ok()?);
    let floor = match ordered {
        0 => f64::NAN,
        ordered if ordered >> 63 == 1 => f64::from_bits(ordered & !(1 << 63)),
        ordered => f64::from_bits(!ordered),
    };
    let digits = match *body.get(8)? {
        EXACT => None,
        DIGITS => {
            let mask = if floor < 0.0 { 0xff } else { 0x00 };
            let byte = |at: usize| body.get(9 + at).map(|byte| byte ^ mask);
            let exponent = u16::from_be_bytes([byte(0)?, byte(1)?]) ^ (1 << 15);
            let mut aligned = 0u128;
            for at in 2..18 {
                aligned = aligned << 8 | u128::from(byte(at)?);
            }
            Some((exponent as i16, aligned))
        }
        _ => return None,
    };
    Some(KeyNumber { floor, digits })
}

fn string(body: &[u8]) -> Option<String> {
    let mut text = Vec::with_capacity(body.len());
    let mut rest = body;
    loop {
        let zero = rest.iter().position(|byte| *byte == 0)?;
        text.extend_from_slice(&rest[..zero]);
        match *rest.get(zero..zero + 2)?.first_chunk()? {
            STRING_END => return String::from_utf8(text).ok(),
            STRING_ZERO => text.push(0),
            _ => return None,
        }
        rest = &rest[zero + 2..];
    }
}
