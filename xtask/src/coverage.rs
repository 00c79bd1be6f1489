//! `agent/docs/coverage.md`: which clients the agent was seen with, made of what the live tests of
//! the programs noted.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::Invocation;
use crate::notes::{self, Notes};
use crate::project::Project;
use crate::tally::Tally;
use crate::{setup, suite};

const PAGE: &str = "agent/docs/coverage.md";

/// Where the live tests note what they see.
const NOTES: Notes = Notes {
    variable: "BPFTOK_COVERAGE",
    folder: "coverage",
};

/// The clients that live tests run, in the order of the page. One without a note is a test that
/// silently stopped testing.
const RUN: [&str; 17] = [
    "Claude Code",
    "opencode",
    "GitHub Copilot CLI",
    "Gemini CLI",
    "Codex",
    "Bun",
    "Node.js, newest",
    "Node.js of this machine",
    "httpx (Python)",
    "aiohttp (Python)",
    "websockets (Python)",
    "websockets-deflate (Python)",
    "curl_cffi (Python)",
    "pycurl (Python)",
    "grpc (Python)",
    "curl of this machine",
    "OpenSSL inside a stripped program",
];

/// Clients that no test runs: name, version looked at, TLS library, and why.
const NOT_RUN: [[&str; 4]; 12] = [
    ["Cline", "3.0.65", "BoringSSL in Bun 1.3.13", SAME_AS_BUN],
    ["Kilo", "7.7.9", "BoringSSL in Bun 1.3.14", SAME_AS_BUN],
    ["Amp", "0.0.179", "BoringSSL in Bun 1.4.1", SAME_AS_BUN],
    ["Droid", "0.225.2", "BoringSSL in Bun 1.4.2", SAME_AS_BUN],
    [
        "pi, Qwen Code, Auggie, Continue",
        "—",
        "that of the user's Node.js",
        "not run: they are scripts, and Node.js is run",
    ],
    [
        "Electron and Chromium",
        "156",
        "BoringSSL",
        "not run: found by the same marks as Bun's",
    ],
    [
        "Python of uv",
        "—",
        "OpenSSL in the interpreter",
        "not run: not to be had from a package registry; a stripped program with OpenSSL stands in for it",
    ],
    [
        "Crush and other Go programs",
        "0.96.1",
        "Go crypto/tls",
        NOT_READ,
    ],
    ["Deno", "2.9.8", "rustls", NOT_READ],
    [
        "primp, uv, hf-xet (Python)",
        "2.0, 0.13, 1.8",
        "rustls",
        NOT_READ,
    ],
    ["wget, git", "—", "GnuTLS", NOT_READ],
    [
        "Ollama, vLLM, llama.cpp and their clients",
        "—",
        "none: plain HTTP",
        "not seen: there is no TLS call to watch",
    ],
];

const SAME_AS_BUN: &str = "not run: the same runtime as opencode's and Bun's";
const NOT_READ: &str = "not read yet; reported as `unprobed`";

const HEAD: &str = "\
# Clients

Which programs bpftok was seen with. `cargo xtask coverage` makes this page of what the live tests
saw: each client runs as its publisher ships it, against an endpoint of ours in a network of its own,
at the host that it has built in and, where it has one, at a base URL. *Live* means that calls,
tokens, models, sessions and processes in the ledger were exactly those that were served, and nothing
else was there. Telemetry and the like are no calls.

*Found by* says how the agent knows the library's functions: by *names* in a symbol table, or by the
*error sites* of a stripped file (the constants that its error calls pass), and how sure that is.

| client | version | TLS library | found by | transports | verified |
|---|---|---|---|---|---|
";

/// `cargo xtask coverage`.
pub(crate) fn run(project: &Project, _: &[String]) -> Result<ExitCode> {
    setup::for_testing_programs(project)?;
    suite::live_tests_named(project, &["programs::".to_owned()], &mut Tally::default())?;
    let page = project.root.join(PAGE);
    fs::write(&page, rendered(&NOTES.read(project)?)?)
        .with_context(|| format!("cannot write {}", page.display()))?;
    println!("coverage: wrote {PAGE}");
    Ok(ExitCode::SUCCESS)
}

/// Fails where the page is not what the live tests have just seen, but for what depends on the
/// machine.
pub(crate) fn check(project: &Project) -> Result<()> {
    let notes = NOTES.read(project)?;
    let seen = masked(&rendered(&notes)?, &notes);
    let kept = masked(&project.text(PAGE)?, &notes);
    notes::compare(PAGE, &seen, &kept, "coverage")
}

/// Tells a child where to note what it sees, in a folder that is empty.
pub(crate) fn announce_to(project: &Project, child: Invocation) -> Result<Invocation> {
    NOTES.announce_to(project, child)
}

