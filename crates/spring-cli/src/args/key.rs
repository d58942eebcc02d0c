//! The arguments of `spring key`.

use clap::{Args as ClapArgs, Subcommand};

use super::{AuditArg, StateArg};

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and print it once: the state keeps its hash alone.
    #[command(after_help = "Examples:\n  spring key add --state team.db --user ada\n  \
        spring key add --state team.db --gateway --label \"Open WebUI\"\n  \
        spring key add --state team.db --admin --requests-per-minute 600\n\n\
        From the first key on, a server asks everybody for one.")]
    Add(KeyAddArgs),
    /// List the keys, the revoked ones too.
    #[command(after_help = "Example:\n  spring key list --state team.db")]
    List(KeyListArgs),
    /// Revoke a key; a server that runs hears of it within a second.
    #[command(after_help = "Example:\n  spring key revoke --state team.db key-0123456789ab")]
    Revoke(KeyRevokeArgs),
}

#[derive(Debug, ClapArgs)]
pub struct KeyAddArgs {
    #[command(flatten)]
    pub state: StateArg,
    #[command(flatten)]
    pub whose: KeyWhose,
    /// What you know it by.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub label: String,
    /// Requests that it may make in a minute, 0 for any number; by default as the server says.
    #[arg(long, value_name = "N")]
    pub requests_per_minute: Option<u32>,
    /// Requests that it may have open at once, 0 for any number; by default as the server says.
    #[arg(long, value_name = "N")]
    pub requests_at_once: Option<u32>,
    #[command(flatten)]
    pub audit: AuditArg,
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub struct KeyWhose {
    /// Of this user, and of no other; the user is added if there is none of this name.
    #[arg(long)]
    pub user: Option<String>,
    /// Of a program that speaks for many, and names the user of each request.
    #[arg(long)]
    pub gateway: bool,
    /// Of an administrator, who may do everything.
    #[arg(long)]
    pub admin: bool,
}

#[derive(Debug, ClapArgs)]
pub struct KeyListArgs {
    #[command(flatten)]
    pub state: StateArg,
}

#[derive(Debug, ClapArgs)]
pub struct KeyRevokeArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// Its id, as `spring key list` shows it.
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    pub audit: AuditArg,
}
