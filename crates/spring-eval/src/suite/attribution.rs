//! `attribution.json`: which texts a classifier of the users' real texts attributes to the user
//! whom they are of. It is made anew whenever a run ends, as it depends on everybody in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::Path,
};

use serde::{Deserialize, Serialize};
use spring_core::spring_memory::{Interaction, UserId};
use spring_data::{Task, synth::Truth};
use spring_metrics::{Attribution, UserScores};
use spring_numerics::words::{from_json, of_system};

use super::{
    Suite,
    folder::{unwritable, write},
    load::LoadedData,
    measure::digest_of,
    watch::{SuiteEvent, Watch, stop_if},
};
use crate::{Error, Half, Result, RunKey, RunLine, Split, Turn};

/// What was found on a data set.
#[derive(Serialize, Deserialize)]
pub(super) struct Attributed {
    /// The data set.
    pub(super) data: String,
    /// Each user's test texts, and how many of them are attributed to the user.
    real: BTreeMap<UserId, [usize; 2]>,
    /// How many of the users follow another person, who is then told apart from them.
    #[serde(default, skip_serializing_if = "is_zero")]
    former: usize,
    generated: Vec<AttributedRun>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
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
    /// The same of the person before a turning point, of the texts after it; empty without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stale: Vec<Option<bool>>,
}

impl Attributed {
    /// The accuracy on each user's test texts.
    pub(super) fn accuracies(&self) -> UserScores {
        let users = self.real.iter().filter(|(_, [texts, _])| *texts > 0);
        let share = |[texts, own]: &[usize; 2]| *own as f64 / *texts as f64;
        users.map(|(user, counts)| (user.to_string(), share(counts))).collect()
    }

    /// One in the number of people, all of whom have texts that are learned from.
    pub(super) fn chance(&self) -> f64 {
        1.0 / (self.real.len() + self.former) as f64
    }

    /// Whether its users are those whom the runs on its data set are of. After a user more, or one
    /// less, everybody's texts would have to be attributed anew.
    pub(super) fn is_of(&self, lines: &[RunLine]) -> bool {
        let of_set = lines.iter().filter(|line| line.key.data == self.data);
        let users: BTreeSet<&UserId> = of_set.map(|line| &line.key.user).collect();
        users.into_iter().eq(self.real.keys())
    }
}

/// Whether a task's texts are running text. Labels and ratings are everybody's, and each has been
/// written before.
pub(super) fn is_running_text(task: Option<Task>) -> bool {
    !matches!(task, Some(Task::Lamp1 | Task::Lamp2 | Task::Lamp3))
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
        let users: Vec<&(UserId, Vec<Split>)> = loaded
            .users
            .iter()
            .enumerate()
            .filter(|(place, _)| suite.half(*place) != Some(Half::Choosing))
            .map(|(_, user)| user)
            .collect();
        if suite.generation.texts > 0 && is_running_text(loaded.task) && users.len() > 1 {
            attributions.push(of_set(&loaded.name, &users, lines, watch)?);
        }
    }
    // A file of an earlier run is of other users.
    if !attributions.is_empty() || path(folder).exists() {
        let text = serde_json::to_string(&attributions).map_err(unwritable)?;
        write(&path(folder), text.as_bytes())?;
    }
    Ok(attributions)
}

fn path(folder: &Path) -> std::path::PathBuf {
    folder.join("attribution.json")
}

/// A user and, from a turning point on, the person before it, by names that no two people share.
struct Known<'u> {
    user: &'u UserId,
    splits: &'u [Split],
    turn: Option<Turn>,
    /// The name of the person before: no user's name has a control character.
    former: String,
}

impl<'u> Known<'u> {
    fn of((user, splits): &'u (UserId, Vec<Split>)) -> Self {
        Self { user, splits, turn: Turn::of(splits), former: format!("{user}\u{0}") }
    }

