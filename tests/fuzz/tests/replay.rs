//! Runs every seed through its target, without a fuzzer.

use std::fs;
use std::path::Path;

use agent_common::record::{Connected, Opened, RecordHeader, Traffic, family, kind};
use fuzz::streams;
use zerocopy::IntoBytes as _;

#[test]
fn no_seed_breaks_a_law() {
    for (name, target) in fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("seeds")
            .join(name);
        let mut seeds: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            println!("{}", seed.display());
            target(&fs::read(&seed).unwrap());
        }
    }
}

/// `BLESS=1` writes the records that the seeds are, after the record format changed.
#[test]
fn the_seeds_of_records_are_records_of_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/records");
    for (name, record) in records() {
        let path = folder.join(name);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &record).unwrap();
        }
        assert_eq!(
            fs::read(&path).unwrap(),
            record,
            "{name}: run this test with BLESS=1"
        );
    }
}

/// `BLESS=1` writes the seeds of `http2`, which are binary and cannot be written by hand.
#[test]
fn the_seeds_of_http2_are_these_conversations() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/http2");
    for (name, steps) in conversations() {
        let path = folder.join(name);
        let seed = steps.concat();
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &seed).unwrap();
        }
        assert_eq!(
            fs::read(&path).unwrap(),
            seed,
            "{name}: run this test with BLESS=1"
        );
    }
}

const POST: u8 = 0x83;
const OK: u8 = 0x88;

fn frame(side: u8, kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [
        &[streams::FRAME | side, kind, flags, stream, length],
        payload,
    ]
    .concat()
}

fn written(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    frame(0, kind, flags, stream, payload)
}

fn read(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    frame(streams::READ, kind, flags, stream, payload)
}

/// `:path /v1/messages`, added to the table.
const PATH: &[u8] = b"\x44\x0c/v1/messages";
/// The same in Huffman's code: `:path /a`.
const PATH_HUFFMAN: &[u8] = b"\x44\x82\x60\x7f";

fn conversations() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let head = [&[POST], PATH].concat();
    let opened = || {
        vec![
            vec![streams::PREFACE],
            written(4, 0, 0, &[0, 1, 0, 0, 0x10, 0]),
            read(4, 0, 0, &[]),
            read(4, 1, 0, &[]),
        ]
    };
    let with = |steps: Vec<Vec<u8>>| [opened(), steps].concat();
    vec![
        (
            "one-exchange",
            with(vec![
                written(1, 4, 1, &head),
                written(0, 1, 1, b"{\"model\":\"m\"}"),
                read(1, 4, 1, &[OK]),
                read(0, 0, 1, b"data: {}\n\n"),
                read(0, 1, 1, b"data: [DONE]\n\n"),
            ]),
        ),
        (
            "parallel-with-table",
            with(vec![
                written(1, 5, 1, &head),
                written(1, 4, 3, &[POST, 0xbe]),
                written(1, 5, 5, &[&[POST], PATH_HUFFMAN, &[0xbf]].concat()),
                written(0, 9, 3, b"\x02abc\0\0"),
                read(1, 4, 5, &[OK]),
                read(1, 4, 3, b"\x48\x03429"),
                read(1, 4, 1, &[0xbe]),
                read(0, 1, 3, b"x"),
                read(0, 1, 5, b"y"),
                read(3, 0, 1, &[0; 4]),
            ]),
        ),
        (
            "table-sizes",
            with(vec![
                written(1, 5, 1, &[&[0x20, 0x3f, 0xe1, 0x1f, POST], PATH].concat()),
                written(1, 5, 3, &[0x3e, POST, 0xbe]),
                written(1, 5, 5, &[0x3f, 0xe1, 0xff, 3, POST, 0xbe]),
                written(1, 5, 7, &[&[0x20, POST], PATH].concat()),
            ]),
        ),
        (
            "continuations-and-trailers",
            with(vec![
                written(
                    1,
                    0x28,
                    1,
                    &[&[1, 0, 0, 0, 0, 9], &head[..3], &[0]].concat(),
                ),
                written(9, 0, 1, &head[3..8]),
                written(9, 4, 1, &head[8..]),
                written(1, 5, 1, b"\0\x01x\x01y"),
                read(1, 4, 1, b"\x48\x03103"),
                read(1, 4, 1, &[OK]),
                read(1, 5, 1, b"\x40\x01x\x01y"),
            ]),
        ),
        (
            "promise-farewell-tunnel",
            with(vec![
                written(1, 4, 1, b"\x02\x07CONNECT\x01\x05h:443"),
                read(1, 4, 1, &[OK]),
                read(0, 0, 1, b"tunnelled"),
                written(1, 5, 3, &head),
                written(1, 5, 5, &head),
                read(5, 4, 3, &[&[0, 0, 0, 2], &head[..]].concat()),
                read(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]),
            ]),
        ),
        (
            "gap-in-data",
            with(vec![
                written(1, 5, 1, &head),
                read(1, 4, 1, &[OK]),
                vec![streams::READ | streams::RAW, 11],
                b"\0\0\x06\0\x01\0\0\0\x01ab".to_vec(),
                vec![streams::READ | streams::GAP, 1],
                vec![streams::READ | streams::RAW, 2, b'e', b'f'],
            ]),
        ),
        (
            "gap-between-frames",
            with(vec![
                written(1, 4, 1, &head),
                vec![streams::GAP, 99],
                written(0, 1, 1, b"rest"),
                written(1, 5, 3, &[POST, 0xbe]),
                vec![streams::CALL],
                written(1, 5, 5, &head),
                written(1, 5, 7, &[POST, 0xbe]),
                read(1, 5, 7, &[OK]),
            ]),
        ),
        (
            "joined-midway",
            vec![
                vec![streams::READ | streams::RAW, 4],
                b"rest".to_vec(),
                read(0, 1, 9, b"to nobody"),
                written(1, 5, 11, &[POST, 0xc6]),
                read(1, 4, 11, &[OK, 0xc0]),
                read(0, 1, 11, b"{}"),
                vec![streams::WAIT, 200],
                written(1, 5, 13, &head),
            ],
        ),
        (
            "server-side",
            vec![
                written(4, 0, 0, &[]),
                vec![streams::READ | streams::PREFACE],
                read(4, 0, 0, &[]),
                read(1, 5, 1, &head),
                written(1, 5, 1, &[OK]),
            ],
        ),
        (
            "violations",
            with(vec![written(1, 4, 1, &head), read(0, 8, 1, &[9, 0])]),
        ),
        (
            "a-part-of-a-setting",
            with(vec![written(4, 0, 0, &[0; 9]), written(1, 5, 1, &head)]),
        ),
        (
            "header-bomb",
            with(vec![
                written(1, 4, 1, &[&[0x40, 1, b'x', 200], &[b'y'; 200][..]].concat()),
                written(1, 0, 3, &[0xbe; 250]),
                written(9, 0, 3, &[0xbe; 250]),
                written(9, 4, 3, &[&[POST], PATH].concat()),
            ]),
        ),
    ]
}

