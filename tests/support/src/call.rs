//! What a request asks for: the API, the model, and how the answer is to come.

use serde_json::Value;

use crate::served::{Api, Tokens};

/// How an answer is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// One JSON text.
    Whole,
    /// A stream of events (`text/event-stream`).
    Events,
    /// One JSON array, an element at a time.
    Elements,
    /// One JSON text a line (`application/x-ndjson`).
    Lines,
    /// Messages of Amazon's event stream (`application/vnd.amazon.eventstream`).
    AmazonMessages,
    /// Messages of a WebSocket.
    Messages,
}

/// Whose way of OpenAI's chat completions is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's own.
    #[default]
    OpenAi,
    /// Mistral's: usage stands on the last chunk of a stream beside its choices, asked for or not.
    Mistral,
    /// Groq's: usage stands in a member `x_groq` of a stream's last chunk, asked for or not.
    Groq,
}

/// One call as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// API.
    pub api: Api,
    /// Dialect.
    pub dialect: Dialect,
    /// Model, from the body or from the target.
    pub model: Option<String>,
    /// Delivery.
    pub delivery: Delivery,
    /// Body; null where it is no JSON.
    pub body: Value,
    /// What the conversation had before, where the server keeps it.
    pub history: Vec<Value>,
}

impl Call {
    /// The API whose calls go to this path, whatever stands before it: gateways and other hosts
    /// of the same APIs put something there.
    pub fn api_of(path: &str) -> Option<Api> {
        let ends = [
            ("/v1/messages", Api::AnthropicMessages),
            ("/chat/completions", Api::OpenAiChat),
            ("/responses", Api::OpenAiResponses),
            ("/realtime", Api::OpenAiRealtime),
            ("/completions", Api::OpenAiCompletions),
            ("/embeddings", Api::OpenAiEmbeddings),
            (":generateContent", Api::GeminiGenerate),
            (":streamGenerateContent", Api::GeminiGenerate),
            ("/converse", Api::BedrockConverse),
            ("/converse-stream", Api::BedrockConverse),
            ("/invoke", Api::BedrockInvoke),
            ("/invoke-with-response-stream", Api::BedrockInvoke),
            ("/v2/chat", Api::CohereChat),
            ("/api/chat", Api::OllamaChat),
            ("/ai/language-model", Api::VercelLanguage),
        ];
        ends.into_iter()
            .find(|(end, _)| path.ends_with(end))
            .map(|(_, api)| api)
    }