fn rendered(notes: &[Value]) -> Result<String> {
    let mut page = HEAD.to_owned();
    for name in RUN {
        let note = notes
            .iter()
            .find(|note| text(note, "client") == name)
            .with_context(|| format!("no live test noted anything of {name}"))?;
        page.push_str(&row(&cells(note)));
    }
    if let Some(stray) = notes
        .iter()
        .find(|note| !RUN.contains(&text(note, "client")))
    {
        bail!("no place on the page for {}", text(stray, "client"));
    }
    for [name, version, library, why] in NOT_RUN {
        page.push_str(&row(
            &[name, version, library, "—", "—", why].map(str::to_owned)
        ));
    }
    Ok(page)
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn cells(note: &Value) -> [String; 6] {
    let tls = &note["tls"];
    let or_dash = |text: &str| match text {
        "" => "—".to_owned(),
        text => text.to_owned(),
    };
    let (library, found) = match (text(note, "library"), text(tls, "found_by")) {
        ("", "") => (text(tls, "library"), String::new()),
        ("", found_by) => {
            let confidence = text(tls, "confidence");
            (text(tls, "library"), format!("{found_by}, {confidence}"))
        }
        // What is hooked is not what it calls with.
        (library, _) => (library, String::new()),
    };
    let protocols = note["protocols"].as_array();
    let protocols = protocols.into_iter().flatten().filter_map(Value::as_str);
    let protocols: Vec<_> = protocols
        .map(|protocol| match protocol {
            "http/1.1" => "HTTP/1.1",
            "h2" => "HTTP/2",
            "websocket" => "WebSocket",
            "websocket-deflate" => "WebSocket with deflate",
            other => other,
        })
        .collect();
    [
        text(note, "client").to_owned(),
        or_dash(text(note, "version")),
        or_dash(library),
        or_dash(&found),
        or_dash(&protocols.join(", ")),
        text(note, "verified").to_owned(),
    ]
}

/// The page without the versions that a machine brings.
fn masked(page: &str, notes: &[Value]) -> String {
    let mut masked = String::new();
    for line in page.lines() {
        let note = notes
            .iter()
            .find(|note| line.starts_with(&format!("| {} |", text(note, "client"))));
        let mut cells: Vec<_> = line.split(" | ").collect();
        if let Some(note) = note {
            if note["is_of_machine"] == true {
                mask(&mut cells, 1);
            }
            let path = text(&note["tls"], "path");
            // Set-up installs what lies there, in pinned versions.
            if !["/bpftok/programs/", "/site-packages/"]
                .iter()
                .any(|place| path.contains(place))
            {
                mask(&mut cells, 2);
            }
        }
        masked.push_str(&cells.join(" | "));
        masked.push('\n');
    }
    masked
}

fn mask(cells: &mut [&str], index: usize) {
    if let Some(cell) = cells.get_mut(index) {
        *cell = "*";
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn note(client: &str, version: &str, path: &str, library: &str) -> Value {
        json!({
            "client": client,
            "version": version,
            "is_of_machine": !path.contains("/programs/"),
            "tls": {"path": path, "library": library, "found_by": "error sites", "confidence": "high"},
            "protocols": ["http/1.1", "h2"],
            "verified": "live",
        })
    }

    fn notes(version: &str, library: &str) -> Vec<Value> {
        let of = |name: &&str| match *name {
            "curl of this machine" => note(name, version, "/usr/lib/libssl.so.3", library),
            name => note(
                name,
                "2.0",
                &format!("/t/bpftok/programs/{name}"),
                "BoringSSL",
            ),
        };
        RUN.iter().map(of).collect()
    }

    #[test]
    fn a_line_says_what_was_noted() {
        let page = rendered(&notes("7.88", "OpenSSL 3.0.19")).unwrap();

        let line = "| Bun | 2.0 | BoringSSL | error sites, high | HTTP/1.1, HTTP/2 | live |\n";
        assert!(page.contains(line), "{page}");
    }

    #[test]
    fn a_client_without_a_note_and_a_note_without_a_place_are_refused() {
        let mut fewer = notes("7.88", "OpenSSL 3.0.19");
        let mut last = fewer.pop().unwrap();

        assert!(rendered(&fewer).is_err());
        last["client"] = "Nobody".into();
        let all = notes("7.88", "OpenSSL 3.0.19");
        assert!(rendered(&[all, vec![last]].concat()).is_err());
    }

    #[test]
    fn what_a_machine_brings_is_not_compared() {
        let (ours, theirs) = (
            notes("7.88", "OpenSSL 3.0.19"),
            notes("8.5", "OpenSSL 3.5.7"),
        );
        let (ours_page, theirs_page) = (rendered(&ours).unwrap(), rendered(&theirs).unwrap());

        assert_ne!(ours_page, theirs_page);
        assert_eq!(masked(&ours_page, &ours), masked(&theirs_page, &ours));
        let other = ours_page.replace("| Bun | 2.0 |", "| Bun | 2.1 |");
        assert_ne!(masked(&other, &ours), masked(&ours_page, &ours));
    }
}
