//! The entries `[[notify]]`: channels over which alerts are told.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use agent_core::alert::Severity;

use super::Check;
use super::file::{self, Section, Written};

/// Key of the entries.
pub(super) const KEY: &str = "notify";

/// LIMIT: each channel has a thread of its own.
const MOST: usize = 16;
/// LIMIT: bytes of a name, as it stands in tables.
const NAME_BYTES: usize = 64;
/// LIMIT: bytes of a URL; servers refuse longer ones.
const URL_BYTES: usize = 2_048;
/// LIMIT: words of a command, and addresses of a mail.
const WORDS: usize = 32;

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Its name, which budgets and reports use.
    pub name: String,
    /// Less urgent alerts are not told over it.
    pub min_severity: Severity,
    /// What it is.
    pub kind: NotifyKind,
}

/// What a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotifyKind {
    /// The log of the agent.
    Log,
    /// A POST of JSON.
    Webhook {
        /// Where to.
        url: Url,
        /// What is posted.
        format: Format,
        /// File with further headers, one a line.
        headers_file: Option<PathBuf>,
    },
    /// A command with JSON on its standard input.
    Exec {
        /// Path of the program, and its arguments.
        command: Vec<String>,
        /// User that it runs as.
        user: String,
    },
    /// An Alertmanager of Prometheus.
    Alertmanager {
        /// Its address, as in `http://127.0.0.1:9093`.
        url: Url,
        /// File with further headers, one a line.
        headers_file: Option<PathBuf>,
    },
    /// A mail, by a program that is used as sendmail is.
    Mail {
        /// Who gets it.
        to: Vec<String>,
        /// Path of the program, and its arguments before `-i -t`; the host's sendmail if none.
        command: Option<Vec<String>>,
        /// User that it runs as.
        user: String,
    },
}

impl NotifyKind {
    /// Name in the file.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Webhook { .. } => "webhook",
            Self::Exec { .. } => "exec",
            Self::Alertmanager { .. } => "alertmanager",
            Self::Mail { .. } => "mail",
        }
    }
}

/// What a webhook is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The document of `agent/docs/alerts.md`.
    Json,
    /// What incoming webhooks of Slack take, and of those that are made like them.
    Slack,
}

impl Format {
    /// Name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
        }
    }
}

