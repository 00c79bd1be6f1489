//! OpenSSL 3 and 4 without names.
//!
//! Its functions report errors by `ERR_set_debug(__FILE__, __LINE__, __func__)` and
//! `ERR_set_error(ERR_LIB_SSL, reason, ...)`, so a function's own name is an argument in it. The
//! internal functions that all reads and writes pass are probed: `SSL_read_ex` and `SSL_write_ex`
//! have no error of their own.
//!
//! `ssl_write_internal` has one more argument since OpenSSL 3.3, the flags, and since then it
//! refuses unknown ones. That error tells the two signatures apart. Optimisation may remove it, so
//! its absence alone says nothing: the library's table of error texts and the versions that the
//! file mentions must agree.

use std::collections::BTreeSet;

use crate::bodies::Bodies;
use crate::marks::{Marks, Name};
use crate::resolution::{Confidence, Found, Function, Refusal};
use crate::walk::Body;

/// `ERR_LIB_SSL` (`include/openssl/err.h`).
const LIB_SSL: u64 = 20;

// Reasons (`include/openssl/err.h`, `include/openssl/sslerr.h`).
const CONNECTION_TYPE_NOT_SET: u64 = 144;
const NULL_SSL_CTX: u64 = 195;
const PROTOCOL_IS_SHUTDOWN: u64 = 207;
const BAD_LENGTH: u64 = 271;
const UNINITIALIZED: u64 = 276;
const INVALID_SERVERNAME: u64 = 319;
const UNSUPPORTED_WRITE_FLAG: u64 = 412;
/// `ERR_R_BUF_LIB`, with the flag of errors that all libraries share.
const BUF_LIB: u64 = 7 | 2 << 18;
/// `ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED`, with the flags of fatal errors that all libraries share.
const SHOULD_NOT_HAVE_BEEN_CALLED: u64 = 257 | 3 << 18;

/// The first version whose `ssl_write_internal` takes flags.
const WITH_FLAGS: (u32, u32) = (3, 3);

/// The functions of the library that left `marks`.
pub(crate) fn select(bodies: &Bodies, marks: &Marks) -> Result<(Vec<Found>, Confidence), Refusal> {
    let names = marks.openssl_names.as_slice();
    let raised = |body: &Body, name: Name| -> BTreeSet<u64> {
        body.followed
            .iter()
            .filter(|(text, [library, _])| {
                *library == LIB_SSL && names.binary_search(&(*text, name)).is_ok()
            })
            .map(|(_, [_, reason])| *reason)
            .collect()
    };
    let owners = |name: Name| -> Vec<(&Body, BTreeSet<u64>)> {
        bodies
            .bodies
            .values()
            .map(|body| (body, raised(body, name)))
            .filter(|(_, raised)| !raised.is_empty())
            .collect()
    };
    let is_name = |text| names.iter().any(|(name, _)| *name == text);
    let set_debug = bodies.usual_target(is_name);
    let confirm = |body: &Body, function| bodies.confirm(body, function, is_name, set_debug);

    // A function that has errors of another one has it inlined, or is damaged.
    let is_pure = |body: &Body, name: Name| {
        body.sites
            .iter()
            .all(|site| names.binary_search(&(site.text, name)).is_ok() || !is_name(site.text))
    };

    let (read, errors) = only(owners(Name::ReadInternal), Function::ReadEx)?;
    let is_right = errors
        .into_iter()
        .eq([UNINITIALIZED, SHOULD_NOT_HAVE_BEEN_CALLED]);
    if !is_right || !is_pure(read, Name::ReadInternal) {
        return Err(Refusal::WrongSites(Function::ReadEx));
    }
    expect_callers(&owners(Name::Read), read, Function::ReadEx)?;

    let (write, errors) = only(owners(Name::WriteInternal), Function::WriteEx)?;
    let has_flags = errors.contains(&UNSUPPORTED_WRITE_FLAG);
    let expected = [
        PROTOCOL_IS_SHUTDOWN,
        UNINITIALIZED,
        UNSUPPORTED_WRITE_FLAG,
        SHOULD_NOT_HAVE_BEEN_CALLED,
    ];
    let expected = expected
        .into_iter()
        .filter(|reason| has_flags || *reason != UNSUPPORTED_WRITE_FLAG);
    if !errors.into_iter().eq(expected) || !is_pure(write, Name::WriteInternal) {
        return Err(Refusal::WrongSites(Function::WriteEx));
    }
    expect_callers(&owners(Name::Write), write, Function::WriteEx)?;
    let mut signs = marks
        .versions()
        .into_iter()
        .map(|version| version >= WITH_FLAGS)
        .chain(marks.knows_write_flags())
        .peekable();
    if signs.peek().is_none() && !has_flags || !signs.all(|sign| sign == has_flags) {
        return Err(Refusal::UnknownVersion);
    }

    let mut functions = Vec::new();
    let mut confidence = Confidence::High;
    let write_function = if has_flags {
        Function::WriteEx2
    } else {
        Function::WriteEx
    };
    for (body, function) in [(read, Function::ReadEx), (write, write_function)] {
        confidence = confidence.min(confirm(body, function)?);
        functions.push(Found {
            function,
            address: body.start,
        });
    }
    // Those that it goes without if they are not clear.
    for (name, reason, function) in [
        (Name::New, NULL_SSL_CTX, Function::New),
        (
            Name::Handshake,
            CONNECTION_TYPE_NOT_SET,
            Function::Handshake,
        ),
        (Name::SetFd, BUF_LIB, Function::SetFd),
        // It has the signature of `SSL_ctrl`, which passes on what it does not know.
        (Name::Control, INVALID_SERVERNAME, Function::Ctrl),
    ] {
        let owners = owners(name);
        let is_clear = function == Function::SetFd || owners.len() == 1;
        for (body, raised) in owners {
            let is_clear = is_clear && raised.contains(&reason) && is_pure(body, name);
            if is_clear && confirm(body, function).is_ok() {
                functions.push(Found {
                    function,
                    address: body.start,
                });
            }
        }
    }
    functions.sort_unstable();
    Ok((functions, confidence))
}

fn only(
    owners: Vec<(&Body, BTreeSet<u64>)>,
    function: Function,
) -> Result<(&Body, BTreeSet<u64>), Refusal> {
    let mut owners = owners.into_iter();
    match (owners.next(), owners.next()) {
        (None, _) => Err(Refusal::Missing(function)),
        (Some(owner), None) => Ok(owner),
        // It was inlined: what calls it can't be told from it.
        (Some(_), Some(_)) => Err(Refusal::Ambiguous(function)),
    }
}

/// The plain function, where the file has it, checks the length and calls the internal one.
fn expect_callers(
    owners: &[(&Body, BTreeSet<u64>)],
    internal: &Body,
    function: Function,
) -> Result<(), Refusal> {
    let is_right = |(body, raised): &(&Body, BTreeSet<u64>)| {
        raised.iter().eq(&[BAD_LENGTH]) && body.calls.contains(&internal.start)
    };
    if owners.iter().all(is_right) {
        Ok(())
    } else {
        Err(Refusal::WrongSites(function))
    }
}
