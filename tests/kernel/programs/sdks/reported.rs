//! Every call of every SDK whose usage the provider reports: each column is what was served, the
//! columns add up to the provider's own total, and they cost what its page says.

use serde_json::Value;
use test_support::endpoint::Options;
use test_support::{Api, Tokens};

use super::costs::Cost;
use super::note::{Figures, Note};
use super::{Runtime, Sdk, Step, plan, run, sides};
use crate::agent::Row;
use crate::programs::scene::Played;

/// A call as the ledger must have it.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    call: String,
    id: Option<String>,
    endpoint: String,
    provider: String,
    server_name: Option<String>,
    client_name: Option<String>,
    model_requested: Option<String>,
    model_served: Option<String>,
    service_tier: Option<String>,
    stop_reason: Option<String>,
    is_stream: bool,
    status: Option<u16>,
    outcome: String,
    usage_source: String,
    tokens: [u64; 7],
    cost: Cost,
    /// What the SDK shows as the provider's total.
    total: u64,
    pid: Option<u32>,
    exe: Option<String>,
}

/// Prime numbers, each another, so that no two counters can be mixed up and no two sums be the same
/// by a slip.
fn primes() -> impl Iterator<Item = u64> {
    let is_prime = |number: &u64| {
        (2..)
            .take_while(|divisor| divisor * divisor <= *number)
            .all(|divisor| !number.is_multiple_of(divisor))
    };
    (1_009..).filter(is_prime)
}