    /// Whether a period, from 0, is after the turning point.
    fn has_turned(&self, place: usize) -> bool {
        self.turn.is_some_and(|turn| place >= turn.place())
    }

    /// Who wrote what of the training texts up to a period: the user, and the person before.
    /// Noise is nobody's.
    fn texts(&self, place: usize) -> [(&str, Vec<&'u str>); 2] {
        let said = |splits: &'u [Split]| -> Vec<&'u str> {
            let texts = splits.iter().flat_map(|split| &split.train);
            let is_noise =
                |text: &Interaction| Truth::of(text).is_some_and(|truth| truth.noise.is_some());
            let own = texts.map(|text| &text.interaction).filter(|text| !is_noise(text));
            own.map(|text| text.response.as_str()).collect()
        };
        let so_far = &self.splits[..self.splits.len().min(place + 1)];
        let turn = self.turn.filter(|_| self.has_turned(place));
        let (former, own) = so_far.split_at(turn.map_or(0, |turn| turn.place().min(so_far.len())));
        [(self.user.as_str(), said(own)), (self.former.as_str(), said(former))]
    }
}

/// Texts up to a period and who wrote them, no test text among them: the latest of each person, as
/// many as the one with fewest has. Somebody with more would be taken for the writer of others'
/// texts.
fn known_texts<'k>(users: &'k [Known<'k>], place: usize) -> Vec<(&'k str, &'k str)> {
    let people = users.iter().flat_map(|user| {
        let [own, former] = user.texts(place);
        [Some(own), Some(former).filter(|_| user.has_turned(place))]
    });
    let texts: Vec<(&str, Vec<&str>)> = people.flatten().collect();
    let fewest = texts.iter().map(|(_, texts)| texts.len()).min().unwrap_or(0).max(1);
    let latest = |(user, texts): (&'k str, Vec<&'k str>)| {
        let earlier = texts.len().saturating_sub(fewest);
        texts.into_iter().skip(earlier).map(move |text| (user, text))
    };
    texts.into_iter().flat_map(latest).collect()
}

fn of_set(
    data: &str,
    users: &[&(UserId, Vec<Split>)],
    lines: &[RunLine],
    watch: Watch<'_>,
) -> Result<Attributed> {
    let users: Vec<Known<'_>> = users.iter().copied().map(Known::of).collect();
    let mut real: BTreeMap<UserId, [usize; 2]> =
        users.iter().map(|known| (known.user.clone(), [0, 0])).collect();
    let known_of = |user: &UserId| users.iter().find(|known| known.user == user);
    let has_turn = |user: &UserId| known_of(user).is_some_and(|known| known.turn.is_some());
    let lines: Vec<&RunLine> = lines.iter().filter(|line| line.key.data == data).collect();
    let runs = || lines.iter().flat_map(|line| line.run.methods.iter().map(move |run| (line, run)));
    let with_texts = runs().filter(|(_, (_, run))| !run.generated.is_empty());
    let mut generated: Vec<AttributedRun> = with_texts
        .map(|(line, (method, run))| AttributedRun {
            key: line.key.clone(),
            method: method.clone(),
            texts: digest_of(&run.generated),
            own: vec![false; run.generated.len()],
            stale: match has_turn(&line.key.user) {
                true => vec![None; run.generated.len()],
                false => vec![],
            },
        })
        .collect();
    let periods = users.iter().map(|known| known.splits.len()).max().unwrap_or(0);
    for place in 0..periods {
        stop_if(watch(SuiteEvent::Step))?;
        let attribution = Attribution::fit(known_texts(&users, place));
        let is_own = |user: &UserId, text: &str| attribution.attribute(text) == Some(user.as_str());
        for Known { user, splits, .. } in &users {
            let tests = splits.get(place).map_or(&[][..], |split| &split.test);
            let own = tests.iter().filter(|text| is_own(user, &text.interaction.response)).count();
            if let Some(counts) = real.get_mut(*user) {
                *counts = [counts[0] + tests.len(), counts[1] + own];
            }
        }
        let with_texts = runs().filter(|(_, (_, run))| !run.generated.is_empty());
        for (found, (line, (_, run))) in generated.iter_mut().zip(with_texts) {
            let former = known_of(&line.key.user).filter(|known| known.has_turned(place));
            for (at, text) in run.generated.iter().enumerate() {
                if text.period as usize != place + 1 {
                    continue;
                }
                found.own[at] = is_own(&line.key.user, &text.predicted);
                if let (Some(former), Some(stale)) = (former, found.stale.get_mut(at)) {
                    let whose = attribution.attribute(&text.predicted);
                    *stale = Some(whose == Some(former.former.as_str()));
                }
            }
        }
    }
    let former = users.iter().filter(|known| known.turn.is_some()).count();
    Ok(Attributed { data: data.to_owned(), real, former, generated })
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
        let stale = run.stale.iter().copied().flatten();
        let after = stale.clone().count();
        let of_key = lines.iter_mut().filter(|line| line.key == run.key);
        for found in of_key.filter_map(|line| line.run.methods.get_mut(&run.method)) {
            if digest_of(&found.generated) == run.texts {
                found.attributed = Some(own as f64 / run.own.len() as f64);
                found.stale_written = (after > 0)
                    .then(|| stale.clone().filter(|stale| *stale).count() as f64 / after as f64);
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
        RunLine {
            key,
            run: UserRun { user, periods: vec![], methods, detection: None, turn: None },
        }
    }

    #[test]
    fn as_many_texts_are_known_of_everybody() {
        let mut much = user("ada", &[["a1", "test"], ["a3", "test"], ["a4", "test"]]);
        much.1[0].train.push(text("ada", "a2"));
        let few = user("bob", &[["b1", "test"], ["b2", "test"]]);
        let both = [Known::of(&much), Known::of(&few)];
        let known = |place| known_texts(&both, place);
        assert_eq!(known(0), [("ada", "a2"), ("bob", "b1")]);
        assert_eq!(known(1), [("ada", "a2"), ("ada", "a3"), ("bob", "b1"), ("bob", "b2")]);
        // Whose periods are over keeps what there is.
        assert_eq!(known(2), [("ada", "a3"), ("ada", "a4"), ("bob", "b1"), ("bob", "b2")]);
        // Without a text of somebody, one of the others.
        let none = user("cleo", &[]);
        assert_eq!(known_texts(&[Known::of(&much), Known::of(&none)], 2), [("ada", "a4")]);
        assert!(known_texts(&[], 0).is_empty());
    }

    /// A text of a mixed stream.
    fn marked(user: &str, response: &str, person: usize, noise: Option<&str>) -> StoredInteraction {
        let mut text = text(user, response);
        let mixed = serde_json::json!({ "person": person, "joined": true, "by": "x" });
        text.interaction.meta = Some(serde_json::json!({ "noise": noise, "mixed": mixed }));
        text
    }

    #[test]
    fn noise_is_nobodys_and_the_person_before_is_somebody_else() {
        let split = |period: u32, person: usize, own: &str, test: &str| Split {
            period,
            train: vec![
                marked("ada", "pasted by nobody", person, Some("pasted_code")),
                marked("ada", own, person, None),
            ],
            test: vec![marked("ada", test, person, None)],
            dropped: 0,
        };
        let ada = UserId::new("ada").unwrap();
        let splits = vec![
            split(1, 0, "kind regards", "very kind"),
            split(2, 1, "zebra crossing", "a zebra"),
        ];
        let joined = (ada, splits);
        let bob = user("bob", &[["lol ok then", "ok"], ["ttyl then", "ttyl"]]);
        let both = [Known::of(&joined), Known::of(&bob)];
        assert_eq!(known_texts(&both, 0), [("ada", "kind regards"), ("bob", "lol ok then")]);
        // One text of each, as one has no more: the user's, the former's, and the other's latest.
        let expected =
            [("ada", "zebra crossing"), ("ada\u{0}", "kind regards"), ("bob", "ttyl then")];
        assert_eq!(known_texts(&both, 1), expected);

        let lines = [
            line("ada", &[(1, "kind"), (2, "kind"), (2, "zebra"), (2, "regards")]),
            line("bob", &[(1, "lol"), (2, "regards")]),
        ];
        let go = |_: SuiteEvent<'_>| ControlFlow::Continue(());
        let found = of_set("d", &[&joined, &bob], &lines, &go).unwrap();
        assert_eq!(found.generated[0].own, [true, false, true, false]);
        assert_eq!(found.generated[0].stale, [None, Some(true), Some(false), Some(true)]);
        assert!(found.generated[1].stale.is_empty());
        assert_eq!(found.chance(), 1.0 / 3.0);
        let mut lines = lines;
        let found: Vec<Attributed> =
            serde_json::from_str(&serde_json::to_string(&[found]).unwrap()).unwrap();
        put(&found, &mut lines);
        let [ada, bob] = lines.each_ref().map(|line| &line.run.methods["m"]);
        assert_eq!((ada.attributed, ada.stale_written), (Some(0.5), Some(2.0 / 3.0)));
        assert_eq!((bob.attributed, bob.stale_written), (Some(0.5), None));
    }

    #[test]
    fn who_wrote_much_does_not_get_what_strangers_wrote() {
        // What everybody writes, and in each text something of its own.
        let common = |own: String| format!("thank you for the letter {own}");
        let mut much = user("ada", &[["thank you for the letter", "thank you"]]);
        much.1[0].train = (0..48).map(|i| text("ada", &common(format!("{i:04}")))).collect();
        let kettle = common("kettle".to_owned());
        let few = user("bob", &[[kettle.as_str(), "thank you for the kettle"]]);
        let asked = "thank you for the boat";
        let all = much.1[0].train.iter().map(|text| ("ada", text.interaction.response.as_str()));
        let all = all.chain([("bob", kettle.as_str())]);
        let difference = |known: &[(&str, &str)]| {
            let attribution = Attribution::fit(known.iter().copied());
            let cosines = attribution.similarities(asked);
            cosines[0].1 - cosines[1].1
        };
        let unbalanced = difference(&all.collect::<Vec<_>>());
        let balanced = difference(&known_texts(&[Known::of(&much), Known::of(&few)], 0));
        assert!(unbalanced > 0.2 && balanced.abs() < 0.1, "{unbalanced}, {balanced}");
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
        // Cleo has one text, so Ada's "regards" of the first period are not known in the second.
        assert_eq!((accuracies, found.chance()), (vec![0.5, 0.0, 1.0], 1.0 / 3.0));

        // It goes through its file, and belongs to these texts alone.
        let found: Vec<Attributed> =
            serde_json::from_str(&serde_json::to_string(&[found]).unwrap()).unwrap();
        let mut lines = [lines[0].clone(), line("bob", &[(1, "violin"), (2, "other")])];
        put(&found, &mut lines);
        let shares = [&lines[0], &lines[1]].map(|line| line.run.methods["m"].attributed);
        assert_eq!(shares, [Some(0.5), None]);
        // Cleo has no run here: it is not of the users of these.
        assert!(!found[0].is_of(&lines));
        let [ada, bob] = lines;
        assert!(found[0].is_of(&[bob.clone(), ada.clone(), line("cleo", &[]), ada.clone()]));
        assert!(!found[0].is_of(&[ada, bob, line("cleo", &[]), line("dora", &[])]));
    }

    #[test]
    fn labels_and_ratings_are_no_running_text() {
        assert!([Task::Lamp1, Task::Lamp2, Task::Lamp3].iter().all(|t| !is_running_text(Some(*t))));
        assert!([None, Some(Task::Lamp4), Some(Task::Lamp5)].into_iter().all(is_running_text));
    }
}
