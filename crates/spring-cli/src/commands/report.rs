//! `spring report`: a page about one person.

use std::{collections::HashMap, path::Path};

use anyhow::{Result, ensure};
use spring_core::{
    Access, Tokenize, UserModel,
    record::{AnswerRecord, PeriodRecord},
};
use spring_eval::evaluate_state;
use spring_model::AnyModel;
use spring_report::{UserReport, html};

use super::explain;
use crate::{
    args::{Args, ReportArgs},
    embedded, files, interrupt, output,
    progress::Bars,
    session,
};

pub fn run(args: &Args, command: &ReportArgs) -> Result<()> {
    files::plain(&command.out)?;
    let path = &command.state.state;
    let store = session::open(path, Access::ReadOnly)?;
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    let learned = store.period_records(&user, None)?;
    ensure!(!learned.is_empty(), explain::nothing_learned(&store.generations(&user)?));
    let mut texts = HashMap::new();
    for period in &learned {
        for member in store.members(&user, period.record.period)? {
            texts.insert(member.stored.seq, member.stored);
        }
    }
    let mut bars = Bars::new(args.quiet);
    bars.say("loading the model");
    let model = session::model_of(&store, args)?;
    bars.say("scoring the held-out texts");
    let losses = match evaluate_state(&model, &store, &user) {
        Err(spring_eval::Error::Core(error)) => interrupt::or_interrupted(Err(error))?,
        other => other?,
    };
    let person = UserModel::recall(&model, &store, &user, None)?;
    let mut config = person.config().clone();
    if config.decoding.max_new_tokens.is_none() {
        config.decoding.max_new_tokens = session::own_length(&store, &user, &model)?;
    }
    let person = person.with_config(config);
    let prompt = match &command.prompt {
        Some(prompt) => Some(prompt.clone()),
        None => session::latest_prompt(&store, &user)?,
    };
    let answer = match &prompt {
        Some(prompt) => Some(interrupt::or_interrupted(person.generate(prompt, &mut bars))?),
        None => None,
    };
    bars.finish();
    let tokens = tokens_of(&model, answer.as_ref())?;
    let periods: Vec<PeriodRecord> = learned.into_iter().map(|learned| learned.record).collect();
    let model = model_in_words(&store.settings().model);
    let memories = person.memories();
    let report = UserReport::new(&user, &model, &texts)
        .with_periods(&periods, &losses)
        .with_buffer(&memories.buffer, &memories.calibration.sample)
        .with_answer(answer.as_ref(), &tokens);
    let page = html(&report)?;
    files::write_whole(&command.out, page.as_bytes())?;
    match args.quiet {
        true => Ok(()),
        false => output::line(&command.out.display().to_string()),
    }
}

/// The texts of the answer's tokens, one for each entry of its trace.
fn tokens_of(model: &AnyModel, answer: Option<&AnswerRecord>) -> Result<Vec<String>> {
    let trace = answer.into_iter().flat_map(|answer| &answer.trace);
    Ok(trace.map(|token| model.decode_text(&[token.token])).collect::<Result<_, _>>()?)
}

fn model_in_words(model: &str) -> String {
    match model {
        embedded::NAME => "the built-in model of 5 million parameters".into(),
        hub if hub.starts_with("hub:") => hub.to_owned(),
        // Whoever reads the page need not know where on the machine it lies.
        path => {
            Path::new(path).file_name().map_or(path, |name| name.to_str().unwrap_or(path)).into()
        }
    }
}
