//! What the agent has the kernel leave alone costs no copy.

use crate::agent::Place;
use crate::run::{Client, tls_pair};

/// Bytes that one run of the peer moves: both ends of one connection write and read as many.
const MOVED: u64 = 4 * 64 * 262_144;

/// Runs the peer under an agent with `config` and says how many bytes of plaintext the agent took
/// in, and how many connections it ignored.
fn taken_in(test: &str, config: &'static str) -> Option<(u64, u64)> {
    let place = Place::with(config);
    let agent = place.run(test)?;
    let arguments = ["transfer", "--size", "262144", "--count", "64"];
    Client::start(tls_pair(&arguments, test)?, test)?.succeed();
    agent.stop();
    Some((
        place.counter("written_bytes") + place.counter("read_bytes"),
        place.counter("connections_ignored"),
    ))
}

#[test]
fn a_connection_that_is_no_llm_traffic_is_left_alone_after_its_first_bytes() {
    let Some((bytes, ignored)) = taken_in("verdict", "") else {
        return;
    };
    assert!(ignored >= 2, "{ignored} connections were ignored");
    assert!(
        bytes > 0 && bytes < MOVED / 4,
        "{bytes} of {MOVED} bytes were copied"
    );
}

#[test]
fn a_process_on_the_ignore_list_is_left_alone_after_its_first_bytes() {
    let config = "[capture]\nignore = [\"tls_pair\"]\n";
    let Some((bytes, _)) = taken_in("verdict_process", config) else {
        return;
    };
    assert!(bytes < MOVED / 4, "{bytes} of {MOVED} bytes were copied");
}
