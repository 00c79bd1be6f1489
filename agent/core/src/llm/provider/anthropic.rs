//! Anthropic Messages: <https://docs.anthropic.com/en/api/messages> and, for the order and merging
//! of events, <https://docs.anthropic.com/en/api/messages-streaming>. Vertex AI speaks it under paths
//! of its own, which name the model.
//!
//! A call may take several passes, `usage.iterations`. The counters above them have those of the
//! model that answered, and leave out what was run beside: a compaction of the context
//! (<https://docs.anthropic.com/en/docs/build-with-claude/compaction>), and an advisor, which is
//! another model (<https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/advisor-tool>).

use super::{Api, Form, Reply, Target, Terminal, printable};
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;
use crate::llm::{Endpoint, SubKind};

pub(super) const API: Api = Api {
    endpoint: Endpoint::AnthropicMessages,
    target: |path| Target::ends_with(path, "/v1/messages"),
    prompt: &[Key::Messages, Key::System, Key::Tools],
    envelope: None,
    ends_with_usage: false,
    value,
    settle,
    usage: Counts::anthropic,
    create: None,
};

/// The same on Vertex AI,
/// <https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude>.
pub(super) const VERTEX: Api = Api {
    target: vertex,
    ..API
};

/// `.../publishers/anthropic/models/{model}:rawPredict`, or `:streamRawPredict`. What counts tokens
/// has the name of a model there: `count-tokens`.
fn vertex(path: &str) -> Option<Target> {
    let (resource, verb) = path.rsplit_once(':')?;
    let stream = match verb {
        "rawPredict" => false,
        "streamRawPredict" => true,
        _ => return None,
    };
    let (place, model) = resource.rsplit_once("/publishers/anthropic/models/")?;
    let region = place.rsplit_once("/locations/").map(|(_, region)| region);
    (model != "count-tokens").then_some(Target {
        model: Some(printable(model, 256)?),
        stream: Some(stream),
        region: region.and_then(|region| printable(region, 64)),
    })
}

pub(super) fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Type] => reply.part.kind.last(value),
        [Key::Message, Key::Id] | [Key::Id] => reply.id.first(value),
        [Key::Message, Key::Model] | [Key::Model] => reply.model.first(value),
        [Key::Delta, Key::StopReason] | [Key::StopReason] => reply.stop.last(value),
        [Key::Message, Key::Usage, inner @ ..] | [Key::Usage, inner @ ..] => {
            usage(reply, inner, value);
        }
        [Key::Delta, Key::Text | Key::Thinking | Key::PartialJson]
        | [Key::ContentBlock, Key::Name | Key::Text | Key::Thinking]
        | [
            Key::Content,
            Key::Item,
            Key::Text | Key::Thinking | Key::Name,
        ] => reply.text(value),
        // Reasoning is signed, or sealed: what is shown of it may be a summary, or nothing.
        [Key::Delta | Key::ContentBlock, Key::Signature]
        | [Key::ContentBlock, Key::Data]
        | [Key::Content, Key::Item, Key::Signature | Key::Data] => {
            reply.has_hidden_reasoning |= matches!(value, Value::Piece(_));
        }
        // A name has the path of what it names: that of the member itself is no argument.
        [Key::Content, Key::Item, Key::Input, _, ..] => reply.argument(value),
        _ => {}
    }
}

fn usage(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::ServiceTier] => reply.tier.last(value),
        [Key::Speed] => reply.speed.last(value),
        [Key::InferenceGeo] => reply.region.last(value),
        [Key::Iterations, Key::Item, inner @ ..] => iteration(reply, inner, value),
        _ => reply.usage(path, value),
    }
}

/// Takes a value of one pass of several. Passes of the model that answers are in the counters above
/// them, and so is one that stood in for it.
fn iteration(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match (path, value) {
        ([Key::Type], _) => {
            let (kind, _) = &mut reply.part.pass;
            kind.last(value);
        }
        ([], Value::Close) => {
            let (kind, _) = std::mem::take(&mut reply.part.pass);
            match kind.as_str() {
                "compaction" => {
                    // The model that answers compacts, too; its name here is the call's own.
                    let (model, _) = &mut reply.part.beside;
                    std::mem::take(model);
                    reply.end_beside(SubKind::Compaction, Counts::anthropic);
                }
                "advisor_message" => {
                    let (model, _) = &mut reply.part.beside;
                    // Its tokens are none of the model that was called, named or not.
                    if model.as_str().is_empty() {
                        model.set("advisor");
                    }
                    reply.end_beside(SubKind::Advisor, Counts::anthropic);
                }
                "fallback_message" => {
                    let (model, _) = std::mem::take(&mut reply.part.beside);
                    reply.part.stand_in = model;
                }
                _ => {}
            }
        }
        _ => {
            if path.is_empty() {
                reply.part.pass = Default::default();
            }
            reply.usage_beside(path, value);
        }
    }
}

pub(super) fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    let mut counts = reply.part.counts;
    match (reply.part.kind.as_str(), form) {
        ("error", _) => return Some(Terminal::Error),
        (_, Form::Body) => {
            reply.counts = counts;
            reply.is_final = true;
            end_passes(reply);
            return Some(Terminal::Complete);
        }
        ("message_start", Form::Event) => {
            // Its output is a placeholder of one or a few tokens.
            counts.output = None;
            reply.counts = counts;
        }
        ("message_delta", Form::Event) => {
            // Cumulative: what is there overwrites, what is missing must not erase.
            reply.counts.overwrite(&counts);
            reply.is_final |= !counts.is_empty();
            end_passes(reply);
        }
        ("message_stop", Form::Event) => return Some(Terminal::Complete),
        _ => {}
    }
    None
}

/// Takes over what the passes say. They count from the start, too: the last ones hold.
fn end_passes(reply: &mut Reply) {
    if !reply.part.sub_inferences.is_empty() {
        reply.sub_inferences = std::mem::take(&mut reply.part.sub_inferences);
    }
    let stand_in = std::mem::take(&mut reply.part.stand_in);
    if !stand_in.as_str().is_empty() {
        reply.model.set(stand_in.as_str());
    }
}
