//! Runs every seed through its target, without a fuzzer.

use std::fs;
use std::path::Path;

use agent_common::record::{Opened, RecordHeader, kind};
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

fn records() -> Vec<(&'static str, Vec<u8>)> {
    let opened = Opened {
        comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
        cgroup_id: 42,
        uid: 1000,
        fd: 5,
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
