//! Times as people's files write them.
//!
//! Written here: crates for lenient dates guess day and month from one date at a time and know no
//! zone but the system's; here the order comes from the whole file.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::{Offset, TimeZone},
};

use super::options::{DateOrder, offset_seconds};

/// A time as far as the text says it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Moment {
    /// A point in time.
    At(Timestamp),
    /// A clock's time in a zone that the text does not name.
    Local(DateTime),
}

impl Moment {
    /// The point in time, with `zone` for a clock's time.
    pub(crate) fn in_zone(self, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::At(time) => Some(time),
            Self::Local(clock) => zone.to_timestamp(clock).ok(),
        }
    }
}

/// The numbers of a date and a clock's time, before day and month are told apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Parts {
    /// The date's three numbers as written; a month's name is its number, and `named` says where.
    pub(crate) date: [i32; 3],
    /// The year has four digits and comes first.
    pub(crate) year_first: bool,
    named: Option<usize>,
    time: Time,
    offset: Option<Offset>,
}

impl Parts {
    /// What the numbers say about the order; `None` where both are possible.
    pub(crate) fn order(&self) -> Option<DateOrder> {
        if self.year_first {
            return Some(DateOrder::YearFirst);
        }
        let [first, second, _] = self.date;
        match self.named {
            Some(0) => Some(DateOrder::MonthFirst),
            Some(_) => Some(DateOrder::DayFirst),
            None if first > 12 => Some(DateOrder::DayFirst),
            None if second > 12 => Some(DateOrder::MonthFirst),
            None => None,
        }
    }

