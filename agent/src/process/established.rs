//! Which processes have TCP connections to a port, for a look without the kernel programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// LIMIT: bytes read of one list of sockets, some 50,000 connections; the rest is not looked at.
const MAX_LIST_BYTES: u64 = 8 << 20;

/// `TCP_ESTABLISHED` (include/net/tcp_states.h), as the lists write it.
const ESTABLISHED: &str = "01";

/// A process with connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Process id.
    pub pid: u32,
    /// Addresses that it is connected to.
    pub peers: BTreeSet<IpAddr>,
}

/// The processes with established connections to `port`, in any network namespace: of those that
/// this process may look at.
pub fn connected_to(port: u16) -> Vec<Connected> {
    let mut lists: BTreeMap<String, BTreeMap<u64, IpAddr>> = BTreeMap::new();
    let mut found = Vec::new();
    for pid in pids() {
        let dir = Path::new("/proc").join(pid.to_string());
        let Some(namespace) = link(&dir.join("ns/net")) else {
            continue;
        };
        let sockets = lists
            .entry(namespace)
            .or_insert_with(|| established(&dir, port));
        if sockets.is_empty() {
            continue;
        }
        let peers: BTreeSet<_> = open_sockets(&dir)
            .filter_map(|inode| sockets.get(&inode).copied())
            .collect();
        if !peers.is_empty() {
            found.push(Connected { pid, peers });
        }
    }
    found
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Inode numbers of the sockets that a process has open.
fn open_sockets(dir: &Path) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(dir.join("fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let target = link(&entry.path())?;
        target
            .strip_prefix("socket:[")?
            .strip_suffix(']')?
            .parse()
            .ok()
    })
}

fn link(path: &Path) -> Option<String> {
    Some(fs::read_link(path).ok()?.to_str()?.to_owned())
}

/// Sockets of a network namespace that are connected to a port, with the address.
fn established(dir: &Path, port: u16) -> BTreeMap<u64, IpAddr> {
    let mut sockets = BTreeMap::new();
    for list in ["net/tcp", "net/tcp6"] {
        let mut text = Vec::new();
        let is_read = File::open(dir.join(list))
            .and_then(|file| file.take(MAX_LIST_BYTES).read_to_end(&mut text))
            .is_ok();
        if is_read {
            let text = String::from_utf8_lossy(&text);
            sockets.extend(text.lines().filter_map(|line| socket(line, port)));
        }
    }
    sockets
}

/// Inode number and peer of a line: number, local and remote address, state, and with six fields in
/// between the inode (Documentation/networking/proc_net_tcp.rst).
fn socket(line: &str, port: u16) -> Option<(u64, IpAddr)> {
    let mut fields = line.split_ascii_whitespace();
    let (address, found) = fields.nth(2)?.split_once(':')?;
    let state = fields.next()?;
    let inode = fields.nth(5)?.parse().ok()?;
    if state != ESTABLISHED || u16::from_str_radix(found, 16) != Ok(port) {
        return None;
    }
    Some((inode, address_of(address)?))
}

/// An address as words of 32 bits in the machine's byte order, in hex.
fn address_of(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let address = if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_slice()) {
        IpAddr::V4(Ipv4Addr::from(v4))
    } else {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_established_connections_to_the_port_count() {
        let line = |state: &str, port: &str| {
            format!(
                "   1: 0100007F:A2B4 {}:{port} {state} 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 20 4 30 10 -1",
                hex(&[192, 0, 2, 1])
            )
        };
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(socket(&line("01", "01BB"), 443), Some((4711, peer)));
        assert_eq!(socket(&line("0A", "01BB"), 443), None);
        assert_eq!(socket(&line("01", "01BC"), 443), None);
        for damaged in ["", "  sl  local_address rem_address   st", "1: 2 3 4 5 6"] {
            assert_eq!(socket(damaged, 443), None, "{damaged}");
        }
    }

    fn hex(bytes: &[u8]) -> String {
        let (words, _) = bytes.as_chunks::<4>();
        let words = words.iter().map(|word| u32::from_ne_bytes(*word));
        words.map(|word| format!("{word:08X}")).collect()
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
        assert_eq!(address_of(&hex(&v6.octets())), Some(IpAddr::V6(v6)));
        let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(
            address_of(&hex(&mapped.octets())),
            Some("192.0.2.1".parse().unwrap())
        );
        for damaged in ["", "0", "0000000G", "00000000000000"] {
            assert_eq!(address_of(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn a_connection_of_this_process_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(connected_to(port), []);
        let _connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let expected = Connected {
            pid: std::process::id(),
            peers: BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST)]),
        };
        assert_eq!(connected_to(port), [expected]);
    }
}
