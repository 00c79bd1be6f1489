//! What programs say stays between them: no credential and no text reaches the ledger, the log or
//! a report.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use test_support::{Api, Endpoint, Plan};

use crate::agent::{Agent, LEDGER_LIMIT, Place};
use crate::run::{Client, curl, poll, python};

/// Headers in which clients send credentials, in the spellings of clients.
const CREDENTIAL_HEADERS: [&str; 8] = [
    "Authorization: Bearer ",
    "authorization: Basic ",
    "X-Api-Key: ",
    "x-api-key: ",
    "api-key: ",
    "x-goog-api-key: ",
    "Proxy-Authorization: Bearer ",
    "Cookie: session=",
];

/// Words of the endpoint's replies that stand in no request, and its error message.
const REPLY_WORDS: [&str; 4] = ["Größe", "budget of", "漢字", "refused by plan"];

/// Secrets of one test: each place where one is put gets its own.
#[derive(Debug, Default)]
struct Canaries(Vec<String>);

impl Canaries {
    /// A new one, which says where it was put.
    fn put(&mut self, place: &str) -> String {
        let canary = format!("CANARY{:03}X{place}", self.0.len());
        self.0.push(canary.clone());
        canary
    }

    /// Fails if one of them, or a word of a reply, is in what was found at a place.
    fn assert_absent(&self, place: &str, found: &[u8]) {
        let secrets = self.0.iter().map(String::as_str);
        for secret in secrets.chain(REPLY_WORDS) {
            assert!(!contains(found, secret), "{secret} is in {place}");
        }
    }
}

fn contains(found: &[u8], text: &str) -> bool {
    found
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// A body with secrets wherever a client may put text.
fn body(canaries: &mut Canaries, api: Api, stream: bool) -> String {
    let mut text = || canaries.put("prompt");
    let (system, user, tool) = (text(), text(), text());
    let input = match api {
        Api::AnthropicMessages => format!(
            r#""max_tokens":99,"system":"{system}","messages":[{{"role":"user","content":"{user}"}}],
               "tools":[{{"name":"{tool}","input_schema":{{"type":"object"}}}}]"#
        ),
        Api::OpenAiChat => format!(
            r#""messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":"{user}"}}],
               "tools":[{{"type":"function","function":{{"name":"{tool}"}}}}]"#
        ),
        Api::OpenAiResponses => format!(
            r#""instructions":"{system}","input":"{user}","tools":[{{"type":"function","name":"{tool}"}}]"#
        ),
        Api::OpenAiRealtime
        | Api::OpenAiCompletions
        | Api::OpenAiEmbeddings
        | Api::GeminiGenerate
        | Api::BedrockConverse
        | Api::BedrockInvoke
        | Api::CohereChat
        | Api::OllamaChat
        | Api::VercelLanguage => panic!("not among those with the model in the body: {api:?}"),
    };
    let key = canaries.put("unknown-member");
    format!(r#"{{"model":"secretive","stream":{stream},"api_key":"{key}",{input}}}"#)
}

/// Every kind of call, with secrets in headers, query, body, environment and command line.
fn calls(canaries: &mut Canaries, endpoint: &Endpoint) -> Vec<Command> {
    let mut commands = Vec::new();
    for api in Api::MODEL_IN_BODY {
        for words in [
            "deltas-60",
            "gzip.chunked-7.deltas-60",
            "status-401",
            "status-500",
            "error-2",
            "abort-30",
        ] {
            let plan: Plan = words.parse().unwrap();
            let query = canaries.put("query");
            let path = format!("{}?key={query}&api-version={query}", api.path());
            let is_stream = !words.starts_with("status");
            let body = body(canaries, api, is_stream);
            let mut command = curl(endpoint, &plan, &path, &body);
            for header in CREDENTIAL_HEADERS {
                let secret = canaries.put("header");
                command.args(["--header", &format!("{header}{secret}")]);
            }
            command.env("SECRET_OF_THE_ENVIRONMENT", canaries.put("environment"));
            command.args(["--user-agent", "secretive/1"]);
            commands.push(command);
        }
    }
    // What is no call, or no JSON, or no HTTP that makes sense.
    let secret = canaries.put("malformed");
    for body in [
        secret.clone(),
        format!(r#"{{"messages":[{{"role":"user","content":"{secret}"#),
        format!(r#"[["{secret}"]]"#),
    ] {
        let api = Api::OpenAiChat;
        commands.push(curl(endpoint, &Plan::default(), api.path(), &body));
    }
    let elsewhere = format!("/v1/files/{}", canaries.put("path"));
    commands.push(curl(endpoint, &Plan::default(), &elsewhere, &secret));
    let mut command = curl(endpoint, &Plan::default(), "/v1/messages", &secret);
    command.args(["--request", &canaries.put("method")]);
    commands.push(command);
    commands
}

/// Says something that is no HTTP on a TLS connection.
fn talk_nonsense(canaries: &mut Canaries, endpoint: &Endpoint, test: &str) -> Option<()> {
    for nonsense in ["\0\x01", "POST ", "POST /v1/messages HTTP/1.1\r\nx-api-key"] {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-quiet", "-connect"])
            .arg(endpoint.addr().to_string())
            .arg("-CAfile")
            .arg(endpoint.ca_path())
            .stdin(Stdio::piped())
            .stderr(Stdio::null());
        let mut client = Client::start(command, test)?;
        let text = format!("{nonsense}{}\r\n\r\n", canaries.put("nonsense"));
        client.stdin()?.write_all(text.as_bytes()).unwrap();
        client.end();
    }
    Some(())
}

/// No core file of this process may be written: plaintext passes through it.
fn assert_no_core(agent: &Agent) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.id())).unwrap();
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))
        .unwrap();
    let values: Vec<_> = core.split_whitespace().collect();
    assert_eq!(values, ["0", "0", "bytes"]);
}

