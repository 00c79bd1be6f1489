//! Values of labels: few of them, short, and harmless wherever they are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::report::visible;

/// LIMIT: values of one label; those beyond are [`OTHER`]. A database of metrics keeps a series for
/// each, and hosts with more workflows or models than these look at the ledger.
pub(crate) const MAX_VALUES: usize = 200;

/// LIMIT: bytes of a value, as shown; the rest is cut off.
const MAX_BYTES: usize = 128;

/// The value of those that are too many.
pub(crate) const OTHER: &str = "other";

/// The value of what is not known.
pub(crate) const UNKNOWN: &str = "unknown";

/// The values that labels have so far.
#[derive(Debug, Default)]
pub(crate) struct Values {
    known: BTreeMap<&'static str, BTreeSet<Arc<str>>>,
    folded: BTreeMap<&'static str, u64>,
}

impl Values {
    /// The value of a label that says this.
    pub(crate) fn of(&mut self, label: &'static str, text: Option<&str>) -> Arc<str> {
        self.known(label, text).unwrap_or_else(|| {
            self.fold(label);
            Arc::from(OTHER)
        })
    }

    /// The same; `None` if there are too many values.
    pub(crate) fn known(&mut self, label: &'static str, text: Option<&str>) -> Option<Arc<str>> {
        let known = self.known.entry(label).or_default();
        let value = shown(text.filter(|text| !text.is_empty()).unwrap_or(UNKNOWN));
        if let Some(found) = known.get(&*value) {
            return Some(Arc::clone(found));
        }
        if known.len() >= MAX_VALUES {
            return None;
        }
        let value: Arc<str> = Arc::from(value);
        known.insert(Arc::clone(&value));
        Some(value)
    }

    /// Counts that something was too much for a label.
    pub(crate) fn fold(&mut self, label: &'static str) {
        let folded = self.folded.entry(label).or_default();
        *folded = folded.saturating_add(1);
    }

    /// How often what was too much.
    pub(crate) const fn folded(&self) -> &BTreeMap<&'static str, u64> {
        &self.folded
    }
}

/// The text without anything that steers a terminal or breaks a line, and not too long.
fn shown(text: &str) -> String {
    let mut shown = visible(text).into_owned();
    if shown.len() > MAX_BYTES {
        shown.truncate(shown.floor_char_boundary(MAX_BYTES));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_beyond_the_limit_are_other_and_counted_and_known_ones_stay() {
        let mut values = Values::default();
        for number in 0..MAX_VALUES {
            let name = format!("model-{number}");
            assert_eq!(&*values.of("model", Some(&name)), name);
        }
        assert_eq!(&*values.of("model", Some("one-more")), OTHER);
        assert_eq!(&*values.of("model", Some("model-7")), "model-7");
        assert_eq!(&*values.of("provider", Some("one-more")), "one-more");
        assert_eq!(values.folded(), &BTreeMap::from([("model", 1)]));
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_in_a_value_and_no_value_is_long() {
        let mut values = Values::default();
        assert_eq!(
            &*values.of("model", Some("\u{1b}[31mred\r\n\u{202e}")),
            "\\u{1b}[31mred\\r\\n\\u{202e}"
        );
        let long = format!("a{}", "é".repeat(200));
        assert_eq!(
            &*values.of("model", Some(&long)),
            format!("a{}", "é".repeat(63))
        );
        assert_eq!(&*values.of("model", None), UNKNOWN);
        assert_eq!(&*values.of("model", Some("")), UNKNOWN);
    }
}
