//! The agent as a service: what its manager is told, and what it takes over while it runs.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::agent::{Place, send};
use crate::run::poll;

/// More than twice the time between two turns of the slowest thread.
const WATCHDOG: Duration = Duration::from_secs(12);

/// How long a message may take.
const LIMIT: Duration = Duration::from_secs(20);

const WRONG: &str = "[retention]\nrequest_days = \"many\"\n";

const CHANGED: &str = "\
[session]
idle_minutes = 5
[[workflow]]
name = \"nightly\"
match = { unit = \"nightly.service\" }
";

/// The next message that has this line.
fn hear(manager: &UnixDatagram, line: &str) -> String {
    let mut message = [0; 4_096];
    loop {
        let length = manager
            .recv(&mut message)
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        let text = String::from_utf8_lossy(&message[..length]).into_owned();
        if text.lines().any(|said| said == line) {
            return text;
        }
    }
}

#[test]
fn probe_a_service_manager_hears_of_start_life_reload_and_stop() {
    let test = "service";
    let place = Place::with("");
    let socket = place.file("manager");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let Some(agent) = place.run_as_service(test, &socket, WATCHDOG) else {
        return;
    };
    let ready = hear(&manager, "READY=1");
    assert!(ready.contains("STATUS=watching "), "{ready}");
    hear(&manager, "WATCHDOG=1");

    fs::write(place.file("config.toml"), WRONG).unwrap();
    send("HUP", agent.id());
    let reloading = hear(&manager, "RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    let ready = hear(&manager, "READY=1");
    assert!(
        ready.contains("the changed configuration is wrong"),
        "{ready}"
    );
    assert!(
        poll(LIMIT, || agent
            .said()
            .contains("the one before stays in force")),
        "{}",
        agent.said()
    );

    fs::write(place.file("config.toml"), CHANGED).unwrap();
    send("HUP", agent.id());
    hear(&manager, "RELOADING=1");
    let ready = hear(&manager, "READY=1");
    assert!(!ready.contains("wrong"), "{ready}");
    let took_over = || {
        let said = agent.said();
        said.contains("only after a restart sections=session")
            && said.contains("and the list of prices sections=workflow")
    };
    assert!(poll(LIMIT, took_over), "{}", agent.said());
    // Three in a row: the threads still move.
    for _ in 0..3 {
        hear(&manager, "WATCHDOG=1");
    }

    agent.stop();
    hear(&manager, "STOPPING=1");
    let status = place.status();
    let kept: Vec<_> = status["capabilities"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|name| name.as_str())
        .collect();
    assert!(kept.contains(&"CAP_SYS_PTRACE"), "{kept:?}");
    // Links to uprobe_multi programs need no right; perf uprobes do.
    assert_eq!(
        kept.contains(&"CAP_BPF"),
        status["attach_kind"] != "uprobe_multi",
        "{status}"
    );
}
