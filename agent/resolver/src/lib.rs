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

mod bodies;
mod boring;
mod code;
mod image;
mod key;
mod marks;
mod names;
mod openssl;
mod resolution;
mod scan;
mod search;
mod source;
mod text;
mod unwind;
mod walk;

pub use key::{ContentKey, Kept, content_key};
pub use resolution::{
    Arch, Confidence, Family, Found, Function, Functions, Library, Method, Outcome, Refusal,
    Resolution,
};
pub use source::{MAX_READ_BYTES, Source};

use bodies::Bodies;
use image::{Image, Range};
use marks::Marks;
use names::Names;
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

/// Finds the TLS functions of a file: by their names, and where it has none by error sites.
///
/// # Errors
///
/// The file is no ELF file of a known kind, is damaged, or can't be read.
pub fn resolve(source: &dyn Source) -> Result<Resolution, Unreadable> {
    let file = File::open(source)?;
    let by_names = file.by_names()?;
    let (outcome, family) = if matches!(by_names.0, Outcome::Found(_)) {
        by_names
    } else {
        let by_sites = file.by_error_sites()?;
        // What is wrong with names is more telling than what is wrong without them.
        if matches!(by_sites.0, Outcome::Found(_)) || by_names.0 == Outcome::Nothing {
            by_sites
        } else {
            by_names
        }
    };
    Ok(file.resolution(outcome, family))
}

/// The GNU build id of a file, by which a distribution's packages and debuggers know it; empty if it
/// has none. Two files may have the same: it is no key for what is found in them.
///
/// # Errors
///
/// As [`resolve`].
pub fn build_id(source: &dyn Source) -> Result<Vec<u8>, Unreadable> {
    Ok(Image::read(&Reader::new(source))?.build_id)
}

/// What [`resolve`] finds, by one method alone: shows whether both agree.
///
/// # Errors
///
/// As [`resolve`].
pub fn resolve_by(source: &dyn Source, method: Method) -> Result<Resolution, Unreadable> {
    let file = File::open(source)?;
    let (outcome, family) = match method {
        Method::Names => file.by_names()?,
        Method::ErrorSites => file.by_error_sites()?,
    };
    Ok(file.resolution(outcome, family))
}

/// A file whose tables and texts were read.
struct File<'a> {
    reader: Reader<'a>,
    image: Image,
    names: Names,
    marks: Marks,
}

impl<'a> File<'a> {
    fn open(source: &'a dyn Source) -> Result<Self, Unreadable> {
        let reader = Reader::new(source);
        let image = Image::read(&reader)?;
        within_limit(&image.constants(), 1)?;
        let names = names::find(&image, &reader)?;
        let marks = marks::find(&image, &reader)?;
        Ok(Self {
            reader,
            image,
            names,
            marks,
        })
    }

    fn by_names(&self) -> Result<(Outcome, Option<Family>), Unreadable> {
        let outcome = self.names.outcome(&self.image, &self.reader)?;
        let family = match outcome {
            Outcome::Nothing => None,
            Outcome::Found(_) | Outcome::Refused(_) => Some(self.family_of_names()),
        };
        Ok((outcome, family))
    }

    /// The two families share the names but for one, which is a macro in OpenSSL.
    fn family_of_names(&self) -> Family {
        let is_boring =
            self.names.has(Function::SetHostName) || !self.marks.boring_files.is_empty();
        if is_boring {
            Family::BoringSsl
        } else {
            Family::OpenSsl
        }
    }

    fn by_error_sites(&self) -> Result<(Outcome, Option<Family>), Unreadable> {
        let has_openssl = self.marks.has_openssl_names();
        let mut texts = self.marks.boring_files.clone();
        if has_openssl {
            texts.extend(self.marks.openssl_names.iter().map(|(address, _)| *address));
        }
        texts.sort_unstable();
        if texts.is_empty() {
            return Ok((Outcome::Nothing, None));
        }
        // For the loads of texts, and for calls.
        within_limit(&self.image.instructions(), 2)?;
        let bodies = Bodies::find(&self.image, &self.reader, &texts)?;
        let mut attempts: Vec<(Family, Selected)> = Vec::new();
        for file in &self.marks.boring_files {
            let selected = bodies
                .as_ref()
                .ok_or(Refusal::NoSites)
                .and_then(|bodies| boring::select(bodies, *file));
            attempts.push((Family::BoringSsl, selected));
        }
        if has_openssl {
            let selected = bodies
                .as_ref()
                .ok_or(Refusal::NoSites)
                .and_then(|bodies| openssl::select(bodies, &self.marks));
            attempts.push((Family::OpenSsl, selected));
        }
        Ok(best(attempts))
    }

    fn resolution(&self, outcome: Outcome, family: Option<Family>) -> Resolution {
        let mut libraries: Vec<Library> = family
            .into_iter()
            .chain(self.names.present.iter().copied())
            .chain(self.marks.families())
            .map(|family| Library {
                family,
                version: self.marks.version(family),
            })
            .collect();
        let mut seen = std::collections::BTreeSet::new();
        libraries.retain(|library| seen.insert(library.family));
        Resolution {
            arch: self.image.arch,
            libraries,
            outcome,
            segments: self.image.code_segments(),
        }
    }
}

/// Refuses a file before it is read that would take more than [`MAX_READ_BYTES`] for going over
/// `ranges` so many times.
fn within_limit(ranges: &[Range], times: u64) -> Result<(), Unreadable> {
    let bytes = ranges
        .iter()
        .fold(0_u64, |bytes, range| bytes.saturating_add(range.size));
    if bytes.saturating_mul(times) > MAX_READ_BYTES {
        return Err(Unreadable::TooLarge);
    }
    Ok(())
}

/// Functions of one library, or why there are none.
type Selected = Result<(Vec<Found>, Confidence), Refusal>;

/// The library whose functions were found, or the first refusal. Where there are two, both are
/// probed; the confidence is that of the worse.
fn best(attempts: Vec<(Family, Selected)>) -> (Outcome, Option<Family>) {
    let (mut functions, mut confidence) = (Vec::new(), Confidence::Certain);
    let (mut family, mut refusal) = (None, None);
    for (library, selected) in attempts {
        match selected {
            Ok((found, sure)) => {
                functions.extend(found);
                confidence = confidence.min(sure);
                family = family.or(Some(library));
            }
            Err(why) => refusal = refusal.or(Some((library, why))),
        }
    }
    functions.sort_unstable();
    functions.dedup();
    match (family, refusal) {
        (Some(family), _) => {
            let found = Functions {
                method: Method::ErrorSites,
                confidence,
                functions,
            };
            (Outcome::Found(found), Some(family))
        }
        (None, Some((family, refusal))) => (Outcome::Refused(refusal), Some(family)),
        (None, None) => (Outcome::Nothing, None),
    }
}