    /// The call that a POST of `body` to `target` is, if its path is one of an API's.
    pub fn by_post(target: &str, body: &[u8]) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let api = Self::api_of(path).filter(|api| *api != Api::OpenAiRealtime)?;
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let (model, delivery) = match api {
            Api::GeminiGenerate => {
                let (model, verb) = path.rsplit('/').next()?.split_once(':')?;
                let delivery = match (verb, parameter(query, "alt")) {
                    ("generateContent", _) => Delivery::Whole,
                    (_, Some("sse")) => Delivery::Events,
                    _ => Delivery::Elements,
                };
                (Some(model.to_owned()), delivery)
            }
            Api::BedrockConverse | Api::BedrockInvoke => {
                let (above, verb) = path.rsplit_once('/')?;
                let model = above.rsplit('/').next()?;
                let delivery = if verb.ends_with("-stream") {
                    Delivery::AmazonMessages
                } else {
                    Delivery::Whole
                };
                (Some(percent_decoded(model)), delivery)
            }
            Api::OllamaChat => {
                let delivery = if is_stream(&body).unwrap_or(true) {
                    Delivery::Lines
                } else {
                    Delivery::Whole
                };
                (text(&body, "model"), delivery)
            }
            Api::AnthropicMessages
            | Api::OpenAiChat
            | Api::OpenAiResponses
            | Api::OpenAiRealtime
            | Api::OpenAiCompletions
            | Api::OpenAiEmbeddings
            | Api::CohereChat
            | Api::VercelLanguage => {
                let delivery = if is_stream(&body).unwrap_or(false) {
                    Delivery::Events
                } else {
                    Delivery::Whole
                };
                (text(&body, "model"), delivery)
            }
        };
        Some(Self {
            api,
            dialect: Dialect::OpenAi,
            model,
            delivery,
            body,
            history: Vec::new(),
        })
    }

    /// The same with what the fields of its head say: the host tells the dialect, and Vercel's
    /// protocol has model and delivery there.
    pub fn with_fields<'a>(self, field: impl Fn(&str) -> Option<&'a str>) -> Self {
        if self.api == Api::VercelLanguage {
            let delivery = match field("ai-language-model-streaming") {
                Some("true") => Delivery::Events,
                _ => Delivery::Whole,
            };
            return Self {
                model: field("ai-language-model-id").map(str::to_owned),
                delivery,
                ..self
            };
        }
        let host = field("host").unwrap_or_default();
        let dialect = match host.split(':').next() {
            Some("api.mistral.ai") => Dialect::Mistral,
            Some("api.groq.com") => Dialect::Groq,
            _ => Dialect::OpenAi,
        };
        Self { dialect, ..self }
    }

    /// The call that a message of a WebSocket asks for; `model` is that of the connection, and
    /// `history` what its conversation had before.
    pub fn by_message(api: Api, model: Option<&str>, body: Value, history: Vec<Value>) -> Self {
        Self {
            api,
            dialect: Dialect::OpenAi,
            model: text(&body, "model").or_else(|| model.map(str::to_owned)),
            delivery: Delivery::Messages,
            body,
            history,
        }
    }

    /// Those of `tokens` that the usage of its reply can say.
    pub const fn known(&self, tokens: Tokens) -> Tokens {
        let tokens = self.api.known(tokens);
        match self.dialect {
            Dialect::OpenAi => tokens,
            Dialect::Mistral => Tokens {
                input_uncached: tokens.input_uncached,
                cache_read: 0,
                cache_write_5m: 0,
                cache_write_1h: 0,
                cache_write_other: 0,
                output: tokens.output,
                reasoning: 0,
            },
            Dialect::Groq => Tokens {
                cache_write_other: 0,
                ..tokens
            },
        }
    }

    /// Whether the answer comes in parts.
    pub fn is_stream(&self) -> bool {
        self.delivery != Delivery::Whole
    }

    /// Whether it only prepares the connection (`generate: false` of OpenAI's WebSocket).
    pub fn is_warm_up(&self) -> bool {
        self.delivery == Delivery::Messages
            && self.body.get("generate").and_then(Value::as_bool) == Some(false)
    }
}

/// The first value of a query's parameter, as it stands there.
pub(crate) fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// What a body says of streaming, if anything.
fn is_stream(body: &Value) -> Option<bool> {
    body.get("stream").and_then(Value::as_bool)
}

