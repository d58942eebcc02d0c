//! Requests of the wire as requests of the engine.

use std::hash::{BuildHasher, Hasher, RandomState};

use spring_core::{prompt::Turn, spring_memory::UserId};
use spring_engine::{Changes, Input, Request};
use spring_serve::{
    ChatTurn, CompletionRequest, Prompt, Role, Sampling, ServiceError, ServiceResult,
};

/// Between what one side says in several messages one after the other.
const BETWEEN: &str = "\n\n";

/// The engine's request. `temperature` is that of the settings.
pub fn request(
    asked: &CompletionRequest,
    user: Option<UserId>,
    temperature: f32,
) -> ServiceResult<Request> {
    let input = match &asked.prompt {
        Prompt::Chat(turns) => chat(turns)?,
        Prompt::Text(text) => Input::Text(text.clone()),
        Prompt::Tokens(ids) => Input::Tokens(ids.clone()),
    };
    let mut changes = changes(&asked.sampling);
    changes.max_tokens = asked.max_tokens.map(|most| most as usize);
    changes.stop = (!asked.stop.is_empty()).then(|| asked.stop.clone());
    if changes.seed.is_none() && changes.temperature.unwrap_or(temperature) > 0.0 {
        // Who names no seed wants another text each time.
        changes.seed = Some(RandomState::new().build_hasher().finish());
    }
    let likely = asked.logprobs.or(asked.trace.then_some(0)).map(|top| top as usize);
    let mut request = Request::new(input)
        .by(asked.key.clone())
        .with_choices(asked.n as usize)
        .with_changes(changes)
        .with_likely(likely);
    request.user = user;
    Ok(request)
}

fn changes(sampling: &Sampling) -> Changes {
    let single = |value: Option<f64>| value.map(|value| value as f32);
    Changes::default()
        .with_temperature(single(sampling.temperature))
        .with_top_p(single(sampling.top_p))
        .with_top_k(sampling.top_k.map(|k| k as usize))
        .with_min_p(single(sampling.min_p))
        // Any 64 bits are a seed.
        .with_seed(sampling.seed.map(|seed| seed as u64))
        .with_frequency(single(sampling.frequency_penalty))
        .with_presence(single(sampling.presence_penalty))
        .with_repetition(single(sampling.repetition_penalty))
}

/// A conversation: instructions, pairs of what was said and answered, and the prompt.
pub fn chat(messages: &[ChatTurn]) -> ServiceResult<Input> {
    let (mut system, mut turns) = (String::new(), Vec::new());
    // What the person has said since the last answer.
    let mut said: Option<String> = None;
    for ChatTurn { role, text } in messages {
        match role {
            Role::System => add(&mut system, text),
            Role::User => match &mut said {
                Some(said) => add(said, text),
                None => said = Some(text.clone()),
            },
            Role::Assistant => match (said.take(), turns.last_mut()) {
                (None, Some(Turn { response, .. })) => add(response, text),
                (said, _) => {
                    turns.push(Turn { prompt: said.unwrap_or_default(), response: text.clone() })
                }
            },
        }
    }
    let Some(prompt) = said else {
        let message = "the last message must be the user's: there is nothing to answer";
        return Err(ServiceError::invalid("messages", message));
    };
    let system = (!system.is_empty()).then_some(system);
    Ok(Input::Chat { system, turns, prompt })
}

fn add(to: &mut String, text: &str) {
    if !to.is_empty() {
        to.push_str(BETWEEN);
    }
    to.push_str(text);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn messages(of: &[(Role, &str)]) -> Vec<ChatTurn> {
        of.iter().map(|(role, text)| ChatTurn { role: *role, text: (*text).into() }).collect()
    }

    #[test]
    fn a_conversation_becomes_instructions_pairs_and_a_prompt() {
        use Role::{Assistant, System, User};
        let turn = |prompt: &str, response: &str| Turn {
            prompt: prompt.into(),
            response: response.into(),
        };
        let all = messages(&[
            (System, "Be short."),
            (Assistant, "Hello!"),
            (User, "a"),
            (User, "b"),
            (Assistant, "c"),
            (Assistant, "d"),
            (System, "Be kind."),
            (User, "e"),
        ]);
        let expected = Input::Chat {
            system: Some("Be short.\n\nBe kind.".into()),
            turns: vec![turn("", "Hello!"), turn("a\n\nb", "c\n\nd")],
            prompt: "e".into(),
        };
        assert_eq!(chat(&all).unwrap(), expected);
        for unanswerable in [&all[..2], &all[..1], &all[..6]] {
            assert!(matches!(chat(unanswerable), Err(ServiceError::Invalid { .. })));
        }
    }
}
