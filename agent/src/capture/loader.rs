//! Loads the kernel programs. The only place that knows their names and those of their maps.

use std::os::fd::{AsFd as _, AsRawFd as _};

use agent_common::record::{ConnectionKey, Losses};
use agent_common::settings::{AGENT_PID, FOLLOWED_SOCKETS, sockets};
use agent_core::event::ConnId;
use agent_resolver::Function;
use aya::maps::{HashMap, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::{ProgramError, ProgramFd, RawTracePoint, UProbe};
use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};

use super::Error;
use super::sites::FUNCTIONS;
use super::support::{AttachKind, SocketSupport};
use crate::causes;

const MULTI_OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probes-multi"));
const SINGLE_OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probes-single"));

const CALL_ENTER: &str = "call_enter";
const CALL_EXIT: &str = "call_exit";
const CALL_RESUME: &str = "call_resume";
const PROCESS_EXEC: &str = "process_exec";
const PROCESS_EXIT: &str = "process_exit";
const SOCKET_STATE: &str = "socket_state";
const SOCKET_SEND: &str = "socket_send";
const SOCKET_RECEIVE: &str = "socket_receive";

const EVENTS: &str = "EVENTS";
const LOSSES: &str = "LOSSES";
const CONNECTIONS: &str = "CONNECTIONS";
const IGNORED_CONNECTIONS: &str = "IGNORED_CONNECTIONS";
const IGNORED_PROCESSES: &str = "IGNORED_PROCESSES";
const CALLS: &str = "CALLS";
const CONTINUATION: &str = "CONTINUATION";

/// The entry program of each function, where cookies are not to be had.
pub(super) const fn entry_program(kind: AttachKind, function: Function) -> &'static str {
    match kind {
        AttachKind::Multi => CALL_ENTER,
        AttachKind::Single => match function {
            Function::Read => "read_enter",
            Function::ReadEx => "read_ex_enter",
            Function::Write => "write_enter",
            Function::WriteEx => "write_ex_enter",
            Function::Free => "free_enter",
            Function::Ctrl => "ctrl_enter",
            Function::SetHostName => "set_host_enter",
            Function::SetFd => "set_fd_enter",
            Function::New => "new_enter",
            Function::Handshake => "handshake_enter",
            Function::WriteEx2 => "write_ex2_enter",
        },
    }
}

/// The program for returns.
pub(super) const fn return_program() -> &'static str {
    CALL_EXIT
}

/// The programs that run at sites of files. Kernels with `uprobe_multi` have `bpf_loop`, so that no
/// program goes on where another one stopped.
fn probe_programs(kind: AttachKind) -> Vec<&'static str> {
    let returns: &[_] = match kind {
        AttachKind::Multi => &[CALL_EXIT],
        AttachKind::Single => &[CALL_EXIT, CALL_RESUME],
    };
    let mut programs: Vec<_> = FUNCTIONS
        .into_iter()
        .map(|function| entry_program(kind, function))
        .chain(returns.iter().copied())
        .collect();
    programs.dedup();
    programs
}

/// The programs that follow sockets as far as `support` says, with their tracepoints.
const fn socket_programs(support: SocketSupport) -> &'static [(&'static str, &'static str)] {
    const ALL: [(&str, &str); 3] = [
        (SOCKET_STATE, "inet_sock_set_state"),
        (SOCKET_SEND, "sock_send_length"),
        (SOCKET_RECEIVE, "sock_recv_length"),
    ];
    match support {
        SocketSupport::Traffic => &ALL,
        SocketSupport::Connects => ALL.split_at(1).0,
        SocketSupport::None => &[],
    }
}

/// The programs in the kernel, and what the agent holds of their maps.
pub struct Loaded {
    /// How the programs are to be attached.
    pub kind: AttachKind,
    /// Programs. They and their links go with this value.
    pub programs: Ebpf,
    /// How far sockets are followed.
    pub sockets: SocketSupport,
    /// Where long calls go on, if by another program. The kernel clears its entries with the last
    /// descriptor.
    pub continuation: Option<ProgramArray<MapData>>,
    /// Records.
    pub ring: RingBuf<MapData>,
    /// Losses per CPU.
    pub losses: LossCounters,
    /// What the programs know of connections.
    pub connections: ConnectionMaps,
    /// Processes that are not observed.
    pub ignored_processes: HashMap<MapData, u32, u8>,
}

