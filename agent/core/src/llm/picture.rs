//! The pictures of a prompt: how large they are, never what they show.

/// How much of a picture the request asks to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// The provider decides.
    #[default]
    Auto,
    /// A small version.
    Low,
    /// All that the model can take.
    High,
}

/// A picture, as far as its tokens depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// How much of it is looked at.
    pub detail: Detail,
}

impl Picture {
    /// LIMIT: 65,535 pixels a side, the most of a JPEG, and several times what providers take; what
    /// claims more is no picture.
    pub const MAX_SIDE: u32 = 65_535;
}

/// What a prompt has beside its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pictures {
    /// Pictures of a known size, by number; those of one size stand together.
    known: Vec<(Picture, u32)>,
    /// Pictures of another size, and all other content that is no text: sound, documents, files that
    /// the provider holds, links.
    unknown: u32,
}

impl Pictures {
    /// LIMIT: 64 sizes in one prompt; the screenshots of a session have one or two. Pictures of
    /// further sizes count as of unknown size.
    const MOST_SIZES: usize = 64;

    /// Notes a picture.
    pub(super) fn push(&mut self, picture: Picture) {
        let place = self.known.iter_mut().find(|(known, _)| *known == picture);
        if let Some((_, number)) = place {
            *number = number.saturating_add(1);
        } else if self.known.len() < Self::MOST_SIZES {
            self.known.push((picture, 1));
        } else {
            self.push_unknown();
        }
    }

    /// Notes content of which nothing is known that its tokens depend on.
    pub(super) const fn push_unknown(&mut self) {
        self.unknown = self.unknown.saturating_add(1);
    }

    /// The pictures of a known size, and how many there are of each.
    pub fn known(&self) -> &[(Picture, u32)] {
        &self.known
    }

    /// How much else there is that is no text.
    pub const fn unknown(&self) -> u32 {
        self.unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_counted_and_bounded() {
        let mut pictures = Pictures::default();
        let picture = |width| Picture {
            width,
            height: 1,
            detail: Detail::Auto,
        };
        for width in (1..=100).chain(1..=100) {
            pictures.push(picture(width));
        }
        assert_eq!(pictures.known().len(), Pictures::MOST_SIZES);
        assert!(pictures.known().iter().all(|(_, number)| *number == 2));
        assert_eq!(pictures.unknown(), 2 * 36);
    }
}
