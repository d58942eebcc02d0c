//! White space as Python's `str` counts it, for scores that are to be those of Python packages.

/// The parts of a text between white space, as Python's `str.split()` gives them.
///
/// ```
/// use spring_numerics::whitespace::split_as_python;
/// let words: Vec<&str> = split_as_python(" a b,\tA\u{1c}c\u{a0}d\n").collect();
/// assert_eq!(words, ["a", "b,", "A", "c", "d"]);
/// ```
pub fn split_as_python(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_python_space).filter(|part| !part.is_empty())
}

/// Whether Python counts a character as white space: Unicode's property, which Rust follows, and
/// the four separators of ASCII.
pub fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}
