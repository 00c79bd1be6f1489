//! Turns fuzzed bytes into the life of one connection.
//!
//! A script is nearly plain text, so that a seed can be written by hand and recorded traffic is a
//! seed: bytes stand for themselves, in the direction that was last named. Four values that hardly
//! occur in text are commands.

use std::time::Duration;

use agent_core::connection::{EndReason, Segment};
use agent_core::event::{ConnId, Direction, Event, Plaintext, Timestamp};

/// The other direction from here on.
pub const TURN: u8 = 0xff;
/// As many bytes as the next byte says are missing.
pub const GAP: u8 = 0xfe;
/// A call ends here: what follows arrives in a chunk of its own.
pub const CUT: u8 = 0xfd;
/// As many seconds pass as the next byte says.
pub const WAIT: u8 = 0xfc;

/// The connection of every script.
pub const CONNECTION: ConnId = ConnId {
    pid: 7,
    ssl: 0x5510,
    since: Timestamp::from_nanos(1),
};

/// The script as what the connection stage gives.
pub fn segments(script: &[u8]) -> Vec<Segment> {
    let mut segments = vec![Segment::Open {
        at: CONNECTION.since,
        conn: CONNECTION,
    }];
    let end = play(script, |step| {
        segments.push(match step {
            Step::Data {
                at,
                direction,
                bytes,
                ..
            } => Segment::Data {
                at,
                conn: CONNECTION,
                direction,
                bytes: Plaintext::from(bytes),
            },
            Step::Gap {
                at,
                direction,
                bytes,
            } => Segment::Gap {
                at,
                conn: CONNECTION,
                direction,
                bytes,
            },
        });
    });
    segments.push(Segment::End {
        at: end.at,
        conn: CONNECTION,
        reason: EndReason::Closed,
    });
    segments
}

/// The script as what enters the core.
pub fn events(script: &[u8]) -> Vec<Event> {
    let mut events = vec![
        Event::Clock {
            at: CONNECTION.since,
            unix_ns: 1_800_000_000_000_000_000,
        },
        Event::Opened {
            at: CONNECTION.since,
            conn: CONNECTION,
            comm: "peer".to_owned(),
            uid: 0,
            fd: None,
        },
    ];
    let end = play(script, |step| {
        // A gap shows in the offset of what comes after it.
        if let Step::Data {
            at,
            direction,
            bytes,
            offset,
        } = step
        {
            events.push(Event::Chunk {
                at,
                conn: CONNECTION,
                direction,
                offset,
                during_write: None,
                rest: 0,
                bytes: Plaintext::from(bytes),
            });
        }
    });
    events.push(Event::Closed {
        at: end.at,
        conn: CONNECTION,
        written: end.written,
        read: end.read,
    });
    events
}

/// The same bytes in segments of at most `longest` bytes.
pub fn cut(segments: &[Segment], longest: usize) -> Vec<Segment> {
    let mut pieces = Vec::new();
    for segment in segments {
        let Segment::Data {
            at,
            conn,
            direction,
            bytes,
        } = segment
        else {
            pieces.push(segment.clone());
            continue;
        };
        for start in (0..bytes.len()).step_by(longest.max(1)) {
            let bytes = bytes.slice(start..start + longest.max(1));
            pieces.push(Segment::Data {
                at: *at,
                conn: *conn,
                direction: *direction,
                bytes,
            });
        }
    }
    pieces
}

enum Step {
    Data {
        at: Timestamp,
        direction: Direction,
        offset: u64,
        bytes: Vec<u8>,
    },
    Gap {
        at: Timestamp,
        direction: Direction,
        bytes: u64,
    },
}

/// Where a script ends.
struct End {
    at: Timestamp,
    written: u64,
    read: u64,
}

fn play(script: &[u8], mut each: impl FnMut(Step)) -> End {
    let mut end = End {
        at: CONNECTION.since,
        written: 0,
        read: 0,
    };
    let (mut direction, mut pending) = (Direction::Written, Vec::new());
    let mut bytes = script.iter().copied();
    loop {
        let next = bytes.next();
        if let Some(byte) = next.filter(|byte| *byte < WAIT) {
            pending.push(byte);
            continue;
        }
        if !pending.is_empty() {
            let bytes = std::mem::take(&mut pending);
            let position = end.position(direction);
            let offset = *position;
            *position += bytes.len() as u64;
            end.at = end.at + Duration::from_millis(1);
            each(Step::Data {
                at: end.at,
                direction,
                offset,
                bytes,
            });
        }
        match next {
            Some(TURN) => direction = direction.opposite(),
            Some(GAP) => {
                let missing = u64::from(bytes.next().unwrap_or(0)) + 1;
                *end.position(direction) += missing;
                each(Step::Gap {
                    at: end.at,
                    direction,
                    bytes: missing,
                });
            }
            Some(WAIT) => {
                end.at = end.at + Duration::from_secs(u64::from(bytes.next().unwrap_or(0)));
            }
            Some(_) => {}
            None => return end,
        }
    }
}

impl End {
    fn position(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::Written => &mut self.written,
            Direction::Read => &mut self.read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(at_ms: u64, direction: Direction, bytes: &str) -> Segment {
        let at = CONNECTION.since + Duration::from_millis(at_ms);
        Segment::Data {
            at,
            conn: CONNECTION,
            direction,
            bytes: Plaintext::from(bytes.as_bytes().to_vec()),
        }
    }

    #[test]
    fn text_is_data_and_four_values_are_commands() {
        let at = CONNECTION.since + Duration::from_millis(1);
        let gap = Segment::Gap {
            at,
            conn: CONNECTION,
            direction: Direction::Read,
            bytes: 3,
        };
        let late = CONNECTION.since + Duration::from_millis(5_003);

        assert_eq!(
            segments(b"GET\xff\xfe\x02 OK\xfda\xfc\x05"),
            [
                Segment::Open {
                    at: CONNECTION.since,
                    conn: CONNECTION
                },
                data(1, Direction::Written, "GET"),
                gap,
                data(2, Direction::Read, " OK"),
                data(3, Direction::Read, "a"),
                Segment::End {
                    at: late,
                    conn: CONNECTION,
                    reason: EndReason::Closed
                },
            ]
        );
    }

    #[test]
    fn a_gap_is_a_jump_of_the_offset() {
        let offsets: Vec<_> = events(b"ab\xfe\x00c")
            .into_iter()
            .filter_map(|event| {
                if let Event::Chunk { offset, .. } = event {
                    Some(offset)
                } else {
                    None
                }
            })
            .collect();

        assert_eq!(offsets, [0, 3]);
    }

    #[test]
    fn cutting_keeps_the_bytes() {
        let pieces = cut(&[data(1, Direction::Read, "abcde")], 2);

        assert_eq!(
            pieces,
            ["ab", "cd", "e"].map(|piece| data(1, Direction::Read, piece))
        );
    }
}
