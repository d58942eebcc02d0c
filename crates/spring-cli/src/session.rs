//! A state file and the model it belongs to.

use std::path::Path;

use anyhow::Result;
use spring_core::{Access, Error, SqliteStore, StateStore, spring_memory::UserId, spring_model::AnyModel};

use crate::{args::Args, embedded};

/// Opens a state.
pub fn open(path: &Path, access: Access) -> Result<SqliteStore> {
    Ok(SqliteStore::open(path, access)?)
}

/// Loads the model of a state and checks that it still is the same.
pub fn model_of(store: &SqliteStore, path: &Path, args: &Args) -> Result<AnyModel> {
    let settings = store.settings();
    let model = embedded::load_model(&settings.model, args)?;
    if model.fingerprint() != settings.fingerprint {
        let reason = format!(
            "made for another model than the one now in {}: fingerprint {:.12}… instead of {:.12}…; put the old model back",
            settings.model,
            model.fingerprint(),
            settings.fingerprint
        );
        return Err(Error::State { path: path.into(), reason }.into());
    }
    Ok(model)
}

/// A user id from the command line; what cannot be one is unknown.
pub fn user_id(name: &str, path: &Path) -> Result<UserId> {
    UserId::try_from(name.to_owned())
        .map_err(|_| Error::UnknownUser { user: name.escape_debug().to_string(), path: path.into() }.into())
}
