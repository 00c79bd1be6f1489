//! The entries `[[provider]]`: whose hosts are that nobody else knows.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Check;
use super::file::{self, Section, Written};

/// Key of the entries.
pub(super) const KEY: &str = "provider";

/// Formats that a path can be said to have: the names of APIs as the ledger has them.
pub(crate) const FORMATS: &[&str] = &[
    "anthropic_messages",
    "cohere_chat",
    "gemini_generate",
    "ollama_chat",
    "openai_chat",
    "openai_completions",
    "openai_embeddings",
    "openai_responses",
];

/// LIMIT: each request is compared with each entry; a host has a handful of gateways.
const MOST: usize = 64;
/// LIMIT: the same for the hosts of an entry.
const MOST_HOSTS: usize = 64;
/// LIMIT: bytes of a name, which is a column of every report.
const NAME_BYTES: usize = 64;
/// LIMIT: bytes of a host name (RFC 1035, section 2.3.4).
const HOST_BYTES: usize = 253;
/// LIMIT: bytes of a path; the longest of an API has a tenth.
const PATH_BYTES: usize = 1_024;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Name in reports.
    pub name: String,
    /// Hosts, in lower case: names, addresses, or patterns of names with `*`. One at least.
    pub hosts: Vec<String>,
    /// The path under which its APIs are; all of the hosts if there is none.
    pub path: Option<String>,
    /// Name of the API that is spoken there, where the path does not tell.
    pub format: Option<&'static str>,
}

impl Provider {
    /// Its keys and their values as TOML.
    pub(super) fn show(&self) -> Vec<(&'static str, String)> {
        let text = |text: &str| toml::Value::from(text).to_string();
        let hosts = toml::Value::from(self.hosts.clone()).to_string();
        let path = self.path.as_deref().map(|path| ("path", text(path)));
        let format = self.format.map(|format| ("format", text(format)));
        [("name", text(&self.name)), ("hosts", hosts)]
            .into_iter()
            .chain(path)
            .chain(format)
            .collect()
    }
}

impl Check<'_> {
    /// Takes the entries.
    pub(super) fn providers(&mut self, written: Written<Vec<Section<file::Provider>>>) {
        let Some(entries) = self.entries(KEY, MOST, written) else {
            return;
        };
        for (key, entry) in entries {
            if let Some(provider) = self.provider(&key, entry) {
                self.loaded.config.providers.push(provider);
            }
        }
    }

    fn provider(&mut self, key: &str, entry: file::Provider) -> Option<Provider> {
        let name = self.member(key, "name", entry.name, "a string", check_name);
        let hosts = self.member(key, "hosts", entry.hosts, "a list of strings", check_hosts);
        let path = self.member(key, "path", entry.path, "a string", check_path);
        let format = self.member(key, "format", entry.format, "a string", check_format);
        for unknown in entry.unknown.keys() {
            let problem = "unknown key; [[provider]] has name, hosts, path, format".to_owned();
            self.mistake(&format!("{key}.{unknown}"), problem);
        }
        for (member, is_missing) in [("name", name.is_none()), ("hosts", hosts.is_none())] {
            if is_missing {
                let problem = "is missing; an entry [[provider]] needs a name and hosts".to_owned();
                self.mistake(&format!("{key}.{member}"), problem);
            }
        }
        let (name, hosts, path, format) = (name??, hosts??, path, format);
        if format.is_some() && path.is_none() {
            let problem = "needs a path beside it: which requests are in this format".to_owned();
            self.mistake(&format!("{key}.format"), problem);
        }
        Some(Provider {
            name,
            hosts,
            path: path.flatten(),
            format: format.flatten(),
        })
    }
}

fn check_name(name: String) -> Result<String, String> {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(is_plain) {
        return Err(format!(
            "{name:?} is no name; use up to {NAME_BYTES} of a-z, 0-9, \"-\", \"_\" and \".\""
        ));
    }
    if name == "other" {
        return Err("\"other\" stands for hosts on no list; choose another name".to_owned());
    }
    Ok(name)
}

fn check_hosts(hosts: Vec<String>) -> Result<Vec<String>, String> {
    if hosts.is_empty() {
        return Err("is empty; name a host, or remove the entry".to_owned());
    }
    if hosts.len() > MOST_HOSTS {
        return Err(format!(
            "has {} hosts, at most {MOST_HOSTS} are possible",
            hosts.len()
        ));
    }
    hosts.into_iter().map(check_host).collect()
}

fn check_host(written: String) -> Result<String, String> {
    let host = written.to_ascii_lowercase();
    if host.parse::<Ipv4Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok() {
        return Ok(host);
    }
    let is_label = |label: &str| {
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'*');
        !label.is_empty() && label.bytes().all(is_plain) && label.matches('*').count() < 2
    };
    if host.len() > HOST_BYTES || !host.split('.').all(is_label) {
        return Err(format!(
            "{written:?} is no host; write a name without scheme, port and path, as in \
             \"llm.example.com\" or \"*.llm.example.com\", or an address"
        ));
    }
    let plain = host.split('.').filter(|label| !label.contains('*'));
    if host.contains('*') && plain.count() < 2 {
        return Err(format!(
            "{written:?} stands for too many hosts; two labels at least must be without \"*\""
        ));
    }
    Ok(host)
}

fn check_path(path: String) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'*');
    let is_path = path.starts_with('/') && path.bytes().all(is_plain) && path.len() <= PATH_BYTES;
    let path = path.trim_end_matches('/');
    if !is_path || path.is_empty() {
        return Err(
            "must be a path without query and \"*\", as in \"/team/openai\"; it stands for all that is \
             below, so leave it out for all of the host"
                .to_owned(),
        );
    }
    Ok(path.to_owned())
}

fn check_format(format: String) -> Result<&'static str, String> {
    let known = FORMATS.iter().find(|known| **known == format).copied();
    known.ok_or_else(|| format!("{format:?} is none of {}", FORMATS.join(", ")))
}