/// A URL, which may hold a secret: it shows its scheme and host alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// All of it, for the request.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Checks what is written.
    pub(super) fn parse(text: String) -> Result<Self, String> {
        let wanted = "must be a URL, as in \"https://hooks.example.com/ops\"";
        let rest = ["http://", "https://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        let is_url = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?']))
            && text.len() <= URL_BYTES
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_url {
            Ok(Self(text))
        } else {
            Err(wanted.to_owned())
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", ""));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        write!(f, "{scheme}://{host}/…")
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// An entry's keys and their values as TOML, a URL without what may be secret.
pub(super) fn show(notify: &Notify) -> Vec<(&'static str, String)> {
    let text = |text: &str| toml::Value::from(text).to_string();
    let words = |words: &[String]| toml::Value::from(words.to_vec()).to_string();
    let mut shown = vec![
        ("name", text(&notify.name)),
        ("kind", text(notify.kind.as_str())),
        ("min_severity", text(notify.min_severity.as_str())),
    ];
    let headers = |file: &Option<PathBuf>| {
        let file = file.as_ref()?;
        Some(("headers_file", text(&file.display().to_string())))
    };
    match &notify.kind {
        NotifyKind::Log => {}
        NotifyKind::Webhook {
            url,
            format,
            headers_file,
        } => {
            shown.push(("url", text(&url.to_string())));
            shown.push(("format", text(format.as_str())));
            shown.extend(headers(headers_file));
        }
        NotifyKind::Exec { command, user } => {
            shown.push(("command", words(command)));
            shown.push(("user", text(user)));
        }
        NotifyKind::Alertmanager { url, headers_file } => {
            shown.push(("url", text(&url.to_string())));
            shown.extend(headers(headers_file));
        }
        NotifyKind::Mail { to, command, user } => {
            shown.push(("to", words(to)));
            shown.extend(command.as_ref().map(|command| ("command", words(command))));
            shown.push(("user", text(user)));
        }
    }
    shown
}

impl Check<'_> {
    /// Takes the entries.
    pub(super) fn channels(&mut self, written: Written<Vec<Section<file::Notify>>>) {
        let Some(entries) = self.entries(KEY, MOST, written) else {
            return;
        };
        let mut names = BTreeSet::new();
        for (key, entry) in entries {
            let Some(notify) = self.channel(&key, entry) else {
                continue;
            };
            if !names.insert(notify.name.clone()) {
                let problem = "is the name of another entry; each channel has its own".to_owned();
                self.mistake(&format!("{key}.name"), problem);
                continue;
            }
            self.loaded.config.channels.push(notify);
        }
    }

    fn channel(&mut self, key: &str, entry: file::Notify) -> Option<Notify> {
        let before = self.mistakes.len();
        let file::Notify {
            name,
            kind,
            min_severity,
            url,
            format,
            headers_file,
            command,
            user,
            to,
            unknown,
        } = entry;
        let text = "a string";
        let list = "a list of strings";
        let name = self.member(key, "name", name, text, check_name);
        let kind = self.member(key, "kind", kind, text, check_kind);
        let severity = self.member(key, "min_severity", min_severity, text, check_severity);
        let url = self.member(key, "url", url, text, Url::parse);
        let format = self.member(key, "format", format, text, |word| check_format(&word));
        let headers = self.member(key, "headers_file", headers_file, text, check_path);
        let command = self.member(key, "command", command, list, check_command);
        let user = self.member(key, "user", user, text, check_user);
        let to = self.member(key, "to", to, list, check_to);
        for unknown in unknown.keys() {
            let problem = "unknown key; [[notify]] has name, kind, min_severity, url, format, headers_file, \
                 command, user, to";
            self.mistake(&format!("{key}.{unknown}"), problem.to_owned());
        }
        for (member, is_missing) in [("name", name.is_none()), ("kind", kind.is_none())] {
            if is_missing {
                let problem = "is missing; an entry [[notify]] needs a name and a kind".to_owned();
                self.mistake(&format!("{key}.{member}"), problem);
            }
        }
        let kind = kind??;
        let allowed: &[&str] = match kind {
            "webhook" => &["url", "format", "headers_file"],
            "alertmanager" => &["url", "headers_file"],
            "exec" => &["command", "user"],
            "mail" => &["to", "command", "user"],
            _ => &[],
        };
        for (member, is_written) in [
            ("url", url.is_some()),
            ("format", format.is_some()),
            ("headers_file", headers.is_some()),
            ("command", command.is_some()),
            ("user", user.is_some()),
            ("to", to.is_some()),
        ] {
            // The host has a program that takes mails.
            let is_needed = match member {
                "command" => kind == "exec",
                member => matches!(member, "url" | "to"),
            };
            if is_written && !allowed.contains(&member) {
                self.mistake(
                    &format!("{key}.{member}"),
                    format!("is no key of kind {kind:?}"),
                );
            } else if !is_written && is_needed && allowed.contains(&member) {
                let problem = format!("is missing; kind {kind:?} needs it");
                self.mistake(&format!("{key}.{member}"), problem);
            }
        }
        if self.mistakes.len() > before {
            return None;
        }
        let headers_file = headers.flatten();
        let kind = match kind {
            "webhook" => NotifyKind::Webhook {
                url: url??,
                format: format.flatten().unwrap_or(Format::Json),
                headers_file,
            },
            "alertmanager" => NotifyKind::Alertmanager {
                url: url??,
                headers_file,
            },
            "exec" => NotifyKind::Exec {
                command: command??,
                user: user.flatten().unwrap_or_else(nobody),
            },
            "mail" => NotifyKind::Mail {
                to: to??,
                command: command.flatten(),
                user: user.flatten().unwrap_or_else(nobody),
            },
            _ => NotifyKind::Log,
        };
        let least = match kind {
            NotifyKind::Log => Severity::Log,
            NotifyKind::Webhook { .. }
            | NotifyKind::Exec { .. }
            | NotifyKind::Alertmanager { .. }
            | NotifyKind::Mail { .. } => Severity::Ticket,
        };
        Some(Notify {
            name: name??,
            min_severity: severity.flatten().unwrap_or(least),
            kind,
        })
    }
}

/// The user without rights of every host.
fn nobody() -> String {
    "nobody".to_owned()
}

fn check_name(name: String) -> Result<String, String> {
    let is_name = !name.is_empty()
        && name.len() <= NAME_BYTES
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_name {
        Ok(name)
    } else {
        Err(format!(
            "must be of 1 to {NAME_BYTES} letters, digits, \"-\", \"_\" and \".\""
        ))
    }
}

fn check_kind(word: String) -> Result<&'static str, String> {
    ["log", "webhook", "exec", "alertmanager", "mail"]
        .into_iter()
        .find(|kind| *kind == word)
        .ok_or_else(|| {
            format!(
                "{word:?} is none of \"log\", \"webhook\", \"exec\", \"alertmanager\", \"mail\""
            )
        })
}

fn check_severity(word: String) -> Result<Severity, String> {
    Severity::of(&word).ok_or_else(|| format!("{word:?} is none of \"log\", \"ticket\", \"page\""))
}

fn check_format(word: &str) -> Result<Format, String> {
    [Format::Json, Format::Slack]
        .into_iter()
        .find(|format| format.as_str() == word)
        .ok_or_else(|| format!("{word:?} is neither \"json\" nor \"slack\""))
}

fn check_path(path: String) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("must be an absolute path".to_owned())
    }
}

