//! Laws of stages, for any implementation of them.

use std::collections::BTreeMap;

use agent_core::connection::Segment;
use agent_core::event::Plaintext;
use agent_core::http::{BodyEnd, ExchangeId, HttpEvent, Role};

use crate::script;

/// The split law: `run` gives the same for the same bytes in one piece, in pieces of a few bytes,
/// and byte by byte. How a body is cut may differ; what it says may not. Only of a body that is
/// refused more may come out in one case than in the other: how far a decoder sees into the piece
/// that breaks it is its own affair.
pub fn split(segments: &[Segment], run: impl Fn(Vec<Segment>) -> Vec<HttpEvent>) {
    let (whole, whole_refused) = without_refused(run(segments.to_vec()));
    for longest in [1, 7] {
        let (cut, cut_refused) = without_refused(run(script::cut(segments, longest)));
        // Not `assert_eq`: a difference in content would print as equal lengths.
        if let Some(at) = (0..whole.len().max(cut.len())).find(|at| whole.get(*at) != cut.get(*at))
        {
            panic!(
                "pieces of {longest} bytes differ in output {at}: {:?} instead of {:?}",
                cut.get(at),
                whole.get(at)
            );
        }
        for (half, bytes) in &whole_refused {
            let other = cut_refused.get(half).map_or(&[][..], |bytes| bytes);
            let is_same = bytes.starts_with(other) || other.starts_with(bytes);
            assert!(is_same, "pieces of {longest} bytes differ in {half:?}");
        }
    }
}

/// One body or message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Half {
    Request(ExchangeId),
    Response(ExchangeId),
    /// By its sender's messages so many came before.
    Message(ExchangeId, Role, usize),
}

/// Counts the messages of each side.
#[derive(Default)]
struct Messages(BTreeMap<Role, usize>);

impl Messages {
    /// The message that an event belongs to.
    fn of(&mut self, event: &HttpEvent) -> Option<Half> {
        match event {
            HttpEvent::Message { id, from, .. } => {
                let number = self.0.get(from).copied().unwrap_or_default();
                Some(Half::Message(*id, *from, number))
            }
            HttpEvent::MessageEnd { id, from, .. } => {
                let count = self.0.entry(*from).or_default();
                *count += 1;
                Some(Half::Message(*id, *from, *count - 1))
            }
            _ => None,
        }
    }
}

/// Takes out the bytes of refused bodies, and joins the pieces of the others.
fn without_refused(mut events: Vec<HttpEvent>) -> (Vec<HttpEvent>, BTreeMap<Half, Vec<u8>>) {
    let end = BodyEnd::Refused;
    let mut messages = Messages::default();
    let mut refused: BTreeMap<Half, Vec<u8>> = events
        .iter()
        .filter_map(|event| match event {
            HttpEvent::RequestEnd { id, end: e, .. } if *e == end => Some(Half::Request(*id)),
            HttpEvent::ResponseEnd { id, end: e, .. } if *e == end => Some(Half::Response(*id)),
            HttpEvent::MessageEnd { end: e, .. } => {
                let message = messages.of(event);
                message.filter(|_| *e == end)
            }
            _ => None,
        })
        .map(|half| (half, Vec::new()))
        .collect();
    let mut messages = Messages::default();
    events.retain(|event| {
        let message = messages.of(event);
        let (half, bytes) = match event {
            HttpEvent::Message { bytes, .. } => match message {
                Some(half) => (half, bytes),
                None => return true,
            },
            HttpEvent::RequestBody { id, bytes } => (Half::Request(*id), bytes),
            HttpEvent::ResponseBody { id, bytes, .. } => (Half::Response(*id), bytes),
            _ => return true,
        };
        refused
            .get_mut(&half)
            .map(|all| all.extend_from_slice(bytes))
            .is_none()
    });
    (joined(events), refused)
}

/// Outputs with neighbouring pieces of one body put together, and without their times.
fn joined(events: Vec<HttpEvent>) -> Vec<HttpEvent> {
    let mut joined: Vec<HttpEvent> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (
                Some(HttpEvent::RequestBody {
                    id: last,
                    bytes: all,
                }),
                HttpEvent::RequestBody { id, bytes },
            ) if *last == id => append(all, &bytes),
            (
                Some(HttpEvent::ResponseBody {
                    id: last,
                    bytes: all,
                    ..
                }),
                HttpEvent::ResponseBody { id, bytes, .. },
            ) if *last == id => append(all, &bytes),
            (
                Some(HttpEvent::Message {
                    id: last,
                    from: sender,
                    bytes: all,
                    ..
                }),
                HttpEvent::Message {
                    id, from, bytes, ..
                },
            ) if (*last, *sender) == (id, from) => append(all, &bytes),
            (_, event) => joined.push(event),
        }
    }
    joined
}

fn append(all: &mut Plaintext, more: &[u8]) {
    *all = Plaintext::from([&**all, more].concat());
}

#[cfg(test)]
mod tests {
    use agent_core::event::Timestamp;

    use super::*;

    fn body(bytes: &Plaintext) -> HttpEvent {
        let id = ExchangeId {
            conn: script::CONNECTION,
            number: 0,
        };
        HttpEvent::ResponseBody {
            at: Timestamp::default(),
            id,
            bytes: bytes.clone(),
        }
    }

    fn bodies(segments: Vec<Segment>) -> Vec<HttpEvent> {
        let bytes = segments.iter().filter_map(|s| {
            if let Segment::Data { bytes, .. } = s {
                Some(bytes)
            } else {
                None
            }
        });
        bytes.map(body).collect()
    }

    #[test]
    fn how_a_body_is_cut_does_not_matter() {
        split(&script::segments(b"some bytes"), bodies);
    }

    #[test]
    #[should_panic(expected = "pieces of 1 bytes differ in output 0")]
    fn a_stage_that_only_looks_at_first_bytes_breaks_the_law() {
        split(&script::segments(b"some bytes"), |segments| {
            bodies(segments).into_iter().take(1).collect()
        });
    }
}
