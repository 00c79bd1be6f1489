//! Facts about this machine, read from `/proc`.

use std::fs;
use std::path::PathBuf;

/// Whether this process has effective user id 0.
pub(crate) fn is_root() -> bool {
    status_field("Uid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

/// Whether this process may load and attach kernel programs: `CAP_BPF` and `CAP_PERFMON`, or
/// `CAP_SYS_ADMIN`.
pub(crate) fn may_use_bpf() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    const PERFMON_AND_BPF: u64 = 1 << 38 | 1 << 39;
    let capabilities = status_field("CapEff:")
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    capabilities & SYS_ADMIN != 0 || capabilities & PERFMON_AND_BPF == PERFMON_AND_BPF
}

/// Release of the running kernel, for example `6.1.0-49-cloud-amd64`.
pub(crate) fn kernel_release() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// Major and minor number of a kernel release.
pub(crate) fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Where `program` lies on `PATH`.
pub(crate) fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn status_field(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_release_starts_with_its_two_numbers() {
        assert_eq!(version_of("6.1.0-49-cloud-amd64"), Some((6, 1)));
        assert_eq!(version_of("7.2-rc1"), Some((7, 2)));
        assert_eq!(version_of("odd"), None);
    }
}
