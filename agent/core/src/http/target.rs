//! What is kept of a request target (RFC 9112, section 3.2): each of its parts may hold a key or a
//! password.

/// LIMIT: 1,024 bytes of a path, the rest is cut; the longest path of an LLM API is a tenth.
const PATH_BYTES: usize = 1_024;

/// LIMIT: 256 bytes of a model's name; a longer value is no name, and is dropped.
const MODEL_BYTES: usize = 256;

/// The path, without query, fragment and authority.
pub(super) fn path(target: &str) -> String {
    let origin = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => rest
            .find('/')
            .and_then(|slash| rest.get(slash..))
            .unwrap_or("/"),
        _ if target.starts_with('/') => target,
        _ => target.rsplit_once('@').map_or(target, |(_, host)| host),
    };
    let path = origin.split(['?', '#']).next().unwrap_or_default();
    let end = path.floor_char_boundary(PATH_BYTES);
    path.get(..end).unwrap_or_default().to_owned()
}

/// The parameter `model` of the query, where an API names the model there (OpenAI's realtime API), or
/// `deployment`, which stands for it at Azure. Nothing else of a query is looked at: keys and signatures stand in others. A value that has more
/// than letters, digits and the marks of a model's name, percent-encoded or not, is dropped.
pub(super) fn model(target: &str) -> Option<String> {
    let (_, query) = target.split('#').next()?.split_once('?')?;
    let value = ["model=", "deployment="].iter().find_map(|name| {
        query
            .split('&')
            .find_map(|parameter| parameter.strip_prefix(name))
    })?;
    percent_decoded(value)
}

/// The name that a part of a target is, percent-encoded or not (RFC 3986, section 2.1). One that has
/// more than letters, digits and the marks of a model's name, or is longer than [`MODEL_BYTES`], is none.
pub(crate) fn percent_decoded(value: &str) -> Option<String> {
    let mut name = String::new();
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            hex(bytes.next()?)? << 4 | hex(bytes.next()?)?
        } else {
            byte
        };
        let is_mark = matches!(byte, b'-' | b'_' | b'.' | b':' | b'/' | b'@');
        if !(byte.is_ascii_alphanumeric() || is_mark) || name.len() >= MODEL_BYTES {
            return None;
        }
        name.push(char::from(byte));
    }
    (!name.is_empty()).then_some(name)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_a_query_is_kept_and_nothing_else() {
        for (target, expected) in [
            ("/v1/realtime?model=gpt-realtime", Some("gpt-realtime")),
            (
                "/v1/realtime?api-key=canary&model=org%2Fmodel%3a1.5&token=canary",
                Some("org/model:1.5"),
            ),
            ("/v1/realtime?model=a&model=b", Some("a")),
            (
                "wss://user:canary@host/v1/realtime?model=a#canary",
                Some("a"),
            ),
            (
                "/openai/realtime?api-version=1&deployment=my-realtime&api-key=canary",
                Some("my-realtime"),
            ),
            ("/v1/realtime?deployment=a&model=b", Some("b")),
            ("/v1/realtime?model=", None),
            ("/v1/realtime?model=a+canary", None),
            ("/v1/realtime?model=a%20canary", None),
            ("/v1/realtime?model=a%2", None),
            ("/v1/realtime?model=a%zz", None),
            ("/v1/realtime?supermodel=canary", None),
            ("/v1/realtime#?model=canary", None),
            ("/v1/realtime", None),
        ] {
            assert_eq!(model(target).as_deref(), expected, "{target}");
        }
        let long = format!("/?model={}", "a".repeat(MODEL_BYTES));
        assert_eq!(model(&long).map(|name| name.len()), Some(MODEL_BYTES));
        assert_eq!(model(&format!("{long}a")), None);
    }
}
