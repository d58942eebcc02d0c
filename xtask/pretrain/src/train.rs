//! The run: reads the texts, makes or reads the tokenizer, trains, logs, checkpoints, and measures
//! the result.

use std::{fs, io::Write as _, path::Path, sync::mpsc, thread, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spring_model::{
    AnyModel, AnyPretrainer, ModelConfig, ModelFiles, Precision, PretrainStart, Score, Sequence,
};

use crate::{
    batches::{Batch, Batches, Before},
    codec::Codec,
    folder,
    progress::Progress,
    readme::readme,
    related::Related,
    report::{self, Report, Valid},
    settings::{Settings, TextSettings},
    show::Show,
    texts::Texts,
};

/// Batches made ahead of the trainer.
const AHEAD: usize = 4;
const RUN: &str = "run.json";

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All steps are done, and `model/` is written.
    Finished,
    /// It was asked to stop, and wrote a checkpoint.
    Stopped,
}

/// What a checkpoint holds beside the trainer's part.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    /// On which the batches and the model depend.
    plan: Value,
    progress: Progress,
}

/// Trains as the settings say; `stop` is asked after every step, with the number of steps done.
///
/// # Errors
///
/// Settings or files that are wrong, a checkpoint of another plan, a loss that diverges.
pub fn run(settings: &Settings, stop: &dyn Fn(usize) -> bool) -> Result<End> {
    let out = settings.out.as_deref().context("--out is missing")?;
    let training = &settings.training;
    let TextSettings { related, copies, .. } = settings.texts;
    ensure!(
        related >= 0.0 && copies >= 0.0 && related + copies <= 1.0,
        "--related and --copies must be at least 0, and at most 1 together"
    );
    ensure!(settings.shape.context >= 2, "--context must be at least 2");
    training.config().check()?;
    let checkpoint = folder::find(&out.join("checkpoint"));
    let checkpoint = match (checkpoint, settings.resume) {
        (Some(dir), true) => Some(dir),
        (None, false) => None,
        (None, true) => bail!("there is no checkpoint in {} to go on from", out.display()),
        (Some(_), false) => {
            bail!(
                "{} holds a run already: --resume goes on with it, another --out begins anew",
                out.display()
            )
        }
    };
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;

    let show = Show::new();
    let texts = show.say("reading texts", || {
        Texts::read(&settings.data, settings.texts.limit, settings.texts.valid, settings.seed)
    })?;
    show.note(&format!(
        "{} texts to train on, {} kept from it, {} repetitions left out",
        texts.train.len(),
        texts.valid.len(),
        texts.repeated
    ));
    let (codec, config) =
        show.say("tokenizer", || model(settings, &texts, checkpoint.as_deref()))?;
    let context = config["max_position_embeddings"].as_u64().unwrap_or(1024) as usize;
    let related = match settings.texts.related > 0.0 {
        true => Some(show.say("indexing texts", || Related::new(&texts.train, settings.seed))?),
        false => None,
    };
    let mut batches = Batches::new(
        &texts.train,
        &codec,
        Before {
            related: related.as_ref(),
            share: settings.texts.related,
            copies: settings.texts.copies,
        },
        context,
        training.batch_tokens,
        settings.seed,
    )?;
    let plan = json!({
        "texts": texts.fingerprint,
        "related": settings.texts.related,
        "copies": settings.texts.copies,
        "batch_tokens": training.batch_tokens,
        "rows": batches.rows(),
        "seed": settings.seed,
        "start": settings.start,
        "model": config,
    });

    let files;
    let config_json = config.to_string();
    let mut progress = Progress::default();
    let start = match (&checkpoint, &settings.start) {
        (Some(dir), _) => {
            let run: Run = serde_json::from_value(folder::read_json(&dir.join(RUN))?)
                .with_context(|| format!("{} is damaged", dir.join(RUN).display()))?;
            same_plan(&run.plan, &plan)?;
            progress = run.progress;
            PretrainStart::Checkpoint(dir)
        }
        (None, Some(dir)) => {
            files = ModelFiles::from_dir(dir)?;
            PretrainStart::Model(&files)
        }
        (None, None) => {
            PretrainStart::Random { config_json: config_json.as_bytes(), seed: settings.seed }
        }
    };
    let mut trainer = AnyModel::pretrain(start, &training.config(), settings.device)?;
    let valid = Valid::new(&texts.valid, &codec, context)?;
    let mut log = Log::open(&out.join("log.csv"), trainer.steps_done())?;
    let save = |trainer: &dyn AnyPretrainer, progress: &Progress| {
        folder::replace(&out.join("checkpoint"), |dir| {
            folder::write_files(dir, &config, "float32", &codec)?;
            let run = Run { plan: plan.clone(), progress: progress.clone() };
            folder::write_json(&dir.join(RUN), &serde_json::to_value(run)?)?;
            Ok(trainer.save_checkpoint(dir)?)
        })
    };

    show.start(training.steps, trainer.steps_done());
    let first = trainer.steps_done();
    let end = thread::scope(|scope| -> Result<End> {
        let (send, receive) = mpsc::sync_channel(AHEAD);
        let batches = &mut batches;
        scope.spawn(move || {
            for step in first..training.steps {
                // The receiver goes when the run ends early.
                if send.send(batches.batch(step)).is_err() {
                    break;
                }
            }
        });
        for batch in receive {
            let Batch { sequences, with_related } = batch?;
            let began = Instant::now();
            trainer.step(&sequences)?;
            let done = trainer.steps_done();
            let last = done == training.steps;
            let due = |interval: u64| last || (done as u64).is_multiple_of(interval);
            let measures = due(training.valid_interval) && !texts.valid.is_empty();
            // Reading the loss waits for a GPU, so the time is right where it is logged.
            let loss = match due(training.log_interval) || measures {
                true => Some(trainer.take_loss()?),
                false => None,
            };
            let tokens: usize = sequences.iter().map(|sequence| sequence.len() - 1).sum();
            progress.seconds += began.elapsed().as_secs_f64();
            progress.tokens += tokens as u64;
            progress.sequences += sequences.len() as u64;
            progress.with_related += with_related as u64;
            if let Some(loss) = loss {
                let mut scorer = |rows: &[Sequence]| trainer.score(rows);
                let held_out = measures.then(|| report::plain(&valid, &mut scorer)).transpose()?;
                log.line(
                    done,
                    &progress,
                    loss,
                    held_out.as_ref(),
                    training.config().rate(done - 1),
                )?;
                show.logged(done, &progress, loss, held_out.as_ref());
            }
            show.stepped();
            let stopping = stop(done) && !last;
            if stopping || due(training.checkpoint_interval) {
                save(&*trainer, &progress)?;
            }
            if stopping {
                show.note(&format!("stopped after step {done}; --resume goes on"));
                return Ok(End::Stopped);
            }
        }
        Ok(End::Finished)
    })?;
    if end == End::Stopped {
        return Ok(end);
    }

    let related = match related {
        Some(related) => related,
        None => show.say("indexing texts", || Related::new(&texts.train, settings.seed))?,
    };
    let scored = show.scoring();
    let report = report::measure(
        &texts,
        &valid,
        &codec,
        &related,
        settings.seed,
        &mut |rows| trainer.score(rows),
        &scored,
    )?;
    scored.finish_and_clear();
    let dir = out.join("model");
    folder::write_files(&dir, &config, "float16", &codec)?;
    trainer.save(&dir, Precision::F16)?;
    let readme = readme(settings, &texts, &codec, trainer.config(), &progress, &report);
    fs::write(dir.join("README.md"), readme).context("cannot write README.md")?;
    fs::write(out.join("report.md"), report.markdown()).context("cannot write report.md")?;
    folder::write_json(&out.join("report.json"), &report.json())?;
    show.note(&format!("{} is written\n\n{}", dir.display(), report.markdown()));
    Ok(End::Finished)
}

