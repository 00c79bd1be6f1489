//! Google's embeddings: `embedContent` and `batchEmbedContents`,
//! <https://ai.google.dev/api/embeddings>, and Vertex AI's `predict`,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api>. The
//! Gemini API reports no tokens, so that they are counted here; Vertex AI reports them for each text.
//! `predict` makes pictures as well, which are counted one by one.

use super::{Api, Form, Reply, Target, Terminal, gemini, printable};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const EMBED: Api = Api {
    endpoint: Endpoint::GeminiEmbed,
    target: |path| {
        let (resource, verb) = path.rsplit_once(':')?;
        let is_embed = matches!(verb, "embedContent" | "batchEmbedContents");
        model(resource, "/models/").filter(|_| is_embed)
    },
    prompt: &[Key::Content, Key::Requests],
    envelope: None,
    ends_with_usage: false,
    value: |reply, path, value| read(&EMBED, reply, path, value),
    settle,
    usage: Counts::embeddings,
    create: None,
};

pub(super) const PREDICT: Api = Api {
    endpoint: Endpoint::VertexPredict,
    target: |path| model(path.strip_suffix(":predict")?, "/publishers/google/models/"),
    prompt: &[Key::Instances],
    value: |reply, path, value| read(&PREDICT, reply, path, value),
    ..EMBED
};

fn model(resource: &str, folder: &str) -> Option<Target> {
    let (_, name) = resource.rsplit_once(folder)?;
    Some(Target {
        model: Some(printable(name, 256)?),
        stream: Some(false),
        region: None,
    })
}

fn read(api: &'static Api, reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Embedding | Key::Embeddings]
        | [
            Key::Predictions,
            Key::Item,
            Key::Embeddings | Key::TextEmbedding,
        ] => {
            reply.api = Some(api);
        }
        [Key::UsageMetadata, inner @ ..] => gemini::usage(reply, inner, value),
        [Key::Predictions, Key::Item, Key::Embeddings, inner @ ..]
        | [Key::Embedding, inner @ ..]
        | [Key::Embeddings, Key::Item, inner @ ..] => {
            if inner == [Key::Statistics, Key::TokenCount] {
                reply.further_prompt(value);
            }
        }
        [Key::Predictions, Key::Item, Key::BytesBase64] if matches!(value, Value::Begin) => {
            reply.api = Some(api);
            reply.part.things += 1;
        }
        _ => {}
    }
}

fn settle(reply: &mut Reply, _: Form) -> Option<Terminal> {
    if reply.part.things > 0 {
        let things = reply.part.things;
        reply.part.counts.set_units(things);
    }
    reply.replace_counts();
    Some(Terminal::Complete)
}
