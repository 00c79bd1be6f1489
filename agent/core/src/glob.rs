//! Patterns of names and paths, as in the configuration.
//!
//! `*` stands for any text, `?` for one character, everything else for itself. A part between two
//! stars is looked for once, as early as it can be, and never again: without `?` the time is linear
//! in pattern and text, with it at most their product.

/// Whether `text` is what `pattern` stands for.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| behind(first, text)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    // What is between the stars has no other place that would do better than its first one.
    let rest = parts.try_fold(rest, |rest, part| behind_first(part, rest));
    rest.is_some_and(|rest| ends_with(rest, last))
}

/// What is behind `part` at the beginning of a text.
fn behind<'a>(part: &str, text: &'a str) -> Option<&'a str> {
    if !part.contains('?') {
        return text.strip_prefix(part);
    }
    let mut rest = text.chars();
    part.chars()
        .all(|wanted| rest.next().is_some_and(|c| wanted == '?' || wanted == c))
        .then_some(rest.as_str())
}

/// What is behind the first place of `part` in a text.
fn behind_first<'a>(part: &str, text: &'a str) -> Option<&'a str> {
    if !part.contains('?') {
        return text.split_once(part).map(|(_, rest)| rest);
    }
    text.char_indices()
        .find_map(|(at, _)| behind(part, text.get(at..)?))
}

fn ends_with(text: &str, part: &str) -> bool {
    let Some(from_end) = part.chars().count().checked_sub(1) else {
        return true;
    };
    let tail = text.char_indices().rev().nth(from_end);
    tail.and_then(|(at, _)| text.get(at..))
        .is_some_and(|tail| behind(part, tail).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_text_and_a_question_mark_one_character() {
        for (pattern, text) in [
            ("borg", "borg"),
            ("*", ""),
            ("*", "anything"),
            ("**", "anything"),
            ("/opt/*", "/opt/backup/run"),
            ("*/borg", "/usr/bin/borg"),
            ("/opt/*/bin/*", "/opt/a/b/bin/c"),
            ("a*a", "aa"),
            ("python3.?", "python3.9"),
            ("*3.??", "python3.12"),
            ("w?rk*?", "wörker"),
            ("*-?-*", "job-7-x"),
            ("?", "ü"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("borg", "borgmatic"),
            ("borg", "xborg"),
            ("/opt/*", "/usr/opt/x"),
            ("a*a", "a"),
            ("*.so", "x.so.3"),
            ("", "x"),
            ("?", ""),
            ("?", "ab"),
            ("python3.?", "python3.12"),
            ("*?", ""),
            ("*-?-*", "job--x"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends_at_once() {
        let pattern = "a*".repeat(128) + "b";
        assert!(!matches(&pattern, &"a".repeat(4_096)));
        let pattern = "?a*".repeat(85) + "b";
        assert!(!matches(&pattern, &"a".repeat(4_096)));
    }

    /// What a pattern means, said in the simplest way.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|from| by_definition(rest, &text[from..])),
            Some((wanted, rest)) => text.split_first().is_some_and(|(c, text)| {
                (*wanted == '?' || wanted == c) && by_definition(rest, text)
            }),
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(pattern in "[aé?*]{0,8}", text in "[aéb]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = by_definition(&chars(&pattern), &chars(&text));
            prop_assert_eq!(matches(&pattern, &text), expected);
        }
    }
}
