//! The examples of the README, and the walk through the reports, are what the commands print.

use std::fs;

use crate::insight::two_months;

const PAGES: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/docs/walk.md"),
];

/// Columns of the page's examples.
const COLUMNS: u32 = 100;

/// The words of a command line: separated by blanks, those in double quotes together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('"').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// The page with what its commands print now: what follows a command up to the end of its block.
fn printed(page: &str) -> String {
    let home = two_months();
    let mut made = String::new();
    let mut is_output = false;
    for line in page.lines() {
        is_output &= line != "```";
        if is_output && !line.starts_with("$ ") {
            continue;
        }
        made.push_str(line);
        made.push('\n');
        if let Some(command) = line.strip_prefix("$ bpftok ") {
            made.push_str(&home.run_in("UTC", Some(COLUMNS), words(command)).text());
            is_output = true;
        }
    }
    made
}

#[test]
fn the_pages_are_what_their_commands_print() {
    for path in PAGES {
        let page = fs::read_to_string(path).unwrap();
        let made = printed(&page);
        if std::env::var_os("BLESS").is_some() {
            fs::write(path, &made).unwrap();
            continue;
        }
        assert_eq!(made, page, "differs from {path}; BLESS=1 rewrites it");
        assert!(
            page.contains("nightly-triage"),
            "the commands of {path} printed nothing"
        );
    }
}
