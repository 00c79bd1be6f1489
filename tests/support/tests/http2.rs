//! The HTTP stage beside the `h2` crate: random streams between its client and its server, in memory,
//! and what the stage makes of the bytes that the client wrote and read.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use agent_core::connection::{EndReason, Segment};
use agent_core::event::{ConnId, Direction, Plaintext, Timestamp};
use agent_core::http::{BodyEnd, Headers, Http, HttpEvent, Limits, Role};
use agent_core::stats::Stats;
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use fastrand::Rng;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::task::JoinSet;

use Direction::{Read, Written};

const CONN: ConnId = ConnId {
    pid: 7,
    ssl: 0x70,
    since: Timestamp::from_nanos(1),
};

/// A call of the client: which way, and its bytes.
type Call = (Direction, Vec<u8>);

/// The client's end of the connection, which remembers each call.
struct Tapped {
    inner: DuplexStream,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Tapped {
    fn note(&self, direction: Direction, bytes: &[u8]) {
        if !bytes.is_empty()
            && let Ok(mut calls) = self.calls.lock()
        {
            calls.push((direction, bytes.to_vec()));
        }
    }
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.note(Read, read);
        result
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = result {
            self.note(Written, bytes.get(..written).unwrap_or_default());
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Where a side stops in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Never,
    /// The client resets the stream after it has sent its body.
    Client,
    /// The server resets the stream after it has sent its body.
    Server,
}

/// One exchange as both sides mean it.
#[derive(Clone, Debug)]
struct Meant {
    method: Method,
    path: String,
    /// Of the allow-list.
    session: String,
    agent: String,
    status: u16,
    request_id: String,
    request: Vec<u8>,
    response: Vec<u8>,
    /// Bytes of one piece of data.
    piece: usize,
    has_trailers: bool,
    stop: Stop,
}

impl Meant {
    fn random(number: usize, random: &mut Rng) -> Self {
        let has_body = random.bool();
        let body = |random: &mut Rng| {
            let most = if random.u8(..) < 30 { 70_000 } else { 900 };
            let length = random.usize(0..most);
            // Every body is of one letter, so that no part of it looks like another's.
            vec![b'a' + u8::try_from(number % 26).unwrap_or(0); length]
        };
        let request = if has_body { body(random) } else { Vec::new() };
        let response = body(random);
        // Peers take very many short frames for an attack.
        let shortest = request.len().max(response.len()) / 50 + 1;
        Self {
            method: if has_body { Method::POST } else { Method::GET },
            path: format!("/{number}/{}", "p".repeat(random.usize(0..60))),
            session: format!("session-{}", random.u8(0..3)),
            agent: format!("agent/{}", random.u8(0..2)),
            status: random.choice([200, 201, 204, 404, 429, 500]).unwrap_or(200),
            request_id: format!("req_{:x}", random.u64(..)),
            request,
            response,
            piece: random.usize(shortest..20_000),
            has_trailers: random.u8(..) < 40,
            stop: match random.u8(0..10) {
                0 => Stop::Client,
                1 => Stop::Server,
                _ => Stop::Never,
            },
        }
    }

    fn request_head(&self) -> Result<Request<()>> {
        let mut secret = HeaderValue::from_static("Bearer canary");
        secret.set_sensitive(self.piece.is_multiple_of(2));
        Ok(Request::builder()
            .method(self.method.clone())
            .uri(format!("https://user@api.example{}?key=canary", self.path))
            .header("user-agent", &self.agent)
            .header("x-session-id", &self.session)
            .header("authorization", secret)
            .header("x-filler", "f".repeat(self.piece % 700))
            .body(())?)
    }

    fn response_head(&self) -> Result<Response<()>> {
        Ok(Response::builder()
            .status(StatusCode::from_u16(self.status)?)
            .header("request-id", &self.request_id)
            .header("set-cookie", "canary")
            .header("date", format!("today {}", self.piece % 3))
            .body(())?)
    }

    fn response_body(&self) -> &[u8] {
        if self.status == 204 {
            &[]
        } else {
            &self.response
        }
    }
}

/// What both sides allow each other.
#[derive(Clone, Copy, Debug)]
struct Sides {
    table: [u32; 2],
    window: u32,
    frame: u32,
    pipe: usize,
}

impl Sides {
    fn random(random: &mut Rng) -> Self {
        let table = |random: &mut Rng| random.choice([0, 100, 4_096, 16_384, 65_536]).unwrap_or(0);
        Self {
            table: [table(random), table(random)],
            window: random.u32(1_000..200_000),
            frame: random.u32(16_384..60_000),
            pipe: random.usize(64..100_000),
        }
    }
}

/// Lets client and server talk; gives the client's calls.
fn talk(meant: &[Meant], sides: Sides, parallel: usize) -> Result<Vec<Call>> {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (near, far) = tokio::io::duplex(sides.pipe);
    let tapped = Tapped {
        inner: near,
        calls: Arc::clone(&calls),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let server = tokio::spawn(serve(far, meant.to_vec(), sides));
        client(tapped, meant, sides, parallel).await?;
        server.await?
    })?;
    let calls = calls.lock().map(|calls| calls.clone());
    calls.ok().context("a side panicked")
}

async fn client(io: Tapped, meant: &[Meant], sides: Sides, parallel: usize) -> Result<()> {
    let (mut requests, connection) = h2::client::Builder::new()
        .header_table_size(sides.table[0])
        .initial_window_size(sides.window)
        .max_frame_size(sides.frame)
        .handshake::<_, Bytes>(io)
        .await?;
    let connection = tokio::spawn(connection);
    let mut open = JoinSet::new();
    for one in meant {
        while open.len() >= parallel {
            open.join_next().await.context("nothing is open")???;
        }
        requests = requests.ready().await?;
        let is_empty = one.request.is_empty() && !one.has_trailers;
        let (response, stream) = requests.send_request(one.request_head()?, is_empty)?;
        let one = one.clone();
        open.spawn(async move {
            let mut stream = stream;
            if !is_empty {
                let is_stopped = one.stop == Stop::Client;
                send(&mut stream, &one.request, &one, is_stopped).await?;
            }
            if one.stop == Stop::Client {
                stream.send_reset(h2::Reason::CANCEL);
                return Ok(());
            }
            let Ok(response) = response.await else {
                ensure!(one.stop == Stop::Server, "no response");
                return Ok(());
            };
            let received = receive(response.into_body()).await;
            ensure!(received.is_ok() || one.stop == Stop::Server, "no body");
            anyhow::Ok(())
        });
    }
    while let Some(done) = open.join_next().await {
        done??;
    }
    drop(requests);
    connection.await??;
    Ok(())
}

async fn serve(io: DuplexStream, meant: Vec<Meant>, sides: Sides) -> Result<()> {
    let mut connection = h2::server::Builder::new()
        .header_table_size(sides.table[1])
        .initial_window_size(sides.window)
        .max_frame_size(sides.frame)
        .handshake::<_, Bytes>(io)
        .await?;
    let mut open = JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        let Ok((request, mut respond)) = accepted else {
            break;
        };
        let path = request.uri().path().to_owned();
        let one = meant.iter().find(|one| one.path == path).cloned();
        let one = one.context("an unknown path")?;
        open.spawn(async move {
            // One that was reset is answered to nobody.
            if receive(request.into_body()).await.is_err() {
                return;
            }
            let Ok(head) = one.response_head() else {
                return;
            };
            let is_empty = one.response_body().is_empty() && !one.has_trailers;
            if let Ok(mut stream) = respond.send_response(head, is_empty)
                && !is_empty
            {
                let is_stopped = one.stop == Stop::Server;
                if send(&mut stream, one.response_body(), &one, is_stopped)
                    .await
                    .is_ok()
                    && is_stopped
                {
                    stream.send_reset(h2::Reason::INTERNAL_ERROR);
                }
            }
        });
    }
    while open.join_next().await.is_some() {}
    Ok(())
}

