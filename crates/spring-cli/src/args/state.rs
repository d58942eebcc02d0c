//! Which state, and the settings that count for one command.

use std::path::PathBuf;

use anyhow::Context;
use clap::{
    Args as ClapArgs,
    builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser},
};
use spring_core::{Config, Preset, StatePlace};

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

/// Settings by their name.
pub(super) fn preset() -> impl TypedValueParser<Value = Preset> {
    PossibleValuesParser::new(Preset::ALL.map(Preset::name)).try_map(|name| name.parse::<Preset>())
}

#[derive(Debug, ClapArgs)]
pub struct ConfigArgs {
    /// Settings in TOML; what is absent has its default.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Settings by name. paper: those of the paper, whatever the defaults are, with its learning
    /// rate for a base of 4 billion weights.
    #[arg(long, value_name = "NAME", value_parser = preset(), conflicts_with = "config")]
    pub preset: Option<Preset>,
    /// One setting, such as training.epochs=3 or gate=always; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Whether the file, the preset or a single setting has a value for this key of the method.
    pub fn names(&self, table: &str, key: &str) -> anyhow::Result<bool> {
        let name = format!("{table}.{key}");
        let set = self.set.iter().any(|change| {
            change.split_once('=').is_some_and(|(changed, _)| changed.trim() == name)
        });
        let set = set || self.preset.is_some();
        let Some(path) = self.config.as_ref().filter(|_| !set) else { return Ok(set) };
        // Whatever is wrong with the file is said where it is read as settings.
        Config::load(path)?;
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let file: toml::Table = text.parse().with_context(|| path.display().to_string())?;
        let mut parts = name.split('.');
        let first = parts.next().and_then(|part| file.get(part));
        Ok(parts.try_fold(first, |value, part| Some(value?.get(part))).flatten().is_some())
    }

    /// The settings of the file, those of the preset over `base`, or `base` without either, with
    /// the single ones changed.
    pub fn over(&self, base: &Config) -> anyhow::Result<Config> {
        let config = match (&self.config, self.preset) {
            (Some(path), _) => {
                crate::files::plain(path)?;
                Config::load(path)?
            }
            (None, Some(preset)) => preset.over(base)?,
            (None, None) => base.clone(),
        };
        Ok(config.with_changes(&self.set)?)
    }
}
