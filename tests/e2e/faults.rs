//! The ledger's disk fails, fills and loses its power; the ledger is locked, damaged and deleted; the
//! agent is killed. Whoever gives records never waits, and what was stored stays, once.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, io};

use agent::alert::Channels;
use agent::config::{self, Config};
use agent::keeper::{CallLines, Keeper, Watching};
use agent::store::{AgentStatus, Durability, Error, Keep, Writer};
use agent::watcher;
use agent_core::pipeline::Output;
use agent_core::watch;
use rusqlite::Connection;

use crate::world::{Home, host, record, usage};

/// Kills in all, and how many on one ledger.
const KILLS: usize = 200;
const KILLS_OF_A_LEDGER: usize = 10;
const WORKERS: usize = 4;

/// Longest life of a writer that writes as fast as it can.
const SHORT: Duration = Duration::from_millis(200);

/// Life of one that is killed after it has committed some times.
const LONG: Duration = Duration::from_millis(1_700);

/// How much may be lost with a process that is killed.
const LOSS: Duration = Duration::from_secs(1);

/// Records that a writer gives again, which its predecessor gave before.
const AGAIN: u64 = 20;

/// Power cuts.
const CUTS: usize = 50;

/// Longest wait for what comes at its own pace.
const LIMIT: Duration = Duration::from_secs(60);

/// Longest time in which a record is taken, whatever the ledger does: its lock is waited for for a
/// second, by who commits and by who says how it stands.
const TAKEN_WITHIN: Duration = Duration::from_secs(4);

/// Where a writer that is to be killed has its ledger, and what number its first record has.
const LEDGER: &str = "BPFTOK_TEST_LEDGER";
const FIRST: &str = "BPFTOK_TEST_FIRST";
const PAUSE_US: &str = "BPFTOK_TEST_PAUSE_US";

fn numbered(number: u64) -> Output {
    usage(record(&format!("msg_{number:08}"), "2026-11-01T15:00:00Z"))
}

fn watching() -> Watching {
    let configured = Config::default();
    Watching {
        settings: watcher::Settings {
            rules: watch::Settings {
                budgets: Vec::new(),
                zone: None,
                runaway: configured.runaway,
                spike: configured.spike,
                upkeep: configured.rules,
            },
            prices: Arc::default(),
            price_list_ms: None,
            host_name: "build-01".to_owned(),
        },
        channels: Channels::new(&[]),
        budget_of: config::budget_of,
        definition_of: config::definition_of,
    }
}

/// A keeper at work, and who gives it records.
struct Kept {
    outputs: Option<SyncSender<Vec<Output>>>,
    keeper: Option<JoinHandle<Result<(), Error>>>,
    next: u64,
}

impl Kept {
    fn start(writer: Writer, most_waiting: usize) -> Self {
        let (outputs, outputs_in) = mpsc::sync_channel(1_024);
        let keeper = Keeper::new(writer, CallLines::Off, AgentStatus::default, watching())
            .with_most_waiting(most_waiting);
        Self {
            outputs: Some(outputs),
            keeper: Some(thread::spawn(move || keeper.run(&outputs_in))),
            next: 0,
        }
    }

    /// Gives records, each by itself, as a line that is not to stand still.
    #[track_caller]
    fn give(&mut self, count: u64) {
        for _ in 0..count {
            let began = Instant::now();
            let outputs = self.outputs.as_ref().unwrap();
            outputs.send(vec![numbered(self.next)]).unwrap();
            assert!(began.elapsed() < TAKEN_WITHIN, "the line stood still");
            self.next += 1;
        }
    }

    fn stop(mut self) {
        self.outputs = None;
        self.keeper.take().unwrap().join().unwrap().unwrap();
    }
}

/// A number that the ledger says; `None` while it can't be read.
fn number(db: &Path, sql: &str) -> Option<u64> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let ledger = Connection::open_with_flags(db, flags).ok()?;
    let number: i64 = ledger.query_row(sql, [], |row| row.get(0)).ok()?;
    number.try_into().ok()
}

fn stored(db: &Path) -> Option<u64> {
    number(db, "SELECT count(*) FROM request")
}

