//! The build id of an executable, kept by file: many processes run few programs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use agent_resolver::Source;

use super::open;

/// LIMIT: files that are remembered; beyond it all are read again.
const MAX_FILES: usize = 1_024;

/// Build ids by file.
#[derive(Debug, Default)]
pub(super) struct BuildIds {
    by_file: BTreeMap<FileStamp, Option<String>>,
}

/// A file at one time of its life.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FileStamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
}

impl BuildIds {
    /// The build id of a program, in hexadecimal digits.
    pub(super) fn of(&mut self, path: &Path) -> Option<String> {
        let file = open::regular_at(path)?;
        let metadata = file.metadata().ok()?;
        let stamp = FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        };
        if let Some(known) = self.by_file.get(&stamp) {
            return known.clone();
        }
        let program = Program {
            file,
            size: metadata.len(),
        };
        let id = agent_resolver::build_id(&program)
            .ok()
            .filter(|id| !id.is_empty());
        let id = id.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect());
        if self.by_file.len() >= MAX_FILES {
            self.by_file.clear();
        }
        self.by_file.insert(stamp, id.clone());
        id
    }
}

struct Program {
    file: File,
    size: u64,
}

impl Source for Program {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with one note, as linkers write it: elf(5).
    fn program(build_id: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        note.extend_from_slice(&4_u32.to_le_bytes());
        note.extend_from_slice(&u32::try_from(build_id.len()).unwrap().to_le_bytes());
        note.extend_from_slice(&3_u32.to_le_bytes());
        note.extend_from_slice(b"GNU\0");
        note.extend_from_slice(build_id);
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        // ET_DYN for x86-64, program headers behind the file header.
        file.extend_from_slice(&[3, 0, 62, 0, 1, 0, 0, 0]);
        file.extend_from_slice(&0_u64.to_le_bytes());
        file.extend_from_slice(&64_u64.to_le_bytes());
        file.extend_from_slice(&0_u64.to_le_bytes());
        file.extend_from_slice(&[0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
        // PT_NOTE, readable.
        file.extend_from_slice(&[4, 0, 0, 0, 4, 0, 0, 0]);
        let size = note.len() as u64;
        for field in [120, 0, 0, size, size, 4] {
            file.extend_from_slice(&u64::to_le_bytes(field));
        }
        file.extend_from_slice(&note);
        file
    }

    #[test]
    fn the_note_of_a_program_is_read_once_for_each_state_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let mut ids = BuildIds::default();
        std::fs::write(&path, program(&[0xab, 0x01, 0xff, 0x00])).unwrap();
        for _ in 0..2 {
            assert_eq!(ids.of(&path).as_deref(), Some("ab01ff00"));
        }
        assert_eq!(ids.by_file.len(), 1);
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        std::fs::write(&path, program(&[0x0c; 20])).unwrap();
        assert_eq!(ids.of(&path), Some("0c".repeat(20)));
        assert_eq!(ids.by_file.len(), 2);
    }

    #[test]
    fn a_file_without_a_note_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("script");
        let mut ids = BuildIds::default();
        for text in [
            b"#!/bin/sh\n".to_vec(),
            program(&[]),
            program(&[1; 20])[..130].to_vec(),
        ] {
            std::fs::remove_file(&path).unwrap_or_default();
            std::fs::write(&path, text).unwrap();
            assert_eq!(BuildIds::default().of(&path), None);
        }
        assert_eq!(ids.of(&dir.path().join("nothing")), None);
    }
}