/// Measures a model folder; gives the report.
///
/// # Errors
///
/// Settings or files that are wrong.
pub fn report_only(settings: &Settings, dir: &Path) -> Result<Report> {
    let show = Show::new();
    let texts = show.say("reading texts", || {
        Texts::read(&settings.data, settings.texts.limit, settings.texts.valid, settings.seed)
    })?;
    let model = AnyModel::load(&ModelFiles::from_dir(dir)?, settings.device)?;
    let codec = codec_of(dir, model.config())?;
    let valid = Valid::new(&texts.valid, &codec, model.config().max_positions)?;
    let related = show.say("indexing texts", || Related::new(&texts.train, settings.seed))?;
    let scored = show.scoring();
    let mut scorer = |rows: &[Sequence]| {
        let rows: Vec<_> = rows.iter().map(|sequence| (sequence, None)).collect();
        model.score(&rows)
    };
    let report =
        report::measure(&texts, &valid, &codec, &related, settings.seed, &mut scorer, &scored)?;
    scored.finish_and_clear();
    Ok(report)
}

/// The tokenizer and the `config.json` of a run.
fn model(settings: &Settings, texts: &Texts, checkpoint: Option<&Path>) -> Result<(Codec, Value)> {
    if let Some(dir) = &settings.start {
        let config = folder::read_json(&dir.join("config.json"))?;
        let known = ModelConfig::from_json(config.to_string().as_bytes(), "config.json")?;
        return Ok((codec_of(dir, &known)?, config));
    }
    let codec = match (checkpoint, &settings.texts.tokenizer) {
        (Some(dir), _) => Codec::read(&dir.join("tokenizer.json"))?,
        (None, Some(file)) => Codec::read(file)?,
        (None, None) => {
            let TextSettings { tokenizer_texts, vocabulary, .. } = settings.texts;
            Codec::train(&texts.train, tokenizer_texts, vocabulary, settings.seed)?
        }
    };
    let config = folder::config(&settings.shape, codec.vocabulary(), &codec);
    Ok((codec, config))
}