#[track_caller]
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not come to that");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The ledger is whole, has the calls 0 to `count` without a hole, and counts each once.
#[track_caller]
fn assert_whole(db: &Path, count: u64) {
    let ledger = Connection::open(db).unwrap();
    let row = |sql: &str| -> String { ledger.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(row("PRAGMA integrity_check"), "ok");
    let figures = row(
        "SELECT count(*) || ' ' || count(DISTINCT identity) || ' ' || ifnull(max(identity), '') || ' '
                || (SELECT ifnull(sum(request_count), 0) FROM session) || ' '
                || (SELECT ifnull(sum(requests), 0) FROM usage_15m)
         FROM request",
    );
    let last = match count {
        0 => String::new(),
        _ => format!("anthropic:msg_{:08}", count - 1),
    };
    assert_eq!(figures, format!("{count} {count} {last} {count} {count}"));
}

/// Not a test by itself: the process that another test kills.
#[test]
fn writes_until_it_is_killed() {
    let Some(db) = env::var_os(LEDGER) else {
        return;
    };
    let of = |name: &str| env::var(name).unwrap().parse::<u64>().unwrap();
    let pause = Duration::from_micros(of(PAUSE_US));
    let writer = Writer::open(Path::new(&db), host(), Keep::default()).unwrap();
    let mut kept = Kept::start(writer, 100_000);
    kept.next = of(FIRST);
    let began = Instant::now();
    let mut out = io::stderr();
    loop {
        kept.give(1);
        writeln!(out, "{} {}", kept.next, began.elapsed().as_micros()).unwrap();
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
}

/// Kills one writer; gives how many records it was given, and how many of these it should have
/// committed by its end.
fn kill_one(db: &Path, first: u64, rng: &mut fastrand::Rng, is_long: bool) -> (u64, u64) {
    let mut writer = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "faults::writes_until_it_is_killed",
            "--nocapture",
        ])
        .env(LEDGER, db)
        .env(FIRST, first.to_string())
        .env(PAUSE_US, if is_long { "4000" } else { "0" })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(writer.stderr.take().unwrap()).lines();
    let (sender, said) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let figures = line.split_once(' ').and_then(|(given, at)| {
                Some((given.parse::<u64>().ok()?, at.parse::<u64>().ok()?))
            });
            sender.send((line, figures)).unwrap();
        }
    });
    // Now and then before it has begun.
    let mut given = Vec::new();
    if is_long || rng.u8(..4) > 0 {
        let (line, figures) = said.recv().unwrap();
        given.push(figures.unwrap_or_else(|| panic!("{line}")));
    }
    let life = match is_long {
        true => LONG,
        false => SHORT.mul_f64(rng.f64()),
    };
    thread::sleep(life);
    writer.kill().unwrap();
    writer.wait().unwrap();
    reader.join().unwrap();
    given.extend(said.try_iter().filter_map(|(_, figures)| figures));
    let Some((all, ended)) = given.last().copied() else {
        return (first, first);
    };
    let safe = u128::from(ended).saturating_sub(LOSS.as_micros());
    let is_safe = |(_, at): &&(u64, u64)| u128::from(*at) <= safe;
    let safe = given
        .iter()
        .rfind(is_safe)
        .map_or(first, |(given, _)| *given);
    (all, safe)
}

#[test]
fn killed_two_hundred_times_while_it_writes_it_loses_less_than_a_second_and_counts_nothing_twice() {
    let ledgers = Arc::new(Mutex::new(0..KILLS / KILLS_OF_A_LEDGER));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let ledgers = Arc::clone(&ledgers);
            thread::spawn(move || {
                let mut kills = 0;
                while let Some(ledger) = { ledgers.lock().unwrap().next() } {
                    let mut rng = fastrand::Rng::with_seed(ledger.try_into().unwrap());
                    let home = Home::new();
                    fs::create_dir(home.path("state")).unwrap();
                    let mut count = 0;
                    for kill in 1..=KILLS_OF_A_LEDGER {
                        let first = count.max(AGAIN) - AGAIN;
                        let is_long = kill == KILLS_OF_A_LEDGER;
                        let (given, safe) = kill_one(&home.db(), first, &mut rng, is_long);
                        // It may be gone before there is a ledger at all.
                        let after = stored(&home.db()).unwrap_or(0);
                        assert!(
                            after >= count && after >= safe,
                            "{after} of {given} are left, {count} and {safe} should be"
                        );
                        if after > 0 {
                            assert_whole(&home.db(), after);
                        }
                        count = after;
                        kills += 1;
                    }
                    assert!(count > 0);
                }
                kills
            })
        })
        .collect();
    let kills: usize = workers
        .into_iter()
        .map(|worker| worker.join().unwrap())
        .sum();
    assert_eq!(kills, KILLS);
}

