//! Colour and mark of each method: the same in every plot, of a person and of a comparison.

use std::collections::HashMap;

use plotters::style::RGBColor;

use crate::plots::{self, Mark};

/// How a method is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) color: RGBColor,
    /// The colour's name in the style sheet.
    pub(crate) ink: &'static str,
    pub(crate) mark: Mark,
}

const fn look((color, ink): (RGBColor, &'static str), mark: Mark) -> Look {
    Look { color, ink, mark }
}

const GREY: (RGBColor, &str) = (plots::GREY, "grey");
const RED: (RGBColor, &str) = (plots::RED, "red");
const GREEN: (RGBColor, &str) = (plots::GREEN, "green");
const BLUE: (RGBColor, &str) = (plots::BLUE, "blue");
const PURPLE: (RGBColor, &str) = (plots::PURPLE, "purple");
const GOLD: (RGBColor, &str) = (plots::GOLD, "gold");
const SKY: (RGBColor, &str) = (plots::SKY, "sky");

/// Methods that a person's page has too.
const KNOWN: [(&str, Look); 4] = [
    ("base", look(GREY, Mark::Cross)),
    ("static", look(RED, Mark::Square)),
    ("spring_adapter", look(GREEN, Mark::Triangle)),
    ("spring", look(BLUE, Mark::Disc)),
];

/// The look of a method that every page knows; that of the base for any other.
pub(crate) fn known(method: &str) -> Look {
    KNOWN.iter().find(|known| known.0 == method).map_or(KNOWN[0].1, |known| known.1)
}

/// The looks of the methods of a comparison.
#[derive(Debug)]
pub(crate) struct Looks(HashMap<String, Look>);

impl Looks {
    /// By the order in which they come first; the known ones keep their own.
    pub(crate) fn of<'m>(methods: impl IntoIterator<Item = &'m str>) -> Self {
        // Colours that nobody has come first.
        let inks = [PURPLE, GOLD, SKY, BLUE, RED, GREEN, GREY];
        let marks = [Mark::Disc, Mark::Triangle, Mark::Square, Mark::Cross];
        let all = marks.into_iter().flat_map(|mark| inks.map(|ink| look(ink, mark)));
        let mut free = all.filter(|look| KNOWN.iter().all(|known| known.1 != *look)).cycle();
        let mut looks = HashMap::new();
        for method in methods {
            if looks.contains_key(method) {
                continue;
            }
            let own = KNOWN.iter().find(|known| known.0 == method).map(|known| known.1);
            looks.extend(own.or_else(|| free.next()).map(|look| (method.to_owned(), look)));
        }
        Self(looks)
    }

    pub(crate) fn get(&self, method: &str) -> Look {
        self.0.get(method).copied().unwrap_or(KNOWN[0].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_look_of_its_own_and_the_known_ones_theirs() {
        let others: Vec<String> = (0..16).map(|i| format!("spring:epochs={i}")).collect();
        let names = || KNOWN.iter().map(|known| known.0).chain(others.iter().map(String::as_str));
        let looks = Looks::of(names().chain(["base"]));
        let all: Vec<Look> = names().map(|name| looks.get(name)).collect();
        for (place, look) in all.iter().enumerate() {
            assert!(!all[..place].contains(look), "{place}: {look:?}");
        }
        assert!(names().take(4).all(|name| looks.get(name) == known(name)));
    }
}
