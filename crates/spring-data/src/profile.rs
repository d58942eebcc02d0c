//! The records of LaMP, LongLaMP and OPPU: a user's profile and what is asked. Every profile entry
//! becomes an interaction with the prompt that its task uses.

mod task;
mod value;

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::Deserialize;
use spring_memory::{Interaction, InteractionId, UserId};

pub use task::{Task, UnknownTask};
pub(crate) use value::Scalar;
use value::{Field, List};

use crate::hash;

/// One element of a file, whichever the layout.
#[derive(Debug, Deserialize)]
pub(crate) struct RawRecord {
    id: Option<Scalar>,
    user_id: Option<Scalar>,
    user_name: Option<Scalar>,
    #[serde(rename = "reviewerId")]
    reviewer_id: Option<Scalar>,
    name: Option<Scalar>,
    author: Option<Scalar>,
    input: Option<String>,
    output: Option<Scalar>,
    query: Option<List<RawQuery>>,
    profile: Option<List<RawEntry>>,
}

#[derive(Debug, Deserialize)]
struct RawQuery {
    id: Scalar,
    input: String,
    #[serde(alias = "gold")]
    output: Option<Scalar>,
}

/// One text of a profile; which fields it has tells the task.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawEntry {
    id: Field,
    date: Field,
    year: Field,
    title: Field,
    #[serde(rename = "abstract")]
    abstract_: Field,
    description: Field,
    tag: Field,
    category: Field,
    text: Field,
    score: Field,
    overall: Field,
    #[serde(rename = "reviewText")]
    review_text: Field,
    summary: Field,
    content: Field,
    citation: Field,
}

/// What is asked of a user.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Query {
    /// Its id; the number of the record where the file has none.
    pub id: String,
    /// The prompt.
    pub prompt: String,
    /// The user's own answer, where the file has it.
    pub response: Option<String>,
}

/// One record of a file: a user with some texts, or one text.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct UserRecord {
    /// The user.
    pub user: UserId,
    /// What the user wrote, in the order of time.
    pub texts: Vec<Interaction>,
    /// What is asked after that.
    pub queries: Vec<Query>,
    /// Whether the times are the file's; else they stand for the order alone, a second apart from
    /// 1970 on.
    pub dated: bool,
    /// Texts left out because they are blank.
    pub blank: usize,
    /// Entries left out because a field is missing or odd.
    pub odd: usize,
    /// What is wrong with the first of them.
    pub first_odd: Option<String>,
}

impl RawRecord {
    pub(crate) fn is_history(&self) -> bool {
        self.query.is_some()
    }

    pub(crate) fn has_profile(&self) -> bool {
        self.profile.is_some()
    }

    /// The task: from the words of the question, or else from the fields that any entry of the
    /// profile has.
    pub(crate) fn task(&self) -> Option<Task> {
        self.asked().or_else(|| self.written().map(|(task, _)| task))
    }

    /// Whether other records may still show another task: there is no known question, and the
    /// fields are those that entries of several tasks have.
    pub(crate) fn is_unclear(&self) -> bool {
        self.asked().is_none() && self.written().is_none_or(|(_, clear)| !clear)
    }

    /// What the question asks for.
    fn asked(&self) -> Option<Task> {
        let queries = self.query.iter().flat_map(|query| &query.0).map(|query| &query.input);
        self.input.iter().chain(queries).find_map(|input| {
            let input = input.trim_start().to_lowercase();
            // What is asked comes first: behind it stands a text, which may have any words.
            let begins = |words: &[&str]| words.iter().any(|words| input.starts_with(words));
            Some(match () {
                () if begins(&["which category", "which tag"]) => Task::Lamp2,
                () if begins(&["what is the score"]) => Task::Lamp3,
                () if begins(&["generate a headline"]) => Task::Lamp4,
                () if begins(&["generate a title"]) => Task::Lamp5,
                () if begins(&["generate a subject for the following email"]) => Task::Lamp6,
                () if begins(&["paraphrase the following tweet"]) => Task::Lamp7,
                () if begins(&["generate an abstract"]) => Task::AbstractGeneration,
                () if begins(&["generate the review text"]) => Task::ProductReview,
                () if begins(&["generate the content for a reddit post"]) => Task::TopicWriting,
                // Here the title of a paper stands before the question.
                () if input.contains("which reference is related") => Task::Lamp1,
                () => return None,
            })
        })
    }

