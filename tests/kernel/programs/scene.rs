//! One run of one program, and what it must have left in the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, thread};

use tempfile::TempDir;
use test_support::certificate::NAMES;
use test_support::endpoint::Options;
use test_support::served::{Other, Protocol};
use test_support::{Endpoint, Served};

use crate::agent::{Place, Row, skip};
use crate::compare::assert_same;
use crate::namespace::Namespace;
use crate::run::{Client, Ended, Who};

/// The machine as the folders of programs name it.
const MACHINE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "x64"
};

/// The base URL by which a program that has no host built in, or is told not to use it, reaches the
/// endpoint.
pub(super) const BASE_URL: &str = "https://localhost";

/// Between two looks at the processes of a running program.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A file of an unpacked program; `None`, with a `SKIP` line, where set-up has not announced any.
pub(super) fn program(name: &str, file: &str, test: &str) -> Option<PathBuf> {
    let Some(folder) = env::var_os("BPFTOK_PROGRAMS") else {
        skip(test, "BPFTOK_PROGRAMS is not set; run `cargo xtask test`");
        return None;
    };
    let with_machine = Path::new(&folder).join(format!("{name}-{MACHINE}"));
    let folder = if with_machine.exists() {
        with_machine
    } else {
        Path::new(&folder).join(name)
    };
    Some(folder.join(file))
}

/// A program's provider, network and home.
pub(super) struct Scene {
    test: &'static str,
    pub(super) endpoint: Endpoint,
    namespace: Namespace,
    home: TempDir,
}

impl Scene {
    /// One where every built-in host leads to an endpoint with these options; `None`, with a `SKIP`
    /// line, where this machine makes no namespaces.
    pub(super) fn set(test: &'static str, options: Options) -> Option<Self> {
        let hosts = NAMES.map(|name| if name.starts_with("127.") { "" } else { name });
        let namespace = Namespace::make(&hosts, test)?;
        let endpoint = Endpoint::start_with(options).unwrap();
        endpoint.listen(namespace.listener(443)).unwrap();
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("work")).unwrap();
        Some(Self {
            test,
            endpoint,
            namespace,
            home,
        })
    }

    /// A path in the program's home.
    pub(super) fn home(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    /// A program in an empty working folder, which trusts the endpoint in every way that one of
    /// them knows, and of whose surroundings it gets nothing else.
    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let authority = self.endpoint.ca_path();
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("LANG", "C.UTF-8")
            .env("TMPDIR", self.home.path())
            .envs(
                [
                    "CODEX_CA_CERTIFICATE",
                    "CURL_CA_BUNDLE",
                    "NODE_EXTRA_CA_CERTS",
                    "REQUESTS_CA_BUNDLE",
                    "SSL_CERT_FILE",
                ]
                .map(|name| (name, &authority)),
            )
            .current_dir(self.home("work"))
            .stdin(std::process::Stdio::null())
            .stderr(fs::File::create(self.home("stderr")).unwrap());
        command
    }

    /// Runs a program of [`Scene::command`] to its end, which must be a success.
    pub(super) fn run(self, command: Command) -> Option<Played> {
        let (played, status) = self.attempt(command)?;
        assert!(
            status.success(),
            "{}: {status}:\n{}\n{}",
            played.test,
            played.ended.stdout,
            played.stderr
        );
        Some(played)
    }

    /// The same, whatever its end.
    pub(super) fn attempt(self, command: Command) -> Option<(Played, std::process::ExitStatus)> {
        let test = self.test;
        let client = self
            .namespace
            .inside(move || Client::start(command, test))?;
        let root = client.who.pid;
        let is_over = AtomicBool::new(false);
        let (family, ended) = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut family = BTreeMap::new();
                while !is_over.load(Ordering::Relaxed) {
                    look(root, &mut family);
                    thread::sleep(LOOK_INTERVAL);
                }
                family
            });
            let ended = client.end();
            is_over.store(true, Ordering::Relaxed);
            (watch.join().unwrap(), ended)
        });
        let status = ended.status;
        let played = Played {
            test,
            tag: self.endpoint.tag(),
            served: self.endpoint.served(),
            others: self.endpoint.other_requests(),
            stderr: fs::read_to_string(self.home("stderr")).unwrap_or_default(),
            family,
            ended,
        };
        Some((played, status))
    }
}

