//! Conversations in, events out; each event is shown as one short line.

mod frames;
mod http2;
mod http2_laws;
mod http2_limits;
mod http2_losses;
mod laws;
mod losses;
mod messages;

pub(in crate::http) use laws::{of, with_holes};

use super::{BodyEnd, Http, HttpEvent, Limits, Role, Scheme};
use crate::connection::{EndReason, Segment};
use crate::event::{ConnId, Direction, Timestamp};
use crate::stats::Stats;

use Direction::{Read, Written};

pub(in crate::http) const CONN: ConnId = ConnId {
    pid: 7,
    ssl: 0x70,
    since: Timestamp::from_nanos(1),
};

pub(in crate::http) const fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// One step of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) enum Step {
    /// Handshake with a server name.
    Named,
    Bytes(Direction, Vec<u8>),
    Gap(Direction, u64),
    End(EndReason),
}

pub(in crate::http) fn w(bytes: impl AsRef<[u8]>) -> Step {
    Step::Bytes(Written, bytes.as_ref().to_vec())
}

pub(in crate::http) fn r(bytes: impl AsRef<[u8]>) -> Step {
    Step::Bytes(Read, bytes.as_ref().to_vec())
}

pub(in crate::http) fn closed() -> Step {
    Step::End(EndReason::Closed)
}

pub(in crate::http) fn segment(conn: ConnId, step: &Step) -> Segment {
    match step {
        Step::Named => Segment::ServerName {
            conn,
            name: "host".to_owned(),
        },
        Step::Bytes(direction, bytes) => Segment::Data {
            at: at(2),
            conn,
            direction: *direction,
            bytes: bytes.clone().into(),
        },
        Step::Gap(direction, bytes) => Segment::Gap {
            at: at(2),
            conn,
            direction: *direction,
            bytes: *bytes,
        },
        Step::End(reason) => Segment::End {
            at: at(2),
            conn,
            reason: *reason,
        },
    }
}

pub(in crate::http) fn events(steps: &[Step]) -> (Vec<HttpEvent>, Stats) {
    let mut stage = Http::new(Limits::default());
    let (mut out, mut stats) = (Vec::new(), Stats::default());
    stage.handle(
        Segment::Open {
            at: at(2),
            conn: CONN,
        },
        &mut stats,
        &mut out,
    );
    for step in steps {
        stage.handle(segment(CONN, step), &mut stats, &mut out);
        assert!(stage.buffered_bytes() <= 256 << 10);
    }
    (out, stats)
}

const fn side(from: Role) -> char {
    match from {
        Role::Client => 'c',
        Role::Server => 's',
    }
}

/// The events as lines, with adjacent pieces of one body merged: `>` is the request, `<` the
/// response, `c` and `s` are messages of client and server.
pub(in crate::http) fn shown(events: &[HttpEvent]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut body: Option<(u64, char, Vec<u8>)> = None;
    for event in events {
        let piece = match event {
            HttpEvent::RequestBody { id, bytes } => Some((id.number, '>', bytes.to_vec())),
            HttpEvent::ResponseBody { id, bytes, .. } => Some((id.number, '<', bytes.to_vec())),
            HttpEvent::Message {
                id, from, bytes, ..
            } => Some((id.number, side(*from), bytes.to_vec())),
            HttpEvent::ServerName { .. }
            | HttpEvent::Request { .. }
            | HttpEvent::RequestGap { .. }
            | HttpEvent::RequestEnd { .. }
            | HttpEvent::Response { .. }
            | HttpEvent::ResponseGap { .. }
            | HttpEvent::MessageEnd { .. }
            | HttpEvent::MessagesLost { .. }
            | HttpEvent::ResponseEnd { .. }
            | HttpEvent::Dismissed { .. }
            | HttpEvent::Closed { .. } => None,
        };
        match (&mut body, piece) {
            (Some((id, side, text)), Some((new_id, new_side, piece)))
                if (*id, *side) == (new_id, new_side) =>
            {
                text.extend(piece);
                continue;
            }
            (_, piece) => {
                if let Some((id, side, text)) = std::mem::replace(&mut body, piece) {
                    lines.push(format!("{id} {side} {}", String::from_utf8_lossy(&text)));
                }
            }
        }
        let line = match event {
            HttpEvent::RequestBody { .. }
            | HttpEvent::ResponseBody { .. }
            | HttpEvent::Message { .. } => continue,
            HttpEvent::ServerName { name, .. } => format!("name {name}"),
            HttpEvent::Request { id, role, head, .. } => {
                format!("{} {role:?} {} {}", id.number, head.method, head.path)
            }
            HttpEvent::RequestGap { id, bytes } => format!("{} > gap {bytes}", id.number),
            HttpEvent::RequestEnd { id, end, .. } => format!("{} > {end:?}", id.number),
            HttpEvent::Response { id, head, .. } => format!("{} < {}", id.number, head.status),
            HttpEvent::ResponseGap { id, bytes } => format!("{} < gap {bytes}", id.number),
            HttpEvent::MessageEnd { id, from, end, .. } => {
                format!("{} {} {end:?}", id.number, side(*from))
            }
            HttpEvent::MessagesLost { id, from, .. } => {
                format!("{} {} lost", id.number, side(*from))
            }
            HttpEvent::ResponseEnd { id, end, .. } => format!("{} < {end:?}", id.number),
            HttpEvent::Dismissed { why, .. } => format!("dismissed {why:?}"),
            HttpEvent::Closed { .. } => "closed".to_owned(),
        };
        lines.push(line);
    }
    lines
}

