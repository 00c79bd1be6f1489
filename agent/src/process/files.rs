//! Files whose code a process has mapped.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;

/// LIMIT: bytes read of one process's list of mappings; what lies beyond is not looked at.
const MAX_MAPS_BYTES: u64 = 8 << 20;

/// Paths of the files whose code a process has mapped, as it sees them; `None` if it is gone or may
/// not be looked at.
pub fn code_files(pid: u32) -> Option<BTreeSet<String>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/maps"))
        .ok()?
        .take(MAX_MAPS_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    // A process that ended has none.
    let files: BTreeSet<_> = String::from_utf8_lossy(&bytes)
        .lines()
        .filter_map(code_file)
        .map(str::to_owned)
        .collect();
    (!files.is_empty()).then_some(files)
}

/// The file of an executable mapping: range, permissions, offset, device, inode, path
/// (proc_pid_maps(5)).
fn code_file(line: &str) -> Option<&str> {
    let (_range, rest) = line.split_once(' ')?;
    let (permissions, rest) = rest.split_once(' ')?;
    let (_offset, rest) = rest.split_once(' ')?;
    let (_device, rest) = rest.split_once(' ')?;
    let (_inode, path) = rest.split_once(' ')?;
    let path = path.trim_start();
    (permissions.contains('x') && path.starts_with('/')).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_counts() {
        let library = "7f00-7f10 r-xp 00001000 fd:01 1234      /usr/lib/lib ssl.so.3 (deleted)";
        assert_eq!(code_file(library), Some("/usr/lib/lib ssl.so.3 (deleted)"));
        for other in [
            "7f00-7f10 r--p 00001000 fd:01 1234 /usr/lib/libssl.so.3",
            "7f00-7f10 r-xp 00000000 00:00 0 [vdso]",
            "7f00-7f10 r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(code_file(other), None, "{other}");
        }
    }

    #[test]
    fn this_process_has_its_executable_mapped_and_one_that_is_gone_nothing() {
        let exe = std::env::current_exe().unwrap().display().to_string();
        assert!(code_files(std::process::id()).unwrap().contains(&exe));
        assert_eq!(code_files(u32::MAX), None);
    }
}
