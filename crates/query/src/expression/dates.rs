//! Parts of a date, in UTC.

use super::operators::{Arguments, argument};
use super::{Budget, is_nothing, wrong};
use api::{Error, Value};

const DAY_MS: i64 = 86_400_000;

/// A day of the Gregorian calendar.
struct Day {
    year: i64,
    month: i64,
    day: i64,
}

/// Days since 1970-01-01 to a day. Eras of 400 years have 146,097 days each; a year is taken to
/// begin in March, so that the leap day is its last.
fn day_of(days: i64) -> Day {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Day { year, month, day }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn day_of_year(day: &Day) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = i64::from(day.month > 2 && is_leap(day.year));
    BEFORE[(day.month - 1) as usize] + day.day + leap
}

pub(super) fn part(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    _: &mut Budget,
) -> Result<Option<Value>, Error> {
    let milliseconds = match argument(arguments, 0) {
        value if is_nothing(value) => return Ok(Some(Value::Null)),
        Some(Value::DateTime(date)) => date.timestamp_millis(),
        Some(Value::ObjectId(id)) => id.timestamp().timestamp_millis(),
        Some(Value::Timestamp(stamp)) => i64::from(stamp.time) * 1000,
        other => return Err(wrong(name, "a date", other)),
    };
    let days = milliseconds.div_euclid(DAY_MS);
    let within = milliseconds.rem_euclid(DAY_MS);
    let number = match name {
        "$year" => day_of(days).year,
        "$month" => day_of(days).month,
        "$dayOfMonth" => day_of(days).day,
        "$dayOfYear" => day_of_year(&day_of(days)),
        // 1970-01-01 was a Thursday; Sunday is 1.
        "$dayOfWeek" => (days + 4).rem_euclid(7) + 1,
        "$hour" => within / 3_600_000,
        "$minute" => within / 60_000 % 60,
        "$second" => within / 1000 % 60,
        _ => within % 1000,
    };
    Ok(Some(i32::try_from(number).map_or(Value::Int64(number), Value::Int32)))
}

/// A date as text: `2026-11-22T10:20:30.000Z`.
pub(super) fn written(milliseconds: i64) -> String {
    let Day { year, month, day } = day_of(milliseconds.div_euclid(DAY_MS));
    let within = milliseconds.rem_euclid(DAY_MS);
    let (hour, minute) = (within / 3_600_000, within / 60_000 % 60);
    let (second, rest) = (within / 1000 % 60, within % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:03}Z")
}
