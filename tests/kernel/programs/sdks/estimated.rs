//! Calls whose usage the provider keeps to itself: a chat stream that was not asked for usage, and
//! streams that break off. How many tokens they have is known by construction: each word of prompt and
//! reply is one token of the vocabulary of OpenAI's models, and a message of a chat has seven more, as
//! OpenAI documents.

use test_support::Api;
use test_support::endpoint::Options;

use super::note::{Figures, Note};
use super::{Runtime, Sdk, Step, plan, run, sides};
use crate::agent::Row;

/// Words that are one token each where a space is before them, and the first one without.
const WORDS: [&str; 20] = [
    "When", " the", " night", " came", " down", " over", " the", " city", " and", " people",
    " were", " going", " home", " from", " work", " we", " found", " an", " old", " book",
];

/// Words of a prompt, and of a whole reply.
const PROMPT_WORDS: usize = 120;
const REPLY_WORDS: usize = 240;

/// Words after which a reply breaks off, as the script asks.
const CUT_AFTER: u64 = 60;

/// Tokens around the one message of a chat: three for the message, its role, and three for the reply
/// (the OpenAI cookbook, "How to count tokens with tiktoken").
const CHAT_FRAME: u64 = 7;

/// An estimate may be wrong by so much, in per cent.
const ALLOWED_PERCENT: u64 = 5;

fn words(count: usize) -> Vec<String> {
    let later = WORDS.iter().cycle().skip(1);
    let all = WORDS.iter().take(1).chain(later);
    // A sentence that begins again does so after a space.
    let spaced = |(index, word): (usize, &&str)| {
        let needs_space = index > 0 && !word.starts_with(' ');
        format!("{}{word}", if needs_space { " " } else { "" })
    };
    all.enumerate().map(spaced).take(count).collect()
}

/// Whether `found` is as near as an estimate has to be.
fn is_near(served: u64, found: Option<u64>) -> bool {
    found.is_some_and(|found| served.abs_diff(found) * 100 <= served * ALLOWED_PERCENT)
}

#[test]
fn what_a_provider_keeps_to_itself_is_estimated_within_a_twentieth() {
    let chat = Step::of("chat stream", Api::OpenAiChat, "openai", "gpt-5").stream("chat stream");
    let cut = Step {
        call: "chat stream, cut",
        ..chat
    };
    let responses = Step {
        api: Api::OpenAiResponses,
        ..cut
    };
    let python = |name, steps| Sdk {
        runtime: Runtime::Python,
        name,
        package: name,
        client: None,
        steps,
    };
    let sdks = [python(
        "openai",
        vec![chat, cut, responses.stream("responses stream, cut")],
    )];
    let prompt = words(PROMPT_WORDS).concat();
    let options = |_: &Sdk| Options {
        plan: plan(""),
        words: words(REPLY_WORDS),
        ..Options::default()
    };
    let arguments = ["--truncated", "--prompt", &prompt];
    let Some((place, _said, played)) = run("sdks_estimated", &sdks, &arguments, options) else {
        return;
    };
    for (sdk, played) in sdks.iter().zip(&played) {
        let rows = played.rows(&place);
        let found: Vec<_> = rows.iter().map(kind).collect();
        let expected: Vec<_> = sdk.steps.iter().map(is_cut).map(kind_of).collect();
        assert_eq!(found, expected, "{}: {rows:#?}", sdk.title());
        let mut note = Note::of(sdk, "estimated");
        for (step, row) in sdk.steps.iter().zip(&rows) {
            let frame = if step.api == Api::OpenAiChat {
                CHAT_FRAME
            } else {
                0
            };
            let reply = if is_cut(step) {
                CUT_AFTER
            } else {
                REPLY_WORDS as u64
            };
            let served = [PROMPT_WORDS as u64 + frame, reply];
            let recorded = sides(row);
            for (served, recorded) in served.into_iter().zip(recorded) {
                assert!(
                    is_near(served, recorded),
                    "{} {served}: {row:#?}",
                    step.call
                );
            }
            note.push(&Figures {
                call: step.call,
                served,
                recorded,
            });
        }
        note.write();
    }
}

fn is_cut(step: &Step) -> bool {
    step.call.ends_with(", cut")
}

/// How a call ended, and where its figures come from.
fn kind(row: &Row) -> (&str, &str) {
    (&row.outcome, &row.usage_source)
}

fn kind_of(is_cut: bool) -> (&'static str, &'static str) {
    (if is_cut { "aborted" } else { "complete" }, "estimated")
}