/// Whether this binary was built with its kernel programs.
pub const fn has_programs() -> bool {
    !MULTI_OBJECT.is_empty() && !SINGLE_OBJECT.is_empty()
}

/// Loads all programs and attaches those for processes, so that no exec is missed while files are
/// looked for, and those for sockets as far as `most`.
///
/// # Errors
///
/// Says what this kernel or this user lacks.
pub fn load(kind: AttachKind, ring_bytes: u32, most: SocketSupport) -> Result<Loaded, Error> {
    let object = match kind {
        AttachKind::Multi => MULTI_OBJECT,
        AttachKind::Single => SINGLE_OBJECT,
    };
    if object.is_empty() {
        return Err(Error::EmptyObject);
    }
    lift_memory_limit();
    let (mut programs, sockets) = load_object(object, ring_bytes, most)?;
    #[cfg(feature = "ebpf-log")]
    print_diagnostics(&mut programs);
    for name in probe_programs(kind) {
        let program: &mut UProbe = program(&mut programs, name)?;
        program
            .load()
            .map_err(|source| program_error(name, source))?;
    }
    let continuation = match kind {
        AttachKind::Multi => None,
        AttachKind::Single => Some(continued(&mut programs)?),
    };
    for (name, tracepoint) in [
        (PROCESS_EXEC, "sched_process_exec"),
        (PROCESS_EXIT, "sched_process_exit"),
    ] {
        attach_tracepoint(&mut programs, name, tracepoint)?;
    }
    Ok(Loaded {
        kind,
        sockets,
        ring: map(&mut programs, EVENTS)?,
        losses: LossCounters {
            skipped: SkippedRuns::of(&mut programs, sockets)?,
            map: map(&mut programs, LOSSES)?,
            seen: Vec::new(),
        },
        connections: ConnectionMaps {
            connections: map(&mut programs, CONNECTIONS)?,
            ignored: map(&mut programs, IGNORED_CONNECTIONS)?,
            calls: map(&mut programs, CALLS)?,
        },
        ignored_processes: map(&mut programs, IGNORED_PROCESSES)?,
        continuation,
        programs,
    })
}

/// The array with the program that goes on copying long calls.
fn continued(programs: &mut Ebpf) -> Result<ProgramArray<MapData>, Error> {
    let resume = program::<UProbe>(programs, CALL_RESUME)?
        .fd()
        .and_then(|fd| fd.try_clone().map_err(ProgramError::from))
        .map_err(|source| program_error(CALL_RESUME, source))?;
    let mut continuation: ProgramArray<MapData> = map(programs, CONTINUATION)?;
    continuation
        .set(0, &resume, 0)
        .map_err(|source| Error::Map {
            map: CONTINUATION,
            source,
        })?;
    Ok(continuation)
}

/// Loads the object and as many of the programs for sockets as wanted and as the kernel takes. That is tried,
/// not read from the kernel's version; the programs are told before they are loaded, so each try
/// starts with the object.
fn load_object(
    object: &[u8],
    ring_bytes: u32,
    most: SocketSupport,
) -> Result<(Ebpf, SocketSupport), Error> {
    let pid = std::process::id();
    let load = |support| {
        let followed = match support {
            SocketSupport::Traffic => sockets::TRAFFIC,
            SocketSupport::Connects => sockets::CONNECTS,
            SocketSupport::None => sockets::NONE,
        };
        let mut programs = EbpfLoader::new()
            .override_global(AGENT_PID, &pid, true)
            .override_global(FOLLOWED_SOCKETS, &followed, true)
            .map_max_entries(EVENTS, ring_bytes)
            .load(object)
            .map_err(object_error)?;
        for (name, tracepoint) in socket_programs(support) {
            attach_tracepoint(&mut programs, name, tracepoint)?;
        }
        Ok((programs, support))
    };
    let mut failure = Error::Missing(SOCKET_STATE);
    let wanted = SocketSupport::ALL
        .into_iter()
        .skip_while(|support| *support != most);
    for support in wanted {
        match load(support) {
            Ok(loaded) => return Ok(loaded),
            Err(error) => {
                tracing::debug!(?support, why = %causes::in_one_line(&error), "sockets can't be followed so far");
                failure = error;
            }
        }
    }
    Err(failure)
}

fn attach_tracepoint(
    programs: &mut Ebpf,
    name: &'static str,
    tracepoint: &str,
) -> Result<(), Error> {
    let program: &mut RawTracePoint = program(programs, name)?;
    program
        .load()
        .map_err(|source| program_error(name, source))?;
    program
        .attach(tracepoint)
        .map_err(|source| program_error(name, source))?;
    Ok(())
}

