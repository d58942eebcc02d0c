//! A program as a method: texts to learn from and prompts in, answers out.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::json;
use spring_core::{Event, Progress, StoredInteraction};

use super::{Protocol, UserInput};
use crate::{GeneratedText, Program, Result, program::Running};

/// A line that a program writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    answer: String,
}

/// What a program answers to a user's prompts, period by period: `asked` gives those of a period,
/// in the order of the texts that come back. It never sees a response of a test part.
pub(super) fn answers<'s>(
    program: &Program,
    protocol: &Protocol,
    input: UserInput<'s>,
    asked: impl Fn(usize) -> Vec<&'s StoredInteraction>,
    progress: &mut dyn Progress,
) -> Result<Vec<GeneratedText>> {
    let user = input.user.as_str();
    let mut running = Running::start(&program.name, Some(user), &program.command, program.timeout)?;
    let goes_on = &mut || progress.on(Event::Waiting);
    running.send(&json!({
        "type": "start", "user": user, "seed": protocol.config.seed,
        "budget": protocol.budget.name(), "periods": input.splits.len(),
        "max_tokens": protocol.generation.tokens,
    }));
    let mut texts = Vec::new();
    for (place, split) in input.splits.iter().enumerate() {
        let (period, asked) = (split.period, asked(place));
        running.restart_clock();
        for text in &split.train {
            let text = &text.interaction;
            running.send(&json!({
                "type": "learn", "user": user, "period": period, "id": text.id, "time": text.time,
                "prompt": text.prompt, "response": text.response,
            }));
        }
        for text in &asked {
            let text = &text.interaction;
            running.send(&json!({
                "type": "prompt", "user": user, "period": period, "id": text.id,
                "prompt": text.prompt,
            }));
        }
        running.send(&json!({
            "type": "end", "user": user, "period": period, "prompts": asked.len(),
        }));
        let mut found: HashMap<&str, Option<String>> =
            asked.iter().map(|text| (text.interaction.id.as_str(), None)).collect();
        for done in 0..asked.len() {
            let expected = format!("{done} of {} answers of period {period} given", asked.len());
            let Some(line) = running.next(&expected, goes_on)? else {
                return Err(running.ended_early(&expected, goes_on));
            };
            let Line { id, answer } = serde_json::from_slice(&line).map_err(|error| {
                let reason = format!("not an answer such as {{\"id\":…,\"answer\":…}}: {error}");
                running.fail(reason)
            })?;
            match found.get_mut(id.as_str()) {
                Some(place @ None) => *place = Some(answer),
                Some(Some(_)) => {
                    return Err(running.fail(format!("a second answer to the prompt {id:?}")));
                }
                None => {
                    let reason = format!("period {period} has no prompt with the id {id:?}");
                    return Err(running.fail(reason));
                }
            }
        }
        texts.extend(asked.iter().filter_map(|text| {
            let answer = found.get_mut(text.interaction.id.as_str())?.take()?;
            Some(GeneratedText::new(answer, text, &input.splits[..=place], []))
        }));
    }
    running.restart_clock();
    running.close();
    if running.next("all answers given but no end", goes_on)?.is_some() {
        return Err(running.fail("a line more than there are prompts".into()));
    }
    running.end(goes_on)?;
    Ok(texts)
}
