//! Names, lengths and words of files.

use crate::tidy::Source;

/// LIMIT: 800 lines; a longer file says why, or is split.
const LONGEST: usize = 800;
const WHY_LONG: &str = "//! tidy: long because ";

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["common", "helper", "helpers", "misc", "types", "util"];

/// Left behind while working. Spelt in two parts, so that this file does not hold them.
const LEFTOVERS: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("dbg", "!("),
];

/// Places that only some machine has: folders of a workplace, and hosts of package registries,
/// which each machine's own configuration names.
const PLACES: [&str; 6] = [
    concat!("/wo", "rk/"),
    concat!("deb.", "debian.org"),
    concat!("security.", "debian.org"),
    concat!("registry.", "npmjs"),
    concat!("py", "pi.org"),
    concat!("static.", "crates.io"),
];

/// Suffixes of files that people write; lock files are written by tools.
const CODE: [&str; 7] = [".rs", ".c", ".h", ".py", ".mjs", ".sh", ".sql"];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| !source.path.ends_with(".lock"))
        .flat_map(check_file)
        .collect()
}

fn check_file(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let path = &source.path;
    if path.ends_with(".rs") {
        let lines = source.text.lines().count();
        let explained = source.text.lines().any(|line| line.starts_with(WHY_LONG));
        if lines > LONGEST && !explained {
            complaints.push(format!(
                "{path}: {lines} lines; split it, or say `{WHY_LONG}…`"
            ));
        }
        let names = path
            .trim_end_matches(".rs")
            .rsplit('/')
            .take_while(|name| *name != "src");
        for name in names.filter(|name| EMPTY_NAMES.contains(name)) {
            complaints.push(format!(
                "{path}: a module called `{name}` says nothing about what is inside"
            ));
        }
    }
    let is_code = CODE.iter().any(|suffix| path.ends_with(suffix));
    for (number, line) in (1..).zip(source.text.lines()) {
        let leftover = LEFTOVERS
            .iter()
            .filter(|word| is_code && line.contains(**word));
        for found in leftover.chain(PLACES.iter().filter(|place| line.contains(**place))) {
            complaints.push(format!("{path}:{number}: `{found}` must not be here"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    #[test]
    fn a_long_file_explains_itself() {
        let long = "\n".repeat(LONGEST + 1);

        assert_eq!(check(&[source("a/src/b.rs", &long)]).len(), 1);
        assert_eq!(
            check(&[source(
                "a/src/b.rs",
                &format!("{WHY_LONG}it is a table.\n{long}")
            )]),
            [""; 0]
        );
    }

    #[test]
    fn names_that_say_nothing_are_refused_but_packages_may_have_them() {
        let complaints = check(&[
            source("agent/src/util/text.rs", ""),
            source("agent/src/types.rs", ""),
            source("agent-common/src/lib.rs", ""),
        ]);

        assert_eq!(
            complaints,
            [
                "agent/src/util/text.rs: a module called `util` says nothing about what is inside",
                "agent/src/types.rs: a module called `types` says nothing about what is inside",
            ]
        );
    }

    #[test]
    fn leftovers_and_places_are_found_with_their_line() {
        let text = format!("fine\n// {} later\nuse {}x;\n", LEFTOVERS[0], PLACES[0]);

        assert_eq!(
            check(&[source("a.rs", &text)]),
            [
                format!("a.rs:2: `{}` must not be here", LEFTOVERS[0]),
                format!("a.rs:3: `{}` must not be here", PLACES[0]),
            ]
        );
        assert_eq!(check(&[source("Cargo.lock", &text)]), [""; 0]);
    }
}
