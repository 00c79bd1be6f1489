//! Connections of one process, side by side.

use super::*;
use crate::session::KeySource;

/// Connections of an agent and of its sub-agents: two of the library that is linked into the program,
/// two of the one that it loads. What tells them apart is the address of the connection's object.
const CONNECTIONS: [u64; 4] = [0x70, 0x7f00_0000_0070, 0x5500_0000_1000, 0x7f00_0000_1070];

/// Bytes of a piece; small enough to cut heads, events and numbers.
const PIECE_BYTES: usize = 11;

const SESSION: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

/// One message of the session, streamed; input and output are different in each.
fn exchange(number: u64) -> [String; 2] {
    let body = r#"{"model":"claude-sonnet-4-6","stream":true,"messages":[]}"#;
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: api.anthropic.com\r\n\
         X-Claude-Code-Session-Id: {SESSION}\r\nX-Claude-Code-Agent-Id: agent-{number}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let events = format!(
        "event: message_start\n\
         data: {{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_{number}\",\
         \"model\":\"claude-sonnet-4-6\",\"usage\":{{\"input_tokens\":{},\"output_tokens\":1}}}}}}\n\n\
         event: message_delta\n\
         data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\
         \"usage\":{{\"output_tokens\":{}}}}}\n\n\
         event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n",
        100 + number,
        200 + number,
    );
    let reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{events}",
        events.len()
    );
    [request, reply]
}

#[test]
fn trap_13_connections_of_two_tls_libraries_in_one_process_are_told_apart() {
    let mut run = Run::new();
    run.line.handle(&Event::Process(process(7, 1)));
    let conns = CONNECTIONS.map(|ssl| ConnId { ssl, ..conn(7) });
    // Two rounds: connections are kept for the next call.
    let mut starts = [[0; 2]; CONNECTIONS.len()];
    for round in [0, CONNECTIONS.len()] {
        let exchanges = [0, 1, 2, 3].map(|index| exchange((round + index) as u64));
        for (side, direction) in [Direction::Written, Direction::Read]
            .into_iter()
            .enumerate()
        {
            let longest = exchanges
                .iter()
                .map(|sides| sides[side].len())
                .max()
                .unwrap();
            for from in (0..longest).step_by(PIECE_BYTES) {
                for (index, sides) in exchanges.iter().enumerate() {
                    let bytes = sides[side].as_bytes();
                    let piece = bytes.get(from..).unwrap_or_default();
                    let piece = &piece[..piece.len().min(PIECE_BYTES)];
                    if piece.is_empty() {
                        continue;
                    }
                    run.line.handle(&Event::Chunk {
                        at: run.now,
                        conn: conns[index],
                        direction,
                        offset: starts[index][side],
                        during_write: None,
                        rest: 0,
                        bytes: Plaintext::from(piece.to_vec()),
                    });
                    starts[index][side] += piece.len() as u64;
                }
            }
        }
    }
    let mut found: Vec<_> = run
        .outputs()
        .into_iter()
        .filter_map(|output| match output {
            Output::Usage(record) => Some((
                record.call.response_id,
                record.call.exchange.conn,
                record.session.0,
                record.key_source,
                [record.call.usage.input_uncached, record.call.usage.output],
                record.call.outcome,
            )),
            Output::Coverage(_)
            | Output::Quota { .. }
            | Output::Running(_)
            | Output::ProcessExited { .. }
            | Output::Ignore(_) => None,
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected: Vec<_> = (0_u64..)
        .zip(conns.into_iter().chain(conns))
        .map(|(number, conn)| {
            (
                Some(format!("msg_{number}")),
                conn,
                SESSION.to_owned(),
                KeySource::ClientHeader,
                [Some(100 + number), Some(200 + number)],
                Outcome::Complete,
            )
        })
        .collect();
    assert_eq!(found, expected);
}
