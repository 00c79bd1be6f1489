//! Horizontal bars as SVG: nothing but shapes and text, coloured by the page's style.

use super::html::escaped;
use crate::report::text;

/// Units of a chart's width; about as many pixels on a narrow screen, so that text is readable.
const WIDTH: i128 = 300;

/// Units that the longest bar takes; a number stands behind it.
const LONGEST: i128 = 240;

/// Height of a bar.
const BAR: i128 = 12;

/// LIMIT: columns of a name above its bars.
const NAME: usize = 40;

/// A bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    /// Hundredths of a per cent of the longest possible bar.
    pub(super) basis_points: i128,
    /// What it says.
    pub(super) text: String,
}

/// What has bars of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    /// One of each series.
    pub(super) bars: Vec<Bar>,
}

/// A chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chart {
    pub(super) title: String,
    /// Names of the series, at most three.
    pub(super) series: Vec<String>,
    /// Whether the bars of a row stand one behind the other; they are one whole then.
    pub(super) is_stacked: bool,
    pub(super) rows: Vec<Row>,
}

fn length(basis_points: i128, longest: i128) -> i128 {
    basis_points.clamp(0, 10_000) * longest / 10_000
}

impl Chart {
    /// The chart as an element; `id` tells it apart from others on the page.
    pub(super) fn svg(&self, id: &str) -> String {
        let mut body = String::new();
        let mut x = 0;
        for (at, name) in self.series.iter().enumerate() {
            let width = i128::try_from(text::width(name)).unwrap_or(0);
            body.push_str(&format!(
                "<rect class=\"s{at}\" x=\"{x}\" y=\"2\" width=\"10\" height=\"10\" rx=\"2\"/>\
                 <text class=\"l\" x=\"{}\" y=\"11\">{}</text>\n",
                x + 14,
                escaped(name)
            ));
            x += 14 + width * 7 + 14;
        }
        let mut y = 24;
        for row in &self.rows {
            body.push_str(&self.row(row, &mut y));
        }
        format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {y}\" role=\"img\" \
             aria-labelledby=\"{id}-t {id}-d\">\n\
             <title id=\"{id}-t\">{}</title>\n<desc id=\"{id}-d\">{}</desc>\n{body}</svg>\n",
            escaped(&self.title),
            escaped(&self.description())
        )
    }

    fn row(&self, row: &Row, y: &mut i128) -> String {
        let visible = text::visible(&row.name);
        let name = text::fit(&visible, NAME, text::Cut::End);
        let mut out = format!(
            "<text class=\"n\" x=\"0\" y=\"{}\">{}</text>\n",
            *y + 10,
            escaped(&name)
        );
        *y += 15;
        if self.is_stacked {
            let mut x = 0;
            for (at, bar) in row.bars.iter().enumerate() {
                // Two units between what touches, so that colours are not all that tells them apart.
                let width = length(bar.basis_points, WIDTH);
                if width > 2 {
                    out.push_str(&format!(
                        "<rect class=\"s{at}\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{BAR}\" \
                         rx=\"2\"/>\n",
                        width - 2
                    ));
                }
                x += width;
            }
            *y += BAR + 12;
            let texts: Vec<&str> = row.bars.iter().map(|bar| bar.text.as_str()).collect();
            out.push_str(&format!(
                "<text class=\"v\" x=\"0\" y=\"{}\">{}</text>\n",
                *y - 1,
                escaped(&texts.join(" · "))
            ));
            *y += 8;
        } else {
            for (at, bar) in row.bars.iter().enumerate() {
                // What is there is seen.
                let least = i128::from(bar.basis_points > 0);
                let width = length(bar.basis_points, LONGEST).max(least);
                out.push_str(&format!(
                    "<rect class=\"s{at}\" x=\"0\" y=\"{y}\" width=\"{width}\" height=\"{BAR}\" \
                     rx=\"2\"/><text class=\"v\" x=\"{}\" y=\"{}\">{}</text>\n",
                    width + 5,
                    *y + 10,
                    escaped(&bar.text)
                ));
                *y += BAR + 2;
            }
            *y += 8;
        }
        out
    }

    /// The same in words, for who does not see it.
    fn description(&self) -> String {
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let bars: Vec<String> = self
                    .series
                    .iter()
                    .zip(&row.bars)
                    .map(|(series, bar)| format!("{series} {}", bar.text))
                    .collect();
                let visible = text::visible(&row.name);
                let name = text::fit(&visible, NAME, text::Cut::End);
                format!("{name}: {}", bars.join(", "))
            })
            .collect();
        format!("Bars. {}.", rows.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_says_in_words_what_it_shows_and_a_bar_never_leaves_it() {
        let bar = |basis_points, text: &str| Bar {
            basis_points,
            text: text.to_owned(),
        };
        let chart = Chart {
            title: "Share".to_owned(),
            series: vec!["spend".to_owned(), "tokens".to_owned()],
            is_stacked: false,
            rows: vec![Row {
                name: "<b>\"a\"\u{202e}".to_owned(),
                bars: vec![bar(i128::MAX, "all"), bar(-5, "none")],
            }],
        };
        let svg = chart.svg("c1");
        assert!(svg.contains(
            "<desc id=\"c1-d\">Bars. &lt;b&gt;&quot;a&quot;\\u{202e}: spend all, tokens none.</desc>"
        ));
        assert!(
            svg.contains("width=\"240\"") && svg.contains("width=\"0\""),
            "{svg}"
        );
    }
}
