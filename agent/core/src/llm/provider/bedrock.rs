//! Amazon Bedrock, <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>.
//! `converse` is one format for every model. `invoke` passes the model's own one on, so that what was
//! used is best told by what Bedrock adds: header fields, or a member of the last event of a stream.
//! Both count as Anthropic does: the input leaves the caches out. Streams are
//! [event streams of AWS](crate::http::eventstream).

use super::{Api, Form, Reply, Target, Terminal, anthropic};
use crate::http::{Headers, percent_decoded};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const CONVERSE: Api = Api {
    endpoint: Endpoint::BedrockConverse,
    target: |path| target(path, "/converse", "/converse-stream"),
    prompt: &[Key::Messages, Key::System, Key::ToolConfig],
    envelope: None,
    ends_with_usage: false,
    value: converse,
    settle: settle_converse,
    usage: Counts::anthropic,
    create: None,
};

pub(super) const INVOKE: Api = Api {
    endpoint: Endpoint::BedrockInvoke,
    target: |path| target(path, "/invoke", "/invoke-with-response-stream"),
    prompt: &[
        Key::InputText,
        Key::Messages,
        Key::Prompt,
        Key::System,
        Key::Texts,
        Key::Tools,
    ],
    value: invoke,
    settle: settle_invoke,
    usage: Counts::invoked,
    ..CONVERSE
};

/// What stands before a model that runs in one of several regions: which those are.
const GEOGRAPHIES: &[&str] = &[
    "us", "us-gov", "eu", "apac", "jp", "au", "ca", "sa", "in", "me", "af", "global",
];

/// `/model/{id}/` and the operation. The id is percent-encoded.
fn target(path: &str, whole: &str, streamed: &str) -> Option<Target> {
    let (resource, stream) = path
        .strip_suffix(streamed)
        .map(|resource| (resource, true))
        .or_else(|| Some((path.strip_suffix(whole)?, false)))?;
    let (_, id) = resource.rsplit_once("/model/")?;
    let model = model(&percent_decoded(id)?)?;
    let geography = model.split_once('.').map(|(before, _)| before);
    Some(Target {
        region: geography
            .filter(|before| GEOGRAPHIES.contains(before))
            .map(str::to_owned),
        model: Some(model),
        stream: Some(stream),
    })
}

/// The model of an id, which may be an ARN: that has the account in it. A profile or router of the
/// provider's own names the model; anything else has a name that means something to the account alone,
/// and is kept with its kind.
fn model(id: &str) -> Option<String> {
    let Some(arn) = id.strip_prefix("arn:") else {
        let is_name = !id.is_empty() && !id.contains('/');
        return is_name.then(|| id.to_owned());
    };
    let resource = arn.splitn(5, ':').nth(4)?;
    let (kind, name) = resource.split_once('/')?;
    let names_model = matches!(
        kind,
        "foundation-model" | "inference-profile" | "default-prompt-router"
    );
    (!name.is_empty()).then(|| if names_model { name } else { resource }.to_owned())
}

/// Takes what the head of a reply to `invoke` says: it counts where the body's format is not known.
pub(super) fn head(reply: &mut Reply, headers: &Headers) {
    for (field, counter) in [
        ("x-amzn-bedrock-input-token-count", Key::InputTokens),
        ("x-amzn-bedrock-output-token-count", Key::OutputTokens),
        (
            "x-amzn-bedrock-cache-read-input-token-count",
            Key::CacheReadInputTokens,
        ),
        (
            "x-amzn-bedrock-cache-write-input-token-count",
            Key::CacheCreationInputTokens,
        ),
    ] {
        if let Some(count) = headers.first(field) {
            reply.usage(&[counter], Value::Number(count.trim()));
        }
    }
    if let Some(tier) = headers.first("x-amzn-bedrock-service-tier") {
        reply.tier.set(tier);
    }
    reply.replace_counts();
}

fn converse(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::StopReason] => reply.stop.last(value),
        [Key::Usage, inner @ ..] => usage(reply, inner, value),
        [Key::ServiceTier, Key::Type] => reply.tier.last(value),
        [Key::PerformanceConfig, Key::Latency] => reply.speed.last(value),
        [Key::Delta, inner @ ..] => delta(reply, inner, value),
        [Key::Start, Key::ToolUse, Key::Name] => reply.text(value),
        [
            Key::Output,
            Key::Message,
            Key::Content,
            Key::Item,
            inner @ ..,
        ] => {
            content(reply, inner, value);
        }
        _ => {}
    }
}

