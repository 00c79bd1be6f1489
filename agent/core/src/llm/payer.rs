//! Tells who pays for a call, by the scheme of its credential, the host and the fields beside it.

use super::Credential;
use crate::http::{RequestHead, Scheme};

/// What the head of a request says about who pays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Payer {
    scheme: Scheme,
    /// True if fields beside the credential say that it is the login of a plan.
    is_plan: bool,
}

impl Payer {
    /// What a head says.
    pub(super) fn of(head: &RequestHead) -> Self {
        let is_token = matches!(
            head.scheme,
            Scheme::Bearer | Scheme::BearerJwt | Scheme::AnthropicLogin | Scheme::Other
        );
        // Claude Code names this feature with the token of a login, and not with a key.
        let betas = head.headers.iter().filter(|(name, _)| *name == BETA);
        let is_claude = betas
            .flat_map(|(_, value)| value.split(','))
            .any(|beta| beta.trim().starts_with("oauth-"));
        // Codex sends it with the token of a login at ChatGPT, wherever it sends that.
        let is_chatgpt = head.headers.first("chatgpt-account-id").is_some();
        Self {
            scheme: head.scheme,
            is_plan: is_token && (is_claude || is_chatgpt),
        }
    }

    /// Who pays for a call to a host.
    pub(super) fn credential(self, host: Option<&str>) -> Credential {
        let host = host.unwrap_or_default();
        let is_any_sent = !matches!(self.scheme, Scheme::None | Scheme::Unread);
        if is_any_sent && (self.is_plan || is_of_plans(host)) {
            return Credential::Subscription;
        }
        match self.scheme {
            Scheme::None => Credential::None,
            Scheme::AnthropicLogin => Credential::Subscription,
            Scheme::GoogleToken | Scheme::AwsSignature => Credential::Cloud,
            Scheme::BearerJwt if is_of_cloud(host) => Credential::Cloud,
            Scheme::Key | Scheme::Bearer => Credential::ApiKey,
            Scheme::BearerJwt | Scheme::Other | Scheme::Unread => Credential::Unknown,
        }
    }
}

/// The field in which Anthropic's clients name the features that they use.
const BETA: &str = "anthropic-beta";

/// Whether a host serves the members of plans, and nobody else: ChatGPT's backend, Gemini Code
/// Assist, GitHub Copilot.
fn is_of_plans(host: &str) -> bool {
    let label = host.split('.').next().unwrap_or_default();
    host == "chatgpt.com"
        || host.ends_with(".chatgpt.com")
        || host.ends_with(".githubcopilot.com")
        || host.ends_with(".googleapis.com") && label.ends_with("cloudcode-pa")
}

/// Whether tokens at a host are those of a cloud's directory: Entra ID, Google's and AWS's
/// identities, a Databricks workspace.
fn is_of_cloud(host: &str) -> bool {
    [
        ".azure.com",
        ".azure.us",
        ".googleapis.com",
        ".amazonaws.com",
        ".amazonaws.com.cn",
        ".api.aws",
        ".databricks.com",
        ".azuredatabricks.net",
    ]
    .iter()
    .any(|domain| host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::tests::headers;

    fn credential(scheme: Scheme, host: &str, fields: &[(&'static str, &str)]) -> Credential {
        let head = RequestHead {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            model: None,
            scheme,
            headers: headers(fields),
        };
        Payer::of(&head).credential(Some(host))
    }

    #[test]
    fn each_client_pays_as_it_logged_in() {
        let oauth = (BETA, "claude-code-20250219,oauth-2025-04-20");
        let account = ("chatgpt-account-id", "account");
        for (who, scheme, host, fields, expected) in [
            (
                "Claude Code with a plan",
                Scheme::AnthropicLogin,
                "api.anthropic.com",
                vec![oauth],
                Credential::Subscription,
            ),
            (
                "Claude Code with a plan, whatever its tokens look like",
                Scheme::Bearer,
                "api.anthropic.com",
                vec![oauth],
                Credential::Subscription,
            ),
            (
                "Claude Code with a key",
                Scheme::Key,
                "api.anthropic.com",
                vec![(BETA, "claude-code-20250219")],
                Credential::ApiKey,
            ),
            (
                "Claude Code with the token of a gateway",
                Scheme::Bearer,
                "llm.example.com",
                vec![(BETA, "claude-code-20250219")],
                Credential::ApiKey,
            ),
            (
                "Claude Code on Bedrock",
                Scheme::AwsSignature,
                "bedrock-runtime.us-east-1.amazonaws.com",
                vec![],
                Credential::Cloud,
            ),
            (
                "Claude Code on Vertex",
                Scheme::GoogleToken,
                "us-east5-aiplatform.googleapis.com",
                vec![],
                Credential::Cloud,
            ),
            (
                "Codex with ChatGPT",
                Scheme::BearerJwt,
                "chatgpt.com",
                vec![account],
                Credential::Subscription,
            ),
            (
                "Codex with ChatGPT through a gateway",
                Scheme::BearerJwt,
                "llm.example.com",
                vec![account],
                Credential::Subscription,
            ),
            (
                "Codex with a key",
                Scheme::Key,
                "api.openai.com",
                vec![],
                Credential::ApiKey,
            ),
            (
                "opencode with a key of OpenRouter",
                Scheme::Key,
                "openrouter.ai",
                vec![],
                Credential::ApiKey,
            ),
            (
                "Gemini CLI with a key",
                Scheme::Key,
                "generativelanguage.googleapis.com",
                vec![],
                Credential::ApiKey,
            ),
            (
                "Gemini CLI with a login",
                Scheme::GoogleToken,
                "cloudcode-pa.googleapis.com",
                vec![],
                Credential::Subscription,
            ),
            (
                "Gemini CLI on Vertex",
                Scheme::GoogleToken,
                "aiplatform.googleapis.com",
                vec![],
                Credential::Cloud,
            ),
            (
                "Copilot CLI",
                Scheme::Bearer,
                "api.individual.githubcopilot.com",
                vec![],
                Credential::Subscription,
            ),
            (
                "Azure with a key",
                Scheme::Key,
                "mine.openai.azure.com",
                vec![],
                Credential::ApiKey,
            ),
            (
                "Azure with Entra ID",
                Scheme::BearerJwt,
                "mine.openai.azure.com",
                vec![],
                Credential::Cloud,
            ),
            (
                "a token that may be anything",
                Scheme::BearerJwt,
                "llm.example.com",
                vec![],
                Credential::Unknown,
            ),
            (
                "a password",
                Scheme::Other,
                "llm.example.com",
                vec![],
                Credential::Unknown,
            ),
            (
                "Ollama on this host",
                Scheme::None,
                "localhost",
                vec![],
                Credential::None,
            ),
            (
                "a head of which a part is missing",
                Scheme::Unread,
                "api.openai.com",
                vec![],
                Credential::Unknown,
            ),
        ] {
            assert_eq!(credential(scheme, host, &fields), expected, "{who}");
        }
    }

    #[test]
    fn nothing_sent_to_a_plan_is_no_plan() {
        let sent = credential(Scheme::None, "chatgpt.com", &[]);
        assert_eq!(sent, Credential::None);
        let unread = credential(Scheme::Unread, "chatgpt.com", &[]);
        assert_eq!(unread, Credential::Unknown);
    }

    #[test]
    fn a_host_of_another_name_is_no_plan() {
        for host in ["notchatgpt.com", "cloudcode-pa.example.com", ""] {
            assert_eq!(
                credential(Scheme::Key, host, &[]),
                Credential::ApiKey,
                "{host}"
            );
        }
    }
}