/// Sends a body, its end only unless it is stopped.
async fn send(
    stream: &mut SendStream<Bytes>,
    body: &[u8],
    meant: &Meant,
    is_stopped: bool,
) -> Result<()> {
    let mut left = Bytes::copy_from_slice(body);
    while !left.is_empty() {
        let wanted = left.len().min(meant.piece);
        stream.reserve_capacity(wanted);
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let capacity = capacity.context("the stream is over")??;
        let piece = left.split_to(capacity.min(wanted));
        let ends = left.is_empty() && !meant.has_trailers && !is_stopped;
        stream.send_data(piece, ends)?;
    }
    if !is_stopped {
        if meant.has_trailers {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-trailer", HeaderValue::from_static("canary"));
            stream.send_trailers(trailers)?;
        } else if body.is_empty() {
            stream.send_data(Bytes::new(), true)?;
        }
    }
    Ok(())
}

async fn receive(mut body: RecvStream) -> Result<()> {
    while let Some(piece) = body.data().await {
        let length = piece?.len();
        body.flow_control().release_capacity(length)?;
    }
    body.trailers().await?;
    Ok(())
}

/// What came out of one exchange.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    method: String,
    path: String,
    headers: Headers,
    request: Vec<u8>,
    request_end: Option<BodyEnd>,
    status: Option<u16>,
    response_headers: Headers,
    response: Vec<u8>,
    response_end: Option<BodyEnd>,
    has_gap: bool,
}

