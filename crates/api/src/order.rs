//! The total order of values across types.
//!
//! Values of different types compare by their [`Bracket`]; within one, by content. All numbers are
//! one bracket and compare by their exact mathematical value, whatever their type: `1`, `1.0` and
//! the decimal `1.00` are equal, and `2^53 + 1` differs from the double `2^53`. `NaN` equals itself
//! and stands below every other number; `-0.0` equals `0.0`. Documents compare field by field in
//! their order (type, then name, then value), so the same fields in another order are another
//! value. The order is that of MongoDB's manual ("Comparison/Sort Order").

use crate::value::{Document, Value};
use std::cmp::Ordering;

/// The group of types within which values compare with each other; groups are ordered as declared.
///
/// The numbers are part of the store's key format and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Bracket {
    /// Below everything.
    MinKey = 0x08,
    /// The deprecated undefined value.
    Undefined = 0x10,
    /// Null.
    Null = 0x18,
    /// Whole numbers of 32 and 64 bits, doubles, decimals.
    Number = 0x20,
    /// Text and symbols, by bytes.
    String = 0x28,
    /// Documents, field by field.
    Document = 0x30,
    /// Lists, element by element.
    Array = 0x38,
    /// Bytes: by length, subtype, content.
    Binary = 0x40,
    /// Object ids.
    ObjectId = 0x48,
    /// False, then true.
    Boolean = 0x50,
    /// Points in time; before 1970 is negative.
    DateTime = 0x58,
    /// Replication timestamps: seconds, then increment.
    Timestamp = 0x60,
    /// Regular expressions: pattern, then options.
    Regex = 0x68,
    /// The deprecated pointer into another collection.
    DbPointer = 0x70,
    /// JavaScript.
    Code = 0x78,
    /// JavaScript with variables.
    CodeWithScope = 0x80,
    /// Above everything.
    MaxKey = 0xf0,
}

/// The bracket of a value.
pub fn bracket(value: &Value) -> Bracket {
    match value {
        Value::MinKey => Bracket::MinKey,
        Value::Undefined => Bracket::Undefined,
        Value::Null => Bracket::Null,
        Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal128(_) => {
            Bracket::Number
        }
        Value::String(_) | Value::Symbol(_) => Bracket::String,
        Value::Document(_) => Bracket::Document,
        Value::Array(_) => Bracket::Array,
        Value::Binary(_) => Bracket::Binary,
        Value::ObjectId(_) => Bracket::ObjectId,
        Value::Boolean(_) => Bracket::Boolean,
        Value::DateTime(_) => Bracket::DateTime,
        Value::Timestamp(_) => Bracket::Timestamp,
        Value::RegularExpression(_) => Bracket::Regex,
        Value::DbPointer(_) => Bracket::DbPointer,
        Value::JavaScriptCode(_) => Bracket::Code,
        Value::JavaScriptCodeWithScope(_) => Bracket::CodeWithScope,
        Value::MaxKey => Bracket::MaxKey,
    }
}

/// Compares two values of any types.
pub fn compare(left: &Value, right: &Value) -> Ordering {
    bracket(left).cmp(&bracket(right)).then_with(|| compare_within_bracket(left, right))
}

/// Whether two values are equal in the order: `1` and `1.0` are.
pub fn equal(left: &Value, right: &Value) -> bool {
    compare(left, right) == Ordering::Equal
}

