//! Every client, every API, every way to send a reply: the ledger equals what was served.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use test_support::plan::Encoding;
use test_support::{Api, Endpoint, Plan, Served};

use crate::agent::{Agent, LEDGER_LIMIT, Place, Row, send};
use crate::compare::assert_same;
use crate::run::{Client, Ended, Kept, Who, curl, node, poll, python};

/// One test's endpoint and agent, and who made which call.
pub(crate) struct Stage {
    test: &'static str,
    pub(crate) endpoint: Endpoint,
    pub(crate) place: Place,
    agent: Option<Agent>,
    /// Process of each client, by the number of the first call after it ended.
    clients: Vec<(usize, Who)>,
}

impl Stage {
    /// Starts endpoint and agent; `None`, with a `SKIP` line, where this machine can't.
    pub(crate) fn start(test: &'static str) -> Option<Self> {
        let endpoint = Endpoint::start().unwrap();
        let place = Place::of(&endpoint);
        let agent = Some(place.run(test)?);
        Some(Self {
            test,
            endpoint,
            place,
            agent,
            clients: Vec::new(),
        })
    }

    /// Runs a client to its end; the calls that were served meanwhile are its own.
    pub(crate) fn run(&mut self, command: Command) -> Option<Ended> {
        let ended = Client::start(command, self.test)?.succeed();
        self.clients
            .push((self.endpoint.served().len(), ended.who.clone()));
        Some(ended)
    }

    /// Runs the pinned Python with a script and arguments.
    pub(crate) fn python(&mut self, script: &str, arguments: &str) -> Option<Ended> {
        let mut command = python(script, &self.endpoint, self.test)?;
        command.args(arguments.split_whitespace());
        self.run(command)
    }

    fn node(&mut self, arguments: &str) -> Option<Ended> {
        let mut command = node(&self.endpoint, self.test)?;
        command.args(arguments.split_whitespace());
        self.run(command)
    }

    /// Runs a client as `run` does, while the agent stands still.
    pub(crate) fn run_unseen(&mut self, command: Command) -> Option<Ended> {
        let agent = self.agent.as_ref().unwrap().id();
        send("STOP", agent);
        let has_stopped = || {
            let stat = fs::read_to_string(format!("/proc/{agent}/stat")).unwrap();
            stat.contains(") T ")
        };
        assert!(poll(LEDGER_LIMIT, has_stopped), "the agent goes on");
        let ended = self.run(command);
        send("CONT", agent);
        ended
    }

    /// Who made a call.
    fn who(&self, served: &Served) -> Who {
        let number = usize::try_from(served.number).unwrap();
        let client = self.clients.iter().find(|(end, _)| number < *end);
        client
            .map(|(_, who)| who.clone())
            .expect("a client that made this call")
    }

    /// Waits for the ledger, stops the agent, and compares.
    pub(crate) fn finish(mut self) -> (Vec<Served>, Vec<Row>) {
        let served = self.endpoint.served();
        self.place.rows_when(served.len());
        self.agent.take().unwrap().stop();
        let rows = self.place.rows();
        assert_same(&served, &rows, |call| self.who(call));
        (served, rows)
    }
}

