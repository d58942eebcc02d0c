//! A template's source, rewritten where the engine's Jinja differs from Python's.
//!
//! Three things are no filters, tests or methods that could be added to the engine: the tag
//! `generation`, loops whose length Python knows, and `%` after a string.

use std::ops::Range;

/// Loops run over `(…)|python_sequence`.
pub(super) const SEQUENCE: &str = "python_sequence";
/// `a % b` becomes `(a)|python_remainder(b)`.
pub(super) const REMAINDER: &str = "python_remainder";

/// The source as the engine is given it: line ends are `\n`, as Jinja reads them.
pub(super) fn rewrite(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut edits = Vec::new();
    let mut at = 0;
    while let Some(begin) = source[at..].find("{").map(|offset| at + offset) {
        at = match source.as_bytes().get(begin + 1) {
            Some(b'#') => find(&source, begin + 2, "#}"),
            Some(b'{') => {
                let tokens = tokens(&source, begin + 2, "}}");
                remainders(&source, &tokens, &mut edits);
                escapes(&source, &tokens, &mut edits);
                end(&tokens, begin + 2, source.len())
            }
            Some(b'%') => {
                let first = begin
                    + 2
                    + usize::from(matches!(source.as_bytes().get(begin + 2), Some(b'-' | b'+')));
                let tokens = tokens(&source, first, "%}");
                let after = end(&tokens, first, source.len());
                match tokens.first().map(|token| &source[token.range.clone()]) {
                    Some("raw") => end_of_raw(&source, after),
                    name => {
                        statement(&source, name, &tokens, &mut edits);
                        remainders(&source, &tokens, &mut edits);
                        escapes(&source, &tokens, &mut edits);
                        after
                    }
                }
            }
            _ => begin + 1,
        };
    }
    apply(&source, edits)
}

/// Text that takes the place of a range of the source.
struct Edit {
    range: Range<usize>,
    text: String,
}

fn insert(at: usize, text: impl Into<String>) -> Edit {
    Edit { range: at..at, text: text.into() }
}

fn apply(source: &str, mut edits: Vec<Edit>) -> String {
    // A parenthesis that closes comes before one that opens at the same place.
    edits.sort_by_key(|edit| (edit.range.start, edit.text == "("));
    let mut out = String::with_capacity(source.len() + 16 * edits.len());
    let mut at = 0;
    for edit in edits {
        out.push_str(&source[at..edit.range.start]);
        out.push_str(&edit.text);
        at = edit.range.end;
    }
    out + &source[at..]
}

fn find(source: &str, from: usize, text: &str) -> usize {
    source
        .get(from..)
        .and_then(|rest| rest.find(text))
        .map_or(source.len(), |at| from + at + text.len())
}

/// The place after `{% endraw %}`.
fn end_of_raw(source: &str, mut at: usize) -> usize {
    while let Some(offset) = source[at..].find("{%") {
        let tag = at + offset + 2;
        let inside = source[tag..].trim_start_matches(['-', '+']).trim_start();
        at = find(source, tag, "%}");
        if inside.starts_with("endraw") {
            return at;
        }
    }
    source.len()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Name,
    Number,
    Sign,
    /// Where the tag ends: its range is that of the mark, with the sign before it.
    End,
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    range: Range<usize>,
    /// How many brackets are open around it; a bracket stands outside of what it encloses.
    depth: usize,
}

fn end(tokens: &[Token], from: usize, len: usize) -> usize {
    match tokens.last() {
        Some(last) if last.kind == Kind::End => last.range.end,
        _ => len.max(from),
    }
}

/// The tokens of a tag, up to its end mark.
fn tokens(source: &str, from: usize, mark: &str) -> Vec<Token> {
    const LONG_SIGNS: [&str; 6] = ["==", "!=", "<=", ">=", "//", "**"];
    let mut tokens = Vec::new();
    let (mut at, mut depth) = (from, 0_usize);
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let sign = usize::from(matches!(first, '-' | '+'));
        if depth == 0 && rest[sign..].starts_with(mark) {
            let range = at..at + sign + mark.len();
            tokens.push(Token { kind: Kind::End, range, depth });
            break;
        }
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let (kind, len) = match first {
            '\'' | '"' => (Kind::Text, text_len(rest, first)),
            '0'..='9' => (Kind::Number, number_len(rest)),
            c if word(c) => (Kind::Name, rest.find(|c| !word(c)).unwrap_or(rest.len())),
            _ if LONG_SIGNS.iter().any(|long| rest.starts_with(long)) => (Kind::Sign, 2),
            c => (Kind::Sign, c.len_utf8()),
        };
        if matches!(first, ')' | ']' | '}') {
            depth = depth.saturating_sub(1);
        }
        tokens.push(Token { kind, range: at..at + len, depth });
        if matches!(first, '(' | '[' | '{') {
            depth += 1;
        }
        at += len;
    }
    tokens
}

