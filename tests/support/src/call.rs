//! What a request asks for: the API, the model, and how the answer is to come.

use serde_json::Value;

use crate::served::Api;

/// How an answer is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// One JSON text.
    Whole,
    /// A stream of events (`text/event-stream`).
    Events,
    /// One JSON array, an element at a time.
    Elements,
    /// Messages of a WebSocket.
    Messages,
}

/// One call as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// API.
    pub api: Api,
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
            (":generateContent", Api::GeminiGenerate),
            (":streamGenerateContent", Api::GeminiGenerate),
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
        if api == Api::GeminiGenerate {
            let (model, verb) = path.rsplit('/').next()?.split_once(':')?;
            let delivery = match (verb, parameter(query, "alt")) {
                ("generateContent", _) => Delivery::Whole,
                (_, Some("sse")) => Delivery::Events,
                _ => Delivery::Elements,
            };
            return Some(Self {
                api,
                model: Some(model.to_owned()),
                delivery,
                body,
                history: Vec::new(),
            });
        }
        let is_stream = body.get("stream").and_then(Value::as_bool);
        let delivery = if is_stream.unwrap_or(false) {
            Delivery::Events
        } else {
            Delivery::Whole
        };
        Some(Self {
            api,
            model: text(&body, "model"),
            delivery,
            body,
            history: Vec::new(),
        })
    }

    /// The call that a message of a WebSocket asks for; `model` is that of the connection, and
    /// `history` what its conversation had before.
    pub fn by_message(api: Api, model: Option<&str>, body: Value, history: Vec<Value>) -> Self {
        Self {
            api,
            model: text(&body, "model").or_else(|| model.map(str::to_owned)),
            delivery: Delivery::Messages,
            body,
            history,
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
            ("/v1/embeddings-not", None),
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
    fn realtime_is_no_post() {
        assert_eq!(Call::by_post("/v1/realtime?model=m", b"{}"), None);
    }
}
