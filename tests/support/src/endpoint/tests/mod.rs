mod client;
mod http2;
mod proxies;
mod websockets;

use std::process::{Command, Stdio};

use serde_json::json;

use super::*;
use crate::plan::Encoding;
use crate::served::{Api, Outcome, Reported};

/// Runs curl against the endpoint and gives what it printed; `None` where there is no curl.
fn curl(endpoint: &Endpoint, arguments: &[&str]) -> Option<String> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60"])
        .env("CURL_CA_BUNDLE", endpoint.ca_path())
        .args(arguments)
        .stderr(Stdio::inherit())
        .output();
    match output {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            eprintln!("SKIP: curl: {error}");
            None
        }
    }
}

const BODY: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},
    "max_tokens":9,"messages":[{"role":"user","content":"hi"}],"input":"hi"}"#;

#[test]
fn curl_gets_every_mixture_of_version_framing_compression_and_cuts() {
    let endpoint = Endpoint::start_with(Options {
        http2: true,
        ..Options::default()
    });
    let endpoint = endpoint.unwrap();
    let mut count = 0;
    let all = ["length", "chunked", "chunked-3", "close"];
    // What is left to choose where the version frames by itself.
    let frames = ["length", "chunked-3"];
    for (version, protocol, framings) in [
        ("--http1.1", Protocol::Http1, &all[..]),
        ("--http2", Protocol::Http2, &frames[..]),
    ] {
        for api in Api::MODEL_IN_BODY {
            for encoding in Encoding::ALL {
                for framing in framings {
                    for split in ["whole", "split-1", "random"] {
                        let plan = format!("{}.{framing}.{split}.deltas-3", encoding.as_str());
                        let url = format!("{}/plan/{plan}{}", endpoint.url(), api.path());
                        let arguments = ["--compressed", version, "--data", BODY, url.as_str()];
                        let Some(reply) = curl(&endpoint, &arguments) else {
                            return;
                        };
                        count += 1;
                        let served = endpoint.served();
                        assert_eq!(served.len(), count);
                        let last = served.last().unwrap();
                        assert!(reply.contains(last.id.as_ref().unwrap()), "{url}: {reply}");
                        let tokens = format!(":{}", last.usage.output);
                        assert!(reply.contains(&tokens), "{url}: {reply}");
                        assert_eq!((last.outcome, last.protocol), (Outcome::Complete, protocol));
                    }
                }
            }
        }
    }
}

#[test]
fn one_connection_carries_many_calls_and_what_is_no_call_is_not_remembered() {
    let endpoint = Endpoint::start().unwrap();
    let url = format!("{}{}", endpoint.url(), Api::AnthropicMessages.path());
    let count = format!("{url}/count_tokens");
    let noise = format!("{}/noise/70000", endpoint.url());
    let Some(_) = curl(
        &endpoint,
        &[
            "--data", BODY, &url, "--next", "--data", "{}", &count, "--next", &noise, "--next",
            "--data", BODY, &url,
        ],
    ) else {
        return;
    };
    let ports: Vec<_> = endpoint
        .served()
        .iter()
        .map(|served| served.client_port)
        .collect();
    assert_eq!(ports.len(), 2);
    assert_eq!(ports[0], ports[1]);
}

#[test]
fn a_large_body_is_asked_for_with_100_continue() {
    let endpoint = Endpoint::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("body.json");
    let prompt = "tokens ".repeat(400_000);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": prompt}]});
    std::fs::write(&path, body.to_string()).unwrap();
    let url = format!("{}{}", endpoint.url(), Api::OpenAiChat.path());
    let upload = format!("@{}", path.display());
    let expect = "expect: 100-continue";
    let Some(_) = curl(
        &endpoint,
        &[
            "-H",
            expect,
            "--expect100-timeout",
            "50",
            "--data-binary",
            &upload,
            &url,
        ],
    ) else {
        return;
    };
    assert_eq!(endpoint.served()[0].text_in_bytes, 2_800_000);
}

#[test]
fn a_client_that_hangs_up_leaves_an_aborted_call() {
    let endpoint = Endpoint::start().unwrap();
    let url = format!(
        "{}/plan/delay-200.deltas-200{}",
        endpoint.url(),
        Api::OpenAiChat.path()
    );
    let Some(_) = curl(
        &endpoint,
        &["--max-time", "0.5", "--no-buffer", "--data", BODY, &url],
    ) else {
        return;
    };
    let served = endpoint.served_when(1, Duration::from_secs(20));
    assert_eq!(served[0].outcome, Outcome::Aborted);
    assert_eq!(served[0].reported, Reported::Nothing);
}

