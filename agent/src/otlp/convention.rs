//! Names of OpenTelemetry's conventions for generative AI, release 0.1.0 of their own repository
//! (`open-telemetry/semantic-conventions-genai`, document `client-inference`). All of them are in
//! development, so that a later release may rename them; which one is told is in the configuration.

use agent_core::llm::LlmCall;
use agent_core::session::TaskType;
use serde_json::{Value, json};

/// What tells, as OpenTelemetry has it: the instrumentation scope.
pub(super) const SCOPE_NAME: &str = "bpftok";

/// What a call asks for, in the words of the convention, or of ours where it has none.
pub(super) fn operation(call: &LlmCall, task: TaskType) -> &'static str {
    match task {
        TaskType::Embedding => "embeddings",
        TaskType::Completion => "text_completion",
        TaskType::Image => "image_generation",
        TaskType::Audio => "speech",
        TaskType::Rerank => "rerank",
        TaskType::Batch
        | TaskType::Compaction
        | TaskType::Auxiliary
        | TaskType::Coding
        | TaskType::Agentic
        | TaskType::Structured
        | TaskType::Chat => match call.endpoint.as_str() {
            "gemini_generate" | "gemini_live" | "gemini_interactions" => "generate_content",
            "openai_completions" | "ollama_generate" => "text_completion",
            _ => "chat",
        },
    }
}

/// The convention's name of a provider; those that it does not know have ours.
pub(super) fn provider(call: &LlmCall) -> &'static str {
    match call.provider.0 {
        "azure" => "azure.ai.openai",
        "bedrock" => "aws.bedrock",
        "google" => match call.server_name.as_deref() {
            Some("generativelanguage.googleapis.com") => "gcp.gemini",
            Some(host) if host.ends_with("aiplatform.googleapis.com") => "gcp.vertex_ai",
            Some(_) | None => "gcp.gen_ai",
        },
        "mistral" => "mistral_ai",
        "moonshot" => "moonshot_ai",
        "xai" => "x_ai",
        same => same,
    }
}

/// An attribute with a text.
pub(super) fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// An attribute with an integer, which JSON has as a string.
pub(super) fn integer(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

/// An attribute with a number.
pub(super) fn number(key: &str, value: f64) -> Value {
    json!({"key": key, "value": {"doubleValue": value}})
}

/// A moment, as nanoseconds in a string.
pub(super) fn nanos(unix_ms: i64) -> String {
    (i128::from(unix_ms) * 1_000_000).max(0).to_string()
}
