//! What the APIs have in common: the shape of a request, and what is gathered from a reply.
//!
//! Each API is one [`Api`] in a file of its own, reached by `recognize` alone.

mod anthropic;
mod anthropic_batch;
mod bedrock;
mod calls;
mod cohere;
mod conversation;
mod functions;
mod gemini;
mod gemini_live;
mod google_embeddings;
mod interactions;
mod mistral;
mod ollama;
mod openai_audio;
mod openai_batch;
mod openai_chat;
mod openai_completions;
mod openai_decisions;
mod openai_embeddings;
mod openai_images;
mod openai_realtime;
mod openai_responses;
mod picture;
mod reply;
mod request;
pub(super) mod shape;
mod standing;
mod structure;
mod target;
mod tools;
mod vercel;

pub(super) use calls::Calls;
pub(super) use openai_realtime::TRANSCRIBED;
pub(super) use reply::{Form, Reply, Terminal};
pub(super) use request::{Request, printable};
pub(super) use standing::Standing;
pub(super) use target::Target;

use super::json::{Key, Prefix, Value};
use super::usage::Counts;
use super::{Endpoint, Usage};
use crate::http::Headers;

/// One API, as data and functions.
pub(super) struct Api {
    /// Its name.
    pub(super) endpoint: Endpoint,
    /// What a path without a slash at its end says, if it is the path of a call.
    pub(super) target: fn(&str) -> Option<Target>,
    /// Members of the request that are prompt: their text is what a count is made of.
    prompt: &'static [Key],
    /// Member of the request that holds the others where a gateway of the provider stands between.
    envelope: Option<Key>,
    /// True if its usage comes after the reason to stop, so that a stream which has both is whole.
    pub(super) ends_with_usage: bool,
    /// Takes one value of the reply: of one event of a stream, or of the whole body.
    pub(super) value: fn(&mut Reply, &[Key], Value<'_>),
    /// Called when the event or the body is over; says if the reply is, too.
    pub(super) settle: fn(&mut Reply, Form) -> Option<Terminal>,
    /// Turns its counters into token classes.
    pub(super) usage: fn(&Counts) -> Usage,
    /// Type of the message that asks for a response over a WebSocket; `None` where responses come
    /// without being asked for one by one, or there is no WebSocket.
    pub(super) create: Option<&'static str>,
}

impl Api {
    /// Whether a reply may be no JSON and no events: sound, subtitles, plain text.
    pub(super) const fn may_be_opaque(&self) -> bool {
        matches!(
            self.endpoint,
            Endpoint::OpenAiSpeech | Endpoint::OpenAiTranscription
        )
    }

    /// Whether tokens can be counted from text: those of sound and pictures cannot.
    pub(super) const fn has_countable_text(&self) -> bool {
        !matches!(
            self.endpoint,
            Endpoint::OpenAiImages | Endpoint::OpenAiTranscription | Endpoint::VercelImage
        )
    }

    /// Whether anything is generated: embeddings and orders of documents are no tokens.
    pub(super) const fn has_output(&self) -> bool {
        !matches!(
            self.endpoint,
            Endpoint::OpenAiEmbeddings
                | Endpoint::GeminiEmbed
                | Endpoint::VertexPredict
                | Endpoint::CohereEmbed
                | Endpoint::CohereRerank
                | Endpoint::OllamaEmbed
                | Endpoint::VercelEmbedding
                | Endpoint::VercelReranking
        )
    }

    /// Whether others have the same path, so that a reply has to say whose it is.
    pub(super) const fn is_ambiguous(&self) -> bool {
        matches!(
            self.endpoint,
            Endpoint::CohereChat
                | Endpoint::CohereEmbed
                | Endpoint::CohereRerank
                | Endpoint::GeminiInteractions
                | Endpoint::MistralConversations
                | Endpoint::OllamaChat
                | Endpoint::OllamaGenerate
                | Endpoint::OllamaEmbed
                | Endpoint::VertexPredict
        )
    }

    /// Takes what the head of a reply says beside what all of them have there.
    pub(super) fn head(&self, reply: &mut Reply, headers: &Headers) {
        if self.endpoint == Endpoint::BedrockInvoke {
            bedrock::head(reply, headers);
        }
    }

