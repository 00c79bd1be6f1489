//! Libraries wherever they lie: mapped before the agent came or after, deleted, or in a mount
//! namespace of their own.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use test_support::overhead::library_of;

use crate::agent::{Agent, Place, skip};
use crate::run::{Client, poll, tls_pair};

/// How long a library may be mapped without being hooked: far more than what the benchmark
/// measures, far less than the interval of the scan that would find it anyway.
const HOOK_LIMIT: Duration = Duration::from_secs(5);

/// A copy of the TLS library, a file that nobody has mapped.
fn own_library(place: &Place, peer: &Command) -> PathBuf {
    let library = library_of(Path::new(peer.get_program())).unwrap();
    let folder = place.file("lib");
    fs::create_dir(&folder).unwrap();
    let copy = folder.join(library.file_name().unwrap());
    fs::copy(library, &copy).unwrap();
    copy
}

/// The C peer, which maps the library of `folder` and waits for [`go`].
fn held(mut peer: Command, folder: &Path, test: &str) -> Option<Client> {
    peer.env("LD_LIBRARY_PATH", folder).stdin(Stdio::piped());
    Client::start(peer, test)
}

fn go(mut client: Client) {
    writeln!(client.stdin().unwrap(), "go").unwrap();
    client.succeed();
}

/// Waits until a file with this in its path is hooked, lets the client go, and asserts that its
/// bytes were seen: both ends of one connection.
fn assert_seen(place: &Place, agent: Agent, client: Client, path: &str) {
    assert!(
        poll(HOOK_LIMIT, || agent.has_hooked(path)),
        "{path} was not hooked:\n{}",
        agent.said()
    );
    go(client);
    agent.stop();
    let opened = place.number(
        "SELECT json_extract(value, '$.counters.connections_opened') FROM meta WHERE name = 'status'",
    );
    assert!(opened >= 2, "{opened} connections were seen");
}

const ARGUMENTS: [&str; 4] = ["transfer", "--hold", "--size", "1000"];

#[test]
fn a_library_that_is_mapped_while_the_agent_runs_is_hooked() {
    let test = "new_library";
    let place = Place::with("");
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let library = own_library(&place, &peer);
    let folder = library.parent().unwrap();
    let Some(agent) = place.run(test) else { return };
    let Some(client) = held(peer, folder, test) else {
        return;
    };
    assert_seen(&place, agent, client, &library.display().to_string());
}

#[test]
fn a_library_that_was_deleted_while_it_is_mapped_is_hooked() {
    let test = "deleted_library";
    let place = Place::with("");
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let library = own_library(&place, &peer);
    let path = library.display().to_string();
    let Some(client) = held(peer, library.parent().unwrap(), test) else {
        return;
    };
    let maps = format!("/proc/{}/maps", client.who.pid);
    assert!(poll(HOOK_LIMIT, || fs::read_to_string(&maps)
        .unwrap()
        .contains(&path)));
    fs::remove_file(&library).unwrap();
    let Some(agent) = place.run(test) else { return };
    assert_seen(&place, agent, client, &path);
}

#[test]
fn a_library_of_another_mount_namespace_is_hooked_once() {
    let test = "mount_namespace";
    let place = Place::with("");
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let library = library_of(Path::new(peer.get_program())).unwrap();
    // A file system that nobody else sees, over a folder that is empty for everybody else.
    let folder = place.file("hidden");
    fs::create_dir(&folder).unwrap();
    let script = "mount -t tmpfs none \"$1\" && cp \"$2\" \"$1\" && export LD_LIBRARY_PATH=\"$1\" && shift 2 && exec \"$@\"";
    let mut hidden = Command::new("unshare");
    hidden
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&folder)
        .arg(&library)
        .arg(peer.get_program())
        .args(peer.get_args())
        .stdin(Stdio::piped());
    let Some(agent) = place.run(test) else { return };
    let Some(client) = Client::start(hidden, test) else {
        return;
    };
    let path = folder.display().to_string();
    assert!(
        poll(HOOK_LIMIT, || agent.has_hooked(&path)),
        "{path} was not hooked:\n{}",
        agent.said()
    );
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        0,
        "only the other namespace sees it"
    );
    go(client);
    let said = agent.stop();
    let times = said
        .lines()
        .filter(|line| line.contains("hooked") && line.contains(&path));
    assert_eq!(times.count(), 1, "{said}");
}

#[test]
fn a_file_that_only_looks_like_a_library_is_reported_and_the_rest_goes_on() {
    let test = "broken_library";
    let place = Place::with("");
    let folder = place.file("broken");
    fs::create_dir(&folder).unwrap();
    let broken = folder.join("libssl-broken.so.3");
    // A library by its name and its mapping, with tables that lie outside it.
    let mut bytes = fs::read("/proc/self/exe").unwrap();
    bytes.truncate(8_192);
    fs::write(&broken, &bytes).unwrap();
    let script = "import mmap,sys\n\
        with open(sys.argv[1],'rb') as f: m=mmap.mmap(f.fileno(),4096,prot=mmap.PROT_READ|mmap.PROT_EXEC)\n\
        print('mapped',flush=True)\n\
        sys.stdin.read()\n";
    let mut mapper = Command::new("python3");
    mapper
        .args(["-c", script])
        .arg(&broken)
        .stdin(Stdio::piped());
    let Some(mut client) = Client::start(mapper, test) else {
        return;
    };
    let maps = format!("/proc/{}/maps", client.who.pid);
    let path = broken.display().to_string();
    if !poll(HOOK_LIMIT, || {
        fs::read_to_string(&maps).is_ok_and(|maps| maps.contains(&path))
    }) {
        skip(test, "this Python can't map a file as code");
        return;
    }
    let Some(agent) = place.run(test) else { return };
    let is_reported = poll(HOOK_LIMIT, || {
        agent
            .said()
            .lines()
            .any(|line| line.contains("not hooked") && line.contains(&path))
    });
    assert!(is_reported, "{}", agent.said());
    assert!(
        agent.has_hooked("libssl.so"),
        "the other libraries:\n{}",
        agent.said()
    );
    drop(client.stdin());
    client.end();
    agent.stop();
    let failed =
        place.text("SELECT json_extract(value, '$.failed') FROM meta WHERE name = 'status'");
    assert!(failed.contains(&path), "{failed}");
}
