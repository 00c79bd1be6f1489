//! Tables and laws of the connection stage.

mod order;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::{Connections, EndReason, Limits, Segment};
use crate::event::{ConnId, Direction, Event, Plaintext, Timestamp};
use crate::stats::Stats;

use Direction::{Read, Written};

const fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

const fn conn(pid: u32, ssl: u64, since: u64) -> ConnId {
    ConnId {
        pid,
        ssl,
        since: at(since),
    }
}

const ONE: ConnId = conn(1, 0x10, 1);

fn bytes(text: &str) -> Plaintext {
    text.as_bytes().to_vec().into()
}

fn chunk(time: u64, conn: ConnId, direction: Direction, offset: u64, text: &str) -> Event {
    Event::Chunk {
        at: at(time),
        conn,
        direction,
        offset,
        during_write: None,
        rest: 0,
        bytes: bytes(text),
    }
}

fn data(time: u64, conn: ConnId, direction: Direction, text: &str) -> Segment {
    Segment::Data {
        at: at(time),
        conn,
        direction,
        bytes: bytes(text),
    }
}

fn gap(time: u64, conn: ConnId, direction: Direction, bytes: u64) -> Segment {
    Segment::Gap {
        at: at(time),
        conn,
        direction,
        bytes,
    }
}

fn open(time: u64, conn: ConnId) -> Segment {
    Segment::Open { at: at(time), conn }
}

fn end(time: u64, conn: ConnId, reason: EndReason) -> Segment {
    Segment::End {
        at: at(time),
        conn,
        reason,
    }
}

fn run(limits: Limits, events: &[Event]) -> (Connections, Vec<Segment>, Stats) {
    let mut stage = Connections::new(limits);
    let (mut out, mut stats) = (Vec::new(), Stats::default());
    for event in events {
        stage.handle(event, &mut stats, &mut out);
    }
    (stage, out, stats)
}

fn segments(events: &[Event]) -> (Vec<Segment>, Stats) {
    let (_, out, stats) = run(Limits::default(), events);
    (out, stats)
}

#[test]
fn chunks_in_order_pass_as_they_are() {
    let (out, stats) = segments(&[
        Event::Opened {
            at: at(1),
            conn: ONE,
            comm: "c".to_owned(),
            uid: 0,
            fd: None,
        },
        Event::ServerName {
            at: at(2),
            conn: ONE,
            name: "host".to_owned(),
        },
        chunk(3, ONE, Written, 0, "abc"),
        chunk(4, ONE, Read, 0, "xy"),
        chunk(5, ONE, Written, 3, "de"),
        Event::Closed {
            at: at(6),
            conn: ONE,
            written: 5,
            read: 2,
        },
    ]);
    let expected = [
        open(1, ONE),
        Segment::ServerName {
            conn: ONE,
            name: "host".to_owned(),
        },
        data(3, ONE, Written, "abc"),
        data(4, ONE, Read, "xy"),
        data(5, ONE, Written, "de"),
        end(6, ONE, EndReason::Closed),
    ];
    assert_eq!(out, expected);
    let expected = Stats {
        written_bytes: 5,
        read_bytes: 2,
        connections_opened: 1,
        ..Stats::default()
    };
    assert_eq!(stats, expected);
}

#[test]
fn a_jump_ahead_is_a_gap_and_a_step_back_is_cut() {
    let (out, stats) = segments(&[
        chunk(1, ONE, Read, 0, "abc"),
        chunk(2, ONE, Read, 5, "fgh"),
        chunk(3, ONE, Read, 0, "abcde"),
        chunk(4, ONE, Read, 6, "ghij"),
    ]);
    let expected = [
        open(1, ONE),
        data(1, ONE, Read, "abc"),
        gap(2, ONE, Read, 2),
        data(2, ONE, Read, "fgh"),
        data(4, ONE, Read, "ij"),
    ];
    assert_eq!(out, expected);
    assert_eq!((stats.gaps, stats.gap_bytes, stats.chunks_stale), (1, 2, 2));
}

#[test]
fn a_connection_joined_midway_opens_with_a_gap() {
    let (out, _) = segments(&[chunk(1, ONE, Read, 7, "abc")]);
    assert_eq!(
        out,
        [
            open(1, ONE),
            gap(1, ONE, Read, 7),
            data(1, ONE, Read, "abc")
        ]
    );
}

