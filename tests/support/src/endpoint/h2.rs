//! One HTTP/2 connection (RFC 9113): its streams are answered beside each other.

use std::future::poll_fn;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::answer::{Origin, Pending, Turn};
use super::cut::{Cut, Longest};
use super::{SILENCE, Shared};
use crate::plan::{Plan, Split};
use crate::request::{self, MAX_BODY_BYTES, Request};
use crate::script::{Script, frames};

/// LIMIT: streams at once, 256; a client that wants more waits.
const MAX_STREAMS: u32 = 256;

/// LIMIT: bytes of a header list, 64 KiB; a longer one ends its stream.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// LIMIT: what small DATA frames that nobody has read yet cost more than large ones, 1 MiB: a client
/// may cut its bodies as it likes, up to some 4,000 frames; with more its connection ends.
const SMALL_FRAMES: usize = 1 << 20;

/// LIMIT: bytes of a stream that wait while there is capacity for more, 1: each write waits until
/// the one before it is on its way, as it does over HTTP/1.1.
const WAITING_BYTES: usize = 1;

/// Answers the requests of one connection.
pub(super) async fn converse<S>(
    stream: Cut<S>,
    origin: Origin,
    shared: &Arc<Shared>,
) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let longest = stream.longest();
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_send_buffer_size(WAITING_BYTES)
        .data_frame_budget(SMALL_FRAMES)
        .handshake::<_, Bytes>(stream)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let (shared, longest) = (Arc::clone(shared), longest.clone());
        tokio::spawn(async move {
            // As with a connection: what a broken stream means for its call is recorded there.
            exchange(request, respond, origin, &longest, &shared)
                .await
                .ok();
        });
    }
    Ok(())
}

/// Answers one request.
async fn exchange(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    origin: Origin,
    longest: &Longest,
    shared: &Shared,
) -> anyhow::Result<()> {
    let request = timeout(SILENCE, whole(request)).await??;
    match shared.turn(&request, origin)? {
        Turn::Call(pending) => {
            cut(longest, &pending.plan, pending.number());
            let script = frames(&pending.reply, &pending.plan, pending.number())?;
            serve(*pending, &script, shared, &mut respond).await
        }
        Turn::Beside(reply, plan) => {
            let script = frames(&reply, &plan, 0)?;
            let is_head_only = request.method == "HEAD";
            let mut body = respond.send_response(head(reply.status, &script)?, is_head_only)?;
            if !is_head_only {
                for piece in &script.pieces {
                    send(&mut body, &piece.bytes, false).await?;
                }
                body.send_data(Bytes::new(), true)?;
            }
            Ok(())
        }
        Turn::Socket(..) => Err(anyhow!("a WebSocket over HTTP/2 is not offered")),
    }
}

/// Cuts the writes of the connection as the plan of one of its streams says.
fn cut(longest: &Longest, plan: &Plan, seed: u64) {
    match plan.split {
        Split::Usual | Split::Whole => {}
        Split::Every(bytes) => longest.set(bytes),
        Split::Random => longest.set(fastrand::Rng::with_seed(seed).usize(1..1_000)),
    }
}

/// Reads a request to its end.
async fn whole(request: http::Request<RecvStream>) -> anyhow::Result<Request> {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(bytes) = stream.data().await {
        let bytes = bytes?;
        ensure!(
            bytes.len() <= MAX_BODY_BYTES - body.len(),
            "the body is too long"
        );
        body.extend(&bytes);
        stream.flow_control().release_capacity(bytes.len())?;
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut fields: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect();
    if let Some(authority) = head.uri.authority() {
        // It goes before a `host` field (RFC 9113 section 8.3.1).
        fields.insert(0, ("host".to_owned(), authority.to_string()));
    }
    let target = head.uri.path_and_query().map(ToString::to_string);
    let mut request = Request {
        method: head.method.to_string(),
        target: target.unwrap_or_default(),
        fields,
        body: Vec::new(),
    };
    request.body = request::decompress(&body, request.field("content-encoding"))?;
    Ok(request)
}

/// Writes the answer to a call, and records it.
async fn serve(
    mut pending: Pending,
    script: &Script,
    shared: &Shared,
    respond: &mut SendResponse<Bytes>,
) -> anyhow::Result<()> {
    let mut body = match respond.send_response(head(pending.reply.status, script)?, false) {
        Ok(body) => body,
        Err(error) => {
            pending.breaks(shared)?;
            return Err(error.into());
        }
    };
    // A stream may end with its last frame, with an empty one, or with trailers.
    let number = pending.number();
    let ends_with_data = number.is_multiple_of(3) && !script.drops;
    let count = script.pieces.len();
    for (index, piece) in script.pieces.iter().enumerate() {
        if piece.waits {
            sleep(pending.plan.delay).await;
        }
        if index == script.terminal {
            pending.ends(shared)?;
        }
        let is_end = ends_with_data && index + 1 == count;
        if let Err(error) = send(&mut body, &piece.bytes, is_end).await {
            pending.breaks(shared)?;
            return Err(error);
        }
        if index == script.terminal {
            pending.is_written();
        }
    }
    if script.drops {
        // A reset takes with it what still waits.
        drained(&mut body).await?;
        body.send_reset(Reason::INTERNAL_ERROR);
    } else if number % 3 == 1 {
        body.send_data(Bytes::new(), true)?;
    } else if !ends_with_data {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", HeaderValue::from_static("1"));
        body.send_trailers(trailers)?;
    }
    Ok(())
}

fn head(status: u16, script: &Script) -> anyhow::Result<Response<()>> {
    let mut head = Response::builder().status(status).body(())?;
    for (name, value) in &script.fields {
        head.headers_mut().append(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).context("a header field")?,
        );
    }
    Ok(head)
}

/// Sends bytes as one DATA frame, or as several where the client's window is too small.
async fn send(stream: &mut SendStream<Bytes>, bytes: &[u8], is_end: bool) -> anyhow::Result<()> {
    drained(stream).await?;
    stream.send_data(Bytes::copy_from_slice(bytes), is_end)?;
    Ok(())
}

/// Waits until nothing of the stream waits and the client's window has room: with
/// [`WAITING_BYTES`] of 1 there is no capacity before.
async fn drained(stream: &mut SendStream<Bytes>) -> anyhow::Result<()> {
    stream.reserve_capacity(1);
    while stream.capacity() == 0 {
        let granted = timeout(SILENCE, poll_fn(|context| stream.poll_capacity(context))).await?;
        granted.context("the stream is closed")??;
    }
    Ok(())
}
