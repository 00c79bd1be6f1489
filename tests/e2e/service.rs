//! The files of the service: what systemd says of the unit, and who gets which.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use agent::privilege;

/// What `systemd-analyze security` may give at most, in tenths.
const EXPOSURE_LIMIT: u32 = 20;

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("packaging")
        .join(file)
}

/// A folder with the unit, for the binary under test, and with these drop-ins.
fn unit(drop_ins: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(packaging("bpftok.service")).unwrap();
    let path = folder.path().join("bpftok.service");
    let text = text.replace("/usr/bin/bpftok", env!("CARGO_BIN_EXE_bpftok"));
    fs::write(&path, text).unwrap();
    let beside = folder.path().join("bpftok.service.d");
    fs::create_dir(&beside).unwrap();
    for drop_in in drop_ins {
        fs::copy(packaging(drop_in), beside.join(drop_in)).unwrap();
    }
    (folder, path)
}

fn analyze(arguments: &[&str], unit: &Path) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .output()
        .unwrap()
}

/// The values of a key of a file, in their order.
fn values(file: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(packaging(file)).unwrap();
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

#[test]
fn systemd_has_nothing_to_say_against_the_unit() {
    for drop_ins in [&[][..], &["older-kernel.conf"], &["network.conf"]] {
        let (_folder, unit) = unit(drop_ins);
        let output = analyze(&["verify", "--man=no"], &unit);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{drop_ins:?}: {said}");
        assert_eq!(said, "", "{drop_ins:?}");
    }
}

#[test]
fn the_sandbox_stays_narrow() {
    for drop_ins in [&[][..], &["older-kernel.conf"]] {
        let (_folder, unit) = unit(drop_ins);
        let limit = format!("--threshold={EXPOSURE_LIMIT}");
        let output = analyze(&["security", "--offline=true", &limit], &unit);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{drop_ins:?}: {said}");
        assert!(said.contains("Overall exposure level"), "{said}");
    }
}

#[test]
fn the_unit_gives_the_rights_that_the_agent_asks_for() {
    let named = |rights: privilege::Rights| {
        let mut names = privilege::names(rights);
        names.sort();
        names
    };
    let given = |file: &str, key: &str| {
        let lines = values(file, key);
        assert_eq!(lines.len(), 1, "{file}: {key}");
        let mut names: Vec<_> = lines[0].split(' ').map(str::to_owned).collect();
        names.sort();
        names
    };
    for (file, rights) in [
        (
            "bpftok.service",
            privilege::LOADING.union(privilege::READING),
        ),
        (
            "older-kernel.conf",
            privilege::ATTACHING_SINGLY.union(privilege::READING),
        ),
    ] {
        for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
            assert_eq!(given(file, key), named(rights), "{file}: {key}");
        }
    }
}

#[test]
fn every_directive_of_the_unit_is_in_the_manual() {
    let manual =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/service.md")).unwrap();
    let text = fs::read_to_string(packaging("bpftok.service")).unwrap();
    let missing: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, _)| key)
        .filter(|key| !manual.contains(&format!("`{key}")))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_drop_in_is_there_on_kernels_that_need_it_and_goes_with_them() {
    let root = tempfile::tempdir().unwrap();
    let link = root
        .path()
        .join("etc/systemd/system/bpftok.service.d/10-older-kernel.conf");
    let fit = |release: &str| {
        let status = Command::new("sh")
            .arg(packaging("fit-service"))
            .arg(release)
            .env("BPFTOK_ROOT", root.path())
            .status();
        (status.unwrap().code(), link.is_symlink())
    };
    for (release, is_older) in [
        ("6.12.48+deb13-amd64", false),
        ("5.10.0-31-cloud-amd64", true),
        ("5.10.0-31-cloud-amd64", true),
        ("6.5.13", true),
        ("6.6", false),
        ("6.1.0-40-amd64", true),
        ("7.2.13+deb14-cloud-amd64", false),
        ("10.0.1", false),
    ] {
        assert_eq!(fit(release), (Some(0), is_older), "{release}");
    }
    assert_eq!(fit("unknown"), (Some(64), false));
    // What somebody else put there stays.
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    fs::write(&link, "[Service]\n").unwrap();
    assert_eq!(fit("6.12.1"), (Some(0), false));
    assert!(link.is_file());
}