#[test]
fn a_loss_at_the_end_is_a_gap_before_the_end() {
    let (out, stats) = segments(&[
        chunk(1, ONE, Written, 0, "abc"),
        Event::Closed {
            at: at(2),
            conn: ONE,
            written: 10,
            read: 4,
        },
    ]);
    let expected = [
        open(1, ONE),
        data(1, ONE, Written, "abc"),
        gap(2, ONE, Written, 7),
        gap(2, ONE, Read, 4),
        end(2, ONE, EndReason::Closed),
    ];
    assert_eq!(out, expected);
    assert_eq!(
        (stats.gaps, stats.gap_bytes, stats.connections_open),
        (2, 11, 0)
    );
}

#[test]
fn an_address_used_again_ends_the_connection_before() {
    let two = conn(1, 0x10, 9);
    let (out, stats) = segments(&[
        chunk(1, ONE, Read, 0, "a"),
        chunk(9, two, Read, 0, "b"),
        chunk(10, ONE, Read, 1, "late"),
    ]);
    let expected = [
        open(1, ONE),
        data(1, ONE, Read, "a"),
        end(9, ONE, EndReason::Replaced),
        open(9, two),
        data(9, two, Read, "b"),
    ];
    assert_eq!(out, expected);
    assert_eq!(stats.chunks_stale, 1);
}

#[test]
fn chunks_of_an_ended_connection_are_stale() {
    let (out, stats) = segments(&[
        chunk(1, ONE, Read, 0, "a"),
        Event::Closed {
            at: at(2),
            conn: ONE,
            written: 0,
            read: 1,
        },
        chunk(3, ONE, Read, 1, "b"),
    ]);
    assert_eq!(out.last(), Some(&end(2, ONE, EndReason::Closed)));
    assert_eq!((stats.chunks_stale, stats.connections_opened), (1, 1));
}

#[test]
fn exit_and_exec_end_the_connections_of_their_process_only() {
    let (two, other) = (conn(1, 0x20, 1), conn(2, 0x10, 1));
    let exec = Event::Exec {
        at: at(4),
        pid: 2,
        comm: String::new(),
        uid: 0,
    };
    let (out, stats) = segments(&[
        chunk(1, ONE, Read, 0, "a"),
        chunk(1, two, Read, 0, "b"),
        chunk(1, other, Read, 0, "c"),
        Event::Exit { at: at(3), pid: 1 },
        exec,
    ]);
    let expected = [
        end(3, ONE, EndReason::Exited),
        end(3, two, EndReason::Exited),
        end(4, other, EndReason::Exited),
    ];
    assert_eq!(out.get(6..), Some(expected.as_slice()));
    assert_eq!(stats.connections_open, 0);
}

#[test]
fn the_longest_silent_connection_is_evicted_at_the_limit() {
    let limits = Limits {
        open: 2,
        ..Limits::default()
    };
    let (two, three) = (conn(1, 0x20, 2), conn(1, 0x30, 4));
    let (_, out, stats) = run(
        limits,
        &[
            chunk(1, ONE, Read, 0, "a"),
            chunk(2, two, Read, 0, "b"),
            chunk(3, ONE, Read, 1, "c"),
            chunk(4, three, Read, 0, "d"),
            chunk(5, two, Read, 1, "e"),
        ],
    );
    let expected = [
        end(4, two, EndReason::Evicted),
        open(4, three),
        data(4, three, Read, "d"),
        end(5, ONE, EndReason::Evicted),
        open(5, two),
        gap(5, two, Read, 1),
        data(5, two, Read, "e"),
    ];
    assert_eq!(out.get(5..), Some(expected.as_slice()));
    assert_eq!((stats.connections_evicted, stats.connections_open), (2, 2));
}

