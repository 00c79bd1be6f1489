//! A host of a test's own making: control groups as systemd and the runtimes of containers lay them
//! out, users, working trees of git, and programs under the names of others.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs, process};

use serde_json::{Map, Value};
use tempfile::TempDir;
use test_support::{Api, Endpoint};

use crate::agent::{Agent, Place, skip};
use crate::run::poll;

/// How long control groups may take to be empty once their processes were killed.
const EMPTY_LIMIT: Duration = Duration::from_secs(10);

/// A command and its arguments.
pub(crate) type Words = Vec<String>;

/// The words of a command line.
pub(crate) fn words<const N: usize>(words: [&str; N]) -> Words {
    words.map(str::to_owned).to_vec()
}

/// A host with a provider, and an agent that watches it.
#[derive(Debug)]
pub(crate) struct Host {
    test: &'static str,
    pub(crate) endpoint: Endpoint,
    pub(crate) place: Place,
    agent: Option<Agent>,
    groups: Groups,
    dir: TempDir,
}

impl Host {
    /// One whose agent has these settings; `None`, with a `SKIP` line, where this machine can't.
    pub(crate) fn set(test: &'static str, config: &'static str) -> Option<Self> {
        let groups = Groups::make(test)?;
        let endpoint = Endpoint::start().unwrap();
        // Everybody may read what is in it.
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(endpoint.ca_path(), dir.path().join("ca.pem")).unwrap();
        for folder in ["bin", "root"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let place = Place::of(&endpoint).configured(config);
        let agent = Some(place.run(test)?);
        Some(Self {
            test,
            endpoint,
            place,
            agent,
            groups,
            dir,
        })
    }

    /// A path on it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// Makes a working tree of git on a branch; `None`, with a `SKIP` line, without git.
    pub(crate) fn repository(&self, name: &str, branch: &str) -> Option<PathBuf> {
        let tree = self.path(name);
        fs::create_dir(&tree).unwrap();
        self.git(&tree, &["init", "--quiet"])?;
        self.git(&tree, &["checkout", "--quiet", "-b", branch])?;
        Some(tree)
    }

    /// Has git do something in a working tree.
    pub(crate) fn git(&self, tree: &Path, arguments: &[&str]) -> Option<()> {
        let mut git = Command::new("git");
        git.args(arguments)
            .current_dir(tree)
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        match git.status() {
            Ok(status) => assert!(status.success(), "git {arguments:?}: {status}"),
            Err(error) => {
                skip(self.test, &format!("git: {error}"));
                return None;
            }
        }
        Some(())
    }

    /// A shell under the name of another program, with the words as what it runs and waits for.
    pub(crate) fn under(&self, program: &str, command: Words) -> Words {
        let path = self.path("bin").join(program);
        if !path.exists() {
            fs::copy("/bin/bash", &path).unwrap();
        }
        under(path.to_str().unwrap(), command)
    }

    /// The same command in a control group.
    pub(crate) fn in_group(&self, group: &str, command: Words) -> Words {
        let enter = r#"echo $$ > "$0" && exec "$@""#;
        let group = self.groups.group(group).display().to_string();
        [words(["sh", "-c", enter, &group]), command].concat()
    }

    /// The same command in a container: with processes, mounts and a host name of its own, and with
    /// another root.
    pub(crate) fn in_root(&self, command: Words) -> Words {
        let enter = r#"hostname box && mount --rbind / "$0" && cd "$0" && pivot_root . mnt &&
                       umount -l /mnt && cd / && exec "$@""#;
        let root = self.path("root").display().to_string();
        [contained(), words(["sh", "-c", enter, &root]), command].concat()
    }

    /// A command with the surroundings that clients here need.
    pub(crate) fn command(&self, command: &[String], dir: &Path) -> Command {
        let authority = self.path("ca.pem");
        let (program, arguments) = command.split_first().unwrap();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(dir)
            .envs(
                ["CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"]
                    .map(|name| (name, &authority)),
            )
            .env("BPFTOK_ENDPOINT", self.endpoint.url());
        command
    }

    /// curl with calls on one connection, one after the other.
    pub(crate) fn curl(&self, calls: &[Call]) -> Words {
        let port = self.endpoint.addr().port();
        let mut command = words(["curl", "--silent", "--show-error"]);
        for (number, call) in calls.iter().enumerate() {
            if number > 0 {
                command.push("--next".to_owned());
            }
            let (host, body) = call.host_and_body();
            // Long enough to be looked at while it lives, on a busy machine too: a marker, a working
            // folder and a command line end with their process.
            let plan = "echo.delay-40.deltas-5";
            let url = format!("https://{host}:{port}/plan/{plan}{}", call.api.path());
            let resolve = format!("{host}:{port}:127.0.0.1");
            let json = "content-type: application/json";
            command.extend(words([
                "--max-time",
                "60",
                "--resolve",
                &resolve,
                "--header",
                json,
            ]));
            for (name, value) in &call.fields {
                command.extend(words(["--header", &format!("{name}: {value}")]));
            }
            command.extend(words(["--data-binary", &body, &url]));
        }
        command
    }

    /// Ids of the calls of which a client's output speaks.
    pub(crate) fn ids(&self, output: &str) -> BTreeSet<String> {
        let served = self.endpoint.served();
        let served: BTreeSet<String> = served.into_iter().filter_map(|call| call.id).collect();
        let said = output.split(|c: char| c == '"' || c.is_whitespace());
        said.filter(|word| served.contains(*word))
            .map(str::to_owned)
            .collect()
    }

    /// Waits until all that was served is in the ledger, and stops the agent.
    pub(crate) fn stop(&mut self) {
        self.wait();
        self.agent.take().unwrap().stop();
    }

    /// Waits until all that was served is in the ledger.
    pub(crate) fn wait(&self) {
        let served = self.endpoint.served().len();
        assert_eq!(self.place.rows_when(served).len(), served);
    }

    /// Waits until the agent knows what the kernel told before: it knows it with a later call.
    pub(crate) fn settle(&self) {
        let later = self.curl(&[Call::claude("claude-haiku-4-5")]);
        let output = self.command(&later, Path::new("/")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        self.wait();
    }

    /// Rows of a query, by the names of its columns.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Map<String, Value>> {
        let mut command = self.place.on_ledger(["query", "-o", "json"]);
        let output = command.arg(sql).output().unwrap();
        assert!(output.status.success(), "{sql}: {output:?}");
        let mut document: Value = serde_json::from_slice(&output.stdout).unwrap();
        serde_json::from_value(document["rows"].take()).unwrap()
    }
}

/// One call of curl's.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    api: Api,
    model: &'static str,
    fields: Vec<(&'static str, String)>,
}

impl Call {
    /// A call of Anthropic's.
    pub(crate) const fn claude(model: &'static str) -> Self {
        Self {
            api: Api::AnthropicMessages,
            model,
            fields: Vec::new(),
        }
    }

