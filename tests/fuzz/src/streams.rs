//! Turns fuzzed bytes into a connection that speaks HTTP/2.
//!
//! Frames are binary and have lengths, so plain bytes would hardly ever become some: a script is a
//! list of steps, and the lengths of frames are right unless a step says otherwise.
//!
//! | first byte of a step | then |
//! |---|---|
//! | [`FRAME`] | type, flags, stream, length, so many bytes: a frame of them |
//! | [`RAW`] | length, so many bytes as they are |
//! | [`GAP`] | so many bytes and one are missing |
//! | [`PREFACE`] | the client's preface |
//! | [`CALL`] | what comes next arrives in a call of its own |
//! | [`WAIT`] | so many seconds pass |
//!
//! A step that is a value of its own (`| READ`) is one of the direction that is read. Other values
//! are skipped.

use std::time::Duration;

use agent_core::connection::{EndReason, Segment};
use agent_core::event::{Direction, Plaintext, Timestamp};

use crate::script::CONNECTION;

pub const FRAME: u8 = 0;
pub const RAW: u8 = 1;
pub const GAP: u8 = 2;
pub const PREFACE: u8 = 3;
pub const CALL: u8 = 4;
pub const WAIT: u8 = 5;

/// Added to a step that is one of the direction that is read.
pub const READ: u8 = 8;

struct Play {
    at: Timestamp,
    segments: Vec<Segment>,
    pending: [Vec<u8>; 2],
}

const DIRECTIONS: [Direction; 2] = [Direction::Written, Direction::Read];

impl Play {
    /// Ends the call that is being made in a direction.
    fn end_call(&mut self, side: usize) {
        let bytes = std::mem::take(&mut self.pending[side]);
        if !bytes.is_empty() {
            self.segments.push(Segment::Data {
                at: self.at,
                conn: CONNECTION,
                direction: DIRECTIONS[side],
                bytes: Plaintext::from(bytes),
            });
        }
    }
}

/// The script as what the connection stage gives.
pub fn segments(script: &[u8]) -> Vec<Segment> {
    let mut play = Play {
        at: CONNECTION.since,
        segments: vec![Segment::Open {
            at: CONNECTION.since,
            conn: CONNECTION,
        }],
        pending: [Vec::new(), Vec::new()],
    };
    let mut bytes = script.iter().copied();
    while let Some(step) = bytes.next() {
        let side = usize::from(step & READ != 0);
        match step & !READ {
            FRAME => {
                let [kind, flags, stream, length] =
                    std::array::from_fn(|_| bytes.next().unwrap_or(0));
                let payload: Vec<u8> = bytes.by_ref().take(length.into()).collect();
                // Calls of the two directions come in the order in which they end.
                play.end_call(1 - side);
                let pending = &mut play.pending[side];
                pending.extend([0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream]);
                pending.extend(payload);
            }
            RAW => {
                let length = bytes.next().unwrap_or(0);
                play.end_call(1 - side);
                play.pending[side].extend(bytes.by_ref().take(length.into()));
            }
            GAP => {
                play.end_call(side);
                play.segments.push(Segment::Gap {
                    at: play.at,
                    conn: CONNECTION,
                    direction: DIRECTIONS[side],
                    bytes: u64::from(bytes.next().unwrap_or(0)) + 1,
                });
            }
            PREFACE => {
                play.end_call(1 - side);
                play.pending[side].extend(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            }
            CALL => play.end_call(side),
            WAIT => {
                play.end_call(0);
                play.end_call(1);
                let seconds = bytes.next().unwrap_or(0);
                play.at = play.at + Duration::from_secs(seconds.into());
            }
            _ => {}
        }
    }
    play.end_call(0);
    play.end_call(1);
    play.segments.push(Segment::End {
        at: play.at,
        conn: CONNECTION,
        reason: EndReason::Closed,
    });
    play.segments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(at_s: u64, direction: Direction, bytes: &[u8]) -> Segment {
        Segment::Data {
            at: CONNECTION.since + Duration::from_secs(at_s),
            conn: CONNECTION,
            direction,
            bytes: Plaintext::from(bytes.to_vec()),
        }
    }

    #[test]
    fn steps_become_frames_and_gaps() {
        let script = [
            &[PREFACE, RAW, 1, b'a', CALL][..],
            &[FRAME, 1, 5, 3, 2, b'b', b'c'],
            &[
                READ | RAW,
                1,
                b'd',
                READ | GAP,
                4,
                WAIT,
                9,
                0xff,
                RAW,
                2,
                b'e',
            ],
        ];

        assert_eq!(
            segments(&script.concat()),
            [
                Segment::Open {
                    at: CONNECTION.since,
                    conn: CONNECTION
                },
                data(0, Direction::Written, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\na"),
                data(0, Direction::Written, b"\0\0\x02\x01\x05\0\0\0\x03bc"),
                data(0, Direction::Read, b"d"),
                Segment::Gap {
                    at: CONNECTION.since,
                    conn: CONNECTION,
                    direction: Direction::Read,
                    bytes: 5
                },
                data(9, Direction::Written, b"e"),
                Segment::End {
                    at: CONNECTION.since + Duration::from_secs(9),
                    conn: CONNECTION,
                    reason: EndReason::Closed
                },
            ]
        );
    }
}