/// Compares two documents field by field: type, then name, then value; the shorter comes first.
pub fn compare_documents(left: &Document, right: &Document) -> Ordering {
    for ((left_name, left_value), (right_name, right_value)) in left.iter().zip(right.iter()) {
        let order = bracket(left_value)
            .cmp(&bracket(right_value))
            .then_with(|| left_name.as_bytes().cmp(right_name.as_bytes()))
            .then_with(|| compare_within_bracket(left_value, right_value));
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

fn compare_within_bracket(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Document(left), Value::Document(right)) => compare_documents(left, right),
        (Value::Array(left), Value::Array(right)) => compare_arrays(left, right),
        (Value::Boolean(left), Value::Boolean(right)) => left.cmp(right),
        (Value::ObjectId(left), Value::ObjectId(right)) => left.bytes().cmp(&right.bytes()),
        (Value::DateTime(left), Value::DateTime(right)) => {
            left.timestamp_millis().cmp(&right.timestamp_millis())
        }
        (Value::Timestamp(left), Value::Timestamp(right)) => {
            (left.time, left.increment).cmp(&(right.time, right.increment))
        }
        (Value::Binary(left), Value::Binary(right)) => {
            let key = |binary: &bson::Binary| (binary.bytes.len(), u8::from(binary.subtype));
            key(left).cmp(&key(right)).then_with(|| left.bytes.cmp(&right.bytes))
        }
        (Value::RegularExpression(left), Value::RegularExpression(right)) => {
            (left.pattern.as_str(), left.options.as_str())
                .cmp(&(right.pattern.as_str(), right.options.as_str()))
        }
        (Value::JavaScriptCode(left), Value::JavaScriptCode(right)) => left.cmp(right),
        (Value::JavaScriptCodeWithScope(left), Value::JavaScriptCodeWithScope(right)) => {
            left.code.cmp(&right.code).then_with(|| compare_documents(&left.scope, &right.scope))
        }
        (Value::DbPointer(_), Value::DbPointer(_)) => {
            pointer_bytes(left).cmp(&pointer_bytes(right))
        }
        (Value::Int32(left), Value::Int32(right)) => left.cmp(right),
        (Value::Int64(left), Value::Int64(right)) => left.cmp(right),
        _ => match (text(left), text(right), Number::of(left), Number::of(right)) {
            (Some(left), Some(right), ..) => left.as_bytes().cmp(right.as_bytes()),
            (_, _, Some(left), Some(right)) => left.cmp(&right),
            // Null, undefined and the two ends have one value each.
            _ => Ordering::Equal,
        },
    }
}

fn compare_arrays(left: &[Value], right: &[Value]) -> Ordering {
    for (left, right) in left.iter().zip(right) {
        let order = compare(left, right);
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

/// The text of a string or symbol.
pub fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) | Value::Symbol(text) => Some(text),
        _ => None,
    }
}

/// A pointer's BSON content (namespace, id), the only view of it that the `bson` crate gives.
/// Empty for any other value.
pub fn pointer_bytes(value: &Value) -> Vec<u8> {
    if !matches!(value, Value::DbPointer(_)) {
        return Vec::new();
    }
    let mut holder = Document::new();
    holder.insert("p", value.clone());
    // Length (4), type (1), name "p" and its end (2) stand before it, the document's end behind it.
    let bytes = holder.to_vec().unwrap_or_default();
    bytes.get(7..bytes.len().saturating_sub(1)).unwrap_or_default().to_vec()
}

/// Most decimal digits of a number that is not a double: those of a decimal.
const DIGITS_MAX: u32 = 34;
const DECIMAL_COEFFICIENT_MAX: u128 = 10u128.pow(DIGITS_MAX) - 1;

/// A number of any type, in the one form in which numbers compare exactly.
///
/// It is the greatest double that is not above the number and, unless the number *is* that double,
/// the number's own decimal digits. Doubles and small whole numbers have no digits, so the usual
/// comparison is one of doubles; a double has too many decimal digits to compare by those alone.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    floor: f64,
    digits: Option<Digits>,
}

/// Digits of a number between two doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits {
    /// Whether the number is below zero.
    pub negative: bool,
    /// Position of the first digit: the number is `0.d1d2d3… × 10^exponent`.
    pub exponent: i16,
    /// The digits as a whole number of exactly 34 digits.
    pub aligned: u128,
}

impl Number {
    /// The number in a value, if it is one.
    pub fn of(value: &Value) -> Option<Number> {
        match value {
            Value::Int32(number) => Some(Number { floor: f64::from(*number), digits: None }),
            Value::Int64(number) => Some(Number::of_integer(*number)),
            Value::Double(number) => Some(Number { floor: *number, digits: None }),
            Value::Decimal128(number) => Some(Number::of_decimal(number.bytes())),
            _ => None,
        }
    }

    /// The greatest double that is not above the number: never `-0.0`.
    pub fn floor(&self) -> f64 {
        if self.floor == 0.0 { 0.0 } else { self.floor }
    }

    /// The digits, if the number is above its floor.
    pub fn digits(&self) -> Option<Digits> {
        self.digits
    }

    fn of_integer(number: i64) -> Number {
        let nearest = number as f64;
        let floor = match (nearest as i128).cmp(&i128::from(number)) {
            Ordering::Equal => return Number { floor: nearest, digits: None },
            Ordering::Less => nearest,
            Ordering::Greater => nearest.next_down(),
        };
        let digits = Digits::new(number < 0, u128::from(number.unsigned_abs()), 0);
        Number { floor, digits: Some(digits) }
    }