/// Passes on what the programs of a development build say, until the process ends.
#[cfg(feature = "ebpf-log")]
fn print_diagnostics(programs: &mut Ebpf) {
    match aya_log::EbpfLogger::init(programs) {
        Err(error) => tracing::warn!(%error, "the programs' diagnostics can't be read"),
        Ok(mut logger) => {
            let started = std::thread::Builder::new()
                .name("diagnostics".to_owned())
                .spawn(move || {
                    crate::privilege::keep(crate::privilege::NOTHING);
                    loop {
                        logger.flush();
                        std::thread::sleep(std::time::Duration::from_millis(50));
                    }
                });
            if let Err(error) = started {
                tracing::warn!(%error, "the programs' diagnostics can't be read");
            }
        }
    }
}

/// What the kernel programs know of connections, as far as the agent changes it.
pub struct ConnectionMaps {
    connections: HashMap<MapData, [u64; 2], [u64; 6]>,
    ignored: HashMap<MapData, [u64; 2], u64>,
    calls: HashMap<MapData, [u64; 2], [u64; 13]>,
}

impl ConnectionMaps {
    /// Has the programs leave a connection alone. A connection that is gone by now is none to
    /// speak of, so failing is no error.
    pub fn ignore(&mut self, conn: ConnId) {
        let key = key(conn.pid, conn.ssl);
        if let Err(error) = self.ignored.insert(&key, &conn.since.as_nanos(), 0) {
            tracing::debug!(%error, "a connection can't be ignored");
        }
        // Nobody would take back what is said of a connection that is over.
        let is_there = self
            .connections
            .get(&key, 0)
            .is_ok_and(|[since_ns, ..]| since_ns == conn.since.as_nanos());
        if !is_there && let Err(error) = self.ignored.remove(&key) {
            tracing::trace!(%error, "a connection was forgotten already");
        }
    }

    /// Removes what processes left behind that ended in the middle of a call, or whose end was not
    /// seen.
    pub fn sweep(&mut self, mut is_gone: impl FnMut(u32) -> bool) {
        sweep(&mut self.calls, &mut is_gone);
        sweep(&mut self.connections, &mut is_gone);
        sweep(&mut self.ignored, &mut is_gone);
    }

    /// Forgets a connection of a process that ended: its pid may come again.
    pub fn forget(&mut self, pid: u32, ssl: u64) {
        let key = key(pid, ssl);
        for result in [self.connections.remove(&key), self.ignored.remove(&key)] {
            if let Err(error) = result {
                tracing::trace!(%error, "a connection was forgotten already");
            }
        }
    }
}

/// LIMIT: keys of a map that are looked at at once. What lies beyond is looked at after the first
/// ones are gone, or pushed out by the kernel.
const MAX_KEYS: usize = 8_192;

/// Removes the entries of processes that are gone; the second half of every key is the process.
fn sweep<V: aya::Pod>(
    map: &mut HashMap<MapData, [u64; 2], V>,
    is_gone: &mut impl FnMut(u32) -> bool,
) {
    let keys: Vec<[u64; 2]> = map.keys().flatten().take(MAX_KEYS).collect();
    for key in keys {
        let of: ConnectionKey = zerocopy::transmute!(key);
        if is_gone(of.pid)
            && let Err(error) = map.remove(&key)
        {
            tracing::trace!(%error, "an entry was gone already");
        }
    }
}

fn key(pid: u32, ssl: u64) -> [u64; 2] {
    zerocopy::transmute!(ConnectionKey {
        ssl,
        pid,
        reserved: 0
    })
}

/// Runs of the programs on tracepoints that the kernel skips, because the same program is running, or
/// was preempted, on that CPU.
struct SkippedRuns {
    programs: Vec<ProgramFd>,
    seen: u64,
}

impl SkippedRuns {
    fn of(programs: &mut Ebpf, support: SocketSupport) -> Result<Self, Error> {
        let names = [PROCESS_EXEC, PROCESS_EXIT];
        let names = names
            .into_iter()
            .chain(socket_programs(support).iter().map(|(name, _)| *name));
        let descriptors = names.map(|name| {
            program::<RawTracePoint>(programs, name)?
                .fd()
                .and_then(|fd| fd.try_clone().map_err(ProgramError::from))
                .map_err(|source| program_error(name, source))
        });
        Ok(Self {
            programs: descriptors.collect::<Result<_, _>>()?,
            seen: 0,
        })
    }

