use super::*;
use crate::capture::maps::Maps;

#[test]
fn it_waits_for_the_programs_that_are_installed() {
    let mut discovery = Discovery::new(None, None).unwrap();
    assert!(!discovery.is_waiting());
    discovery.listen(Arc::default());
    assert!(discovery.is_waiting());
    while discovery.awaits_survey {
        let sighting = discovery.sightings.blocking_recv().unwrap();
        discovery.take(sighting, Timestamp::default());
    }
    discovery.settle(Timestamp::default);
    assert!(!discovery.is_waiting());
}

#[test]
fn want_of_files_is_told_once_and_until_a_look_at_all_processes_meets_none() {
    let mut discovery = Discovery::new(None, None).unwrap();
    let told = |discovery: &Discovery| discovery.reported.refused().count();
    for _ in 0..2 {
        let error = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        discovery.cannot_look(error);
    }
    assert_eq!(told(&discovery), 1);
    // Files that this look asks for may be refused yet.
    discovery.scan_processes(Timestamp::default());
    assert_eq!(told(&discovery), 1);
    discovery.scan_processes(Timestamp::default());
    assert_eq!(told(&discovery), 0);
}

#[test]
fn a_list_of_processes_that_cannot_be_read_is_told_whatever_the_reason() {
    let mut discovery = Discovery::new(None, None).unwrap();
    discovery.cannot_look(io::Error::from(io::ErrorKind::PermissionDenied));
    let told: Vec<_> = discovery.targets().cloned().collect();
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0].refusal.as_deref(),
        Some("not all that runs can be looked at: permission denied")
    );
}

#[test]
fn a_file_that_waits_for_room_is_looked_at_again_while_a_process_has_it_mapped() {
    let mut discovery = Discovery::new(None, None).unwrap();
    let maps = Maps::of(std::process::id()).unwrap().unwrap();
    let mapping = maps.code().next().unwrap();
    let range = dir_of(std::process::id()).join("map_files");
    let key = mapping.key;
    let plain = || Seen {
        generation: None,
        stamp: stamp_at(&range.join(mapping.range)).ok(),
        is: SeenAs::Plain,
    };
    let is_plain = |discovery: &Discovery| matches!(discovery.seen[&key].is, SeenAs::Plain);
    discovery.seen.insert(key, plain());
    discovery.scan_processes(Timestamp::default());
    assert!(is_plain(&discovery));

    let nowhere = MapKey { inode: 0, ..key };
    let refusal = || Refusal::NotRegular {
        path: PathBuf::new(),
    };
    for (key, path) in [(key, "/mapped"), (nowhere, "/gone")] {
        discovery.seen.insert(key, plain());
        discovery.want_room.add_mapped(key, PathBuf::from(path));
        discovery.refuse(&refusal(), PathBuf::from(path));
    }
    discovery.scan_processes(Timestamp::default());
    assert!(!is_plain(&discovery));
    assert!(discovery.want_room.is_empty());
    let refused: Vec<_> = discovery.targets().map(|target| &target.path).collect();
    assert_eq!(refused, [Path::new("/mapped")]);
}
