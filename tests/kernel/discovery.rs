//! Libraries wherever they lie: mapped before the agent came or after, replaced, deleted, without a
//! name, in a mount namespace of their own, below overlays. And how they are let go.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use test_support::overhead::library_of;

use crate::agent::{Agent, HOOK_LIMIT, Place, descriptors, skip};
use crate::probe::{Held, Recorded};
use crate::run::{Client, poll, tls_pair};

/// A copy of the TLS library in a new folder, a file that nobody has mapped.
fn own_library(place: &Place, peer: &Command) -> PathBuf {
    let folder = place.file("lib");
    fs::create_dir(&folder).unwrap();
    copy_library(peer, &folder)
}

/// A copy of the TLS library in this folder.
fn copy_library(peer: &Command, folder: &Path) -> PathBuf {
    let library = library_of(Path::new(peer.get_program())).unwrap();
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
    agent.wait_for_hook(path);
    go(client);
    agent.stop();
    let opened = place.counter("connections_opened");
    assert!(opened >= 2, "{opened} connections were seen");
}

const ARGUMENTS: [&str; 4] = ["transfer", "--hold", "--size", "1000"];

#[test]
fn a_library_that_is_mapped_while_the_agent_runs_is_hooked() {
    let test = "new_library";
    let place = Place::with(EVENTS_ONLY);
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
    let place = Place::with(EVENTS_ONLY);
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
    agent.wait_for_hook(&path);
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        0,
        "only the other namespace sees it"
    );
    go(client);
    let said = agent.stop();
    let times = said
        .lines()
        .filter(|line| line.contains(" hooked path=") && line.contains(&path));
    assert_eq!(times.count(), 1, "{said}");
}

/// A scan that comes so seldom that it finds nothing within a test.
const EVENTS_ONLY: &str = "[capture]\nscan_interval_ms = 60000\n";

/// A scan that soon notices that nobody has mapped a file any more.
const FREQUENT_SCANS: &str = "[capture]\nscan_interval_ms = 500\n";

/// How long a file that nobody has mapped may stay hooked: its grace, and a few scans.
const RELEASE_LIMIT: Duration = Duration::from_secs(20);

const LET_GO: &str = "let go: nobody";

#[test]
fn a_library_that_is_loaded_late_is_hooked_without_a_scan() {
    let test = "late_library";
    let place = Place::with(EVENTS_ONLY);
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let library = own_library(&place, &peer);
    let path = library.display().to_string();
    let script = "import ctypes,sys\n\
        print('started',flush=True)\n\
        sys.stdin.readline()\n\
        ctypes.CDLL(sys.argv[1])\n\
        sys.stdin.readline()\n";
    let mut loader = Command::new("python3");
    loader
        .args(["-c", script])
        .arg(&library)
        .stdin(Stdio::piped());
    let Some(mut client) = Client::start(loader, test) else {
        return;
    };
    let Some(agent) = place.run(test) else { return };
    assert!(!agent.has_hooked(&path));
    let mut stdin = client.stdin().unwrap();
    writeln!(stdin, "load").unwrap();
    agent.wait_for_hook(&path);
    drop(stdin);
    client.succeed();
    agent.stop();
}

#[test]
fn a_library_that_is_replaced_is_hooked_again_and_the_old_one_stays_hooked() {
    let test = "replaced_library";
    let place = Place::with(EVENTS_ONLY);
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let library = own_library(&place, &peer);
    let folder = library.parent().unwrap().to_owned();
    let path = library.display().to_string();
    let Some(agent) = place.run(test) else { return };
    let Some(old) = held(peer, &folder, test) else {
        return;
    };
    agent.wait_for_hook(&path);

    // As package managers do it: a new file beside the old one, and then in its place.
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let new = place.file("new");
    fs::create_dir(&new).unwrap();
    fs::rename(copy_library(&peer, &new), &library).unwrap();
    let Some(new) = held(peer, &folder, test) else {
        return;
    };
    agent.wait_for_hooks(2, &path);
    go(old);
    go(new);
    agent.stop();
    let opened = place.counter("connections_opened");
    assert!(opened >= 4, "{opened} connections were seen");
}

