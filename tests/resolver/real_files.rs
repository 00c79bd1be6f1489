//! The resolver on the real programs, as their registries serve them: `BPFTOK_PROGRAMS` names the
//! folder in which `cargo xtask` unpacks them, one folder `NAME-ARCH` for each package.
//!
//! The addresses are those of the pinned versions. They were found by a second implementation, and
//! where the file has symbols these say the same. When a pin is raised, the message of the failing
//! test has the new ones: check them with a disassembler.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "every function here belongs to a test; clippy's own rules see only those marked as one"
)]

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_resolver::{
    Arch, Confidence, Family, Found, Function, Kept, Method, Outcome, Refusal, Resolution, Source,
    resolve, resolve_by,
};
use object::{Object as _, ObjectSymbol as _};

/// A program and what must be found in it.
struct Program {
    /// Path below the folder of programs.
    path: &'static str,
    arch: Arch,
    family: Family,
    version: Option<&'static str>,
    expected: Expected,
    /// Other libraries in the file.
    others: &'static [Family],
}

enum Expected {
    /// Nothing names the functions: where the first that reads and the first that writes are, and
    /// which others there are.
    ErrorSites {
        confidence: Confidence,
        reads: (Function, u64),
        writes: (Function, u64),
        others: &'static [Function],
    },
    /// The file names all functions, and the error sites agree.
    Names,
    /// The file names all functions. In it some are inlined so that error sites are not clear.
    NamesOnly(Refusal),
}

use Function::{Ctrl, Handshake, New, Read, ReadEx, SetFd, SetHostName, Write, WriteEx2};

macro_rules! programs {
    ($($name:ident: $program:expr;)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name), &$program);
            }
        )*
    };
}

const BUN: &[Function] = &[New, SetHostName, Handshake];

