//! What the reports on spend share: changes of money and shares in words, and paragraphs.

use std::io::{self, Write};

use super::table::{self, Align, Cell, Column, Table};
use super::text::{self, Cut};
use super::{Format, Page};

/// LIMIT: columns of a name inside of a sentence.
const NAME: usize = 40;

/// Money without its sign, from billionths of a dollar.
pub(super) fn money(nanousd: i128) -> String {
    text::money(u64::try_from(nanousd.unsigned_abs()).unwrap_or(u64::MAX))
}

/// A change of money, with its sign.
pub(super) fn change(nanousd: i128) -> String {
    match nanousd {
        0 => money(0),
        1.. => format!("+{}", money(nanousd)),
        _ => format!("−{}", money(nanousd)),
    }
}

/// By how much of the first the second is more or less; `None` if there is no first.
pub(super) fn relative(before: i128, now: i128) -> Option<String> {
    if before == 0 {
        return None;
    }
    let tenths = (now - before).saturating_mul(1_000) / before;
    let sign = match now.cmp(&before) {
        std::cmp::Ordering::Less => "−",
        std::cmp::Ordering::Equal => "±",
        std::cmp::Ordering::Greater => "+",
    };
    let tenths = tenths.abs();
    Some(format!("{sign}{}.{} %", tenths / 10, tenths % 10))
}

/// A share in per cent; `—` of nothing.
pub(super) fn share(part: i128, whole: i128) -> String {
    let count = |number: i128| u64::try_from(number.max(0)).unwrap_or(u64::MAX);
    text::percent(count(part), count(whole)).unwrap_or_else(|| text::UNKNOWN.to_owned())
}

/// A name inside of a sentence: visible, and not too long.
pub(super) fn name(stored: &str) -> String {
    let visible = text::visible(stored);
    text::fit(&visible, NAME, Cut::End).into_owned()
}

/// Words in lines of at most `width` columns, those after the first with an indent.
pub(super) fn lines(words: &str, width: Option<usize>, indent: usize) -> Vec<String> {
    let width = width.unwrap_or(usize::MAX);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words.split(' ') {
        let is_full = text::width(&line) + 1 + text::width(word) > width;
        if is_full && !line.trim().is_empty() {
            lines.push(line);
            line = " ".repeat(indent);
            line.push_str(word);
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.push(line);
    lines
}

/// Writes a paragraph as wide as the page.
pub(super) fn paragraph(page: &mut Page<'_>, words: &str, indent: usize) -> io::Result<()> {
    if page.format == Format::Md {
        return writeln!(page.out, "{}\n", table::markdown(words));
    }
    for line in lines(words, page.width, indent) {
        writeln!(page.out, "{line}")?;
    }
    Ok(())
}

/// Ends what Markdown would else join to what follows.
pub(super) fn end(page: &mut Page<'_>) -> io::Result<()> {
    if page.format == Format::Md {
        writeln!(page.out)?;
    }
    Ok(())
}

/// A reason, the change that it made, and what is to be said of it.
pub(super) struct Step {
    pub(super) title: &'static str,
    pub(super) change: String,
    pub(super) note: String,
}

/// Writes reasons one below the other, notes broken between words, and their sum under a line.
pub(super) fn steps(page: &mut Page<'_>, steps: &[Step], sum: &Step) -> io::Result<()> {
    if page.format == Format::Md {
        return page.table(&steps_table(steps, sum));
    }
    let widest = |of: &dyn Fn(&Step) -> usize| {
        let all = steps.iter().chain([sum]);
        all.map(of).max().unwrap_or(0)
    };
    let titles = widest(&|step| text::width(step.title));
    let changes = widest(&|step| text::width(&step.change));
    let before = 2 + titles + 2 + changes + 2;
    let line = |out: &mut dyn Write, step: &Step, note: &str| {
        let pad = |room: usize, taken: &str| " ".repeat(room.saturating_sub(text::width(taken)));
        let line = format!(
            "  {}{}  {}{}  {note}",
            step.title,
            pad(titles, step.title),
            pad(changes, &step.change),
            step.change
        );
        writeln!(out, "{}", line.trim_end())
    };
    for step in steps {
        let room = page.width.map(|width| width.saturating_sub(before));
        let mut notes = lines(&step.note, room, 0).into_iter();
        line(page.out, step, &notes.next().unwrap_or_default())?;
        for more in notes {
            writeln!(page.out, "{}{more}", " ".repeat(before))?;
        }
    }
    writeln!(page.out, "  {}", "─".repeat(titles + 2 + changes))?;
    line(page.out, sum, &sum.note)
}

fn steps_table(steps: &[Step], sum: &Step) -> Table {
    let row = |step: &Step| {
        let texts = [step.title, &step.change, &step.note];
        texts.map(|text| Cell::Text(text.to_owned())).to_vec()
    };
    Table {
        columns: vec![
            Column::text("part", "REASON", 0, Cut::End),
            Column {
                align: Align::Right,
                ..Column::text("change", "CHANGE", 0, Cut::End)
            },
            Column::text("note", "NOTE", 0, Cut::End),
        ],
        rows: steps.iter().map(row).collect(),
        keys: 1,
        totals: Some(row(sum)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_a_sign_and_shares_of_nothing_are_unknown() {
        assert_eq!(change(716_000_000_000), "+$716.00");
        assert_eq!(change(-24_000_000_000), "−$24.00");
        assert_eq!(change(0), "$0.00");
        assert_eq!(relative(1_498, 2_214).as_deref(), Some("+47.7 %"));
        assert_eq!(relative(2_000, 1_000).as_deref(), Some("−50.0 %"));
        assert_eq!(relative(3, 3).as_deref(), Some("±0.0 %"));
        assert_eq!(relative(0, 3), None);
        assert_eq!(share(1, 4), "25.0 %");
        assert_eq!(share(1, 0), "—");
    }

    #[test]
    fn words_are_broken_between_and_never_inside() {
        assert_eq!(
            lines("one two three fourfivesix", Some(9), 2),
            ["one two", "  three", "  fourfivesix"]
        );
        assert_eq!(lines("one two", None, 2), ["one two"]);
    }
}