#[test]
fn a_library_without_a_name_is_hooked() {
    let test = "memfd_library";
    let place = Place::with(EVENTS_ONLY);
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let library = library_of(Path::new(peer.get_program())).unwrap();
    let script = "import os,sys\n\
        fd=os.memfd_create('nameless',0)\n\
        os.write(fd,open(sys.argv[1],'rb').read())\n\
        os.environ['LD_PRELOAD']='/proc/self/fd/%d'%fd\n\
        os.execv(sys.argv[2],sys.argv[2:])\n";
    let mut launcher = Command::new("python3");
    launcher
        .args(["-c", script])
        .arg(&library)
        .arg(peer.get_program())
        .args(peer.get_args())
        .stdin(Stdio::piped());
    let Some(agent) = place.run(test) else { return };
    let Some(client) = Client::start(launcher, test) else {
        return;
    };
    assert_seen(&place, agent, client, "/memfd:nameless");
}

#[test]
fn a_deleted_library_is_let_go_with_its_last_process() {
    let test = "deleted_and_unused";
    let place = Place::with(FREQUENT_SCANS);
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let library = own_library(&place, &peer);
    let path = library.display().to_string();
    let Some(agent) = place.run(test) else { return };
    let before = agent.links();
    let Some(client) = held(peer, library.parent().unwrap(), test) else {
        return;
    };
    agent.wait_for_hook(&path);
    assert!(agent.links() > before);
    fs::remove_file(&library).unwrap();
    go(client);
    assert!(
        poll(RELEASE_LIMIT, || agent.times_said(LET_GO, &path) == 1),
        "{}",
        agent.said()
    );
    assert!(poll(HOOK_LIMIT, || agent.links() == before));
    let is_open = |(_, target): &(u32, String)| target.contains(&path);
    assert!(poll(HOOK_LIMIT, || !descriptors(agent.id())
        .iter()
        .any(is_open)));
    agent.stop();
}

#[test]
fn a_library_of_the_hosts_own_file_systems_stays_hooked_for_the_next_start() {
    let test = "unused_library";
    // A folder of root's home: on a disk of the host.
    let home = tempfile::tempdir_in("/root").unwrap();
    let place = Place::with(FREQUENT_SCANS);
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let library = copy_library(&peer, home.path());
    let path = library.display().to_string();
    let Some(agent) = place.run(test) else { return };
    let Some(client) = held(peer, home.path(), test) else {
        return;
    };
    agent.wait_for_hook(&path);
    go(client);
    // Another one that is let go shows that the time for it has passed.
    assert_released(&place, &agent, test);
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let Some(client) = held(peer, home.path(), test) else {
        return;
    };
    go(client);
    assert_eq!(agent.times_hooked(&path), 1);
    assert_eq!(agent.times_said(LET_GO, &path), 0);
    agent.stop();
}

/// A file system of its own.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    fn tmpfs(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        mount(&["-t", "tmpfs", "none"], &folder).expect("root may mount");
        Self(folder)
    }

    /// The lower folder with an upper one over it; `None` where the kernel has no overlays.
    pub(crate) fn overlay(lower: &Path, folder: &Path) -> Option<Self> {
        let part = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (upper, work, merged) = (part("upper"), part("work"), part("merged"));
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        mount(&["-t", "overlay", "-o", &options, "overlay"], &merged)?;
        Some(Self(merged))
    }

    pub(crate) fn unmount(&self) -> bool {
        let status = Command::new("umount")
            .arg(&self.0)
            .stderr(Stdio::null())
            .status();
        status.unwrap().success()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A test that failed may have left it in use.
        let lazily = ["--lazy", "--quiet"];
        Command::new("umount")
            .args(lazily)
            .arg(&self.0)
            .stderr(Stdio::null())
            .status()
            .ok();
    }
}

