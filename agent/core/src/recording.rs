//! Format of a recorded run: ring records and process facts, as bytes to bytes.
//!
//! ```text
//! header: "bpftok recording\n" | u32 WIRE_VERSION | u32 byte-order mark 0x01020304
//! frame:  u8 tag | u32 length | `length` bytes
//!         tag 1: a ring record, cut to its payload
//!         tag 2: facts about a process, JSON
//!         tag 3: u64 boot clock ns | u64 Unix ns
//!         tag 4: u64 boot clock ns | u64 CPU | u64 records lost | u64 bytes lost
//! ```
//! The frames without the header are also what the capturing side of the agent sends to the
//! parsing side: a plain byte stream, so that the two can become two processes.
//! Integers have the byte order of the machine that recorded, like the ring records themselves.
//! A recording holds plaintext: whoever writes one to disk keeps it private.

use std::sync::Arc;

use agent_common::WIRE_VERSION;
use agent_common::record::{MAX_PAYLOAD_BYTES, RecordHeader};
use thiserror::Error;
use zerocopy::FromBytes as _;

use crate::event::{Event, Malformed, Process, Timestamp, decode};

const MAGIC: &[u8] = b"bpftok recording\n";
const BYTE_ORDER_MARK: u32 = 0x0102_0304;

/// LIMIT: longest frame that is read, in bytes: a full record, or the facts of one process with
/// long paths. A longer one means that the file is damaged.
pub const MAX_FRAME_BYTES: usize = MAX_PAYLOAD_BYTES + 64 * 1_024;

const TAG_RECORD: u8 = 1;
const TAG_PROCESS: u8 = 2;
const TAG_CLOCK: u8 = 3;
const TAG_LOST: u8 = 4;

/// Why a recording can't be read.
#[derive(Debug, Error)]
pub enum Error {
    /// It does not start like a recording.
    #[error("this is no recording of bpftok")]
    NoRecording,
    /// Its records have another layout.
    #[error("it was made with record layout {found}, this program reads {WIRE_VERSION}")]
    Version {
        /// Layout of the file.
        found: u32,
    },
    /// Another machine's byte order.
    #[error("it was made on a machine with the other byte order")]
    ByteOrder,
    /// It ends in the middle of a frame, or a length is impossible.
    #[error("it is damaged at byte {at}")]
    Damaged {
        /// Where the frame starts.
        at: usize,
    },
    /// Facts about a process can't be read.
    #[error("facts about a process are unreadable")]
    Process(#[source] serde_json::Error),
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A ring record.
    Record(&'a [u8]),
    /// Facts about a process.
    Process(Arc<Process>),
    /// The wall clock.
    Clock {
        /// Moment on the boot clock.
        at: Timestamp,
        /// The same moment in nanoseconds since the Unix epoch.
        unix_ns: u64,
    },
    /// Records that the kernel lost since the last such frame.
    Lost {
        /// When the counters were read.
        at: Timestamp,
        /// CPU.
        cpu: u64,
        /// Records.
        records: u64,
        /// Bytes.
        bytes: u64,
    },
}

impl Frame<'_> {
    /// What the line is told.
    pub fn event(&self) -> Result<Event, Malformed> {
        match self {
            Self::Record(record) => decode(record),
            Self::Process(process) => Ok(Event::Process(Arc::clone(process))),
            Self::Clock { at, unix_ns } => Ok(Event::Clock {
                at: *at,
                unix_ns: *unix_ns,
            }),
            Self::Lost {
                at,
                cpu,
                records,
                bytes,
            } => Ok(Event::Lost {
                at: *at,
                cpu: u32::try_from(*cpu).unwrap_or(u32::MAX),
                records: *records,
                bytes: *bytes,
            }),
        }
    }
}

/// The start of a recording.
pub fn header() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&WIRE_VERSION.to_ne_bytes());
    bytes.extend_from_slice(&BYTE_ORDER_MARK.to_ne_bytes());
    bytes
}

