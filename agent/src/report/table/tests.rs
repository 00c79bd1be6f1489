use super::*;

fn table() -> Table {
    Table {
        columns: vec![
            Column::text("name", "NAME", 0, Cut::End),
            Column::text("path", "PATH", 2, Cut::Start),
            Column::number("tokens", "TOKENS", 0),
            Column::number("rest", "REST", 3),
            Column::hidden("start"),
        ],
        rows: vec![
            vec![
                Cell::Text("=cmd()".to_owned()),
                Cell::Text("/usr/lib/node/bin/node".to_owned()),
                Cell::AtLeast(1_234),
                Cell::Count(7),
                Cell::Moment(0),
            ],
            vec![
                Cell::Text("b\u{1b}[2J\"\n".to_owned()),
                Cell::Unknown,
                Cell::Unknown,
                Cell::Count(0),
                Cell::Unknown,
            ],
        ],
        keys: 2,
        totals: Some(vec![
            Cell::Text("total".to_owned()),
            Cell::Unknown,
            Cell::AtLeast(1_234),
            Cell::Count(7),
            Cell::Unknown,
        ]),
    }
}

fn text(width: Option<usize>) -> String {
    let mut out = Vec::new();
    table()
        .write_text(&mut out, width, &TimeZone::UTC, Style::Plain)
        .unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_wide_table_has_every_column_and_hides_nothing() {
    assert_eq!(
        text(None),
        "\
NAME           PATH                     TOKENS  REST
=cmd()         /usr/lib/node/bin/node  ≥ 1,234     7
b\\u{1b}[2J\"\\n  —                             —     0
────────────────────────────────────────────────────
total                                  ≥ 1,234     7
"
    );
}

#[test]
fn a_narrow_table_drops_by_priority_and_then_cuts_visibly() {
    for width in [20, 30, 40, 50] {
        let text = text(Some(width));
        assert!(
            text.lines().all(|line| text::width(line) <= width),
            "{width}\n{text}"
        );
        assert!(text.contains("≥ 1,234"));
    }
    assert!(!text(Some(50)).contains("REST") || text(Some(50)).contains('…'));
    assert!(text(Some(40)).contains("…"));
}

#[test]
fn csv_holds_no_formula_no_break_and_no_control_character() {
    let mut out = Vec::new();
    table().write_csv(&mut out, Separator::Comma).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "name,path,tokens,rest,start,lower_bound\n\
         '=cmd(),/usr/lib/node/bin/node,1234,7,1970-01-01T00:00:00Z,tokens\n\
         \"b\\u{1b}[2J\"\"\\n\",,,0,,\n"
    );
}

#[test]
fn markdown_has_what_a_person_sees_and_no_markup_of_names() {
    let mut out = Vec::new();
    let mut table = table();
    table.rows[0][0] = Cell::Text("a|b_c`<x>`".to_owned());
    table.write_markdown(&mut out, &TimeZone::UTC).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"| NAME | PATH | TOKENS | REST |
| --- | --- | ---: | ---: |
| a\|b\_c\`\<x\>\` | /usr/lib/node/bin/node | ≥ 1,234 | 7 |
| b\\u{1b}\[2J"\\n | — | — | 0 |
| total |  | ≥ 1,234 | 7 |
"#
    );
}

#[test]
fn a_line_of_ndjson_is_a_row_and_no_text_holds_a_tab() {
    let mut out = Vec::new();
    table().write_ndjson(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(
        text.lines().nth(1).unwrap(),
        r#"{"name":"b\u001b[2J\"\n","path":null,"rest":0,"start":null,"tokens":null}"#
    );
    assert_eq!(text.lines().count(), 2);
    let mut out = Vec::new();
    let mut table = table();
    table.rows[0][0] = Cell::Text("a\tb".to_owned());
    table.write_csv(&mut out, Separator::Tab).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.lines().all(|line| line.split('\t').count() == 6),
        "{text}"
    );
}

#[test]
fn colour_is_of_headings_and_of_what_is_unknown_and_takes_no_room() {
    let mut out = Vec::new();
    table()
        .write_text(&mut out, Some(50), &TimeZone::UTC, Style::Coloured)
        .unwrap();
    let coloured = String::from_utf8(out).unwrap();
    assert!(coloured.starts_with("\u{1b}[1mNAME\u{1b}[0m"));
    assert!(coloured.contains("\u{1b}[2m—\u{1b}[0m"));
    let plain = ["\u{1b}[1m", "\u{1b}[2m", "\u{1b}[0m"]
        .iter()
        .fold(coloured, |text, code| text.replace(code, ""));
    assert_eq!(plain, text(Some(50)));
}

#[test]
fn json_keeps_the_text_and_escapes_what_steers_a_terminal() {
    let mut out = Vec::new();
    write_json(&mut out, &Value::from("a\u{9b}b\u{202e}c\u{7f}\n\u{e0001}")).unwrap();
    let written = String::from_utf8(out).unwrap();
    assert_eq!(written, "\"a\\u009bb\\u202ec\\u007f\\n\\udb40\\udc01\"\n");
    assert_eq!(
        serde_json::from_str::<Value>(&written).unwrap(),
        Value::from("a\u{9b}b\u{202e}c\u{7f}\n\u{e0001}")
    );
}