#[test]
fn the_served_file_says_what_the_endpoint_says() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start_in(dir.path(), Options::default()).unwrap();
    let url = format!("{}{}", endpoint.url(), Api::OpenAiResponses.path());
    let Some(_) = curl(
        &endpoint,
        &["--data", BODY, &url, "--next", "--data", "no json", &url],
    ) else {
        return;
    };
    let file = std::fs::read_to_string(dir.path().join(SERVED_FILE)).unwrap();
    let lines: Vec<Served> = file
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, endpoint.served());
    assert_eq!(lines[1].status, 400);
}

#[test]
fn what_is_no_call_is_remembered_apart_and_a_call_with_who_made_it() {
    let endpoint = Endpoint::start().unwrap();
    let url = endpoint.url();
    let call = format!("{url}{}?beta=true", Api::AnthropicMessages.path());
    let models = format!("{url}/v1/models?key=secret");
    let sink = format!("{url}/api/event_logging/v2/batch");
    let Some(_) = curl(
        &endpoint,
        &[
            "--header",
            "x-claude-code-session-id: s-1",
            "--header",
            "x-claude-code-agent-id: a-1",
            "--user-agent",
            "tester/1",
            "--data",
            BODY,
            &call,
            "--next",
            &models,
            "--next",
            "--data",
            "{}",
            &sink,
        ],
    ) else {
        return;
    };
    let port = endpoint.addr().port();
    let served = &endpoint.served()[0];
    assert_eq!(served.host, Some(format!("localhost:{port}")));
    assert_eq!(served.user_agent.as_deref(), Some("tester/1"));
    assert_eq!(served.session_header.as_deref(), Some("s-1"));
    let identity = [
        ("x-claude-code-session-id", "s-1"),
        ("x-claude-code-agent-id", "a-1"),
    ];
    let identity = identity.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(served.identity_headers, identity);

    let others: Vec<_> = endpoint
        .other_requests()
        .into_iter()
        .map(|other| (other.method, other.path, other.status))
        .collect();
    let expected = [
        ("GET", "/v1/models", 200),
        ("POST", "/api/event_logging/v2/batch", 200),
    ];
    let expected = expected.map(|(method, path, status)| (method.into(), path.into(), status));
    assert_eq!(others, expected);
}

#[test]
fn a_further_socket_is_served_and_requests_without_a_plan_get_the_endpoints() {
    let endpoint = Endpoint::start_with(Options {
        plan: "echo.gzip".parse().unwrap(),
        names: vec!["further.example".to_owned()],
        ..Options::default()
    });
    let endpoint = endpoint.unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    endpoint.listen(listener).unwrap();
    let resolve = format!("further.example:{port}:127.0.0.1");
    let url = format!("https://further.example:{port}{}", Api::OpenAiChat.path());
    let Some(reply) = curl(
        &endpoint,
        &[
            "--resolve",
            &resolve,
            "--include",
            "--compressed",
            "--data",
            BODY,
            &url,
        ],
    ) else {
        return;
    };
    assert!(reply.contains("content-encoding: gzip"), "{reply}");
    let served = &endpoint.served()[0];
    assert_eq!(served.model_served.as_deref(), Some("m"));
    assert_eq!(served.host, Some(format!("further.example:{port}")));
}

#[test]
fn gemini_comes_as_one_text_as_events_and_as_an_array() {
    let endpoint = Endpoint::start().unwrap();
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;
    let models = format!("{}/v1beta/models/m-1", endpoint.url());
    for (verb, stream) in [
        ("generateContent", false),
        ("streamGenerateContent?alt=sse", true),
        ("streamGenerateContent", true),
    ] {
        let url = format!("{models}:{verb}");
        let Some(reply) = curl(&endpoint, &["--data", body, &url]) else {
            return;
        };
        let served = endpoint.served().pop().unwrap();
        let chunks: Vec<serde_json::Value> = match verb {
            "streamGenerateContent" => serde_json::from_str(&reply).unwrap(),
            "generateContent" => vec![serde_json::from_str(&reply).unwrap()],
            _ => reply
                .split("\r\n\r\n")
                .filter_map(|event| event.strip_prefix("data: "))
                .map(|text| serde_json::from_str(text).unwrap())
                .collect(),
        };
        assert_eq!(chunks.len() > 1, stream, "{verb}");
        let last = chunks.last().unwrap();
        assert_eq!(last["candidates"][0]["finishReason"], "STOP");
        assert_eq!(last["responseId"].as_str(), served.id.as_deref());
        assert_eq!(
            client::tokens(served.api, &last["usageMetadata"]),
            served.usage
        );
        assert_eq!(served.model_requested.as_deref(), Some("m-1"));
        assert_eq!((served.stream, served.text_in_bytes), (stream, 2));
    }
}