/// Appends a ring record, without the slack behind its payload, which may hold another process's
/// plaintext. A record whose length can't be right is left out.
pub fn push_record(out: &mut Vec<u8>, record: &[u8]) {
    let Ok((header, _)) = RecordHeader::read_from_prefix(record) else {
        return;
    };
    let length = usize::try_from(header.payload_bytes)
        .ok()
        .and_then(|payload| payload.checked_add(size_of::<RecordHeader>()));
    if let Some(record) = length.and_then(|length| record.get(..length)) {
        push_frame(out, TAG_RECORD, record);
    }
}

/// Appends facts about a process.
pub fn push_process(out: &mut Vec<u8>, process: &Process) {
    // Strings and integers: serialising them can't fail.
    if let Ok(json) = serde_json::to_vec(process) {
        push_frame(out, TAG_PROCESS, &json);
    }
}

/// Appends the wall clock.
pub fn push_clock(out: &mut Vec<u8>, at: Timestamp, unix_ns: u64) {
    push_numbers(out, TAG_CLOCK, &[at.as_nanos(), unix_ns]);
}

/// Appends what one CPU lost since the last such frame.
pub fn push_lost(out: &mut Vec<u8>, at: Timestamp, cpu: u64, records: u64, bytes: u64) {
    push_numbers(out, TAG_LOST, &[at.as_nanos(), cpu, records, bytes]);
}

fn push_numbers(out: &mut Vec<u8>, tag: u8, numbers: &[u64]) {
    let bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_ne_bytes())
        .collect();
    push_frame(out, tag, &bytes);
}

fn push_frame(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    let Ok(length) = u32::try_from(bytes.len()) else {
        return;
    };
    out.push(tag);
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(bytes);
}

/// Reads a whole recording. Frames with an unknown tag are passed over.
pub fn read(bytes: &[u8]) -> Result<Vec<Frame<'_>>, Error> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(Error::NoRecording)?;
    let (version, rest) = take_u32(rest).ok_or(Error::NoRecording)?;
    let (mark, rest) = take_u32(rest).ok_or(Error::NoRecording)?;
    if mark != BYTE_ORDER_MARK {
        return Err(Error::ByteOrder);
    }
    if version != WIRE_VERSION {
        return Err(Error::Version { found: version });
    }
    let header_bytes = bytes.len().saturating_sub(rest.len());
    frames(rest)
        .collect::<Result<_, _>>()
        .map_err(|error| match error {
            Error::Damaged { at } => Error::Damaged {
                at: at.saturating_add(header_bytes),
            },
            other @ (Error::NoRecording
            | Error::Version { .. }
            | Error::ByteOrder
            | Error::Process(_)) => other,
        })
}

/// Reads frames without a header, one by one; ends after the first error.
pub fn frames(bytes: &[u8]) -> impl Iterator<Item = Result<Frame<'_>, Error>> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        loop {
            let unread = rest.take().filter(|unread| !unread.is_empty())?;
            let at = bytes.len().saturating_sub(unread.len());
            match next_frame(unread) {
                None => return Some(Err(Error::Damaged { at })),
                Some((frame, after)) => match frame.transpose() {
                    Some(frame) => {
                        rest = frame.is_ok().then_some(after);
                        return Some(frame);
                    }
                    None => rest = Some(after),
                },
            }
        }
    })
}

/// The frame at the start of `bytes`, if its tag is known, and what follows it; `None` if it is
/// damaged.
type Parsed<'a> = (Result<Option<Frame<'a>>, Error>, &'a [u8]);