/// Runs the stage over calls.
fn observe(calls: &[Call]) -> (BTreeMap<u64, Found>, Stats) {
    let mut stage = Http::new(Limits::default());
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    let at = CONN.since;
    stage.handle(Segment::Open { at, conn: CONN }, &mut stats, &mut out);
    for (direction, bytes) in calls {
        let data = Segment::Data {
            at,
            conn: CONN,
            direction: *direction,
            bytes: Plaintext::from(bytes.clone()),
        };
        stage.handle(data, &mut stats, &mut out);
    }
    let end = Segment::End {
        at,
        conn: CONN,
        reason: EndReason::Closed,
    };
    stage.handle(end, &mut stats, &mut out);
    assert_eq!(stage.buffered_bytes(), 0);
    let mut all: BTreeMap<u64, Found> = BTreeMap::new();
    for event in out {
        match event {
            HttpEvent::Request { id, head, .. } => {
                let found = all.entry(id.number).or_default();
                found.method = head.method;
                found.path = head.path;
                found.headers = head.headers;
            }
            HttpEvent::RequestBody { id, bytes } => {
                let found = all.entry(id.number).or_default();
                found.request.extend_from_slice(&bytes);
            }
            HttpEvent::RequestEnd { id, end, .. } => {
                all.entry(id.number).or_default().request_end = Some(end);
            }
            HttpEvent::Response { id, head, .. } => {
                let found = all.entry(id.number).or_default();
                found.status = Some(head.status);
                found.response_headers = head.headers;
            }
            HttpEvent::ResponseBody { id, bytes, .. } => {
                let found = all.entry(id.number).or_default();
                found.response.extend_from_slice(&bytes);
            }
            HttpEvent::ResponseEnd { id, end, .. } => {
                all.entry(id.number).or_default().response_end = Some(end);
            }
            HttpEvent::RequestGap { id, .. } | HttpEvent::ResponseGap { id, .. } => {
                all.entry(id.number).or_default().has_gap = true;
            }
            HttpEvent::ServerName { .. }
            | HttpEvent::Dismissed { .. }
            | HttpEvent::Message { .. }
            | HttpEvent::MessageEnd { .. }
            | HttpEvent::MessagesLost { .. }
            | HttpEvent::Closed { .. } => {}
        }
    }
    (all, stats)
}

struct Run {
    meant: Vec<Meant>,
    calls: Vec<Call>,
    random: Rng,
}

fn run(seed: u64) -> Result<Run> {
    let mut random = Rng::with_seed(seed);
    let streams = random.usize(1..14);
    let meant: Vec<Meant> = (0..streams)
        .map(|number| Meant::random(number, &mut random))
        .collect();
    let sides = Sides::random(&mut random);
    let parallel = random.usize(1..6);
    let calls = talk(&meant, sides, parallel)?;
    Ok(Run {
        meant,
        calls,
        random,
    })
}

/// The same bytes in other calls.
fn cut(calls: &[Call], random: &mut Rng) -> Vec<Call> {
    let most = random.choice([1, 20, 5_000]).unwrap_or(1);
    let mut pieces = Vec::new();
    for (direction, bytes) in calls {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.usize(1..=most).min(rest.len()));
            pieces.push((*direction, piece.to_vec()));
            rest = after;
        }
    }
    pieces
}

#[track_caller]
fn assert_as_meant(found: &Found, meant: &Meant, seed: u64) {
    let context = format!("seed {seed}, {}", meant.path);
    let field = |headers: &Headers, name| headers.first(name).map(str::to_owned);
    assert_eq!(found.method, meant.method.as_str(), "{context}");
    assert_eq!(
        [
            field(&found.headers, "host"),
            field(&found.headers, "user-agent"),
            field(&found.headers, "x-session-id"),
        ],
        [
            Some("api.example".to_owned()),
            Some(meant.agent.clone()),
            Some(meant.session.clone()),
        ],
        "{context}"
    );
    assert_eq!(found.headers.iter().count(), 3, "{context}");
    assert!(meant.request.starts_with(&found.request), "{context}");
    assert!(
        meant.response_body().starts_with(&found.response),
        "{context}"
    );
    let ends = (found.request_end, found.response_end);
    if found.request_end == Some(BodyEnd::Complete) {
        assert_eq!(found.request, meant.request, "{context}");
    }
    if found.response_end == Some(BodyEnd::Complete) {
        assert_eq!(found.response, meant.response_body(), "{context}");
    }
    let (complete, given_up) = (
        Some(BodyEnd::Complete),
        Some(BodyEnd::GivenUp(Role::Client)),
    );
    match meant.stop {
        Stop::Never => assert_eq!(ends, (complete, complete), "{context}"),
        Stop::Server => assert_eq!(ends.0, complete, "{context}"),
        Stop::Client => assert!(ends.1 == given_up || ends.1 == complete, "{context}"),
    }
    if let Some(status) = found.status {
        assert_eq!(status, meant.status, "{context}");
        assert_eq!(
            field(&found.response_headers, "request-id").as_deref(),
            Some(meant.request_id.as_str()),
            "{context}"
        );
        assert_eq!(found.response_headers.iter().count(), 1, "{context}");
    }
}