    /// The moment, with day and month by `order` where the text leaves it open.
    pub(crate) fn moment(&self, order: DateOrder) -> Option<Moment> {
        let [first, second, third] = self.date;
        // A name and a year of four digits cannot be taken otherwise.
        let order = match (self.named, self.year_first) {
            (_, true) => DateOrder::YearFirst,
            (Some(0), _) => DateOrder::MonthFirst,
            (Some(_), _) => DateOrder::DayFirst,
            _ => order,
        };
        let (year, month, day) = match order {
            DateOrder::DayFirst => (third, second, first),
            DateOrder::MonthFirst => (third, first, second),
            DateOrder::YearFirst => (first, second, third),
        };
        // Two digits: as POSIX reads them.
        let year = match year {
            0..=68 => year + 2000,
            69..=99 => year + 1900,
            _ => year,
        };
        let date = Date::new(
            i16::try_from(year).ok()?,
            i8::try_from(month).ok()?,
            i8::try_from(day).ok()?,
        )
        .ok()?;
        let clock = date.to_datetime(self.time);
        match self.offset {
            None => Some(Moment::Local(clock)),
            Some(offset) => offset.to_timestamp(clock).ok().map(Moment::At),
        }
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Zones that mails and logs name; those of RFC 5322 and of Europe.
const ZONES: &[(&str, i32)] = &[
    ("z", 0),
    ("ut", 0),
    ("utc", 0),
    ("gmt", 0),
    ("est", -5),
    ("edt", -4),
    ("cst", -6),
    ("cdt", -5),
    ("mst", -7),
    ("mdt", -6),
    ("pst", -8),
    ("pdt", -7),
    ("wet", 0),
    ("west", 1),
    ("bst", 1),
    ("cet", 1),
    ("cest", 2),
    ("mez", 1),
    ("mesz", 2),
    ("eet", 2),
    ("eest", 3),
    ("msk", 3),
    ("jst", 9),
];

/// The longest text that is looked at.
const LONGEST: usize = 120;

/// Reads a time: RFC 3339, RFC 5322, ISO 8601, seconds to nanoseconds since 1970, a year, and
/// dates with numbers or English month names, with or without a clock's time and a zone.
pub(crate) fn parse(text: &str, order: Option<DateOrder>) -> Option<Moment> {
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(Moment::At(time));
    }
    if let Ok(number) = text.parse::<f64>() {
        return of_number(number);
    }
    let parts = parts(text)?;
    parts.moment(order.or(parts.order()).unwrap_or(DateOrder::DayFirst))
}

/// A number as a year, or as seconds, milliseconds, microseconds or nanoseconds since 1970.
pub(crate) fn of_number(number: f64) -> Option<Moment> {
    if !number.is_finite() {
        return None;
    }
    if number.fract() == 0.0 && (1900.0..2200.0).contains(&number) {
        return Some(Moment::Local(
            Date::new(number as i16, 1, 1).ok()?.to_datetime(Time::midnight()),
        ));
    }
    let size = number.abs();
    let nanoseconds = match size {
        _ if size < 1e11 => number * 1e9,
        _ if size < 1e14 => number * 1e6,
        _ if size < 1e17 => number * 1e3,
        _ => number,
    };
    // A double holds microseconds of this century; what is behind them is rounding.
    let microseconds = (nanoseconds / 1e3).round();
    Timestamp::from_microsecond(microseconds as i64).ok().map(Moment::At)
}

/// Takes a date and a clock's time apart.
pub(crate) fn parts(text: &str) -> Option<Parts> {
    if text.len() > LONGEST {
        return None;
    }
    // Comments of RFC 5322.
    let mut plain = String::new();
    let mut depth = 0_u32;
    for character in text.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            // Marks of direction, and the narrow spaces before "PM".
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' => {}
            '\u{a0}' | '\u{202f}' | '\u{2009}' => plain.push(' '),
            '٠'..='٩' => plain.push(char::from(b'0' + (character as u32 - '٠' as u32) as u8)),
            other => plain.push(other),
        }
    }
    let (clock, rest) = take_clock(&plain)?;
    let mut numbers: Vec<(i32, usize)> = Vec::new();
    let (mut named, mut offset) = (None, clock.offset);
    // "2024 +0100": git puts the year between the clock's time and the offset.
    let words = rest.split_whitespace().filter(|word| {
        let ahead = if word.len() >= 5 { offset_seconds(word) } else { None };
        offset = offset.or(ahead.and_then(|seconds| Offset::from_seconds(seconds).ok()));
        ahead.is_none()
    });
    let rest = words.collect::<Vec<_>>().join(" ");
    for word in rest.split(|c: char| !c.is_alphanumeric() && c != '+' && c != '-') {
        // A hyphen parts numbers, or it begins an offset behind the clock's time.
        for word in word.split(['-', '+']).filter(|word| !word.is_empty()) {
            let digits = word.bytes().take_while(u8::is_ascii_digit).count();
            if digits > 0 {
                let (number, ending) = word.split_at(digits);
                let is_ordinal = matches!(ending, "" | "st" | "nd" | "rd" | "th" | "T" | "t");
                if !is_ordinal || numbers.len() == 3 {
                    return None;
                }
                numbers.push((number.parse().ok()?, digits));
                continue;
            }
            let word = word.to_lowercase();
            let month = MONTHS.iter().position(|month| word.starts_with(month));
            if let Some(month) = month.filter(|_| named.is_none() && numbers.len() < 3) {
                // "Mon" and "March" differ in their third letter; "Sat" and "Sun" are no months.
                named = Some(numbers.len());
                numbers.push((month as i32 + 1, 1));
            } else if let Some((_, hours)) = ZONES.iter().find(|(zone, _)| *zone == word) {
                offset = offset.or(Offset::from_hours(*hours as i8).ok());
            } else if word.len() > 12 || !word.chars().all(char::is_alphabetic) {
                return None;
            }
        }
    }
    let [(first, digits), (second, _), (third, _)] = numbers[..] else { return None };
    let year_first = digits == 4 && named != Some(0);
    Some(Parts { date: [first, second, third], year_first, named, time: clock.time, offset })
}

struct Clock {
    time: Time,
    offset: Option<Offset>,
}