#[test]
fn silence_ends_a_connection_at_its_deadline() {
    let limits = Limits {
        idle: Duration::from_nanos(10),
        ..Limits::default()
    };
    let two = conn(1, 0x20, 2);
    let (mut stage, mut out, mut stats) = run(
        limits,
        &[
            chunk(1, ONE, Read, 0, "a"),
            chunk(2, two, Read, 0, "b"),
            chunk(8, ONE, Read, 1, "c"),
        ],
    );
    assert_eq!(stage.deadline(), Some(at(11)));
    out.clear();
    stage.expire(at(11), &mut stats, &mut out);
    assert_eq!(
        (out.as_slice(), stage.deadline()),
        ([].as_slice(), Some(at(12)))
    );
    stage.expire(at(12), &mut stats, &mut out);
    assert_eq!(
        (out.as_slice(), stage.deadline()),
        ([end(12, two, EndReason::Idle)].as_slice(), Some(at(18)))
    );
    stage.finish(at(13), &mut stats, &mut out);
    assert_eq!(out.last(), Some(&end(13, ONE, EndReason::Stopped)));
    assert_eq!((stage.deadline(), stats.connections_open), (None, 0));
}

#[test]
fn an_ignored_connection_tells_nothing_but_its_end() {
    let (mut stage, mut out, mut stats) = run(Limits::default(), &[chunk(1, ONE, Read, 0, "a")]);
    stage.ignore(ONE);
    out.clear();
    stage.handle(&chunk(2, ONE, Read, 50, "b"), &mut stats, &mut out);
    let closed = Event::Closed {
        at: at(3),
        conn: ONE,
        written: 9,
        read: 99,
    };
    stage.handle(&closed, &mut stats, &mut out);
    assert_eq!(out, [end(3, ONE, EndReason::Closed)]);
    assert_eq!((stats.gaps, stats.read_bytes), (0, 2));
}

#[test]
fn ended_addresses_are_forgotten_at_the_limit() {
    let limits = Limits {
        ended: 1,
        ..Limits::default()
    };
    let two = conn(1, 0x20, 1);
    let closed = |conn| Event::Closed {
        at: at(2),
        conn,
        written: 0,
        read: 1,
    };
    let (stage, _, stats) = run(
        limits,
        &[
            chunk(1, ONE, Read, 0, "a"),
            closed(ONE),
            chunk(1, two, Read, 0, "a"),
            closed(two),
            chunk(3, two, Read, 1, "stale"),
            chunk(3, ONE, Read, 1, "opens"),
        ],
    );
    assert_eq!((stats.chunks_stale, stats.connections_opened), (1, 3));
    assert_eq!(stage.ended.len(), 1);
}