fn codec_of(dir: &Path, config: &ModelConfig) -> Result<Codec> {
    match (config.bos, config.eos.first()) {
        (Some(begin), Some(end)) => Codec::of_model(dir, begin, *end),
        _ => bail!(
            "the model in {} names no token that begins or none that ends a text",
            dir.display()
        ),
    }
}

/// Refuses to go on with other batches or another model.
fn same_plan(before: &Value, now: &Value) -> Result<()> {
    let fields = |plan: &Value| plan.as_object().cloned().unwrap_or_default();
    for (name, value) in fields(now) {
        let known = &before[&name];
        ensure!(
            *known == value,
            "the checkpoint was made with other settings: {name} was {known} and is {value} now"
        );
    }
    Ok(())
}

/// `log.csv`.
struct Log {
    file: fs::File,
}

const COLUMNS: &str = "step,tokens,train_nats_per_token,valid_nats_per_token,\
                       valid_nats_per_byte,learning_rate,seconds";

impl Log {
    /// Opens the log of a run that is at `step`: later lines, of steps that will be done again, are
    /// dropped.
    fn open(path: &Path, step: usize) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let before = match step {
            0 => String::new(),
            _ => fs::read_to_string(path).unwrap_or_default(),
        };
        let is_past = |line: &&str| {
            line.split(',').next().and_then(|s| s.parse().ok()).is_some_and(|s: usize| s <= step)
        };
        let lines: Vec<&str> =
            [COLUMNS].into_iter().chain(before.lines().filter(is_past)).collect();
        fs::write(path, lines.join("\n") + "\n").with_context(cannot)?;
        Ok(Self { file: fs::OpenOptions::new().append(true).open(path).with_context(cannot)? })
    }

    fn line(
        &mut self,
        step: usize,
        progress: &Progress,
        loss: f32,
        held_out: Option<&report::Tally>,
        rate: f64,
    ) -> Result<()> {
        let [token, byte] = match held_out {
            Some(tally) => {
                [tally.per_token(), tally.per_byte()].map(|number| format!("{number:.5}"))
            }
            None => Default::default(),
        };
        let Progress { tokens, seconds, .. } = progress;
        writeln!(self.file, "{step},{tokens},{loss:.5},{token},{byte},{rate:.6},{seconds:.1}")
            .context("cannot write the log")
    }
}
