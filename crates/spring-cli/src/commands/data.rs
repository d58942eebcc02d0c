//! `spring data`

use anyhow::Result;
use spring_data::{
    self as data, DataFile, Inspection,
    synth::{SynthConfig, synthesize},
};

use crate::{
    args::{Args, ConvertArgs, InspectArgs, SynthArgs},
    files, output,
};

pub fn inspect(args: &Args, command: &InspectArgs) -> Result<()> {
    files::plain(&command.file)?;
    let found = data::inspect(DataFile::new(&command.file).with_task(command.task))?;
    if args.json {
        return output::json(&found);
    }
    let Inspection { records, users, texts, queries, answered, blank, .. } = found;
    let time = match (found.first, found.last) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "no dates; the order of a profile is the time".into(),
    };
    let words = found.words_per_text.map_or("–".into(), |words| format!("{words:.1}"));
    let [least, median, most] = found.texts_per_user;
    let mut table = output::table(&["", ""], &[1]);
    for (name, value) in [
        ("format", found.format),
        ("records", records.to_string()),
        ("users", users.to_string()),
        ("with at least 20 texts", found.users_with_20_texts.to_string()),
        ("texts", texts.to_string()),
        ("texts a user (least, median, most)", format!("{least}, {median}, {most}")),
        ("blank texts left out", blank.to_string()),
        (
            "odd entries left out",
            found.first_odd.map_or("0".into(), |first| format!("{} ({first})", found.odd)),
        ),
        ("questions (answered in the file)", format!("{queries} ({answered})")),
        ("words", found.words.to_string()),
        ("words a text", words),
        ("time", time),
    ] {
        table.add_row([name.to_owned(), value]);
    }
    output::line(&table.to_string())
}

pub fn convert(command: &ConvertArgs) -> Result<()> {
    files::plain(&command.file)?;
    command.outputs.iter().try_for_each(|path| files::plain(path))?;
    let file = DataFile::new(&command.file).with_task(command.task);
    let left_out = data::visit_texts(file, command.outputs.as_deref(), |text| output::json(&text))?;
    if left_out.blank > 0 {
        output::say(&format!(
            "spring: {}: {} blank texts are left out",
            command.file.display(),
            left_out.blank
        ));
    }
    if let Some(first) = left_out.first_odd {
        let (file, odd) = (command.file.display(), left_out.odd);
        output::say(&format!("spring: {file}: {odd} odd entries are left out; the first: {first}"));
    }
    Ok(())
}

pub fn synth(command: &SynthArgs) -> Result<()> {
    let SynthArgs { users, texts, noise, seed, .. } = *command;
    let config = SynthConfig::default()
        .with_users(users)
        .with_texts(texts)
        .with_drifts(command.drift.clone())
        .with_noise(noise)
        .with_seed(seed);
    synthesize(&config)?.iter().try_for_each(output::json)
}
