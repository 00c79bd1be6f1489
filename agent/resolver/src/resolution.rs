//! What the resolver says about a file.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is known about one ELF file. It is a plain value: the same bytes always give the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The processor it is for.
    pub arch: Arch,
    /// TLS libraries whose code the file carries. The functions or the refusal of `outcome` belong
    /// to the first; none of the others is looked into.
    pub libraries: Vec<Library>,
    /// What can be probed.
    pub outcome: Outcome,
    /// The executable segments.
    pub(crate) segments: Vec<CodeSegment>,
}

impl Resolution {
    /// The library that `outcome` is about.
    pub fn library(&self) -> Option<&Library> {
        self.libraries.first()
    }

    /// Functions to probe; empty unless they were found.
    pub fn functions(&self) -> &[Found] {
        if let Outcome::Found(found) = &self.outcome {
            &found.functions
        } else {
            &[]
        }
    }

    /// Why nothing is probed although there is something that could be.
    pub const fn refusal(&self) -> Option<Refusal> {
        if let Outcome::Refused(refusal) = self.outcome {
            Some(refusal)
        } else {
            None
        }
    }

    /// Offset in the file of the code at a virtual address; `None` if no executable segment holds
    /// it. Functions of a resolution always have one.
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        self.code_at(address).map(|(offset, _)| offset)
    }

    /// The same, and how many bytes of the segment follow from there on.
    pub(crate) fn code_at(&self, address: u64) -> Option<(u64, u64)> {
        self.segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.address)?;
            let rest = segment.size.checked_sub(within).filter(|rest| *rest > 0)?;
            Some((segment.offset.checked_add(within)?, rest))
        })
    }
}

/// A processor whose code can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Arch {
    /// AMD64.
    X86_64,
    /// arm64.
    Aarch64,
}

/// A TLS library inside a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// Which one.
    pub family: Family,
    /// What it calls itself, if it does: `3.6.4`. For reports; nothing is decided by it but which
    /// signature a function of OpenSSL has.
    pub version: Option<String>,
}

/// Kinds of TLS libraries that leave robust marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// OpenSSL, 1.1 to 4.
    OpenSsl,
    /// BoringSSL, or AWS-LC's copy of its interface.
    BoringSsl,
    /// rustls over AWS-LC.
    RustlsAwsLc,
    /// rustls over ring, or over a provider that left no mark.
    Rustls,
    /// Go's `crypto/tls`.
    Go,
    /// GnuTLS.
    GnuTls,
    /// Mozilla's NSS.
    Nss,
    /// mbed TLS.
    MbedTls,
    /// wolfSSL.
    WolfSsl,
}

impl Family {
    /// The name that its project uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenSsl => "OpenSSL",
            Self::BoringSsl => "BoringSSL",
            Self::RustlsAwsLc => "rustls (AWS-LC)",
            Self::Rustls => "rustls",
            Self::Go => "Go crypto/tls",
            Self::GnuTls => "GnuTLS",
            Self::Nss => "NSS",
            Self::MbedTls => "Mbed TLS",
            Self::WolfSsl => "wolfSSL",
        }
    }

    /// Whether its functions are looked for. Of the others only the presence is known.
    pub const fn is_resolved(self) -> bool {
        matches!(self, Self::OpenSsl | Self::BoringSsl)
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family.name())?;
        match &self.version {
            Some(version) => write!(f, " {version}"),
            None => Ok(()),
        }
    }
}

/// Whether there is something to probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The file has no function that could be probed: no TLS library, or only such as
    /// [`Family::is_resolved`] denies.
    Nothing,
    /// At least one function that reads and one that writes.
    Found(Functions),
    /// There is a library of the OpenSSL interface, and it must not be probed.
    Refused(Refusal),
}

/// Functions of one library, and what speaks for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Functions {
    /// How they were found.
    pub method: Method,
    /// How sure it is.
    pub confidence: Confidence,
    /// The functions, sorted by function and address, without doubles. Every address lies in an
    /// executable segment.
    pub functions: Vec<Found>,
}

/// How functions were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// A symbol table names them.
    Names,
    /// The constants of the library's own error calls lead to them.
    ErrorSites,
}

/// How sure the addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Confidence {
    /// Error sites fit exactly, and either unwind information or direct callers say that the
    /// functions begin there.
    Fair,
    /// The same, and both of them say so.
    High,
    /// The file itself names the functions, and nothing in it contradicts.
    Certain,
}

/// A function and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Found {
    /// What it does.
    pub function: Function,
    /// Virtual address of its first instruction, as the file has it.
    pub address: u64,
}