    /// What the entries are, and whether no other task has such ones.
    fn written(&self) -> Option<(Task, bool)> {
        let entries = &self.profile.as_ref()?.0;
        let any =
            |field: fn(&RawEntry) -> &Field| entries.iter().any(|entry| field(entry).0.is_some());
        Some(match () {
            () if any(|e| &e.review_text) => (Task::ProductReview, true),
            () if any(|e| &e.content) => (Task::TopicWriting, true),
            () if any(|e| &e.abstract_) && self.name.is_some() => (Task::AbstractGeneration, true),
            () if any(|e| &e.abstract_) => (Task::Lamp5, true),
            () if any(|e| &e.citation) => (Task::Lamp1, true),
            () if any(|e| &e.tag) || any(|e| &e.category) => (Task::Lamp2, true),
            () if any(|e| &e.score) => (Task::Lamp3, true),
            () if any(|e| &e.title) => (Task::Lamp4, false),
            () if any(|e| &e.text) => (Task::Lamp7, false),
            () => return None,
        })
    }

    /// The record as texts; `row` stands for the id where there is none. The error is the reason.
    pub(crate) fn read(self, task: Option<Task>, row: u64) -> Result<UserRecord, String> {
        let named = [self.user_id, self.user_name, self.reviewer_id, self.name, self.author];
        let id = self.id.map_or_else(|| row.to_string(), |id| id.0);
        let user = named.into_iter().flatten().next().map_or_else(|| id.clone(), |name| name.0);
        let user = UserId::new(user).map_err(|error| error.to_string())?;
        let entries = self.profile.ok_or("it has no \"profile\"")?.0;
        let mut queries = Vec::new();
        if let Some(prompt) = self.input {
            queries.push(Query { id, prompt, response: self.output.map(|output| output.0) });
        }
        for query in self.query.into_iter().flat_map(|query| query.0) {
            let response = query.output.map(|output| output.0);
            queries.push(Query { id: query.id.0, prompt: query.input, response });
        }
        let (mut odd, mut first_odd, mut blank) = (0, None, 0);
        // An entry that is odd is left out, and counted, rather than the whole file.
        let mut leave_out = |position: usize, reason: String| {
            odd += 1;
            first_odd.get_or_insert_with(|| format!("profile entry {}: {reason}", position + 1));
        };
        let mut read = Vec::with_capacity(entries.len());
        for (position, entry) in entries.into_iter().enumerate() {
            let place = |reason: &str| format!("profile entry {}: {reason}", position + 1);
            let task = task.ok_or_else(|| place("its fields are of no known task"))?;
            let time = match entry.time() {
                Ok(time) => time,
                Err(reason) => {
                    leave_out(position, reason);
                    continue;
                }
            };
            let id = entry.id.0.clone();
            let (prompt, response) = match entry.pair(task) {
                Ok(pair) => pair,
                Err(reason) => {
                    leave_out(position, reason);
                    continue;
                }
            };
            if response.trim().is_empty() {
                blank += 1;
                continue;
            }
            let id = id.unwrap_or_else(|| content_id(&prompt, &response));
            match InteractionId::new(id) {
                Ok(id) => read.push((position, id, time, prompt, response)),
                Err(error) => leave_out(position, error.to_string()),
            }
        }
        let dated = !read.is_empty() && read.iter().all(|(_, _, time, ..)| time.is_some());
        let mut texts = Vec::with_capacity(read.len());
        for (position, id, time, prompt, response) in read {
            let time = match time {
                Some(time) if dated => time,
                _ => Timestamp::UNIX_EPOCH + SignedDuration::from_secs(position as i64),
            };
            texts.push(Interaction::new(user.clone(), id, time, prompt, response));
        }
        texts.sort_by_key(|text| text.time);
        Ok(UserRecord { user, texts, queries, dated, blank, odd, first_odd })
    }
}

