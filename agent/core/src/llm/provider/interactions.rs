//! Gemini's Interactions, <https://ai.google.dev/api/interactions-api>: a conversation that Google may
//! hold. What a reply used stands in it or, in a stream, in its last event; events before may have
//! what was used so far. One that goes on in the background is read again by its id.

use super::{Api, Form, Reply, Target, Terminal};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::{Counts, Side};

pub(super) const API: Api = Api {
    endpoint: Endpoint::GeminiInteractions,
    target: |path| Target::ends_with(path, "/interactions"),
    prompt: &[Key::Input, Key::SystemInstruction, Key::Tools],
    envelope: None,
    ends_with_usage: false,
    value,
    settle,
    usage: Counts::gemini,
    create: None,
};

/// An interaction that is read again.
pub(super) const RETRIEVED: Api = Api {
    target: |path| {
        let (above, id) = path.rsplit_once('/')?;
        let is_one = above.ends_with("/interactions") && !id.is_empty();
        is_one.then(Target::default)
    },
    ..API
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    let path = match path {
        [Key::Interaction, inner @ ..] => match inner {
            // The steps of an event's snapshot repeat its deltas.
            [Key::Steps | Key::Outputs, ..] => return,
            _ => inner,
        },
        _ => path,
    };
    match path {
        [Key::EventType] => reply.part.kind.last(value),
        // One that goes on in the background has used nothing yet, and still says what it is.
        [Key::Object] if reply.part.is_body => reply.part.kind.last(value),
        [Key::Id] => reply.id.first(value),
        [Key::Model | Key::Agent] => reply.model.first(value),
        [Key::Status] => reply.part.status.last(value),
        [Key::ServiceTier] => reply.tier.last(value),
        [Key::Usage, inner @ ..] | [Key::Metadata, Key::TotalUsage, inner @ ..] => {
            usage(reply, inner, value);
        }
        [Key::Delta, Key::Text | Key::Arguments]
        | [Key::Delta, Key::Content, Key::Text]
        | [Key::Step, Key::Name]
        | [Key::Outputs, Key::Item, Key::Text | Key::Name] => reply.text(value),
        [Key::Steps, Key::Item] if matches!(value, Value::Object) => {
            reply.part.item = Default::default();
        }
        [Key::Steps, Key::Item, Key::Type] => reply.part.item.0.last(value),
        // What the user said may be repeated.
        [Key::Steps, Key::Item, ..] if reply.part.item.0.as_str() == "user_input" => {}
        [
            Key::Steps,
            Key::Item,
            Key::Content | Key::Summary,
            Key::Item,
            Key::Text,
        ]
        | [Key::Steps, Key::Item, Key::Name] => reply.text(value),
        // A name has the path of what it names: that of the member itself is no argument.
        [Key::Steps | Key::Outputs, Key::Item, Key::Arguments, _, ..] => reply.argument(value),
        [Key::Error] => reply.part.has_error |= matches!(value, Value::Object),
        _ => {}
    }
}

fn usage(reply: &mut Reply, inner: &[Key], value: Value<'_>) {
    let counter = match inner {
        [Key::TotalInputTokens] => Key::PromptTokenCount,
        [Key::TotalToolUseTokens] => Key::ToolUsePromptTokenCount,
        [Key::TotalCachedTokens] => Key::CachedContentTokenCount,
        [Key::TotalOutputTokens] => Key::CandidatesTokenCount,
        [Key::TotalThoughtTokens] => Key::ThoughtsTokenCount,
        [Key::TotalTokens] => Key::TotalTokenCount,
        [
            Key::InputTokensByModality | Key::ToolUseTokensByModality,
            Key::Item,
            inner @ ..,
        ] => return reply.modality(Side::Input, inner, value),
        [Key::OutputTokensByModality, Key::Item, inner @ ..] => {
            return reply.modality(Side::Output, inner, value);
        }
        [Key::GroundingToolCount, Key::Item, inner @ ..] => {
            return reply.searches(inner, value);
        }
        _ => return,
    };
    reply.api = Some(&API);
    reply.usage(&[counter], value);
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    reply.replace_counts();
    let status = std::mem::take(&mut reply.part.status);
    let kind = reply.part.kind.as_str();
    if kind == "interaction" || kind.starts_with("interaction.") {
        reply.api = Some(&API);
    }
    let is_end = match form {
        Form::Body => true,
        Form::Event => matches!(
            kind,
            "interaction.completed" | "interaction.cancelled" | "error"
        ),
    };
    if !is_end {
        return None;
    }
    reply.stop.set(status.as_str());
    Some(match status.as_str() {
        "in_progress" => Terminal::Pending,
        "failed" => Terminal::Error,
        _ if reply.part.has_error || kind == "error" => Terminal::Error,
        _ => Terminal::Complete,
    })
}
