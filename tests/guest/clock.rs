//! The clock on the wall is set while calls are made: times are labels, and durations do not depend
//! on it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use test_support::{Api, Endpoint};

use crate::calls::provider;
use crate::host::{Host, LEDGER, ledger, show, succeed};

const SETTINGS: &str = "\
[daemon]
timezone = \"UTC\"
[[budget]]
name = \"plenty\"
limit = \"1G tokens\"
period = \"day\"
burn = \"page\"
";

/// A client with one connection over which it asks again and again.
struct Talker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    asked: u32,
}

impl Talker {
    fn start(endpoint: &Endpoint) -> Self {
        let to = endpoint.addr().to_string();
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-servername", "localhost"])
            .args(["-connect", &to])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            asked: 0,
        }
    }

    /// Asks, and reads the whole answer.
    fn ask(&mut self) {
        self.send();
        self.hear();
    }

    fn send(&mut self) {
        self.asked += 1;
        let body = format!(
            r#"{{"model":"claude-sonnet-4-6","max_tokens":64,"messages":[{{"role":"user","content":"Question {}"}}]}}"#,
            self.asked
        );
        let path = format!("/plan/identity.length{}", Api::AnthropicMessages.path());
        write!(
            self.stdin,
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        self.stdin.flush().unwrap();
    }

    fn hear(&mut self) {
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stdout.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        assert!(length > 0, "the answer has no length");
        let mut body = vec![0; length];
        self.stdout.read_exact(&mut body).unwrap();
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sets the guest's clock.
fn set_clock(by: &str) {
    succeed(Command::new("date").args(["--set", by]));
}

fn number(sql: &str) -> i64 {
    ledger(LEDGER).query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_clock_that_is_set_by_a_day_splits_no_session_makes_no_negative_time_and_alerts_nobody() {
    let Some(host) = Host::clean("clock") else {
        return;
    };
    host.configure(SETTINGS);
    host.start();
    let endpoint = provider();
    let mut talker = Talker::start(&endpoint);
    talker.ask();
    talker.ask();
    for by in ["+1 day", "-2 days", "+1 day"] {
        // In the middle of a call, and between two.
        talker.send();
        set_clock(by);
        talker.hear();
        talker.ask();
    }
    let served = endpoint.served();
    assert_eq!(served.len(), 8);
    let count = || number("SELECT count(*) FROM v_request");
    host.wait("the calls are in the ledger", || {
        std::path::Path::new(LEDGER).exists() && count() >= 8
    });
    assert_eq!(count(), 8);
    assert_eq!(
        number("SELECT count(DISTINCT session_id) FROM v_request"),
        1
    );
    let complete = "SELECT count(*) FROM v_request WHERE outcome = 'complete'";
    assert_eq!(number(complete), 8);
    // A minute is far more than a call takes here, and far less than the clock was set by.
    let durations = "SELECT count(*) FROM v_request WHERE duration_ms BETWEEN 0 AND 60000";
    assert_eq!(number(durations), 8);
    let ttft = "SELECT count(*) FROM v_request WHERE ttft_ms < 0 OR ttft_ms > 60000";
    assert_eq!(number(ttft), 0);
    // That a model is new is a line in the log.
    let alerts = "SELECT count(*) FROM v_alert WHERE severity <> 'log'";
    assert_eq!(number(alerts), 0);
    assert_eq!(
        (show("ActiveState"), show("NRestarts")),
        ("active".into(), "0".into())
    );
    host.expect_quiet();
}
