//! The fields of a request's object, taken one by one: what is left over is unknown.

use std::ops::RangeInclusive;

use axum::http::StatusCode;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    body::Whole,
    error::{ApiError, ApiResult},
};

/// The most bytes of a name that is repeated to the client or the log.
const LONGEST_NAME: usize = 64;

/// An object of which fields are taken. A field that is `null` is as one that is not there.
#[derive(Debug)]
pub(crate) struct Fields {
    fields: Map<String, Value>,
    /// What it is called within the request, with its dot.
    prefix: &'static str,
    /// The room that the body takes until nothing of it is left here.
    _room: Option<OwnedSemaphorePermit>,
}

impl Fields {
    /// Of a request's body, whose room is taken until the fields are dropped.
    pub fn of(body: Whole) -> ApiResult<Self> {
        let fields = Self::parse(&body)?;
        Ok(Self { _room: Some(body.into_room()), ..fields })
    }

    /// Of a body.
    pub fn parse(body: &[u8]) -> ApiResult<Self> {
        let bad = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message);
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self { fields, prefix: "", _room: None }),
            Ok(_) => Err(bad("the body is not a JSON object".into())),
            Err(error) => Err(bad(format!("the body is not JSON: {error}"))),
        }
    }

    /// Of an object within it.
    pub fn within(fields: Map<String, Value>, prefix: &'static str) -> Self {
        Self { fields, prefix, _room: None }
    }

    /// The field's full name.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub fn wrong(&self, name: &str, value: &Value, what: &str) -> ApiError {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        let name = self.name(name);
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_type",
            format!("{name} is {kind} where {what} is expected"),
        )
        .of(&name)
    }

    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    pub fn boolean(&mut self, name: &str) -> ApiResult<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(name, &other, "true or false")),
        }
    }

    pub fn text(&mut self, name: &str) -> ApiResult<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(name, &other, "a text")),
        }
    }

    pub fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> ApiResult<Option<f64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Some(number) = value.as_f64() else {
            return Err(self.wrong(name, &value, "a number"));
        };
        if !range.contains(&number) {
            return Err(self.out_of_range(name, &value, &range));
        }
        Ok(Some(number))
    }

    pub fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> ApiResult<Option<i64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let whole = value.as_i64().or_else(|| {
            // Some clients write 20.0.
            let number = value.as_f64()?;
            (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
        });
        match whole {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            None if !value.is_number() => Err(self.wrong(name, &value, "a whole number")),
            _ => Err(self.out_of_range(name, &value, &range)),
        }
    }

    fn out_of_range<T: std::fmt::Display>(
        &self,
        name: &str,
        value: &Value,
        range: &RangeInclusive<T>,
    ) -> ApiError {
        let name = self.name(name);
        let (from, to) = (range.start(), range.end());
        ApiError::invalid(&name, format!("{name} is {value}; it may be from {from} to {to}"))
    }

    /// One text, or a list of texts.
    pub fn texts(&mut self, name: &str) -> ApiResult<Vec<String>> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    other => Err(self.wrong(name, &other, "a text")),
                })
                .collect(),
            Some(other) => Err(self.wrong(name, &other, "a text or a list of texts")),
        }
    }

    /// Refuses a field unless its value asks for nothing.
    pub fn refuse(&mut self, name: &str, why: &str) -> ApiResult<()> {
        let nothing = match self.take(name) {
            None | Some(Value::Bool(false)) => true,
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(fields)) => fields.is_empty(),
            Some(Value::String(text)) => text.is_empty() || text == "none",
            Some(_) => false,
        };
        if nothing { Ok(()) } else { Err(ApiError::unsupported(&self.name(name), why)) }
    }

    /// What nobody took, in the order of the names.
    pub fn rest(self) -> Vec<String> {
        let given = self.fields.into_iter().filter(|(_, value)| !value.is_null());
        let mut names: Vec<String> = given
            .map(|(name, _)| {
                let end = name.floor_char_boundary(LONGEST_NAME);
                format!("{}{}", self.prefix, &name[..end])
            })
            .collect();
        // Whatever order the map has in this build.
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn null_is_as_if_the_field_were_not_there() {
        let mut fields = fields(r#"{"a":null,"b":null,"c":null,"d":null,"e":null,"f":null}"#);
        assert_eq!(fields.number("a", 0.0..=1.0), Ok(None));
        assert_eq!(fields.integer("b", 0..=1), Ok(None));
        assert_eq!(fields.texts("c"), Ok(vec![]));
        assert_eq!(fields.boolean("d"), Ok(None));
        assert_eq!(fields.refuse("e", ""), Ok(()));
        assert_eq!(fields.rest(), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_value_names_its_field_and_what_it_may_be() {
        let mut fields = fields(r#"{"a":3,"b":"x","c":[1],"d":1.5}"#);
        let error = fields.number("a", 0.0..=2.0).unwrap_err();
        assert_eq!(error.message, "a is 3; it may be from 0 to 2");
        assert_eq!(error.param.as_deref(), Some("a"));
        let error = fields.number("b", 0.0..=2.0).unwrap_err();
        assert_eq!(error.message, "b is a text where a number is expected");
        assert_eq!(fields.texts("c").unwrap_err().code, "invalid_type");
        assert_eq!(fields.integer("d", 0..=2).unwrap_err().code, "invalid_value");
    }

    #[test]
    fn what_asks_for_nothing_is_not_refused() {
        for value in ["null", "[]", "{}", "\"none\"", "false", "\"\""] {
            let mut fields = fields(&format!(r#"{{"tools":{value}}}"#));
            assert_eq!(fields.refuse("tools", "no"), Ok(()), "{value}");
        }
        let mut fields = fields(r#"{"tools":[{}]}"#);
        assert_eq!(fields.refuse("tools", "no").unwrap_err().code, "unsupported_parameter");
    }

    #[test]
    fn what_nobody_knows_is_left_over() {
        let mut fields = fields(r#"{"n":1,"store":true,"reasoning_effort":"low"}"#);
        fields.integer("n", 1..=2).unwrap();
        assert_eq!(fields.rest(), ["reasoning_effort", "store"]);
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in ["", "[]", "1", "{\"a\"", "\u{feff}{}", "{}x"] {
            assert_eq!(Fields::parse(text.as_bytes()).unwrap_err().code, "invalid_json", "{text}");
        }
    }
}
