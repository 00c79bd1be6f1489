//! Where the programs that speak to LLMs are installed, so that they are hooked before they run for
//! the first time. Whatever lies elsewhere is found as it starts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Names of programs that carry a TLS library of their own. With `.exe` behind it, as some packages
/// name theirs on every system, it is the same.
const PROGRAMS: [&str; 19] = [
    "amp",
    "bun",
    "claude",
    "cline",
    "codex",
    "copilot",
    "cursor-agent",
    "deno",
    "droid",
    "gemini",
    "goose",
    "kilo",
    "kilocode",
    "node",
    "opencode",
    "pi",
    "python3",
    "qwen",
    "uv",
];

/// Bytes below which a program carries no TLS library of its own: it is a script, or a launcher.
const SMALLEST_BYTES: u64 = 1 << 20;

/// Folders with programs, from the root. `*` stands for any one folder.
const SYSTEM_FOLDERS: [&str; 4] = ["usr/local/bin", "usr/bin", "opt/*", "opt/*/bin"];

/// Folders with programs, from a home.
const HOME_FOLDERS: [&str; 16] = [
    "bin",
    ".amp/bin",
    ".bun/bin",
    ".claude/local",
    ".cursor/bin",
    ".deno/bin",
    ".factory/bin",
    ".local/bin",
    ".opencode/bin",
    ".asdf/installs/nodejs/*/bin",
    ".local/share/fnm/node-versions/*/installation/bin",
    ".local/share/mise/installs/*/*/bin",
    ".local/share/uv/python/*/bin",
    ".nvm/versions/node/*/bin",
    ".pyenv/versions/*/bin",
    ".volta/tools/image/node/*/bin",
];

/// Folders in which every file is a version of one program, from a home.
const VERSION_FOLDERS: [&str; 1] = [".local/share/claude/versions"];

/// Folders of Node packages, from the root and from a home.
const SYSTEM_MODULES: [&str; 2] = ["usr/lib/node_modules", "usr/local/lib/node_modules"];
const HOME_MODULES: [&str; 9] = [
    ".bun/install/global/node_modules",
    ".claude/local/node_modules",
    ".local/lib/node_modules",
    ".local/share/pnpm/global/*/node_modules",
    ".npm-global/lib/node_modules",
    ".nvm/versions/node/*/lib/node_modules",
    ".local/share/fnm/node-versions/*/installation/lib/node_modules",
    ".volta/tools/image/packages/*/lib/node_modules",
    ".volta/tools/image/packages/*/*/lib/node_modules",
];

/// What the folders of packages that bring such a program begin with.
const PACKAGES: [&str; 14] = [
    "@anthropic-ai",
    "@cline",
    "@factory",
    "@github",
    "@google",
    "@kilocode",
    "@openai",
    "@oven",
    "@sourcegraph",
    "bun",
    "cline",
    "droid",
    "node",
    "opencode",
];

/// LIMIT: homes. Beyond it programs are found as they start.
const MAX_HOMES: usize = 256;

/// LIMIT: programs in one home, and in the system's folders: what lies in a home is its owner's
/// choice.
const MAX_PROGRAMS: usize = 64;

/// LIMIT: entries looked at in one home, and in the system's folders.
const MAX_ENTRIES: usize = 20_000;

/// LIMIT: levels below a folder of packages: package, its own packages, theirs, and the program.
const MAX_DEPTH: usize = 9;

/// Where to look.
#[derive(Clone, Debug, Default)]
pub(super) struct Folders {
    /// Beside the root's.
    homes: Vec<PathBuf>,
    root: Option<PathBuf>,
}

/// What is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Folders in which programs can appear.
    pub(super) folders: Vec<PathBuf>,
    /// Programs, sorted.
    pub(super) programs: Vec<PathBuf>,
}

/// The folders of this host, and of the homes that it has now.
pub(super) fn folders_of_this_host() -> Folders {
    let listed = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut homes: BTreeSet<PathBuf> = listed.lines().filter_map(home_of).collect();
    // Users that are kept elsewhere have their homes here all the same.
    for entry in fs::read_dir("/home").into_iter().flatten().flatten() {
        homes.insert(entry.path());
    }
    Folders {
        homes: homes.into_iter().take(MAX_HOMES).collect(),
        root: Some(PathBuf::from("/")),
    }
}

