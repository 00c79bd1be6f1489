//! Which module may use which: data flows one way.

use crate::tidy::Source;

/// The modules of one package and what each may use of the others.
struct Package {
    folder: &'static str,
    modules: &'static [(&'static str, Uses)],
}

enum Uses {
    /// Composition roots.
    Everything,
    Only(&'static [&'static str]),
}

use Uses::{Everything, Only};

const PACKAGES: &[Package] = &[
    // A stage uses what enters the line, the counters, and what the stage before it gives.
    Package {
        folder: "agent/core/src/",
        modules: &[
            ("lib", Everything),
            ("event", Only(&[])),
            ("glob", Only(&[])),
            ("stats", Only(&[])),
            ("recording", Only(&["event"])),
            ("socket", Only(&["event", "stats"])),
            ("connection", Only(&["event", "stats"])),
            ("http", Only(&["connection", "event", "stats"])),
            ("llm", Only(&["event", "http", "stats"])),
            ("tokens", Only(&["event", "llm", "stats"])),
            ("attribution", Only(&["event", "llm", "stats"])),
            ("workflow", Only(&["attribution", "event", "glob", "llm"])),
            ("prices", Only(&["glob", "llm", "stats"])),
            (
                "session",
                Only(&["attribution", "event", "llm", "prices", "stats", "workflow"]),
            ),
            ("coverage", Only(&["event", "llm", "session", "stats"])),
            ("spend", Only(&["llm", "prices", "session", "workflow"])),
            ("alert", Only(&[])),
            ("budget", Only(&["alert", "glob", "spend"])),
            ("recent", Only(&[])),
            ("runaway", Only(&["alert", "glob", "recent", "spend"])),
            ("spike", Only(&["alert", "spend"])),
            ("upkeep", Only(&["alert", "recent", "spend"])),
            (
                "watch",
                Only(&["alert", "budget", "runaway", "spend", "spike", "upkeep"]),
            ),
            ("pipeline", Everything),
        ],
    },
    // The parts of the shell do not know each other; `app` puts them together.
    Package {
        folder: "agent/src/",
        modules: &[
            ("main", Everything),
            ("lib", Everything),
            ("app", Everything),
            ("alert", Only(&["causes", "config"])),
            ("cli", Only(&["config", "report", "store", "top"])),
            ("config", Only(&[])),
            ("process", Only(&[])),
            (
                "capture",
                Only(&["causes", "privilege", "process", "service"]),
            ),
            ("callers", Only(&["capture", "process", "store"])),
            ("causes", Only(&[])),
            ("dispatch", Only(&["alert", "causes", "store"])),
            (
                "doctor",
                Only(&[
                    "callers",
                    "capture",
                    "cli",
                    "config",
                    "privilege",
                    "report",
                    "store",
                ]),
            ),
            ("exec", Only(&[])),
            ("fleet", Only(&["report", "store"])),
            ("line", Only(&["service"])),
            ("memory", Only(&[])),
            (
                "metrics",
                Only(&["causes", "config", "privilege", "report"]),
            ),
            ("otlp", Only(&["alert", "config", "metrics", "privilege"])),
            ("prices", Only(&["config"])),
            (
                "keeper",
                Only(&[
                    "alert",
                    "causes",
                    "metrics",
                    "otlp",
                    "report",
                    "store",
                    "telemetry",
                    "watcher",
                ]),
            ),
            ("watcher", Only(&["alert", "dispatch", "store"])),
            ("store", Only(&[])),
            ("report", Only(&["config", "prices", "store"])),
            ("privilege", Only(&[])),
            ("reload", Only(&["config"])),
            ("service", Only(&[])),
            ("telemetry", Only(&["privilege"])),
            ("top", Only(&["report", "store"])),
        ],
    },
];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    PACKAGES
        .iter()
        .flat_map(|package| check_package(package, sources))
        .collect()
}