#[test]
fn what_the_peers_said_comes_out_however_it_is_cut() -> Result<()> {
    for seed in 0..200 {
        let Run {
            meant,
            calls,
            mut random,
        } = run(seed)?;
        let (found, stats) = observe(&calls);
        assert_eq!(
            (stats.steps_lost, stats.heads_unread, stats.streams_refused),
            (0, 0, 0),
            "seed {seed}"
        );
        assert_eq!(observe(&cut(&calls, &mut random)).0, found, "seed {seed}");
        // A stream that is reset before it was sent is none.
        let was_sent = |meant: &&Meant| {
            meant.stop != Stop::Client || found.values().any(|found| found.path == meant.path)
        };
        let sent: Vec<&Meant> = meant.iter().filter(was_sent).collect();
        assert_eq!(found.len(), sent.len(), "seed {seed}");
        for (found, meant) in found.values().zip(sent) {
            assert_eq!(found.path, meant.path, "seed {seed}");
            assert_as_meant(found, meant, seed);
        }
        assert!(!format!("{found:?}").contains("canary"), "seed {seed}");
    }
    Ok(())
}

/// Whatever could be read is what was sent.
fn assert_only_less(found: &Found, meant: &[Meant], context: &str) {
    let letters = |bytes: &[u8]| {
        let mut letters = bytes.to_vec();
        letters.dedup();
        letters
    };
    let bodies = [letters(&found.request), letters(&found.response)].concat();
    let of_body = |meant: &&Meant| {
        let letter = letters(&[meant.request.clone(), meant.response.clone()].concat());
        bodies.iter().all(|body| letter.contains(body))
    };
    let of_path = |meant: &&Meant| found.path.is_empty() || found.path == meant.path;
    let sender = meant.iter().find(|meant| of_path(meant) && of_body(meant));
    assert!(
        sender.is_some(),
        "{context}: nobody sent {} with {bodies:?}",
        found.path
    );
    let Some(meant) = sender else { return };
    assert!(
        found.method.is_empty() || found.method == meant.method.as_str(),
        "{context}"
    );
    if found.path.is_empty() {
        return;
    }
    let same = |headers: &Headers, name, value: &str| {
        headers.first(name).is_none_or(|found| found == value)
    };
    assert!(same(&found.headers, "host", "api.example"), "{context}");
    assert!(
        same(&found.headers, "user-agent", &meant.agent),
        "{context}"
    );
    assert!(
        same(&found.headers, "x-session-id", &meant.session),
        "{context}"
    );
    assert!(
        same(&found.response_headers, "request-id", &meant.request_id),
        "{context}"
    );
    if let Some(status) = found.status.filter(|status| *status > 0) {
        assert_eq!(status, meant.status, "{context}");
    }
    if found.has_gap {
        return;
    }
    if found.request_end == Some(BodyEnd::Complete) {
        assert_eq!(found.request, meant.request, "{context}");
    }
    if found.response_end == Some(BodyEnd::Complete) && found.status != Some(0) {
        assert_eq!(found.response, meant.response_body(), "{context}");
    }
}

#[test]
fn joining_midway_finds_less_and_nothing_wrong() -> Result<()> {
    let (mut later, mut read) = (0, 0);
    for seed in 0..40 {
        let Run {
            meant,
            calls,
            mut random,
        } = run(seed)?;
        let whole = observe(&calls).0.len();
        // Between any two calls, and inside of some.
        let step = calls.len() / 60 + 1;
        for skipped in (1..calls.len()).step_by(step) {
            let mut seen = calls.split_at(skipped).1.to_vec();
            let context = format!("seed {seed}, from call {skipped} on");
            let (found, _) = observe(&seen);
            assert!(found.len() <= whole, "{context}");
            for found in found.values() {
                assert_only_less(found, &meant, &context);
            }
            let (before, _) = observe(calls.split_at(skipped).0);
            later += whole - before.len();
            read += found.len();
            if let Some((_, first)) = seen.first_mut() {
                let inside = random.usize(0..first.len());
                first.drain(..inside);
                for found in observe(&seen).0.values() {
                    assert_only_less(found, &meant, &format!("{context}, {inside} inside"));
                }
            }
        }
    }
    println!("{read} exchanges found of {later} whose requests began later");
    assert!(read * 10 >= later * 9, "{read} of {later}");
    Ok(())
}