/// A function of the OpenSSL interface, by what its arguments mean. A function without a name is
/// given as the one whose signature it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Function {
    /// `int SSL_read(SSL *, void *buf, int num)`.
    Read,
    /// `int SSL_read_ex(SSL *, void *buf, size_t num, size_t *read)`, and OpenSSL's internal
    /// `ssl_read_internal`.
    ReadEx,
    /// `int SSL_write(SSL *, const void *buf, int num)`.
    Write,
    /// `int SSL_write_ex(SSL *, const void *buf, size_t num, size_t *written)`, and
    /// `ssl_write_internal` before OpenSSL 3.3.
    WriteEx,
    /// `int SSL_write_ex2(SSL *, const void *buf, size_t num, uint64_t flags, size_t *written)`
    /// and `ssl_write_internal` since OpenSSL 3.3. `SSL_write_ex` calls it there, so one write may
    /// pass two probes.
    WriteEx2,
    /// `void SSL_free(SSL *)`.
    Free,
    /// `SSL *SSL_new(SSL_CTX *)`.
    New,
    /// `long SSL_ctrl(SSL *, int cmd, long larg, void *parg)`; 55 sets the host name.
    Ctrl,
    /// `int SSL_set_tlsext_host_name(SSL *, const char *name)`, a function in BoringSSL only.
    SetHostName,
    /// `int SSL_set_fd(SSL *, int fd)`, and `SSL_set_rfd` and `SSL_set_wfd`.
    SetFd,
    /// `int SSL_do_handshake(SSL *)`.
    Handshake,
}

impl Function {
    /// Every exported name and its function, sorted by name.
    pub const NAMES: [(&'static str, Self); 13] = [
        ("SSL_ctrl", Self::Ctrl),
        ("SSL_do_handshake", Self::Handshake),
        ("SSL_free", Self::Free),
        ("SSL_new", Self::New),
        ("SSL_read", Self::Read),
        ("SSL_read_ex", Self::ReadEx),
        ("SSL_set_fd", Self::SetFd),
        ("SSL_set_rfd", Self::SetFd),
        ("SSL_set_tlsext_host_name", Self::SetHostName),
        ("SSL_set_wfd", Self::SetFd),
        ("SSL_write", Self::Write),
        ("SSL_write_ex", Self::WriteEx),
        ("SSL_write_ex2", Self::WriteEx2),
    ];

    /// The exported function that has its signature.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "SSL_read",
            Self::ReadEx => "SSL_read_ex",
            Self::Write => "SSL_write",
            Self::WriteEx => "SSL_write_ex",
            Self::WriteEx2 => "SSL_write_ex2",
            Self::Free => "SSL_free",
            Self::New => "SSL_new",
            Self::Ctrl => "SSL_ctrl",
            Self::SetHostName => "SSL_set_tlsext_host_name",
            Self::SetFd => "SSL_set_fd",
            Self::Handshake => "SSL_do_handshake",
        }
    }

    /// Whether it takes bytes from the peer.
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadEx)
    }

    /// Whether it sends bytes to the peer.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::WriteEx | Self::WriteEx2)
    }
}

/// Why a file with a library of the OpenSSL interface is left alone. A wrong probe can crash the
/// program, so whatever does not fit exactly is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Only one direction has a name.
    #[error("it names a function that reads or one that writes, but not both")]
    HalfAPair,
    /// A named function is outside the code, or inside of another one.
    #[error("a named function does not begin where its name says")]
    NameInsideCode,
    /// No code refers to the library's error texts.
    #[error("its error calls can't be told apart")]
    NoSites,
    /// A function that must be there is missing among the error sites.
    #[error("the error sites of {} were not found", .0.name())]
    Missing(Function),
    /// More than one function fits.
    #[error("the error sites of {} fit more than one function", .0.name())]
    Ambiguous(Function),
    /// A function has error sites that it should not have, or lacks some.
    #[error("the error sites of {} are not the expected ones", .0.name())]
    WrongSites(Function),
    /// Nothing says that the function begins there.
    #[error("nothing confirms where {} begins", .0.name())]
    Unconfirmed(Function),
    /// The code at its start can't be decoded up to its error sites.
    #[error("the code of {} can't be followed to its error sites", .0.name())]
    Unreached(Function),
    /// OpenSSL whose internal functions have an unknown signature.
    #[error("its version is unknown, and with it the signature of its functions")]
    UnknownVersion,
}

/// An executable segment: where it is in the file and in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CodeSegment {
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}
