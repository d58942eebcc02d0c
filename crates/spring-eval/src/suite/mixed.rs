//! Streams of real texts with noise or a turning point: other people's texts of the same file among
//! a user's own.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::Path,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use spring_core::{
    StoredInteraction,
    spring_memory::{Interaction, UserId},
};
use spring_data::{
    Stream,
    mixed::{
        JoinConfig, NoiseConfig, NoiseSource, Origin, Passage, in_drawn_order, joined, mark,
        passages_of_file,
    },
    synth::Noise,
};

use super::DataSet;
use crate::{Error, PeriodRule, Result, Split, SuiteUser, record::Turn, split::Known, stored};

/// `join = true`, or a table.
pub(super) fn join<'de, D: Deserializer<'de>>(from: D) -> Result<Option<JoinConfig>, D::Error> {
    struct Join;

    impl<'de> Visitor<'de> for Join {
        type Value = Option<JoinConfig>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false, or a table such as { at = 0.5 }")
        }

        fn visit_bool<E>(self, joins: bool) -> Result<Self::Value, E> {
            Ok(joins.then(JoinConfig::default))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            JoinConfig::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    from.deserialize_any(Join)
}

/// Whose texts may come into others' streams.
pub(super) struct People<'s> {
    /// All streams that were read.
    streams: HashMap<&'s UserId, &'s Stream>,
    /// Those who are neither evaluated nor teach the domain adapter, by name.
    lenders: Vec<UserId>,
    /// Those who are evaluated, for want of others.
    evaluated: Vec<UserId>,
    /// Those who teach the domain adapter: their texts are in no test part.
    taught: Vec<UserId>,
}

impl<'s> People<'s> {
    pub(super) fn new(
        streams: &'s [Stream],
        mut lenders: Vec<UserId>,
        mut evaluated: Vec<UserId>,
    ) -> Self {
        lenders.sort_unstable();
        evaluated.sort_unstable();
        let streams = streams.iter().map(|stream| (&stream.user, stream)).collect();
        Self { streams, lenders, evaluated, taught: vec![] }
    }

    /// With those who teach the domain adapter, of whom nobody follows a user.
    pub(super) fn with_taught(self, taught: Vec<UserId>) -> Self {
        Self { taught, ..self }
    }

    pub(super) fn lenders(&self) -> usize {
        self.lenders.len()
    }

    fn texts(&self, user: &UserId) -> &'s [Interaction] {
        self.streams.get(user).map_or(&[], |stream| &stream.texts)
    }

    /// Those whose texts are noise for some people: the lenders, or where there are none the
    /// evaluated users.
    fn noisy_for(&self, people: &[&UserId]) -> Vec<&'s Stream> {
        let of = |users: &[UserId]| -> Vec<&'s Stream> {
            let others = users.iter().filter(|user| !people.contains(user));
            others.filter_map(|user| self.streams.get(user).copied()).collect()
        };
        let lenders = of(&self.lenders);
        if lenders.is_empty() { of(&self.evaluated) } else { lenders }
    }
}

/// Streams with a turning point, each with whose texts follow.
pub(super) struct Joiner<'p, 's> {
    config: JoinConfig,
    people: &'p People<'s>,
    rule: PeriodRule,
    /// The most texts of a stream.
    most: usize,
    /// Those who follow somebody already.
    taken: HashSet<UserId>,
}

impl<'p, 's> Joiner<'p, 's> {
    pub(super) fn new(
        config: JoinConfig,
        people: &'p People<'s>,
        rule: PeriodRule,
        most: Option<usize>,
    ) -> Self {
        let most = most.unwrap_or(usize::MAX);
        Self { config, people, rule, most, taken: HashSet::new() }
    }

