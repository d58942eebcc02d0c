//! Numbers in words.

/// A number with a true minus sign; a dash where there is none.
pub(crate) fn number(value: impl Into<Option<f64>>, decimals: usize) -> String {
    match value.into().filter(|value| value.is_finite()) {
        Some(value) => {
            let digits = format!("{:.decimals$}", value.abs());
            let zero = digits.bytes().all(|digit| matches!(digit, b'0' | b'.'));
            if value < 0.0 && !zero { format!("−{digits}") } else { digits }
        }
        None => "–".into(),
    }
}

/// A whole number and its noun: "1 text", "2 texts".
pub(crate) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A part in percent.
pub(crate) fn percent(part: f64) -> String {
    format!("{}\u{a0}%", number(100.0 * part, 0))
}

/// "1", "1 and 2", "1, 2 and 3".
pub(crate) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

/// A name for a file, of letters, digits and hyphens: names of data sets may hold anything.
pub(crate) fn file_name(name: &str) -> String {
    name.chars().map(|sign| if sign.is_alphanumeric() { sign } else { '-' }).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_and_lists() {
        assert_eq!(number(-1.25, 1), "−1.2");
        assert_eq!(number(-0.0004, 3), "0.000");
        assert_eq!((number(f64::NAN, 2), number(None, 2)), ("–".into(), "–".into()));
        assert_eq!((count(1, "text"), count(0, "text")), ("1 text".into(), "0 texts".into()));
        let names = ["a", "b", "c"].map(String::from);
        assert_eq!(
            (listed(&names), listed(&names[..2]), listed(&names[..1])),
            ("a, b and c".into(), "a and b".into(), "a".into())
        );
    }
}
