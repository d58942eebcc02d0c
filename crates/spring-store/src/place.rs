//! Where a state is: a file, or an address of a database.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use crate::{Access, Error, Result, Settings, Store};

/// Where a state is: a file of its own, or `postgres://…`, an address of a PostgreSQL database. It
/// is shown without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct StatePlace(Place);

#[derive(Clone, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    /// With its password, perhaps not one that can be read.
    Address(String),
}

impl StatePlace {
    /// The file; `None` where it is not one.
    pub fn file(&self) -> Option<&Path> {
        match &self.0 {
            Place::File(path) => Some(path),
            Place::Address(_) => None,
        }
    }

    /// Opens the state that is there.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] and [`Error::State`]: there is none, it cannot be used, or this program
    /// was built without what keeps it; [`Error::Unreachable`].
    pub fn open(&self, access: Access) -> Result<Box<Store>> {
        match &self.0 {
            #[cfg(feature = "sqlite")]
            Place::File(path) => Ok(Box::new(crate::SqliteStore::open(path, access)?)),
            #[cfg(feature = "postgres")]
            Place::Address(text) => {
                let address = crate::Address::parse(text)?;
                Ok(Box::new(crate::PostgresStore::open(&address, access)?))
            }
            #[allow(unreachable_patterns)]
            _ => Err(self.unknown(access)),
        }
    }

    /// Makes a new state.
    ///
    /// # Errors
    ///
    /// [`Error::State`]: there is one already, or none can be made.
    pub fn create(&self, settings: &Settings) -> Result<Box<Store>> {
        match &self.0 {
            #[cfg(feature = "sqlite")]
            Place::File(path) => Ok(Box::new(crate::SqliteStore::create(path, settings)?)),
            #[cfg(feature = "postgres")]
            Place::Address(text) => {
                let address = crate::Address::parse(text)?;
                Ok(Box::new(crate::PostgresStore::create(&address, settings)?))
            }
            #[allow(unreachable_patterns)]
            _ => Err(self.unknown(settings)),
        }
    }

    /// Whether there is a state, whether or not it can be used.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if that cannot be known: the database cannot be reached.
    pub fn exists(&self) -> Result<bool> {
        match &self.0 {
            Place::File(path) => Ok(path.symlink_metadata().is_ok()),
            #[cfg(feature = "postgres")]
            Place::Address(text) => crate::Postgres::exists(&crate::Address::parse(text)?),
            #[cfg(not(feature = "postgres"))]
            Place::Address(_) => Err(self.unknown(())),
        }
    }

    /// Of what this program was built without.
    fn unknown<T>(&self, _: T) -> Error {
        let feature = match self.0 {
            Place::File(_) => "sqlite",
            Place::Address(_) => "postgres",
        };
        Error::State {
            state: self.to_string(),
            reason: format!("this program was built without the feature {feature}"),
        }
    }
}

impl From<OsString> for StatePlace {
    fn from(text: OsString) -> Self {
        let is_address = |text: &str| {
            let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
            scheme.is_some_and(|scheme| scheme == "postgres" || scheme == "postgresql")
        };
        match text.to_str() {
            Some(address) if is_address(address) => Self(Place::Address(address.to_owned())),
            _ => Self(Place::File(text.into())),
        }
    }
}

impl From<&OsStr> for StatePlace {
    fn from(text: &OsStr) -> Self {
        text.to_owned().into()
    }
}

impl From<&Path> for StatePlace {
    fn from(path: &Path) -> Self {
        path.as_os_str().into()
    }
}

/// Without the password.
impl fmt::Display for StatePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::File(path) => path.display().fmt(f),
            #[cfg(feature = "postgres")]
            Place::Address(text) => f.write_str(&crate::Address::shown(text)),
            #[cfg(not(feature = "postgres"))]
            Place::Address(_) => f.write_str("postgres://…"),
        }
    }
}

/// Without the password.
impl fmt::Debug for StatePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatePlace").field(&self.to_string()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_a_file() {
        for file in ["me.db", "postgres", "./postgres:/x", "postgres:x", "http://x"] {
            let place = StatePlace::from(OsStr::new(file));
            assert_eq!(place.file(), Some(Path::new(file)));
            assert_eq!(place.to_string(), file);
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for text in [
            "postgres://ada:s3cr@db/x",
            "PostgreSQL://ada:s3cr@db/x",
            "postgres://ada:s3cr",
            "postgres://ada:s3cr@db:1:2/x",
            "postgres://db/x?password=s3cr&user=ada",
        ] {
            let place = StatePlace::from(OsStr::new(text));
            assert_eq!(place.file(), None);
            assert!(!format!("{place} {place:?}").contains("s3cr"), "{place}");
            #[cfg(feature = "postgres")]
            if let Err(error) = place.open(Access::ReadOnly) {
                assert!(!error.to_string().contains("s3cr"), "{error}");
            }
        }
    }
}
