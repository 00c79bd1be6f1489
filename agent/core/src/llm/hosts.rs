//! Which hosts are whose: a table of those that are known, and what a configuration adds to it.
//!
//! A host only names the provider, since gateways and self-hosted servers speak the same APIs. Only
//! where a configuration says so does it tell the API, too.

use super::{Endpoint, Provider};

/// The provider of a host that is on no list.
pub(super) const OTHER: Provider = Provider("other");

/// Hosts that are known, and whose they are, as patterns of [`Rule::hosts`]. Sources: the SDKs'
/// default addresses and the providers' documentation.
const KNOWN: &[(&str, &str)] = &[
    ("api.anthropic.com", "anthropic"),
    ("api.openai.com", "openai"),
    ("*.api.openai.com", "openai"),
    ("chatgpt.com", "openai"),
    ("*.openai.azure.com", "azure"),
    ("*.openai.azure.us", "azure"),
    ("*.cognitiveservices.azure.com", "azure"),
    ("*.services.ai.azure.com", "azure"),
    ("generativelanguage.googleapis.com", "google"),
    ("aiplatform.googleapis.com", "google"),
    ("*-aiplatform.googleapis.com", "google"),
    ("aiplatform.*.rep.googleapis.com", "google"),
    ("*.mtls.googleapis.com", "google"),
    ("cloudcode-pa.googleapis.com", "google"),
    ("bedrock-runtime.*.amazonaws.com", "bedrock"),
    ("bedrock-runtime-fips.*.amazonaws.com", "bedrock"),
    ("bedrock-runtime.*.amazonaws.com.cn", "bedrock"),
    ("bedrock-runtime.*.api.aws", "bedrock"),
    ("bedrock-mantle.*.api.aws", "bedrock"),
    ("*.bedrock-runtime.*.vpce.amazonaws.com", "bedrock"),
    ("ai-gateway.vercel.sh", "vercel"),
    ("openrouter.ai", "openrouter"),
    ("api.x.ai", "xai"),
    ("*.api.x.ai", "xai"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.together.xyz", "together"),
    ("api.together.ai", "together"),
    ("api.fireworks.ai", "fireworks"),
    ("api.perplexity.ai", "perplexity"),
    ("api.mistral.ai", "mistral"),
    ("codestral.mistral.ai", "mistral"),
    ("api.cohere.com", "cohere"),
    ("api.cohere.ai", "cohere"),
    ("api.githubcopilot.com", "copilot"),
    ("api.*.githubcopilot.com", "copilot"),
    ("models.github.ai", "github"),
    ("*.cursor.sh", "cursor"),
    ("api.cerebras.ai", "cerebras"),
    ("api.moonshot.ai", "moonshot"),
    ("api.moonshot.cn", "moonshot"),
    ("api.z.ai", "zai"),
    ("api.minimax.io", "minimax"),
    ("dashscope.aliyuncs.com", "alibaba"),
    ("dashscope-*.aliyuncs.com", "alibaba"),
    ("integrate.api.nvidia.com", "nvidia"),
    ("api.deepinfra.com", "deepinfra"),
    ("api.sambanova.ai", "sambanova"),
    ("api.hyperbolic.xyz", "hyperbolic"),
    ("router.huggingface.co", "huggingface"),
    ("ollama.com", "ollama"),
    ("*.cloud.databricks.com", "databricks"),
    ("*.azuredatabricks.net", "databricks"),
    ("*.gcp.databricks.com", "databricks"),
    ("ark.*.volces.com", "volcengine"),
    ("llm.chutes.ai", "chutes"),
    ("api.novita.ai", "novita"),
    ("api.siliconflow.cn", "siliconflow"),
    ("api.siliconflow.com", "siliconflow"),
    ("open.bigmodel.cn", "zai"),
    ("api.minimaxi.com", "minimax"),
    ("gateway.ai.cloudflare.com", "cloudflare"),
    ("api.ai21.com", "ai21"),
    ("api.voyageai.com", "voyage"),
    ("api.jina.ai", "jina"),
];

/// Ends of paths that count tokens, list models or store files, whatever API stands above them:
/// their bodies look like those of calls, and they use nothing.
const NO_CALLS: &[&str] = &[
    "/count_tokens",
    "/count-tokens",
    "/input_tokens",
    ":countTokens",
    ":computeTokens",
    "/tokenize",
    "/detokenize",
    "/batches",
    "/files",
    "/models",
    "/moderations",
];

/// What a configuration says of hosts that are on no list, or not as they are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name of the provider in reports.
    pub provider: String,
    /// Patterns of host names and addresses. `*` stands for a part of one label, a leading `*.` for
    /// one or more labels.
    pub hosts: Vec<String>,
    /// The path under which its APIs are, from the first slash; all of the host if there is none.
    /// It ends where a segment ends.
    pub path: Option<String>,
    /// What is spoken under that path, whatever the rest of the path looks like. Else the path tells,
    /// as it does everywhere.
    pub format: Option<Endpoint>,
}

