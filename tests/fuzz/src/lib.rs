//! Fuzz targets: each takes bytes and panics where a law is broken.
//!
//! The laws, as `tests/README.md` states them: no panic for any bytes (quiet), the same outputs for
//! any cutting of the same bytes (split), and every byte accounted for (conservation).

pub mod laws;
pub mod script;
pub mod streams;

use agent_core::connection::Segment;
use agent_core::event::{self, Direction, Event};
use agent_core::http::sse::Decoder;
use agent_core::http::{Http, HttpEvent, Limits};
use agent_core::pipeline::{Output, Pipeline, Settings};
use agent_core::socket;
use agent_core::stats::Stats;
use agent_resolver::{Kept, Method, Outcome, Resolution, content_key, resolve, resolve_by};

/// Takes any bytes, and panics where a law is broken.
pub type Target = fn(&[u8]);

/// Name and function of every target; each has a folder of seeds under that name.
pub const TARGETS: &[(&str, Target)] = &[
    ("records", records),
    ("http1", http1),
    ("http2", http2),
    ("websocket", websocket),
    ("sse", sse),
    ("hello", hello),
    ("line", line),
    ("resolver", resolver),
];

/// Parses a ClientHello: quiet, and a cut one tells nothing that the whole one does not tell.
pub fn hello(bytes: &[u8]) {
    let whole = socket::parse(bytes);
    for end in 0..bytes.len() {
        let (cut, _) = bytes.split_at(end);
        let (Ok(cut), Ok(whole)) = (socket::parse(cut), &whole) else {
            continue;
        };
        assert!(
            cut.server_name.is_none() || cut.server_name == whole.server_name,
            "{end} bytes name another host"
        );
        assert!(
            whole.protocols.starts_with(&cut.protocols),
            "{end} bytes offer other protocols"
        );
    }
    if let Ok(hello) = whole {
        assert!(hello.protocols.len() <= socket::PROTOCOLS);
        assert!(hello.server_name.is_none_or(|name| name.len() <= 255));
    }
}

/// Decodes ring records of any bytes: quiet, and never more payload than the record holds.
pub fn records(bytes: &[u8]) {
    let Ok(event) = event::decode(bytes) else {
        return;
    };
    if let Event::Chunk { bytes: payload, .. } = &event {
        assert!(
            payload.len() < bytes.len(),
            "a payload is shorter than its record"
        );
    }
    assert_eq!(
        event::decode(bytes),
        Ok(event),
        "the same bytes are the same event"
    );
}

/// Runs the HTTP stage on a [`script`], once with a handshake and once without: quiet, and the
/// split law. Each exchange that begins ends once, and a connection that ended leaves nothing
/// behind.
pub fn http1(bytes: &[u8]) {
    both_ways(script::segments(bytes));
}

/// Without a handshake, and with one.
fn both_ways(unnamed: Vec<Segment>) {
    let mut named = unnamed.clone();
    let name = Segment::ServerName {
        conn: script::CONNECTION,
        name: "host".to_owned(),
    };
    named.insert(1, name);
    for segments in [unnamed, named] {
        // Out of step, the stage looks for a message where a segment begins: no split law there.
        let (_, stats) = exchanges(segments.clone());
        if stats.steps_lost == 0 {
            laws::split(&segments, |segments| exchanges(segments).0);
        } else {
            exchanges(script::cut(&segments, 1));
        }
    }
}

/// Runs the HTTP stage on frames of HTTP/2, with their header blocks, from a [script](streams): once
/// with a handshake and once without, quiet, and the split law. Each exchange that begins ends once,
/// and a connection that ended leaves nothing behind.
pub fn http2(bytes: &[u8]) {
    both_ways(streams::segments(bytes));
}

/// What the sides of a fuzzed WebSocket may have agreed on; the first byte of the input picks one.
const AGREEMENTS: [&str; 4] = [
    "",
    "permessage-deflate",
    "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; server_no_context_takeover; client_max_window_bits=9",
];

/// Runs the HTTP stage on a [`script`] that goes on behind the handshake of a WebSocket: quiet, the
/// split law, and each message that begins ends once.
pub fn websocket(bytes: &[u8]) {
    let Some((pick, bytes)) = bytes.split_first() else {
        return;
    };
    let agreement = AGREEMENTS[usize::from(*pick) % AGREEMENTS.len()];
    let request = "GET /v1/responses HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".to_owned();
    let response = format!(
        "HTTP/1.1 101 \r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: {agreement}\r\n\r\n"
    );
    let head = [(Direction::Written, request), (Direction::Read, response)];
    let mut segments = script::segments(bytes);
    for (place, (direction, text)) in (1..).zip(head) {
        let data = Segment::Data {
            at: script::CONNECTION.since,
            conn: script::CONNECTION,
            direction,
            bytes: text.into_bytes().into(),
        };
        segments.insert(place, data);
    }
    let (_, stats) = exchanges(segments.clone());
    // A lost direction is looked for where a segment begins: no split law there.
    if stats.steps_lost == 0 {
        laws::split(&segments, |segments| exchanges(segments).0);
    } else {
        exchanges(script::cut(&segments, 1));
    }
}

