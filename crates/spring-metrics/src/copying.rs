//! How much of a text stands in other texts, word for word: the longest common substring.
//!
//! Over a suffix automaton of the text (A. Blumer et al., "The smallest automaton recognizing the
//! subwords of a text", 1985), so that every source is read once, character by character. Written
//! by hand, as crates of suffix arrays want bytes, and all sources in memory beside the text.

use std::collections::BTreeMap;

/// The longest passage of a text that stands in another one as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passage<'t> {
    /// The passage; of equally long ones the first that is found.
    pub text: &'t str,
    /// Its length in Unicode characters (scalar values).
    pub characters: usize,
}

/// A text whose passages are looked for in others.
///
/// ```
/// use spring_metrics::Passages;
/// let written = Passages::of("Dear Tom, the kettle hums.");
/// let found = written.longest_in(["I said the kettle hums again", "Dear Jane"]);
/// assert_eq!((found.text, found.characters), (" the kettle hums", 16));
/// assert_eq!(written.share(found.characters), 16.0 / 26.0);
/// ```
#[derive(Debug, Clone)]
pub struct Passages<'t> {
    text: &'t str,
    characters: usize,
    states: Vec<State>,
}

/// The passages that end at the same places of the text.
#[derive(Debug, Clone, Default)]
struct State {
    /// By the next character.
    next: BTreeMap<char, usize>,
    /// The state of the longest passage that is the end of these and stands at further places.
    link: Option<usize>,
    /// Characters of its longest passage.
    length: usize,
    /// Where its passages end for the first time, in characters.
    end: usize,
}

impl<'t> Passages<'t> {
    /// Of a text of n characters, in time n · log(different characters) and memory in proportion
    /// to n.
    pub fn of(text: &'t str) -> Self {
        let mut states = vec![State::default()];
        let (mut last, mut characters) = (0, 0);
        for sign in text.chars() {
            characters += 1;
            let new = states.len();
            states.push(State { length: characters, end: characters, ..State::default() });
            let mut at = Some(last);
            while let Some(state) = at.filter(|state| !states[*state].next.contains_key(&sign)) {
                states[state].next.insert(sign, new);
                at = states[state].link;
            }
            states[new].link = Some(match at {
                None => 0,
                Some(before) => Self::split(&mut states, before, sign),
            });
            last = new;
        }
        Self { text, characters, states }
    }

    /// The state behind `before` by a character that has no longer passages than those.
    fn split(states: &mut Vec<State>, before: usize, sign: char) -> usize {
        let behind = states[before].next[&sign];
        if states[behind].length == states[before].length + 1 {
            return behind;
        }
        let own = states.len();
        states.push(State { length: states[before].length + 1, ..states[behind].clone() });
        states[behind].link = Some(own);
        let mut at = Some(before);
        while let Some(state) = at.filter(|state| states[*state].next.get(&sign) == Some(&behind)) {
            states[state].next.insert(sign, own);
            at = states[state].link;
        }
        own
    }

    /// The longest passage that stands in one of some texts; it is empty if they share no
    /// character. Takes time in proportion to the characters of the sources.
    pub fn longest_in<'s>(&self, sources: impl IntoIterator<Item = &'s str>) -> Passage<'t> {
        // Characters of the passage, and where it ends.
        let (mut longest, mut end) = (0, 0);
        for source in sources {
            let (mut state, mut length) = (0, 0);
            for sign in source.chars() {
                loop {
                    if let Some(next) = self.states[state].next.get(&sign) {
                        (state, length) = (*next, length + 1);
                        break;
                    }
                    let Some(link) = self.states[state].link else {
                        length = 0;
                        break;
                    };
                    (state, length) = (link, self.states[link].length);
                }
                if length > longest {
                    (longest, end) = (length, self.states[state].end);
                }
            }
        }
        let place = |character: usize| {
            self.text.char_indices().nth(character).map_or(self.text.len(), |(place, _)| place)
        };
        Passage { text: &self.text[place(end - longest)..place(end)], characters: longest }
    }

    /// Some characters as a share of the text's, 0 to 1; 0 of an empty text.
    pub fn share(&self, characters: usize) -> f64 {
        if self.characters == 0 { 0.0 } else { characters as f64 / self.characters as f64 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn longest<'t>(text: &'t str, source: &str) -> Passage<'t> {
        Passages::of(text).longest_in([source])
    }

    #[test]
    fn passages_are_as_long_as_difflib_s() {
        let fixture: serde_json::Value =
            serde_json::from_str(include_str!("../tests/fixtures/persons.json")).unwrap();
        let pairs = fixture["passages"].as_array().unwrap();
        assert!(pairs.len() > 120);
        for pair in pairs {
            let [text, source] = ["text", "source"].map(|key| pair[key].as_str().unwrap());
            let found = longest(text, source);
            assert_eq!(Some(found.characters as u64), pair["characters"].as_u64(), "{pair}");
            assert!(text.contains(found.text) && source.contains(found.text));
        }
    }

    #[test]
    fn passages_by_hand() {
        for (text, source, passage) in [
            ("abcbc", "xbcbcx", "bcbc"),
            ("banana", "ananas", "anana"),
            ("the same", "the same", "the same"),
            ("", "abc", ""),
            ("abc", "", ""),
            ("abc", "xyz", ""),
            ("Grüße, Jürgen", "viele Grüße", "Grüße"),
            ("日本語のテキスト", "本語の", "本語の"),
            // Of equally long ones the first that is found.
            ("ab cd", "cd ab", "cd"),
        ] {
            let found = longest(text, source);
            assert_eq!((found.text, found.characters), (passage, passage.chars().count()));
        }
        let written = Passages::of("abcd");
        assert_eq!(written.longest_in(["ab", "bcd", "a"]).text, "bcd");
        assert_eq!(written.longest_in([]).characters, 0);
        // No passage goes from one source to the next.
        assert_eq!(written.longest_in(["ab", "cd"]).characters, 2);
        assert_eq!((written.share(3), Passages::of("").share(0)), (0.75, 0.0));
    }

    proptest! {
        #[test]
        fn no_longer_passage_is_shared(text in "[abé]{0,24}", source in "[abé]{0,24}") {
            let signs: Vec<char> = text.chars().collect();
            let mut longest_shared = 0;
            for from in 0..signs.len() {
                for to in from + 1..=signs.len() {
                    let passage: String = signs[from..to].iter().collect();
                    if source.contains(&passage) {
                        longest_shared = longest_shared.max(to - from);
                    }
                }
            }
            let found = longest(&text, &source);
            prop_assert_eq!(found.characters, longest_shared);
            prop_assert_eq!(found.text.chars().count(), longest_shared);
            prop_assert!(source.contains(found.text));
        }
    }
}
