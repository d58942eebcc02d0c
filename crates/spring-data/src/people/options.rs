//! What a caller may say about people's files.

use std::str::FromStr;

use jiff::{
    SignedDuration,
    tz::{Offset, TimeZone},
};
use spring_numerics::setters;

use super::error::{Error, Result};

/// In which order a date such as 03/04/2024 has day and month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DateOrder {
    /// Day, month, year.
    DayFirst,
    /// Month, day, year.
    MonthFirst,
    /// Year, month, day.
    YearFirst,
}

impl FromStr for DateOrder {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name.to_ascii_lowercase().as_str() {
            "dmy" => Ok(Self::DayFirst),
            "mdy" => Ok(Self::MonthFirst),
            "ymd" => Ok(Self::YearFirst),
            _ => Err(Error::Option(format!("the date order {name:?} is not dmy, mdy or ymd"))),
        }
    }
}

/// What becomes the prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PromptFrom {
    /// What the text answers; else its title, subject or chat.
    #[default]
    Auto,
    /// What the text answers, and nothing else: texts that answer nothing are left out.
    Before,
    /// The title, the subject or the chat's name alone.
    Title,
}

impl FromStr for PromptFrom {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "before" => Ok(Self::Before),
            "title" => Ok(Self::Title),
            _ => Err(Error::Option(format!("{name:?} is not auto, before or title"))),
        }
    }
}

/// The columns of a table, where the caller names them: by name, by a path such as `message.text`,
/// or by number from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Columns {
    /// What was asked.
    pub prompt: Option<String>,
    /// What the person wrote.
    pub response: Option<String>,
    /// When.
    pub time: Option<String>,
    /// The id.
    pub id: Option<String>,
}

setters! {
    Columns {
        with_prompt(prompt: Option<String>);
        with_response(response: Option<String>);
        with_time(time: Option<String>);
        with_id(id: Option<String>);
    }
}

/// How to read people's files.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The format's name; recognised by content without one.
    pub from: Option<String>,
    /// Whose side is learned: addresses, names or ids. Guessed where it is obvious.
    pub me: Vec<String>,
    /// The zone of times that have none.
    pub zone: TimeZone,
    /// Day and month of dates; decided from the whole file without it.
    pub date_order: Option<DateOrder>,
    /// What becomes the prompt.
    pub prompt_from: PromptFrom,
    /// The prompt's wording in place of the format's own, with `{before}`, `{title}`, `{from}` and
    /// `{to}`.
    pub template: Option<String>,
    /// How many turns before an answer the prompt has, at least 1.
    pub turns: usize,
    /// Messages of one side that follow each other within this time are one text.
    pub join_within: SignedDuration,
    /// A message answers what was written at most this long before.
    pub answer_within: SignedDuration,
    /// The columns of tables.
    pub columns: Columns,
    /// Whether the first line of a table has the names of its columns.
    pub header: bool,
    /// Leaves out records that cannot be read; without it they refuse the file.
    pub skip_errors: bool,
    /// Asked now and then whether to stop.
    pub stop: fn() -> bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            from: None,
            me: Vec::new(),
            zone: TimeZone::UTC,
            date_order: None,
            prompt_from: PromptFrom::Auto,
            template: None,
            turns: 1,
            join_within: SignedDuration::from_mins(10),
            answer_within: SignedDuration::from_hours(24),
            columns: Columns::default(),
            header: true,
            skip_errors: false,
            stop: || false,
        }
    }
}

setters! {
    Options {
        with_from(from: Option<String>);
        with_me(me: Vec<String>);
        with_zone(zone: TimeZone);
        with_date_order(date_order: Option<DateOrder>);
        with_prompt_from(prompt_from: PromptFrom);
        with_template(template: Option<String>);
        with_turns(turns: usize);
        with_join_within(join_within: SignedDuration);
        with_answer_within(answer_within: SignedDuration);
        with_columns(columns: Columns);
        with_header(header: bool);
        with_skip_errors(skip_errors: bool);
        with_stop(stop: fn() -> bool);
    }
}

/// A time zone by its IANA name or as an offset such as +02:00, Z or UTC.
///
/// # Errors
///
/// [`Error::Option`] for a text that is neither.
pub fn parse_zone(text: &str) -> Result<TimeZone> {
    if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    if let Some(seconds) = offset_seconds(text) {
        return Offset::from_seconds(seconds)
            .map(TimeZone::fixed)
            .map_err(|error| Error::Option(format!("the zone {text:?}: {error}")));
    }
    TimeZone::get(text).map_err(|_| {
        Error::Option(format!("{text:?} is not a time zone such as Europe/London, +02:00 or UTC"))
    })
}

/// The seconds of an offset such as `+0200`, `-07:30` or `+2`.
pub(crate) fn offset_seconds(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = text[1..].chars().filter(|c| *c != ':').collect();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = match digits.len() {
        1 | 2 => (digits.parse().ok()?, 0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    (hours <= 25 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}