    fn take_new(&mut self) -> u64 {
        let runs: u64 = self.programs.iter().filter_map(skipped_runs).sum();
        let new = runs.saturating_sub(self.seen);
        self.seen = runs;
        new
    }
}

/// What the kernel says of a program's descriptor (kernel/bpf/syscall.c, `bpf_prog_show_fdinfo`).
fn skipped_runs(program: &ProgramFd) -> Option<u64> {
    let descriptor = program.as_fd().as_raw_fd();
    let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
    facts
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"))?
        .trim()
        .parse()
        .ok()
}

/// Losses of one CPU since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuLosses {
    /// CPU.
    pub cpu: u64,
    /// What it lost.
    pub losses: Losses,
}

/// Counters in [`Losses`].
const LOSS_COUNTERS: usize = size_of::<Losses>() / size_of::<u64>();

/// The loss counters of all CPUs.
pub struct LossCounters {
    skipped: SkippedRuns,
    map: PerCpuArray<MapData, [u64; LOSS_COUNTERS]>,
    seen: Vec<[u64; LOSS_COUNTERS]>,
}

impl LossCounters {
    /// Runs of the programs on tracepoints that the kernel skipped since the last call. Kernels
    /// before 5.12 do not count them.
    pub fn take_skipped_runs(&mut self) -> u64 {
        self.skipped.take_new()
    }

    /// What was lost since the last call, CPU by CPU; CPUs that lost nothing are left out.
    ///
    /// # Errors
    ///
    /// The map can't be read.
    pub fn take_new(&mut self) -> Result<Vec<CpuLosses>, Error> {
        let now = self.map.get(&0, 0).map_err(|source| Error::Map {
            map: LOSSES,
            source,
        })?;
        self.seen.resize(now.len(), [0; LOSS_COUNTERS]);
        let mut new = Vec::new();
        for (cpu, (now, seen)) in (0..).zip(now.iter().zip(&mut self.seen)) {
            let mut difference = [0; LOSS_COUNTERS];
            for (difference, (now, seen)) in difference.iter_mut().zip(now.iter().zip(seen.iter()))
            {
                *difference = now.saturating_sub(*seen);
            }
            *seen = *now;
            if difference != [0; LOSS_COUNTERS] {
                new.push(CpuLosses {
                    cpu,
                    losses: zerocopy::transmute!(difference),
                });
            }
        }
        Ok(new)
    }
}

/// Kernels before 5.11 charge maps to the locked memory of the process, 64 KiB by default.
fn lift_memory_limit() {
    let unlimited = rustix::process::Rlimit {
        current: None,
        maximum: None,
    };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Memlock, unlimited) {
        tracing::debug!(%error, "the limit of locked memory stays");
    }
}

fn program<'a, P>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, Error>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = programs.program_mut(name).ok_or(Error::Missing(name))?;
    program
        .try_into()
        .map_err(|source| program_error(name, source))
}

fn map<M>(programs: &mut Ebpf, name: &'static str) -> Result<M, Error>
where
    M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = programs.take_map(name).ok_or(Error::Missing(name))?;
    map.try_into()
        .map_err(|source| Error::Map { map: name, source })
}

fn object_error(error: EbpfError) -> Error {
    match permission_error(&error) {
        Some(source) => Error::NotPermitted(source),
        None => Error::Object(error),
    }
}

fn program_error(program: &'static str, source: ProgramError) -> Error {
    match permission_error(&source) {
        Some(source) => Error::NotPermitted(source),
        None => Error::Program { program, source },
    }
}

