//! A network of one test's own, in which the providers' names lead to loopback, so that clients
//! which have the providers' hosts built in talk to an endpoint of ours and to nobody else.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use tempfile::TempDir;

use crate::agent::skip;

/// A network namespace with loopback only, and a mount namespace with a hosts file of its own. No
/// process lives in them but what [`Namespace::inside`] starts, and they end with the last of those
/// and this value.
#[derive(Debug)]
pub(crate) struct Namespace {
    network: File,
    mounts: File,
    /// The files that are mounted over those of `/etc`.
    _dir: TempDir,
}

impl Namespace {
    /// One where each of `hosts` is 127.0.0.1, and no other name is known; `None`, with a `SKIP`
    /// line, where this machine makes no namespaces.
    pub(crate) fn make(hosts: &[&str], test: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("hosts");
        fs::write(&list, format!("127.0.0.1 localhost {}\n", hosts.join(" "))).unwrap();
        // Without a name server, a resolver asks the one on loopback, where nobody listens: unknown
        // names are refused at once.
        let resolver = dir.path().join("resolv.conf");
        fs::write(&resolver, "").unwrap();
        let made = on_own_thread(|| {
            split(UnshareFlags::NEWNET | UnshareFlags::NEWNS)?;
            run("busybox", &["ip", "link", "set", "lo", "up"]);
            run("mount", &["--make-rprivate", "/"]);
            for (file, place) in [(&list, "/etc/hosts"), (&resolver, "/etc/resolv.conf")] {
                run("mount", &["--bind", file.to_str().unwrap(), place]);
            }
            let open = |kind| File::open(format!("/proc/thread-self/ns/{kind}"));
            io::Result::Ok((open("net")?, open("mnt")?))
        });
        match made {
            Ok((network, mounts)) => Some(Self {
                network,
                mounts,
                _dir: dir,
            }),
            Err(error) => {
                skip(test, &format!("no namespace of its own: {error}"));
                None
            }
        }
    }

    /// Does `work` inside: a socket that it makes belongs to this network, and a process that it
    /// starts is in both namespaces from its first instruction.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on_own_thread(|| {
            move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))
                .unwrap();
            // A thread that shares its working folder with others can't change its mounts.
            split(UnshareFlags::FS).unwrap();
            move_into_link_name_space(self.mounts.as_fd(), Some(LinkNameSpaceType::Mount)).unwrap();
            work()
        })
    }

    /// Listens on a port of this network's loopback.
    pub(crate) fn listener(&self, port: u16) -> TcpListener {
        self.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
            .unwrap()
    }
}

/// Namespaces belong to threads, so what changes them is done on one that ends right after.
fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

fn split(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the flags are of namespaces and of the working folder; the table of descriptors, on
    // which other threads rely, stays shared.
    unsafe { unshare_unsafe(flags) }?;
    Ok(())
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(
        status.as_ref().is_ok_and(|status| status.success()),
        "{program} {arguments:?}: {status:?}"
    );
}

#[test]
fn a_namespace_reaches_loopback_by_the_providers_names_and_nothing_else() {
    let test = "namespace";
    let Some(namespace) = Namespace::make(&["api.anthropic.com"], test) else {
        return;
    };
    let listener = namespace.listener(443);
    let lookup = |name: &str| {
        let mut command = Command::new("getent");
        command.args(["ahosts", name]);
        let output = namespace.inside(move || command.output().unwrap());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(lookup("api.anthropic.com").starts_with("127.0.0.1 "));
    assert_eq!(lookup("api.openai.com"), "");
    // There is no way out, so this fails without a packet.
    let outside = SocketAddr::from(([192, 0, 2, 1], 443));
    let outcome = namespace.inside(|| TcpStream::connect(outside));
    assert_eq!(
        outcome.unwrap_err().kind(),
        io::ErrorKind::NetworkUnreachable
    );
    assert_eq!(listener.local_addr().unwrap().port(), 443);
    let taken = namespace.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 443)));
    assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}
