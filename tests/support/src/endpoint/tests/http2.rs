//! HTTP/2 with the client of the `h2` crate.

use ::h2::client::{ResponseFuture, SendRequest};
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use http::Request;

use super::client::{run, tls, tokens, usage};
use super::*;
use crate::served::{Api, Outcome, Reported};

fn endpoint() -> Endpoint {
    Endpoint::start_with(Options {
        http2: true,
        ..Options::default()
    })
    .unwrap()
}

/// Opens a connection, and drives it beside the test.
async fn connect(endpoint: &Endpoint) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(endpoint.addr()).await.unwrap();
    let stream = tls(endpoint, &["h2", "http/1.1"], stream, "api.anthropic.com").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = ::h2::client::Builder::new()
        // Ours are small on purpose.
        .data_frame_budget(1 << 20)
        .handshake(stream)
        .await
        .unwrap();
    tokio::spawn(async move { connection.await.ok() });
    sender
}

async fn call(sender: &SendRequest<Bytes>, path: &str, body: &str) -> ResponseFuture {
    let request = Request::post(format!("https://api.anthropic.com{path}"))
        .header("user-agent", "tester/2")
        .body(())
        .unwrap();
    let mut sender = sender.clone().ready().await.unwrap();
    let (response, mut stream) = sender.send_request(request, false).unwrap();
    stream
        .send_data(Bytes::copy_from_slice(body.as_bytes()), true)
        .unwrap();
    response
}

/// The next part of a body; an error where the stream was reset.
async fn part(body: &mut RecvStream) -> Option<Result<Bytes, ::h2::Error>> {
    let part = body.data().await?;
    if let Ok(bytes) = &part {
        body.flow_control().release_capacity(bytes.len()).unwrap();
    }
    Some(part)
}

async fn text(mut body: RecvStream) -> Result<String, ::h2::Error> {
    let mut bytes = Vec::new();
    while let Some(part) = part(&mut body).await {
        bytes.extend(part?);
    }
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn forty_streams_at_once_get_each_what_was_served() {
    let endpoint = endpoint();
    let texts = run(async {
        let sender = connect(&endpoint).await;
        let plans = ["", "split-7", "random", "chunked-100", "delay-1.deltas-9"];
        let mut responses = Vec::new();
        for number in 0..40 {
            let api = Api::MODEL_IN_BODY[number % 3];
            let path = format!("/plan/{}{}", plans[number % 5], api.path());
            let response = call(&sender, &path, BODY).await;
            responses.push(tokio::spawn(async move {
                let response = response.await.unwrap();
                assert_eq!(response.status(), 200);
                text(response.into_body()).await.unwrap()
            }));
        }
        let mut texts = Vec::new();
        for response in responses {
            texts.push(response.await.unwrap());
        }
        texts
    });
    let served = endpoint.served();
    assert_eq!(served.len(), 40);
    for call in &served {
        let id = call.id.as_deref().unwrap();
        let mut with_id = texts.iter().filter(|text| text.contains(id));
        let text = with_id.next().unwrap();
        assert_eq!(with_id.next(), None);
        assert_eq!(tokens(call.api, &usage(text)), call.usage);
        assert_eq!(call.protocol, Protocol::Http2);
        assert_eq!(call.host.as_deref(), Some("api.anthropic.com"));
        assert_eq!(call.user_agent.as_deref(), Some("tester/2"));
        assert_eq!(call.client_port, served[0].client_port);
        assert_eq!(call.outcome, Outcome::Complete);
    }
}

#[test]
fn a_cut_reply_ends_its_stream_and_no_other() {
    let endpoint = endpoint();
    run(async {
        let sender = connect(&endpoint).await;
        let path = format!("/plan/abort-2.deltas-5{}", Api::AnthropicMessages.path());
        let cut = call(&sender, &path, BODY).await.await.unwrap();
        let mut body = cut.into_body();
        let mut seen = Vec::new();
        let error = loop {
            match part(&mut body).await.unwrap() {
                Ok(bytes) => seen.extend(bytes),
                Err(error) => break error,
            }
        };
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        let seen = String::from_utf8(seen).unwrap();
        assert_eq!(seen.matches("text_delta").count(), 2, "{seen}");
        let whole = call(&sender, Api::OpenAiChat.path(), BODY).await;
        text(whole.await.unwrap().into_body()).await.unwrap();
    });
    let outcomes: Vec<_> = endpoint
        .served()
        .iter()
        .map(|call| (call.outcome, call.reported))
        .collect();
    let expected = [
        (Outcome::Aborted, Reported::Input),
        (Outcome::Complete, Reported::Everything),
    ];
    assert_eq!(outcomes, expected);
}

#[test]
fn a_client_that_resets_its_stream_leaves_an_aborted_call() {
    let endpoint = endpoint();
    run(async {
        let sender = connect(&endpoint).await;
        let path = format!("/plan/delay-20.deltas-1000{}", Api::OpenAiChat.path());
        let response = call(&sender, &path, BODY).await.await.unwrap();
        let mut body = response.into_body();
        part(&mut body).await.unwrap().unwrap();
        // Let go of, it is reset, and the connection goes on.
        drop(body);
        let other = call(&sender, "/v1/models", "").await.await.unwrap();
        assert_eq!(other.status(), 404);
    });
    let served = endpoint.served_when(1, Duration::from_secs(20));
    assert_eq!(served[0].outcome, Outcome::Aborted);
    assert_eq!(served[0].reported, Reported::Nothing);
    let others = endpoint.other_requests();
    assert_eq!(others[0].protocol, Protocol::Http2);
}

#[test]
fn a_compressed_request_and_one_larger_than_the_window_are_read() {
    let endpoint = endpoint();
    let prompt = "tokens ".repeat(40_000);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": prompt}]}).to_string();
    let compressed = zstd::encode_all(body.as_bytes(), 3).unwrap();
    run(async {
        let sender = connect(&endpoint).await;
        for (encoding, bytes) in [("identity", body.into_bytes()), ("zstd", compressed)] {
            let uri = format!("https://localhost{}", Api::OpenAiChat.path());
            let request = Request::post(uri)
                .header("content-encoding", encoding)
                .body(())
                .unwrap();
            let mut sender = sender.clone().ready().await.unwrap();
            let (response, mut stream) = sender.send_request(request, false).unwrap();
            // More than the window waits in the client until there is room.
            stream.send_data(Bytes::from(bytes), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        }
    });
    let sizes: Vec<_> = endpoint
        .served()
        .iter()
        .map(|call| call.text_in_bytes)
        .collect();
    assert_eq!(sizes, [280_000, 280_000]);
}

#[test]
fn without_the_option_only_http_1_is_offered() {
    let endpoint = Endpoint::start().unwrap();
    run(async {
        let stream = TcpStream::connect(endpoint.addr()).await.unwrap();
        let stream = tls(&endpoint, &["h2", "http/1.1"], stream, "localhost").await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    });
}
