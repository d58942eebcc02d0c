//! Texts that come in.

use jiff::Timestamp;
use spring_core::spring_memory::{Interaction, InteractionId, UserId};
use spring_numerics::digest::Digest;
use spring_serve::{NewInteraction, ServiceError, ServiceResult};

/// A text as the state takes it.
pub fn interaction_of(user: &UserId, new: NewInteraction) -> ServiceResult<Interaction> {
    let NewInteraction { id, time, prompt, response, meta } = new;
    if response.trim().is_empty() {
        return Err(ServiceError::invalid("response", "the response is empty"));
    }
    let time = match time {
        None => Timestamp::now(),
        Some(time) => time.parse::<Timestamp>().map_err(|error| {
            ServiceError::invalid("time", format!("{time:?} is not an RFC 3339 time: {error}"))
        })?,
    };
    let id = id.unwrap_or_else(|| content_id(&prompt, &response));
    let id =
        InteractionId::new(&*id).map_err(|error| ServiceError::invalid("id", error.to_string()))?;
    let mut interaction = Interaction::new(user.clone(), id, time, prompt, response);
    interaction.meta = meta;
    Ok(interaction)
}

/// The id of a text that was given none: equal for equal texts, so that the same again is known.
fn content_id(prompt: &str, response: &str) -> String {
    let mut digest = Digest::new();
    // The length tells where the prompt ends.
    digest.update((prompt.len() as u64).to_le_bytes());
    digest.update(prompt.as_bytes());
    digest.update(response.as_bytes());
    format!("text-{:.32}", digest.hex())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_an_id_gets_that_of_its_content() {
        let new = |prompt: &str, response: &str| {
            let text = NewInteraction {
                id: None,
                time: None,
                prompt: prompt.into(),
                response: response.into(),
                meta: None,
            };
            interaction_of(&UserId::new("ada").unwrap(), text).map(|text| text.id.to_string())
        };
        assert_eq!(new("a", "b").unwrap(), new("a", "b").unwrap());
        assert_ne!(new("a", "bc").unwrap(), new("ab", "c").unwrap());
        assert!(matches!(new("a", " "), Err(ServiceError::Invalid { .. })));
    }
}