#[track_caller]
pub(in crate::http) fn check(steps: &[Step], expected: &[&str]) {
    let (out, _) = events(steps);
    assert_eq!(shown(&out), expected);
    // The same, a byte at a time. Only a place that is looked for at the start of a segment
    // depends on where segments begin.
    let is_found_again = steps.iter().any(|step| matches!(step, Step::Gap(..)));
    if !is_found_again {
        let (out, _) = events(&singly(steps));
        assert_eq!(shown(&out), expected, "a byte at a time");
    }
}

pub(in crate::http) fn singly(steps: &[Step]) -> Vec<Step> {
    let mut single = Vec::new();
    for step in steps {
        match step {
            Step::Bytes(direction, bytes) => {
                single.extend(
                    bytes
                        .iter()
                        .map(|byte| Step::Bytes(*direction, vec![*byte])),
                );
            }
            Step::Named | Step::Gap(..) | Step::End(_) => single.push(step.clone()),
        }
    }
    single
}

#[test]
fn plaintext_and_state_show_no_content() {
    let (out, _) = events(&[
        Step::Named,
        w(
            "POST /p?key=canary HTTP/1.1\r\nAuthorization: Bearer sk-ant-oat01-canary\r\n\
             chatgpt-account-id: canary\r\nX-Api-Key: canary\r\nContent-Length: 6\r\n\r\ncanary",
        ),
        r("HTTP/1.1 200 OK\r\nSet-Cookie: canary\r\nContent-Length: 6\r\n\r\ncanary"),
        closed(),
    ]);
    assert!(!format!("{out:?}").contains("canary"));
}

/// The classes of the credentials of all requests, of which no byte may show.
pub(in crate::http) fn schemes(out: &[HttpEvent]) -> Vec<Scheme> {
    assert!(!format!("{out:?}").contains("canary"));
    let of_request = |event: &HttpEvent| {
        if let HttpEvent::Request { head, .. } = event {
            Some(head.scheme)
        } else {
            None
        }
    };
    out.iter().filter_map(of_request).collect()
}

#[test]
fn of_a_credential_only_the_class_passes_in_http1() {
    let (out, _) = events(&[
        w("GET /p HTTP/1.1\r\nAuthorization: Bearer sk-ant-oat01-canary\r\n\r\n"),
        w("GET /p HTTP/1.1\r\nX-Api-Key: canary\r\n\r\n"),
        w("GET /p?key=canary HTTP/1.1\r\n\r\n"),
        w("GET /p?other=canary HTTP/1.1\r\nCookie: canary\r\n\r\n"),
    ]);
    let expected = [
        Scheme::AnthropicLogin,
        Scheme::Key,
        Scheme::Key,
        Scheme::None,
    ];
    assert_eq!(schemes(&out), expected);
}