fn check_package(package: &Package, sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let Some(inside) = source
            .path
            .strip_prefix(package.folder)
            .filter(|p| p.ends_with(".rs"))
        else {
            continue;
        };
        let module = inside.split(['/', '.']).next().unwrap_or_default();
        let Some((_, uses)) = package.modules.iter().find(|(name, _)| *name == module) else {
            complaints.push(format!(
                "{}: module `{module}` has no row in the table of xtask/src/tidy/directions.rs",
                source.path
            ));
            continue;
        };
        let Only(allowed) = uses else { continue };
        if inside.ends_with("tests.rs") {
            continue;
        }
        for used in used_modules(&without_tests(&source.text)) {
            if used != module && !allowed.contains(&used.as_str()) {
                let allowed = if allowed.is_empty() {
                    "nothing".to_owned()
                } else {
                    allowed.join(", ")
                };
                complaints.push(format!(
                    "{}: `{module}` may not use `{used}`, only {allowed}",
                    source.path
                ));
            }
        }
    }
    complaints
}

/// Code without comments and without what only tests compile; relies on rustfmt's layout.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        if code == "#[cfg(test)]" {
            let indent = line.len() - code.len();
            let closing = format!("{:indent$}}}", "");
            let mut item = lines
                .by_ref()
                .skip_while(|l| l.trim_start().starts_with("#["));
            let opening = item.next().unwrap_or_default();
            if opening.ends_with('{') {
                // Through the brace that closes the item.
                item.find(|l| *l == closing);
            }
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// First names behind `crate::`, those in braces included; names of types are left out.
fn used_modules(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code.get(..at).and_then(|b| b.chars().next_back());
        if before.is_some_and(|c| c.is_alphanumeric() || "_$:".contains(c)) {
            continue;
        }
        let rest = code.get(at + "crate::".len()..).unwrap_or_default();
        let names = match rest.strip_prefix('{') {
            Some(group) => first_names(group),
            None => vec![identifier(rest)],
        };
        used.extend(
            names
                .into_iter()
                .filter(|n| n.starts_with(|c: char| c.is_lowercase())),
        );
    }
    used.sort();
    used.dedup();
    used
}

/// The first name of each entry of a brace group whose opening brace is already read.
fn first_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut entry) = (Vec::new(), 0_u32, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(identifier(&std::mem::take(&mut entry))),
            _ if depth == 0 => entry.push(c),
            _ => {}
        }
    }
    names.push(identifier(&entry));
    names
}

fn identifier(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    #[test]
    fn a_stage_may_use_the_stage_before_it_and_no_later_one() {
        let good = source(
            "agent/core/src/http/h1.rs",
            "use crate::connection::Segment;\nuse crate::http::Head;\n",
        );
        let bad = source(
            "agent/core/src/http/mod.rs",
            "fn f() -> crate::session::UsageRecord {}\n",
        );

        assert_eq!(
            check(&[good, bad]),
            [
                "agent/core/src/http/mod.rs: `http` may not use `session`, only connection, event, stats"
            ]
        );
    }

    #[test]
    fn names_in_braces_count_and_those_in_comments_and_tests_do_not() {
        let text = "//! See [`crate::store`].\nuse crate::{\n    event::{ConnId, Process},\n    alert,\n};\n\
                    #[cfg(test)]\nuse crate::session::A;\n\
                    fn f() { crate::stats::count() }\n\
                    #[cfg(test)]\nmod tests {\n    use crate::report;\n}\nuse crate::late;\n";

        assert_eq!(
            used_modules(&without_tests(text)),
            ["alert", "event", "late", "stats"]
        );
    }

    #[test]
    fn a_module_that_the_table_does_not_know_is_named() {
        let complaints = check(&[source("agent/src/surprise.rs", "")]);

        assert_eq!(
            complaints,
            [
                "agent/src/surprise.rs: module `surprise` has no row in the table of xtask/src/tidy/directions.rs"
            ]
        );
    }

    #[test]
    fn test_files_may_use_anything() {
        assert_eq!(
            check(&[source(
                "agent/core/src/http/tests.rs",
                "use crate::session::X;"
            )]),
            [""; 0]
        );
    }
}