/// Notes a process and its descendants with their executables. One that ends between two looks is
/// missed, but so short-lived a child makes no call.
fn look(pid: u32, family: &mut BTreeMap<u32, String>) {
    if let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe")) {
        family.insert(pid, exe.display().to_string());
    }
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return;
    };
    for thread in threads.flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().flat_map(str::parse) {
            look(child, family);
        }
    }
}

/// A run that is over.
#[derive(Debug)]
pub(super) struct Played {
    test: &'static str,
    tag: String,
    /// Calls that were served.
    pub(super) served: Vec<Served>,
    /// Requests that were no calls.
    pub(super) others: Vec<Other>,
    /// The program's processes with their executables.
    family: BTreeMap<u32, String>,
    pub(super) ended: Ended,
    stderr: String,
}

impl Played {
    /// Fails unless the program made `calls` calls and they all came over `protocol`.
    pub(super) fn assert_served(&self, calls: usize, protocol: Protocol) {
        let is_expected =
            self.served.len() == calls && self.served.iter().all(|call| call.protocol == protocol);
        let asked: Vec<_> = self
            .served
            .iter()
            .map(|call| {
                let model = call.model_requested.as_deref();
                (call.protocol, call.api, model, &call.tools, call.outcome)
            })
            .collect();
        assert!(
            is_expected,
            "{}: not {calls} calls over {protocol:?}: {asked:#?}\n{}\n{}",
            self.test, self.ended.stdout, self.stderr
        );
    }

    /// The ledger's calls of this program, and whatever else of its processes is there.
    pub(super) fn rows(&self, place: &Place) -> Vec<Row> {
        let mut rows = place.all_rows();
        rows.retain(|row| {
            let is_ours = row.id.as_ref().is_some_and(|id| id.contains(&self.tag));
            is_ours || row.pid.is_some_and(|pid| self.family.contains_key(&pid))
        });
        rows
    }

    /// Fails unless the ledger holds exactly what was served, each call with the process that made
    /// it and in the session that it named. What was no call is not there.
    pub(super) fn assert_in_ledger(&self, place: &Place) {
        let rows = self.rows(place);
        let by_id: BTreeMap<_, _> = rows.iter().map(|row| (row.id.clone(), row)).collect();
        assert_same(&self.served, &rows, |call| {
            // Which of the program's processes made a call the endpoint can't tell; that it was
            // one of them, with that executable, is what must hold.
            let pid = by_id.get(&call.id).and_then(|row| row.pid);
            let exe = pid.and_then(|pid| self.family.get(&pid));
            match (pid, exe) {
                (Some(pid), Some(exe)) => Who {
                    pid,
                    exe: exe.clone(),
                },
                _ => self.ended.who.clone(),
            }
        });
        for call in &self.served {
            let row = by_id[&call.id];
            match call.root_session() {
                Some(session) => assert_eq!(
                    (row.session_key.as_str(), row.key_source.as_str()),
                    (session, "client_header"),
                    "{}: {call:?}",
                    self.test
                ),
                None => assert_ne!(row.key_source, "client_header", "{}: {call:?}", self.test),
            }
        }
    }

    /// What the calls came over; where it made none, what its other requests did.
    pub(super) fn protocols(&self) -> Vec<Protocol> {
        let calls: Vec<_> = self.served.iter().map(|call| call.protocol).collect();
        if calls.is_empty() {
            return self.others.iter().map(|other| other.protocol).collect();
        }
        calls
    }

    /// Sessions that the calls name.
    pub(super) fn sessions(&self) -> BTreeSet<&str> {
        let named = self.served.iter();
        named
            .filter_map(|call| call.session_header.as_deref())
            .collect()
    }
}