/// The clock's time of a text, and the text without it.
fn take_clock(text: &str) -> Option<(Clock, String)> {
    let midnight = || Clock { time: Time::midnight(), offset: None };
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let Some(colon) =
        (1..bytes.len()).find(|at| bytes[*at] == b':' && is_digit(at - 1) && is_digit(at + 1))
    else {
        return Some((midnight(), text.to_owned()));
    };
    let begin = (0..colon).rev().take_while(|at| is_digit(*at)).last()?;
    let number = |from: usize| -> (Option<i32>, usize) {
        let length = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        (text[from..from + length].parse().ok(), from + length)
    };
    let mut hour = text[begin..colon].parse::<i32>().ok()?;
    let (minute, mut end) = number(colon + 1);
    let (mut second, mut nanosecond) = (0, 0);
    if bytes.get(end) == Some(&b':') && is_digit(end + 1) {
        let (seconds, after) = number(end + 1);
        (second, end) = (seconds?, after);
        if matches!(bytes.get(end), Some(b'.' | b',')) && is_digit(end + 1) {
            let after = number(end + 1).1;
            let digits = format!("{:0<9}", &text[end + 1..after]);
            (nanosecond, end) = (digits[..9].parse().ok()?, after);
        }
    }
    let rest = text[end..].trim_start();
    let mut skipped = text.len() - rest.len();
    // "9:12 PM", "9:12 p. m.", "9.12pm"
    let letters: String = rest
        .chars()
        .take(5)
        .filter(|c| !matches!(c, '.' | ' '))
        .take(2)
        .flat_map(char::to_lowercase)
        .collect();
    if matches!(letters.as_str(), "am" | "pm") {
        let used = rest.to_lowercase().find('m')? + 1;
        let word_goes_on = rest[used..].chars().next().is_some_and(char::is_alphabetic);
        if !word_goes_on && (1..=12).contains(&hour) {
            hour = hour % 12 + if letters == "pm" { 12 } else { 0 };
            skipped += used;
            skipped += usize::from(bytes.get(skipped) == Some(&b'.'));
        }
    }
    let mut offset = None;
    let rest = text.get(skipped..)?;
    let trimmed = rest.trim_start();
    if trimmed.starts_with(['+', '-']) {
        let length = 1 + trimmed[1..]
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b':')
            .count();
        if let Some(seconds) = offset_seconds(&trimmed[..length]) {
            offset = Some(Offset::from_seconds(seconds).ok()?);
            skipped += rest.len() - trimmed.len() + length;
        }
    }
    // A leap second is the second before.
    let time = Time::new(
        i8::try_from(hour).ok()?,
        i8::try_from(minute?).ok()?,
        i8::try_from(second.min(59)).ok()?,
        nanosecond,
    )
    .ok()?;
    Some((Clock { time, offset }, format!("{} {}", &text[..begin], &text[skipped..])))
}