/// A file system of its own, in a file or in memory; unmounted with the value.
struct Disk {
    path: PathBuf,
}

fn runs(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Disk {
    /// Memory of this size; `None`, with a `SKIP` line, where this process may not mount.
    fn in_memory(path: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=0750"),
                "tmpfs",
            ])
            .arg(&path);
        Self::mounted(&mut mount, path)
    }

    /// An ext4 in this image.
    fn in_file(image: &Path, path: PathBuf) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mut mount = Command::new("mount");
        mount
            // Its own clock writes nothing: what is on the disk was asked for.
            .args(["-t", "ext4", "-o", "loop,commit=300"])
            .arg(image)
            .arg(&path);
        Self::mounted(&mut mount, path)
    }

    fn mounted(mount: &mut Command, path: PathBuf) -> Option<Self> {
        if runs(mount) {
            return Some(Self { path });
        }
        println!("SKIP a disk of the test's own: mounting needs root and loop devices");
        None
    }

    /// Takes all of its room; gives the file that has it.
    fn fill(&self) -> PathBuf {
        let path = self.path.join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        path
    }

    /// Cuts its power.
    fn cut(&self) {
        Cutter::at(self).cut();
    }

    /// Has its driver find an error: from then on it can only be read.
    fn abort(&self) {
        let mut mount = Command::new("mount");
        assert!(runs(mount.args(["-o", "remount,abort"]).arg(&self.path)));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        assert!(runs(Command::new("umount").arg("-l").arg(&self.path)));
    }
}

/// An image with an empty ext4.
fn image(home: &Home) -> Option<PathBuf> {
    let image = home.path("image");
    let file = fs::File::create(&image).unwrap();
    file.set_len(24 << 20).unwrap();
    if runs(Command::new("mkfs.ext4").arg("-q").arg(&image)) {
        return Some(image);
    }
    println!("SKIP a disk of the test's own: there is no mkfs.ext4");
    None
}

/// Cuts the power of a disk: nothing that was not synced reaches the image, and whatever is open
/// fails. It is what tests of file systems do (`EXT4_IOC_SHUTDOWN` without flushing the journal).
struct Cutter(Child);

impl Cutter {
    /// One that is ready to.
    fn at(disk: &Disk) -> Self {
        let script = "import fcntl, os, struct, sys\n\
                      folder = os.open(sys.argv[1], os.O_RDONLY)\n\
                      print(flush=True)\n\
                      sys.stdin.readline()\n\
                      fcntl.ioctl(folder, 0x8004587d, struct.pack('I', 2))\n";
        let mut python = Command::new("python3")
            .args(["-c", script])
            .arg(&disk.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0];
        let stdout = python.stdout.as_mut().unwrap();
        stdout.read_exact(&mut ready).unwrap();
        Self(python)
    }