fn mount(options: &[&str], folder: &Path) -> Option<()> {
    let status = Command::new("mount").args(options).arg(folder).status();
    status.unwrap().success().then_some(())
}

/// Asserts that a file on another file system is let go when it is unused, and that this file system
/// can be unmounted then.
fn assert_released(place: &Place, agent: &Agent, test: &str) {
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let mounted = Mounted::tmpfs(place.file("mounted"));
    let library = copy_library(&peer, &mounted.0);
    let path = library.display().to_string();
    let Some(client) = held(peer, &mounted.0, test) else {
        return;
    };
    agent.wait_for_hook(&path);
    go(client);
    assert!(
        poll(RELEASE_LIMIT, || agent.times_said(LET_GO, &path) == 1),
        "{}",
        agent.said()
    );
    assert!(poll(RELEASE_LIMIT, || mounted.unmount()));
}

#[test]
fn a_file_system_that_nobody_uses_can_be_unmounted() {
    let test = "unmounted";
    let place = Place::with(FREQUENT_SCANS);
    let Some(agent) = place.run(test) else { return };
    assert_released(&place, &agent, test);
    agent.stop();
}

#[test]
fn a_library_below_two_overlays_is_hooked_once_and_each_call_is_seen_once() {
    let test = "overlays";
    let place = Place::with(FREQUENT_SCANS);
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let library = own_library(&place, &peer);
    let lower = library.parent().unwrap();
    let name = library.file_name().unwrap().to_str().unwrap().to_owned();
    let (Some(one), Some(two)) = (
        Mounted::overlay(lower, &place.file("one")),
        Mounted::overlay(lower, &place.file("two")),
    ) else {
        skip(test, "this kernel has no overlays");
        return;
    };
    let file = place.file("recording");
    let Some(agent) = place.record(test, &file) else {
        return;
    };
    let before = agent.links();
    let held = |folder: &Path| Held::in_folder(&ARGUMENTS, folder, test);
    let ours = place.file("").display().to_string();
    let Some(first) = held(&one.0) else { return };
    agent.wait_for_hook(&ours);
    let links = agent.links() - before;

    let Some(second) = held(&two.0) else { return };
    let Some(below) = held(lower) else { return };
    let mut ends = first.release();
    ends.extend(second.release());
    ends.extend(below.release());
    assert_eq!(agent.times_hooked(&ours), 1, "{}", agent.said());
    assert_eq!(agent.links(), before + links);

    // A container that changes anything about it gets a file of its own.
    let copied = two.0.join(&name);
    fs::set_permissions(&copied, fs::Permissions::from_mode(0o700)).unwrap();
    let Some(third) = held(&two.0) else { return };
    agent.wait_for_hooks(2, &ours);
    ends.extend(third.release());
    agent.stop();
    Recorded::read(&fs::read(&file).unwrap()).assert_identical(&ends);
}

#[test]
fn probes_go_on_through_the_overlay_that_is_left() {
    let test = "overlay_gone";
    let place = Place::with(FREQUENT_SCANS);
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let mounted = Mounted::tmpfs(place.file("layers"));
    let lower = mounted.0.join("lower");
    fs::create_dir(&lower).unwrap();
    copy_library(&peer, &lower);
    let (Some(one), Some(two)) = (
        Mounted::overlay(&lower, &mounted.0.join("one")),
        Mounted::overlay(&lower, &mounted.0.join("two")),
    ) else {
        skip(test, "this kernel has no overlays");
        return;
    };
    let path = one.0.display().to_string();
    let file = place.file("recording");
    let Some(agent) = place.record(test, &file) else {
        return;
    };
    let Some(first) = Held::in_folder(&ARGUMENTS, &one.0, test) else {
        return;
    };
    agent.wait_for_hook(&path);
    let Some(second) = Held::in_folder(&ARGUMENTS, &two.0, test) else {
        return;
    };
    let mut ends = first.release();
    // The one through which the probes were put on is not kept busy for the other one's sake.
    assert!(poll(RELEASE_LIMIT, || one.unmount()), "{}", agent.said());
    ends.extend(second.release());
    agent.stop();
    Recorded::read(&fs::read(&file).unwrap()).assert_identical(&ends);
}

