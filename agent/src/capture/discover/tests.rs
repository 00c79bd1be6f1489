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
