//! Opens files and finds out what is in them, on threads of its own: a search through a large file
//! takes a tenth of a second and more, and must delay nothing else.
//!
//! One thread takes everything in turn: it opens, knows again what it knew, and searches small
//! files. Large ones that are new go to two others, those first that a process is about to use.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use agent_resolver::{Kept, Resolution, Source as _, Unreadable};

use super::files::{self, Opened, Stamp};
use super::maps::dir_of;
use super::results::Results;
use crate::privilege;

/// Bytes from which a file is a large one. Shared TLS libraries are smaller, programs that carry
/// one are larger.
const LARGE_BYTES: u64 = 4 << 20;

/// Threads that search large files.
const SEARCHERS: [&str; 2] = ["search-1", "search-2"];

/// How long nothing new comes before what was found is written down.
const QUIET: Duration = Duration::from_secs(2);

/// How soon a large file is to be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Nobody runs it yet.
    Installed,
    /// A process has mapped it.
    Mapped,
    /// It is the program of a process.
    Program,
    /// The process that has mapped it opens a connection.
    Connecting,
}

/// A file to be looked at.
#[derive(Debug)]
pub(super) struct Request {
    /// Comes back with the answer.
    pub(super) ticket: u64,
    /// Paths that lead to it, best first.
    pub(super) ways: Vec<PathBuf>,
    /// Inode number that it has; another file at one of the paths is not it.
    pub(super) inode: Option<u64>,
    /// Who has mapped it.
    pub(super) pid: Option<u32>,
}

/// What is known of a file now.
#[derive(Debug)]
pub(super) struct Answer {
    /// The request's.
    pub(super) ticket: u64,
    /// What is in the file.
    pub(super) content: Content,
}

/// What is in a file.
#[derive(Debug)]
pub(super) enum Content {
    /// It can't be opened, or is gone.
    Unopened(io::Error),
    /// It is no file whose content could be mapped.
    NotRegular,
    /// It is not an ELF file for this kind of machine, or damaged.
    Unreadable(Opened, Unreadable),
    /// It carries no TLS library.
    Plain(Stamp),
    /// It carries one, and this is known of it.
    Tls(Box<Tls>),
}

/// A file that carries a TLS library.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) opened: Opened,
    pub(super) is_on_overlay: bool,
    pub(super) resolution: Resolution,
}

/// A large file that waits.
struct Large {
    request: Request,
    opened: Opened,
    urgency: Urgency,
}

#[derive(Default)]
struct Queue {
    /// In the order in which they came.
    waiting: Vec<Large>,
    is_closed: bool,
}

#[derive(Default)]
struct Shared {
    results: Mutex<Results>,
    queue: Mutex<Queue>,
    is_changed: Condvar,
}

impl Shared {
    fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads. They end when this is dropped, after the file they are at.
pub(super) struct Inspector {
    requests: Sender<Request>,
    shared: Arc<Shared>,
}

impl Inspector {
    /// Starts them. What was found is kept at `results`, if that is given, and every answer goes to
    /// `answer`.
    ///
    /// # Errors
    ///
    /// A thread can't be started.
    pub(super) fn start(
        results: Option<PathBuf>,
        answer: impl Fn(Answer) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            results: Mutex::new(results.map(Results::at).unwrap_or_default()),
            ..Shared::default()
        });
        let (requests, requests_in) = channel();
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.to_owned()).spawn(|| {
                privilege::keep(privilege::READING.union(privilege::WRITING));
                work();
            })
        };
        for name in SEARCHERS {
            let (shared, answer) = (Arc::clone(&shared), answer.clone());
            spawn(name, Box::new(move || search_large(&shared, &answer)))?;
        }
        {
            let shared = Arc::clone(&shared);
            spawn(
                "files",
                Box::new(move || take_all(&requests_in, &shared, &answer)),
            )?;
        }
        Ok(Self { requests, shared })
    }

    /// Asks for a file.
    pub(super) fn ask(&self, request: Request) {
        // The receiver lives as long as this does, unless its thread is gone: then nothing new is
        // found, which the self-check and the scan do not hide.
        if self.requests.send(request).is_err() {
            tracing::error!("files can't be looked at any more");
        }
    }

    /// The process is about to use what it has mapped.
    pub(super) fn hurry(&self, pid: u32) {
        for large in &mut self.shared.queue().waiting {
            if large.request.pid == Some(pid) {
                large.urgency = Urgency::Connecting;
            }
        }
    }

    /// Writes down what was found.
    pub(super) fn save(&self) {
        self.shared.results().save();
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        self.shared.queue().is_closed = true;
        self.shared.is_changed.notify_all();
    }
}

