//! `spring init`

use anyhow::{Context, Result};
use serde_json::json;
use spring_core::{Config, Settings};
use spring_model::TrainConfig;

use crate::{
    args::{Args, InitArgs},
    embedded, output,
};

pub fn run(args: &Args, command: &InitArgs) -> Result<()> {
    let mut config = command.settings.over(&Config::default())?;
    // Loaded whole, so that a state is never made for a model that does not run.
    let files = embedded::model_files(&command.model)?;
    let model = embedded::learner_of(&files, &command.model, args)?;
    let parameters = model.config().parameters();
    let chosen = !command.settings.names("training", "learning_rate")?;
    if chosen {
        config.training.learning_rate = TrainConfig::rate_for(parameters);
    }
    let named = command.settings.names("decoding.penalties", "repetition")?
        || command.settings.names("decoding", "penalties")?;
    let penalty = files.repetition_penalty().filter(|_| !named);
    if let Some(penalty) = penalty {
        config.decoding.penalties.repetition = penalty;
    }
    let rate = config.training.learning_rate;
    let name = match command.model.as_str() {
        name if name == embedded::NAME || name.starts_with(embedded::HUB) => name.to_owned(),
        folder => std::fs::canonicalize(folder)
            .with_context(|| folder.to_owned())?
            .into_os_string()
            .into_string()
            .map_err(|path| anyhow::anyhow!("{}: the path is not UTF-8", path.display()))?,
    };
    let settings = Settings::new(name, model.fingerprint(), config);
    command.state.state.create(&settings)?;
    let path = command.state.state.to_string();
    if args.json {
        return output::json(&json!({
            "state": path, "model": settings.model, "fingerprint": settings.fingerprint,
            "learning_rate": rate,
            "repetition_penalty": settings.config.decoding.penalties.repetition
        }));
    }
    output::line(&format!("created {path} for the model {}", settings.model))?;
    if let Some(penalty) = penalty {
        output::line(&format!("repetition penalty {penalty}, as the model's own files ask for"))?;
    }
    match chosen {
        true => output::line(&format!(
            "learning rate {rate:.1e}, chosen for a base of {} million weights; --set \
             training.learning_rate=… takes another",
            parameters.div_ceil(1_000_000)
        )),
        false => Ok(()),
    }
}
