//! A state file and the model it belongs to.

use std::path::Path;

use anyhow::Result;
use spring_core::{
    Access, SqliteStore, check_base,
    spring_memory::{InteractionId, UserId},
    spring_store::Error,
};
use spring_model::AnyModel;

use crate::{args::Args, embedded};

/// Opens a state.
pub fn open(path: &Path, access: Access) -> Result<SqliteStore> {
    Ok(SqliteStore::open(path, access)?)
}

/// Loads the model of a state and checks that it still is the same.
pub fn model_of(store: &SqliteStore, args: &Args) -> Result<AnyModel> {
    let settings = store.settings();
    let model = embedded::load_model(&settings.model, args)?;
    check_base(&model, store)?;
    Ok(model)
}

/// A user id from the command line; text that cannot be an id is an unknown user.
pub fn user_id(name: &str, path: &Path) -> Result<UserId> {
    UserId::try_from(name.to_owned()).map_err(|_| {
        let (user, state) = (name.escape_debug().to_string(), path.display().to_string());
        Error::UnknownUser { user, state }.into()
    })
}

/// An interaction's id from the command line; text that cannot be an id is unknown.
pub fn interaction_id(id: &str, user: &UserId) -> Result<InteractionId> {
    InteractionId::new(id).map_err(|error| anyhow::anyhow!("user {user}: {error}"))
}