/// Takes requests until there can be no more.
fn take_all(requests: &Receiver<Request>, shared: &Shared, answer: &impl Fn(Answer)) {
    loop {
        let request = match requests.recv_timeout(QUIET) {
            Ok(request) => request,
            Err(RecvTimeoutError::Timeout) => {
                shared.results().save();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let content = match open(&request) {
            Err(error) => Content::Unopened(error),
            Ok(None) => Content::NotRegular,
            Ok(Some(opened)) => match recall(shared, opened) {
                Ok(content) => content,
                Err(opened) if opened.size() < LARGE_BYTES => search(shared, opened),
                Err(opened) => {
                    let urgency = urgency(&request, &opened);
                    shared.queue().waiting.push(Large {
                        request,
                        opened,
                        urgency,
                    });
                    shared.is_changed.notify_one();
                    continue;
                }
            },
        };
        answer(Answer {
            ticket: request.ticket,
            content,
        });
    }
}

/// Searches large files until there can be no more.
fn search_large(shared: &Shared, answer: &impl Fn(Answer)) {
    while let Some(large) = next_large(shared) {
        answer(Answer {
            ticket: large.request.ticket,
            content: search(shared, large.opened),
        });
    }
}

/// The most urgent large file, of equal ones the first. Waits for one; `None` at the end.
fn next_large(shared: &Shared) -> Option<Large> {
    let mut queue = shared.queue();
    loop {
        if queue.is_closed {
            return None;
        }
        let first = queue
            .waiting
            .iter()
            .enumerate()
            .max_by_key(|(place, large)| (large.urgency, std::cmp::Reverse(*place)))
            .map(|(place, _)| place);
        if let Some(place) = first {
            return Some(queue.waiting.remove(place));
        }
        queue = shared
            .is_changed
            .wait(queue)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// Opens the first of the ways that leads to the file.
fn open(request: &Request) -> io::Result<Option<Opened>> {
    let mut last = Err(io::Error::from(io::ErrorKind::NotFound));
    for way in &request.ways {
        match Opened::at(way) {
            Ok(Some(opened)) => {
                // An overlay may number files in its own way.
                let is_it = request
                    .inode
                    .is_none_or(|inode| inode == opened.stamp.id.inode || opened.is_on_overlay());
                if is_it {
                    return Ok(Some(opened));
                }
            }
            other => last = other,
        }
    }
    last
}

/// What is known of a file without a search through it; the file back if nothing is.
fn recall(shared: &Shared, opened: Opened) -> Result<Content, Opened> {
    if shared.results().is_plain(&opened.stamp) {
        return Ok(Content::Plain(opened.stamp));
    }
    let kept = agent_resolver::content_key(&opened)
        .ok()
        .and_then(|key| shared.results().found(&key));
    match kept.and_then(|kept| kept.recall(&opened)) {
        Some(resolution) => Ok(tls(opened, resolution)),
        None => Err(opened),
    }
}

/// Searches a file, and keeps what was found.
fn search(shared: &Shared, opened: Opened) -> Content {
    let resolution = match agent_resolver::resolve(&opened) {
        Ok(resolution) => resolution,
        Err(why) => return Content::Unreadable(opened, why),
    };
    if resolution.libraries.is_empty() && resolution.functions().is_empty() {
        shared.results().add_plain(opened.stamp);
        return Content::Plain(opened.stamp);
    }
    if let Ok(Some(kept)) = Kept::new(&opened, resolution.clone()) {
        shared.results().add(kept);
    }
    tls(opened, resolution)
}

fn tls(opened: Opened, resolution: Resolution) -> Content {
    Content::Tls(Box::new(Tls {
        is_on_overlay: opened.is_on_overlay(),
        opened,
        resolution,
    }))
}

fn urgency(request: &Request, opened: &Opened) -> Urgency {
    let Some(pid) = request.pid else {
        return Urgency::Installed;
    };
    match files::stamp_at(&program_of(pid)) {
        Ok(program) if program == opened.stamp => Urgency::Program,
        _ => Urgency::Mapped,
    }
}

/// Paths that lead to a file that a process has mapped: the mapping itself, the program, the path
/// as the process sees it, and as we do, should the process be gone already.
pub(super) fn ways(pid: u32, range: PathBuf, path: &Path) -> Vec<PathBuf> {
    vec![range, seen_by(pid, path), program_of(pid), path.to_owned()]
}

/// The program of a process, wherever it lies.
fn program_of(pid: u32) -> PathBuf {
    dir_of(pid).join("exe")
}

/// A path of a process as everybody can follow it.
fn seen_by(pid: u32, path: &Path) -> PathBuf {
    let mut seen = dir_of(pid).join("root").into_os_string();
    seen.push(path);
    PathBuf::from(seen)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Asks for one file and waits for the answer.
    fn ask(ways: &[&Path], inode: Option<u64>) -> Content {
        let (answers, answers_in) = channel();
        let inspector = Inspector::start(None, move |answer| {
            answers.send(answer).unwrap_or_default();
        })
        .unwrap();
        inspector.ask(Request {
            ticket: 7,
            ways: ways.iter().map(|way| (*way).to_owned()).collect(),
            inode,
            pid: None,
        });
        let answer = answers_in.recv().unwrap();
        assert_eq!(answer.ticket, 7);
        answer.content
    }

    #[test]
    fn a_file_that_replaced_another_one_is_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let (gone, there) = (dir.path().join("gone"), dir.path().join("there"));
        fs::write(&there, b"text").unwrap();
        let inode = files::stamp_at(&there).unwrap().id.inode;
        assert!(matches!(
            ask(&[&gone, &there], Some(inode)),
            Content::Unreadable(_, Unreadable::NotElf)
        ));
        assert!(matches!(
            ask(&[&there], Some(inode + 1)),
            Content::Unopened(_)
        ));
        assert!(matches!(ask(&[&gone], None), Content::Unopened(_)));
        assert!(matches!(ask(&[dir.path()], None), Content::NotRegular));
    }

    #[test]
    fn a_program_without_tls_is_plain() {
        assert!(matches!(
            ask(&[Path::new("/bin/true")], None),
            Content::Plain(_)
        ));
    }

    #[test]
    fn the_most_urgent_large_file_is_searched_first() {
        let shared = Shared::default();
        let exe = std::env::current_exe().unwrap();
        for (ticket, urgency) in [
            (1, Urgency::Installed),
            (2, Urgency::Mapped),
            (3, Urgency::Program),
            (4, Urgency::Program),
        ] {
            shared.queue().waiting.push(Large {
                request: Request {
                    ticket,
                    ways: Vec::new(),
                    inode: None,
                    pid: Some(u32::try_from(ticket).unwrap()),
                },
                opened: Opened::at(&exe).unwrap().unwrap(),
                urgency,
            });
        }
        let inspector = Inspector {
            requests: channel().0,
            shared: Arc::new(shared),
        };
        inspector.hurry(2);
        let order: Vec<_> = (0..4)
            .map(|_| next_large(&inspector.shared).unwrap().request.ticket)
            .collect();
        assert_eq!(order, [2, 3, 4, 1]);
        let shared = Arc::clone(&inspector.shared);
        drop(inspector);
        assert!(next_large(&shared).is_none());
    }

    #[test]
    fn a_path_of_a_process_is_followed_from_its_root() {
        assert_eq!(
            seen_by(7, Path::new("/usr/lib/x")),
            Path::new("/proc/7/root/usr/lib/x")
        );
    }
}
