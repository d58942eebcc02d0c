//! What synthetic users write: contents, styles to write them in, and noise.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

const GREETINGS: [&str; 6] = [
    "Hi all,",
    "Dear neighbours,",
    "Hey there,",
    "Good morning,",
    "To whom it may concern:",
    "Folks,",
];
const OPENINGS: [&str; 6] = [
    "Quick note:",
    "I wanted to let you know that",
    "So,",
    "For the record,",
    "You will be glad to hear that",
    "Long story short,",
];
const GOOD: [&str; 6] =
    ["great", "most satisfactory", "super nice", "quite pleasant", "brilliant", "decent"];
const BAD: [&str; 6] =
    ["awful", "rather disappointing", "a total mess", "less than ideal", "hopeless", "poor"];
const CONNECTIVES: [&str; 6] =
    ["Also,", "Furthermore,", "Oh, and", "Besides,", "By the way,", "On top of that,"];
const CLOSINGS: [&str; 6] =
    ["Cheers!", "Kind regards", "Talk soon", "Respectfully yours", "Over and out.", "Thanks a lot"];
const MARKS: [&str; 6] = [".", "!", " ...", ";", "!!", " -"];

/// What a style decides: a choice from each of the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style([usize; 6]);

impl Style {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self(std::array::from_fn(|_| rng.random_range(0..6)))
    }

    /// A style that differs in every choice.
    pub(super) fn opposite(self, rng: &mut ChaCha8Rng) -> Self {
        Self(self.0.map(|choice| (choice + rng.random_range(1..6)) % 6))
    }
}

pub(super) const TOPICS: [&str; 16] = [
    "the bakery",
    "our bus line",
    "the school garden",
    "the old bridge",
    "the reading group",
    "the market hall",
    "the swimming pool",
    "the choir",
    "the bicycle shed",
    "the town library",
    "the new playground",
    "the ferry",
    "the film club",
    "the allotments",
    "the repair cafe",
    "the weather station",
];
const EVENTS: [&str; 10] = [
    "opened again on Monday",
    "moved its meeting to the evening",
    "lost two volunteers",
    "found a new roof",
    "raised its prices",
    "ran out of chairs",
    "won a small prize",
    "closed for repairs",
    "changed its timetable",
    "invited everybody to lunch",
];
const DETAILS: [&str; 10] = [
    "the door was painted green",
    "nobody had brought a key",
    "there were forty guests",
    "the lamp kept flickering",
    "a dog slept under the table",
    "the rain came through the window",
    "the coffee was free",
    "the list hangs at the entrance",
    "the children drew a map",
    "two buckets are missing",
];

/// What a message says, whatever the style.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    topic: &'static str,
    event: &'static str,
    detail: &'static str,
    good: bool,
}

impl Content {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self {
            topic: TOPICS[rng.random_range(0..TOPICS.len())],
            event: EVENTS[rng.random_range(0..EVENTS.len())],
            detail: DETAILS[rng.random_range(0..DETAILS.len())],
            good: rng.random(),
        }
    }

    pub(super) fn asked(self) -> String {
        format!("Write a message about {}, which {}; {}.", self.topic, self.event, self.detail)
    }

    pub(super) fn written(self, style: Style) -> String {
        let Style([greeting, opening, adjective, connective, closing, mark]) = style;
        let opinion = if self.good { GOOD[adjective] } else { BAD[adjective] };
        let mark = MARKS[mark];
        format!(
            "{} {} {} {}{mark} I find that {opinion}{mark} {} {}{mark} {}",
            GREETINGS[greeting],
            OPENINGS[opening],
            self.topic,
            self.event,
            CONNECTIVES[connective],
            self.detail,
            CLOSINGS[closing]
        )
    }
}

pub(super) fn forwarded(rng: &mut ChaCha8Rng) -> String {
    let number = rng.random_range(10_000..100_000);
    let what = ["Invoice", "Parcel", "Ticket", "Booking"][rng.random_range(0..4)];
    format!(
        "FW: {what} {number} has been processed. This message was sent automatically, please do \
         not reply to it."
    )
}

pub(super) fn garbled(rng: &mut ChaCha8Rng) -> String {
    let words = rng.random_range(8..20);
    let mut word =
        || (0..rng.random_range(2..9)).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect();
    (0..words).map(|_| word()).collect::<Vec<String>>().join(" ")
}
