//! Arithmetic on numbers of three types: whole numbers of 32 and 64 bits, doubles.
//!
//! Whole numbers stay whole and widen to 64 bits where they must; with a double the result is a
//! double. Decimals are compared and kept, but have no arithmetic here.

use api::Value;

/// A number that arithmetic takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Numeric {
    /// 32 bits.
    Int(i32),
    /// 64 bits.
    Long(i64),
    /// A double.
    Double(f64),
}

/// Why two numbers have no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoResult {
    /// It is whole and beyond 64 bits.
    Overflow,
    /// Division by zero.
    ByZero,
}

impl Numeric {
    pub(crate) fn of(value: &Value) -> Option<Numeric> {
        match value {
            Value::Int32(number) => Some(Numeric::Int(*number)),
            Value::Int64(number) => Some(Numeric::Long(*number)),
            Value::Double(number) => Some(Numeric::Double(*number)),
            _ => None,
        }
    }

    pub(crate) fn value(self) -> Value {
        match self {
            Numeric::Int(number) => Value::Int32(number),
            Numeric::Long(number) => Value::Int64(number),
            Numeric::Double(number) => Value::Double(number),
        }
    }

    pub(crate) fn double(self) -> f64 {
        match self {
            Numeric::Int(number) => f64::from(number),
            Numeric::Long(number) => number as f64,
            Numeric::Double(number) => number,
        }
    }

    /// The whole number, unless it is a double.
    pub(crate) fn whole(self) -> Option<i64> {
        match self {
            Numeric::Int(number) => Some(i64::from(number)),
            Numeric::Long(number) => Some(number),
            Numeric::Double(_) => None,
        }
    }

    pub(crate) fn add(self, other: Numeric) -> Result<Numeric, NoResult> {
        self.combine(other, i64::checked_add, |left, right| left + right)
    }

    pub(crate) fn subtract(self, other: Numeric) -> Result<Numeric, NoResult> {
        self.combine(other, i64::checked_sub, |left, right| left - right)
    }

    pub(crate) fn multiply(self, other: Numeric) -> Result<Numeric, NoResult> {
        self.combine(other, i64::checked_mul, |left, right| left * right)
    }

    /// The rest of a division, with the sign of `self`.
    pub(crate) fn remainder(self, other: Numeric) -> Result<Numeric, NoResult> {
        match other.whole() {
            Some(0) => return Err(NoResult::ByZero),
            None if other.double() == 0.0 => return Err(NoResult::ByZero),
            _ => {}
        }
        let rest = |left: i64, right: i64| Some(left.wrapping_rem(right));
        self.combine(other, rest, |left, right| left % right)
    }

    fn combine(
        self,
        other: Numeric,
        whole: impl Fn(i64, i64) -> Option<i64>,
        double: impl Fn(f64, f64) -> f64,
    ) -> Result<Numeric, NoResult> {
        let (Some(left), Some(right)) = (self.whole(), other.whole()) else {
            return Ok(Numeric::Double(double(self.double(), other.double())));
        };
        let result = whole(left, right).ok_or(NoResult::Overflow)?;
        let narrow = matches!((self, other), (Numeric::Int(_), Numeric::Int(_)));
        Ok(match i32::try_from(result) {
            Ok(result) if narrow => Numeric::Int(result),
            _ => Numeric::Long(result),
        })
    }
}