/// Which hosts are whose.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// In the order in which they are tried, before those that are known.
    rules: Vec<(Provider, Rule)>,
}

impl Hosts {
    /// The hosts that are known, and before them those of a configuration. The names of its
    /// providers are kept for as long as the program runs, so it is made once for each configuration
    /// that was read.
    pub fn new(rules: Vec<Rule>) -> Self {
        let named = |rule: Rule| {
            let name: &'static str = Box::leak(rule.provider.clone().into_boxed_str());
            (Provider(name), rule)
        };
        Self {
            rules: rules.into_iter().map(named).collect(),
        }
    }

    /// Whose a path of a host is; [`OTHER`] if it is on no list.
    pub(super) fn provider(&self, host: &str, path: &str) -> Provider {
        let host = host.strip_suffix('.').unwrap_or(host);
        let rule = self
            .rules
            .iter()
            .find(|(_, rule)| rule.has_host(host) && rule.has_path(path));
        let known = || KNOWN.iter().find(|(pattern, _)| matches(pattern, host));
        match rule {
            Some((provider, _)) => *provider,
            None => known().map_or(OTHER, |(_, name)| Provider(name)),
        }
    }

    /// True if any path of a host is on a list.
    pub(super) fn has(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        KNOWN.iter().any(|(pattern, _)| matches(pattern, host))
            || self.rules.iter().any(|(_, rule)| rule.has_host(host))
    }

    /// What a configuration says is spoken under a path of a host.
    pub(super) fn format(&self, host: &str, path: &str) -> Option<Endpoint> {
        if NO_CALLS.iter().any(|end| path.ends_with(end)) {
            return None;
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let covers = |rule: &Rule| rule.has_host(host) && rule.has_path(path);
        self.rules
            .iter()
            .filter(|(_, rule)| covers(rule))
            .find_map(|(_, rule)| rule.format)
    }
}

impl Rule {
    fn has_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|pattern| matches(pattern, host))
    }

    fn has_path(&self, path: &str) -> bool {
        let Some(above) = &self.path else {
            return true;
        };
        let rest = path.strip_prefix(above.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
    }
}

fn matches(pattern: &str, host: &str) -> bool {
    let (pattern, is_below) = pattern
        .strip_prefix("*.")
        .map_or((pattern, false), |rest| (rest, true));
    let mut labels = host.rsplit('.');
    for wanted in pattern.rsplit('.') {
        let Some(label) = labels.next() else {
            return false;
        };
        if !matches_label(wanted, label) {
            return false;
        }
    }
    labels.next().is_some_and(|label| !label.is_empty()) == is_below
}

