//! Which program made a call: by its user agent, else by the name of its file.

use super::Client;
use crate::event::Process;
use crate::llm::LlmCall;

/// LIMIT: bytes of a client's name or version; the rest is cut off.
const NAME_BYTES: usize = 64;

/// Products of user agents, in lower case, and the names that the ledger uses. The first that fits
/// wins; one ends with `/` or blank, unless it ends with `*`. Sources: the clients themselves.
const PRODUCTS: [(&str, &str); 59] = [
    ("claude-cli", "claude-code"),
    ("claude-code", "claude-code"),
    ("codex*", "codex"),
    ("opencode", "opencode"),
    ("geminicli*", "gemini-cli"),
    ("copilot*", "copilot-cli"),
    ("githubcopilot*", "copilot"),
    ("aider", "aider"),
    ("cursor", "cursor"),
    ("cline", "cline"),
    ("qwencode*", "qwen-code"),
    ("litellm", "litellm"),
    ("langchain*", "langchain"),
    ("openai/python", "openai-python"),
    ("asyncopenai/python", "openai-python"),
    ("azureopenai/python", "openai-python"),
    ("asyncazureopenai/python", "openai-python"),
    ("openai/js", "openai-node"),
    ("azureopenai/js", "openai-node"),
    ("openai/go", "openai-go"),
    ("openai/java", "openai-java"),
    ("openai/ruby", "openai-ruby"),
    ("openai/.net", "openai-dotnet"),
    ("async-openai", "async-openai"),
    ("anthropic/python", "anthropic-python"),
    ("asyncanthropic/python", "anthropic-python"),
    ("anthropicbedrock/python", "anthropic-python"),
    ("asyncanthropicbedrock/python", "anthropic-python"),
    ("anthropicvertex/python", "anthropic-python"),
    ("asyncanthropicvertex/python", "anthropic-python"),
    ("anthropic/js", "anthropic-node"),
    ("anthropic/go", "anthropic-go"),
    ("anthropic/java", "anthropic-java"),
    ("ai-sdk*", "ai-sdk"),
    ("ai", "ai-sdk"),
    ("google-genai-sdk", "google-genai"),
    ("boto3", "boto3"),
    ("groq/python", "groq-python"),
    ("asyncgroq/python", "groq-python"),
    ("groq/js", "groq-node"),
    ("cohere", "cohere-python"),
    ("cohere-ai", "cohere-node"),
    ("mistral-client-python", "mistralai-python"),
    ("mistral-client-typescript", "mistralai-node"),
    ("ollama-python", "ollama-python"),
    ("ollama-js", "ollama-node"),
    ("curl", "curl"),
    ("wget", "wget"),
    ("python-requests", "python-requests"),
    ("python-httpx", "python-httpx"),
    ("python-urllib", "python-urllib"),
    ("python-urllib3", "python-urllib3"),
    ("node-fetch", "node-fetch"),
    ("undici", "undici"),
    ("node", "node"),
    ("bun", "bun"),
    ("deno", "deno"),
    ("axios", "axios"),
    ("go-http-client", "go-http"),
];

/// Clients that use a provider's library without saying so: names of their files.
const FILES: [(&str, &str); 6] = [
    ("copilot", "copilot-cli"),
    ("claude", "claude-code"),
    ("codex", "codex"),
    ("opencode", "opencode"),
    ("aider", "aider"),
    ("gemini", "gemini-cli"),
];

/// The client of a call.
pub(super) fn client(call: &LlmCall, process: Option<&Process>) -> Client {
    let agent = call.user_agent.as_deref().and_then(product);
    let file = process.and_then(file_name);
    if let Some((name, version)) = agent {
        let is_library = FILES.iter().all(|(_, client)| *client != name);
        if is_library && let Some(hidden) = hidden_client(call.originator.as_deref(), file) {
            return Client {
                name: Some(hidden.to_owned()),
                version: None,
            };
        }
        return Client {
            name: Some(name.to_owned()),
            version: version.and_then(short),
        };
    }
    by_file(call.originator.as_deref(), file)
}

/// The client that a process is by itself, if its calls say nothing.
pub(super) fn of_process(process: &Process) -> Client {
    by_file(None, file_name(process))
}

fn by_file(originator: Option<&str>, file: Option<&str>) -> Client {
    let hidden = hidden_client(originator, file).map(str::to_owned);
    Client {
        name: hidden.or_else(|| file.and_then(short)),
        version: None,
    }
}

/// The product that a user agent begins with, and its version.
fn product(agent: &str) -> Option<(&'static str, Option<&str>)> {
    // aiohttp names Python first: `Python/3.11 aiohttp/3.9.1`.
    if let Some((_, version)) = agent.split_once("aiohttp/") {
        return Some(("aiohttp", version.split([' ', ';']).next()));
    }
    PRODUCTS.iter().find_map(|(pattern, name)| {
        let wanted = pattern.strip_suffix('*');
        let start = wanted.unwrap_or(pattern);
        let begins = agent.get(..start.len())?.eq_ignore_ascii_case(start);
        let rest = agent.get(start.len()..)?;
        if !begins || (wanted.is_none() && !rest.is_empty() && !rest.starts_with(['/', ' '])) {
            return None;
        }
        let rest = rest.trim_start_matches(|c: char| !matches!(c, '/' | ' '));
        // A part may stand between: `ai-sdk/openai/4.0.1`.
        let mut parts = rest.split(['/', ' ', ';', '(']).take(3);
        let version = parts.find(|part| part.starts_with(|c: char| c.is_ascii_digit()));
        Some((*name, version))
    })
}

/// The client behind a library, by its `originator` or `x-app` field or by its file.
fn hidden_client(originator: Option<&str>, file: Option<&str>) -> Option<&'static str> {
    let by_origin = originator.and_then(|origin| {
        let is_of = |name: &str| {
            origin
                .get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        ["codex", "opencode"].into_iter().find(|name| is_of(name))
    });
    by_origin.or_else(|| {
        FILES
            .iter()
            .find(|(name, _)| file == Some(name))
            .map(|(_, client)| *client)
    })
}

/// Name of the executable's file, else of the main thread.
fn file_name(process: &Process) -> Option<&str> {
    let path = process
        .exe
        .as_deref()
        .map(|path| path.strip_suffix(" (deleted)").unwrap_or(path));
    let name = path
        .and_then(|path| path.rsplit('/').next())
        .filter(|name| !name.is_empty());
    name.or_else(|| Some(process.comm.as_str()).filter(|comm| !comm.is_empty()))
}

/// A text as the ledger keeps it: no control characters, at most [`NAME_BYTES`].
fn short(text: &str) -> Option<String> {
    let mut kept: String = text
        .chars()
        .filter(|character| !character.is_control())
        .collect();
    kept.truncate(kept.floor_char_boundary(NAME_BYTES));
    (!kept.is_empty()).then_some(kept)
}