#[test]
fn waiting_exchanges_are_given_up_at_the_deadline() {
    let mut stage = Http::new(Limits::default());
    let (mut out, mut stats) = (Vec::new(), Stats::default());
    stage.handle(
        Segment::Open {
            at: at(2),
            conn: CONN,
        },
        &mut stats,
        &mut out,
    );
    assert_eq!(stage.deadline(), None);
    let request = w("POST /p HTTP/1.1\r\nContent-Length: 2\r\n\r\na");
    stage.handle(segment(CONN, &request), &mut stats, &mut out);
    let deadline = at(2) + super::EXCHANGE_IDLE;
    assert_eq!(stage.deadline(), Some(deadline));
    let later = Segment::Data {
        at: at(5),
        conn: CONN,
        direction: Written,
        bytes: b"b".to_vec().into(),
    };
    stage.handle(later, &mut stats, &mut out);
    stage.expire(deadline, &mut stats, &mut out);
    assert_eq!(stage.deadline(), Some(at(5) + super::EXCHANGE_IDLE));
    stage.expire(at(5) + super::EXCHANGE_IDLE, &mut stats, &mut out);
    assert_eq!(stage.deadline(), None);
    // What comes after all answers nothing; the connection goes on with its next request.
    for step in [
        r("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"),
        w("GET /next HTTP/1.1\r\n\r\n"),
        r("HTTP/1.1 204 No Content\r\n\r\n"),
        closed(),
    ] {
        stage.handle(segment(CONN, &step), &mut stats, &mut out);
    }
    let expected = [
        "0 Client POST /p",
        "0 > ab",
        "0 > Complete",
        "0 < Cut",
        "1 Client GET /next",
        "1 > Complete",
        "1 < 204",
        "1 < Complete",
        "closed",
    ];
    assert_eq!(shown(&out), expected);
}

#[test]
fn a_head_that_never_ends_is_given_up_at_the_deadline() {
    let mut stage = Http::new(Limits::default());
    let (mut out, mut stats) = (Vec::new(), Stats::default());
    stage.handle(
        Segment::Open {
            at: at(2),
            conn: CONN,
        },
        &mut stats,
        &mut out,
    );
    stage.handle(
        segment(CONN, &w("GET /slow HTTP/1.1\r\nA:")),
        &mut stats,
        &mut out,
    );
    assert_eq!(stage.buffered_bytes(), 22);
    let deadline = stage.deadline().unwrap();
    stage.expire(deadline, &mut stats, &mut out);
    assert_eq!((stage.buffered_bytes(), stage.deadline()), (0, None));
    for step in [
        w(" b\r\n\r\n"),
        w("GET /a HTTP/1.1\r\n\r\n"),
        r("HTTP/1.1 204 No\r\n\r\n"),
    ] {
        stage.handle(segment(CONN, &step), &mut stats, &mut out);
    }
    let expected = ["0 Client GET /a", "0 > Complete", "0 < 204", "0 < Complete"];
    assert_eq!(shown(&out), expected);
}

#[test]
fn bytes_held_back_over_the_common_limit_dismiss_the_longest_silent_connections() {
    let limits = Limits {
        buffered_bytes: 4_000,
        ..Limits::default()
    };
    let mut stage = Http::new(limits);
    let (mut out, mut stats) = (Vec::new(), Stats::default());
    let head = format!("GET /a HTTP/1.1\r\nA: {}", "a".repeat(980)).into_bytes();
    for pid in 0..20 {
        let conn = ConnId { pid, ..CONN };
        let time = at(u64::from(pid));
        stage.handle(Segment::Open { at: time, conn }, &mut stats, &mut out);
        let bytes = head.clone().into();
        let data = Segment::Data {
            at: time,
            conn,
            direction: Written,
            bytes,
        };
        stage.handle(data, &mut stats, &mut out);
        assert!(stage.buffered_bytes() <= 4_000);
    }
    let silent_longest: Vec<HttpEvent> = (0..)
        .zip(&out)
        .map(|(pid, event)| {
            // Only when it happens depends on how many are shed at once.
            let at = if let HttpEvent::Dismissed { at, .. } = event {
                *at
            } else {
                at(0)
            };
            let conn = ConnId { pid, ..CONN };
            HttpEvent::Dismissed {
                at,
                conn,
                why: super::Dismissal::OverLimit,
            }
        })
        .collect();
    assert_eq!(out, silent_longest);
    assert_eq!(stats.dismissed_over_limit, out.len() as u64);
    for pid in 0..20 {
        let end = segment(ConnId { pid, ..CONN }, &closed());
        stage.handle(end, &mut stats, &mut out);
    }
    assert_eq!((stage.buffered_bytes(), stage.deadline()), (0, None));
}

#[test]
fn a_slow_connection_costs_less_than_four_kibibytes() {
    let talking = super::conversation::SIZES.iter().sum::<usize>();
    let entry = size_of::<super::stage::Entry>();
    assert!(talking + entry < 4 << 10, "{talking} + {entry}");
}
