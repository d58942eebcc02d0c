//! What the library's errors leave to the program: which command helps.

use spring_core::{
    Error,
    spring_store::{CopyError, Error as StoreError, TransferError},
};
use spring_serve::ServeError;

/// An error as one line, with the command that helps.
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    match hint(error) {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    }
}

/// Which command helps.
pub fn hint(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let of_store = |error: &StoreError| match error {
        StoreError::Missing { .. } => Some("`spring init` makes one"),
        StoreError::UnknownUser { .. } => Some("`spring users` lists those that are"),
        StoreError::UnknownKey { .. } => Some("`spring key list` lists those that are"),
        StoreError::Withheld { .. } => Some("`spring consent --contribute yes` takes it back"),
        StoreError::DamagedPrior { .. } => Some(
            "`spring prior train --consenting` or `spring prior drop`, then `spring prior apply \
             --all`",
        ),
        StoreError::UnknownInteraction { .. } => Some("`spring search` shows the ids"),
        StoreError::Leased { .. } => Some("`spring unlock` frees the user if that process is gone"),
        StoreError::Pruned { .. } => Some("`spring inspect` lists those that are"),
        StoreError::Transfer(TransferError::Present { .. }) => Some("`spring forget` removes them"),
        StoreError::Copy { source: CopyError::OtherSettings { .. }, .. } => {
            Some("`spring adapt --config` changes them")
        }
        StoreError::Copy { source: CopyError::Differs { .. }, .. } => {
            Some("`spring forget` removes one of them, and `--replace` replaces this one")
        }
        StoreError::Copy { source: CopyError::Changed { .. }, .. } => {
            Some("run this again with `--replace`")
        }
        _ => None,
    };
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return of_store(error);
    }
    if let Some(ServeError::Open(_)) = error.downcast_ref::<ServeError>() {
        return Some("`spring key add` makes a key");
    }
    match error.downcast_ref::<Error>()? {
        Error::Store(error) => of_store(error),
        Error::NoContributors { .. } => {
            Some("`spring consent --contribute yes`, and `spring adapt`")
        }
        Error::NoPopulation => Some(
            "`spring prior train` learns one from users who have learned already, as by `spring \
             adapt --set drift.reference=base`, and `spring prior apply` moves users onto it",
        ),
        Error::User { source, .. } => hint(source.as_ref()),
        _ => None,
    }
}