#[test]
fn losses_of_the_kernel_are_counted() {
    let lost = Event::Lost {
        at: at(1),
        cpu: 0,
        records: 3,
        bytes: 400,
    };
    let (out, stats) = segments(&[lost]);
    assert_eq!(
        (out.len(), stats.lost_records, stats.lost_bytes),
        (0, 3, 400)
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    let conn = (0..3u32, 0..3u64, 0..3u64).prop_map(|(pid, ssl, since)| conn(pid, ssl, since));
    let direction = prop_oneof![Just(Written), Just(Read)];
    let offset = prop_oneof![0..30u64, Just(u64::MAX), Just(u64::MAX - 3)];
    prop_oneof![
        8 => (0..50u64, conn.clone(), direction, offset.clone(), 0..9usize, offset).prop_map(
            |(time, conn, direction, offset, length, number)| Event::Chunk {
                at: at(time),
                conn,
                direction,
                offset,
                during_write: number.checked_sub(1),
                rest: number,
                bytes: vec![b'x'; length].into(),
            }
        ),
        1 => (0..50u64, conn.clone(), 0..40u64, 0..40u64).prop_map(|(time, conn, written, read)| {
            Event::Closed { at: at(time), conn, written, read }
        }),
        1 => (0..50u64, conn).prop_map(|(time, conn)| Event::ServerName {
            at: at(time),
            conn,
            name: "n".to_owned(),
        }),
        1 => (0..50u64, 0..3u32).prop_map(|(time, pid)| Event::Exit { at: at(time), pid }),
    ]
}

proptest! {
    /// Quiet and bound: any events in any order keep the shape of the output.
    #[test]
    fn every_connection_opens_once_and_ends_once(
        events in proptest::collection::vec(any_event(), 0..80),
        open in 1..5usize,
    ) {
        let limits = Limits {
            open,
            ended: 2,
            idle: Duration::from_nanos(20),
            held: Duration::from_nanos(5),
            held_bytes: 2 * size_of::<Segment>() + 9,
            held_bytes_of_all: 3 * size_of::<Segment>() + 9,
        };
        let mut stage = Connections::new(limits);
        let (mut out, mut stats) = (Vec::new(), Stats::default());
        for event in &events {
            stage.handle(event, &mut stats, &mut out);
            if let Some(now) = event.at() {
                stage.expire(now, &mut stats, &mut out);
            }
            prop_assert!(stage.open.len() <= open);
            prop_assert_eq!(stage.open.len(), stage.by_activity.len());
            prop_assert_eq!(stage.open.len() as u64, stats.connections_open);
            prop_assert!(stage.ended.len() <= 2);
            prop_assert!(stage.held_bytes() <= limits.held_bytes_of_all);
        }
        stage.finish(at(60), &mut stats, &mut out);
        prop_assert_eq!(stage.held_bytes(), 0);
        let mut live = BTreeMap::new();
        for segment in out {
            match segment {
                Segment::Open { conn, .. } => prop_assert!(live.insert(conn, ()).is_none()),
                Segment::End { conn, .. } => prop_assert!(live.remove(&conn).is_some()),
                Segment::ServerName { conn, .. } => prop_assert!(live.contains_key(&conn)),
                Segment::Data { conn, bytes, .. } => {
                    prop_assert!(live.contains_key(&conn) && !bytes.is_empty());
                }
                Segment::Gap { conn, bytes, .. } => {
                    prop_assert!(live.contains_key(&conn) && bytes > 0);
                }
            }
        }
        prop_assert!(live.is_empty());
    }

    /// Conservation: what a direction gives, data and gaps, adds up to its length at the end, and
    /// what was taken in adds up to what was given and what was stale.
    #[test]
    fn data_and_gaps_add_up_to_the_length(
        chunks in proptest::collection::vec((0..200u64, 1..20usize), 1..30),
        missing in 0..9u64,
    ) {
        let mut events: Vec<Event> = chunks
            .iter()
            .map(|(offset, length)| chunk(1, ONE, Read, *offset, &"x".repeat(*length)))
            .collect();
        let furthest = chunks.iter().map(|(offset, length)| offset + *length as u64).max();
        let total = furthest.unwrap_or(0) + missing;
        events.push(Event::Closed { at: at(2), conn: ONE, written: 0, read: total });
        let (out, stats) = segments(&events);
        let (mut given, mut lost) = (0, 0);
        for segment in &out {
            match segment {
                Segment::Data { bytes, .. } => given += bytes.len() as u64,
                Segment::Gap { bytes, .. } => lost += bytes,
                Segment::Open { .. } | Segment::ServerName { .. } | Segment::End { .. } => {}
            }
        }
        prop_assert_eq!(given + lost, total);
        prop_assert_eq!(stats.gap_bytes, lost);
        prop_assert!(given <= stats.read_bytes);
    }

    /// Mix: other connections in between change nothing.
    #[test]
    fn connections_do_not_touch_each_other(
        events in proptest::collection::vec((0..3u32, 0..30u64, 1..9usize), 0..60),
    ) {
        let all: Vec<Event> = events
            .iter()
            .map(|(pid, offset, length)| {
                chunk(1, conn(*pid, 1, 1), Read, *offset, &"x".repeat(*length))
            })
            .collect();
        let of = |segment: &Segment| match segment {
            Segment::Open { conn, .. }
            | Segment::ServerName { conn, .. }
            | Segment::Data { conn, .. }
            | Segment::Gap { conn, .. }
            | Segment::End { conn, .. } => conn.pid,
        };
        let (mixed, _) = segments(&all);
        for pid in 0..3 {
            let own: Vec<Event> = events
                .iter()
                .zip(&all)
                .filter(|((owner, ..), _)| *owner == pid)
                .map(|(_, event)| event.clone())
                .collect();
            let (alone, _) = segments(&own);
            let picked: Vec<Segment> =
                mixed.iter().filter(|segment| of(segment) == pid).cloned().collect();
            prop_assert_eq!(alone, picked);
        }
    }
}
