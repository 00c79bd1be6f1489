//! Throughput of reading each wire format: bodies whole and in events, and a request.
//!
//! `cargo bench -p agent-core --bench formats` prints MB/s of bodies per core through the stage that
//! reads calls, the median of several rounds, and the ratio of its time to that of parsing the same
//! JSON into trees in the same run, which has neither text to keep nor events or frames to tell apart.
#![expect(
    clippy::disallowed_methods,
    reason = "the ban keeps clocks out of the core, not out of what times it"
)]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(
    clippy::expect_used,
    reason = "a benchmark that can't make its input can't go on"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use agent_core::event::{ConnId, Plaintext, Timestamp};
use agent_core::http::{
    BodyEnd, ExchangeId, Headers, HttpEvent, RequestHead, ResponseHead, Role, Scheme,
};
use agent_core::llm::{self, Llm, LlmEvent, UsageSource};
use agent_core::stats::Stats;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use test_support::reply::amazon;

const ROUNDS: usize = 9;

/// Events of a stream, and messages of a request.
const EVENTS: usize = 8_000;

/// Bytes that come at once.
const PIECE_BYTES: usize = 16 << 10;

/// A piece of an answer, as JSON has it.
const TEXT: &str = r#" the \"next\" few words\n"#;

/// How the JSON texts of a body follow each other.
#[derive(Clone, Copy)]
enum Framing {
    Events,
    Lines,
    Array,
    Whole,
    /// Amazon's frames, of the events of `converse-stream`.
    Converse,
    /// The same around events of another format, in base64.
    Chunks,
}

/// One exchange in a format.
struct Format {
    name: &'static str,
    path: &'static str,
    request: String,
    framing: Framing,
    /// The JSON texts of the response.
    texts: Vec<String>,
}

fn main() {
    println!(
        "{:<28}{:>8}{:>10}{:>14}",
        "format", "MB", "MB/s", "serde_json"
    );
    for format in formats() {
        measure(&format);
    }
}

fn formats() -> Vec<Format> {
    let ask = |model: &str| {
        format!(
            r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"Hi"}}]}}"#
        )
    };
    let respond = r#"{"model":"gpt-5","stream":true,"input":"Hi"}"#.to_owned();
    let generate = r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#.to_owned();
    let usage = r#""usage":{"prompt_tokens":9,"completion_tokens":8,"total_tokens":17}"#;
    let gemini = stream(
        "",
        &format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{TEXT}"}}],"role":"model"}},"index":0}}],"usageMetadata":{{"promptTokenCount":9,"candidatesTokenCount":2,"totalTokenCount":11}},"modelVersion":"gemini-3-pro","responseId":"r"}}"#
        ),
        &[
            r#"{"candidates":[{"content":{"parts":[{"text":"."}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":8,"totalTokenCount":17},"modelVersion":"gemini-3-pro","responseId":"r"}"#,
        ],
    );
    let anthropic = stream(
        r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-5-5","content":[],"usage":{"input_tokens":9,"output_tokens":1}}}"#,
        &format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{TEXT}"}}}}"#
        ),
        &[
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":8}}"#,
            r#"{"type":"message_stop"}"#,
        ],
    );
    let long = TEXT.repeat(EVENTS);
    vec![
        Format {
            name: "Anthropic, events",
            path: "/v1/messages",
            request: ask("claude-opus-5-5"),
            framing: Framing::Events,
            texts: anthropic.clone(),
        },
        Format {
            name: "Anthropic, body",
            path: "/v1/messages",
            request: ask("claude-opus-5-5"),
            framing: Framing::Whole,
            texts: vec![format!(
                r#"{{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-5-5","content":[{{"type":"text","text":"{long}"}}],"stop_reason":"end_turn","usage":{{"input_tokens":9,"output_tokens":8}}}}"#
            )],
        },
        Format {
            name: "OpenAI chat, events",
            path: "/v1/chat/completions",
            request: ask("gpt-5"),
            framing: Framing::Events,
            texts: stream(
                "",
                &format!(r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795460243,"model":"gpt-5","system_fingerprint":"fp_1","choices":[{{"index":0,"delta":{{"content":"{TEXT}"}},"logprobs":null,"finish_reason":null}}],"usage":null}}"#),
                &[
                    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795460243,"model":"gpt-5","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
                    &format!(r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795460243,"model":"gpt-5","choices":[],{usage}}}"#),
                ],
            ),
        },
        Format {
            name: "OpenAI chat, body",
            path: "/v1/chat/completions",
            request: ask("gpt-5"),
            framing: Framing::Whole,
            texts: vec![format!(
                r#"{{"id":"chatcmpl-1","model":"gpt-5","choices":[{{"index":0,"message":{{"role":"assistant","content":"{long}"}},"finish_reason":"stop"}}],{usage}}}"#
            )],
        },
        Format {
            name: "OpenAI responses, events",
            path: "/v1/responses",
            request: respond,
            framing: Framing::Events,
            texts: stream(
                r#"{"type":"response.created","response":{"id":"resp_1","model":"gpt-5","status":"in_progress","output":[],"usage":null}}"#,
                &format!(r#"{{"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_1","output_index":0,"content_index":0,"delta":"{TEXT}","logprobs":[],"obfuscation":"xxxxxxxx"}}"#),
                &[
                    r#"{"type":"response.completed","response":{"id":"resp_1","model":"gpt-5","status":"completed","output":[],"usage":{"input_tokens":9,"output_tokens":8,"total_tokens":17}}}"#,
                ],
            ),
        },
        Format {
            name: "Gemini, events",
            path: "/v1beta/models/gemini-3-pro:streamGenerateContent",
            request: generate.clone(),
            framing: Framing::Events,
            texts: gemini.clone(),
        },
        Format {
            name: "Gemini, array",
            path: "/v1beta/models/gemini-3-pro:streamGenerateContent",
            request: generate,
            framing: Framing::Array,
            texts: gemini,
        },
        Format {
            name: "Ollama, lines",
            path: "/api/chat",
            request: ask("llama3.2"),
            framing: Framing::Lines,
            texts: stream(
                "",
                &format!(r#"{{"model":"llama3.2","created_at":"2026-01-01T00:00:00.000000Z","message":{{"role":"assistant","content":"{TEXT}"}},"done":false}}"#),
                &[
                    r#"{"model":"llama3.2","created_at":"2026-01-01T00:00:01Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":9,"eval_count":8}"#,
                ],
            ),
        },
        Format {
            name: "Cohere, events",
            path: "/v2/chat",
            request: ask("command-a"),
            framing: Framing::Events,
            texts: stream(
                r#"{"id":"c-1","type":"message-start","delta":{"message":{"role":"assistant","content":[]}}}"#,
                &format!(r#"{{"type":"content-delta","index":0,"delta":{{"message":{{"content":{{"text":"{TEXT}"}}}}}}}}"#),
                &[
                    r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":9.0,"output_tokens":8.0}}}}"#,
                ],
            ),
        },
        Format {
            name: "Bedrock converse, frames",
            path: "/model/anthropic.claude-opus-5-5-v1:0/converse-stream",
            request: r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#.to_owned(),
            framing: Framing::Converse,
            texts: stream(
                r#"{"role":"assistant"}"#,
                &format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{TEXT}"}},"p":"abcdefghijk"}}"#),
                &[
                    r#"{"stopReason":"end_turn"}"#,
                    r#"{"metrics":{"latencyMs":412},"usage":{"inputTokens":9,"outputTokens":8,"totalTokens":17}}"#,
                ],
            ),
        },
        Format {
            name: "Bedrock invoke, frames",
            path: "/model/anthropic.claude-opus-5-5-v1:0/invoke-with-response-stream",
            request: r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#.to_owned(),
            framing: Framing::Chunks,
            texts: anthropic,
        },
        Format {
            name: "OpenAI completions, events",
            path: "/v1/completions",
            request: r#"{"model":"gpt-3.5-turbo-instruct","stream":true,"prompt":"Hi"}"#.to_owned(),
            framing: Framing::Events,
            texts: stream(
                "",
                &format!(r#"{{"id":"cmpl-1","object":"text_completion","created":1795460243,"model":"gpt-3.5-turbo-instruct","choices":[{{"text":"{TEXT}","index":0,"logprobs":null,"finish_reason":null}}],"usage":null}}"#),
                &[&format!(r#"{{"id":"cmpl-1","object":"text_completion","created":1795460243,"model":"gpt-3.5-turbo-instruct","choices":[],{usage}}}"#)],
            ),
        },
        Format {
            name: "Interactions, events",
            path: "/v1beta/interactions",
            request: r#"{"model":"gemini-3-pro","stream":true,"input":"Hi"}"#.to_owned(),
            framing: Framing::Events,
            texts: stream(
                r#"{"event_type":"interaction.created","interaction":{"id":"i-1","model":"gemini-3-pro","status":"in_progress","object":"interaction"}}"#,
                &format!(r#"{{"event_type":"step.delta","index":0,"delta":{{"type":"text","text":"{TEXT}"}}}}"#),
                &[
                    r#"{"event_type":"interaction.completed","interaction":{"id":"i-1","model":"gemini-3-pro","status":"completed","steps":[],"usage":{"total_input_tokens":9,"total_output_tokens":8,"total_tokens":17}}}"#,
                ],
            ),
        },
        Format {
            name: "Vercel gateway, events",
            path: "/v4/ai/language-model",
            request: r#"{"prompt":[{"role":"user","content":[{"type":"text","text":"Hi"}]}]}"#.to_owned(),
            framing: Framing::Events,
            texts: stream(
                r#"{"type":"response-metadata","id":"msg_1","modelId":"claude-opus-5-5"}"#,
                &format!(r#"{{"type":"text-delta","id":"0","delta":"{TEXT}"}}"#),
                &[
                    r#"{"type":"finish","finishReason":{"unified":"stop","raw":"end_turn"},"usage":{"inputTokens":{"total":9,"noCache":9},"outputTokens":{"total":8,"text":8},"raw":{"input_tokens":9,"output_tokens":8}}}"#,
                ],
            ),
        },
        Format {
            name: "OpenAI images, body",
            path: "/v1/images/generations",
            request: r#"{"model":"gpt-image-2","prompt":"A cat"}"#.to_owned(),
            framing: Framing::Whole,
            texts: vec![format!(
                r#"{{"created":1795460243,"data":[{{"b64_json":"{}"}}],"usage":{{"input_tokens":9,"input_tokens_details":{{"image_tokens":0,"text_tokens":9}},"output_tokens":1056,"total_tokens":1065}}}}"#,
                "Zm9v".repeat(400_000)
            )],
        },
        Format {
            name: "OpenAI speech, events",
            path: "/v1/audio/speech",
            request: r#"{"model":"gpt-4o-mini-tts","input":"Hi","voice":"alloy","stream_format":"sse"}"#.to_owned(),
            framing: Framing::Events,
            texts: stream(
                "",
                &format!(r#"{{"type":"speech.audio.delta","audio":"{}"}}"#, "Zm9v".repeat(50)),
                &[
                    r#"{"type":"speech.audio.done","usage":{"input_tokens":9,"output_tokens":101,"total_tokens":110}}"#,
                ],
            ),
        },
        Format {
            name: "OpenAI transcription, events",
            path: "/v1/audio/transcriptions",
            request: r#"{"model":"gpt-4o-transcribe","stream":true}"#.to_owned(),
            framing: Framing::Events,
            texts: stream(
                "",
                &format!(r#"{{"type":"transcript.text.delta","delta":"{TEXT}"}}"#),
                &[
                    r#"{"type":"transcript.text.done","text":"Hello","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45,"total_tokens":59}}"#,
                ],
            ),
        },
        Format {
            name: "OpenAI embeddings, body",
            path: "/v1/embeddings",
            request: r#"{"model":"text-embedding-3-small","input":"Hi"}"#.to_owned(),
            framing: Framing::Whole,
            texts: vec![format!(
                r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[{}]}}],"model":"text-embedding-3-small","usage":{{"prompt_tokens":9,"total_tokens":9}}}}"#,
                vec!["-0.0069292834"; EVENTS * 8].join(",")
            )],
        },
        Format {
            name: "OpenAI chat, long request",
            path: "/v1/chat/completions",
            request: format!(
                r#"{{"model":"gpt-5","messages":[{}]}}"#,
                vec![format!(r#"{{"role":"user","content":"{}"}}"#, TEXT.repeat(8)); EVENTS].join(",")
            ),
            framing: Framing::Whole,
            texts: vec![format!(
                r#"{{"id":"chatcmpl-1","model":"gpt-5","choices":[{{"index":0,"message":{{"content":"."}},"finish_reason":"stop"}}],{usage}}}"#
            )],
        },
        Format {
            name: "Anthropic, pictures sent",
            path: "/v1/messages",
            request: format!(
                r#"{{"model":"claude-opus-5-5","messages":[{{"role":"user","content":[{}]}}]}}"#,
                vec![
                    format!(
                        r#"{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"iVBORw0KGgoAAAANSUhEUgAABAAAAAMACAYAAAA{}"}}}}"#,
                        "Zm9v".repeat(50_000)
                    );
                    8
                ]
                .join(",")
            ),
            framing: Framing::Whole,
            texts: vec![
                r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-5-5","content":[{"type":"text","text":"."}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":8}}"#.to_owned(),
            ],
        },
    ]
}

/// A stream: how it begins, what comes often, and how it ends.
fn stream(first: &str, often: &str, last: &[&str]) -> Vec<String> {
    let first = (!first.is_empty()).then_some(first);
    first
        .into_iter()
        .chain(std::iter::repeat_n(often, EVENTS))
        .chain(last.iter().copied())
        .map(str::to_owned)
        .collect()
}

impl Format {
    fn body(&self) -> Vec<u8> {
        match self.framing {
            Framing::Events => self.events_body().into_bytes(),
            Framing::Lines => {
                let lines: String = self.texts.iter().map(|text| format!("{text}\n")).collect();
                lines.into_bytes()
            }
            Framing::Array => format!("[{}]", self.texts.join(",\r\n")).into_bytes(),
            Framing::Whole => self.texts.concat().into_bytes(),
            Framing::Converse => {
                let behind = |place| self.texts.len() - 1 - place;
                let frames = self.texts.iter().enumerate().map(|(place, text)| {
                    let name = match (place, behind(place)) {
                        (0, _) => "messageStart",
                        (_, 1) => "messageStop",
                        (_, 0) => "metadata",
                        _ => "contentBlockDelta",
                    };
                    amazon::message(amazon::Kind::Event, name, text.as_bytes())
                });
                frames.collect::<Vec<_>>().concat()
            }
            Framing::Chunks => {
                let frames = self.texts.iter().map(|text| {
                    let payload =
                        format!(r#"{{"bytes":"{}","p":"abcdefghijk"}}"#, BASE64.encode(text));
                    amazon::message(amazon::Kind::Event, "chunk", payload.as_bytes())
                });
                frames.collect::<Vec<_>>().concat()
            }
        }
    }

    fn events_body(&self) -> String {
        let events = self.texts.iter().map(|text| {
            // Some name their events, in the words of the `type` that goes first.
            let kind = [r#"{"type":""#, r#"{"event_type":""#]
                .iter()
                .find_map(|before| text.strip_prefix(before))
                .and_then(|rest| rest.split('"').next());
            match kind {
                Some(kind) => format!("event: {kind}\ndata: {text}\n\n"),
                None => format!("data: {text}\n\n"),
            }
        });
        let body: String = events.collect();
        if self.path.ends_with("/completions") {
            body + "data: [DONE]\n\n"
        } else {
            body
        }
    }

    const fn content_type(&self) -> &'static str {
        match self.framing {
            Framing::Events => "text/event-stream",
            Framing::Lines => "application/x-ndjson",
            Framing::Array | Framing::Whole => "application/json",
            Framing::Converse | Framing::Chunks => "application/vnd.amazon.eventstream",
        }
    }

    /// The exchange as the stage before gives it.
    fn events(&self) -> Vec<HttpEvent> {
        let at = Timestamp::from_nanos(1);
        let id = ExchangeId {
            conn: ConnId {
                pid: 1,
                ssl: 1,
                since: at,
            },
            number: 0,
        };
        let headers = |name, value: &str| {
            let mut headers = Headers::default();
            headers.push(name, value.to_owned());
            headers
        };
        let pieces = |body: &[u8]| -> Vec<Plaintext> {
            body.chunks(PIECE_BYTES)
                .map(|piece| Plaintext::from(piece.to_vec()))
                .collect()
        };
        let mut events = vec![HttpEvent::Request {
            at,
            id,
            role: Role::Client,
            head: RequestHead {
                method: "POST".to_owned(),
                path: self.path.to_owned(),
                model: None,
                headers: headers("host", "llm.example"),
                scheme: Scheme::None,
            },
        }];
        let request = pieces(self.request.as_bytes()).into_iter();
        events.extend(request.map(|bytes| HttpEvent::RequestBody { id, bytes }));
        events.push(HttpEvent::RequestEnd {
            at,
            id,
            end: BodyEnd::Complete,
        });
        events.push(HttpEvent::Response {
            at,
            id,
            head: ResponseHead {
                status: 200,
                headers: headers("content-type", self.content_type()),
            },
        });
        let response = pieces(&self.body()).into_iter();
        events.extend(response.map(|bytes| HttpEvent::ResponseBody { at, id, bytes }));
        events.push(HttpEvent::ResponseEnd {
            at,
            id,
            end: BodyEnd::Complete,
        });
        events
    }
}

fn measure(format: &Format) {
    let events = format.events();
    let bytes = format.request.len() + format.body().len();
    assert_eq!(
        read(events.clone()),
        Some(UsageSource::Provider),
        "{} is read",
        format.name
    );
    let (mut ours, mut parsed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let events = events.clone();
        ours.push(time(|| {
            black_box(read(events));
        }));
        parsed.push(time(|| {
            for text in std::iter::once(&format.request).chain(&format.texts) {
                let tree: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
                black_box(tree);
            }
        }));
    }
    let (ours, parsed) = (median(ours), median(parsed));
    println!(
        "{:<28}{:>8.1}{:>10.0}{:>14.2}",
        format.name,
        bytes as f64 / 1e6,
        bytes as f64 / 1e6 / ours.as_secs_f64(),
        ours.as_secs_f64() / parsed.as_secs_f64()
    );
}

/// Where the usage of the call comes from that an exchange is.
fn read(events: Vec<HttpEvent>) -> Option<UsageSource> {
    let mut stage = Llm::new(llm::Limits::default());
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    for event in events {
        stage.handle(event, &mut stats, &mut out);
    }
    match out.as_slice() {
        [LlmEvent::Call(call)] => Some(call.usage_source),
        _ => None,
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut taken: Vec<Duration>) -> Duration {
    taken.sort();
    taken.get(taken.len() / 2).copied().unwrap_or_default()
}
