//! The arguments of `spring prior`.

use clap::{Args as ClapArgs, Subcommand};

use super::{AuditArg, StateArg};

#[derive(Debug, Subcommand)]
pub enum PriorCommand {
    /// Learn a prior from several users' texts, and let everybody new start from it.
    ///
    /// It learns from texts that `spring adapt` has put into periods and not held out: the latest
    /// of each user. Without --users, --consenting and --all it is learned from the users of the
    /// prior in use, without whatever was forgotten since, and where there is none from those who
    /// agree.
    #[command(after_help = "Examples:\n  \
        spring prior train --state team.db --consenting\n  \
        spring prior train --state team.db --users ada,bob --texts 50\n  \
        spring prior train --state team.db                  (again, without what was forgotten)\n\n\
        To name a user of a state file is to say that the user agrees, and is put on record.\n\
        `spring consent --contribute` shows and changes it.")]
    Train(PriorTrainArgs),
    /// Show the priors: what they were learned from, and who started from them.
    #[command(after_help = "Example:\n  spring prior show --state team.db")]
    Show(PriorShowArgs),
    /// Move users onto the prior in use, or onto the base where there is none: what they have
    /// learned is learned again from there.
    #[command(after_help = "Examples:\n  spring prior apply --state team.db --user ada\n  \
        spring prior apply --state team.db --all\n\n\
        Generations keep their numbers, periods and settings.")]
    Apply(PriorApplyArgs),
    /// Take the prior out of use: everybody new starts from the base alone.
    #[command(after_help = "Example:\n  spring prior drop --state team.db\n\n\
        What was learned from it stays, and it with that; `spring prior apply --all` moves those\n\
        users, and it is removed.")]
    Drop(PriorDropArgs),
}

#[derive(Debug, ClapArgs)]
pub struct PriorTrainArgs {
    #[command(flatten)]
    pub state: StateArg,
    #[command(flatten)]
    pub whom: PriorWhom,
    /// Users who are left out, separated by commas; may be repeated.
    #[arg(long, value_name = "USERS", value_delimiter = ',')]
    pub exclude: Vec<String>,
    /// The most texts of each user, the latest.
    #[arg(
        long,
        default_value_t = 100,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub texts: u32,
    #[command(flatten)]
    pub audit: AuditArg,
}

#[derive(Debug, ClapArgs)]
#[group(multiple = false)]
pub struct PriorWhom {
    /// These users, separated by commas; may be repeated.
    #[arg(long, value_name = "USERS", value_delimiter = ',')]
    pub users: Vec<String>,
    /// All who agree.
    #[arg(long)]
    pub consenting: bool,
    /// All but those who have said no.
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, ClapArgs)]
pub struct PriorShowArgs {
    #[command(flatten)]
    pub state: StateArg,
}

#[derive(Debug, ClapArgs)]
pub struct PriorApplyArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// The user; may be left out where the state has but one.
    #[arg(long, conflicts_with = "all")]
    pub user: Option<String>,
    /// All users.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub audit: AuditArg,
}

#[derive(Debug, ClapArgs)]
pub struct PriorDropArgs {
    #[command(flatten)]
    pub state: StateArg,
    #[command(flatten)]
    pub audit: AuditArg,
}
