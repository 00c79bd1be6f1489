//! Debian's Alertmanager and Prometheus, as the machine has them.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::agent::skip;
use crate::run::{Kept, poll};

/// How long one of them may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// One that runs, killed when dropped.
pub(crate) struct Monitor {
    _process: Kept,
    url: String,
}

/// An address of this host whose port is free now; whoever takes it in between fails the test.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Monitor {
    /// Starts a program that listens at an address of its own; `None`, with a `SKIP` line, where it is
    /// missing.
    pub(crate) fn start(program: &str, arguments: &[String], test: &str) -> Option<Self> {
        let address = free_address();
        let process = Command::new(program)
            .args(arguments)
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = process else {
            skip(test, &format!("{program} is not installed"));
            return None;
        };
        let monitor = Self {
            _process: Kept(process),
            url: format!("http://{address}"),
        };
        assert!(
            poll(START_LIMIT, || monitor.get("/-/ready").is_some()),
            "{program} does not answer"
        );
        Some(monitor)
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Labels of the alerts that fire. Prometheus lists those that are about to fire with them, in its
    /// envelope; Alertmanager has neither.
    pub(crate) fn firing(&self, path: &str) -> Vec<Value> {
        let text = self.get(path).unwrap_or_default();
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let alerts = answer
            .as_array()
            .or_else(|| answer["data"]["alerts"].as_array());
        let alerts = alerts.into_iter().flatten();
        alerts
            .filter(|alert| alert["state"] != "pending")
            .map(|alert| alert["labels"].clone())
            .collect()
    }

    /// What it answers; `None` if that is no success.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--max-time", "10"])
            .arg(format!("{}{path}", self.url))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then_some(text)
    }
}