fn next_frame(bytes: &[u8]) -> Option<Parsed<'_>> {
    let (tag, after_tag) = bytes.split_first()?;
    let (length, after_length) = take_u32(after_tag)?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= MAX_FRAME_BYTES)?;
    let (frame, after) = after_length.split_at_checked(length)?;
    let frame = match *tag {
        TAG_RECORD => Ok(Some(Frame::Record(frame))),
        TAG_PROCESS => serde_json::from_slice(frame)
            .map(|process| Some(Frame::Process(Arc::new(process))))
            .map_err(Error::Process),
        TAG_CLOCK => {
            let (at, rest) = take_u64(frame)?;
            let (unix_ns, _) = take_u64(rest)?;
            Ok(Some(Frame::Clock {
                at: Timestamp::from_nanos(at),
                unix_ns,
            }))
        }
        TAG_LOST => {
            let (at, rest) = take_u64(frame)?;
            let (cpu, rest) = take_u64(rest)?;
            let (records, rest) = take_u64(rest)?;
            let (bytes, _) = take_u64(rest)?;
            Ok(Some(Frame::Lost {
                at: Timestamp::from_nanos(at),
                cpu,
                records,
                bytes,
            }))
        }
        _ => Ok(None),
    };
    Some((frame, after))
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_ne_bytes(*number), rest))
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_ne_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use agent_common::record::kind;
    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::event::{FactSource, ProcId};

    fn process() -> Process {
        Process {
            id: ProcId {
                pid: 7,
                start_ticks: 99,
            },
            exe: Some("/usr/bin/curl".to_owned()),
            comm: "curl".to_owned(),
            argv0: Some("curl".to_owned()),
            uid: 1000,
            user_name: Some("dana".to_owned()),
            started_ns: 1,
            source: FactSource::Proc,
            ..Process::default()
        }
    }

    fn record(payload: &[u8]) -> Vec<u8> {
        let header = RecordHeader {
            kind: kind::WRITTEN,
            payload_bytes: u32::try_from(payload.len()).unwrap(),
            pid: 7,
            tid: 7,
            ssl: 1,
            since_ns: 2,
            at_ns: 3,
            offset: 0,
            aux: 0,
        };
        [header.as_bytes(), payload].concat()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut bytes = header();
        push_clock(&mut bytes, Timestamp::from_nanos(5), 6);
        push_process(&mut bytes, &process());
        let record = record(b"POST");
        push_record(&mut bytes, &record);
        push_lost(&mut bytes, Timestamp::from_nanos(8), 1, 2, 300);
        assert_eq!(
            read(&bytes).unwrap(),
            [
                Frame::Clock {
                    at: Timestamp::from_nanos(5),
                    unix_ns: 6
                },
                Frame::Process(Arc::new(process())),
                Frame::Record(&record),
                Frame::Lost {
                    at: Timestamp::from_nanos(8),
                    cpu: 1,
                    records: 2,
                    bytes: 300
                },
            ]
        );
    }

    #[test]
    fn a_frame_of_a_later_version_is_passed_over() {
        let mut bytes = header();
        push_frame(&mut bytes, 99, b"what will be");
        push_clock(&mut bytes, Timestamp::from_nanos(5), 6);
        assert_eq!(
            read(&bytes).unwrap(),
            [Frame::Clock {
                at: Timestamp::from_nanos(5),
                unix_ns: 6
            }]
        );
    }

    #[test]
    fn the_slack_behind_a_payload_is_not_recorded() {
        let mut with_slack = record(b"POST");
        with_slack.extend_from_slice(b"another process's secret");
        let mut bytes = header();
        push_record(&mut bytes, &with_slack);
        assert_eq!(read(&bytes).unwrap(), [Frame::Record(&record(b"POST"))]);
    }

    #[test]
    fn other_files_versions_and_damage_are_told_apart() {
        assert!(matches!(read(b"GIF89a"), Err(Error::NoRecording)));
        let mut other = header();
        other[MAGIC.len()] = 99;
        assert!(matches!(read(&other), Err(Error::Version { found: 99 })));
        let mut swapped = header();
        swapped[MAGIC.len() + 4..].reverse();
        assert!(matches!(read(&swapped), Err(Error::ByteOrder)));
        let mut cut = header();
        push_record(&mut cut, &record(b"POST"));
        let at = header().len();
        cut.pop();
        assert!(matches!(read(&cut), Err(Error::Damaged { at: found }) if found == at));
    }

    proptest! {
        #[test]
        fn no_bytes_behind_the_header_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let mut recording = header();
            recording.extend_from_slice(&bytes);
            if let Ok(frames) = read(&recording) {
                prop_assert!(frames.len() <= bytes.len());
            }
        }
    }
}
