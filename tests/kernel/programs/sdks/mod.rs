//! The official SDKs at their built-in hosts: what each stored column must hold is said here, call by
//! call, and not taken from the endpoint.
//!
//! | module | holds |
//! |---|---|
//! | `reported` | calls whose usage the provider reports |
//! | `costs` | what those cost |
//! | `estimated` | calls whose usage it keeps to itself |
//! | `note` | what `agent/docs/accuracy.md` is made of |

mod costs;
mod estimated;
mod note;
mod reported;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use test_support::endpoint::Options;
use test_support::{Api, Plan, Tokens};

use super::scene::{Played, Scene, program};
use super::{Said, Watch, at_once};
use crate::agent::{Place, Row};
use crate::run::{installed, peer};

/// What an SDK runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runtime {
    /// The interpreter with the pinned packages; its TLS is the system's OpenSSL.
    Python,
    /// The newest Node, for which the SDKs are made; its TLS is inside of it.
    Node,
}

/// An SDK, and the calls that its script makes.
struct Sdk {
    runtime: Runtime,
    /// Argument of the script.
    name: &'static str,
    /// Package whose version is that of the SDK.
    package: &'static str,
    /// What the ledger calls the client; not compared where it knows no name of its own.
    client: Option<&'static str>,
    steps: Vec<Step>,
}

/// One call, as the ledger must have it.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Name in what the script prints.
    call: &'static str,
    api: Api,
    provider: &'static str,
    model: &'static str,
    is_stream: bool,
    tier: Option<&'static str>,
}

impl Step {
    const fn of(call: &'static str, api: Api, provider: &'static str, model: &'static str) -> Self {
        Self {
            call,
            api,
            provider,
            model,
            is_stream: false,
            tier: None,
        }
    }

    /// The same in a stream.
    const fn stream(self, call: &'static str) -> Self {
        Self {
            call,
            is_stream: true,
            ..self
        }
    }

    const fn tier(self, tier: &'static str) -> Self {
        Self {
            tier: Some(tier),
            ..self
        }
    }

    /// The host that the SDK has built in.
    const fn host(&self) -> &'static str {
        match self.provider.as_bytes() {
            b"anthropic" => "api.anthropic.com",
            b"openai" => "api.openai.com",
            b"google" => "generativelanguage.googleapis.com",
            b"bedrock" => "bedrock-runtime.us-east-1.amazonaws.com",
            b"mistral" => "api.mistral.ai",
            b"cohere" => "api.cohere.com",
            b"groq" => "api.groq.com",
            b"ollama" => "ollama.com",
            b"vercel" => "ai-gateway.vercel.sh",
            _ => "",
        }
    }

    /// Why the model stops, in the provider's word.
    const fn stop_reason(&self) -> Option<&'static str> {
        match self.api {
            Api::AnthropicMessages | Api::BedrockConverse | Api::BedrockInvoke => Some("end_turn"),
            Api::OpenAiChat | Api::OpenAiCompletions | Api::OllamaChat | Api::VercelLanguage => {
                Some("stop")
            }
            Api::OpenAiResponses | Api::OpenAiRealtime => Some("completed"),
            Api::GeminiGenerate => Some("STOP"),
            Api::CohereChat => Some("COMPLETE"),
            Api::OpenAiEmbeddings => None,
        }
    }

    /// Model that the reply names.
    const fn model_served(&self) -> Option<&'static str> {
        match self.api {
            Api::BedrockConverse | Api::CohereChat => None,
            Api::AnthropicMessages
            | Api::OpenAiChat
            | Api::OpenAiResponses
            | Api::OpenAiRealtime
            | Api::OpenAiCompletions
            | Api::OpenAiEmbeddings
            | Api::GeminiGenerate
            | Api::BedrockInvoke
            | Api::OllamaChat
            | Api::VercelLanguage => Some(self.model),
        }
    }

    /// The seven columns: those of `tokens` for which the provider's usage has a counter.
    fn columns(&self, tokens: &Tokens) -> [u64; 7] {
        let Tokens {
            input_uncached: input,
            cache_read: read,
            cache_write_5m: five_minutes,
            cache_write_1h: hour,
            cache_write_other: other,
            output,
            reasoning,
        } = *tokens;
        match (self.api, self.provider) {
            (Api::AnthropicMessages | Api::BedrockInvoke, _) => {
                [input, read, five_minutes, hour, 0, output, reasoning]
            }
            (Api::BedrockConverse, _) => [input, read, five_minutes, hour, 0, output, 0],
            (Api::OpenAiChat, "mistral") | (Api::OpenAiCompletions | Api::OllamaChat, _) => {
                [input, 0, 0, 0, 0, output, 0]
            }
            (Api::OpenAiChat, "groq") | (Api::GeminiGenerate, _) => {
                [input, read, 0, 0, 0, output, reasoning]
            }
            (Api::OpenAiChat | Api::OpenAiResponses | Api::VercelLanguage, _) => {
                [input, read, 0, 0, other, output, reasoning]
            }
            (Api::OpenAiRealtime | Api::CohereChat, _) => [input, read, 0, 0, 0, output, 0],
            (Api::OpenAiEmbeddings, _) => [input, 0, 0, 0, 0, 0, 0],
        }
    }
}