fn matches_label(wanted: &str, label: &str) -> bool {
    let Some((start, end)) = wanted.split_once('*') else {
        return wanted.eq_ignore_ascii_case(label);
    };
    let begins = label
        .get(..start.len())
        .is_some_and(|part| part.eq_ignore_ascii_case(start));
    let rest = label.get(start.len()..).unwrap_or_default();
    let tail = rest
        .len()
        .checked_sub(end.len())
        .filter(|left| *left > 0)
        .and_then(|at| rest.get(at..));
    begins && tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_the_provider_on_label_boundaries() {
        for (host, expected) in [
            ("api.anthropic.com", "anthropic"),
            ("API.Anthropic.com.", "anthropic"),
            ("eu.api.openai.com", "openai"),
            ("mine.openai.azure.com", "azure"),
            ("us-central1-aiplatform.googleapis.com", "google"),
            ("aiplatform.eu.rep.googleapis.com", "google"),
            ("bedrock-runtime.us-east-1.amazonaws.com", "bedrock"),
            ("api.enterprise.githubcopilot.com", "copilot"),
            ("evilapi.anthropic.com.example", "other"),
            ("xapi.anthropic.com", "other"),
            ("openai.azure.com", "other"),
            (".openai.azure.com", "other"),
            ("-aiplatform.googleapis.com", "other"),
            ("a.b.githubcopilot.com", "other"),
            ("127.0.0.1", "other"),
            ("", "other"),
        ] {
            assert_eq!(Hosts::default().provider(host, "/").0, expected, "{host}");
        }
    }

    fn rule(provider: &str, hosts: &[&str], path: Option<&str>) -> Rule {
        Rule {
            provider: provider.to_owned(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            path: path.map(str::to_owned),
            format: None,
        }
    }

    #[test]
    fn every_known_host_is_in_the_table_once() {
        for (place, (pattern, name)) in KNOWN.iter().enumerate() {
            let others = KNOWN.iter().skip(place + 1);
            assert_eq!(others.filter(|(other, _)| other == pattern).count(), 0);
            assert_eq!(*pattern, pattern.to_ascii_lowercase());
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            );
        }
    }

    #[test]
    fn a_configured_host_goes_before_a_known_one_and_leaves_the_others() {
        let hosts = Hosts::new(vec![
            rule(
                "gateway",
                &["llm.example.com", "*.llm.example.com", "10.0.0.7", "::1"],
                None,
            ),
            rule("eu", &["eu.api.openai.com"], None),
        ]);
        for (host, expected) in [
            ("llm.example.com", "gateway"),
            ("LLM.example.com.", "gateway"),
            ("a.b.llm.example.com", "gateway"),
            ("10.0.0.7", "gateway"),
            ("::1", "gateway"),
            ("xllm.example.com", "other"),
            ("eu.api.openai.com", "eu"),
            ("us.api.openai.com", "openai"),
        ] {
            assert_eq!(hosts.provider(host, "/v1").0, expected, "{host}");
            assert_eq!(hosts.has(host), expected != "other", "{host}");
        }
    }

    #[test]
    fn a_path_names_the_provider_up_to_the_end_of_a_segment() {
        let hosts = Hosts::new(vec![
            rule("first", &["llm.example.com"], Some("/first")),
            rule("second", &["llm.example.com"], Some("/team/second/")),
        ]);
        for (path, expected) in [
            ("/first", "first"),
            ("/first/v1/chat/completions", "first"),
            ("/first:generate", "first"),
            ("/firstborn/v1/chat/completions", "other"),
            ("/team/second/v1/messages", "second"),
            ("/team/second", "second"),
            ("/v1/messages", "other"),
            ("", "other"),
        ] {
            assert_eq!(
                hosts.provider("llm.example.com", path).0,
                expected,
                "{path}"
            );
        }
        // Which path comes is not known when a connection opens.
        assert!(hosts.has("llm.example.com"));
    }

    #[test]
    fn trap_16_what_counts_tokens_is_no_call_in_a_configured_format_either() {
        let mut rule = rule("gateway", &["llm.example.com"], Some("/ask"));
        rule.format = Some(Endpoint::OpenAiChat);
        let hosts = Hosts::new(vec![rule]);
        for (path, expected) in [
            ("/ask", Some(Endpoint::OpenAiChat)),
            ("/ask/large", Some(Endpoint::OpenAiChat)),
            ("/ask/v1/count_tokens", None),
            ("/ask/models/m:countTokens", None),
            ("/ask/batches", None),
            ("/tell", None),
        ] {
            assert_eq!(hosts.format("llm.example.com", path), expected, "{path}");
        }
        assert_eq!(hosts.format("other.example.com", "/ask"), None);
    }
}
