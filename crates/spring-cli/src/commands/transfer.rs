//! `spring export` and `spring import`

use anyhow::Result;
use serde_json::json;
use spring_core::{Access, reading};
use spring_lm::Adapter;

use crate::{
    args::{Args, ExportArgs, ImportArgs},
    interrupt, output,
    progress::Bars,
    session,
};

pub fn export(args: &Args, command: &ExportArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadOnly)?;
    let user = session::user_id(&command.user, path)?;
    let mut bars = Bars::new(args.quiet);
    bars.say("writing");
    let exported =
        interrupt::or_interrupted(store.export(&user, &command.out, &mut reading(&mut bars)))?;
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

pub fn import(args: &Args, command: &ImportArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadWrite)?;
    let model = session::model_of(&store, args)?;
    let mut bars = Bars::new(args.quiet);
    bars.say("reading");
    let fits = |adapter: &Adapter| adapter.check(model.config(), model.fingerprint());
    let imported =
        interrupt::or_interrupted(store.import(&command.folder, &fits, &mut reading(&mut bars)))?;
    bars.finish();
    if imported.settings_differ {
        eprintln!(
            "spring: warning: this state's settings differ from those of {} and stay; `spring \
             adapt --config` changes them",
            command.folder.join("settings.toml").display()
        );
    }
    if args.json {
        return output::json(&json!({"imported": imported}));
    }
    output::line(&format!(
        "imported user {}: {} interactions, {} generations, {} records of generated texts",
        imported.user, imported.interactions, imported.generations, imported.answers
    ))
}