impl Sdk {
    /// The command that makes its calls in a scene.
    fn command(&self, scene: &Scene, program: &Path) -> Command {
        let mut command = scene.command(program);
        match self.runtime {
            Runtime::Python => {
                command.arg(peer("python/sdks.py"));
                command.env("AWS_CA_BUNDLE", scene.endpoint.ca_path());
            }
            Runtime::Node => {
                // Packages are looked for beside the script.
                let script = scene.home("sdks.mjs");
                fs::copy(peer("node/sdks.mjs"), &script).unwrap();
                let modules = env::var_os("BPFTOK_NODE_MODULES").unwrap();
                symlink(modules, scene.home("node_modules")).unwrap();
                command.arg(script);
            }
        }
        command.arg(self.name);
        command
    }
}

impl Runtime {
    /// The program; `None`, with a `SKIP` line, where set-up has not installed it.
    fn program(self, test: &'static str) -> Option<PathBuf> {
        match self {
            Self::Python => installed("BPFTOK_PYTHON", test),
            Self::Node => {
                installed("BPFTOK_NODE_MODULES", test)?;
                program("node", "bin/node", test)
            }
        }
    }

    /// Has the agent hook what carries its TLS.
    fn is_hooked(self, watch: &Watch, program: &Path) -> Option<()> {
        match self {
            Self::Python => watch.has_imported(program, "ssl", "libssl"),
            Self::Node => watch.has_run(program),
        }
    }
}

/// Runs all of `sdks` at once under one agent, each with an endpoint of its own that `options` are
/// given to; gives the ledger, what the agent said, and the runs.
fn run(
    test: &'static str,
    sdks: &[Sdk],
    arguments: &[&str],
    options: impl Fn(&Sdk) -> Options + Sync,
) -> Option<(Place, Said, Vec<Played>)> {
    let runtime = sdks.first()?.runtime;
    let program = runtime.program(test)?;
    let watch = Watch::start(test)?;
    runtime.is_hooked(&watch, &program)?;
    let played = at_once(sdks.iter().map(|sdk| {
        let (program, options) = (&program, &options);
        move || {
            let scene = Scene::set(test, options(sdk))?;
            let mut command = sdk.command(&scene, program);
            command.args(arguments);
            scene.run(command)
        }
    }))?;
    let is_whole = |run: &Played| run.rows(&watch.place).len() >= run.served.len();
    watch.place.wait_until(|| played.iter().all(is_whole));
    let (place, said) = watch.stop();
    Some((place, said, played))
}

/// A plan whose replies name the model that was asked for.
fn plan(words: &str) -> Plan {
    format!("echo.{words}").parse().unwrap()
}

/// Input and output of a row, as far as they are known.
fn sides(row: &Row) -> [Option<u64>; 2] {
    let [input @ .., output, _] = row.tokens;
    let known: Vec<u64> = input.into_iter().flatten().collect();
    [(!known.is_empty()).then(|| known.iter().sum()), output]
}
