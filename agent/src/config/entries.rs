//! Lists of entries, `[[key]]`, and the values in them.

use super::file::{Section, Written};
use super::{Check, Origin, with_article};

impl Check<'_> {
    /// The entries of a list, each with the key that mistakes in it are told by. `None` if there is
    /// no list, or it is a mistake as a whole.
    pub(super) fn entries<T>(
        &mut self,
        list: &'static str,
        most: usize,
        written: Written<Vec<Section<T>>>,
    ) -> Option<Vec<(String, T)>> {
        let entries = match written {
            Written::No => return None,
            Written::Yes(entries) => entries,
            Written::Mistyped(kind) => {
                let kind = with_article(kind);
                self.mistake(list, format!("is {kind}, must be entries [[{list}]]"));
                return None;
            }
        };
        if entries.len() > most {
            let count = entries.len();
            self.mistake(
                list,
                format!("has {count} entries, at most {most} are possible"),
            );
            return None;
        }
        let mut present = Vec::new();
        for (place, entry) in (1..).zip(entries) {
            let key = format!("{list}[{place}]");
            match entry {
                Section::Present(entry) => present.push((key, entry)),
                Section::Mistyped(kind) => {
                    let problem = format!("is {}, must be [[{list}]]", with_article(kind));
                    self.mistake(&key, problem);
                }
                Section::Absent => {}
            }
        }
        let origin = Origin::File(self.path.to_owned());
        self.loaded.origins.insert(list, origin);
        Some(present)
    }

    /// A value of an entry: `None` if it is not written, and inside if it is a mistake.
    pub(super) fn member<T, U>(
        &mut self,
        key: &str,
        member: &str,
        written: Written<T>,
        wanted: &str,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> Option<Option<U>> {
        let checked = match written {
            Written::No => return None,
            Written::Yes(value) => check(value),
            Written::Mistyped(kind) => Err(format!("is {}, must be {wanted}", with_article(kind))),
        };
        Some(
            checked
                .map_err(|problem| self.mistake(&format!("{key}.{member}"), problem))
                .ok(),
        )
    }
}
