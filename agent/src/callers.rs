//! Processes that talk to LLM hosts, and the TLS libraries in their files: what `status` and
//! `doctor` list, so that a client that can't be read is named and not overlooked.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::event::ProcId;
use agent_core::pipeline;

use crate::capture::hooks::Target;
use crate::process;
use crate::store::{CalledHost, CallingProcess, TlsFile};

/// Port of HTTPS.
const HTTPS: u16 = 443;

/// Joins what the line knows of processes with what discovery knows of files.
#[derive(Debug, Default)]
pub struct Callers {
    /// Files of each process, looked at while it lives.
    files: BTreeMap<ProcId, BTreeSet<String>>,
}

impl Callers {
    /// The processes of the last hour, those last heard of first.
    pub fn list(&mut self, callers: &pipeline::Callers, targets: &[Target]) -> Vec<CallingProcess> {
        let known: BTreeSet<_> = callers.iter().map(|caller| caller.process.id).collect();
        self.files.retain(|id, _| known.contains(id));
        let mut list: Vec<_> = callers
            .iter()
            .map(|caller| {
                let process = &caller.process;
                let (tls, why) = self.tls(process.id, process.exe.as_deref(), targets);
                CallingProcess {
                    pid: process.id.pid,
                    comm: process.comm.clone(),
                    exe: process.exe.clone(),
                    last_unix_ms: caller.last_unix_ms,
                    hosts: caller.hosts.iter().map(called).collect(),
                    tls,
                    why,
                }
            })
            .collect();
        list.sort_by_key(|process| std::cmp::Reverse(process.last_unix_ms));
        list
    }

    /// The TLS libraries of a process, or why none is known.
    fn tls(
        &mut self,
        id: ProcId,
        exe: Option<&str>,
        targets: &[Target],
    ) -> (Vec<TlsFile>, Option<String>) {
        let of = |files: &BTreeSet<String>| tls_files(files, targets);
        if let Some(files) = self.files.get(&id) {
            let found = of(files);
            if !found.is_empty() {
                return (found, None);
            }
        }
        // It may have loaded more since. A pid that is another process's by now says nothing.
        let files = process::start_ticks(id.pid)
            .filter(|ticks| *ticks == id.start_ticks)
            .and_then(|_| process::code_files(id.pid));
        if let Some(files) = files {
            let found = of(&files);
            self.files.insert(id, files);
            let why = found
                .is_empty()
                .then(|| "no TLS library that is known was found in its files".to_owned());
            return (found, why);
        }
        let found = of(&exe.map(str::to_owned).into_iter().collect());
        let why = found
            .is_empty()
            .then(|| "it ended before its files were looked at".to_owned());
        (found, why)
    }
}

fn called(host: &agent_core::coverage::Host) -> CalledHost {
    CalledHost {
        name: host.name.clone(),
        calls: host.seen.calls,
        truncated_calls: host.seen.truncated_calls,
        undecodable_connections: host.seen.undecodable_connections,
        unprobed_connections: host.seen.unprobed_connections,
    }
}

fn tls_files(files: &BTreeSet<String>, targets: &[Target]) -> Vec<TlsFile> {
    targets
        .iter()
        .filter(|target| {
            let path = target.path.to_str();
            path.is_some_and(|path| files.contains(path))
        })
        .map(|target| TlsFile {
            path: target.path.display().to_string(),
            library: target.library.clone(),
            found_by: target.found_by.clone(),
            confidence: target.confidence.clone(),
            functions: target.functions.clone(),
            refusal: target.refusal.clone(),
        })
        .collect()
}

/// The processes that are connected to port 443 now: what can be told without a running agent. To
/// whom is told by address.
pub fn connected_now(targets: &[Target]) -> Vec<CallingProcess> {
    let mut callers = Callers::default();
    let mut reader = process::Reader::new(process::Facts {
        cwd: false,
        argv0: false,
        marker: false,
        argument_patterns: Vec::new(),
    });
    process::connected_to(HTTPS)
        .into_iter()
        .filter_map(|connected| {
            let facts = reader.read(connected.pid, None)?;
            let (tls, why) = callers.tls(facts.id, facts.exe.as_deref(), targets);
            Some(CallingProcess {
                pid: connected.pid,
                comm: facts.comm,
                exe: facts.exe,
                last_unix_ms: 0,
                hosts: connected
                    .peers
                    .iter()
                    .map(|peer| CalledHost {
                        name: Some(peer.to_string()),
                        ..CalledHost::default()
                    })
                    .collect(),
                tls,
                why,
            })
        })
        .collect()
}
