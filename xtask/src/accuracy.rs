//! `agent/docs/accuracy.md`: how near the ledger's tokens are to those that were served, made of what
//! the live tests of the SDKs noted.

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::Invocation;
use crate::notes::{self, Notes};
use crate::project::Project;
use crate::tally::Tally;
use crate::{setup, suite};

const PAGE: &str = "agent/docs/accuracy.md";

/// Where the live tests note their figures.
const NOTES: Notes = Notes {
    variable: "BPFTOK_ACCURACY",
    folder: "accuracy",
};

/// The clients of each table, in the order of the page. One without a note is a test that silently
/// stopped testing.
const REPORTED: [&str; 14] = [
    "openai (Python)",
    "anthropic (Python)",
    "google-genai (Python)",
    "boto3 (Python)",
    "mistralai (Python)",
    "cohere (Python)",
    "groq (Python)",
    "ollama (Python)",
    "litellm (Python)",
    "openai (Node)",
    "@anthropic-ai/sdk (Node)",
    "@google/genai (Node)",
    "ai (Node)",
    "@ai-sdk/gateway (Node)",
];
const ESTIMATED: [&str; 1] = ["openai (Python)"];

const HEAD: &str = "\
# Accuracy

How near the tokens in the ledger are to those that were served. `cargo xtask accuracy` makes this page
of what the live tests saw: the official SDKs, as their publishers ship them, call an endpoint of ours
at the hosts that they have built in. Which tokens a call has is known there and not measured.

## Reported

The provider tells the usage in its reply. Input is the sum of five columns (uncached, cache reads, and
cache writes of three kinds), output includes reasoning. The tests compare each column, and the sum of
all with the total that the SDK shows; every figure is another prime number, so that no two can be
mistaken for each other.

";

const MIDDLE: &str = "
## Estimated

The provider tells nothing: a chat stream was not asked for usage, or a stream broke off. Tokens are
then counted from the text, and the ledger says `estimated`. The texts of this test are English words
of which each is one token in the vocabulary of OpenAI's models, and a chat request has the seven tokens
around its message that OpenAI documents. For tools and for pictures there is no such text: what is known of
their error is in the [source](../core/src/tokens/mod.rs).

";

/// What a test counts of texts whose tokens are known.
const VOCABULARIES: &str = "tests/vocabularies/estimates.md";

const END: &str = "
## Estimated, of other vocabularies

Models of other makers have vocabularies of their own; their tokens are multiples of a count by OpenAI's, by
factors for the kind of text. Here is what comes of it without a single reported call, for
[texts](../../tests/vocabularies/README.md) that the factors were not measured with. Tokens are those of
vocabularies that are published. So there are no lines for Claude, whose vocabulary is not: its true counts
are Anthropic's to tell, and the factors rest on a reconstruction. For Gemini there is Gemma's vocabulary,
which need not be that of the models which Google serves. Once a host has seen reported calls of a family, its
factor is that of those calls.

";

const COLUMNS: &str = "\
| client | version | call | input served | recorded | error | output served | recorded | error |
|---|---|---|--:|--:|--:|--:|--:|--:|
";

/// `cargo xtask accuracy`.
pub(crate) fn run(project: &Project, _: &[String]) -> Result<ExitCode> {
    setup::for_testing_programs(project)?;
    suite::live_tests_named(
        project,
        &["programs::sdks::".to_owned()],
        &mut Tally::default(),
    )?;
    let page = project.root.join(PAGE);
    fs::write(&page, seen(project)?).with_context(|| format!("cannot write {}", page.display()))?;
    println!("accuracy: wrote {PAGE}");
    Ok(ExitCode::SUCCESS)
}

/// Fails where the page is not what the live tests have just seen.
pub(crate) fn check(project: &Project) -> Result<()> {
    let seen = seen(project)?;
    let kept = project.text(PAGE)?;
    notes::compare(PAGE, &seen, &kept, "accuracy")
}

/// Tells a child where to note what it sees, in a folder that is empty.
pub(crate) fn announce_to(project: &Project, child: Invocation) -> Result<Invocation> {
    NOTES.announce_to(project, child)
}

fn seen(project: &Project) -> Result<String> {
    rendered(&NOTES.read(project)?, &project.text(VOCABULARIES)?)
}

