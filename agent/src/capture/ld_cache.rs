//! The dynamic linker's cache, `/etc/ld.so.cache`: which libraries the host's programs will map.

use std::fs;
use std::path::PathBuf;

/// Format of glibc since 2.2 (sysdeps/generic/dl-cache.h, `struct cache_file_new`): magic and
/// version, number of entries, length of the strings, 20 bytes unused, then entries of 24 bytes
/// whose third word is the offset of the path from the start of the file.
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 24;
const PATH_FIELD: usize = 8;

/// The libraries whose file name starts with `prefix`; none where there is no cache (musl).
pub(super) fn libraries(prefix: &str) -> Vec<PathBuf> {
    fs::read("/etc/ld.so.cache")
        .map(|cache| parse(&cache, prefix))
        .unwrap_or_default()
}

fn parse(cache: &[u8], prefix: &str) -> Vec<PathBuf> {
    // A cache that also holds the format before 2.2 has the newer one behind it.
    let Some(start) = cache
        .windows(MAGIC.len())
        .position(|window| window == MAGIC)
    else {
        return Vec::new();
    };
    let cache = cache.get(start..).unwrap_or_default();
    let word = |at: usize| {
        let bytes = cache.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_ne_bytes(*bytes)).ok()
    };
    let entries = word(MAGIC.len()).unwrap_or(0);
    let mut paths: Vec<PathBuf> = (0..entries)
        .map_while(|index| word(HEADER_BYTES + index.checked_mul(ENTRY_BYTES)? + PATH_FIELD))
        .filter_map(|at| {
            let path = cache.get(at..)?.split(|byte| *byte == 0).next()?;
            let path = std::str::from_utf8(path).ok()?;
            let (_, name) = path.rsplit_once('/')?;
            name.starts_with(prefix).then(|| PathBuf::from(path))
        })
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(paths: &[&str]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u32::try_from(paths.len()).unwrap().to_ne_bytes());
        bytes.resize(HEADER_BYTES, 0);
        let mut at = HEADER_BYTES + paths.len() * ENTRY_BYTES;
        let mut strings = Vec::new();
        for path in paths {
            bytes.extend([0; PATH_FIELD]);
            bytes.extend(u32::try_from(at).unwrap().to_ne_bytes());
            bytes.extend([0; ENTRY_BYTES - PATH_FIELD - 4]);
            strings.extend(path.as_bytes());
            strings.push(0);
            at += path.len() + 1;
        }
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn libraries_are_found_by_the_start_of_their_name() {
        let cache = cache(&[
            "/lib/libssl.so.3",
            "/lib/libc.so.6",
            "/opt/ssl/libssl.so.1.1",
        ]);
        assert_eq!(
            parse(&cache, "libssl"),
            [
                PathBuf::from("/lib/libssl.so.3"),
                PathBuf::from("/opt/ssl/libssl.so.1.1")
            ]
        );
    }

    #[test]
    fn a_cut_or_foreign_cache_gives_what_is_there_and_no_panic() {
        let cache = cache(&["/lib/libssl.so.3", "/lib/libc.so.6"]);
        for end in 0..cache.len() {
            assert!(parse(&cache[..end], "libssl").len() <= 1);
        }
        assert!(parse(b"ld.so-1.7.0", "libssl").is_empty());
    }
}