/// Tokens of so many calls, in primes.
fn tokens(calls: usize) -> Vec<Tokens> {
    let mut primes = primes();
    let mut next = || primes.next().unwrap();
    let one = |_| Tokens {
        cache_write_5m: next(),
        cache_write_1h: next(),
        cache_write_other: next(),
        reasoning: next(),
        cache_read: next(),
        input_uncached: next(),
        output: next(),
    };
    (0..calls).map(one).collect()
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn expected(sdk: &Sdk, played: &Played) -> Vec<Line> {
    let chosen = tokens(sdk.steps.len());
    let served = played.served.iter().map(|call| call.id.clone());
    let steps = sdk.steps.iter().zip(&chosen).zip(served);
    steps
        .map(|((step, chosen), id)| {
            let tokens = step.columns(chosen);
            Line {
                call: step.call.to_owned(),
                id,
                endpoint: step.api.as_str().to_owned(),
                provider: step.provider.to_owned(),
                server_name: text(step.host()),
                client_name: sdk.client.map(str::to_owned),
                model_requested: text(step.model),
                model_served: step.model_served().map(str::to_owned),
                service_tier: step.tier.map(str::to_owned),
                stop_reason: step.stop_reason().map(str::to_owned),
                is_stream: step.is_stream,
                status: Some(200),
                outcome: "complete".to_owned(),
                usage_source: "provider".to_owned(),
                tokens,
                cost: step.cost(&tokens),
                total: tokens.iter().take(6).sum(),
                pid: Some(played.ended.who.pid),
                exe: text(&played.ended.who.exe),
            }
        })
        .collect()
}

/// The rows, each beside what the SDK said of its call.
fn found(sdk: &Sdk, rows: &[Row], played: &Played) -> Vec<Line> {
    let said = played.ended.stdout.lines().map(|line| {
        let said: Value = serde_json::from_str(line).unwrap();
        let call = said["call"].as_str().unwrap().to_owned();
        (call, said["total"].as_u64().unwrap_or_default())
    });
    let lines = rows.iter().cloned().zip(said);
    lines
        .map(|(row, (call, total))| Line {
            call,
            id: row.id,
            endpoint: row.endpoint,
            provider: row.provider,
            server_name: row.server_name,
            // Others are named after their process.
            client_name: sdk.client.and(row.client_name),
            model_requested: row.model_requested,
            model_served: row.model_served,
            service_tier: row.service_tier,
            stop_reason: row.stop_reason,
            is_stream: row.is_stream,
            status: row.status,
            outcome: row.outcome,
            usage_source: row.usage_source,
            // A class that the API does not know is unknown.
            tokens: row.tokens.map(Option::unwrap_or_default),
            cost: Cost {
                nanousd: row.cost_nanousd,
                status: row.cost_status,
                reported_nanousd: row.provider_cost_nanousd,
                billing_kind: row.billing_kind,
            },
            total,
            pid: row.pid,
            exe: row.exe,
        })
        .collect()
}

fn compare(test: &'static str, sdks: &[Sdk]) {
    let options = |sdk: &Sdk| Options {
        plan: plan("deltas-6"),
        usage: tokens(sdk.steps.len()),
        ..Options::default()
    };
    let Some((place, _said, played)) = run(test, sdks, &[], options) else {
        return;
    };
    let mut differences = Vec::new();
    for (sdk, played) in sdks.iter().zip(&played) {
        let rows = played.rows(&place);
        let (expected, found) = (expected(sdk, played), found(sdk, &rows, played));
        let (calls, lines) = (expected.len(), found.len());
        if [played.served.len(), lines] != [calls; 2] {
            let served = played.served.len();
            let title = sdk.title();
            differences.push(format!(
                "{title}: {calls} calls, {served} served, {lines} rows"
            ));
        }
        let pairs = expected.iter().zip(&found);
        let differing = pairs.filter(|(expected, found)| expected != found);
        differences.extend(differing.map(|(expected, found)| {
            let title = sdk.title();
            format!("{title}:\nexpected {expected:?}\nfound    {found:?}")
        }));
        if !differences.is_empty() {
            continue;
        }
        played.assert_in_ledger(&place);
        let mut note = Note::of(sdk, "reported");
        for ((step, line), row) in sdk.steps.iter().zip(&expected).zip(&rows) {
            let [input @ .., output, _] = line.tokens;
            note.push(&Figures {
                call: step.call,
                served: [input.iter().sum(), output],
                recorded: sides(row),
            });
        }
        note.write();
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The two ways of one call: at once, and in a stream.
fn both(step: Step, stream: &'static str) -> [Step; 2] {
    [step, Step { tier: None, ..step }.stream(stream)]
}

fn anthropic_messages() -> Vec<Step> {
    let step = Step::of(
        "messages",
        Api::AnthropicMessages,
        "anthropic",
        "claude-sonnet-4-6",
    );
    vec![
        step.tier("priority"),
        step.stream("messages stream").tier("standard"),
    ]
}

fn gemini_generate() -> Vec<Step> {
    let step = Step::of("generate", Api::GeminiGenerate, "google", "gemini-2.5-pro");
    both(step.tier("flex"), "generate stream").into()
}

/// Chat and responses of OpenAI's own SDK.
fn openai_calls() -> Vec<Step> {
    let chat = Step::of("chat", Api::OpenAiChat, "openai", "gpt-5-mini");
    let responses = Step::of("responses", Api::OpenAiResponses, "openai", "gpt-5");
    vec![
        chat.tier("flex"),
        chat.stream("chat stream").tier("default"),
        responses.tier("priority"),
        responses.stream("responses stream").tier("default"),
    ]
}

fn openai_embeddings() -> Step {
    let model = "text-embedding-3-small";
    Step::of("embeddings", Api::OpenAiEmbeddings, "openai", model)
}

#[test]
fn every_column_of_the_python_sdks_is_what_was_served() {
    let python = |name, client, steps| Sdk {
        runtime: Runtime::Python,
        name,
        package: name,
        client,
        steps,
    };
    let mut openai = openai_calls();
    let model = "gpt-3.5-turbo-instruct";
    let completions = Step::of("completions", Api::OpenAiCompletions, "openai", model);
    openai.extend(both(completions, "completions stream"));
    openai.push(openai_embeddings());

    let model = "us.anthropic.claude-sonnet-4-6";
    let converse = Step::of("converse", Api::BedrockConverse, "bedrock", model);
    let invoke = Step::of("invoke", Api::BedrockInvoke, "bedrock", model);
    let mut bedrock: Vec<_> = both(converse.tier("priority"), "converse stream").into();
    bedrock.extend(both(invoke, "invoke stream"));
    let mistral = Step::of("chat", Api::OpenAiChat, "mistral", "mistral-large-2512");
    let cohere = Step::of("chat", Api::CohereChat, "cohere", "command-a-03-2025");
    let groq = Step::of("chat", Api::OpenAiChat, "groq", "openai/gpt-oss-120b");
    let groq = [
        groq.tier("flex"),
        groq.stream("chat stream").tier("on_demand"),
    ];
    let ollama = Step::of("chat", Api::OllamaChat, "ollama", "gpt-oss:120b");

    let [chat, chat_stream, ..] = openai_calls()[..] else {
        panic!("chat and its stream");
    };
    let [messages, messages_stream] = anthropic_messages()[..] else {
        panic!("messages and their stream");
    };
    let [generate, generate_stream] = gemini_generate()[..] else {
        panic!("content and its stream");
    };
    let named = |step: Step, call| Step { call, ..step };
    let litellm = vec![
        Step {
            tier: None,
            ..named(generate, "gemini")
        },
        named(generate_stream, "gemini stream"),
        named(chat, "openai").tier("default"),
        named(chat_stream, "openai stream"),
        named(messages, "anthropic").tier("standard"),
        named(messages_stream, "anthropic stream"),
    ];
    let sdks = [
        python("openai", Some("openai-python"), openai),
        python("anthropic", Some("anthropic-python"), anthropic_messages()),
        python("google-genai", Some("google-genai"), gemini_generate()),
        python("boto3", None, bedrock),
        python(
            "mistralai",
            Some("mistralai-python"),
            both(mistral, "chat stream").into(),
        ),
        python(
            "cohere",
            Some("cohere-python"),
            both(cohere, "chat stream").into(),
        ),
        python("groq", Some("groq-python"), groq.into()),
        python(
            "ollama",
            Some("ollama-python"),
            both(ollama, "chat stream").into(),
        ),
        python("litellm", None, litellm),
    ];
    compare("python_sdks_reported", &sdks);
}

#[test]
fn every_column_of_the_node_sdks_is_what_was_served() {
    let node = |name, package, client, steps| Sdk {
        runtime: Runtime::Node,
        name,
        package,
        client,
        steps,
    };
    let mut openai = openai_calls();
    openai.push(openai_embeddings());
    let renamed = |step: Step, call| Step {
        call,
        tier: step.tier.map(|_| "default"),
        ..step
    };
    let [chat, chat_stream, responses, responses_stream] = openai_calls()[..] else {
        panic!("chat and responses");
    };
    let [messages, messages_stream] = anthropic_messages()[..] else {
        panic!("messages and their stream");
    };
    let [generate, generate_stream] = gemini_generate()[..] else {
        panic!("content and its stream");
    };
    let untiered = |step: Step, call| Step {
        call,
        tier: None,
        ..step
    };
    let messages_of_ai = Step {
        call: "anthropic",
        ..messages.tier("standard")
    };
    let ai = vec![
        renamed(chat, "openai chat"),
        renamed(chat_stream, "openai chat stream"),
        renamed(responses, "openai responses"),
        renamed(responses_stream, "openai responses stream"),
        messages_of_ai,
        Step {
            call: "anthropic stream",
            ..messages_stream
        },
        untiered(generate, "google"),
        untiered(generate_stream, "google stream"),
    ];
    let model = "openai/gpt-5-mini";
    let gateway = Step::of("gateway", Api::VercelLanguage, "vercel", model);
    let sdks = [
        node("openai", "openai", Some("openai-node"), openai),
        node(
            "anthropic",
            "@anthropic-ai/sdk",
            Some("anthropic-node"),
            anthropic_messages(),
        ),
        node(
            "google",
            "@google/genai",
            Some("google-genai"),
            gemini_generate(),
        ),
        node("ai", "ai", None, ai),
        node(
            "gateway",
            "@ai-sdk/gateway",
            None,
            both(gateway, "gateway stream").into(),
        ),
    ];
    compare("node_sdks_reported", &sdks);
}
