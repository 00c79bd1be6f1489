//! Says for an ELF file which TLS library it carries and where the functions are that plaintext
//! passes, with or without symbols, for x86-64 and arm64.
//!
//! It takes a [`Source`] of bytes and gives a [`Resolution`]. It does no I/O of its own, keeps
//! nothing between calls, and holds no more than a few megabytes. The file may belong to anybody:
//! nothing in it is believed, every table and loop is bounded, and what does not fit exactly is a
//! [`Refusal`] rather than a guess, because a probe in a wrong place can crash the program.
//!
//! Names win where a file has them. Where it has none, the functions are found by the calls with
//! which the library reports its own errors: their arguments are constants of the source, which
//! survive stripping and any optimisation, while distances and prologues do not.

#![forbid(unsafe_code)]

mod image;
mod key;
mod names;
mod resolution;
mod source;

pub use key::{ContentKey, Kept, content_key};
pub use resolution::{
    Arch, Confidence, Family, Found, Function, Functions, Library, Method, Outcome, Refusal,
    Resolution,
};
pub use source::{MAX_READ_BYTES, Source};

use image::Image;
use source::Reader;

/// Why nothing can be said about a file.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no ELF file.
    #[error("it is no ELF file")]
    NotElf,
    /// It is for another kind of machine.
    #[error("it is not for a 64-bit x86 or ARM machine")]
    Foreign,
    /// It is an object file or a core dump.
    #[error("it is neither a program nor a library")]
    NotLoadable,
    /// Its headers can't be right.
    #[error("its headers are damaged")]
    Malformed,
    /// It ends before what its headers promise.
    #[error("it ends too early")]
    Truncated,
    /// It needs more than [`MAX_READ_BYTES`].
    #[error("it is too large")]
    TooLarge,
    /// The file system fails.
    #[error("it can't be read")]
    Io(#[from] std::io::Error),
}

/// Finds the TLS functions of a file.
///
/// # Errors
///
/// The file is no ELF file of a known kind, is damaged, or can't be read.
pub fn resolve(source: &dyn Source) -> Result<Resolution, Unreadable> {
    let reader = Reader::new(source);
    let image = Image::read(&reader)?;
    let named = names::find(&image, &reader)?;
    let outcome = named.outcome(&image);
    Ok(Resolution {
        arch: image.arch,
        libraries: named.libraries(),
        outcome,
        segments: image.code_segments(),
    })
}
