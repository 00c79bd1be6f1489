//! Answers to what is no call: what clients ask the hosts of their providers besides.

use serde_json::{Value, json};

use crate::reply::Reply;
use crate::request::Request;

/// LIMIT: bytes of a `/noise/BYTES` reply, 64 MiB; more are not sent.
const MAX_NOISE_BYTES: usize = 64 << 20;

/// Beginnings of paths that take what they are sent: telemetry.
const SINKS: [&str; 8] = [
    "/api/event_logging/",
    "/api/eval/",
    "/api/claude_code/metrics",
    "/backend-api/codex/analytics-events/",
    "/otlp/",
    "/telemetry",
    "/log",
    "/v1/traces",
];

/// Answers a request that is no call.
pub(super) fn answer(request: &Request, path: &str) -> Reply {
    let is_get = request.method == "GET";
    if path == "/v1/messages/count_tokens" {
        return Reply::json(200, &json!({"input_tokens": 4_711}));
    }
    if path.ends_with(":countTokens") {
        return Reply::json(200, &json!({"totalTokens": 4_711}));
    }
    if path.ends_with("/models") && is_get {
        return Reply::json(200, &models(path));
    }
    if path == "/api/hello" || path == "/" {
        return Reply::json(200, &json!({"message": "hello"}));
    }
    if !is_get && SINKS.iter().any(|sink| path.starts_with(sink)) {
        return Reply::json(200, &json!({}));
    }
    if let Some(length) = path
        .strip_prefix("/noise/")
        .and_then(|digits| digits.parse().ok())
    {
        let body = vec![b'.'; MAX_NOISE_BYTES.min(length)];
        return Reply::whole(200, "application/octet-stream", body);
    }
    let error = json!({"type": "not_found_error", "message": "no such path"});
    Reply::json(
        404,
        &json!({"type": "error", "error": error, "method": request.method}),
    )
}

/// Refuses to open a WebSocket.
pub(super) fn no_socket(status: Option<u16>) -> Reply {
    let error = json!({"message": "no WebSockets here", "type": "invalid_request_error"});
    Reply::json(status.unwrap_or(426), &json!({"error": error}))
}

/// The list of models, in the shape of the API that its path belongs to.
fn models(path: &str) -> Value {
    let name = "model";
    if path.starts_with("/v1beta/") {
        let methods = ["generateContent", "countTokens"];
        return json!({"models": [{
            "name": format!("models/{name}"), "supportedGenerationMethods": methods,
        }]});
    }
    let model = json!({"id": name, "object": "model", "created": 0, "owned_by": "us"});
    json!({"object": "list", "data": [model]})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &str, path: &str) -> u16 {
        let request = Request {
            method: method.to_owned(),
            target: path.to_owned(),
            fields: Vec::new(),
            body: Vec::new(),
        };
        answer(&request, path).status
    }

    #[test]
    fn clients_get_what_they_need_and_a_refusal_else() {
        for (method, path, expected) in [
            ("HEAD", "/api/hello", 200),
            ("POST", "/api/event_logging/v2/batch", 200),
            ("POST", "/v1/messages/count_tokens", 200),
            ("GET", "/v1/models", 200),
            ("GET", "/v1beta/models", 200),
            ("POST", "/v1beta/models/m:countTokens", 200),
            ("GET", "/noise/10", 200),
            ("GET", "/api/claude_code/settings", 404),
            ("POST", "/v1/embeddings-not", 404),
        ] {
            assert_eq!(status(method, path), expected, "{method} {path}");
        }
    }
}