fn text_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn number_len(rest: &str) -> usize {
    let digits = |from: usize| {
        let rest = &rest[from..];
        from + rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
    };
    let whole = digits(0);
    let fraction = rest[whole..]
        .strip_prefix('.')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if fraction { digits(whole + 1) } else { whole }
}

/// `generation` marks what a model is trained on; it writes nothing, but has its own scope.
fn statement(source: &str, name: Option<&str>, tokens: &[Token], edits: &mut Vec<Edit>) {
    let Some(first) = tokens.first() else { return };
    match name {
        Some("generation") => edits.push(Edit { range: first.range.clone(), text: "with".into() }),
        Some("endgeneration") => {
            edits.push(Edit { range: first.range.clone(), text: "endwith".into() })
        }
        Some("for") => {
            let is = |token: &Token, words: &[&str]| {
                token.kind == Kind::Name
                    && token.depth == 0
                    && words.contains(&&source[token.range.clone()])
            };
            let Some(keyword) = tokens.iter().position(|token| is(token, &["in"])) else { return };
            let after = &tokens[keyword + 1..];
            let stop =
                after.iter().position(|t| t.kind == Kind::End || is(t, &["if", "recursive"]));
            let Some((first, last)) =
                stop.and_then(|stop| Some((after.first()?, after[..stop].last()?)))
            else {
                return;
            };
            edits.push(insert(first.range.start, "("));
            edits.push(insert(last.range.end, format!(")|{SEQUENCE}")));
        }
        _ => {}
    }
}

/// Every `%` of a tag; its left side is the whole chain of products before it.
fn remainders(source: &str, tokens: &[Token], edits: &mut Vec<Edit>) {
    for (index, sign) in tokens.iter().enumerate() {
        if sign.kind != Kind::Sign || &source[sign.range.clone()] != "%" {
            continue;
        }
        let (Some(left), Some(right)) =
            (left_side(source, &tokens[..index]), right_side(source, &tokens[index + 1..]))
        else {
            continue;
        };
        edits.push(insert(left, "("));
        edits.push(Edit { range: sign.range.clone(), text: format!(")|{REMAINDER}(") });
        edits.push(insert(right, ")"));
    }
}

const KEYWORDS: [&str; 10] =
    ["and", "or", "not", "in", "is", "if", "elif", "else", "set", "recursive"];

/// Whether a token ends an operand, so that a sign after it has two sides.
fn ends_operand(source: &str, token: &Token) -> bool {
    let text = &source[token.range.clone()];
    match token.kind {
        Kind::Text | Kind::Number => true,
        Kind::Name => !KEYWORDS.contains(&text),
        Kind::Sign => matches!(text, ")" | "]" | "}"),
        Kind::End => false,
    }
}

fn left_side(source: &str, before: &[Token]) -> Option<usize> {
    let depth = before.last()?.depth;
    let mut begin = None;
    for (index, token) in before.iter().enumerate().rev() {
        let text = &source[token.range.clone()];
        if token.depth < depth {
            break;
        }
        if token.depth > depth {
            continue;
        }
        let operand_before =
            index.checked_sub(1).is_some_and(|before_it| ends_operand(source, &before[before_it]));
        match token.kind {
            Kind::Name if KEYWORDS.contains(&text) => break,
            Kind::Sign if matches!(text, "+" | "-") && !operand_before => {}
            Kind::Sign
                if matches!(
                    text,
                    "+" | "-" | "~" | "," | ":" | "=" | "==" | "!=" | "<" | ">" | "<=" | ">="
                ) =>
            {
                break;
            }
            _ => {}
        }
        begin = Some(token.range.start);
    }
    begin
}

