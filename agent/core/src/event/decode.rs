//! Turns ring records into events: pure, and without trust in any length.

use agent_common::record::{Exec, Opened, RecordHeader, kind};
use bytes::Bytes;
use zerocopy::FromBytes as _;

use super::{ConnId, Direction, Event, Plaintext, Timestamp};

/// Why a ring record is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its header or its kind's payload.
    Short,
    /// The payload length exceeds the record.
    Length,
    /// A kind that this version does not know.
    Kind(u32),
}

/// Decodes one ring record. Bytes behind the announced payload are left over from earlier records
/// and never looked at.
pub fn decode(record: &[u8]) -> Result<Event, Malformed> {
    let Ok((header, rest)) = RecordHeader::read_from_prefix(record) else {
        return Err(Malformed::Short);
    };
    let payload_bytes = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX);
    let payload = rest.get(..payload_bytes).ok_or(Malformed::Length)?;
    let at = Timestamp::from_nanos(header.at_ns);
    let conn = ConnId {
        pid: header.pid,
        ssl: header.ssl,
        since: Timestamp::from_nanos(header.since_ns),
    };
    Ok(match header.kind {
        kind::WRITTEN | kind::READ => Event::Chunk {
            at,
            conn,
            direction: if header.kind == kind::WRITTEN {
                Direction::Written
            } else {
                Direction::Read
            },
            offset: header.offset,
            bytes: Plaintext::new(Bytes::copy_from_slice(payload)),
        },
        kind::OPENED => {
            let (opened, _) =
                Opened::read_from_prefix(payload).map_err(|_too_short| Malformed::Short)?;
            Event::Opened {
                at,
                conn,
                comm: text(&opened.comm),
                uid: opened.uid,
                fd: (opened.fd >= 0).then_some(opened.fd),
            }
        }
        kind::CLOSED => Event::Closed {
            at,
            conn,
            written: header.offset,
            read: header.aux,
        },
        kind::SERVER_NAME => Event::ServerName {
            at,
            conn,
            name: text(payload),
        },
        kind::EXEC => {
            let (exec, _) =
                Exec::read_from_prefix(payload).map_err(|_too_short| Malformed::Short)?;
            Event::Exec {
                at,
                pid: header.pid,
                comm: text(&exec.comm),
                uid: exec.uid,
            }
        }
        kind::EXIT => Event::Exit {
            at,
            pid: header.pid,
        },
        other => return Err(Malformed::Kind(other)),
    })
}

/// Text up to the first zero, with anything that is no UTF-8 replaced and control characters
/// dropped: it ends in reports.
fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let (text, _) = bytes.split_at(end);
    String::from_utf8_lossy(text)
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use agent_common::record::MAX_PAYLOAD_BYTES;
    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    use super::*;

    fn header(kind: u32, payload_bytes: u32) -> RecordHeader {
        RecordHeader {
            kind,
            payload_bytes,
            pid: 10,
            tid: 11,
            ssl: 0xdead_beef,
            since_ns: 5,
            at_ns: 7,
            offset: 9,
            aux: 13,
        }
    }

    fn record(kind: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = header(kind, u32::try_from(payload.len()).unwrap())
            .as_bytes()
            .to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    const CONN: ConnId = ConnId {
        pid: 10,
        ssl: 0xdead_beef,
        since: Timestamp::from_nanos(5),
    };
    const AT: Timestamp = Timestamp::from_nanos(7);

    #[test]
    fn a_data_record_is_a_chunk_without_the_slack_behind_it() {
        let mut bytes = record(kind::READ, b"hello");
        bytes.extend_from_slice(b"another process's secret");
        assert_eq!(
            decode(&bytes),
            Ok(Event::Chunk {
                at: AT,
                conn: CONN,
                direction: Direction::Read,
                offset: 9,
                bytes: Plaintext::from(b"hello".to_vec()),
            })
        );
    }

    #[test]
    fn notices_are_decoded_whole() {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"curl");
        let opened = Opened {
            comm,
            cgroup_id: 1,
            uid: 1000,
            fd: -1,
        };
        assert_eq!(
            decode(&record(kind::OPENED, opened.as_bytes())),
            Ok(Event::Opened {
                at: AT,
                conn: CONN,
                comm: "curl".to_owned(),
                uid: 1000,
                fd: None
            })
        );
        let exec = Exec {
            comm,
            cgroup_id: 1,
            uid: 1000,
            reserved: 0,
        };
        assert_eq!(
            decode(&record(kind::EXEC, exec.as_bytes())),
            Ok(Event::Exec {
                at: AT,
                pid: 10,
                comm: "curl".to_owned(),
                uid: 1000
            })
        );
        assert_eq!(
            decode(&record(kind::CLOSED, &[])),
            Ok(Event::Closed {
                at: AT,
                conn: CONN,
                written: 9,
                read: 13
            })
        );
        assert_eq!(
            decode(&record(kind::EXIT, &[])),
            Ok(Event::Exit { at: AT, pid: 10 })
        );
    }

    #[test]
    fn control_characters_do_not_enter_with_a_name() {
        assert_eq!(
            decode(&record(kind::SERVER_NAME, b"api\x1b[31m.example\0rest")),
            Ok(Event::ServerName {
                at: AT,
                conn: CONN,
                name: "api[31m.example".to_owned()
            })
        );
    }

    #[test]
    fn lengths_are_not_believed() {
        assert_eq!(decode(&[0; 55]), Err(Malformed::Short));
        assert_eq!(
            decode(header(kind::READ, 1).as_bytes()),
            Err(Malformed::Length)
        );
        assert_eq!(
            decode(header(kind::READ, u32::MAX).as_bytes()),
            Err(Malformed::Length)
        );
        assert_eq!(
            decode(&record(kind::OPENED, &[0; 31])),
            Err(Malformed::Short)
        );
        assert_eq!(decode(&record(99, &[])), Err(Malformed::Kind(99)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_chunk_exceeds_its_record(
            bytes in proptest::collection::vec(any::<u8>(), 0..MAX_PAYLOAD_BYTES / 16),
        ) {
            if let Ok(Event::Chunk { bytes: chunk, .. }) = decode(&bytes) {
                prop_assert!(chunk.len() <= bytes.len());
            }
        }
    }
}