fn body(api: Api, stream: bool, model: &str) -> String {
    let content = r#"[{"role":"user","content":"How many tokens has a naïve café? 漢字"}]"#;
    let input = match api {
        Api::AnthropicMessages => format!(r#""max_tokens":1024,"messages":{content}"#),
        Api::OpenAiChat if stream => {
            format!(r#""stream_options":{{"include_usage":true}},"messages":{content}"#)
        }
        Api::OpenAiChat => format!(r#""messages":{content}"#),
        Api::OpenAiResponses => r#""input":"How many tokens has a naïve café? 漢字""#.to_owned(),
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
    format!(r#"{{"model":"{model}","stream":{stream},{input}}}"#)
}

#[test]
fn curl_in_every_framing_compression_and_cut() {
    let Some(mut stage) = Stage::start("curl") else {
        return;
    };
    for api in Api::MODEL_IN_BODY {
        for encoding in Encoding::ALL {
            for framing in ["length", "chunked", "chunked-5", "close"] {
                for (split, stream) in [("whole", true), ("split-1", true), ("random", false)] {
                    let words = format!("{}.{framing}.{split}.deltas-4", encoding.as_str());
                    let plan: Plan = words.parse().unwrap();
                    let command = curl(
                        &stage.endpoint,
                        &plan,
                        api.path(),
                        &body(api, stream, &words),
                    );
                    if stage.run(command).is_none() {
                        return;
                    }
                }
            }
        }
    }
    stage.finish();
}

#[test]
fn curl_under_a_providers_name_and_on_one_connection_for_many_calls() {
    let Some(mut stage) = Stage::start("curl_names") else {
        return;
    };
    let port = stage.endpoint.addr().port();
    let hosts = [
        ("api.anthropic.com", Api::AnthropicMessages, "anthropic"),
        ("api.openai.com", Api::OpenAiResponses, "openai"),
    ];
    for (host, api, _) in hosts {
        let url = format!("https://{host}:{port}{}", api.path());
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "60"])
            .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
            .args(["--header", "content-type: application/json"])
            .args(["--data", &body(api, true, host), &url, &url, &url])
            .env("CURL_CA_BUNDLE", stage.endpoint.ca_path());
        if stage.run(command).is_none() {
            return;
        }
    }
    let (served, rows) = stage.finish();
    assert_eq!(served.len(), 6);
    let ports: BTreeSet<_> = served.iter().map(|call| call.client_port).collect();
    assert_eq!(ports.len(), 2, "one connection for each client");
    let named: BTreeSet<_> = rows
        .iter()
        .map(|row| (row.server_name.as_deref(), row.provider.as_str()))
        .collect();
    assert_eq!(
        named,
        hosts
            .map(|(host, _, provider)| (Some(host), provider))
            .into()
    );
}

#[test]
fn openssl_s_client() {
    let Some(mut stage) = Stage::start("openssl") else {
        return;
    };
    for api in Api::MODEL_IN_BODY {
        let body = body(api, true, "by-hand");
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            api.path(),
            body.len()
        );
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-quiet", "-servername", "localhost", "-connect"])
            .arg(stage.endpoint.addr().to_string())
            .arg("-CAfile")
            .arg(stage.endpoint.ca_path())
            .stdin(Stdio::piped())
            .stderr(Stdio::null());
        let Some(mut client) = Client::start(command, "openssl") else {
            return;
        };
        let mut stdin = client.stdin().unwrap();
        stdin.write_all(request.as_bytes()).unwrap();
        let ended = client.succeed();
        drop(stdin);
        stage
            .clients
            .push((stage.endpoint.served().len(), ended.who));
    }
    stage.finish();
}

#[test]
fn python_standard_library() {
    let Some(mut stage) = Stage::start("python_stdlib") else {
        return;
    };
    for api in ["messages", "chat", "responses"] {
        for more in [
            "",
            "--stream",
            "--stream --include-usage",
            "--stream --include-usage --plan gzip.chunked-7.split-3",
            "--plan deflate.close.random",
        ] {
            if stage
                .python("calls.py", &format!("stdlib {api} --calls 3 {more}"))
                .is_none()
            {
                return;
            }
        }
    }
    stage.finish();
}

#[test]
fn official_python_sdks() {
    let Some(mut stage) = Stage::start("python_sdks") else {
        return;
    };
    let clients = [
        "openai chat",
        "openai responses",
        "openai-async chat",
        "openai-async responses",
        "anthropic messages",
        "anthropic-async messages",
    ];
    for client in clients {
        for more in [
            "",
            "--stream",
            "--stream --include-usage",
            "--stream --include-usage --plan gzip.random",
        ] {
            let arguments = format!("{client} --calls 2 --connections 2 {more}");
            if stage.python("calls.py", &arguments).is_none() {
                return;
            }
        }
    }
    let (_, rows) = stage.finish();
    let names: BTreeSet<_> = rows
        .iter()
        .filter_map(|row| row.client_name.as_deref())
        .collect();
    assert_eq!(names, BTreeSet::from(["anthropic-python", "openai-python"]));
}

#[test]
fn official_node_sdks() {
    let test = "node_sdks";
    let Some(mut stage) = Stage::start(test) else {
        return;
    };
    // Node carries OpenSSL in its own executable, which the agent hooks when it first sees it run.
    let Some(mut held) = node(&stage.endpoint, test) else {
        return;
    };
    held.args(["openai", "chat", "--hold"])
        .stdin(Stdio::piped());
    let Some(held) = Client::start(held, test) else {
        return;
    };
    let agent = stage.agent.as_ref().unwrap();
    agent.wait_for_hook(&held.who.exe);
    drop(held);
    for client in ["openai chat", "openai responses", "anthropic messages"] {
        for more in [
            "",
            "--stream",
            "--stream --include-usage",
            "--stream --include-usage --plan br.split-2",
        ] {
            let arguments = format!("{client} --calls 2 --connections 2 {more}");
            if stage.node(&arguments).is_none() {
                return;
            }
        }
    }
    stage.finish();
}

#[test]
fn errors_and_tries_are_calls_of_their_own() {
    let Some(mut stage) = Stage::start("errors") else {
        return;
    };
    for arguments in [
        "anthropic messages --plan status-429 --retries 2",
        "openai chat --plan status-500",
        "openai responses --stream --plan error-2",
        "openai chat --stream --plan error-2",
        "anthropic messages --stream --plan error-2",
        // After all that, the same connection pool works.
        "anthropic messages --stream",
    ] {
        if stage.python("calls.py", arguments).is_none() {
            return;
        }
    }
    let (served, _) = stage.finish();
    assert_eq!(served.len(), 8);
}

#[test]
fn a_reply_cut_by_the_server_is_kept_as_far_as_it_came() {
    let Some(mut stage) = Stage::start("cut_by_server") else {
        return;
    };
    for arguments in [
        "anthropic messages --stream --plan abort-2.deltas-5",
        "openai chat --stream --plan abort-2.deltas-5",
        "openai responses --stream --plan abort-2.deltas-5",
        "openai chat --stream --include-usage --plan gzip.abort-2.deltas-5",
    ] {
        if stage.python("calls.py", arguments).is_none() {
            return;
        }
    }
    stage.finish();
}

#[test]
fn a_client_that_hangs_up_leaves_a_partial_call() {
    let Some(mut stage) = Stage::start("hang_up") else {
        return;
    };
    for (number, arguments) in [
        "anthropic messages --stream --hang-up 6 --plan delay-100.deltas-50",
        "openai chat --stream --hang-up 4 --plan delay-100.deltas-50",
    ]
    .into_iter()
    .enumerate()
    {
        if stage.python("calls.py", arguments).is_none() {
            return;
        }
        // The endpoint learns of it with its next write.
        let served = stage.endpoint.served_when(number + 1, LEDGER_LIMIT);
        stage.clients.last_mut().unwrap().0 = served.len();
    }
    stage.place.rows_when(2);
    // How much text each side counts to the call depends on when the hang-up arrived, so only what
    // both must agree on is compared.
    let rows = stage.place.rows();
    let served = stage.endpoint.served();
    stage.agent.take().unwrap().stop();
    let found: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.id.clone(),
                row.outcome.as_str(),
                row.usage_source.as_str(),
            )
        })
        .collect();
    let expected = [
        (served[0].id.clone(), "aborted", "provider_partial"),
        (served[1].id.clone(), "aborted", "estimated"),
    ];
    assert_eq!(found, expected);
    assert_eq!(rows[0].tokens[0], Some(served[0].usage.input_uncached));
}

