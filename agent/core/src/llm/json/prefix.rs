//! The first bytes of a text that comes in pieces.

/// The longest prefix of a text, by whole characters, that a limit allows. It is the same however
/// the text is split. It has no `Debug`: it carries observed text.
#[derive(Clone, Default)]
pub(crate) struct Prefix {
    text: String,
    /// True once something was left out: nothing may follow.
    is_cut: bool,
}

impl Prefix {
    /// Appends as much of `piece` as keeps the text within `cap` bytes.
    pub(crate) fn push(&mut self, piece: &str, cap: usize) {
        if self.is_cut {
            return;
        }
        let end = piece.floor_char_boundary(cap.saturating_sub(self.text.len()));
        self.text.push_str(piece.get(..end).unwrap_or_default());
        self.is_cut = end < piece.len();
    }

    /// Starts over.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.is_cut = false;
    }

    /// What was kept.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}