    /// Reads the binary integer form of IEEE 754-2008 decimal128.
    fn of_decimal(bytes: [u8; 16]) -> Number {
        let bits = u128::from_le_bytes(bytes);
        let negative = bits >> 127 == 1;
        let signed = |magnitude: f64| if negative { -magnitude } else { magnitude };
        match (bits >> 122) & 0x1f {
            0x1f => return Number { floor: f64::NAN, digits: None },
            0x1e => return Number { floor: signed(f64::INFINITY), digits: None },
            // The other form of the coefficient is always over the largest one, and counts as 0.
            0x18.. => return Number { floor: 0.0, digits: None },
            _ => {}
        }
        let exponent = ((bits >> 113) & 0x3fff) as i32 - 6176;
        let coefficient = bits & ((1 << 113) - 1);
        if coefficient == 0 || coefficient > DECIMAL_COEFFICIENT_MAX {
            return Number { floor: 0.0, digits: None };
        }
        let nearest: f64 = format!("{coefficient}e{exponent}").parse().unwrap_or(f64::INFINITY);
        let magnitude = match (compare_exactly(nearest, coefficient, exponent), negative) {
            (Ordering::Equal, _) => return Number { floor: signed(nearest), digits: None },
            (Ordering::Greater, false) => nearest.next_down(),
            (Ordering::Less, true) => nearest.next_up(),
            _ => nearest,
        };
        let digits = Digits::new(negative, coefficient, exponent);
        Number { floor: signed(magnitude), digits: Some(digits) }
    }
}

impl Digits {
    fn new(negative: bool, coefficient: u128, exponent: i32) -> Digits {
        assert!(coefficient > 0 && coefficient <= DECIMAL_COEFFICIENT_MAX);
        let count = coefficient.ilog10() + 1;
        Digits {
            negative,
            exponent: (exponent + count as i32) as i16,
            aligned: coefficient * 10u128.pow(DIGITS_MAX - count),
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        compare_doubles(self.floor, other.floor).then_with(|| match (self.digits, other.digits) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => left.cmp(&right),
        })
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl Ord for Digits {
    fn cmp(&self, other: &Digits) -> Ordering {
        let magnitude = (self.exponent, self.aligned).cmp(&(other.exponent, other.aligned));
        match (self.negative, other.negative) {
            (false, false) => magnitude,
            (true, true) => magnitude.reverse(),
            (left, right) => right.cmp(&left),
        }
    }
}

impl PartialOrd for Digits {
    fn partial_cmp(&self, other: &Digits) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// NaN equals itself and is below all others; the two zeros are equal.
fn compare_doubles(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| right.is_nan().cmp(&left.is_nan()))
}

/// Compares `double` (not below 0) with `coefficient × 10^exponent` without rounding: both sides
/// are multiplied by the powers of 2 and 5 that make them whole.
fn compare_exactly(double: f64, coefficient: u128, exponent: i32) -> Ordering {
    if double == f64::INFINITY {
        return Ordering::Greater;
    }
    let bits = double.to_bits();
    let (mantissa, binary_exponent) = match (bits >> 52) as i32 {
        0 => (bits, -1074),
        biased => ((bits & ((1 << 52) - 1)) | (1 << 52), biased - 1075),
    };
    let mut left = BigNatural::new(u128::from(mantissa));
    let mut right = BigNatural::new(coefficient);
    let fives = if exponent < 0 { &mut left } else { &mut right };
    fives.multiply_by_power_of_five(exponent.unsigned_abs());
    let twos = binary_exponent - exponent;
    let shifted = if twos > 0 { &mut left } else { &mut right };
    shifted.shift_left(twos.unsigned_abs());
    left.cmp(&right)
}

/// A natural number of any size: 32-bit limbs, lowest first, without leading zeros.
#[derive(PartialEq, Eq)]
struct BigNatural(Vec<u32>);

impl BigNatural {
    fn new(mut number: u128) -> BigNatural {
        let mut limbs = Vec::new();
        while number > 0 {
            limbs.push(number as u32);
            number >>= 32;
        }
        BigNatural(limbs)
    }

    fn multiply(&mut self, factor: u32) {
        let mut carry = 0u64;
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn multiply_by_power_of_five(&mut self, power: u32) {
        const STEP: u32 = 13; // 5^13 is the greatest power of five within 32 bits.
        for _ in 0..power / STEP {
            self.multiply(5u32.pow(STEP));
        }
        self.multiply(5u32.pow(power % STEP));
    }

    fn shift_left(&mut self, bits: u32) {
        if self.0.is_empty() {
            return;
        }
        self.multiply(1 << (bits % 32));
        self.0.splice(0..0, std::iter::repeat_n(0, (bits / 32) as usize));
    }
}

impl Ord for BigNatural {
    fn cmp(&self, other: &BigNatural) -> Ordering {
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

impl PartialOrd for BigNatural {
    fn partial_cmp(&self, other: &BigNatural) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
