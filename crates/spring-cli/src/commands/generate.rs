//! `spring generate`

use std::{
    io::{self, IsTerminal, Write},
    ops::ControlFlow,
};

use anyhow::{Result, ensure};
use serde_json::json;
use spring_core::{Access, Config, Event, Progress, UserModel};

use super::explain;
use crate::{
    args::{Args, GenerateArgs},
    files,
    interrupt::{self, Interrupted},
    output::{self, Unprinted},
    progress::Bars,
    session,
};

/// Tokens of an explained answer that are shown one by one.
const TOKENS: usize = 40;

pub fn run(args: &Args, command: &GenerateArgs) -> Result<()> {
    let path = &command.state.state;
    let prompt = command.text.as_deref().or(command.prompt.as_deref());
    let prompt = files::given(prompt, command.prompt_file.as_deref())?;
    // A state that cannot be written still answers; only the record of it is missing.
    let (store, writable) = match session::open(path, Access::ReadWrite) {
        Ok(store) => (store, true),
        Err(_) => (session::open(path, Access::ReadOnly)?, false),
    };
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    explain::warn_of_base(&store, &user)?;
    let mut config = for_this_call(&store.settings().config, &command.set)?;
    config.decoding.max_new_tokens = command.max_new_tokens.or(config.decoding.max_new_tokens);
    if !command.stop.is_empty() {
        config.decoding.stop.clone_from(&command.stop);
    }
    config.decoding.sampler.temperature =
        command.temperature.unwrap_or(config.decoding.sampler.temperature);
    config.decoding.sampler.seed = command.seed.unwrap_or(config.decoding.sampler.seed);

    let model = session::model_of(&store, args)?;
    if config.decoding.max_new_tokens.is_none() {
        config.decoding.max_new_tokens = session::own_length(&store, &user, &model)?;
    }
    let snapshot = store.recall(&user, None)?;
    let version = snapshot.version.clone();
    let person = UserModel::of_snapshot(&model, store.settings(), snapshot)?.with_config(config);
    let streams = !args.json && (command.stream || io::stdout().is_terminal());
    let mut printer = Printer::new(Bars::new(args.quiet), streams);
    let answer = person.generate(&prompt, &mut printer).map_err(|e| e.of_user(&user))?;
    printer.finish(&answer.text)?;

    if !writable {
        output::say(&format!(
            "spring: warning: {path} cannot be written, so this answer is not on record"
        ));
    } else if let Err(error) = store.record_answer(&version, &answer) {
        output::say(&format!("spring: warning: this answer is not on record: {error}"));
    }
    for cut in &answer.cuts {
        output::say(&format!("spring: warning: {cut}"));
    }
    if args.json {
        output::json(&json!({"user": user, "answer": answer}))?;
    } else {
        if !streams {
            output::line(&output::printable(&answer.text))?;
        }
        if command.explain {
            output::line("")?;
            explain::answer(
                &answer,
                &explain::by_seq(person.bank().texts().to_vec()),
                explain::Shown { rows: TOKENS, terms: true },
            )?;
        }
    }
    match answer.ended {
        spring_core::record::Ending::Stopped => Err(Interrupted.into()),
        _ => Ok(()),
    }
}

/// Follows an answer with bars, or prints it as it is written.
pub(super) struct Printer {
    bars: Bars,
    streams: bool,
    /// Bytes of the answer that are printed.
    printed: usize,
    failure: Option<io::Error>,
}

impl Printer {
    pub(super) fn new(bars: Bars, streams: bool) -> Self {
        Self { bars, streams, printed: 0, failure: None }
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(output::printable(text).as_bytes())?;
        self.printed += text.len();
        stdout.flush()
    }

    /// Prints what is left of the answer.
    pub(super) fn finish(&mut self, answer: &str) -> Result<()> {
        self.bars.finish();
        match self.failure.take() {
            Some(failure) => Err(Unprinted(failure).into()),
            None if self.streams => {
                self.print(answer.get(self.printed..).unwrap_or_default()).map_err(Unprinted)?;
                output::line("")
            }
            None => Ok(()),
        }
    }
}

impl Progress for Printer {
    fn on(&mut self, event: Event<'_>) -> ControlFlow<()> {
        let (true, Event::Token { text, .. }) = (self.streams, event) else {
            return self.bars.on(event);
        };
        // They are drawn on the same screen.
        self.bars.finish();
        if let Err(error) = self.print(text) {
            self.failure = Some(error);
            return ControlFlow::Break(());
        }
        match interrupt::requested() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// The state's settings with some changed for one answer; refuses those that an answer does not
/// depend on, or that what was learned was made with.
fn for_this_call(stored: &Config, changes: &[String]) -> Result<Config> {
    let mut config = stored.clone();
    for change in changes {
        let changed = config.with_changes(&[change])?;
        let Config { gate, fusion, decoding, .. } = changed.clone();
        ensure!(
            changed == config.clone().with_gate(gate).with_fusion(fusion).with_decoding(decoding),
            "--set {change}: one answer can have its own gate, fusion and decoding; the other \
             settings are the state's, and \
             `spring adapt --set` changes them"
        );
        config = changed;
    }
    Ok(config)
}