impl RawEntry {
    /// The prompt that the entry answers, and the answer.
    fn pair(self, task: Task) -> Result<(String, String), String> {
        let need = |field: Field, name: &str| {
            field.0.ok_or_else(|| format!("no {name:?}, which {task} needs"))
        };
        Ok(match task {
            // OPPU's file of this task has what was cited, and no abstracts.
            Task::Lamp1 if self.abstract_.0.is_none() && self.citation.0.is_some() => {
                let title = need(self.title, "title")?;
                (
                    format!("Name a paper that is cited by the paper with the title \"{title}\"."),
                    need(self.citation, "citation")?,
                )
            }
            Task::Lamp1 | Task::AbstractGeneration => {
                let title = need(self.title, "title")?;
                (
                    format!("Generate an abstract for the title \"{title}\"."),
                    need(self.abstract_, "abstract")?,
                )
            }
            Task::Lamp2 => match self.description.0 {
                Some(description) => (
                    format!("Which tag does this movie relate to? description: {description}"),
                    need(self.tag, "tag")?,
                ),
                None => (
                    format!(
                        "Which category does this article relate to? article: {}",
                        need(self.text, "text")?
                    ),
                    need(self.category, "category")?,
                ),
            },
            Task::Lamp3 => (
                format!(
                    "What is the score of the following review on a scale of 1 to 5? review: {}",
                    need(self.text, "text")?
                ),
                need(self.score, "score")?,
            ),
            Task::Lamp4 => (
                format!(
                    "Generate a headline for the following article: {}",
                    need(self.text, "text")?
                ),
                need(self.title, "title")?,
            ),
            Task::Lamp5 => (
                format!(
                    "Generate a title for the following abstract of a paper: {}",
                    need(self.abstract_, "abstract")?
                ),
                need(self.title, "title")?,
            ),
            Task::Lamp6 => (
                format!("Generate a subject for the following email: {}", need(self.text, "text")?),
                need(self.title, "title")?,
            ),
            Task::Lamp7 => ("Write a tweet.".into(), need(self.text, "text")?),
            Task::ProductReview => {
                let review = need(self.review_text, "reviewText")?;
                let overall = need(self.overall, "overall")?;
                let description = need(self.description, "description")?;
                let summary = need(self.summary, "summary")?;
                let prompt = format!(
                    "Generate the review text written by a reviewer who has a given an overall \
                     rating of \
                     \"{overall}\" for a product with description \"{description}\". The summary \
                     of the review text \
                     is \"{summary}\"."
                );
                (prompt, review)
            }
            Task::TopicWriting => (
                format!(
                    "Generate the content for a reddit post {}",
                    need(self.summary, "summary")?
                ),
                need(self.content, "content")?,
            ),
        })
    }

    /// When it was written: the beginning of its date, or of its year; `None` where the file says
    /// so in any way.
    fn time(&self) -> Result<Option<Timestamp>, String> {
        let Some(date) = self.date.0.as_ref().or(self.year.0.as_ref()) else { return Ok(None) };
        let date = date.trim();
        if ["", "none", "null", "nan", "nat", "n/a", "-"]
            .contains(&date.to_ascii_lowercase().as_str())
        {
            return Ok(None);
        }
        let fail =
            || format!("date {:?} is no date such as \"2024-05-31\" or \"2024\"", start_of(date));
        let midnight = |date: Date| date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp());
        // Years that a table made floats, as 2014.0.
        let whole = date.strip_suffix(".0").unwrap_or(date);
        // A year, year and month, or a day, with or without leading zeros.
        let parts: Option<Vec<i16>> = whole.split('-').map(|part| part.parse().ok()).collect();
        if let Some([year @ 1..=9999, rest @ ..]) =
            parts.as_deref().filter(|parts| parts.len() <= 3)
        {
            let part = |index: usize| rest.get(index).map_or(Ok(1), |part| i8::try_from(*part));
            let (Ok(month), Ok(day)) = (part(0), part(1)) else { return Err(fail()) };
            return Date::new(*year, month, day).and_then(midnight).map(Some).map_err(|_| fail());
        }
        // Seconds or milliseconds since 1970.
        if let Ok(number) = whole.parse::<i64>() {
            let time = match whole.trim_start_matches('-').len() {
                9..=11 => Timestamp::from_second(number),
                12..=14 => Timestamp::from_millisecond(number),
                _ => return Err(fail()),
            };
            return time.map(Some).map_err(|_| fail());
        }
        let civil = || date.parse::<jiff::civil::DateTime>()?.to_zoned(TimeZone::UTC);
        date.parse::<Date>()
            .and_then(midnight)
            .or_else(|_| date.parse::<Timestamp>())
            .or_else(|_| civil().map(|zoned| zoned.timestamp()))
            .map(Some)
            .map_err(|_| fail())
    }
}

/// The id of a text that has none in its file: the same text has the same id wherever it stands, so
/// that it counts once. The zeros are of the first version of these ids, which must not change:
/// states hold them.
fn content_id(prompt: &str, response: &str) -> String {
    let parts: [&[u8]; 4] = [&[0; 8], prompt.as_bytes(), &[0; 4], response.as_bytes()];
    format!("{:016x}", hash::of_parts(&parts))
}

/// As much of a text of the file as an error shows.
pub(crate) fn start_of(text: &str) -> String {
    text.chars().take(80).collect()
}
