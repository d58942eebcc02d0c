//! `attribution.json`: which texts a classifier of the users' real texts attributes to the user
//! whom they are of. It is made anew whenever a run ends, as it depends on everybody in it.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

use serde::{Deserialize, Serialize};
use spring_core::spring_memory::UserId;
use spring_data::Task;
use spring_metrics::{Attribution, UserScores};
use spring_numerics::words::{from_json, of_system};

use super::{
    Suite,
    folder::{unwritable, write},
    load::LoadedData,
    measure::digest_of,
    watch::{SuiteEvent, Watch, stop_if},
};
use crate::{Error, Half, Result, RunKey, RunLine, Split};

/// What was found on a data set.
#[derive(Serialize, Deserialize)]
pub(super) struct Attributed {
    /// The data set.
    pub(super) data: String,
    /// Each user's test texts, and how many of them are attributed to the user.
    real: BTreeMap<UserId, [usize; 2]>,
    generated: Vec<AttributedRun>,
}

/// What a method wrote in a run.
#[derive(Serialize, Deserialize)]
struct AttributedRun {
    #[serde(flatten)]
    key: RunKey,
    method: String,
    /// A digest of the texts.
    texts: String,
    /// Whether a text is attributed to the user, in the order of the texts.
    own: Vec<bool>,
}

impl Attributed {
    /// The accuracy on each user's test texts.
    pub(super) fn accuracies(&self) -> UserScores {
        let users = self.real.iter().filter(|(_, [texts, _])| *texts > 0);
        let share = |[texts, own]: &[usize; 2]| *own as f64 / *texts as f64;
        users.map(|(user, counts)| (user.to_string(), share(counts))).collect()
    }

    /// One in the number of users, all of whom have texts that are learned from.
    pub(super) fn chance(&self) -> f64 {
        1.0 / self.real.len() as f64
    }
}

/// Attributes the texts of some runs, and the users' own test texts, and writes the file. Nothing
/// where no running text is generated; of a single user there is nothing to tell.
pub(super) fn attribute(
    suite: &Suite,
    folder: &Path,
    data: &[LoadedData],
    lines: &[RunLine],
    watch: Watch<'_>,
) -> Result<Vec<Attributed>> {
    let mut attributions = Vec::new();
    for loaded in data {
        let are_texts = !matches!(loaded.task, Some(Task::Lamp1 | Task::Lamp2 | Task::Lamp3));
        let users: Vec<&(UserId, Vec<Split>)> = loaded
            .users
            .iter()
            .enumerate()
            .filter(|(place, _)| suite.half(*place) != Some(Half::Choosing))
            .map(|(_, user)| user)
            .collect();
        if suite.generation.texts > 0 && are_texts && users.len() > 1 {
            attributions.push(of_set(&loaded.name, &users, lines, watch)?);
        }
    }
    if !attributions.is_empty() {
        let text = serde_json::to_string(&attributions).map_err(unwritable)?;
        write(&path(folder), text.as_bytes())?;
    }
    Ok(attributions)
}

fn path(folder: &Path) -> std::path::PathBuf {
    folder.join("attribution.json")
}

fn of_set(
    data: &str,
    users: &[&(UserId, Vec<Split>)],
    lines: &[RunLine],
    watch: Watch<'_>,
) -> Result<Attributed> {
    let mut real: BTreeMap<UserId, [usize; 2]> =
        users.iter().map(|(user, _)| (user.clone(), [0, 0])).collect();
    let lines: Vec<&RunLine> = lines.iter().filter(|line| line.key.data == data).collect();
    let runs = || lines.iter().flat_map(|line| line.run.methods.iter().map(move |run| (line, run)));
    let with_texts = runs().filter(|(_, (_, run))| !run.generated.is_empty());
    let mut generated: Vec<AttributedRun> = with_texts
        .map(|(line, (method, run))| AttributedRun {
            key: line.key.clone(),
            method: method.clone(),
            texts: digest_of(&run.generated),
            own: vec![false; run.generated.len()],
        })
        .collect();
    let periods = users.iter().map(|(_, splits)| splits.len()).max().unwrap_or(0);
    for place in 0..periods {
        stop_if(watch(SuiteEvent::Step))?;
        // Everybody's texts up to the period, and no test text of any.
        let known = users.iter().flat_map(|(user, splits)| {
            let texts = splits.iter().take(place + 1).flat_map(|split| &split.train);
            texts.map(|text| (user.as_str(), text.interaction.response.as_str()))
        });
        let attribution = Attribution::fit(known);
        let is_own = |user: &UserId, text: &str| attribution.attribute(text) == Some(user.as_str());
        for (user, splits) in users {
            let tests = splits.get(place).map_or(&[][..], |split| &split.test);
            let own = tests.iter().filter(|text| is_own(user, &text.interaction.response)).count();
            if let Some(counts) = real.get_mut(user) {
                *counts = [counts[0] + tests.len(), counts[1] + own];
            }
        }
        let with_texts = runs().filter(|(_, (_, run))| !run.generated.is_empty());
        for (found, (line, (_, run))) in generated.iter_mut().zip(with_texts) {
            let of_period = |text: &crate::GeneratedText| text.period as usize == place + 1;
            for (text, own) in run.generated.iter().zip(&mut found.own) {
                if of_period(text) {
                    *own = is_own(&line.key.user, &text.predicted);
                }
            }
        }
    }
    Ok(Attributed { data: data.to_owned(), real, generated })
}

