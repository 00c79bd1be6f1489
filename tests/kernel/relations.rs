//! Calls that belong together: both sides of a gateway, and tries of one request.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::clients::Stage;
use crate::run::{Client, Kept, python};

#[test]
fn trap_14_a_call_through_a_gateway_on_this_host_is_one_call_of_its_client() {
    let test = "gateway";
    let Some(mut stage) = Stage::start(test) else {
        return;
    };
    let certificate = stage.endpoint.certificate();
    let Some(mut gateway) = python("gateway.py", &stage.endpoint, test) else {
        return;
    };
    gateway
        .args([&certificate.leaf_path, &certificate.key_path])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut gateway = Kept(gateway.spawn().unwrap());
    let mut lines = BufReader::new(gateway.stdout.take().unwrap()).lines();
    let port = lines.next().unwrap().unwrap();
    for (client, api) in [
        ("stdlib", "messages"),
        ("openai", "chat"),
        ("openai", "responses"),
    ] {
        let mut command = python("calls.py", &stage.endpoint, test).unwrap();
        command
            .args([client, api, "--calls", "3", "--stream", "--include-usage"])
            .env("BPFTOK_ENDPOINT", format!("https://localhost:{port}"));
        if stage.run(command).is_none() {
            return;
        }
    }
    // The gateway's side of a call ends first, the client's a moment later.
    let tag = stage.endpoint.tag();
    let hops = format!(
        "SELECT count(*) FROM v_hop JOIN v_request AS r ON r.request_id = counted_request_id
         WHERE r.provider_response_id LIKE '%{tag}%'"
    );
    stage.place.rows_when(9);
    stage.place.wait_until(|| stage.place.number(&hops) == 9);
    // Whoever sees both sides once more counts nine: the rows, with the clients as their owners.
    let via = gateway.id();
    let of_gateway = format!(
        "SELECT count(*) FROM v_request
         WHERE provider_response_id LIKE '%{tag}%' AND via_pid = {via} AND via_comm LIKE 'python%'"
    );
    let place = stage.place.number(&of_gateway);
    // It ends with its standard input.
    drop(gateway.stdin.take());
    gateway.wait().unwrap();
    let (served, rows) = stage.finish();
    assert_eq!((served.len(), rows.len(), place), (9, 9, 9));
}

#[test]
fn trap_8_the_tries_of_an_sdk_are_numbered_and_linked() {
    let test = "tries";
    let Some(stage) = Stage::start(test) else {
        return;
    };
    let Some(mut command) = python("calls.py", &stage.endpoint, test) else {
        return;
    };
    command.args(["openai", "chat", "--retries", "2", "--plan", "status-500"]);
    let Some(client) = Client::start(command, test) else {
        return;
    };
    let pid = client.end().who.pid;
    let count = format!("SELECT count(*) FROM v_request WHERE pid = {pid}");
    stage.place.wait_until(|| stage.place.number(&count) == 3);
    let tries = stage.place.text(&format!(
        "SELECT group_concat(line, ' ') FROM (
             SELECT t.http_status || ':' || t.attempt || ':' || ifnull(f.attempt, 'none') AS line
             FROM v_request AS t LEFT JOIN v_request AS f ON f.request_id = t.retry_of
             WHERE t.pid = {pid} ORDER BY t.started_ms)"
    ));
    assert_eq!(tries, "500:1:none 500:2:1 500:3:2");
}