/// The refusal by the kernel for want of rights, if it stands anywhere in the chain of causes. It is
/// EPERM; EACCES is what the verifier says of a program.
fn permission_error(error: &(dyn std::error::Error + 'static)) -> Option<std::io::Error> {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .filter_map(std::io::Error::raw_os_error)
        .find(|code| *code == rustix::io::Errno::PERM.raw_os_error())
        .map(std::io::Error::from_raw_os_error)
}

/// The objects are empty where the kernel programs were not built, so these run with the live tests.
#[cfg(test)]
#[cfg(feature = "kernel-tests")]
mod object_tests {
    use object::{Object as _, ObjectSymbol as _};

    use super::*;

    /// Names of the functions or objects in the given sections of an object.
    fn names(object: &[u8], is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let file = object::File::parse(object).unwrap();
        let mut names: Vec<_> = file
            .symbols()
            .filter(|symbol| symbol.is_global())
            .filter(|symbol| {
                let section = symbol.section_index().and_then(|index| {
                    let section = object::Object::section_by_index(&file, index).ok()?;
                    object::ObjectSection::name(&section)
                        .ok()
                        .map(str::to_owned)
                });
                section.is_some_and(|section| is_wanted(&section))
            })
            .map(|symbol| symbol.name().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    const OBJECTS: [(AttachKind, &[u8]); 2] = [
        (AttachKind::Multi, MULTI_OBJECT),
        (AttachKind::Single, SINGLE_OBJECT),
    ];

    #[test]
    fn the_programs_of_the_objects_are_those_that_the_loader_knows() {
        for (kind, object) in OBJECTS {
            let mut known: Vec<_> = probe_programs(kind);
            known.extend([PROCESS_EXEC, PROCESS_EXIT]);
            known.extend(
                socket_programs(SocketSupport::Traffic)
                    .iter()
                    .map(|(name, _)| *name),
            );
            known.sort_unstable();
            let found = names(object, |section| {
                section.starts_with("uprobe")
                    || section.starts_with("uretprobe")
                    || section.starts_with("raw_tp")
            });
            assert_eq!(found, known, "{kind:?}");
        }
    }

    /// Whether a program calls `bpf_tail_call` (helper 12): an instruction of eight bytes, with the
    /// opcode of a helper call, no source register, and the helper's number in its last four.
    fn has_tail_call(object: &[u8], program: &str) -> bool {
        let file = object::File::parse(object).unwrap();
        let symbol = file
            .symbols()
            .find(|symbol| symbol.name() == Ok(program))
            .unwrap();
        let section = file
            .section_by_index(symbol.section_index().unwrap())
            .unwrap();
        let bytes = object::ObjectSection::data(&section).unwrap();
        let start = usize::try_from(symbol.address()).unwrap();
        let length = usize::try_from(symbol.size()).unwrap();
        let (instructions, _) = bytes[start..start + length].as_chunks::<8>();
        instructions
            .iter()
            .any(|[opcode, registers, _, _, number @ ..]| {
                *opcode == 0x85 && registers >> 4 == 0 && *number == [12, 0, 0, 0]
            })
    }

    #[test]
    fn every_uprobe_program_is_kept_off_the_private_stack() {
        for (kind, object) in OBJECTS {
            for program in probe_programs(kind) {
                assert!(has_tail_call(object, program), "{kind:?} {program}");
            }
            assert!(!has_tail_call(object, PROCESS_EXIT), "the check can fail");
        }
    }

    #[test]
    fn the_maps_of_the_objects_are_those_that_the_loader_knows() {
        for (kind, object) in OBJECTS {
            // The last five are the programs' own.
            let mut known = vec![
                EVENTS,
                LOSSES,
                CONNECTIONS,
                IGNORED_CONNECTIONS,
                IGNORED_PROCESSES,
                "LAST_WAKE",
                CALLS,
                "SOCKETS",
                "SOCKET_COUNT",
                "THREADS",
            ];
            // The kernel may keep an array of programs for good (agent/docs/kernels.md).
            if kind == AttachKind::Single {
                known.push(CONTINUATION);
            }
            if cfg!(feature = "ebpf-log") {
                known.push("AYA_LOGS");
            }
            known.sort_unstable();
            assert_eq!(
                names(object, |section| section == "maps"),
                known,
                "{kind:?}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs_fit_into_the_kernel() {
        // The kernel keeps 15 characters (include/linux/bpf.h, BPF_OBJ_NAME_LEN).
        for kind in [AttachKind::Multi, AttachKind::Single] {
            for name in probe_programs(kind)
                .into_iter()
                .chain([PROCESS_EXEC, PROCESS_EXIT])
                .chain(
                    socket_programs(SocketSupport::Traffic)
                        .iter()
                        .map(|(name, _)| *name),
                )
            {
                assert!(name.len() <= 15, "{name}");
            }
        }
    }

    #[test]
    fn a_connection_is_keyed_by_address_and_process() {
        let key: ConnectionKey = zerocopy::transmute!(key(7, 0xdead_beef));
        assert_eq!((key.ssl, key.pid, key.reserved), (0xdead_beef, 7, 0));
    }
}
