//! Text and numbers as people read them.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Stands for what is unknown.
pub(crate) const UNKNOWN: &str = "—";

/// Stored text with everything made visible that would steer a terminal, break a line or change
/// the order of what is read: names, paths and ids come from programs that may be hostile.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Control characters, and those that reorder, join or hide text.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Columns of a terminal that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    // Nearly all of what is shown, and told at once.
    match text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        true => text.len(),
        false => text.width(),
    }
}

/// Which end of a text is given up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The end: of names and ids.
    End,
    /// The beginning: of paths.
    Start,
}

/// `text` in at most `max` columns, with `…` where something was cut.
pub(crate) fn fit(text: &str, max: usize, cut: Cut) -> Cow<'_, str> {
    if width(text) <= max {
        return Cow::Borrowed(text);
    }
    let room = max.saturating_sub(1);
    let mut used = 0;
    let mut fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= room
    };
    Cow::Owned(match cut {
        Cut::End => text.chars().take_while(&mut fits).chain(['…']).collect(),
        Cut::Start => {
            let kept: Vec<char> = text.chars().rev().take_while(&mut fits).collect();
            ['…'].into_iter().chain(kept.into_iter().rev()).collect()
        }
    })
}

/// A count for people: exact to ten million, then three digits and a unit.
pub(crate) fn count(number: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000_000, "P"),
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
    ];
    match UNITS
        .into_iter()
        .find(|(unit, _)| number >= 10_000_000 && number >= *unit)
    {
        None => grouped(number),
        Some((unit, name)) => {
            // Hundredths of the unit, rounded; integers, so that no digit is invented.
            let hundredths = (u128::from(number) * 100 + u128::from(unit) / 2) / u128::from(unit);
            let (whole, rest) = (hundredths / 100, hundredths % 100);
            match whole {
                0..10 => format!("{whole}.{rest:02} {name}"),
                10..100 => format!("{whole}.{} {name}", rest / 10),
                _ => format!("{whole} {name}"),
            }
        }
    }
}

/// An exact count with a comma every three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `part` of `whole` in percent; never rounded to all or nothing. `None` if there is no whole.
pub(crate) fn percent(part: u64, whole: u64) -> Option<String> {
    if whole == 0 {
        return None;
    }
    let tenths = u128::from(part) * 1_000 / u128::from(whole);
    Some(match tenths {
        0 if part > 0 => "<0.1 %".to_owned(),
        1_000.. => "100 %".to_owned(),
        _ => format!("{}.{} %", tenths / 10, tenths % 10),
    })
}

/// An amount of money for people, from billionths of a US dollar: cents from a dollar on, four
/// places below, and never rounded to nothing.
pub(crate) fn money(nanousd: u64) -> String {
    const DOLLAR: u128 = 1_000_000_000;
    let nanousd_wide = u128::from(nanousd);
    let rounded = |unit: u128| (nanousd_wide + unit / 2) / unit;
    match nanousd {
        0 => "$0.00".to_owned(),
        1..100_000 => "<$0.0001".to_owned(),
        _ if rounded(DOLLAR / 10_000) < 10_000 => format!("$0.{:04}", rounded(DOLLAR / 10_000)),
        _ => {
            let cents = rounded(DOLLAR / 100);
            let dollars = u64::try_from(cents / 100).unwrap_or(u64::MAX);
            format!("${}.{:02}", grouped(dollars), cents % 100)
        }
    }
}

/// Money with all of its digits.
pub(crate) fn exact_money(nanousd: u64) -> String {
    const DOLLAR: u64 = 1_000_000_000;
    let digits = format!("${}.{:09}", grouped(nanousd / DOLLAR), nanousd % DOLLAR);
    let short = digits.trim_end_matches('0');
    // Cents are always written.
    let cents = digits.len().saturating_sub(7);
    digits
        .get(..short.len().max(cents))
        .unwrap_or(&digits)
        .to_owned()
}

/// A duration for people: two significant parts.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms % 60_000 / 1_000),
        3_600_000..86_400_000 => format!("{}h{:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
        _ => format!("{}d{:02}h", ms / 86_400_000, ms % 86_400_000 / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_passes() {
        let hostile: String = (0..=0x10_ffff)
            .filter_map(char::from_u32)
            .filter(|c| is_hidden(*c))
            .collect();
        assert!(
            !visible(&hostile)
                .chars()
                .any(|c| is_hidden(c) || c.is_control())
        );
        assert_eq!(
            visible("a\u{1b}[31m\nb\u{202e}c\u{9b}d"),
            "a\\u{1b}[31m\\nb\\u{202e}c\\u{9b}d"
        );
        assert!(matches!(visible("claude-code 漢字 é"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_cut_shows_and_counts_columns() {
        assert_eq!(fit("abcdef", 6, Cut::End), "abcdef");
        assert_eq!(fit("abcdef", 5, Cut::End), "abcd…");
        assert_eq!(fit("/usr/bin/node", 6, Cut::Start), "…/node");
        assert_eq!(fit("漢字漢字", 5, Cut::End), "漢字…");
        assert_eq!(fit("漢字漢字", 4, Cut::End), "漢…");
    }

    #[test]
    fn counts_are_exact_until_they_are_long() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (9_999_999, "9,999,999"),
            (10_000_000, "10.0 M"),
            (12_345_678, "12.3 M"),
            (812_400_000, "812 M"),
            (1_222_000_000, "1.22 G"),
            (u64::MAX, "18446 P"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn a_share_is_never_rounded_to_all_or_nothing() {
        assert_eq!(percent(0, 0), None);
        assert_eq!(percent(0, 5).unwrap(), "0.0 %");
        assert_eq!(percent(1, 1_000_000).unwrap(), "<0.1 %");
        assert_eq!(percent(999_999, 1_000_000).unwrap(), "99.9 %");
        assert_eq!(percent(7, 7).unwrap(), "100 %");
        assert_eq!(percent(u64::MAX, u64::MAX).unwrap(), "100 %");
    }

    #[test]
    fn money_is_rounded_and_never_to_nothing() {
        for (nanousd, text) in [
            (0, "$0.00"),
            (1, "<$0.0001"),
            (99_999, "<$0.0001"),
            (100_000, "$0.0001"),
            (4_625_000, "$0.0046"),
            (14_125_000, "$0.0141"),
            (999_949_999, "$0.9999"),
            (999_950_000, "$1.00"),
            (1_290_000_000, "$1.29"),
            (950_625_000_000, "$950.63"),
            (2_214_000_000_000, "$2,214.00"),
            (u64::MAX, "$18,446,744,073.71"),
        ] {
            assert_eq!(money(nanousd), text);
        }
    }

    #[test]
    fn durations_have_two_parts() {
        let texts = [5, 1_250, 61_000, 3_720_000, 90_000_000].map(duration);
        assert_eq!(texts, ["5ms", "1.2s", "1m01s", "1h02m", "1d01h"]);
    }
}
