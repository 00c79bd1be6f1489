use proptest::prelude::*;

use super::*;

/// What a scan reports, with the pieces of each string joined, and how it ended.
fn scan(pieces: &[&[u8]]) -> (Vec<String>, bool, bool) {
    let mut lines: Vec<String> = Vec::new();
    let mut scanner = Scanner::default();
    for piece in pieces {
        scanner.push(piece, &mut |path, value| {
            let line = match value {
                Value::Object => "{".to_owned(),
                Value::Array => "[".to_owned(),
                Value::Close => "close".to_owned(),
                Value::Name(name) => format!("name {name}"),
                Value::Begin => "\"".to_owned(),
                Value::Piece(text) => {
                    assert!(!text.is_empty());
                    lines.last_mut().expect("a string has begun").push_str(text);
                    return;
                }
                Value::End => "end".to_owned(),
                Value::Number(number) => number.to_owned(),
                Value::Bool(value) => value.to_string(),
                Value::Null => "null".to_owned(),
            };
            lines.push(format!("{path:?} {line}"));
        });
    }
    (lines, scanner.is_whole(), scanner.is_malformed())
}

fn strings(text: &str) -> Vec<String> {
    let (lines, whole, _) = scan(&[text.as_bytes()]);
    assert!(whole, "{text}");
    lines
        .iter()
        .filter_map(|line| line.split_once(" \"").map(|(_, text)| text.to_owned()))
        .collect()
}

#[test]
fn reports_values_with_their_paths() {
    let text = br#"{"usage":{"input_tokens":12,"other":[true,null]},"id":"a"}"#;
    let (lines, whole, malformed) = scan(&[text]);
    assert_eq!(
        lines,
        [
            "[] {",
            "[Usage] name usage",
            "[Usage] {",
            "[Usage, InputTokens] name input_tokens",
            "[Usage, InputTokens] 12",
            "[Usage, Other] name other",
            "[Usage, Other] [",
            "[Usage, Other, Item] true",
            "[Usage, Other, Item] null",
            "[Usage, Other] close",
            "[Usage] close",
            "[Id] name id",
            "[Id] \"a",
            "[Id] end",
            "[] close",
        ]
    );
    assert_eq!((whole, malformed), (true, false));
}

#[test]
fn decodes_escapes_and_replaces_lone_surrogates() {
    assert_eq!(
        strings(r#"["\"\\\/\b\f\n\r\t\u00e9"]"#),
        ["\"\\/\u{8}\u{c}\n\r\té"]
    );
    assert_eq!(strings(r#"["\ud83d\ude00"]"#), ["😀"]);
    assert_eq!(
        strings(r#"["\ud83dx","\ude00","\ud83d\ud83d\ude00","\ud83d\n"]"#),
        ["�x", "�", "�😀", "�\n"]
    );
}

#[test]
fn knows_names_that_are_written_with_escapes() {
    let (lines, ..) = scan(&[br#"{"us\u0061ge":1}"#]);
    assert_eq!(lines[1], "[Usage] name usage");
}

#[test]
fn replaces_bytes_that_are_no_utf8() {
    let (lines, whole, _) = scan(&[b"[\"a\xff\xe2\x82b\xf0\x9f\x98\"]"]);
    assert_eq!(lines[1], "[Item] \"a��b�");
    assert!(whole);
}

#[test]
fn refuses_what_is_no_json() {
    for text in [
        "{]",
        "[1,]",
        "{\"a\" 1}",
        "{1:2}",
        "nul!",
        "<html>",
        "[\"\\x\"]",
        "[\"\\u12g4\"]",
        "{\"a\":1,}",
    ] {
        let (_, whole, malformed) = scan(&[text.as_bytes()]);
        assert_eq!((whole, malformed), (false, true), "{text}");
    }
    for text in ["", "{", "[1", "\"a", "tru", "{\"a\":"] {
        let (_, whole, malformed) = scan(&[text.as_bytes()]);
        assert_eq!((whole, malformed), (false, false), "{text}");
    }
}

#[test]
fn takes_64_containers_and_refuses_the_65th() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(scan(&[nested(MAX_DEPTH).as_bytes()]).1);
    assert!(scan(&[nested(MAX_DEPTH + 1).as_bytes()]).2);
    assert!(scan(&["[".repeat(100_000).as_bytes()]).2);
}

#[test]
fn keeps_a_bounded_part_of_names_and_numbers() {
    let name = "n".repeat(1000);
    let text = format!("{{\"{name}\":{}}}", "9".repeat(400));
    let (lines, whole, _) = scan(&[text.as_bytes()]);
    assert_eq!(lines[1], format!("[Other] name {}", "n".repeat(NAME_BYTES)));
    assert_eq!(lines[2], format!("[Other] {}", "9".repeat(NUMBER_BYTES)));
    assert!(whole);
}

#[test]
fn reports_a_member_twice_that_occurs_twice() {
    let (lines, ..) = scan(&[br#"{"id":1,"id":2}"#]);
    assert_eq!(
        lines,
        [
            "[] {",
            "[Id] name id",
            "[Id] 1",
            "[Id] name id",
            "[Id] 2",
            "[] close"
        ]
    );
}

#[test]
fn ignores_what_comes_after_the_text() {
    let (lines, whole, malformed) = scan(&[b"{}}]garbage"]);
    assert_eq!((lines.len(), whole, malformed), (2, true, false));
}

/// Bytes that look like JSON often enough to reach every state.
fn jsonish() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        4 => prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\"usage\"", "\\u00e9", "\\ud83d", "\\ude00", "\\n", "\\",
            "true", "false", "null", "-1", "12", "3.7e9", " ", "é", "😀", "text",
        ]).prop_map(|token| token.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..5),
    ];
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn any_split_reports_the_same(bytes in jsonish(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.push(0);
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(scan(&pieces), scan(&[&bytes]));
    }

    #[test]
    fn strings_come_out_as_a_reference_reader_reads_them(text in any::<String>()) {
        let json = serde_json::to_string(&[&text]).expect("strings serialise");
        prop_assert_eq!(strings(&json), [text]);
    }

    #[test]
    fn agrees_with_a_reference_reader_on_what_is_json(bytes in jsonish()) {
        if serde_json::from_slice::<serde_json::Value>(&bytes).is_ok_and(|value| !value.is_number()) {
            prop_assert!(scan(&[&bytes]).1);
        }
    }
}
