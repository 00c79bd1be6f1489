//! An index as GitHub's Markdown.

use std::io::{self, Write};

use super::page::{Grid, Shown};
use crate::report::text;

/// LIMIT: columns of a name.
const NAME: usize = 60;

/// Stored text that stays text: nothing in it is markup, a link, a mention or an end of a cell.
fn escaped(stored: &str) -> String {
    let visible = text::visible(stored);
    let short = text::fit(&visible, NAME, text::Cut::End);
    let mut out = String::with_capacity(short.len() + 8);
    let mut chars = short.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // References, so that no name becomes a mention, an address or a picture.
            '@' => out.push_str("&#64;"),
            ':' if chars.peek().is_some() => out.push_str("&#58;"),
            '.' if out.to_ascii_lowercase().ends_with("www") => out.push_str("&#46;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '!' | '|' | '~' => {
                out.extend(['\\', c]);
            }
            _ => out.push(c),
        }
    }
    out
}

/// A sentence of ours with names in it.
fn words(sentence: &str) -> String {
    let words: Vec<String> = sentence.split(' ').map(escaped).collect();
    words.join(" ")
}

fn grid(out: &mut dyn Write, grid: &Grid) -> io::Result<()> {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    writeln!(out, "{}", line(&grid.heads))?;
    let rules: Vec<String> = (0..grid.heads.len())
        .map(|at| if at == 0 { "---" } else { "---:" }.to_owned())
        .collect();
    writeln!(out, "{}", line(&rules))?;
    for row in &grid.rows {
        let cells: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
        writeln!(out, "{}", line(&cells))?;
    }
    Ok(())
}

/// Writes a page. A table says what a chart does, so there are no charts.
pub(super) fn write(out: &mut dyn Write, shown: &Shown) -> io::Result<()> {
    writeln!(out, "# {}\n", words(&shown.title))?;
    writeln!(out, "{}", words(&shown.subtitle))?;
    if !shown.headline.is_empty() {
        writeln!(out)?;
        let rows = shown.headline.iter().map(|fact| fact.to_vec()).collect();
        let heads = ["", "This month", "Against the month before"];
        grid(
            out,
            &Grid {
                caption: String::new(),
                heads: heads.map(str::to_owned).to_vec(),
                rows,
            },
        )?;
    }
    for panel in &shown.panels {
        writeln!(out, "\n## {}\n", words(&panel.title))?;
        if let Some(subject) = &panel.subject {
            write!(out, "{} ", escaped(subject))?;
        }
        writeln!(out, "{}", words(&panel.words))?;
        for table in &panel.grids {
            writeln!(out)?;
            grid(out, table)?;
        }
    }
    writeln!(out, "\n---\n\n{}", words(&shown.rests_on.join(" · ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_markup() {
        assert_eq!(
            escaped("<script>a|b\n`c` [d](http://e) @f"),
            "&lt;script&gt;a\\|b\\\\n\\`c\\` \\[d\\](http&#58;//e) &#64;f"
        );
        assert_eq!(words("gpt-5.6 has 3.1 %"), "gpt-5.6 has 3.1 %");
        assert_eq!(
            words("![x](y) costs: WWW.x"),
            "\\!\\[x\\](y) costs: WWW&#46;x"
        );
        assert!(escaped(&"x".repeat(500)).chars().count() <= NAME);
    }
}