    fn cut(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// Commits until the power is cut; gives how many records were said to be stored before, and how many
/// may be at most.
fn write_until_cut(
    mut writer: Writer,
    first: u64,
    disk: &Disk,
    wait: impl FnOnce(&AtomicU64),
) -> (u64, u64) {
    const BATCH: u64 = 7;
    let cutter = Cutter::at(disk);
    let announced = Arc::new(AtomicU64::new(first));
    let committer = {
        let announced = Arc::clone(&announced);
        thread::spawn(move || {
            let mut next = first;
            loop {
                let batch: Vec<_> = (next..next + BATCH).map(numbered).collect();
                if let Err(error) = writer.apply(&batch) {
                    // SQLite takes a page that can't be read for a damaged one.
                    assert!(error.is_retryable() || error.is_corrupt(), "{error}");
                    return next + BATCH;
                }
                next += BATCH;
                announced.store(next, Ordering::SeqCst);
            }
        })
    };
    wait(&announced);
    let stored = announced.load(Ordering::SeqCst);
    cutter.cut();
    (stored, committer.join().unwrap())
}

#[test]
fn a_power_cut_takes_back_nothing_that_was_said_to_be_stored() {
    let home = Home::new();
    let Some(image) = image(&home) else { return };
    let db = home.db();
    let folder = db.parent().unwrap().to_owned();
    let mut rng = fastrand::Rng::with_seed(3);
    let mut count = 0;
    for _ in 0..CUTS {
        let Some(disk) = Disk::in_file(&image, folder.clone()) else {
            return;
        };
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
        let life = Duration::from_micros(rng.u64(0..60_000));
        let (least, most) = write_until_cut(home.writer(), count, &disk, |_| thread::sleep(life));
        drop(disk);
        // A machine starts again: the journal of the file system is played back.
        let disk = Disk::in_file(&image, folder.clone()).unwrap();
        let after = stored(&db).unwrap();
        assert!((least..=most).contains(&after), "{after} of {least}");
        assert_whole(&db, after);
        count = after;
        drop(disk);
    }
    assert!(count > 0);

    // What is not synced is lost by such a cut: the ones above were cuts.
    let disk = Disk::in_file(&image, folder.clone()).unwrap();
    let mut writer = home.writer();
    writer.set_durability(Durability::Temporary).unwrap();
    let (least, _) = write_until_cut(writer, count, &disk, |announced| {
        wait_until(|| announced.load(Ordering::SeqCst) > count);
    });
    drop(disk);
    let disk = Disk::in_file(&image, folder).unwrap();
    assert!(stored(&db).is_none_or(|after| after < least));
    drop(disk);
}

#[test]
fn while_the_disk_is_full_nobody_waits_and_what_waited_is_stored_once_there_is_room() {
    let home = Home::new();
    let Some(disk) = Disk::in_memory(home.path("state"), "8m") else {
        return;
    };
    let mut kept = Kept::start(home.writer(), 100_000);
    kept.give(10);
    wait_until(|| stored(&home.db()) == Some(10));
    let ballast = disk.fill();
    kept.give(5_000);
    assert!(stored(&home.db()).is_none_or(|stored| stored < 5_010));
    fs::remove_file(ballast).unwrap();
    wait_until(|| stored(&home.db()) == Some(5_010));
    kept.give(10);
    kept.stop();
    assert_whole(&home.db(), 5_020);
}

#[test]
fn what_waits_for_a_disk_is_bounded_and_what_is_given_up_is_counted() {
    let home = Home::new();
    let Some(disk) = Disk::in_memory(home.path("state"), "8m") else {
        return;
    };
    let writer = home.writer();
    let ballast = disk.fill();
    let mut kept = Kept::start(writer, 1_000);
    kept.give(3_000);
    fs::remove_file(ballast).unwrap();
    kept.stop();
    let sql =
        "SELECT json_extract(value, '$.counters.records_given_up') FROM meta WHERE name = 'status'";
    let given_up = number(&home.db(), sql).unwrap();
    let stored = stored(&home.db()).unwrap();
    assert_eq!(stored + given_up, 3_000);
    assert!(stored >= 1_000 && given_up > 0, "{stored} and {given_up}");
    let last = number(
        &home.db(),
        "SELECT count(*) FROM request WHERE identity = 'anthropic:msg_00002999'",
    );
    assert_eq!(last, Some(1), "the oldest go first");
}

#[test]
fn a_disk_that_fails_or_turns_read_only_stops_nobody_and_another_in_its_place_gets_all() {
    for fail in [Disk::cut, Disk::abort] {
        let home = Home::new();
        let Some(first) = image(&home) else { return };
        let db = home.db();
        let folder = db.parent().unwrap().to_owned();
        let Some(disk) = Disk::in_file(&first, folder.clone()) else {
            return;
        };
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
        let mut kept = Kept::start(home.writer(), 100_000);
        kept.give(10);
        wait_until(|| stored(&db) == Some(10));
        fail(&disk);
        kept.give(3_000);
        // The keeper has files of it open, so that it goes when these are closed.
        drop(disk);
        let second = home.path("second");
        fs::copy(&first, &second).unwrap();
        let disk = Disk::in_file(&second, folder).unwrap();
        wait_until(|| stored(&db) == Some(3_010));
        kept.stop();
        assert_whole(&db, 3_010);
        assert!(set_aside(&db).is_empty(), "no ledger was damaged");
        drop(disk);
    }
}

#[test]
fn while_another_holds_the_ledger_nobody_waits_and_then_all_is_stored() {
    let home = Home::new();
    let mut kept = Kept::start(home.writer(), 100_000);
    kept.give(10);
    wait_until(|| stored(&home.db()) == Some(10));
    let other = Connection::open(home.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // More than are committed at once, and than the queue to the keeper takes.
    kept.give(5_000);
    assert_eq!(stored(&home.db()), Some(10));
    other.execute_batch("ROLLBACK").unwrap();
    wait_until(|| stored(&home.db()) == Some(5_010));

    // One who reads for as long as he likes holds up nobody.
    let reader = Connection::open(home.db()).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM request")
        .unwrap_or_default();
    let seen: i64 = reader
        .query_row("SELECT count(*) FROM request", [], |row| row.get(0))
        .unwrap();
    kept.give(10);
    wait_until(|| stored(&home.db()) == Some(5_020));
    let sees: i64 = reader
        .query_row("SELECT count(*) FROM request", [], |row| row.get(0))
        .unwrap();
    assert_eq!((seen, sees), (5_010, 5_010));
    drop(reader);
    kept.stop();
    assert_whole(&home.db(), 5_020);
}

/// Ledgers that were set aside.
fn set_aside(db: &Path) -> Vec<PathBuf> {
    let folder = fs::read_dir(db.parent().unwrap()).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("usage.db.corrupt-") && !name.ends_with("-wal")
        })
        .collect()
}

#[test]
fn a_ledger_that_is_damaged_while_it_is_open_is_set_aside_and_observation_goes_on() {
    let home = Home::new();
    let mut kept = Kept::start(home.writer(), 100_000);
    kept.give(3_000);
    wait_until(|| stored(&home.db()) == Some(3_000));
    // What another commits makes SQLite read anew what it has in memory.
    let other = Connection::open(home.db()).unwrap();
    other
        .execute_batch("BEGIN IMMEDIATE; INSERT INTO meta (name, value) VALUES ('test', 1)")
        .unwrap();
    for (suffix, kept) in [("", 4_096), ("-wal", 32)] {
        let mut path = home.db().into_os_string();
        path.push(suffix);
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len().saturating_sub(kept);
        let junk = vec![0xff; usize::try_from(length).unwrap()];
        file.write_all_at(&junk, kept).unwrap();
    }
    other.execute_batch("COMMIT").unwrap();
    drop(other);
    let begun = kept.next;
    wait_until(|| {
        kept.give(50);
        !set_aside(&home.db()).is_empty()
    });
    kept.give(10);
    let ended = kept.next;
    kept.stop();
    assert_eq!(set_aside(&home.db()).len(), 1);
    let ledger = Connection::open(home.db()).unwrap();
    let (ok, first, last, count): (String, String, String, i64) = ledger
        .query_row(
            "SELECT (SELECT integrity_check FROM pragma_integrity_check), min(identity), max(identity), count(*)
             FROM request",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap();
    assert_eq!(ok, "ok");
    assert_eq!(last, format!("anthropic:msg_{:08}", ended - 1));
    // Nothing of what came after the new one began is missing.
    let first: u64 = first.trim_start_matches("anthropic:msg_").parse().unwrap();
    assert!(first >= begun, "{first}");
    assert_eq!(u64::try_from(count).unwrap(), ended - first);
}

#[test]
fn a_ledger_that_is_deleted_while_it_is_open_is_made_anew_and_observation_goes_on() {
    let home = Home::new();
    let mut kept = Kept::start(home.writer(), 100_000);
    kept.give(10);
    wait_until(|| stored(&home.db()) == Some(10));
    for name in ["usage.db", "usage.db-wal", "usage.db-shm"] {
        fs::remove_file(home.path("state").join(name)).unwrap();
    }
    kept.give(20);
    wait_until(|| stored(&home.db()) == Some(20));
    kept.stop();
}

#[test]
fn a_ledger_that_cannot_be_begun_anew_is_begun_once_there_is_room() {
    let home = Home::new();
    let Some(disk) = Disk::in_memory(home.path("state"), "8m") else {
        return;
    };
    let mut writer = home.writer();
    writer.apply(&[numbered(0)]).unwrap();
    let ballast = disk.fill();
    assert!(writer.start_over().unwrap_err().is_retryable());
    assert!(writer.apply(&[numbered(1)]).is_err());
    fs::remove_file(ballast).unwrap();
    writer.apply(&[numbered(1)]).unwrap();
    writer.close().unwrap();
    assert_eq!(stored(&home.db()), Some(1));
    assert_eq!(set_aside(&home.db()).len(), 1);
}
