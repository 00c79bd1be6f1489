//! Gemini's `generateContent`, <https://ai.google.dev/api/generate-content>, which Vertex AI speaks as
//! well, and Code Assist in an envelope. A stream comes as events or, without `alt=sse`, as one JSON
//! array that is sent piece by piece. Every part of it may have usage, which counts from the start:
//! the last one holds. So a stream ends with its body, and is whole if it said why it stopped.

use super::{Api, Form, Reply, Target, Terminal, printable};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::{Counts, Side};

pub(super) const API: Api = Api {
    endpoint: Endpoint::GeminiGenerate,
    target,
    prompt: &[Key::Contents, Key::SystemInstruction, Key::Tools],
    envelope: Some(Key::Request),
    ends_with_usage: true,
    value,
    settle,
    usage: Counts::gemini,
    create: None,
};

/// `.../models/{model}:generateContent`, a tuned model or an endpoint of Vertex AI in its place, or
/// Code Assist's `/v1internal:generateContent`, whose body names the model.
fn target(path: &str) -> Option<Target> {
    let (resource, verb) = path.rsplit_once(':')?;
    let stream = match verb {
        "generateContent" => false,
        "streamGenerateContent" => true,
        _ => return None,
    };
    let named = ["/models/", "/tunedModels/"]
        .iter()
        .find_map(|folder| resource.rsplit_once(folder));
    let model = named.and_then(|(_, name)| printable(name, 256));
    let is_call =
        model.is_some() || resource.contains("/endpoints/") || resource.ends_with("/v1internal");
    is_call.then_some(Target {
        model,
        stream: Some(stream),
        region: None,
    })
}

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    let path = match path {
        [Key::Item] => {
            match value {
                Value::Object => reply.begin_element(),
                Value::Close => end_part(reply),
                Value::Array
                | Value::Name(_)
                | Value::Begin
                | Value::Piece(_)
                | Value::End
                | Value::Number(_)
                | Value::Bool(_)
                | Value::Null => {}
            }
            return;
        }
        [Key::Item, inner @ ..] => inner,
        _ => path,
    };
    let path = match path {
        [Key::Response, inner @ ..] => inner,
        _ => path,
    };
    match path {
        [Key::ResponseId] => reply.id.first(value),
        [Key::ModelVersion] => reply.model.first(value),
        [Key::Candidates, Key::Item, Key::FinishReason]
        | [Key::PromptFeedback, Key::BlockReason] => {
            reply.part.status.last(value);
        }
        [Key::UsageMetadata, inner @ ..] => usage(reply, inner, value),
        [
            Key::Candidates,
            Key::Item,
            Key::GroundingMetadata,
            Key::WebSearchQueries,
            Key::Item,
        ] => reply.part.things += u64::from(matches!(value, Value::Begin)),
        [
            Key::Candidates,
            Key::Item,
            Key::Content,
            Key::Parts,
            Key::Item,
            inner @ ..,
        ] => match inner {
            [Key::Text] | [Key::FunctionCall, Key::Name] | [Key::ExecutableCode, Key::Code] => {
                reply.text(value);
            }
            [Key::Signature] => reply.has_hidden_reasoning |= matches!(value, Value::Piece(_)),
            // A name has the path of what it names: that of the member itself is no argument.
            [Key::FunctionCall, Key::Args, _, ..] => reply.argument(value),
            _ => {}
        },
        [Key::Error] => reply.part.has_error |= matches!(value, Value::Object),
        _ => {}
    }
}

/// Takes a value of `usageMetadata`.
pub(super) fn usage(reply: &mut Reply, inner: &[Key], value: Value<'_>) {
    match inner {
        [Key::TrafficType | Key::ServiceTier] => reply.tier.last(value),
        [
            Key::PromptModalities | Key::ToolModalities,
            Key::Item,
            inner @ ..,
        ] => reply.modality(Side::Input, inner, value),
        [Key::CandidatesTokensDetails, Key::Item, inner @ ..] => {
            reply.modality(Side::Output, inner, value);
        }
        _ => reply.usage(inner, value),
    }
}

/// Takes what a part says once it is whole: a reason to stop belongs to the usage beside it.
fn end_part(reply: &mut Reply) {
    let reason = std::mem::take(&mut reply.part.status);
    if !reason.as_str().is_empty() {
        reply.stop.set(reason.as_str());
    }
    // Zeros are left out on the wire. That nothing was generated shows in the total, as long as no
    // output was seen.
    if reply.output.seen_bytes() == 0 {
        reply.part.counts.conclude_no_output();
    }
    // Searches are named once, perhaps before the last part.
    match std::mem::take(&mut reply.part.things) {
        0 => {
            if let Some(searches) = reply.counts.units().web_searches {
                reply.part.counts.set_searches(searches);
            }
        }
        searches => reply.part.counts.set_searches(searches),
    }
    reply.replace_counts();
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    end_part(reply);
    match form {
        _ if reply.part.has_error => Some(Terminal::Error),
        Form::Body => Some(Terminal::Complete),
        Form::Event => None,
    }
}