fn right_side(source: &str, after: &[Token]) -> Option<usize> {
    let text = |token: &Token| &source[token.range.clone()];
    let mut rest = after.iter().peekable();
    let depth = rest.peek()?.depth;
    // A bracket is passed over with all that it encloses.
    let close = |rest: &mut std::iter::Peekable<std::slice::Iter<'_, Token>>| {
        rest.find(|token| token.depth == depth && matches!(text(token), ")" | "]" | "}"))
            .map(|t| t.range.end)
    };
    let mut end = None;
    loop {
        while rest.next_if(|token| matches!(text(token), "-" | "+")).is_some() {}
        let first = rest.next().filter(|token| token.depth == depth && token.kind != Kind::End)?;
        end = match text(first) {
            "(" | "[" | "{" => Some(close(&mut rest)?),
            _ if first.kind != Kind::Sign => Some(first.range.end),
            _ => return end,
        };
        while let Some(token) = rest.next_if(|token| {
            matches!(text(token), "." | "|" | "(" | "[")
                || (token.kind == Kind::Text && first.kind == Kind::Text)
        }) {
            end = match text(token) {
                "." | "|" => Some(rest.next()?.range.end),
                "(" | "[" => Some(close(&mut rest)?),
                _ => Some(token.range.end),
            };
        }
        if rest.next_if(|token| text(token) == "**").is_none() {
            return end;
        }
    }
}

/// Escapes of Python's strings that the engine does not have, or reads as JavaScript does.
fn escapes(source: &str, tokens: &[Token], edits: &mut Vec<Edit>) {
    for token in tokens.iter().filter(|token| token.kind == Kind::Text) {
        let mut chars = source[token.range.clone()].char_indices();
        while let Some((at, c)) = chars.next() {
            if c != '\\' {
                continue;
            }
            let Some((_, kind)) = chars.next() else { break };
            let begin = token.range.start + at;
            let text = match kind {
                '/' => "\\\\/".to_owned(),
                'a' => "\\x07".to_owned(),
                'v' => "\\x0b".to_owned(),
                '\n' => String::new(),
                'U' => {
                    let digits = source
                        .get(begin + 2..begin + 10)
                        .and_then(|hex| u32::from_str_radix(hex, 16).ok());
                    let Some(c) = digits.and_then(char::from_u32) else { continue };
                    edits.push(Edit { range: begin..begin + 10, text: c.to_string() });
                    continue;
                }
                _ => continue,
            };
            edits.push(Edit { range: begin..begin + 1 + kind.len_utf8(), text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_loops_and_remainders_are_rewritten_and_nothing_else() {
        for (source, expected) in [
            ("a\r\nb\rc{{ '\r\n' }}", "a\nb\nc{{ '\n' }}"),
            ("{%- generation -%}x{%endgeneration%}", "{%- with -%}x{%endwith%}"),
            (
                "{# {% generation %} #}{{ '{% generation %}' }}",
                "{# {% generation %} #}{{ '{% generation %}' }}",
            ),
            ("{% raw %}{% generation %}{%- endraw %}", "{% raw %}{% generation %}{%- endraw %}"),
            (
                "{% for a, b in x.items() if a in y %}",
                "{% for a, b in (x.items())|python_sequence if a in y %}",
            ),
            (
                "{%- for c in (a if b else d) -%}",
                "{%- for c in ((a if b else d))|python_sequence -%}",
            ),
            ("{% for m in n recursive %}", "{% for m in (n)|python_sequence recursive %}"),
            ("{% if loop.index0 % 2 == 0 %}", "{% if (loop.index0 )|python_remainder( 2) == 0 %}"),
            (
                "{% if (a == 'u') != (loop.index0 % 2 == 0) %}",
                "{% if (a == 'u') != ((loop.index0 )|python_remainder( 2) == 0) %}",
            ),
            (
                "{{ '%s: %s' % (m.role, m.content) }}",
                "{{ ('%s: %s' )|python_remainder( (m.role, m.content)) }}",
            ),
            (
                "{{ a + b * c % -d.e(1)[0]|f % 3 }}",
                "{{ a + ((b * c )|python_remainder( -d.e(1)[0]|f) )|python_remainder( 3) }}",
            ),
            ("{{ {'a': {'b': 1}} }}% }}", "{{ {'a': {'b': 1}} }}% }}"),
            (r"{{ 'a\/b' ~ '\U0001F600' }}", r"{{ 'a\\/b' ~ '😀' }}"),
            ("{{ 'open", "{{ 'open"),
            ("{% raw", "{% raw"),
            ("{ {% if x %}}", "{ {% if x %}}"),
        ] {
            assert_eq!(rewrite(source), expected);
        }
    }
}