fn rendered(notes: &[Value], vocabularies: &str) -> Result<String> {
    let known: BTreeSet<_> = [("reported", &REPORTED[..]), ("estimated", &ESTIMATED[..])]
        .into_iter()
        .flat_map(|(kind, clients)| clients.iter().map(move |client| (kind, *client)))
        .collect();
    let stray = notes
        .iter()
        .map(|note| (text(note, "kind"), text(note, "client")))
        .find(|of| !known.contains(of));
    if let Some((kind, client)) = stray {
        bail!("no place on the page for what is {kind} of {client}");
    }
    let reported = table(notes, "reported", &REPORTED)?;
    let estimated = table(notes, "estimated", &ESTIMATED)?;
    Ok(format!(
        "{HEAD}{reported}{MIDDLE}{estimated}{END}{vocabularies}"
    ))
}

fn table(notes: &[Value], kind: &str, clients: &[&str]) -> Result<String> {
    let mut table = COLUMNS.to_owned();
    for client in clients {
        let note = notes
            .iter()
            .find(|note| text(note, "kind") == kind && text(note, "client") == *client)
            .with_context(|| format!("no live test noted what is {kind} of {client}"))?;
        for call in note["calls"].as_array().into_iter().flatten() {
            let mut cells = vec![
                (*client).to_owned(),
                text(note, "version").to_owned(),
                text(call, "call").to_owned(),
            ];
            for side in [0_usize, 1] {
                let count = |of: &str| call[of].get(side).and_then(Value::as_u64);
                let served =
                    count("served").with_context(|| format!("{client} was served no number"))?;
                let recorded = count("recorded");
                cells.push(served.to_string());
                cells.push(recorded.map_or_else(|| "—".to_owned(), |count| count.to_string()));
                cells.push(error(served, recorded));
            }
            table.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
    }
    Ok(table)
}

/// How far `recorded` is from `served`, in per cent with one decimal.
fn error(served: u64, recorded: Option<u64>) -> String {
    match recorded {
        Some(recorded) if recorded == served => "0".to_owned(),
        Some(recorded) if served > 0 => {
            let tenths = (recorded.abs_diff(served) * 2_000 / served).div_ceil(2);
            let sign = if recorded > served { "+" } else { "−" };
            format!("{sign}{}.{} %", tenths / 10, tenths % 10)
        }
        _ => "—".to_owned(),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn notes(recorded: u64) -> Vec<Value> {
        let all = REPORTED.map(|client| ("reported", client));
        let estimated = ESTIMATED.map(|client| ("estimated", client));
        let note = |(kind, client): (&str, &str)| {
            let calls = json!([{"call": "chat", "served": [200, 7], "recorded": [recorded, null]}]);
            json!({"client": client, "version": "1.2.3", "kind": kind, "calls": calls})
        };
        all.into_iter().chain(estimated).map(note).collect()
    }

    #[test]
    fn a_line_says_what_was_served_and_recorded_and_how_far_off_that_is() {
        let page = rendered(&notes(203), "| Llama 3.1 |\n").unwrap();

        let line = "| groq (Python) | 1.2.3 | chat | 200 | 203 | +1.5 % | 7 | — | — |\n";
        assert!(page.contains(line), "{page}");
        assert!(page.ends_with("\n\n| Llama 3.1 |\n"), "{page}");
    }

    #[test]
    fn a_client_without_a_note_and_a_note_without_a_place_are_refused() {
        let mut fewer = notes(200);
        let mut last = fewer.pop().unwrap();

        assert!(rendered(&fewer, "").is_err());
        last["client"] = "Nobody".into();
        assert!(rendered(&[notes(200), vec![last]].concat(), "").is_err());
    }

    #[test]
    fn an_error_is_rounded_and_has_its_sign() {
        let table = [
            (200, Some(200), "0"),
            (200, Some(199), "−0.5 %"),
            (3, Some(4), "+33.3 %"),
            (1_000, Some(1_001), "+0.1 %"),
            (0, Some(0), "0"),
            (5, None, "—"),
        ];
        for (served, recorded, expected) in table {
            assert_eq!(error(served, recorded), expected);
        }
    }
}