fn exchanges(segments: Vec<Segment>) -> (Vec<HttpEvent>, Stats) {
    let (mut stage, mut stats, mut out) =
        (Http::new(Limits::default()), Stats::default(), Vec::new());
    for segment in segments {
        stage.handle(segment, &mut stats, &mut out);
    }
    assert_eq!(
        (stage.buffered_bytes(), stage.decoder_bytes()),
        (0, 0),
        "a connection that ended leaves nothing behind"
    );
    let messages = out
        .iter()
        .filter(|event| matches!(event, HttpEvent::MessageEnd { .. }))
        .count() as u64;
    assert_eq!(
        messages,
        stats.messages + stats.messages_lost + stats.messages_refused,
        "each message is counted once"
    );
    let begun = out
        .iter()
        .filter(|event| matches!(event, HttpEvent::Request { .. }))
        .count();
    let ended = out
        .iter()
        .filter(|event| matches!(event, HttpEvent::ResponseEnd { .. }))
        .count();
    assert_eq!(begun, ended, "each exchange ends once");
    (out, stats)
}

/// Decodes an event stream: quiet, and the split law.
pub fn sse(bytes: &[u8]) {
    let decode = |longest: usize| {
        let (mut decoder, mut events) = (Decoder::new(), Vec::new());
        for piece in bytes.chunks(longest.max(1)) {
            decoder.push(piece, |event| {
                events.push((event.name.to_vec(), event.data.to_vec()))
            });
        }
        (events, decoder.refused(), decoder.last_id().to_vec())
    };
    let whole = decode(bytes.len());
    for longest in [1, 7] {
        assert!(
            decode(longest) == whole,
            "pieces of {longest} bytes give other events"
        );
    }
}

/// Runs a [`script`] through the whole line: quiet, and no more calls than requests.
pub fn line(bytes: &[u8]) {
    let events = script::events(bytes);
    let mut line = Pipeline::new(Settings::default());
    let mut outputs = Vec::new();
    for event in &events {
        line.handle(event);
        outputs.extend(std::iter::from_fn(|| line.poll_output()));
    }
    if let Some(end) = events.iter().filter_map(Event::at).max() {
        line.finish(end);
        outputs.extend(std::iter::from_fn(|| line.poll_output()));
    }
    let calls = outputs
        .iter()
        .filter(|output| matches!(output, Output::Usage(_)))
        .count();
    let stats = line.stats();
    let messages = stats.messages + stats.messages_lost + stats.messages_refused;
    let asked = stats.exchanges + messages;
    assert!(calls as u64 <= asked, "{calls} calls in {asked} requests");
}

/// Resolves a file of any bytes: quiet, and whatever is found is code of the file, holds for the
/// same file again, and comes from one of the two methods.
pub fn resolver(bytes: &[u8]) {
    let file = bytes.to_vec();
    let Ok(resolution) = resolve(&file) else {
        return;
    };
    assert_eq!(
        resolve(&file).ok().as_ref(),
        Some(&resolution),
        "the same bytes are the same resolution"
    );
    assert!(content_key(&file).is_ok(), "what is resolved has a key");
    let functions = resolution.functions();
    assert!(functions.is_sorted(), "functions are sorted");
    for found in functions {
        let offset = resolution.offset_of(found.address);
        assert!(
            offset.is_some_and(|offset| offset < bytes.len() as u64),
            "a function is code of the file"
        );
    }
    let methods = [Method::Names, Method::ErrorSites].map(|method| resolve_by(&file, method));
    match &resolution.outcome {
        Outcome::Found(found) => {
            let is_one =
                |resolution: &Resolution| resolution.outcome == Outcome::Found(found.clone());
            assert!(methods.iter().flatten().any(is_one), "one method found it");
            let kept = Kept::new(&file, resolution.clone()).ok().flatten();
            assert_eq!(
                kept.and_then(|kept| kept.recall(&file)),
                Some(resolution),
                "what was kept holds"
            );
        }
        Outcome::Refused(_) | Outcome::Nothing => {
            let found = methods.iter().flatten().any(|r| !r.functions().is_empty());
            assert!(!found, "what one method finds is found");
        }
    }
}