/// What the folder says, nothing if no run ended there that generated texts.
pub(super) fn known(folder: &Path) -> Result<Vec<Attributed>> {
    let path = path(folder);
    let fail = |reason: String| Error::File { file: path.display().to_string(), reason };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(fail(of_system(&error))),
    };
    from_json(&bytes)
        .map_err(|error| fail(format!("damaged: {error}; run the suite again, which writes it")))
}

/// Puts it beside the other numbers of the runs; of other texts than those it says nothing.
pub(super) fn put(attributions: &[Attributed], lines: &mut [RunLine]) {
    for run in attributions.iter().flat_map(|of| &of.generated) {
        let own = run.own.iter().filter(|own| **own).count();
        let of_key = lines.iter_mut().filter(|line| line.key == run.key);
        for found in of_key.filter_map(|line| line.run.methods.get_mut(&run.method)) {
            if digest_of(&found.generated) == run.texts {
                found.attributed = Some(own as f64 / run.own.len() as f64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use spring_core::StoredInteraction;

    use super::*;
    use crate::{Budget, GeneratedText, MethodRun, UserRun};

    fn text(user: &str, response: &str) -> StoredInteraction {
        let interaction = serde_json::from_value(serde_json::json!({
            "user": user, "id": "i", "time": "2024-01-01T00:00:00Z", "prompt": "p",
            "response": response
        }));
        StoredInteraction::new(0, interaction.unwrap())
    }

    /// A user with a training and a test text in each period.
    fn user(name: &str, periods: &[[&str; 2]]) -> (UserId, Vec<Split>) {
        let splits = periods.iter().zip(1..).map(|([train, test], period)| Split {
            period,
            train: vec![text(name, train)],
            test: vec![text(name, test)],
            dropped: 0,
        });
        (UserId::new(name).unwrap(), splits.collect())
    }

    fn line(name: &str, texts: &[(u32, &str)]) -> RunLine {
        let generated = texts.iter().map(|(period, predicted)| {
            let text = serde_json::json!({
                "period": period, "predicted": predicted, "written": "w"
            });
            serde_json::from_value::<GeneratedText>(text).unwrap()
        });
        let run = MethodRun { generated: generated.collect(), ..MethodRun::default() };
        let user = UserId::new(name).unwrap();
        let key = RunKey { data: "d".into(), budget: Budget::Epochs, seed: 0, user: user.clone() };
        let methods = [("m".to_owned(), run), ("none".to_owned(), MethodRun::default())].into();
        RunLine { key, run: UserRun { user, periods: vec![], methods, detection: None } }
    }

    #[test]
    fn a_text_is_judged_by_what_was_written_up_to_its_period() {
        let users = [
            user("ada", &[["kind regards", "very kind of you"], ["zebra crossing", "regards"]]),
            // Test texts are unknown: nobody wrote "violin".
            user("bob", &[["lol ok then", "violin"], ["ttyl then", "a zebra"]]),
            user("cleo", &[["Grüße aus Köln", "viele Grüße"]]),
        ];
        let lines = [
            // The zebra comes with the second period only.
            line("ada", &[(1, "zebra"), (1, "kind"), (2, "zebra"), (2, "lol ok")]),
            line("bob", &[(1, "violin"), (2, "ttyl")]),
        ];
        let go = |_: SuiteEvent<'_>| ControlFlow::Continue(());
        let found = of_set("d", &users.iter().collect::<Vec<_>>(), &lines, &go).unwrap();
        let own: Vec<&[bool]> = found.generated.iter().map(|run| run.own.as_slice()).collect();
        assert_eq!(own, [&[false, true, true, false][..], &[false, true]]);
        let accuracies: Vec<f64> = found.accuracies().into_values().collect();
        assert_eq!((accuracies, found.chance()), (vec![1.0, 0.0, 1.0], 1.0 / 3.0));

        // It goes through its file, and belongs to these texts alone.
        let found: Vec<Attributed> =
            serde_json::from_str(&serde_json::to_string(&[found]).unwrap()).unwrap();
        let mut lines = [lines[0].clone(), line("bob", &[(1, "violin"), (2, "other")])];
        put(&found, &mut lines);
        let shares = lines.map(|line| line.run.methods["m"].attributed);
        assert_eq!(shares, [Some(0.5), None]);
    }
}