    /// Whether the messages of a WebSocket say which response they are of.
    pub(super) const fn names_responses(&self) -> bool {
        !matches!(self.endpoint, Endpoint::GeminiLive)
    }

    /// Whether a reply is one JSON text a line, whatever its type says: one that is whole is then a
    /// single line.
    pub(super) const fn has_lines(&self) -> bool {
        matches!(
            self.endpoint,
            Endpoint::OllamaChat | Endpoint::OllamaGenerate | Endpoint::OllamaEmbed
        )
    }
}

/// Those that are called by a POST each.
pub(super) const APIS: &[&Api] = &[
    &anthropic::API,
    &anthropic::VERTEX,
    &bedrock::CONVERSE,
    &bedrock::INVOKE,
    &cohere::CHAT,
    &cohere::EMBED,
    &cohere::RERANK,
    &gemini::API,
    &google_embeddings::EMBED,
    &google_embeddings::PREDICT,
    &interactions::API,
    &mistral::CONVERSATIONS,
    &ollama::CHAT,
    &ollama::EMBED,
    &ollama::GENERATE,
    &openai_audio::SPEECH,
    &openai_audio::TRANSCRIPTION,
    &openai_chat::API,
    &openai_completions::API,
    &openai_decisions::API,
    &openai_embeddings::API,
    &openai_images::API,
    &openai_responses::API,
    &openai_responses::COMPACT,
    &vercel::EMBEDDING,
    &vercel::IMAGE,
    &vercel::LANGUAGE,
    &vercel::RERANKING,
];

/// Those that read again, by a GET, what was asked for before.
pub(super) const RETRIEVALS: &[&Api] = &[&interactions::RETRIEVED, &openai_responses::RETRIEVED];

/// Those that read, by a GET, the results of many calls that were asked for before: one a line.
pub(super) const RESULTS: &[&Api] = &[&anthropic_batch::RESULTS, &openai_batch::RESULTS];

/// Those that run over a WebSocket, many calls over one.
pub(super) const SOCKETS: [&Api; 3] = [
    &openai_responses::API,
    &openai_realtime::API,
    &gemini_live::API,
];

/// A count that is written as a fraction with nothing behind the point, as Cohere and Vertex AI do.
fn without_fraction(value: Value<'_>) -> Value<'_> {
    if let Value::Number(text) = value {
        Value::Number(text.strip_suffix(".0").unwrap_or(text))
    } else {
        value
    }
}

/// A short word of a body (a model, an id), without control characters and cut at `CAP` bytes. One
/// that breaks off with its body is none.
#[derive(Default)]
pub(super) struct Word<const CAP: usize> {
    text: Prefix,
    is_open: bool,
    is_kept: bool,
}

impl<const CAP: usize> Word<CAP> {
    /// Takes a value; a later string replaces an earlier one.
    pub(super) fn last(&mut self, value: Value<'_>) {
        match value {
            Value::Begin => {
                self.text.clear();
                self.is_open = true;
            }
            Value::End => self.is_open = false,
            Value::Piece(piece) => {
                // Character by character: what is dropped must not depend on how it was split.
                let mut buffer = [0; 4];
                for character in piece.chars().filter(|character| !character.is_control()) {
                    self.text.push(character.encode_utf8(&mut buffer), CAP);
                }
            }
            Value::Object
            | Value::Array
            | Value::Close
            | Value::Name(_)
            | Value::Number(_)
            | Value::Bool(_)
            | Value::Null => {}
        }
    }

    /// Takes a value unless a string that was not empty came before.
    pub(super) fn first(&mut self, value: Value<'_>) {
        if self.is_kept {
            return;
        }
        self.last(value);
        self.is_kept = matches!(value, Value::End) && !self.as_str().is_empty();
    }

    /// Sets it.
    pub(super) fn set(&mut self, text: &str) {
        self.last(Value::Begin);
        self.last(Value::Piece(text));
        self.last(Value::End);
    }

    /// What was taken; empty if nothing was.
    pub(super) fn as_str(&self) -> &str {
        if self.is_open { "" } else { self.text.as_str() }
    }

    /// What was taken, if anything.
    pub(super) fn some(&self) -> Option<String> {
        let text = self.as_str();
        (!text.is_empty()).then(|| text.to_owned())
    }
}