    /// A user's stream with another person's behind it, cut so that the turning point is between
    /// two periods, and noted in `considered`.
    pub(super) fn join(&mut self, considered: &mut SuiteUser) -> Result<Vec<Split>, String> {
        let user = considered.user.clone();
        let own = self.people.texts(&user);
        for periods in (2..=self.rule.periods).rev() {
            let Some((second, counts)) = self.second(&user, own.len(), periods) else { continue };
            let latest = |texts: &'s [Interaction], count: usize| &texts[texts.len() - count..];
            let other = latest(self.people.texts(&second), counts[1]);
            let texts = joined(latest(own, counts[0]), other);
            let cut =
                PeriodRule { periods, ..self.rule }.cut(&stored(&Stream::new(user.clone(), texts)));
            // Near-duplicates may cost a period, and then the turning point is inside another one.
            let Ok(splits) = cut else { continue };
            if splits.len() != periods as usize || Turn::of(&splits).is_none() {
                continue;
            }
            self.taken.insert(second.clone());
            (considered.texts, considered.periods) = (counts.iter().sum(), splits.len());
            considered.followed_by = Some(second);
            return Ok(splits);
        }
        Err(format!(
            "{} texts and those of no other person give two periods, one of each, of at least {} \
             training and {} test texts without near-duplicates",
            own.len(),
            self.rule.min_train,
            self.rule.min_test
        ))
    }

    /// Who follows a user, with the texts of both in a stream of some periods: somebody who lends
    /// texts before one who is evaluated, one who follows nobody yet before one who does.
    fn second(&self, user: &UserId, own: usize, periods: u32) -> Option<(UserId, [usize; 2])> {
        let least = self.rule.min_train + self.rule.min_test;
        let People { lenders, evaluated, taught, .. } = self.people;
        let fits = |other: &UserId| {
            let count = self.people.texts(other).len();
            let counts = self.config.counts(own, count, self.most, periods as usize)?;
            let is_enough = counts.iter().sum::<usize>() / periods as usize >= least;
            is_enough.then_some(counts)
        };
        let in_order = |users: &'p [UserId]| in_drawn_order(self.config.seed, user, users);
        let others = in_order(lenders).into_iter().chain(in_order(evaluated));
        let others = others.filter(|other| !taught.contains(other));
        let mut fitting = others.filter_map(|other| Some((other, fits(other)?)));
        let first = fitting.next()?;
        let free = |found: &(&UserId, [usize; 2])| !self.taken.contains(found.0);
        let found = if free(&first) { first } else { fitting.find(free).unwrap_or(first) };
        Some((found.0.clone(), found.1))
    }
}

/// Puts noise into the training parts of some users. Test parts stay as they are, and so do the
/// users' own training texts: noise is added.
pub(super) fn add_noise(
    data: &DataSet,
    config: &NoiseConfig,
    people: &People<'_>,
    users: &mut [(UserId, Vec<Split>)],
    considered: &[SuiteUser],
) -> Result<()> {
    let fail = |reason: String| Error::File { file: data.path.clone(), reason };
    let wants_code = config.wants(Noise::PastedCode);
    let of_file = match &config.code {
        Some(path) if wants_code => Some(passages_of_file(Path::new(path))?),
        _ => None,
    };
    for (user, splits) in users {
        let of = considered.iter().find(|considered| considered.user == *user);
        let second = of.and_then(|considered| considered.followed_by.as_ref());
        let own: Vec<&UserId> = std::iter::once(&*user).chain(second).collect();
        let lenders = people.noisy_for(&own);
        if lenders.is_empty() {
            let reason = format!("noise: nobody else's texts could come into the stream of {user}");
            return Err(fail(reason));
        }
        let found: Vec<Passage> = match &of_file {
            Some(passages) => passages.clone(),
            None if wants_code => {
                let texts = lenders.iter().flat_map(|stream| &stream.texts);
                texts.flat_map(Passage::all_of).collect()
            }
            None => vec![],
        };
        let is_others = |passage: &&Passage| own.iter().all(|user| passage.by != user.as_str());
        let passages: Vec<&Passage> = found.iter().filter(is_others).collect();
        if wants_code && passages.is_empty() {
            return Err(fail(format!(
                "noise: no text by others than {user} has a block of code or of a log to paste; \
                 name a file of code, a log or another data set in noise.code, or leave \
                 pasted_code out of noise.kinds"
            )));
        }
        // What the user wrote before the stream begins; two people's stream has no such user.
        let unused = match second {
            Some(_) => &[][..],
            None => {
                let texts = people.texts(user);
                let used = of.map_or(texts.len(), |considered| considered.texts);
                &texts[..texts.len().saturating_sub(used)]
            }
        };
        let mut source = NoiseSource::new(config, user, &lenders, unused, passages);
        noisy(splits, &mut source);
    }
    Ok(())
}