/// The home of a person or of root: a line of passwd(5). Accounts of services have none of their
/// own.
fn home_of(line: &str) -> Option<PathBuf> {
    let mut fields = line.split(':').skip(2);
    let uid: u32 = fields.next()?.parse().ok()?;
    let home = fields.nth(2)?;
    let is_person = uid == 0 || (1_000..65_534).contains(&uid);
    (is_person && home.len() > 1 && home.starts_with('/')).then(|| PathBuf::from(home))
}

impl Folders {
    /// Those of one home.
    #[cfg(test)]
    pub(super) fn of_home(home: &Path) -> Self {
        Self {
            homes: vec![home.to_owned()],
            root: None,
        }
    }

    /// Looks into all of them.
    pub(super) fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        if let Some(root) = &self.root {
            let mut look = Look::new(&mut survey);
            SYSTEM_FOLDERS
                .iter()
                .for_each(|folder| look.programs(root, folder, named));
            SYSTEM_MODULES
                .iter()
                .for_each(|folder| look.modules(root, folder));
        }
        for home in &self.homes {
            let mut look = Look::new(&mut survey);
            HOME_FOLDERS
                .iter()
                .for_each(|folder| look.programs(home, folder, named));
            VERSION_FOLDERS
                .iter()
                .for_each(|folder| look.programs(home, folder, any));
            HOME_MODULES
                .iter()
                .for_each(|folder| look.modules(home, folder));
        }
        survey.programs.sort_unstable();
        survey.programs.dedup();
        survey.folders.sort_unstable();
        survey.folders.dedup();
        survey
    }
}

/// Whether a file is one of [`PROGRAMS`].
fn named(name: &str) -> bool {
    let name = name.strip_suffix(".exe").unwrap_or(name);
    let is_python = name
        .strip_prefix("python3.")
        .is_some_and(|minor| minor.parse::<u32>().is_ok());
    is_python || PROGRAMS.contains(&name)
}

const fn any(_: &str) -> bool {
    true
}

/// A look at one home, or at the system's folders.
struct Look<'a> {
    survey: &'a mut Survey,
    programs: usize,
    entries: usize,
}

impl<'a> Look<'a> {
    const fn new(survey: &'a mut Survey) -> Self {
        Self {
            survey,
            programs: MAX_PROGRAMS,
            entries: MAX_ENTRIES,
        }
    }

    /// Takes the programs of the folders that a pattern stands for.
    fn programs(&mut self, base: &Path, pattern: &str, is_wanted: fn(&str) -> bool) {
        for folder in self.expand(base, pattern) {
            for (name, path) in self.entries(&folder) {
                if is_wanted(&name) {
                    self.take(path);
                }
            }
            self.survey.folders.push(folder);
        }
    }

    /// Takes the programs of the packages in the folders that a pattern stands for.
    fn modules(&mut self, base: &Path, pattern: &str) {
        for folder in self.expand(base, pattern) {
            for (name, path) in self.entries(&folder) {
                if PACKAGES.iter().any(|package| name.starts_with(package)) && is_folder(&path) {
                    self.descend(path, MAX_DEPTH);
                }
            }
            self.survey.folders.push(folder);
        }
    }

    fn descend(&mut self, folder: PathBuf, depth: usize) {
        let mut has_program = false;
        for (name, path) in self.entries(&folder) {
            if is_folder(&path) {
                if let Some(depth) = depth.checked_sub(1) {
                    self.descend(path, depth);
                }
            } else if named(&name) {
                self.take(path);
                has_program = true;
            }
        }
        // An update comes as a new file beside the old one, or as a new package.
        if has_program
            || folder
                .parent()
                .is_some_and(|parent| parent.ends_with("node_modules"))
        {
            self.survey.folders.push(folder);
        }
    }

    fn take(&mut self, path: PathBuf) {
        // The path may be a link, as installers make them.
        let is_program = fs::metadata(&path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() >= SMALLEST_BYTES);
        if is_program && self.programs > 0 {
            self.programs -= 1;
            self.survey.programs.push(path);
        }
    }

