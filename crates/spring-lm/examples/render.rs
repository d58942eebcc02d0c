//! Renders conversations with chat templates, so that they can be compared with transformers'.
//!
//! Reads one JSON object a line from standard input: `template`, `tokens` (an object), `messages`
//! (a list of objects with `role` and `content`) and `add_generation_prompt`. Writes one a line:
//! `text`, or `error`.

use std::{collections::BTreeMap, io::BufRead};

use serde::Deserialize;
use spring_lm::{ChatTemplate, Message, Role};

#[derive(Deserialize)]
struct Request {
    template: String,
    tokens: BTreeMap<String, String>,
    messages: Vec<Turn>,
    add_generation_prompt: bool,
}

#[derive(Deserialize)]
struct Turn {
    role: Role,
    content: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let messages: Vec<Message<'_>> = request
            .messages
            .iter()
            .map(|turn| Message { role: turn.role, content: &turn.content })
            .collect();
        let template =
            ChatTemplate::new(&request.template, request.tokens.into_iter().collect(), "template");
        let answer = match template.and_then(|t| t.render(&messages, request.add_generation_prompt))
        {
            Ok(text) => serde_json::json!({ "text": text }),
            Err(error) => serde_json::json!({ "error": error.to_string() }),
        };
        println!("{answer}");
    }
    Ok(())
}