/// A segment of a path without its percent-encoding (RFC 3986, section 2.1). What is no encoding
/// stands for itself.
fn percent_decoded(segment: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = segment.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|_| *first == b'%');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() {
            behind.get(2..).unwrap_or_default()
        } else {
            behind
        };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn text(body: &Value, key: &str) -> Option<String> {
    body.get(key).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_the_api_and_what_is_no_call() {
        let table = [
            ("/v1/messages", Some(Api::AnthropicMessages)),
            ("/anthropic/v1/messages", Some(Api::AnthropicMessages)),
            ("/v1/messages/count_tokens", None),
            ("/chat/completions", Some(Api::OpenAiChat)),
            ("/backend-api/codex/responses", Some(Api::OpenAiResponses)),
            ("/v1/responses/input_tokens", None),
            (
                "/v1beta/models/m:generateContent",
                Some(Api::GeminiGenerate),
            ),
            ("/v1beta/models/m:countTokens", None),
            ("/v1/completions", Some(Api::OpenAiCompletions)),
            ("/v1/embeddings", Some(Api::OpenAiEmbeddings)),
            ("/v1/embeddings-not", None),
            ("/model/m/converse", Some(Api::BedrockConverse)),
            ("/model/m/count-tokens", None),
            ("/v2/chat", Some(Api::CohereChat)),
            ("/api/chat", Some(Api::OllamaChat)),
            ("/v4/ai/language-model", Some(Api::VercelLanguage)),
        ];
        for (path, api) in table {
            assert_eq!(Call::api_of(path), api, "{path}");
        }
    }

    #[test]
    fn gemini_names_model_and_delivery_in_the_target() {
        let table = [
            ("m-1:generateContent", Delivery::Whole),
            ("m-1:streamGenerateContent", Delivery::Elements),
            ("m-1:streamGenerateContent?key=k&alt=sse", Delivery::Events),
        ];
        for (end, delivery) in table {
            let call = Call::by_post(&format!("/v1beta/models/{end}"), b"{}").unwrap();
            assert_eq!(call.model.as_deref(), Some("m-1"));
            assert_eq!(call.delivery, delivery, "{end}");
        }
    }

    #[test]
    fn the_body_names_model_and_delivery_elsewhere() {
        let call = Call::by_post("/v1/messages?beta=true", br#"{"model":"m","stream":true}"#);
        let call = call.unwrap();
        assert_eq!(call.model.as_deref(), Some("m"));
        assert_eq!(call.delivery, Delivery::Events);
        let malformed = Call::by_post("/v1/messages", b"no json").unwrap();
        assert_eq!(malformed.body, Value::Null);
    }

    #[test]
    fn bedrock_names_model_and_delivery_in_the_target() {
        let model = "us.anthropic.claude-sonnet-4-v1:0";
        let table = [
            ("converse", Api::BedrockConverse, Delivery::Whole),
            (
                "converse-stream",
                Api::BedrockConverse,
                Delivery::AmazonMessages,
            ),
            ("invoke", Api::BedrockInvoke, Delivery::Whole),
            (
                "invoke-with-response-stream",
                Api::BedrockInvoke,
                Delivery::AmazonMessages,
            ),
        ];
        for (verb, api, delivery) in table {
            let target = format!("/model/{}/{verb}", model.replace(':', "%3A"));
            let call = Call::by_post(&target, b"{}").unwrap();
            let found = (call.api, call.model.as_deref(), call.delivery);
            assert_eq!(found, (api, Some(model), delivery), "{verb}");
        }
    }

    #[test]
    fn ollama_streams_unless_told_otherwise() {
        for (body, delivery) in [
            (r#"{"model":"m"}"#, Delivery::Lines),
            (r#"{"model":"m","stream":false}"#, Delivery::Whole),
        ] {
            let call = Call::by_post("/api/chat", body.as_bytes()).unwrap();
            assert_eq!(
                (call.model.as_deref(), call.delivery),
                (Some("m"), delivery)
            );
        }
    }

    #[test]
    fn the_fields_of_the_head_name_what_the_body_does_not() {
        let fields = |name: &str| match name {
            "ai-language-model-id" => Some("openai/m"),
            "ai-language-model-streaming" => Some("true"),
            _ => None,
        };
        let call = Call::by_post("/v4/ai/language-model", b"{}").unwrap();
        let call = call.with_fields(fields);
        assert_eq!(
            (call.model.as_deref(), call.delivery),
            (Some("openai/m"), Delivery::Events)
        );
        for (host, dialect) in [
            ("api.groq.com", Dialect::Groq),
            ("api.mistral.ai:443", Dialect::Mistral),
            ("api.openai.com", Dialect::OpenAi),
        ] {
            let call = Call::by_post("/v1/chat/completions", b"{}").unwrap();
            let call = call.with_fields(|name| (name == "host").then_some(host));
            assert_eq!(call.dialect, dialect, "{host}");
        }
    }

    #[test]
    fn tokens_are_told_where_there_is_a_counter_for_them() {
        let chosen = Tokens {
            input_uncached: 2,
            cache_read: 3,
            cache_write_5m: 5,
            cache_write_1h: 7,
            cache_write_other: 11,
            output: 13,
            reasoning: 12,
        };
        let known = |path: &str, dialect| {
            let call = Call::by_post(path, b"{}").unwrap();
            Call { dialect, ..call }.known(chosen)
        };
        let plain = Tokens {
            input_uncached: 2,
            output: 13,
            ..Tokens::default()
        };
        let anthropic = Tokens {
            cache_write_other: 0,
            ..chosen
        };
        assert_eq!(known("/v1/messages", Dialect::OpenAi), anthropic);
        assert_eq!(known("/api/chat", Dialect::OpenAi), plain);
        assert_eq!(known("/v1/chat/completions", Dialect::Mistral), plain);
        let groq = Tokens {
            cache_read: 3,
            reasoning: 12,
            ..plain
        };
        assert_eq!(known("/v1/chat/completions", Dialect::Groq), groq);
    }

    #[test]
    fn realtime_is_no_post() {
        assert_eq!(Call::by_post("/v1/realtime?model=m", b"{}"), None);
    }
}
