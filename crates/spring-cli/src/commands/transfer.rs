//! `spring export` and `spring import`

use std::{fs, path::Path};

use anyhow::Result;
use serde_json::json;
use spring_core::{Access, reading};
use spring_lm::{Adapter, ModelConfig};

use crate::{
    args::{AdapterFormat, Args, ExportArgs, ImportArgs},
    embedded, interrupt, output,
    progress::Bars,
    serve::acted,
    session,
};

pub fn export(args: &Args, command: &ExportArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadOnly)?;
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    let base = match command.adapter_format {
        AdapterFormat::Peft => None,
        AdapterFormat::Gguf => {
            Some(embedded::model_files(&store.settings().model)?.model_config()?)
        }
    };
    let mut bars = Bars::new(args.quiet);
    bars.say("writing");
    let log = command.audit.audit.as_deref();
    let exported = acted(log, "user.export", Some(user.as_str()), |_| {
        interrupt::or_interrupted(store.export(&user, &command.out, &mut reading(&mut bars)))
    })?;
    if let Some(base) = base {
        add_gguf(&command.out.join("adapters"), &base)?;
    }
    bars.finish();
    if args.json {
        return output::json(
            &json!({"folder": command.out.display().to_string(), "exported": exported}),
        );
    }
    output::line(&format!(
        "exported user {user} to {}: {} interactions, {} generations, {} records of generated \
         texts; the folder is private, and is not deleted by `spring forget`",
        command.out.display(),
        exported.interactions,
        exported.generations,
        exported.answers
    ))
}

/// Adds to each PEFT folder a GGUF file of the same name.
fn add_gguf(adapters: &Path, base: &ModelConfig) -> Result<()> {
    // A user who has learned nothing has no adapter.
    if !adapters.is_dir() {
        return Ok(());
    }
    // All of them are listed before anything is added.
    let folders = fs::read_dir(adapters)?.map(|entry| entry.map(|entry| entry.path()));
    for folder in folders.collect::<Result<Vec<_>, _>>()? {
        Adapter::load_peft(&folder)?.save_gguf(folder.with_extension("gguf"), base)?;
    }
    Ok(())
}

pub fn import(args: &Args, command: &ImportArgs) -> Result<()> {
    anyhow::ensure!(
        command.folder.is_dir(),
        "{}: no such folder; `spring export` makes one",
        command.folder.display()
    );
    let path = &command.state.state;
    let store = session::open(path, Access::ReadWrite)?;
    let model = session::model_of(&store, args)?;
    let mut bars = Bars::new(args.quiet);
    bars.say("reading");
    let fits = |adapter: &Adapter| adapter.check(model.config(), model.fingerprint());
    let log = command.audit.audit.as_deref();
    let imported = acted(log, "user.import", None, |event| {
        let imported = store.import(&command.folder, &fits, &mut reading(&mut bars));
        let imported = interrupt::or_interrupted(imported)?;
        event.user = Some(imported.user.to_string());
        Ok(imported)
    })?;
    bars.finish();
    if !imported.has_checksums {
        output::say(&format!(
            "spring: warning: {} was exported by an older version, without checksums: what was cut \
             short at the end of a line is not noticed; exporting anew adds them",
            command.folder.display()
        ));
    }
    if imported.settings_differ {
        output::say(&format!(
            "spring: warning: this state's settings differ from those of {} and stay; `spring \
             adapt --config` changes them",
            command.folder.join("settings.toml").display()
        ));
    }
    if args.json {
        return output::json(&json!({"imported": imported}));
    }
    output::line(&format!(
        "imported user {}: {} interactions, {} generations, {} records of generated texts",
        imported.user, imported.interactions, imported.generations, imported.answers
    ))
}