    /// The folders that exist of those that a pattern stands for.
    fn expand(&mut self, base: &Path, pattern: &str) -> Vec<PathBuf> {
        let mut folders = vec![base.to_owned()];
        for part in pattern.split('/') {
            folders = folders
                .into_iter()
                .flat_map(|folder| match part {
                    "*" => self
                        .entries(&folder)
                        .into_iter()
                        .map(|(_, path)| path)
                        .collect(),
                    _ => vec![folder.join(part)],
                })
                .filter(|path| is_folder(path))
                .collect();
        }
        folders
    }

    /// Names and paths in a folder, as many as are left to look at.
    fn entries(&mut self, folder: &Path) -> Vec<(String, PathBuf)> {
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let found: Vec<_> = entries
            .flatten()
            .take(self.entries)
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
            .collect();
        self.entries -= found.len();
        found
    }
}

/// Whether a path is a folder itself: links may lead in circles, or to other users' folders.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as large as a program, without taking the room.
    fn program(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(path)
            .unwrap()
            .set_len(SMALLEST_BYTES)
            .unwrap();
    }

    #[test]
    fn programs_are_found_in_every_kind_of_place() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let wanted = [
            ".bun/bin/bun",
            ".local/bin/claude",
            ".local/share/claude/versions/2.1.330",
            ".local/share/uv/python/cpython-3.12/bin/python3.12",
            ".npm-global/lib/node_modules/@anthropic-ai/claude-code/bin/claude.exe",
            ".npm-global/lib/node_modules/@anthropic-ai/claude-code/node_modules/@anthropic-ai/claude-code-linux-x64/claude",
            ".nvm/versions/node/v24/bin/node",
            ".nvm/versions/node/v24/lib/node_modules/opencode-ai/bin/opencode",
        ];
        for path in wanted {
            program(&home.join(path));
        }
        for other in [
            ".local/bin/ffmpeg",
            ".local/bin/python3-config",
            ".local/lib/node_modules/webpack/bin/claude",
            "Downloads/claude",
        ] {
            program(&home.join(other));
        }
        fs::write(home.join(".local/bin/codex"), b"#!/usr/bin/env node").unwrap();

        let survey = Folders::of_home(home).survey();
        assert_eq!(survey.programs, wanted.map(|path| home.join(path)));
        for folder in [
            ".bun/bin",
            ".local/share/claude/versions",
            ".npm-global/lib/node_modules",
        ] {
            assert!(survey.folders.contains(&home.join(folder)), "{folder}");
        }
    }

    #[test]
    fn links_to_programs_are_followed_and_links_to_folders_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (home, other) = (dir.path().join("home"), dir.path().join("other"));
        program(&other.join("claude"));
        fs::create_dir_all(home.join(".local/bin")).unwrap();
        std::os::unix::fs::symlink(other.join("claude"), home.join(".local/bin/claude")).unwrap();
        std::os::unix::fs::symlink(&other, home.join("bin")).unwrap();
        let survey = Folders::of_home(&home).survey();
        assert_eq!(survey.programs, [home.join(".local/bin/claude")]);
    }

    #[test]
    fn nobody_can_have_more_looked_at_than_the_limits() {
        let dir = tempfile::tempdir().unwrap();
        let versions = dir.path().join(".local/share/claude/versions");
        for number in 0..MAX_PROGRAMS + 20 {
            program(&versions.join(number.to_string()));
        }
        let survey = Folders::of_home(dir.path()).survey();
        assert_eq!(survey.programs.len(), MAX_PROGRAMS);

        let mut survey = Survey::default();
        let mut look = Look::new(&mut survey);
        look.entries = 10;
        assert_eq!(look.entries(&versions).len(), 10);
        assert_eq!(look.entries(&versions).len(), 0);
    }

    #[test]
    fn homes_of_persons_are_known_from_the_list_of_users() {
        for (line, home) in [
            ("root:x:0:0:root:/root:/bin/bash", Some("/root")),
            (
                "ann:x:1000:1000:Ann,,,:/home/ann:/bin/zsh",
                Some("/home/ann"),
            ),
            ("www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin", None),
            (
                "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
                None,
            ),
            ("odd:x:1001:1001::/:/bin/sh", None),
            ("short:x:1000", None),
            ("", None),
        ] {
            assert_eq!(home_of(line), home.map(PathBuf::from), "{line}");
        }
    }
}
