//! Patterns of the configuration, in which `*` stands for anything.

/// Whether `text` is `pattern`. Any other character stands for itself, and there is no escape.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut ends_open = false;
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            ends_open = rest.ends_with(part);
        } else {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
    }
    ends_open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_the_rest_for_itself() {
        for (pattern, text) in [
            ("borg", "borg"),
            ("*", ""),
            ("*", "anything"),
            ("/opt/*", "/opt/backup/run"),
            ("*/borg", "/usr/bin/borg"),
            ("/opt/*/bin/*", "/opt/a/b/bin/c"),
            ("a*a", "aa"),
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
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
