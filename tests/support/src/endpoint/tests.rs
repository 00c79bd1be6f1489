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
    for (version, protocol) in [("--http1.1", Protocol::Http1), ("--http2", Protocol::Http2)] {
        for api in Api::MODEL_IN_BODY {
            for encoding in Encoding::ALL {
                for framing in ["length", "chunked", "chunked-3", "close"] {
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
