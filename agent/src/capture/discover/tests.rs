use super::*;

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
        discovery.cannot_look(&error);
    }
    assert_eq!(told(&discovery), 1);
    // Files that this look asks for may be refused yet.
    discovery.scan_processes(Timestamp::default());
    assert_eq!(told(&discovery), 1);
    discovery.scan_processes(Timestamp::default());
    assert_eq!(told(&discovery), 0);
}
