//! An index as one HTML page that needs nothing beside it: no script, no font, no picture.

use std::io::{self, Write};

use super::page::{Grid, Panel, Shown};
use crate::report::text;

/// LIMIT: columns of a name in a table.
const NAME: usize = 60;

/// Colours are those of Okabe and Ito, which people with any colour vision tell apart; each is at
/// least 3 to 1 against its background.
const STYLE: &str = include_str!("style.css");

/// Stored text that stays text, inside of an element or an attribute.
pub(super) fn escaped(stored: &str) -> String {
    let mut out = String::with_capacity(stored.len() + 8);
    for c in text::visible(stored).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// A name: isolated, so that one written from right to left moves nothing beside it.
fn name(stored: &str) -> String {
    let visible = text::visible(stored);
    let short = text::fit(&visible, NAME, text::Cut::End);
    format!("<bdi>{}</bdi>", escaped(&short))
}

fn grid(out: &mut dyn Write, grid: &Grid) -> io::Result<()> {
    let caption = escaped(&grid.caption);
    writeln!(
        out,
        "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table>\n\
         <caption>{caption}</caption>\n<thead><tr>"
    )?;
    for head in &grid.heads {
        write!(out, "<th scope=\"col\">{}</th>", escaped(head))?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    for row in &grid.rows {
        write!(out, "<tr>")?;
        for (at, cell) in row.iter().enumerate() {
            if at == 0 {
                write!(out, "<th scope=\"row\">{}</th>", name(cell))?;
            } else {
                write!(out, "<td>{}</td>", escaped(cell))?;
            }
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")
}

fn panel(out: &mut dyn Write, number: usize, panel: &Panel) -> io::Result<()> {
    let subject = panel.subject.as_deref().map(name).unwrap_or_default();
    writeln!(
        out,
        "<section aria-labelledby=\"p{number}\">\n<h2 id=\"p{number}\">{}</h2>\n<p>{subject} {}</p>",
        escaped(&panel.title),
        escaped(&panel.words)
    )?;
    // Each table stands under its chart.
    let most = panel.charts.len().max(panel.grids.len());
    for at in 0..most {
        writeln!(out, "<figure>")?;
        if let Some(chart) = panel.charts.get(at) {
            writeln!(
                out,
                "<p class=\"title\" aria-hidden=\"true\">{}</p>",
                escaped(&chart.title)
            )?;
            out.write_all(chart.svg(&format!("c{number}-{at}")).as_bytes())?;
        }
        if let Some(table) = panel.grids.get(at) {
            grid(out, table)?;
        }
        writeln!(out, "</figure>")?;
    }
    writeln!(out, "</section>")
}

/// Writes a page.
pub(super) fn write(out: &mut dyn Write, shown: &Shown) -> io::Result<()> {
    let title = escaped(&shown.title);
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>{title}</h1>\n<p>{}</p>\n</header>\n<main>",
        escaped(&shown.subtitle)
    )?;
    if !shown.headline.is_empty() {
        writeln!(out, "<dl class=\"facts\">")?;
        for [what, number, moved] in &shown.headline {
            writeln!(
                out,
                "<div><dt>{}</dt><dd><b>{}</b> <span>{}</span></dd></div>",
                escaped(what),
                escaped(number),
                escaped(moved)
            )?;
        }
        writeln!(out, "</dl>")?;
    }
    writeln!(out, "<div class=\"panels\">")?;
    for (at, one) in (1..).zip(&shown.panels) {
        panel(out, at, one)?;
    }
    writeln!(out, "</div>\n</main>\n<footer>\n<ul>")?;
    for part in &shown.rests_on {
        writeln!(out, "<li>{}</li>", escaped(part))?;
    }
    writeln!(out, "</ul>\n</footer>\n</body>\n</html>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_markup_and_never_moves_its_neighbours() {
        assert_eq!(
            name("</table><script>alert('a')</script>&\"\u{202e}"),
            "<bdi>&lt;/table&gt;&lt;script&gt;alert(&#39;a&#39;)&lt;/script&gt;&amp;&quot;\\u{202e}</bdi>"
        );
        assert_eq!(name("שלום"), "<bdi>שלום</bdi>");
        let long = name(&"w".repeat(10_000));
        assert!(long.len() < 100, "{long}");
    }
}
