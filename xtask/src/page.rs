//! Tables that programs write into a page, between markers, and the rest of the page, which they
//! leave alone.

use anyhow::{Result, ensure};

fn begin(name: &str) -> String {
    format!("<!-- begin {name} -->\n")
}

fn end(name: &str) -> String {
    format!("<!-- end {name} -->\n")
}

/// The page with another content of one block; a new block goes to the end.
///
/// # Errors
///
/// The page has only one of the block's two markers.
pub fn with_block(page: &str, name: &str, content: &str) -> Result<String> {
    let [begin, end] = [begin(name), end(name)];
    let content = content.trim_end();
    let Some((before, rest)) = page.split_once(&begin) else {
        ensure!(!page.contains(&end), "the page has `{}` without the marker before it", end.trim());
        return Ok(format!("{}\n\n{begin}\n{content}\n\n{end}", page.trim_end()));
    };
    let after = rest.split_once(&end);
    ensure!(after.is_some(), "the page has `{}` without the marker after it", begin.trim());
    let after = after.map_or("", |(_, after)| after);
    Ok(format!("{before}{begin}\n{content}\n\n{end}{after}"))
}

/// Finds blocks in a program's output, line by line.
#[derive(Debug, Default)]
pub struct Blocks {
    open: Option<(String, String)>,
}

impl Blocks {
    /// Takes a line in; gives the name and content of the block that it ends.
    pub fn add(&mut self, line: &str) -> Option<(String, String)> {
        if let Some(name) =
            line.strip_prefix("<!-- begin ").and_then(|rest| rest.strip_suffix(" -->"))
        {
            self.open = Some((name.to_owned(), String::new()));
            return None;
        }
        if line.starts_with("<!-- end ") {
            return self.open.take();
        }
        if let Some((_, content)) = &mut self.open {
            *content += line;
            content.push('\n');
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_takes_the_place_of_the_old_one_and_nothing_else() {
        let page = "# Speed\n\nBefore.\n\n<!-- begin a -->\nold\n<!-- end a -->\n\nAfter.\n";
        let new = with_block(page, "a", "| new |\n").unwrap();
        assert_eq!(
            new,
            "# Speed\n\nBefore.\n\n<!-- begin a -->\n\n| new |\n\n<!-- end a -->\n\nAfter.\n"
        );
        assert_eq!(with_block(&new, "a", "| new |\n").unwrap(), new);
        let more = with_block(&new, "b", "two").unwrap();
        assert_eq!(more, format!("{new}\n<!-- begin b -->\n\ntwo\n\n<!-- end b -->\n"));
    }

    #[test]
    fn a_marker_without_its_partner_is_an_error() {
        assert!(with_block("<!-- begin a -->\nold\n", "a", "new").is_err());
        assert!(with_block("old\n<!-- end a -->\n", "a", "new").is_err());
    }

    #[test]
    fn blocks_are_found_between_other_lines() {
        let mut blocks = Blocks::default();
        let lines =
            "hello\n<!-- begin a -->\n1\n2\n<!-- end a -->\n3\n<!-- begin b -->\n<!-- end b -->";
        let found: Vec<_> = lines.lines().filter_map(|line| blocks.add(line)).collect();
        assert_eq!(found, [("a".into(), "1\n2\n".into()), ("b".into(), String::new())]);
    }
}