const fn boring(
    path: &'static str,
    arch: Arch,
    (read, write): (u64, u64),
    (confidence, others): (Confidence, &'static [Function]),
) -> Program {
    Program {
        path,
        arch,
        family: Family::BoringSsl,
        version: None,
        expected: Expected::ErrorSites {
            confidence,
            reads: (Read, read),
            writes: (Write, write),
            others,
        },
        others: &[],
    }
}

const fn codex(path: &'static str, arch: Arch, read: u64, write: u64) -> Program {
    Program {
        path,
        arch,
        family: Family::OpenSsl,
        version: Some("3.6.4"),
        expected: Expected::ErrorSites {
            confidence: Confidence::High,
            reads: (ReadEx, read),
            writes: (WriteEx2, write),
            others: &[New, Ctrl, SetFd, SetFd, SetFd, Handshake],
        },
        others: &[Family::RustlsAwsLc],
    }
}

const fn named(
    path: &'static str,
    arch: Arch,
    family: Family,
    version: Option<&'static str>,
    expected: Expected,
) -> Program {
    Program {
        path,
        arch,
        family,
        version,
        expected,
        others: &[],
    }
}

const INLINED: Expected = Expected::NamesOnly(Refusal::Ambiguous(ReadEx));

programs! {
    claude_x64: boring(
        "claude-x64/claude", Arch::X86_64, (0x331_e810, 0x331_e660), (Confidence::Fair, BUN),
    );
    claude_arm64: boring(
        "claude-arm64/claude", Arch::Aarch64, (0x2f2_60c0, 0x2f2_5f00), (Confidence::Fair, BUN),
    );
    bun_x64: boring(
        "bun-x64/bin/bun", Arch::X86_64, (0x258_6500, 0x260_7c30), (Confidence::Fair, BUN),
    );
    bun_arm64: boring(
        "bun-arm64/bin/bun", Arch::Aarch64, (0x233_5500, 0x23b_07c0), (Confidence::Fair, BUN),
    );
    opencode_x64: boring(
        "opencode-x64/bin/opencode", Arch::X86_64, (0x3ae_33f0, 0x3ae_3780),
        (Confidence::Fair, &[SetHostName, Handshake]),
    );
    opencode_arm64: boring(
        "opencode-arm64/bin/opencode", Arch::Aarch64, (0x397_6880, 0x397_6c40),
        (Confidence::Fair, &[SetHostName, Handshake]),
    );
    grpcio_x64: boring(
        "grpcio-x64/grpc/_cython/cygrpc.cpython-311-x86_64-linux-gnu.so",
        Arch::X86_64, (0xbb_5d00, 0xbb_3f20),
        (Confidence::High, &[New, SetHostName, SetFd, SetFd, SetFd, Handshake]),
    );
    grpcio_arm64: boring(
        "grpcio-arm64/grpc/_cython/cygrpc.cpython-311-aarch64-linux-gnu.so",
        Arch::Aarch64, (0xae_ac90, 0xae_9100),
        (Confidence::High, &[New, SetHostName, SetFd, SetFd, SetFd, Handshake]),
    );
    codex_x64: codex(
        "codex-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
        Arch::X86_64, 0x10e6_4c50, 0x10e6_5240,
    );
    codex_arm64: codex(
        "codex-arm64/vendor/aarch64-unknown-linux-musl/bin/codex",
        Arch::Aarch64, 0xd74_1960, 0xd74_1fa0,
    );
    copilot_x64: named(
        "copilot-x64/copilot", Arch::X86_64, Family::OpenSsl, Some("3.5.7"), INLINED,
    );
    copilot_arm64: named(
        "copilot-arm64/copilot", Arch::Aarch64, Family::OpenSsl, Some("3.5.7"), INLINED,
    );
    node_x64: named(
        "node-x64/bin/node", Arch::X86_64, Family::OpenSsl, Some("3.5.8"), Expected::Names,
    );
    node_arm64: named(
        "node-arm64/bin/node", Arch::Aarch64, Family::OpenSsl, Some("3.5.8"), Expected::Names,
    );
    curl_cffi_x64: named(
        "curl_cffi-x64/curl_cffi/_wrapper.abi3.so",
        Arch::X86_64, Family::BoringSsl, None, Expected::Names,
    );
    curl_cffi_arm64: named(
        "curl_cffi-arm64/curl_cffi/_wrapper.abi3.so",
        Arch::Aarch64, Family::BoringSsl, None, Expected::Names,
    );
    pycurl_x64: named(
        "pycurl-x64/pycurl.libs/libssl-8b66dd34.so.3",
        Arch::X86_64, Family::OpenSsl, None, Expected::Names,
    );
    pycurl_arm64: named(
        "pycurl-arm64/pycurl.libs/libssl-bc462336.so.3",
        Arch::Aarch64, Family::OpenSsl, None, Expected::Names,
    );
}

fn check(test: &str, program: &Program) {
    let Some(path) = path_of(test, program.path) else {
        return;
    };
    let file = Opened::new(&path);
    let resolution = resolve(&file).unwrap();
    assert_eq!(resolution.arch, program.arch);
    let library = resolution.library().unwrap();
    assert_eq!(library.family, program.family);
    assert_eq!(library.version.as_deref(), program.version);
    let others: Vec<Family> = resolution
        .libraries
        .iter()
        .map(|l| l.family)
        .skip(1)
        .collect();
    assert_eq!(others, program.others);
    check_kept(&file, &resolution);
    match &program.expected {
        Expected::ErrorSites {
            confidence,
            reads,
            writes,
            others,
        } => {
            let Outcome::Found(found) = &resolution.outcome else {
                panic!("{resolution:x?}");
            };
            assert_eq!(found.method, Method::ErrorSites);
            assert_eq!(found.confidence, *confidence);
            let pair = [*reads, *writes].map(|(function, address)| Found { function, address });
            let functions: Vec<Found> = found.functions.clone();
            let (pair_found, rest): (Vec<Found>, Vec<Found>) =
                functions.iter().partition(|found| pair.contains(found));
            assert_eq!(pair_found, pair, "{functions:x?}");
            let rest: Vec<Function> = rest.iter().map(|found| found.function).collect();
            assert_eq!(rest, *others, "{functions:x?}");
            check_damaged(&file, &resolution);
        }
        Expected::Names => {
            check_names(&path, &resolution);
            let sites = resolve_by(&file, Method::ErrorSites).unwrap();
            check_agreement(&path, &sites);
            check_damaged(&file, &sites);
        }
        Expected::NamesOnly(refusal) => {
            check_names(&path, &resolution);
            let sites = resolve_by(&file, Method::ErrorSites).unwrap();
            assert_eq!(sites.refusal(), Some(*refusal));
        }
    }
}

#[test]
fn a_stripped_static_client_of_the_systems_openssl_is_found() {
    let test = "a_stripped_static_client_of_the_systems_openssl_is_found";
    let dir = tempfile::tempdir().unwrap();
    let (whole, stripped) = (dir.path().join("whole"), dir.path().join("stripped"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/tls_pair.c");
    let built = Command::new("gcc")
        .args(["-O2", "-static", "-o"])
        .args([&whole, &source])
        .args(["-lssl", "-lcrypto", "-pthread"])
        .output();
    match built {
        Ok(built) if built.status.success() => {}
        Ok(built) => {
            let why = String::from_utf8_lossy(&built.stderr);
            let why = why.lines().find(|line| line.contains("cannot find"));
            let why = why.expect("only a missing library stops it");
            skip(test, why);
            return;
        }
        Err(error) => {
            skip(test, &format!("gcc: {error}"));
            return;
        }
    }
    let status = Command::new("strip")
        .args(["--strip-all", "-o"])
        .args([&stripped, &whole])
        .status();
    assert!(status.unwrap().success());

    let by_names = resolve(&Opened::new(&whole)).unwrap();
    check_names(&whole, &by_names);
    let file = Opened::new(&stripped);
    let resolution = resolve(&file).unwrap();
    let Outcome::Found(found) = &resolution.outcome else {
        panic!("{resolution:x?}");
    };
    assert_eq!(found.method, Method::ErrorSites);
    check_agreement(&whole, &resolution);
    check_damaged(&file, &resolution);
}

/// The names of the resolution are where the symbol tables have them.
fn check_names(path: &Path, resolution: &Resolution) {
    let Outcome::Found(found) = &resolution.outcome else {
        panic!("{resolution:x?}");
    };
    assert_eq!(found.method, Method::Names);
    assert_eq!(found.confidence, Confidence::Certain);
    let symbols = symbols(path);
    let mut expected: Vec<Found> = Function::NAMES
        .iter()
        .flat_map(|(name, function)| {
            let named = symbols.iter().filter(move |(symbol, _)| symbol == name);
            named.map(|(_, address)| Found {
                function: *function,
                address: *address,
            })
        })
        .collect();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(found.functions, expected);
}

/// The functions of the error sites are where the symbols have them. Those without an exported
/// name have one of their own.
fn check_agreement(path: &Path, sites: &Resolution) {
    let symbols = symbols(path);
    let names = |function: Function| -> Vec<&str> {
        match function {
            ReadEx => vec!["ssl_read_internal"],
            Function::WriteEx | WriteEx2 => vec!["ssl_write_internal"],
            Ctrl => vec!["ssl3_ctrl"],
            SetFd => vec!["SSL_set_fd", "SSL_set_rfd", "SSL_set_wfd"],
            other => vec![other.name()],
        }
    };
    let functions = sites.functions();
    assert!(functions.iter().any(|found| found.function.reads()));
    for found in functions {
        let names = names(found.function);
        let has_address =
            |(name, address): &(String, u64)| names.contains(&&**name) && *address == found.address;
        assert!(symbols.iter().any(has_address), "{found:x?}");
    }
}

/// A copy that is damaged is refused.
fn check_damaged(file: &Opened, resolution: &Resolution) {
    let offset = |found: &Found| resolution.offset_of(found.address).unwrap();
    let refuse = |damage: Damage, what: &str| {
        let damaged = Damaged { file, damage };
        let sites = resolve_by(&damaged, Method::ErrorSites).unwrap();
        assert_eq!(sites.functions(), [], "{what}");
    };
    let pair: Vec<&Found> = resolution
        .functions()
        .iter()
        .filter(|found| found.function.reads() || found.function.writes())
        .collect();
    let code = offset(pair[0]);
    refuse(
        Damage::Shift {
            // All code that can matter, its functions and what calls them.
            start: code.saturating_sub(64 << 20).max(4_096),
            end: code + (64 << 20),
        },
        "the code",
    );
    for found in pair {
        let start = offset(found);
        refuse(
            Damage::Shift {
                start,
                end: start + 256,
            },
            found.function.name(),
        );
        let reason = match found.function {
            Read => 66,
            Write => 111,
            ReadEx => 276,
            _ => 207,
        };
        let at = constant(file, resolution.arch, start, reason);
        refuse(Damage::Flip(at), found.function.name());
    }
}

/// Where an instruction sets a register to `value`, in the function that begins at `start`.
fn constant(file: &Opened, arch: Arch, start: u64, value: u32) -> u64 {
    let mut code = [0; 1_024];
    file.file.read_exact_at(&mut code, start).unwrap();
    let at = match arch {
        Arch::X86_64 => code
            .windows(5)
            .position(|bytes| matches!(bytes[0], 0xb8..=0xbf) && bytes[1..] == value.to_le_bytes()),
        Arch::Aarch64 => code.chunks(4).position(|word| {
            let word = u32::from_le_bytes(*word.first_chunk().unwrap());
            word & !0x1f == 0x5280_0000 | value << 5
        }),
    };
    let at = at.expect("it has this error") as u64;
    // The lowest bits of the constant.
    match arch {
        Arch::X86_64 => start + at + 1,
        Arch::Aarch64 => start + at * 4,
    }
}

/// What is found is found again without a scan.
fn check_kept(file: &Opened, resolution: &Resolution) {
    let kept = Kept::new(file, resolution.clone()).unwrap().unwrap();
    assert_eq!(kept.recall(file).as_ref(), Some(resolution));
}

fn symbols(path: &Path) -> Vec<(String, u64)> {
    let bytes = std::fs::read(path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    file.symbols()
        .chain(file.dynamic_symbols())
        .filter(|symbol| symbol.is_definition())
        .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.address())))
        .collect()
}

/// Where a program is; `None`, with a `SKIP` line, where it is not installed.
fn path_of(test: &str, below: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("BPFTOK_PROGRAMS") else {
        skip(test, "BPFTOK_PROGRAMS is not set");
        return None;
    };
    let path = Path::new(&folder).join(below);
    let package = path.strip_prefix(&folder).ok()?.components().next()?;
    if !Path::new(&folder).join(package).is_dir() {
        skip(test, &format!("{} is not installed", path.display()));
        return None;
    }
    assert!(path.is_file(), "{} is missing", path.display());
    Some(path)
}

/// Says that a test did not run, past the capture of what passing tests print.
fn skip(test: &str, reason: &str) {
    let line = format!("SKIP {test}: {reason}\n");
    io::stdout().write_all(line.as_bytes()).unwrap();
}

/// A file, read as the agent reads it.
struct Opened {
    file: File,
    size: u64,
}

impl Opened {
    fn new(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let size = file.metadata().unwrap().len();
        Self { file, size }
    }
}

impl Source for Opened {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

/// What is wrong with a copy.
enum Damage {
    /// One bit at this offset.
    Flip(u64),
    /// All bytes of a range are one further.
    Shift { start: u64, end: u64 },
}

/// A damaged copy that takes no space.
struct Damaged<'a> {
    file: &'a Opened,
    damage: Damage,
}

impl Source for Damaged<'_> {
    fn size(&self) -> u64 {
        self.file.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(offset, buffer)?;
        let end = offset + count as u64;
        let index = |at: u64| usize::try_from(at - offset).unwrap();
        match self.damage {
            Damage::Flip(at) => {
                if (offset..end).contains(&at) {
                    buffer[index(at)] ^= 1;
                }
            }
            Damage::Shift {
                start,
                end: shift_end,
            } => {
                let (from, to) = (start.max(offset), shift_end.min(end));
                if from < to {
                    let mut before = [0];
                    self.file.file.read_exact_at(&mut before, from - 1)?;
                    buffer.copy_within(index(from)..index(to) - 1, index(from) + 1);
                    buffer[index(from)] = before[0];
                }
            }
        }
        Ok(count)
    }
}
