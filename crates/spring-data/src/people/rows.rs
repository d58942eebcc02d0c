//! Tables: which column is what, and from a row to a pair.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    error::{Error, Result, shown},
    found::{Found, Pair, one_line},
    left_out::Reason,
    options::{Options, PromptFrom},
    time,
};

/// Names that columns commonly have, the most telling first.
const PROMPT: &[&str] = &[
    "prompt",
    "instruction",
    "question",
    "query",
    "input",
    "incoming",
    "received",
    "request",
    "context",
    "before",
    "asked",
    "source",
];
const TITLE: &[&str] = &["title", "subject", "topic", "headline", "heading"];
const RESPONSE: &[&str] = &[
    "response",
    "reply",
    "answer",
    "output",
    "completion",
    "written",
    "outgoing",
    "text",
    "body",
    "content",
    "message",
    "note",
    "entry",
    "target",
];
const TIME: &[&str] = &[
    "time",
    "timestamp",
    "date",
    "datetime",
    "created_at",
    "created",
    "sent_at",
    "sent",
    "written_at",
    "when",
    "year",
];
const ID: &[&str] = &["id", "uuid", "guid", "message_id", "key", "no", "nr", "index"];
const USER: &[&str] = &["user", "user_id", "username"];

/// Columns that are looked at.
const MOST_COLUMNS: usize = 2000;

/// Which column is what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles {
    prompt: Option<String>,
    /// The prompt is a title.
    is_title: bool,
    response: String,
    time: Option<String>,
    id: Option<String>,
    user: Option<String>,
}

impl Roles {
    /// Finds the columns: as the caller says, else by names that they commonly have.
    pub(crate) fn find(columns: &[String], options: &Options, label: &str) -> Result<Self> {
        let columns = &columns[..columns.len().min(MOST_COLUMNS)];
        let key = |name: &str| name.trim().to_lowercase().replace([' ', '-', '.'], "_");
        let common = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| columns.iter().find(|column| key(column) == *name).cloned())
        };
        let fail = |role, option| {
            let names: Vec<String> = columns.iter().take(30).map(|name| shown(name)).collect();
            Error::Column { file: label.into(), role, option, columns: names.join(", ") }
        };
        let said = |given: &Option<String>, role, option| -> Result<Option<String>> {
            let Some(given) = given else { return Ok(None) };
            let by_name = columns.iter().find(|column| *column == given);
            let by_case = || columns.iter().find(|column| key(column) == key(given));
            let by_number =
                || given.parse::<usize>().ok().and_then(|at| columns.get(at.checked_sub(1)?));
            let by_path = || {
                let (first, _) = given.split_once('.')?;
                columns.iter().any(|column| column == first).then_some(given)
            };
            match by_name.or_else(by_case).or_else(by_number).or_else(by_path) {
                Some(column) => Ok(Some(column.clone())),
                None => Err(fail(role, option)),
            }
        };
        let Some(response) =
            said(&options.columns.response, "response", "--response")?.or_else(|| common(RESPONSE))
        else {
            return Err(fail("response", "--response"));
        };
        let mut prompt = said(&options.columns.prompt, "prompt", "--prompt")?;
        let mut is_title = false;
        if prompt.is_none() {
            let title = common(TITLE);
            prompt = match options.prompt_from {
                PromptFrom::Title => None,
                _ => common(PROMPT),
            };
            if prompt.is_none() && options.prompt_from != PromptFrom::Before {
                is_title = title.is_some();
                prompt = title;
            }
        }
        if prompt.is_none() {
            return Err(fail("prompt", "--prompt"));
        }
        Ok(Self {
            prompt,
            is_title,
            response,
            time: said(&options.columns.time, "time", "--time")?.or_else(|| common(TIME)),
            id: said(&options.columns.id, "id", "--id")?.or_else(|| common(ID)),
            user: common(USER),
        })
    }

    /// In words, for the person to check.
    pub(crate) fn told(&self) -> String {
        let mut parts = vec![
            format!("prompt = {}", shown(self.prompt.as_deref().unwrap_or("nothing"))),
            format!("response = {}", shown(&self.response)),
        ];
        parts.extend(self.time.as_ref().map(|column| format!("time = {}", shown(column))));
        parts.extend(self.id.as_ref().map(|column| format!("id = {}", shown(column))));
        parts.extend(self.user.as_ref().map(|column| format!("user = {}", shown(column))));
        format!("columns: {} (--prompt, --response, --time and --id override)", parts.join(", "))
    }
}

