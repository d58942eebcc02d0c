//! Stop strings: a text ends before the first of them.

/// Looks for stop strings in a text that comes in parts, and holds back what may become one.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
}

impl StopStrings {
    /// Looks for these; empty ones are left out.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, held: String::new() }
    }

    /// The text that is certain after one more part, and whether a stop string ends it.
    ///
    /// It ends with the stop string that is complete first, whatever the parts are; of those that
    /// are complete at the same character, with the longest.
    pub fn push(&mut self, part: &str) -> (String, bool) {
        self.held.push_str(part);
        let found = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        if let Some((_, start)) = found.min() {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(start);
            return (text, true);
        }
        let begins =
            |start: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*start..]));
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        let starts = self.held.char_indices().map(|(at, _)| at).filter(|at| *at >= from);
        let certain = starts.into_iter().find(begins).unwrap_or(self.held.len());
        let rest = self.held.split_off(certain);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back and became no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text up to the first stop string, character by character.
    fn expected(text: &str, stops: &[String]) -> (String, bool) {
        for (at, character) in text.char_indices() {
            let end = at + character.len_utf8();
            let ends = stops.iter().filter(|stop| text[..end].ends_with(stop.as_str()));
            if let Some(longest) = ends.map(String::len).max() {
                return (text[..end - longest].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    proptest! {
        #[test]
        fn a_text_ends_before_the_first_stop_string_however_it_comes(
            parts in prop::collection::vec("[abé]{0,3}", 0..12),
            stops in prop::collection::vec("[abé]{1,4}", 0..4),
        ) {
            let (wanted, stopped) = expected(&parts.concat(), &stops);
            let (mut strings, mut text) = (StopStrings::new(&stops), String::new());
            let mut found = false;
            for part in &parts {
                let (certain, is_end) = strings.push(part);
                text.push_str(&certain);
                // Nothing leaks: what has been given is never taken back.
                prop_assert!(wanted.starts_with(&text), "{text} of {wanted}");
                found = is_end;
                if found {
                    break;
                }
            }
            if !found {
                text.push_str(&strings.finish());
            }
            prop_assert_eq!((text, found), (wanted, stopped));
        }
    }

    #[test]
    fn without_stop_strings_nothing_is_held_back() {
        let mut none = StopStrings::new(&[String::new()]);
        assert_eq!(none.push("any text\n"), ("any text\n".into(), false));
        assert_eq!(none.finish(), "");
    }
}