#[test]
fn a_hooked_library_that_is_written_to_is_let_go_at_once() {
    let test = "overwritten_library";
    let place = Place::with(EVENTS_ONLY);
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let library = own_library(&place, &peer);
    let path = library.display().to_string();
    let Some(agent) = place.run(test) else { return };
    let before = agent.links();
    let Some(client) = held(peer, library.parent().unwrap(), test) else {
        return;
    };
    agent.wait_for_hook(&path);
    go(client);
    let bytes = fs::read(&library).unwrap();
    fs::write(&library, &bytes[..bytes.len() / 2]).unwrap();
    assert!(
        poll(HOOK_LIMIT, || agent
            .times_said("written to while hooked", &path)
            == 1),
        "{}",
        agent.said()
    );
    assert!(poll(HOOK_LIMIT, || agent.links() == before));
    // Once it is whole it is a library like any other.
    fs::write(&library, &bytes).unwrap();
    agent.wait_for_hooks(2, &path);
    agent.stop();
}

/// How long a library may take to be hooked beside files that are none: less than it takes to read
/// the longest of them.
const DELAY_LIMIT: Duration = Duration::from_secs(5);

#[test]
fn files_that_only_pretend_to_be_libraries_delay_nothing() {
    let test = "pretending_files";
    let place = Place::with(EVENTS_ONLY);
    let Some(peer) = tls_pair(&ARGUMENTS, test) else {
        return;
    };
    let folder = place.file("odd");
    fs::create_dir(&folder).unwrap();
    let sparse = folder.join("libssl-sparse.so.3");
    // Ten gigabytes of nothing behind the headers of a real program.
    let mut bytes = fs::read("/proc/self/exe").unwrap();
    bytes.truncate(1 << 20);
    fs::write(&sparse, &bytes).unwrap();
    fs::File::options()
        .write(true)
        .open(&sparse)
        .unwrap()
        .set_len(10 << 30)
        .unwrap();
    let pipe = folder.join("libssl-pipe.so.3");
    let script = "import mmap,os,sys\n\
        m=[]\n\
        for p in sys.argv[1:]:\n \
        f=open(p,'rb');m.append(mmap.mmap(f.fileno(),4096,prot=mmap.PROT_READ|mmap.PROT_EXEC))\n\
        print('mapped',flush=True)\n\
        sys.stdin.read()\n";
    let real = own_library(&place, &peer);
    fs::copy(&real, &pipe).unwrap();
    let mut mapper = Command::new("python3");
    mapper
        .args(["-c", script])
        .args([&sparse, &pipe])
        .stdin(Stdio::piped());
    let Some(mut client) = Client::start(mapper, test) else {
        return;
    };
    let maps = format!("/proc/{}/maps", client.who.pid);
    let has_mapped =
        || fs::read_to_string(&maps).is_ok_and(|maps| maps.contains(&pipe.display().to_string()));
    if !poll(HOOK_LIMIT, has_mapped) {
        skip(test, "this Python can't map a file as code");
        return;
    }
    // The path leads to a pipe by now, and the mapping to the library.
    fs::remove_file(&pipe).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let Some(agent) = place.run(test) else { return };
    agent.wait_for_hook(&pipe.display().to_string());
    let Some(held) = held(peer, real.parent().unwrap(), test) else {
        return;
    };
    let path = real.display().to_string();
    assert!(
        poll(DELAY_LIMIT, || agent.has_hooked(&path)),
        "{}",
        agent.said()
    );
    go(held);
    drop(client.stdin());
    client.end();
    agent.stop();
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
    // The other libraries.
    agent.wait_for_hook("libssl.so");
    drop(client.stdin());
    client.end();
    agent.stop();
    let failed =
        place.text("SELECT json_extract(value, '$.failed') FROM meta WHERE name = 'status'");
    assert!(failed.contains(&path), "{failed}");
}