fn records() -> Vec<(&'static str, Vec<u8>)> {
    let opened = Opened {
        comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
        cgroup_id: 42,
        uid: 1000,
        fd: 5,
    };
    let connected = Connected {
        comm: opened.comm,
        address: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        family: family::INET,
        port: 443,
        fd: 5,
        uid: 1000,
        reserved: 0,
    };
    let traffic = Traffic {
        sent: 700,
        received: 5_000,
    };
    let request = b"POST /v1/messages HTTP/1.1\r\n";
    vec![
        ("opened", record(kind::OPENED, opened.as_bytes(), 0)),
        (
            "server-name",
            record(kind::SERVER_NAME, b"api.example.com", 0),
        ),
        ("written", record(kind::WRITTEN, request, 0)),
        (
            "read-padded",
            record(kind::READ, b"HTTP/1.1 200 OK\r\n", 240),
        ),
        ("closed", record(kind::CLOSED, &[], 0)),
        ("exit", record(kind::EXIT, &[], 0)),
        (
            "connected",
            record(kind::CONNECTED, connected.as_bytes(), 0),
        ),
        (
            "hello",
            record(kind::HELLO, b"\x16\x03\x01\x02\x00\x01", 250),
        ),
        ("bound", record(kind::BOUND, &[], 0)),
        ("carried", record(kind::CARRIED, traffic.as_bytes(), 0)),
        (
            "socket-closed",
            record(kind::SOCKET_CLOSED, traffic.as_bytes(), 0),
        ),
        ("unknown-kind", record(99, &[1, 2, 3], 0)),
        (
            "cut",
            record(kind::WRITTEN, request, 0)
                .into_iter()
                .take(60)
                .collect(),
        ),
    ]
}

fn record(kind: u32, payload: &[u8], padding: usize) -> Vec<u8> {
    let header = RecordHeader {
        kind,
        payload_bytes: u32::try_from(payload.len()).unwrap(),
        pid: 7,
        tid: 8,
        ssl: 0x5510,
        since_ns: 1_000,
        at_ns: 2_000,
        offset: 0,
        aux: 0,
    };
    [header.as_bytes(), payload, &vec![0xaa; padding]].concat()
}
