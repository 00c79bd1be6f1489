//! Where probes go in a file, and what a hit means there.
//!
//! Every site is the first instruction of a function that the resolver found, in an executable
//! segment. Nowhere else may a probe sit: on a 5-byte `nop` inside a function some kernels put a
//! call that overwrites what the function keeps below its stack pointer.

use agent_common::site;
use agent_resolver::{Function, Resolution};

/// A place for a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// What a hit at this offset means.
    pub meaning: Meaning,
}

impl Site {
    /// The function that begins here, where this is an entry.
    pub(super) const fn name(&self) -> Option<&'static str> {
        match self.meaning {
            Meaning::Entry(function) => Some(function.name()),
            Meaning::Return => None,
        }
    }
}

/// What a hit of a probe means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// The function begins; its arguments are in their registers.
    Entry(Function),
    /// The function that begins at this offset returns; its result is in its register.
    Return,
}

/// All functions that a site can be the entry of.
pub(super) const FUNCTIONS: [Function; 11] = [
    Function::Read,
    Function::ReadEx,
    Function::Write,
    Function::WriteEx,
    Function::WriteEx2,
    Function::Free,
    Function::New,
    Function::Ctrl,
    Function::SetHostName,
    Function::SetFd,
    Function::Handshake,
];

/// The number that tells the kernel programs which function they are at.
pub(super) const fn number(function: Function) -> u64 {
    match function {
        Function::Read => site::READ,
        Function::ReadEx => site::READ_EX,
        Function::Write => site::WRITE,
        Function::WriteEx => site::WRITE_EX,
        Function::WriteEx2 => site::WRITE_EX2,
        Function::Free => site::FREE,
        Function::New => site::NEW,
        Function::Ctrl => site::CTRL,
        Function::SetHostName => site::SET_HOST_NAME,
        Function::SetFd => site::SET_FD,
        Function::Handshake => site::HANDSHAKE,
    }
}

/// Where to probe a file, sorted, without doubles; empty if nothing was found in it.
pub fn sites(resolution: &Resolution) -> Vec<Site> {
    let functions = resolution.functions();
    let has_free = functions
        .iter()
        .any(|found| found.function == Function::Free);
    let mut sites = Vec::new();
    for found in functions {
        // Where the end of an object is seen, its next begin needs no sign.
        let is_needed = !has_free || !begins(found.function);
        let Some(offset) = resolution.offset_of(found.address).filter(|_| is_needed) else {
            continue;
        };
        sites.push(Site {
            offset,
            meaning: Meaning::Entry(found.function),
        });
        if result_counts(found.function) {
            sites.push(Site {
                offset,
                meaning: Meaning::Return,
            });
        }
    }
    sites.sort_unstable();
    sites.dedup();
    sites
}

/// Whether it is probed only to see that an object begins to serve another connection.
const fn begins(function: Function) -> bool {
    matches!(function, Function::New | Function::Handshake)
}

/// Whether its return is awaited.
const fn result_counts(function: Function) -> bool {
    function.reads() || function.writes() || begins(function)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_function_has_a_number_of_its_own() {
        let numbers: BTreeSet<u64> = FUNCTIONS.into_iter().map(number).collect();
        assert_eq!(numbers.len(), FUNCTIONS.len());
        for (_, function) in Function::NAMES {
            assert!(FUNCTIONS.contains(&function), "{function:?}");
        }
    }

    /// What the resolver says of a library of this host.
    fn resolved(name: &str) -> Option<Resolution> {
        let path = super::super::ld_cache::libraries(name).into_iter().next()?;
        agent_resolver::resolve(&std::fs::read(path).unwrap()).ok()
    }

    #[test]
    fn a_library_with_names_is_probed_at_its_functions_and_not_where_objects_begin() {
        let Some(resolution) = resolved("libssl.so.3") else {
            return;
        };
        let sites = sites(&resolution);
        let at = |function| {
            sites
                .iter()
                .filter(|site| site.meaning == Meaning::Entry(function))
                .count()
        };
        assert!(at(Function::Read) == 1 && at(Function::WriteEx) == 1 && at(Function::Free) == 1);
        assert_eq!((at(Function::New), at(Function::Handshake)), (0, 0));
        let returns = sites.iter().filter(|site| site.meaning == Meaning::Return);
        assert!(returns.count() >= 4);
    }

    #[test]
    fn a_file_without_tls_has_no_site() {
        let Some(resolution) = resolved("libm.so.6") else {
            return;
        };
        assert_eq!(sites(&resolution), []);
    }
}
