//! A state and the model it belongs to.

use anyhow::{Result, bail};
use spring_core::{
    Access, StatePlace, Store, Tokenize, check_base,
    prompt::most_new_tokens,
    spring_memory::{InteractionId, UserId},
    spring_store::Error,
};
use spring_model::AnyModel;

use crate::{args::Args, embedded, files, output::excerpt};

/// Opens a state.
pub fn open(place: &StatePlace, access: Access) -> Result<Box<Store>> {
    place.file().map_or(Ok(()), files::plain)?;
    Ok(place.open(access)?)
}

/// Loads the model of a state and checks that it still is the same.
pub fn model_of(store: &Store, args: &Args) -> Result<AnyModel> {
    let settings = store.settings();
    let model = embedded::load_model(&settings.model, args)?;
    check_base(&model, store)?;
    Ok(model)
}

/// A user id from the command line; text that cannot be an id is an unknown user.
pub fn user_id(name: &str, place: &StatePlace) -> Result<UserId> {
    UserId::try_from(name.to_owned()).map_err(|_| {
        let (user, state) = (name.escape_debug().to_string(), place.to_string());
        Error::UnknownUser { user, state }.into()
    })
}

/// The user that a command is about: the one that it names, or the only one of the state.
pub fn user_of(store: &Store, name: Option<&str>, place: &StatePlace) -> Result<UserId> {
    if let Some(name) = name {
        return user_id(name, place);
    }
    let mut users = store.users(None, LISTED + 1)?;
    let state = place;
    match users.len() {
        0 => bail!("{state}: nobody is known yet; `spring ingest` adds texts"),
        1 => Ok(users.swap_remove(0).user),
        several => {
            let names: Vec<String> =
                users.iter().take(LISTED).map(|user| excerpt(user.user.as_str(), 40)).collect();
            let more = if several > LISTED { ", …" } else { "" };
            bail!(
                "{state}: who is it? --user names one of the state's users: {}{more}",
                names.join(", ")
            )
        }
    }
}

/// The most new tokens of a person's answers where neither settings nor command line say it: by the
/// length of their own texts, as the last period in use has them.
pub fn own_length(store: &Store, user: &UserId, model: &AnyModel) -> Result<Option<usize>> {
    let generation = store.user(user)?.generation;
    if generation == 0 {
        return Ok(None);
    }
    let length = spring_core::own_length(&store.record(user, generation)?.record);
    Ok(length.map(|length| length.min(most_new_tokens(model.info().context))))
}

/// The prompt of a person's latest text, to be asked again or to show how to ask; `None` where
/// nothing is learned or it says nothing.
pub fn latest_prompt(store: &Store, user: &UserId) -> Result<Option<String>> {
    let generation = store.user(user)?.generation;
    if generation == 0 {
        return Ok(None);
    }
    let period = store.record(user, generation)?.record.period;
    let texts = store.members(user, period)?.into_iter().map(|member| member.stored);
    let latest = texts.max_by_key(|text| (text.interaction.time, text.seq));
    Ok(latest.map(|text| text.interaction.prompt).filter(|prompt| !prompt.trim().is_empty()))
}

/// As many users are named where one must be chosen.
const LISTED: usize = 8;

/// An interaction's id from the command line; text that cannot be an id is unknown.
pub fn interaction_id(id: &str, user: &UserId) -> Result<InteractionId> {
    InteractionId::new(id).map_err(|error| anyhow::anyhow!("user {user}: {error}"))
}
