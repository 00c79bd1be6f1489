//! What kind of text it is, as far as that decides how many tokens other vocabularies make of it.

/// A kind of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Prose and code and data, as agents send it; and all that is none of the others.
    Mixed,
    /// English prose.
    Prose,
    /// Source code.
    Code,
    /// JSON with little text in it.
    Data,
    /// A language with more Latin letters than English has.
    Latin,
    /// Chinese.
    Han,
    /// Japanese.
    Kana,
}

impl Kind {
    /// The kind of a text that comes in parts.
    pub(super) fn of<'a>(parts: impl Iterator<Item = &'a str>) -> Self {
        let mut marks = Marks::default();
        for part in parts {
            marks.read(part);
        }
        marks.kind()
    }
}

/// What is counted of a text, in characters.
#[derive(Default)]
struct Marks {
    all: u64,
    letters: u64,
    latin: u64,
    han: u64,
    kana: u64,
    code: u64,
    quotes: u64,
}

impl Marks {
    fn read(&mut self, text: &str) {
        for character in text.chars() {
            self.all += 1;
            match character {
                'a'..='z' | 'A'..='Z' => self.letters += 1,
                '{' | '}' | '(' | ')' | '[' | ']' | ';' | '=' | '<' | '>' | '_' => self.code += 1,
                '"' => self.quotes += 1,
                '\u{c0}'..='\u{24f}' => {
                    self.letters += 1;
                    self.latin += 1;
                }
                '\u{3040}'..='\u{30ff}' => self.kana += 1,
                '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' => self.han += 1,
                _ => {}
            }
        }
    }

    /// The shares lie between those of real texts: standard libraries have 45 to 80 marks of code in
    /// a thousand characters, technical papers 10 to 30, licences 2 to 7; JSON has 60 and more
    /// quotation marks; German has 15 letters with marks in a thousand, English none.
    fn kind(&self) -> Kind {
        let share = |part: u64, whole: u64| part.saturating_mul(1000) / whole.max(1);
        if share(self.han + self.kana, self.all) >= 300 {
            return if share(self.kana, self.han + self.kana) >= 200 {
                Kind::Kana
            } else {
                Kind::Han
            };
        }
        if share(self.quotes, self.all) >= 60 {
            return Kind::Data;
        }
        if share(self.code, self.all) >= 45 {
            return Kind::Code;
        }
        if share(self.letters, self.all) >= 500 {
            if share(self.latin, self.letters) >= 5 {
                return Kind::Latin;
            }
            if share(self.code, self.all) < 10 {
                return Kind::Prose;
            }
        }
        Kind::Mixed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        Kind::of([text].into_iter())
    }

    #[test]
    fn texts_of_each_kind_are_told_apart() {
        let json = r#"{"id":17,"name":"a","tags":["x","y"],"size":{"w":4,"h":5}}"#;
        for (text, expected) in [
            (include_str!("mod.rs"), Kind::Code),
            (include_str!("../../../../LICENSE-APACHE"), Kind::Prose),
            (include_str!("../../../../README.md"), Kind::Mixed),
            (json, Kind::Data),
            (
                "Über die Straße fährt ein großes Auto, und die Mädchen schauen zu.",
                Kind::Latin,
            ),
            ("这个程序计算每次调用使用的标记数量。", Kind::Han),
            (
                "このプログラムは、呼び出しごとのトークン数を数えます。",
                Kind::Kana,
            ),
            ("", Kind::Mixed),
            ("4711 0815 1234", Kind::Mixed),
        ] {
            assert_eq!(kind(text), expected, "{text:.40}");
        }
    }

    #[test]
    fn how_a_text_is_parted_does_not_matter() {
        let text = include_str!("kind.rs");
        let lines = Kind::of(text.split_inclusive('\n'));
        assert_eq!(lines, kind(text));
    }
}
