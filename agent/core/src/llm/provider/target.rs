//! What a path says of a call.

use super::printable;

/// What the path of a call says, beside which API it calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::llm) struct Target {
    /// Model, or the deployment that stands for it where the body names none; at most 256 bytes.
    pub(in crate::llm) model: Option<String>,
    /// Whether a stream is asked for.
    pub(in crate::llm) stream: Option<bool>,
}

impl Target {
    /// A path that ends with `suffix`, whatever stands before: gateways put something there, and
    /// Azure names a deployment.
    pub(super) fn ends_with(path: &str, suffix: &str) -> Option<Self> {
        path.ends_with(suffix).then(|| Self {
            model: deployment(path),
            stream: None,
        })
    }
}

fn deployment(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/openai/deployments/")?;
    printable(rest.split('/').next()?, 256)
}
