//! Which state, and the settings that count for one command.

use std::path::PathBuf;

use anyhow::Context;
use clap::{
    Args as ClapArgs,
    builder::{OsStringValueParser, TypedValueParser},
};
use spring_core::{Config, StatePlace};

#[derive(Debug, ClapArgs)]
pub struct StateArg {
    /// The state: a file, or postgres://USER@HOST/DATABASE, with the password in PGPASSWORD.
    #[arg(
        long,
        value_name = "FILE|URL",
        env = "SPRING_STATE",
        // It may have a password in it.
        hide_env_values = true,
        value_parser = state_place()
    )]
    pub state: StatePlace,
}

/// How a state is named: no text is refused here, as a refusal would show it with its password.
pub(super) fn state_place() -> impl TypedValueParser<Value = StatePlace> {
    OsStringValueParser::new().map(StatePlace::from)
}

#[derive(Debug, ClapArgs)]
pub struct ConfigArgs {
    /// Settings in TOML; what is absent has the paper's value.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, such as training.epochs=3 or gate=always; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Whether the file or a single setting has a value for this key.
    pub fn names(&self, table: &str, key: &str) -> anyhow::Result<bool> {
        let name = format!("{table}.{key}");
        let set = self.set.iter().any(|change| {
            change.split_once('=').is_some_and(|(changed, _)| changed.trim() == name)
        });
        let Some(path) = self.config.as_ref().filter(|_| !set) else { return Ok(set) };
        // Whatever is wrong with the file is said where it is read as settings.
        Config::load(path)?;
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let file: toml::Table = text.parse().with_context(|| path.display().to_string())?;
        let mut parts = name.split('.');
        let first = parts.next().and_then(|part| file.get(part));
        Ok(parts.try_fold(first, |value, part| Some(value?.get(part))).flatten().is_some())
    }

    /// The settings of the file, or `base` without one, with the single ones changed.
    pub fn over(&self, base: &Config) -> anyhow::Result<Config> {
        match &self.config {
            Some(path) => {
                crate::files::plain(path)?;
                Ok(Config::load(path)?.with_changes(&self.set)?)
            }
            None => Ok(base.with_changes(&self.set)?),
        }
    }
}