/// The periods with noise, all texts numbered anew.
fn noisy(splits: &mut [Split], source: &mut NoiseSource<'_>) {
    let turn = Turn::of(splits);
    let tests: Vec<Interaction> =
        splits.iter().flat_map(|split| &split.test).map(|text| text.interaction.clone()).collect();
    let tests = Known::of(&tests);
    let accepts = |text: &Interaction| !tests.has_like(text);
    let mut seq = 0..;
    for (place, split) in splits.iter_mut().enumerate() {
        let origin = match turn {
            Some(turn) => Origin::of_person(usize::from(place >= turn.place())),
            None => Origin::own(),
        };
        let own = std::mem::take(&mut split.train);
        let times: Vec<_> = own.iter().map(|text| text.interaction.time).collect();
        let mut noise = source.draw(own.len(), origin, &accepts).into_iter().peekable();
        let mut own = own.into_iter();
        for gap in 0..=times.len() {
            while let Some((_, mut text)) = noise.next_if(|(at, _)| *at == gap) {
                // At the time of the text before it.
                if let Some(time) = times.get(gap.saturating_sub(1)) {
                    text.time = *time;
                }
                split.train.push(StoredInteraction::new(0, text));
            }
            if let Some(mut text) = own.next() {
                mark(&mut text.interaction, origin);
                split.train.push(text);
            }
        }
        split.test.iter_mut().for_each(|text| mark(&mut text.interaction, origin));
        let all = split.train.iter_mut().chain(&mut split.test);
        all.zip(&mut seq).for_each(|(text, number)| text.seq = number + 1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use spring_data::synth::Truth;

    use super::*;

    const RULE: PeriodRule = PeriodRule { periods: 4, hold_out: 0.2, min_train: 4, min_test: 1 };

    fn stream(user: &str, texts: usize) -> Stream {
        let user = UserId::new(user).unwrap();
        let text = |i: usize| -> Interaction {
            // No two are alike.
            let words = format!("{user}{i} x{} y{} z{} w{}", i * 7, i * 11, i * 13, i * 17);
            serde_json::from_value(serde_json::json!({
                "user": user, "id": format!("{user}-{i}"), "prompt": format!("ask {i}"),
                "time": format!("2024-{:02}-{:02}T00:00:00Z", 1 + i / 28, 1 + i % 28),
                "response": format!("{user} says {words}"),
            }))
            .unwrap()
        };
        Stream::new(user.clone(), (0..texts).map(text).collect())
    }

    fn ids(names: &[&str]) -> Vec<UserId> {
        names.iter().map(|name| UserId::new(*name).unwrap()).collect()
    }

    fn considered(user: &str, texts: usize) -> SuiteUser {
        let user = UserId::new(user).unwrap();
        SuiteUser { user, texts, periods: 4, excluded: None, half: None, followed_by: None }
    }

    fn set(noise: NoiseConfig) -> DataSet {
        let toml = "name = 'd'\npath = 'd.jsonl'\n";
        DataSet { noise: Some(noise), ..toml::from_str(toml).unwrap() }
    }

    fn seqs(splits: &[Split]) -> Vec<u64> {
        splits.iter().flat_map(|s| s.train.iter().chain(&s.test)).map(|text| text.seq).collect()
    }

    #[test]
    fn noise_is_added_to_training_parts_alone() {
        let streams = [stream("u", 30), stream("v", 30), stream("a", 30), stream("b", 30)];
        let people = People::new(&streams, ids(&["b", "a"]), ids(&["u", "v"]));
        let clean = RULE.cut(&stored(&streams[0])[10..]).unwrap();
        assert_eq!(clean.len(), 4);
        let kinds = vec![Noise::OtherPerson, Noise::Forwarded];
        let config = NoiseConfig::new(0.5).with_kinds(kinds);
        let user = UserId::new("u").unwrap();
        let mut users = [(user.clone(), clean.clone())];
        let looked_at = [considered("u", 20)];
        add_noise(&set(config.clone()), &config, &people, &mut users, &looked_at).unwrap();
        let mixed = &users[0].1;
        assert_eq!(mixed.len(), 4);
        for (mixed, clean) in mixed.iter().zip(&clean) {
            // As much noise as there is of the user's own, which is all there in its order.
            assert_eq!(mixed.train.len(), 2 * clean.train.len());
            let said = |texts: &[StoredInteraction], noise: bool| -> Vec<String> {
                let is = |text: &&StoredInteraction| {
                    Truth::of(&text.interaction).is_some_and(|truth| truth.noise.is_some()) == noise
                };
                let texts = texts.iter().filter(is);
                texts.map(|text| text.interaction.response.clone()).collect()
            };
            assert_eq!(said(&mixed.train, false), said(&clean.train, false));
            assert_eq!(said(&mixed.test, false), said(&clean.test, false));
            assert!(said(&mixed.test, true).is_empty());
            // Nobody who is evaluated lends anything while there are others.
            let by = |text: &StoredInteraction| {
                text.interaction.meta.clone().unwrap()["mixed"]["by"].clone()
            };
            let noise = mixed
                .train
                .iter()
                .filter(|text| Truth::of(&text.interaction).unwrap().noise.is_some());
            assert!(noise.map(by).all(|by| by == "a" || by == "b"));
            let texts: Vec<_> = mixed.train.iter().chain(&mixed.test).collect();
            assert!(
                texts.windows(2).all(|pair| pair[0].interaction.time <= pair[1].interaction.time)
            );
            assert!(texts.iter().all(|text| text.interaction.user == user));
        }
        assert_eq!(seqs(mixed), (1..=seqs(mixed).len() as u64).collect::<Vec<_>>());
        // Another user beside this one changes nothing.
        let mut both = [
            (UserId::new("v").unwrap(), RULE.cut(&stored(&streams[1])).unwrap()),
            (user, clean.clone()),
        ];
        let looked_at = [considered("v", 30), considered("u", 20)];
        add_noise(&set(config.clone()), &config, &people, &mut both, &looked_at).unwrap();
        assert_eq!(&both[1].1, mixed);
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let streams = [stream("u", 30), stream("v", 30)];
        let mut users = [(UserId::new("u").unwrap(), RULE.cut(&stored(&streams[0])).unwrap())];
        let looked_at = [considered("u", 30)];
        let mut said = |lenders: &[&str], evaluated: &[&str]| {
            let people = People::new(&streams, ids(lenders), ids(evaluated));
            let config = NoiseConfig::new(0.25);
            let set = set(config.clone());
            add_noise(&set, &config, &people, &mut users, &looked_at).unwrap_err().to_string()
        };
        let error = said(&["v"], &["u"]);
        assert!(error.contains("d.jsonl: noise: no text by others than u has a block"), "{error}");
        // For want of others the evaluated users lend to each other, and never to themselves.
        assert!(said(&[], &["u", "v"]).contains("no text by others"));
        let error = said(&[], &["u"]);
        assert!(error.contains("nobody else's texts could come into the stream of u"), "{error}");
    }

    #[test]
    fn two_people_are_joined_between_two_periods() {
        let streams = [stream("u", 30), stream("v", 30), stream("a", 12), stream("b", 9)];
        let people = People::new(&streams, ids(&["a", "b"]), ids(&["u", "v"]));
        let mut joiner = Joiner::new(JoinConfig::default(), &people, RULE, Some(24));
        let mut first = considered("u", 24);
        let splits = joiner.join(&mut first).unwrap();
        // Of those who lend, "a" alone has two periods of five texts or more.
        assert_eq!((first.followed_by.as_ref().unwrap().as_str(), first.texts), ("a", 24));
        assert_eq!((splits.len(), Turn::of(&splits).map(Turn::place)), (4, Some(2)));
        let said = |split: &Split| -> Vec<String> {
            let texts = split.train.iter().chain(&split.test);
            texts.map(|text| text.interaction.response.split(' ').next().unwrap().into()).collect()
        };
        let people_of: Vec<Vec<String>> = splits.iter().map(said).collect();
        assert_eq!(people_of, [vec!["u"; 6], vec!["u"; 6], vec!["a"; 6], vec!["a"; 6]]);
        // The latest of both.
        assert!(splits[1].test[0].interaction.response.contains("u29"));
        assert_eq!(seqs(&splits), (1..=24).collect::<Vec<_>>());
        // Whoever follows somebody already comes last.
        let mut second = considered("v", 24);
        joiner.join(&mut second).unwrap();
        assert_eq!(second.followed_by.unwrap().as_str(), "u");

        // Whoever teaches the domain adapter follows nobody: it would know the test parts.
        for (taught, second) in [("v", "a"), ("a", "v")] {
            let people = People::new(&streams, vec![], ids(&["u", "v", "a"]));
            let people = people.with_taught(ids(&[taught]));
            let mut joiner = Joiner::new(JoinConfig::default(), &people, RULE, Some(24));
            let mut first = considered("u", 24);
            joiner.join(&mut first).unwrap();
            assert_eq!(first.followed_by.unwrap().as_str(), second);
        }

        let alone = People::new(&streams[..1], vec![], ids(&["u"]));
        let mut joiner = Joiner::new(JoinConfig::default(), &alone, RULE, None);
        let error = joiner.join(&mut considered("u", 30)).unwrap_err();
        assert!(error.starts_with("30 texts and those of no other person"), "{error}");
    }

    #[test]
    fn noise_after_a_turning_point_is_noise_among_the_second_persons_texts() {
        let streams = [stream("u", 30), stream("a", 30), stream("b", 30)];
        let people = People::new(&streams, ids(&["a", "b"]), ids(&["u"]));
        let mut joiner = Joiner::new(JoinConfig::default(), &people, RULE, Some(24));
        let mut looked_at = considered("u", 24);
        let splits = joiner.join(&mut looked_at).unwrap();
        let second = looked_at.followed_by.clone().unwrap();
        let mut users = [(looked_at.user.clone(), splits)];
        let config = NoiseConfig::new(0.25).with_kinds(vec![Noise::OtherPerson]);
        add_noise(&set(config.clone()), &config, &people, &mut users, &[looked_at]).unwrap();
        let splits = &users[0].1;
        assert_eq!(Turn::of(splits).map(Turn::place), Some(2));
        for (place, split) in splits.iter().enumerate() {
            for text in &split.train {
                let truth = Truth::of(&text.interaction).unwrap();
                assert_eq!(truth.style, usize::from(place >= 2));
                let by = &text.interaction.meta.as_ref().unwrap()["mixed"]["by"];
                let is_own = *by == "u" || *by == second.as_str();
                assert_eq!(truth.noise.is_none(), is_own, "{by}");
            }
        }
        let noise = splits
            .iter()
            .flat_map(|split| &split.train)
            .filter(|text| Truth::of(&text.interaction).unwrap().noise.is_some());
        // A third of four times five own texts.
        assert_eq!(noise.count(), 7);
    }
}