fn check_command(words: Vec<String>) -> Result<Vec<String>, String> {
    let is_command = words
        .first()
        .is_some_and(|program| program.starts_with('/'))
        && words.len() <= WORDS
        && words.iter().all(|word| !word.contains('\0'));
    if is_command {
        Ok(words)
    } else {
        Err(format!(
            "must be an absolute path and its arguments, as in [\"/usr/local/bin/page\", \"ops\"], at most {WORDS}"
        ))
    }
}

fn check_user(user: String) -> Result<String, String> {
    if user == "root" || user.parse() == Ok(0_u32) {
        return Err(
            "must be a user without rights: alerts hold names that others choose".to_owned(),
        );
    }
    if user.is_empty() || user.contains(['\0', ':', '\n']) {
        return Err("must be the name of a user, as in \"nobody\"".to_owned());
    }
    Ok(user)
}

fn check_to(addresses: Vec<String>) -> Result<Vec<String>, String> {
    let is_address = |address: &String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "@._+-".contains(c);
        !address.is_empty()
            && address.len() <= 254
            && !address.starts_with('-')
            && address.chars().all(is_plain)
    };
    if !addresses.is_empty() && addresses.len() <= WORDS && addresses.iter().all(is_address) {
        Ok(addresses)
    } else {
        Err(format!(
            "must be 1 to {WORDS} addresses, as in [\"ops@example.com\"]"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes_of, parse};
    use super::*;

    const ALL: &str = r#"
        [[notify]]
        name = "ops"
        kind = "webhook"
        url = "https://user:s3cret@hooks.example.com:8443/T0/canary?key=canary"
        format = "slack"
        headers_file = "/etc/bpftok/ops.headers"
        min_severity = "page"
        [[notify]]
        name = "script"
        kind = "exec"
        command = ["/usr/local/bin/page", "ops"]
        [[notify]]
        name = "prometheus"
        kind = "alertmanager"
        url = "http://127.0.0.1:9093"
        [[notify]]
        name = "post"
        kind = "mail"
        to = ["ops@example.com"]
        command = ["/usr/bin/msmtp", "--account=ops"]
        [[notify]]
        name = "journal"
        kind = "log"
    "#;

    #[test]
    fn every_kind_is_understood_and_shown_without_what_is_secret() {
        let loaded = parse(ALL).unwrap();
        let channels = &loaded.config.channels;
        assert_eq!(channels.len(), 5);
        assert_eq!(channels[0].min_severity, Severity::Page);
        let NotifyKind::Webhook { url, .. } = &channels[0].kind else {
            panic!("{channels:?}");
        };
        assert!(url.reveal().ends_with("?key=canary"));
        assert_eq!(
            channels[1],
            Notify {
                name: "script".to_owned(),
                min_severity: Severity::Ticket,
                kind: NotifyKind::Exec {
                    command: vec!["/usr/local/bin/page".to_owned(), "ops".to_owned()],
                    user: "nobody".to_owned(),
                },
            }
        );
        assert_eq!(
            channels[3].kind,
            NotifyKind::Mail {
                to: vec!["ops@example.com".to_owned()],
                command: Some(vec![
                    "/usr/bin/msmtp".to_owned(),
                    "--account=ops".to_owned()
                ]),
                user: "nobody".to_owned(),
            }
        );
        assert_eq!(channels[4].min_severity, Severity::Log);
        let shown = loaded.show();
        assert!(
            shown.contains("url = \"https://hooks.example.com:8443/…\""),
            "{shown}"
        );
        for text in [shown, format!("{loaded:?}")] {
            assert!(
                !text.contains("canary") && !text.contains("s3cret"),
                "{text}"
            );
        }
    }

    #[test]
    fn every_mistake_is_told_with_what_would_be_right_and_no_url() {
        let found = mistakes_of(
            r#"
            [[notify]]
            kind = "pigeon"
            [[notify]]
            name = "a b"
            kind = "log"
            url = "https://hooks.example.com/canary"
            [[notify]]
            name = "x"
            kind = "webhook"
            url = "ftp://canary"
            min_severity = "high"
            colour = 1
            [[notify]]
            name = "y"
            kind = "exec"
            command = ["page"]
            user = "root"
            [[notify]]
            name = "z"
            kind = "mail"
            [[notify]]
            name = "q"
            kind = "mail"
            to = ["-oQ/tmp"]
            "#,
        );
        assert_eq!(
            found,
            [
                "notify[1].kind: \"pigeon\" is none of \"log\", \"webhook\", \"exec\", \"alertmanager\", \"mail\"",
                "notify[1].name: is missing; an entry [[notify]] needs a name and a kind",
                "notify[2].name: must be of 1 to 64 letters, digits, \"-\", \"_\" and \".\"",
                "notify[2].url: is no key of kind \"log\"",
                "notify[3].min_severity: \"high\" is none of \"log\", \"ticket\", \"page\"",
                "notify[3].url: must be a URL, as in \"https://hooks.example.com/ops\"",
                "notify[3].colour: unknown key; [[notify]] has name, kind, min_severity, url, format, headers_file, command, user, to",
                "notify[4].command: must be an absolute path and its arguments, as in [\"/usr/local/bin/page\", \"ops\"], at most 32",
                "notify[4].user: must be a user without rights: alerts hold names that others choose",
                "notify[5].to: is missing; kind \"mail\" needs it",
                "notify[6].to: must be 1 to 32 addresses, as in [\"ops@example.com\"]",
            ]
        );
    }

    #[test]
    fn two_channels_have_two_names() {
        let one = "[[notify]]\nname = \"ops\"\nkind = \"log\"\n";
        assert_eq!(
            mistakes_of(&format!("{one}{one}")),
            ["notify[2].name: is the name of another entry; each channel has its own"]
        );
    }
}
