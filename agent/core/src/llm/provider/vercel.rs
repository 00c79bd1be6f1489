//! Vercel AI Gateway's own protocol, which the AI SDK speaks (`@ai-sdk/gateway`): the model and
//! whether a stream is asked for stand in header fields, and the body is the SDK's model of a call. Its
//! specification has three versions on the wire: usage is flat in the second, and nested from the
//! third on. The upstream's own usage comes along as `raw`, and is not counted again.
//!
//! The gateway's paths that are OpenAI's or Anthropic's are read as those.

use super::{Api, Form, Reply, Target, Terminal};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const LANGUAGE: Api = Api {
    endpoint: Endpoint::VercelLanguage,
    target: |path| {
        ["/ai/language-model", "/ai/decision-model"]
            .iter()
            .find_map(|suffix| Target::ends_with(path, suffix))
    },
    prompt: &[Key::Prompt, Key::Questions, Key::StateParts, Key::Tools],
    envelope: None,
    ends_with_usage: false,
    value: language,
    settle: settle_language,
    usage: Counts::openai,
    create: None,
};

pub(super) const EMBEDDING: Api = Api {
    endpoint: Endpoint::VercelEmbedding,
    target: |path| Target::ends_with(path, "/ai/embedding-model"),
    prompt: &[Key::Values],
    value: other,
    settle: settle_other,
    usage: Counts::embeddings,
    ..LANGUAGE
};

pub(super) const IMAGE: Api = Api {
    endpoint: Endpoint::VercelImage,
    target: |path| Target::ends_with(path, "/ai/image-model"),
    prompt: &[Key::Prompt],
    value: other,
    settle: settle_other,
    ..LANGUAGE
};

pub(super) const RERANKING: Api = Api {
    endpoint: Endpoint::VercelReranking,
    target: |path| Target::ends_with(path, "/ai/reranking-model"),
    prompt: &[Key::Documents, Key::Query],
    ..EMBEDDING
};

fn language(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    let kind = reply.part.kind.as_str();
    match path {
        [Key::Type] => reply.part.kind.last(value),
        // In other events it is the id of a block of text.
        [Key::Id] if kind == "response-metadata" => reply.id.first(value),
        [Key::ModelId] if kind == "response-metadata" => reply.model.first(value),
        [Key::Response, Key::Id] => reply.id.first(value),
        [Key::Response, Key::ModelId] | [Key::Model] => reply.model.first(value),
        [Key::FinishReason] | [Key::FinishReason, Key::Unified] => reply.stop.last(value),
        [Key::Delta] if matches!(kind, "text-delta" | "reasoning-delta" | "tool-input-delta") => {
            reply.text(value);
        }
        [Key::ToolName] if kind == "tool-input-start" => reply.text(value),
        [
            Key::Content,
            Key::Item,
            Key::Text | Key::ToolName | Key::Input,
        ] => reply.text(value),
        [Key::Error] if kind == "error" => reply.has_failed = true,
        _ => common(reply, path, value),
    }
}

fn settle_language(reply: &mut Reply, form: Form) -> Option<Terminal> {
    let is_end = form == Form::Body || reply.part.kind.as_str() == "finish";
    end_part(reply);
    is_end.then(|| {
        if reply.has_failed || reply.stop.as_str() == "error" {
            Terminal::Error
        } else {
            Terminal::Complete
        }
    })
}

fn other(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Images, Key::Item] => reply.part.things += u64::from(matches!(value, Value::Begin)),
        // The documents in their new order: one search.
        [Key::Ranking] => reply.part.things += u64::from(matches!(value, Value::Array)),
        _ => common(reply, path, value),
    }
}

fn settle_other(reply: &mut Reply, _: Form) -> Option<Terminal> {
    if reply.part.things > 0 && reply.part.counts.is_empty() {
        let things = reply.part.things;
        reply.part.counts.set_units(things);
    }
    end_part(reply);
    Some(Terminal::Complete)
}

/// What all of them say: usage, and what the gateway says that it costs.
fn common(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Usage, inner @ ..] => {
            if let Some(path) = counter(inner) {
                // An object is a later version's, and its members follow.
                if !matches!(value, Value::Object | Value::Close) {
                    reply.usage(path, value);
                }
            }
        }
        [Key::ProviderMetadata, Key::Gateway, Key::Cost] => {
            let (_, amount) = &mut reply.part.item;
            amount.last(value);
            if let Value::Number(amount) = value {
                reply.usage(&[Key::Cost], Value::Number(amount));
            } else if matches!(value, Value::End) {
                let amount = std::mem::take(amount);
                reply.usage(&[Key::Cost], Value::Number(amount.as_str()));
            }
        }
        [Key::ProviderMetadata, Key::Gateway, Key::GenerationId] => reply.part.status.last(value),
        _ => {}
    }
}

/// The counter of a usage object, under its name at OpenAI, whose contract the specification has.
/// Totals may have more in them than the counters, and are no check.
const fn counter(inner: &[Key]) -> Option<&'static [Key]> {
    match inner {
        [Key::InputCount] | [Key::InputCount, Key::Total] => Some(&[Key::InputTokens]),
        [Key::OutputCount] | [Key::OutputCount, Key::Total] => Some(&[Key::OutputTokens]),
        [Key::CachedInputTokens] | [Key::InputCount, Key::CacheRead] => Some(&[Key::CachedTokens]),
        [Key::InputCount, Key::CacheWrite] => {
            Some(&[Key::InputTokensDetails, Key::CacheWriteTokens])
        }
        [Key::ReasoningCount] | [Key::OutputCount, Key::Reasoning] => Some(&[Key::ReasoningTokens]),
        // Of embeddings.
        [Key::Tokens] => Some(&[Key::InputTokens]),
        _ => None,
    }
}

/// Takes over what a part says. The gateway's own id stands in for one of the model that answers.
fn end_part(reply: &mut Reply) {
    let generation = std::mem::take(&mut reply.part.status);
    if reply.id.as_str().is_empty() && !generation.as_str().is_empty() {
        reply.id.set(generation.as_str());
    }
    reply.replace_counts();
}