#[test]
fn sessions_are_the_clients_own_or_one_for_the_tree_of_processes() {
    let Some(mut stage) = Stage::start("sessions") else {
        return;
    };
    for arguments in [
        "stdlib messages --calls 2 --session 5f0c1f7e-named",
        "stdlib chat --calls 2",
        "stdlib chat --calls 2",
    ] {
        if stage.python("calls.py", arguments).is_none() {
            return;
        }
    }
    let (_, rows) = stage.finish();
    let mut keys: HashMap<_, BTreeSet<_>> = HashMap::new();
    for row in &rows {
        keys.entry(row.pid)
            .or_default()
            .insert((row.session_key.as_str(), row.key_source.as_str()));
    }
    assert!(
        keys.values().all(|keys| keys.len() == 1),
        "one session each: {keys:?}"
    );
    let all: BTreeSet<_> = keys.into_values().flatten().collect();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(
        all.contains(&("5f0c1f7e-named", "client_header")),
        "{all:?}"
    );
}

#[test]
fn an_exchange_seen_from_both_ends_counts_once() {
    let test = "both_ends";
    let Some(mut stage) = Stage::start(test) else {
        return;
    };
    let certificate = stage.endpoint.certificate();
    let Some(mut server) = python("server.py", &stage.endpoint, test) else {
        return;
    };
    server
        .args([&certificate.leaf_path, &certificate.key_path])
        .arg(stage.endpoint.tag())
        .stdin(Stdio::piped());
    let mut server = Kept(server.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(server.stdout.take().unwrap()));
    let port = lines.next().unwrap().unwrap();

    let mut client = python("calls.py", &stage.endpoint, test).unwrap();
    client
        .args(["anthropic", "messages", "--calls", "5"])
        .env("BPFTOK_ENDPOINT", format!("https://localhost:{port}"));
    let Some(client) = stage.run(client) else {
        return;
    };
    // It ends with its standard input.
    drop(server.stdin.take());
    server.wait().unwrap();
    let served: Vec<String> = lines
        .map(|line| {
            let call: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            format!(
                "{} {} {}",
                call["id"], call["input_tokens"], call["output_tokens"]
            )
        })
        .collect();
    assert_eq!(served.len(), 5);

    stage.place.rows_when(5);
    stage.agent.take().unwrap().stop();
    let rows = stage.place.rows();
    let found: Vec<String> = rows
        .iter()
        .map(|row| {
            let [input, _, _, _, _, output, _] = row.tokens.map(Option::unwrap_or_default);
            format!(
                "{:?} {input} {output}",
                row.id.as_deref().unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(found, served);
    assert!(rows.iter().all(|row| row.pid == Some(client.who.pid)));
}

#[test]
fn what_is_no_call_is_not_counted() {
    let Some(mut stage) = Stage::start("no_call") else {
        return;
    };
    let endpoint = stage.endpoint.url();
    for (path, data) in [
        (
            "/v1/messages/count_tokens",
            Some(body(Api::AnthropicMessages, false, "counted")),
        ),
        ("/v1/models", None),
        ("/noise/300000", None),
        (
            "/v1/embeddings-not",
            Some(r#"{"usage":{"input_tokens":5}}"#.to_owned()),
        ),
    ] {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--output", "/dev/null"])
            .arg(format!("{endpoint}{path}"));
        if let Some(data) = data {
            command.args(["--data", &data]);
        }
        command.env("CURL_CA_BUNDLE", stage.endpoint.ca_path());
        if stage.run(command).is_none() {
            return;
        }
    }
    let plan = Plan::default();
    let api = Api::OpenAiChat;
    let last = curl(
        &stage.endpoint,
        &plan,
        api.path(),
        &body(api, false, "the-only-one"),
    );
    stage.run(last);
    let (served, rows) = stage.finish();
    assert_eq!((served.len(), rows.len()), (1, 1));
}
