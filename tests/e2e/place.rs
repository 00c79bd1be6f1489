//! Where a ledger may not be (RELIABILITY B5), and what its files look like.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use agent::store::{Error, Keep, Writer};

use crate::world::{Home, host, is_root};

fn open(path: &Path) -> Result<(), Error> {
    Writer::open(path, host(), Keep::default())?.close()
}

#[track_caller]
fn is_refused(path: &Path, because: &str) {
    match open(path) {
        Err(Error::Unsafe { why, .. }) => assert!(why.contains(because), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_writer_makes_is_closed_to_others() {
    let home = Home::with(&[]);
    let mode = |name: &str| fs::metadata(home.path(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode("state"), 0o750);
    for name in ["usage.db", "usage.db-wal", "usage.db-shm", "usage.db.lock"] {
        assert_eq!(mode(&format!("state/{name}")), 0o640, "{name}");
    }
}

#[test]
fn a_link_in_the_place_of_any_file_is_refused_and_not_followed() {
    for name in [
        "usage.db",
        "usage.db-wal",
        "usage.db-shm",
        "usage.db-journal",
        "usage.db.lock",
    ] {
        let home = Home::new();
        fs::create_dir(home.path("state")).unwrap();
        fs::write(home.path("victim"), "precious").unwrap();
        symlink(home.path("victim"), home.path("state").join(name)).unwrap();
        is_refused(&home.db(), "symbolic link");
        fs::remove_file(home.path("state").join(name)).unwrap();
        fs::hard_link(home.path("victim"), home.path("state").join(name)).unwrap();
        is_refused(&home.db(), "hard link");
        assert_eq!(fs::read_to_string(home.path("victim")).unwrap(), "precious");
    }
}

#[test]
fn a_place_that_others_may_change_is_refused() {
    let home = Home::new();
    fs::create_dir(home.path("state")).unwrap();
    for mode in [0o777, 0o1777, 0o775] {
        fs::set_permissions(home.path("state"), fs::Permissions::from_mode(mode)).unwrap();
        is_refused(&home.db(), "others may write to it");
    }
    fs::set_permissions(home.path("state"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(home.db(), "").unwrap();
    fs::set_permissions(home.db(), fs::Permissions::from_mode(0o666)).unwrap();
    is_refused(&home.db(), "others may write to it");
    fs::remove_file(home.db()).unwrap();
    fs::create_dir(home.db()).unwrap();
    is_refused(&home.db(), "no regular file");
}

#[test]
fn a_directory_above_that_others_may_change_is_refused() {
    let home = Home::new();
    fs::create_dir_all(home.path("open/state")).unwrap();
    fs::set_permissions(home.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    is_refused(&home.path("open/state/usage.db"), "replace what is below");
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    fs::create_dir(home.path("state")).unwrap();
    fs::write(home.db(), "").unwrap();
    chown(home.db(), Some(65_534), None).unwrap();
    is_refused(&home.db(), "belongs to another user");
    chown(home.db(), Some(0), None).unwrap();
    chown(home.path("state"), Some(65_534), None).unwrap();
    is_refused(&home.db(), "belongs to another user");
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let home = Home::new();
    fs::create_dir(home.path("state")).unwrap();
    rusqlite::Connection::open(home.db())
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    let before = fs::read(home.db()).unwrap();
    assert!(matches!(open(&home.db()), Err(Error::Foreign { .. })));
    assert_eq!(fs::read(home.db()).unwrap(), before);
}
