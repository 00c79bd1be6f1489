//! Turns ring records into events: pure, and without trust in any length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use agent_common::record::{Connected, Exec, Opened, RecordHeader, Traffic, family, kind};
use bytes::Bytes;
use zerocopy::FromBytes as _;

use super::{ConnId, Direction, Event, Handshake, Plaintext, SocketId, Timestamp};

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
        kind::WRITTEN => Event::Chunk {
            at,
            conn,
            direction: Direction::Written,
            offset: header.offset,
            during_write: None,
            rest: header
                .aux
                .saturating_sub(header.offset)
                .saturating_sub(u64::from(header.payload_bytes)),
            bytes: Plaintext::new(Bytes::copy_from_slice(payload)),
        },
        kind::READ => Event::Chunk {
            at,
            conn,
            direction: Direction::Read,
            offset: header.offset,
            during_write: header.aux.checked_sub(1),
            rest: 0,
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
        kind::CONNECTED => {
            let (connected, _) =
                Connected::read_from_prefix(payload).map_err(|_too_short| Malformed::Short)?;
            Event::Connected {
                at,
                socket: SocketId(header.aux),
                pid: header.pid,
                comm: text(&connected.comm),
                uid: connected.uid,
                peer: peer(&connected),
                fd: (connected.fd >= 0).then_some(connected.fd),
            }
        }
        kind::HELLO => Event::Hello {
            at,
            socket: SocketId(header.aux),
            pid: header.pid,
            bytes: Handshake::new(Bytes::copy_from_slice(payload)),
        },
        kind::BOUND => Event::Bound {
            at,
            conn,
            socket: SocketId(header.aux),
        },
        kind::CARRIED => Event::Carried {
            at,
            socket: SocketId(header.aux),
        },
        kind::SOCKET_CLOSED => {
            let (traffic, _) =
                Traffic::read_from_prefix(payload).map_err(|_too_short| Malformed::Short)?;
            Event::SocketClosed {
                at,
                socket: SocketId(header.aux),
                bytes: traffic.sent.saturating_add(traffic.received),
            }
        }
        other => return Err(Malformed::Kind(other)),
    })
}

/// Where a socket is connected to; an IPv4 address that is written as one of IPv6 is what it is.
fn peer(connected: &Connected) -> Option<SocketAddr> {
    let ip = match connected.family {
        family::INET => {
            let [a, b, c, d, ..] = connected.address;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        family::INET6 => IpAddr::V6(Ipv6Addr::from(connected.address)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, connected.port))
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
        let chunk = Event::Chunk {
            at: AT,
            conn: CONN,
            direction: Direction::Read,
            offset: 9,
            during_write: Some(12),
            rest: 0,
            bytes: Plaintext::from(b"hello".to_vec()),
        };
        assert_eq!(decode(&bytes), Ok(chunk));
    }

    #[test]
    fn a_chunk_says_what_of_its_call_follows_or_which_write_was_under_way() {
        for (kind, aux, expected) in [
            (kind::WRITTEN, 0, (None, 0)),
            (kind::WRITTEN, 10, (None, 0)),
            (kind::WRITTEN, 13, (None, 3)),
            (kind::READ, 0, (None, 0)),
            (kind::READ, 1, (Some(0), 0)),
            (kind::READ, u64::MAX, (Some(u64::MAX - 1), 0)),
        ] {
            // One byte, at the offset 9.
            let mut record = record(kind, b"x");
            let header = RecordHeader {
                aux,
                ..header(kind, 1)
            };
            record[..size_of::<RecordHeader>()].copy_from_slice(header.as_bytes());
            let Ok(Event::Chunk {
                during_write, rest, ..
            }) = decode(&record)
            else {
                panic!("kind {kind} is no chunk");
            };
            assert_eq!((during_write, rest), expected, "kind {kind}, {aux}");
        }
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

    fn connected(family: u16, address: [u8; 16]) -> Result<Event, Malformed> {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"curl");
        let connected = Connected {
            comm,
            address,
            family,
            port: 443,
            fd: 6,
            uid: 1000,
            reserved: 0,
        };
        decode(&record(kind::CONNECTED, connected.as_bytes()))
    }

    #[test]
    fn a_connected_socket_has_its_peer_s_address() {
        let v4 = [127, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
        let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let mapped: Ipv6Addr = "::ffff:127.0.0.1".parse().unwrap();
        for (family, address, peer) in [
            (family::INET, v4, Some("127.0.0.1:443")),
            (family::INET6, v6.octets(), Some("[2001:db8::1]:443")),
            (family::INET6, mapped.octets(), Some("127.0.0.1:443")),
            (family::UNKNOWN, v4, None),
            (99, v4, None),
        ] {
            assert_eq!(
                connected(family, address),
                Ok(Event::Connected {
                    at: AT,
                    socket: SocketId(13),
                    pid: 10,
                    comm: "curl".to_owned(),
                    uid: 1000,
                    peer: peer.map(|peer| peer.parse().unwrap()),
                    fd: Some(6),
                })
            );
        }
    }

    #[test]
    fn the_life_of_a_socket_is_decoded_whole() {
        let socket = SocketId(13);
        let traffic = Traffic {
            sent: 5,
            received: u64::MAX,
        };
        for (kind, payload, event) in [
            (
                kind::HELLO,
                &b"\x16\x03\x01"[..],
                Event::Hello {
                    at: AT,
                    socket,
                    pid: 10,
                    bytes: Handshake::from(b"\x16\x03\x01".to_vec()),
                },
            ),
            (
                kind::BOUND,
                &[],
                Event::Bound {
                    at: AT,
                    conn: CONN,
                    socket,
                },
            ),
            (
                kind::CARRIED,
                traffic.as_bytes(),
                Event::Carried { at: AT, socket },
            ),
            (
                kind::SOCKET_CLOSED,
                traffic.as_bytes(),
                Event::SocketClosed {
                    at: AT,
                    socket,
                    bytes: u64::MAX,
                },
            ),
        ] {
            assert_eq!(decode(&record(kind, payload)), Ok(event));
        }
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
        assert_eq!(
            decode(&record(kind::CONNECTED, &[0; 47])),
            Err(Malformed::Short)
        );
        assert_eq!(
            decode(&record(kind::SOCKET_CLOSED, &[0; 15])),
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
