//! What is asked of the engine.

use spring_core::{
    Ask, Config, Question, TextGeneration, UserModel,
    prompt::{Earlier, Turn},
    spring_memory::UserId,
};
use spring_numerics::setters;

/// A request for one or more texts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// Who asks: keys take turns, and each has a bound on what it may have waiting.
    pub key: String,
    /// Who asks, where the key speaks for many and somebody is named; it need not be a user. What
    /// one person has asked of the base is not seen by how soon another is answered. A user of the
    /// state is the same person whatever the key; others are so under one key alone. Where nobody
    /// is named, it is whoever has the key.
    pub person: Option<String>,
    /// Whose model answers; `None` for the base alone.
    pub user: Option<UserId>,
    /// What is to be answered.
    pub input: Input,
    /// How many texts. Default 1.
    pub choices: usize,
    /// How many of the likeliest tokens are told with each; `None` for no log-probabilities.
    pub likely: Option<usize>,
    /// Whether a prompt that does not fit is refused; else its beginning is cut off. Default true.
    pub whole: bool,
    /// What is other than the state's settings say.
    pub changes: Changes,
}

impl Request {
    /// Asks the base for one text, by the state's settings.
    pub fn new(input: Input) -> Self {
        Self {
            key: String::new(),
            person: None,
            user: None,
            input,
            choices: 1,
            likely: None,
            whole: true,
            changes: Changes::default(),
        }
    }

    /// Asks a person's model instead.
    #[must_use]
    pub fn of_user(self, user: UserId) -> Self {
        Self { user: Some(user), ..self }
    }

    /// Asked by this key.
    #[must_use]
    pub fn by(self, key: impl Into<String>) -> Self {
        Self { key: key.into(), ..self }
    }

    /// Asked by this person, for whom the key speaks.
    #[must_use]
    pub fn by_person(self, person: impl Into<String>) -> Self {
        Self { person: Some(person.into()), ..self }
    }

    /// Asks for several texts. The first is that of a request for one; of the others, each draws
    /// with a seed of its own.
    #[must_use]
    pub fn with_choices(self, choices: usize) -> Self {
        Self { choices, ..self }
    }

    /// With other settings than the state's.
    #[must_use]
    pub fn with_changes(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// With log-probabilities of the tokens, and of this many of the likeliest.
    #[must_use]
    pub fn with_likely(self, likely: Option<usize>) -> Self {
        Self { likely, ..self }
    }

    /// The texts that a person's model is to write for it.
    pub(crate) fn texts(&self, person: &UserModel<'_>) -> spring_core::Result<Vec<TextGeneration>> {
        let config = self.changes.over(person.config());
        let question = match &self.input {
            Input::Chat { system, turns, prompt } => {
                Question::Prompt { earlier: Earlier::new(system.as_deref(), turns), prompt }
            }
            Input::Text(text) => Question::Text(text),
            Input::Tokens(ids) => Question::Tokens(ids),
        };
        let mut ask = Ask::new(question).with_config(&config).with_likely(self.likely);
        if self.whole {
            ask = ask.whole();
        }
        let first = TextGeneration::of(person, ask)?;
        let seed = config.decoding.sampler.seed;
        let others: Vec<TextGeneration> = (1..self.choices as u64)
            .map(|choice| first.with_seed(seed_of(seed, choice)))
            .collect::<spring_core::Result<_>>()?;
        Ok([first].into_iter().chain(others).collect())
    }
}

/// The seed of one of several texts; that of the first is the request's own.
fn seed_of(seed: u64, choice: u64) -> u64 {
    // Steps of the golden ratio: no two choices of one seed meet, and small seeds do not overlap.
    seed.wrapping_add(choice.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// What is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A prompt in a conversation, under the model's chat template if it has one.
    Chat {
        /// Instructions that stand above everything.
        system: Option<String>,
        /// What was said so far.
        turns: Vec<Turn>,
        /// What is answered.
        prompt: String,
    },
    /// A text that is continued as it is.
    Text(String),
    /// The same as tokens.
    Tokens(Vec<u32>),
}

impl Input {
    /// A prompt alone.
    pub fn prompt(prompt: impl Into<String>) -> Self {
        Self::Chat { system: None, turns: Vec::new(), prompt: prompt.into() }
    }
}

/// Settings of one request; what is `None` is as the state's settings say.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Changes {
    /// Most new tokens.
    pub max_tokens: Option<usize>,
    /// 0 is greedy.
    pub temperature: Option<f32>,
    /// See [`SamplerConfig::top_p`](spring_core::spring_fuse::SamplerConfig::top_p).
    pub top_p: Option<f32>,
    /// See [`SamplerConfig::top_k`](spring_core::spring_fuse::SamplerConfig::top_k).
    pub top_k: Option<usize>,
    /// See [`SamplerConfig::min_p`](spring_core::spring_fuse::SamplerConfig::min_p).
    pub min_p: Option<f32>,
    /// The key of the draws.
    pub seed: Option<u64>,
    /// See [`Penalties::frequency`](spring_core::spring_fuse::Penalties::frequency).
    pub frequency: Option<f32>,
    /// See [`Penalties::presence`](spring_core::spring_fuse::Penalties::presence).
    pub presence: Option<f32>,
    /// See [`Penalties::repetition`](spring_core::spring_fuse::Penalties::repetition).
    pub repetition: Option<f32>,
    /// Texts that end an answer, in place of those of the settings.
    pub stop: Option<Vec<String>>,
}

setters! {
    Changes {
        with_max_tokens(max_tokens: Option<usize>);
        with_temperature(temperature: Option<f32>);
        with_top_p(top_p: Option<f32>);
        with_top_k(top_k: Option<usize>);
        with_min_p(min_p: Option<f32>);
        with_seed(seed: Option<u64>);
        with_frequency(frequency: Option<f32>);
        with_presence(presence: Option<f32>);
        with_repetition(repetition: Option<f32>);
        with_stop(stop: Option<Vec<String>>);
    }
}

impl Changes {
    /// Settings with these changes.
    fn over(&self, config: &Config) -> Config {
        let mut config = config.clone();
        let decoding = &mut config.decoding;
        fn set<T: Clone>(to: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                *to = value.clone();
            }
        }
        let (sampler, penalties) = (&mut decoding.sampler, &mut decoding.penalties);
        set(&mut sampler.temperature, &self.temperature);
        set(&mut sampler.seed, &self.seed);
        set(&mut sampler.top_p, &self.top_p.map(Some));
        set(&mut sampler.top_k, &self.top_k.map(Some));
        set(&mut sampler.min_p, &self.min_p.map(Some));
        set(&mut penalties.frequency, &self.frequency);
        set(&mut penalties.presence, &self.presence);
        set(&mut penalties.repetition, &self.repetition);
        set(&mut decoding.stop, &self.stop);
        set(&mut decoding.max_new_tokens, &self.max_tokens.map(Some));
        config
    }
}
