//! Section `[metrics]`: where numbers of what is committed are to be had.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Check;
use super::file::{self, Section};

/// Where the agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// At a TCP port of an address.
    Tcp(SocketAddr),
    /// At a socket in the file system.
    Unix(PathBuf),
}

/// What stands before the path of a socket.
const UNIX: &str = "unix:";

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Where numbers are to be had; nowhere by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Where a system of metrics may ask for them over HTTP.
    pub listen: Option<Listen>,
    /// Whether `listen` may be an address that other hosts reach.
    pub allow_remote: bool,
    /// The file of a textfile collector that they are written to.
    pub textfile: Option<PathBuf>,
}

impl Metrics {
    /// The values as they are written.
    pub(super) fn show(&self) -> [(&'static str, String); 3] {
        let text = |text: String| toml::Value::String(text).to_string();
        let listen = self.listen.as_ref().map(Listen::to_string);
        let textfile = self.textfile.as_ref().map(|path| path.display());
        let textfile = textfile.map(|path| path.to_string());
        [
            ("metrics.listen", text(listen.unwrap_or_default())),
            ("metrics.allow_remote", self.allow_remote.to_string()),
            ("metrics.textfile", text(textfile.unwrap_or_default())),
        ]
    }
}

impl Check<'_> {
    pub(super) fn metrics(&mut self, section: Section<file::Metrics>) {
        let Some(section) = self.section("metrics", section) else {
            return;
        };
        let key = "metrics.allow_remote";
        if let Some(allow) = self.value(key, section.allow_remote, "true or false", Ok) {
            self.loaded.config.metrics.allow_remote = allow;
        }
        let allow_remote = self.loaded.config.metrics.allow_remote;
        if let Some(listen) = self.value("metrics.listen", section.listen, "a string", |text| {
            check_listen(&text, allow_remote)
        }) {
            self.loaded.config.metrics.listen = listen;
        }
        let key = "metrics.textfile";
        if let Some(path) = self.value(key, section.textfile, "a string", check_textfile) {
            self.loaded.config.metrics.textfile = path;
        }
        self.unknown(
            "metrics",
            &section.unknown,
            "listen, allow_remote, textfile",
        );
    }
}

fn check_listen(text: &str, allow_remote: bool) -> Result<Option<Listen>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(path) = text.strip_prefix(UNIX) {
        let path = PathBuf::from(path);
        return match path.is_absolute() && path.file_name().is_some() {
            true => Ok(Some(Listen::Unix(path))),
            false => Err(format!(
                "{text:?} must name a socket by an absolute path, as in \"unix:/run/bpftok/metrics.sock\""
            )),
        };
    }
    let address: SocketAddr = text.parse().map_err(|_no_address| {
        format!(
            "{text:?} is no address with a port, as in \"127.0.0.1:9479\", and no socket, as in \"unix:/run/bpftok/metrics.sock\""
        )
    })?;
    if !address.ip().to_canonical().is_loopback() && !allow_remote {
        return Err(format!(
            "{address} can be reached from other hosts, who may read all names of workflows and models; use 127.0.0.1, or write allow_remote = true"
        ));
    }
    Ok(Some(Listen::Tcp(address)))
}

fn check_textfile(text: String) -> Result<Option<PathBuf>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let path = PathBuf::from(text);
    if !path.is_absolute() || path.extension().is_none_or(|extension| extension != "prom") {
        return Err(
            "must be an absolute path that ends in .prom, as in \"/var/lib/prometheus/node-exporter/bpftok.prom\""
                .to_owned(),
        );
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_this_hosts_own_or_allowed_by_a_word_of_its_own() {
        let own = [
            "127.0.0.1:9479",
            "127.8.8.8:1",
            "[::1]:9479",
            "[::ffff:127.0.0.1]:1",
        ];
        for text in own {
            let address = Some(Listen::Tcp(text.parse().unwrap()));
            assert_eq!(check_listen(text, false), Ok(address));
        }
        for text in [
            "0.0.0.0:9479",
            "[::]:9479",
            "192.0.2.7:9479",
            "[2001:db8::1]:1",
        ] {
            let refused = check_listen(text, false).unwrap_err();
            assert!(refused.contains("allow_remote"), "{refused}");
            let address = Some(Listen::Tcp(text.parse().unwrap()));
            assert_eq!(check_listen(text, true), Ok(address));
        }
    }

    #[test]
    fn a_socket_has_an_absolute_path_and_anything_else_is_refused() {
        let path = PathBuf::from("/run/bpftok/metrics.sock");
        let text = "unix:/run/bpftok/metrics.sock";
        assert_eq!(check_listen(text, false), Ok(Some(Listen::Unix(path))));
        assert_eq!(check_listen("", false), Ok(None));
        for text in [
            "unix:metrics.sock",
            "unix:/",
            "9479",
            "localhost:9479",
            "127.0.0.1",
        ] {
            assert!(check_listen(text, true).is_err(), "{text}");
        }
    }

    #[test]
    fn a_textfile_has_the_name_that_the_collector_reads() {
        let path = "/var/lib/prometheus/node-exporter/bpftok.prom";
        assert_eq!(check_textfile(path.to_owned()), Ok(Some(path.into())));
        assert_eq!(check_textfile(String::new()), Ok(None));
        for path in ["bpftok.prom", "/tmp/bpftok.txt", "/tmp/.prom"] {
            assert!(check_textfile(path.to_owned()).is_err(), "{path}");
        }
    }
}