    /// A call of OpenAI's.
    pub(crate) const fn gpt(model: &'static str) -> Self {
        Self {
            api: Api::OpenAiResponses,
            model,
            fields: Vec::new(),
        }
    }

    /// The same with header fields.
    pub(crate) fn with<const N: usize>(mut self, fields: [(&'static str, &str); N]) -> Self {
        let fields = fields.map(|(name, value)| (name, value.to_owned()));
        self.fields.extend(fields);
        self
    }

    fn host_and_body(&self) -> (&'static str, String) {
        let model = self.model;
        if self.api == Api::OpenAiResponses {
            let body = format!(r#"{{"model":"{model}","stream":true,"input":"hi"}}"#);
            return ("api.openai.com", body);
        }
        let messages = r#"[{"role":"user","content":"hi"}]"#;
        let body = format!(
            r#"{{"model":"{model}","stream":true,"max_tokens":900,"messages":{messages}}}"#
        );
        ("api.anthropic.com", body)
    }
}

/// A shell that runs a command as its child and waits for it.
pub(crate) fn under(shell: &str, command: Words) -> Words {
    [words([shell, "-c", r#""$@"; :"#, shell]), command].concat()
}

/// The same command as another user.
pub(crate) fn as_user(uid: u32, command: Words) -> Words {
    let id = uid.to_string();
    let user = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
    [words(user), command].concat()
}

/// The same command in a container: with processes, mounts and a host name of its own, and with
/// another folder for temporary files.
pub(crate) fn in_own_folder(command: Words) -> Words {
    let enter = r#"ca=$(cat "$CURL_CA_BUNDLE") && hostname box && cd / && mount -t tmpfs none /tmp &&
                   echo "$ca" > /tmp/ca.pem && export CURL_CA_BUNDLE=/tmp/ca.pem && exec "$@""#;
    [contained(), words(["sh", "-c", enter, "sh"]), command].concat()
}

fn contained() -> Words {
    words([
        "unshare",
        "--pid",
        "--mount",
        "--uts",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ])
}

/// The words of a command.
pub(crate) fn words_of(command: &Command) -> Words {
    let arguments = command.get_args();
    std::iter::once(command.get_program())
        .chain(arguments)
        .map(|word| word.to_str().unwrap().to_owned())
        .collect()
}

/// The name of a user of this machine, if there is one.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    let table = fs::read_to_string("/etc/passwd").unwrap();
    let is_it = |line: &&str| line.split(':').nth(2) == Some(&uid.to_string());
    let line = table.lines().find(is_it)?;
    line.split(':').next().map(str::to_owned)
}

/// A folder of control groups of the test's own. Its processes are killed and it is removed with the
/// value.
#[derive(Debug)]
struct Groups {
    top: PathBuf,
}

impl Groups {
    /// An empty one; `None`, with a `SKIP` line, where there is no unified hierarchy to write to.
    fn make(test: &str) -> Option<Self> {
        let Some(unified) = unified() else {
            skip(test, "no unified hierarchy of control groups is mounted");
            return None;
        };
        let top = unified.join(format!("bpftok-{test}-{}", process::id()));
        if let Err(error) = fs::create_dir(&top) {
            skip(test, &format!("no control group of its own: {error}"));
            return None;
        }
        Some(Self { top })
    }

    /// The file that takes processes into a group, which is made if it is new.
    fn group(&self, path: &str) -> PathBuf {
        let group = self.top.join(path);
        fs::create_dir_all(&group).unwrap();
        group.join("cgroup.procs")
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let mut groups = Vec::new();
        below(&self.top, &mut groups);
        let is_gone = poll(EMPTY_LIMIT, || {
            for group in &groups {
                let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                for pid in listed.lines() {
                    // It may end by itself.
                    Command::new("kill").args(["-KILL", pid]).status().ok();
                }
                fs::remove_dir(group).ok();
            }
            !self.top.exists()
        });
        if !is_gone {
            println!("{} is left", self.top.display());
        }
    }
}

/// A group and those below it, the innermost first.
fn below(group: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), found);
        }
    }
    found.push(group.to_owned());
}

/// Where the unified hierarchy is mounted.
fn unified() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (place, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })
}

/// The built program.
pub(crate) fn bpftok() -> String {
    env::var("BPFTOK_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_bpftok").to_owned())
}
