//! `spring export` and `spring import`

use std::{fs, path::Path};

use anyhow::{Result, anyhow, ensure};
use serde_json::json;
use spring_core::{Access, reading, spring_memory::UserId};
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
    let folder = &command.path;
    if folder.is_file() || folder.join("adapter_config.json").is_file() {
        return import_adapter(args, command);
    }
    ensure!(folder.is_dir(), "{}: no such folder; `spring export` makes one", folder.display());
    ensure!(
        command.user.is_none(),
        "{}: an exported folder names its user itself; leave --user out, or name an adapter's \
         GGUF file or PEFT folder",
        folder.display()
    );
    let path = &command.state.state;
    let store = session::open(path, Access::ReadWrite)?;
    let model = session::model_of(&store, args)?;
    let mut bars = Bars::new(args.quiet);
    bars.say("reading");
    let fits = |adapter: &Adapter| adapter.check(model.config(), model.fingerprint());
    let log = command.audit.audit.as_deref();
    let imported = acted(log, "user.import", None, |event| {
        let imported = store.import(folder, &fits, &mut reading(&mut bars));
        let imported = interrupt::or_interrupted(imported)?;
        event.user = Some(imported.user.to_string());
        Ok(imported)
    })?;
    bars.finish();
    if !imported.has_checksums {
        output::say(&format!(
            "spring: warning: {} was exported by an older version, without checksums: what was cut \
             short at the end of a line is not noticed; exporting anew adds them",
            folder.display()
        ));
    }
    if imported.settings_differ {
        output::say(&format!(
            "spring: warning: this state's settings differ from those of {} and stay; `spring \
             adapt --config` changes them",
            folder.join("settings.toml").display()
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

/// Begins a user with an adapter that another program has trained.
fn import_adapter(args: &Args, command: &ImportArgs) -> Result<()> {
    let label = command.path.display().to_string();
    let Some(name) = &command.user else {
        return Err(anyhow!("{label}: whose adapter is it? --user names the user, who may be new"));
    };
    let user = UserId::try_from(name.clone()).map_err(|error| anyhow!("--user: {error}"))?;
    let store = session::open(&command.state.state, Access::ReadWrite)?;
    let model = session::model_of(&store, args)?;
    let adapter = embedded::adapter(&command.path, &model, &store.settings().model)?;
    let fits = |adapter: &Adapter| adapter.check(model.config(), model.fingerprint());
    let log = command.audit.audit.as_deref();
    let version = acted(log, "user.import", Some(user.as_str()), |_| {
        Ok(store.adopt(&user, adapter, &label, model.config().num_layers, &fits)?)
    })?;
    if args.json {
        return output::json(&json!({"imported": {
            "user": user, "generation": version.generation(), "adapter": label
        }}));
    }
    output::line(&format!(
        "user {user} begins with the adapter of {label}, generation {}; `spring adapt` goes on \
         from it",
        version.generation()
    ))
}
