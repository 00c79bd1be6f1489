//! Names of workflows: templates with captures, and what names that nobody chose.

use std::fmt;

use super::cron;
use super::subject::{Subject, container_name, file_name};

/// LIMIT: bytes of a name; the rest of a longer one is cut off.
const NAME_BYTES: usize = 128;

/// What stands in braces in the name of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capture {
    /// Repository of git.
    Repo,
    /// Its branch.
    Branch,
    /// Unit of systemd.
    Unit,
    /// Container: its name, else its image, else the beginning of its id.
    Container,
    /// Pod of Kubernetes.
    Pod,
    /// Namespace of the pod.
    Namespace,
    /// User.
    User,
    /// Client.
    Client,
    /// Name of the executable's file.
    Exe,
}

impl Capture {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Repo,
        Self::Branch,
        Self::Unit,
        Self::Container,
        Self::Pod,
        Self::Namespace,
        Self::User,
        Self::Client,
        Self::Exe,
    ];

    /// Name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Repo => "repo",
            Self::Branch => "branch",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Namespace => "namespace",
            Self::User => "user",
            Self::Client => "client",
            Self::Exe => "exe",
        }
    }

    fn of(self, subject: Subject<'_>) -> Option<&str> {
        match self {
            Self::Repo => subject.repo(),
            Self::Branch => subject.branch(),
            Self::Unit => subject.unit(),
            Self::Container => subject.container().and_then(container_name),
            Self::Pod => subject.pod(),
            Self::Namespace => subject.namespace(),
            Self::User => subject.user(),
            Self::Client => subject.client,
            Self::Exe => subject.exe().and_then(file_name),
        }
    }
}

/// The name of a rule: text, with captures in braces as in `claude-code/{repo}`. It is shown as it
/// was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    written: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Capture(Capture),
}

/// Why a text is no name of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// It is empty, too long, or has characters that can't be shown.
    #[error("must be a name of 1 to {NAME_BYTES} bytes without control characters")]
    Text,
    /// A brace has no partner.
    #[error("has a brace without its partner; captures are written as in \"claude-code/{{repo}}\"")]
    Brace,
    /// A capture that does not exist.
    #[error("has the unknown capture {{{}}}; there are {}", .0.escape_debug(), captures())]
    Capture(String),
}

fn captures() -> String {
    Capture::ALL
        .map(|capture| format!("{{{}}}", capture.as_str()))
        .join(", ")
}

impl Template {
    /// Reads a name.
    ///
    /// # Errors
    /// All of [`BadTemplate`].
    pub fn parse(written: &str) -> Result<Self, BadTemplate> {
        let is_text = written.trim() == written && printable(written).as_deref() == Some(written);
        if !is_text {
            return Err(BadTemplate::Text);
        }
        let mut parts = Vec::new();
        let mut rest = written;
        while let Some((text, behind)) = rest.split_once('{') {
            let (capture, behind) = behind.split_once('}').ok_or(BadTemplate::Brace)?;
            let known = Capture::ALL
                .into_iter()
                .find(|known| known.as_str() == capture)
                .ok_or_else(|| BadTemplate::Capture(capture.to_owned()))?;
            parts.push(Part::Text(text.to_owned()));
            parts.push(Part::Capture(known));
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        let has_brace = |part: &Part| matches!(part, Part::Text(text) if text.contains('}'));
        if parts.iter().any(has_brace) {
            return Err(BadTemplate::Brace);
        }
        Ok(Self {
            written: written.to_owned(),
            parts,
        })
    }

    /// Its captures, in their order.
    pub fn captures(&self) -> impl Iterator<Item = Capture> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Capture(capture) => Some(*capture),
        })
    }

    /// The name of what is told by `subject`; the first capture that is not known if there is one.
    pub(super) fn fill(&self, subject: Subject<'_>) -> Result<String, Capture> {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Capture(capture) => {
                    let known = capture.of(subject).and_then(printable);
                    name.push_str(&known.ok_or(*capture)?);
                }
            }
        }
        // A part of it at least is printable: the text, or a capture.
        Ok(printable(&name).unwrap_or(name))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// A text without control characters, cut to the length of a name; `None` if nothing is left.
pub(super) fn printable(text: &str) -> Option<String> {
    let mut kept: String = text.chars().filter(|c| !c.is_control()).collect();
    kept.truncate(kept.floor_char_boundary(NAME_BYTES));
    (!kept.trim().is_empty()).then_some(kept)
}

/// What names a workflow that nobody named, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Automatic {
    /// A job of cron, as in `cron:ci/backup.sh`: the service of its daemon says nothing of the work.
    Cron,
    /// A service of systemd.
    Unit,
    /// A container.
    Container,
    /// Client and repository, as in `claude-code/web`.
    ClientAndRepo,
    /// Name of the executable's file, else of the main thread.
    Executable,
}

impl Automatic {
    /// All of them, best first.
    pub const ALL: [Self; 5] = [
        Self::Cron,
        Self::Unit,
        Self::Container,
        Self::ClientAndRepo,
        Self::Executable,
    ];

    /// Name for people and programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cron => "cron",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::ClientAndRepo => "client/repo",
            Self::Executable => "executable",
        }
    }

    /// The name that it gives.
    pub(super) fn name(self, subject: Subject<'_>) -> Option<String> {
        match self {
            Self::Cron => cron::job(subject).and_then(|job| printable(&format!("cron:{job}"))),
            Self::Unit => subject
                .unit()
                .filter(|unit| is_service(unit))
                .and_then(printable),
            Self::Container => subject
                .container()
                .and_then(container_name)
                .and_then(printable),
            Self::ClientAndRepo => {
                let (client, repo) = (printable(subject.client?)?, printable(subject.repo()?)?);
                printable(&format!("{client}/{repo}"))
            }
            Self::Executable => subject
                .exe()
                .and_then(file_name)
                .or_else(|| subject.comm())
                .and_then(printable),
        }
    }
}

/// Whether a unit is a service that somebody named: not a scope or a slice, which hold what others
/// started (logins, containers, programs of a desktop), not the manager of a user, and not a service
/// of `systemd-run`, whose name is another one each time.
fn is_service(unit: &str) -> bool {
    let Some(name) = unit.strip_suffix(".service") else {
        return false;
    };
    // `run-u12`, `run-r0123abcd`, `run-p12-i34` and so on: systemd's src/run/run.c.
    let is_transient = name.strip_prefix("run-").is_some_and(|rest| {
        let behind = rest.strip_prefix(['u', 'r', 'p']);
        let is_id = |c: char| c.is_ascii_hexdigit() || matches!(c, '-' | 'i');
        behind.is_some_and(|id| {
            id.starts_with(|c: char| c.is_ascii_hexdigit()) && id.chars().all(is_id)
        })
    });
    let is_manager = name.starts_with("user@");
    !name.is_empty() && !is_transient && !is_manager
}
