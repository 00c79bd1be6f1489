//! What a path says of a call.

use super::printable;
use crate::http::Headers;

/// What the path of a call says, beside which API it calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::llm) struct Target {
    /// Model, or the deployment that stands for it where the body names none; at most 256 bytes.
    pub(in crate::llm) model: Option<String>,
    /// Whether a stream is asked for.
    pub(in crate::llm) stream: Option<bool>,
    /// Region, where it is named; at most 64 bytes.
    pub(in crate::llm) region: Option<String>,
}

impl Target {
    /// A path that ends with `suffix`, whatever stands before: gateways put something there, and
    /// Azure names a deployment.
    pub(super) fn ends_with(path: &str, suffix: &str) -> Option<Self> {
        path.ends_with(suffix).then(|| Self {
            model: deployment(path),
            ..Self::default()
        })
    }

    /// The same with what header fields say: Vercel's gateway names the model there, and whether a
    /// stream is asked for.
    pub(in crate::llm) fn with_headers(mut self, headers: &Headers) -> Self {
        let model = ["ai-language-model-id", "ai-model-id"]
            .iter()
            .find_map(|name| headers.first(name));
        let model = model.and_then(|model| printable(model, 256));
        self.model = self.model.or(model);
        if let Some(stream) = headers.first("ai-language-model-streaming") {
            self.stream = Some(stream.trim().eq_ignore_ascii_case("true"));
        }
        self
    }
}

fn deployment(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/openai/deployments/")?;
    printable(rest.split('/').next()?, 256)
}