fn delta(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    if matches!(
        path,
        [Key::Text] | [Key::ToolUse, Key::Input] | [Key::ReasoningContent, Key::Text]
    ) {
        reply.text(value);
    }
}

fn content(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Text]
        | [Key::ToolUse, Key::Name]
        | [Key::ReasoningContent, Key::ReasoningText, Key::Text] => reply.text(value),
        // A name has the path of what it names: that of the member itself is no argument.
        [Key::ToolUse, Key::Input, _, ..] => reply.argument(value),
        _ => {}
    }
}

/// Takes a value of a usage object. Whether its total has the caches in it differs by model, and so
/// it is not looked at.
fn usage(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::CacheDetails, Key::Item, inner @ ..] => lifetime(reply, inner, value),
        _ => {
            if let Some(path) = counter(path) {
                reply.usage(path, value);
            }
        }
    }
}

/// The counter under its name at Anthropic, whose contract Bedrock has.
const fn counter(path: &[Key]) -> Option<&'static [Key]> {
    match path {
        [Key::InputCount] => Some(&[Key::InputTokens]),
        [Key::OutputCount] => Some(&[Key::OutputTokens]),
        [Key::CacheReadInputTokens] => Some(&[Key::CacheReadInputTokens]),
        [Key::CacheCreationInputTokens] => Some(&[Key::CacheCreationInputTokens]),
        _ => None,
    }
}

/// Takes a value of an element that says how much was written to a cache, and for how long.
fn lifetime(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match (path, value) {
        ([], Value::Object) => reply.part.pass = Default::default(),
        ([], Value::Close) => {
            let (ttl, counts) = std::mem::take(&mut reply.part.pass);
            reply.part.counts.add_lifetime(ttl.as_str(), &counts);
        }
        ([Key::Ttl], _) => {
            let (ttl, _) = &mut reply.part.pass;
            ttl.last(value);
        }
        ([Key::InputCount], _) => {
            let (_, counts) = &mut reply.part.pass;
            let refused = counts.read(&[Key::InputTokens], value);
            reply.refused += u64::from(refused);
        }
        _ => {}
    }
}

fn settle_converse(reply: &mut Reply, form: Form) -> Option<Terminal> {
    reply.replace_counts();
    (form == Form::Body || reply.part.kind.as_str() == "metadata").then_some(Terminal::Complete)
}

/// Takes a value of the model's own format: Anthropic's as a whole, and of others the text, to be
/// counted where a stream is cut.
fn invoke(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::InvocationMetrics, inner @ ..] => {
            if let Some(path) = counter(inner) {
                reply.usage_beside(path, value);
            } else if inner.is_empty() && matches!(value, Value::Object) {
                reply.part.has_end = true;
            }
        }
        // Nova has the usage and the events of `converse`.
        [Key::Usage, inner @ ..] if counter(inner).is_some() => usage(reply, inner, value),
        [Key::ContentBlockDelta, Key::Delta, inner @ ..] => delta(reply, inner, value),
        [Key::MessageStop, Key::StopReason] => reply.stop.last(value),
        [
            Key::Output,
            Key::Message,
            Key::Content,
            Key::Item,
            inner @ ..,
        ] => {
            content(reply, inner, value);
        }
        [Key::Generation | Key::OutputText]
        | [Key::Results, Key::Item, Key::OutputText]
        | [Key::Outputs, Key::Item, Key::Text]
        | [
            Key::Choices,
            Key::Item,
            Key::Delta | Key::Message,
            Key::Content,
        ] => reply.text(value),
        [
            Key::Outputs | Key::Choices,
            Key::Item,
            Key::FinishReason | Key::StopReason,
        ] => {
            reply.stop.last(value);
        }
        _ => anthropic::value(reply, path, value),
    }
}

/// What Bedrock adds has the same numbers again, and less of them: it holds where the model said none,
/// or what it said was missed.
fn settle_invoke(reply: &mut Reply, form: Form) -> Option<Terminal> {
    let of_head = reply.counts;
    let (_, metrics) = std::mem::take(&mut reply.part.beside);
    let is_last = reply.part.has_end;
    let terminal = anthropic::settle(reply, form);
    let own = reply.counts;
    if form == Form::Body {
        reply.counts = of_head;
        reply.counts.overwrite(&own);
    } else if !metrics.is_empty() {
        if reply.is_final {
            reply.counts = metrics;
            reply.counts.overwrite(&own);
        } else {
            reply.counts.overwrite(&metrics);
            reply.is_final = true;
        }
    }
    terminal.or_else(|| is_last.then_some(Terminal::Complete))
}