/// Day and month of a file from all its dates: what any of them can only mean; else the order in
/// which the file is more nearly sorted. Gives also whether that was certain.
pub(crate) fn order_of(dates: &[Parts]) -> (DateOrder, bool) {
    let count = |wanted| dates.iter().filter(|date| date.order() == Some(wanted)).count();
    let years = count(DateOrder::YearFirst);
    let (days, months) = (count(DateOrder::DayFirst), count(DateOrder::MonthFirst));
    if years > days + months {
        return (DateOrder::YearFirst, true);
    }
    if days != months {
        let order = if days > months { DateOrder::DayFirst } else { DateOrder::MonthFirst };
        return (order, true);
    }
    let steps_back = |order: DateOrder| {
        let times: Vec<_> = dates
            .iter()
            .filter_map(|date| match date.moment(order)? {
                Moment::Local(clock) => Some(clock),
                Moment::At(time) => Some(TimeZone::UTC.to_datetime(time)),
            })
            .collect();
        times.windows(2).filter(|pair| pair[1] < pair[0]).count()
    };
    let (days, months) = (steps_back(DateOrder::DayFirst), steps_back(DateOrder::MonthFirst));
    match days.cmp(&months) {
        std::cmp::Ordering::Less => (DateOrder::DayFirst, true),
        std::cmp::Ordering::Greater => (DateOrder::MonthFirst, true),
        std::cmp::Ordering::Equal => (DateOrder::DayFirst, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Option<String> {
        parse(text, None)?.in_zone(&TimeZone::UTC).map(|time| time.to_string())
    }

    #[test]
    fn times_as_programs_write_them() {
        for (text, time) in [
            ("2024-01-08T09:12:00Z", "2024-01-08T09:12:00Z"),
            ("2024-01-08T09:12:00.250+01:00", "2024-01-08T08:12:00.25Z"),
            ("2024-01-08 09:12", "2024-01-08T09:12:00Z"),
            ("2024-01-08", "2024-01-08T00:00:00Z"),
            ("2012-5-3", "2012-05-03T00:00:00Z"),
            ("1704705120", "2024-01-08T09:12:00Z"),
            ("1704705120.5", "2024-01-08T09:12:00.5Z"),
            ("1704705120000", "2024-01-08T09:12:00Z"),
            ("1704705120000000", "2024-01-08T09:12:00Z"),
            ("1704705120000000000", "2024-01-08T09:12:00Z"),
            ("2014", "2014-01-01T00:00:00Z"),
            ("Mon, 08 Jan 2024 09:12:00 +0000", "2024-01-08T09:12:00Z"),
            ("Mon, 8 Jan 2024 09:12:00 -0800 (PST)", "2024-01-08T17:12:00Z"),
            // Without seconds, in asctime's form, with zones that have names.
            ("Mon, 08 Jan 2024 09:12 GMT", "2024-01-08T09:12:00Z"),
            ("Mon Jan  8 09:12:00 2024", "2024-01-08T09:12:00Z"),
            ("Mon Jan 8 09:12:00 2024 +0100", "2024-01-08T08:12:00Z"),
            ("Thu, 4 Jul 2024 11:00:00 CEST", "2024-07-04T09:00:00Z"),
            ("08/01/2024, 09:12", "2024-01-08T09:12:00Z"),
            ("31/01/24, 9:12 PM", "2024-01-31T21:12:00Z"),
            ("1/31/24, 12:05\u{202f}AM", "2024-01-31T00:05:00Z"),
            ("08.01.24, 09:12:33", "2024-01-08T09:12:33Z"),
            ("8/1/2024 9:12 p. m.", "2024-01-08T21:12:00Z"),
            ("January 8, 2024", "2024-01-08T00:00:00Z"),
            ("8 January 2024 at 9:12 pm", "2024-01-08T21:12:00Z"),
            ("March 3rd, 2024", "2024-03-03T00:00:00Z"),
        ] {
            assert_eq!(utc(text).as_deref(), Some(time), "{text}");
        }
        for text in ["", "yesterday", "2024-13-01", "31/31/2024", "12:00", "1/2", "nan", "1 2 3 4"]
        {
            assert_eq!(utc(text), None, "{text}");
        }
    }

    #[test]
    fn the_whole_file_decides_day_and_month() {
        let dates =
            |texts: &[&str]| texts.iter().filter_map(|text| parts(text)).collect::<Vec<_>>();
        assert_eq!(order_of(&dates(&["03/04/24", "13/04/24"])), (DateOrder::DayFirst, true));
        assert_eq!(order_of(&dates(&["03/04/24", "03/14/24"])), (DateOrder::MonthFirst, true));
        assert_eq!(order_of(&dates(&["2024/03/04"])), (DateOrder::YearFirst, true));
        // Sorted as months first alone.
        assert_eq!(order_of(&dates(&["01/12/24", "02/03/24"])), (DateOrder::MonthFirst, true));
        assert_eq!(order_of(&dates(&["03/04/24"])), (DateOrder::DayFirst, false));
    }
}
