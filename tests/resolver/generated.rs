//! The resolver on files made for it: every form that it knows, and what must be refused.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "every function here belongs to a test; clippy's own rules see only those marked as one"
)]

mod elf;
mod error_sites;
mod hostile;
mod kept;
mod limits;
mod names;
mod other_libraries;

use std::fs;
use std::path::Path;

use agent_resolver::{Arch, Found, Function, Refusal, Resolution, resolve};
use elf::library::{Flags, boring, openssl};
use elf::{Addresses, File, Plan, Shape, Symbol, Table, Unwind};

const VERSION_3_0: &str = "OpenSSL 3.0.19 27 Jan 2026";
const VERSION_3_6: &str = "OpenSSL 3.6.4 25 Aug 2026";

const PIE: Shape = Shape {
    arch: Arch::X86_64,
    addresses: Addresses::Relative,
    unwind: Unwind::Present,
};

fn resolved(bytes: &[u8]) -> Resolution {
    resolve(&bytes.to_vec()).unwrap()
}

fn refused(bytes: &[u8]) -> Option<Refusal> {
    resolved(bytes).refusal()
}

fn found(file: &File, functions: &[(Function, &str)]) -> Vec<Found> {
    let mut found: Vec<Found> = functions
        .iter()
        .map(|(function, name)| Found {
            function: *function,
            address: file.address(name),
        })
        .collect();
    found.sort_unstable();
    found
}

/// What stripped BoringSSL gives.
fn boring_functions(file: &File) -> Vec<Found> {
    found(
        file,
        &[
            (Function::Read, "SSL_read"),
            (Function::Write, "SSL_write"),
            (Function::New, "SSL_new"),
            (Function::SetHostName, "SSL_set_tlsext_host_name"),
            (Function::SetFd, "SSL_set_fd"),
            (Function::SetFd, "SSL_set_rfd"),
            (Function::Handshake, "SSL_do_handshake"),
        ],
    )
}

fn openssl_plan(shape: Shape, flags: Flags, version: Option<&'static str>) -> Plan {
    let mut plan = Plan::new(shape, openssl(flags));
    plan.texts.extend(version);
    plan
}

/// `BLESS=1` writes the files that the seeds of the fuzz target are.
#[test]
fn the_seeds_of_the_fuzz_target_are_files_of_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds/resolver");
    for (name, file) in seeds() {
        let path = folder.join(name);
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &file.bytes).unwrap();
        }
        assert!(
            fs::read(&path).is_ok_and(|bytes| bytes == file.bytes),
            "{name}: run this test with BLESS=1"
        );
    }
}

fn seeds() -> Vec<(&'static str, File)> {
    let shape = |arch, addresses, unwind| Shape {
        arch,
        addresses,
        unwind,
    };
    let (x86, arm) = (Arch::X86_64, Arch::Aarch64);
    let names = ["SSL_read", "SSL_write", "SSL_free", "gnutls_record_send"].map(|name| Symbol {
        is_defined: !name.starts_with("gnu"),
        ..Symbol::of(name)
    });
    let plans = [
        (
            "boringssl-x86-64",
            Plan::new(shape(x86, Addresses::Fixed, Unwind::Absent), boring()),
        ),
        (
            "boringssl-x86-64-pie-unwind",
            Plan::new(shape(x86, Addresses::Relative, Unwind::Present), boring()),
        ),
        (
            "boringssl-arm64",
            Plan::new(shape(arm, Addresses::Fixed, Unwind::Absent), boring()),
        ),
        (
            "openssl-x86-64",
            openssl_plan(
                shape(x86, Addresses::Relative, Unwind::Present),
                Flags::Present,
                None,
            ),
        ),
        (
            "openssl-arm64",
            openssl_plan(
                shape(arm, Addresses::Relative, Unwind::Present),
                Flags::Absent,
                Some(VERSION_3_0),
            ),
        ),
        (
            "openssl-named",
            openssl_plan(PIE, Flags::Present, Some(VERSION_3_6))
                .with_symbols(Table::Dynamic, names),
        ),
        ("nothing", Plan::new(PIE, Vec::new())),
    ];
    plans.map(|(name, plan)| (name, plan.build())).into()
}

fn memmem(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