/// Everything that the program shows of a ledger.
fn reports(place: &Place) -> Vec<(String, Command)> {
    let mut commands = vec![
        place.on_ledger(["sessions"]),
        place.on_ledger(["sessions", "-o", "json"]),
        place.on_ledger(["tail", "-n", "1000"]),
        place.on_ledger(["status"]),
        place.on_ledger(["status", "-o", "json"]),
    ];
    for by in [
        "day", "hour", "process", "session", "model", "provider", "client",
    ] {
        commands.push(place.on_ledger(["report", "--by", by]));
        commands.push(place.on_ledger(["report", "--by", by, "-o", "json"]));
    }
    for view in ["v_request", "v_session", "v_process", "v_coverage"] {
        let sql = format!("SELECT * FROM {view}");
        commands.push(place.on_ledger(["query", "-o", "json", &sql]));
    }
    commands
        .into_iter()
        .map(|command| (format!("{command:?}"), command))
        .collect()
}

#[test]
fn no_credential_and_no_text_leaves_the_programs_that_said_it() {
    let test = "secrets";
    let mut canaries = Canaries::default();
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint);
    let Some(agent) = place.run_talkative(test) else {
        return;
    };
    assert_no_core(&agent);
    for command in calls(&mut canaries, &endpoint) {
        let Some(client) = Client::start(command, test) else {
            return;
        };
        // Some of these conversations end badly, which is part of them.
        client.end();
    }
    if talk_nonsense(&mut canaries, &endpoint, test).is_none() {
        return;
    }
    for sdk in ["openai chat --stream", "anthropic messages"] {
        let Some(mut command) = python("calls.py", &endpoint, test) else {
            return;
        };
        command
            .args(sdk.split_whitespace())
            .args(["--prompt", &canaries.put("prompt")]);
        let Some(client) = Client::start(command, test) else {
            return;
        };
        client.succeed();
    }
    // The key that these clients use.
    canaries.0.push("sk-test-canary".to_owned());

    // What was no JSON is no call to anybody.
    let served = endpoint.served().into_iter();
    let calls = served.filter(|call| call.model_requested.is_some()).count();
    assert_eq!(calls, 20);
    let known = || {
        let rows = place.rows();
        rows.iter()
            .filter(|row| row.model_requested.is_some())
            .count()
    };
    poll(LEDGER_LIMIT, || known() >= calls);
    assert_eq!(known(), calls, "the calls themselves are known");
    for (name, mut command) in reports(&place) {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        assert!(!output.stdout.is_empty(), "{name}");
        canaries.assert_absent(&name, &output.stdout);
        canaries.assert_absent(&name, &output.stderr);
    }
    for file in ["usage.db", "usage.db-wal", "usage.db-shm"] {
        canaries.assert_absent(file, &fs::read(place.file(file)).unwrap());
    }
    // What may be kept is found by this way of looking.
    let ledger = ["usage.db", "usage.db-wal"].map(|file| fs::read(place.file(file)).unwrap());
    assert!(ledger.iter().any(|file| contains(file, "secretive")));
    let said = agent.stop();
    assert!(said.contains("TRACE"), "it said all it has to say:\n{said}");
    canaries.assert_absent("what the agent printed", said.as_bytes());
    canaries.assert_absent("usage.db", &fs::read(place.db()).unwrap());
}