/// The rows of one table on their way to pairs.
pub(crate) struct Rows {
    pub(crate) roles: Roles,
    /// Pairs whose date leaves open what is day and month, with its text.
    open: Vec<(usize, String)>,
    dates: Vec<time::Parts>,
}

/// Dates that decide day and month: a file's first ones are enough.
const MOST_DATES: usize = 100_000;

impl Rows {
    pub(crate) fn new(roles: Roles) -> Self {
        Self { roles, open: Vec::new(), dates: Vec::new() }
    }

    /// Takes a row. What is missing in it is a reason to leave it out; what has another kind than
    /// it should is a problem.
    pub(crate) fn add(
        &mut self,
        row: &Map<String, Value>,
        file: usize,
        line: u64,
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        let Roles { prompt, is_title, response, time, id, user } = self.roles.clone();
        let mut text = |column: &Option<String>| -> Option<String> {
            let column = column.as_deref()?;
            match scalar(at_path(row, column)) {
                Ok(text) => Some(text),
                Err(kind) => {
                    found.problem(file, line, Some(column), format!("{kind}: a text is needed"));
                    None
                }
            }
        };
        let (Some(answer), Some(mut asked)) = (text(&Some(response)), text(&prompt)) else {
            return Ok(());
        };
        let (id, user, when) = (text(&id), text(&user), text(&time));
        if answer.trim().is_empty() {
            found.leave_out(Reason::Empty, file, line);
            return Ok(());
        }
        if asked.trim().is_empty() && options.template.is_none() {
            found.leave_out(Reason::NoPrompt, file, line);
            return Ok(());
        }
        match &options.template {
            Some(template) => {
                let (before, title) =
                    if is_title { ("", asked.trim()) } else { (asked.trim(), "") };
                asked = template.replace("{before}", before).replace("{title}", title);
                asked = asked.replace("{from}", "").replace("{to}", "");
            }
            None if is_title => {
                asked = format!("Write a text with the title: {}", one_line(&asked))
            }
            None => {}
        }
        let mut moment: Option<Timestamp> = None;
        if let Some(when) = when.filter(|when| !when.trim().is_empty()) {
            let parts = time::parts(&when);
            if parts.as_ref().is_some_and(|parts| parts.order().is_none()) {
                self.open.push((found.pairs.len(), when.clone()));
            }
            if let Some(parts) = parts.filter(|_| self.dates.len() < MOST_DATES) {
                self.dates.push(parts);
            }
            moment = found.time(&when, options);
            if moment.is_none() {
                let reason = format!("{:?} is not a date or a time", shown(&when));
                found.problem(file, line, time.as_deref(), reason);
                return Ok(());
            }
        } else if time.is_some() {
            found.leave_out(Reason::NoTime, file, line);
            return Ok(());
        }
        let not_blank = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        found.push_pair(Pair {
            user: not_blank(user),
            id: not_blank(id),
            time: moment,
            prompt: asked,
            response: answer,
            meta: None,
            file,
            line,
        })
    }

    /// After the last row: day and month of dates that leave it open.
    pub(crate) fn finish(self, options: &Options, found: &mut Found, label: &str) {
        found.note(self.roles.told());
        if self.open.is_empty() || options.date_order.is_some() {
            return;
        }
        let (order, certain) = time::order_of(&self.dates);
        if !certain {
            found.note(format!(
                "{label}: day and month of its dates cannot be told apart; the day is taken to \
                 come first (--date-order mdy overrides)"
            ));
        }
        for (place, when) in self.open {
            let moment = time::parse(&when, Some(order)).and_then(|m| found.moment(m, options));
            if let Some(pair) = found.pairs.get_mut(place) {
                pair.time = moment.or(pair.time);
            }
        }
    }
}

/// A field, also within objects: `message.text`.
fn at_path<'v>(row: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    if let Some(value) = row.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let mut value = row.get(parts.next()?)?;
    for part in parts {
        value = value.get(part)?;
    }
    Some(value)
}

/// A value as text; nothing for null and for a field that is not there. Gives the kind of a value
/// that is none.
pub(crate) fn scalar(value: Option<&Value>) -> std::result::Result<String, &'static str> {
    match value {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Bool(_)) => Err("true or false"),
        Some(Value::Array(_)) => Err("a list"),
        Some(Value::Object(_)) => Err("an object"),
    }
}
