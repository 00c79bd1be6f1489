//! Every invariant in `ARCHITECTURE.md`, and everything that `tests/README.md` says a user may rely on,
//! names what keeps it, and that exists.

use crate::tidy::{Source, find};

const DOCUMENT: &str = "ARCHITECTURE.md";
const MARK: &str = "**Invariant:**";
const KEEPER: &str = "Kept by ";

const ACCEPTED: &str = "tests/README.md";
const SECTIONS: [&str; 2] = ["## Acceptance\n", "## Faults\n"];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let Some(document) = find(sources, DOCUMENT) else {
        return vec![format!("{DOCUMENT} is missing")];
    };
    let mut complaints = Vec::new();
    for paragraph in document.text.split("\n\n").filter(|p| p.contains(MARK)) {
        for invariant in paragraph.split(MARK).skip(1) {
            let words: Vec<&str> = invariant.split_whitespace().collect();
            let start = words
                .get(..words.len().min(8))
                .unwrap_or_default()
                .join(" ");
            let flat = words.join(" ");
            let keepers = flat
                .split_once(KEEPER)
                .map(|(_, keepers)| in_backticks(keepers))
                .unwrap_or_default();
            if keepers.is_empty() {
                complaints.push(format!(
                    "{DOCUMENT}: \"{start} …\" does not say `Kept by` which test"
                ));
            }
            for keeper in keepers {
                if !exists(sources, keeper) {
                    complaints.push(format!(
                        "{DOCUMENT}: \"{start} …\" is kept by `{keeper}`, which does not exist"
                    ));
                }
            }
        }
    }
    for section in SECTIONS {
        complaints.extend(accepted(sources, section));
    }
    complaints
}

/// Looks at the rows of the table of a section.
fn accepted(sources: &[Source], title: &str) -> Vec<String> {
    let section = find(sources, ACCEPTED).and_then(|document| document.text.split_once(title));
    let Some((_, section)) = section else {
        return vec![format!("{ACCEPTED} has no section `{}`", title.trim())];
    };
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut complaints = Vec::new();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    // The first one is the head.
    for row in rows.skip(1) {
        let (promise, keepers) = row
            .trim_end_matches([' ', '|'])
            .rsplit_once(" | ")
            .unwrap_or((row, ""));
        let promise = promise.trim_start_matches("| ");
        let keepers = in_backticks(keepers);
        if keepers.is_empty() {
            complaints.push(format!("{ACCEPTED}: \"{promise}\" names no test"));
        }
        for keeper in keepers {
            if !exists(sources, keeper) {
                complaints.push(format!(
                    "{ACCEPTED}: \"{promise}\" is kept by `{keeper}`, which does not exist"
                ));
            }
        }
    }
    complaints
}

fn in_backticks(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// A command of ours, a file, or a function.
fn exists(sources: &[Source], keeper: &str) -> bool {
    if keeper.starts_with("cargo xtask ") {
        return true;
    }
    if keeper.contains('.') {
        return find(sources, keeper).is_some();
    }
    let function = format!("fn {}(", keeper.rsplit("::").next().unwrap_or(keeper));
    sources
        .iter()
        .any(|source| source.path.ends_with(".rs") && source.text.contains(&function))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    #[test]
    fn an_invariant_without_a_living_keeper_is_named() {
        let document = "# Map\n\n- **Invariant:** all is well.\n  Kept by `a_test` and `clippy.toml`.\n\
                        - **Invariant:** it stays so. Kept by `gone`.\n- **Invariant:** trust me.\n";
        let sources = [
            source("ARCHITECTURE.md", document),
            source("clippy.toml", ""),
            source(
                "tests/README.md",
                "# Tests\n\n## Acceptance\n\n| what | kept by |\n|---|---|\n| It works | `a_test` |\n\
                 | It is `fast` | by hand |\n| It stays | `a_test`, `gone` |\n\n## Else\n\n| a | b |\n\n\
                 ## Faults\n\n| fault | what holds | kept by |\n|---|---|---|\n| C1 | it lives | `gone` |\n",
            ),
            source("a.rs", "#[test]\nfn a_test() {}"),
        ];

        assert_eq!(
            check(&sources),
            [
                "ARCHITECTURE.md: \"it stays so. Kept by `gone`. - …\" is kept by `gone`, which does not exist",
                "ARCHITECTURE.md: \"trust me. …\" does not say `Kept by` which test",
                "tests/README.md: \"It is `fast`\" names no test",
                "tests/README.md: \"It stays\" is kept by `gone`, which does not exist",
                "tests/README.md: \"C1 | it lives\" is kept by `gone`, which does not exist",
            ]
        );
    }
}
