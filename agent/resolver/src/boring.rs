//! BoringSSL without names.
//!
//! Its functions report errors by `ERR_put_error(ERR_LIB_SSL, 0, reason, __FILE__, __LINE__)`.
//! Sorted by line, the reasons of `ssl/ssl_lib.cc` have one order in all releases; lines, offsets
//! and the functions in between change. The part that matters reads
//!
//! ```text
//! ssl_read_impl  SSL_R_UNINITIALIZED, SSL_R_SSL_HANDSHAKE_FAILURE
//! SSL_peek       ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED
//! SSL_write      ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED, SSL_R_UNINITIALIZED,
//!                SSL_R_SSL_HANDSHAKE_FAILURE, SSL_R_BAD_LENGTH
//! ...
//! SSL_shutdown   SSL_R_APPLICATION_DATA_ON_SHUTDOWN
//! ```
//!
//! `SSL_read` has no error of its own: it begins with the whole of `SSL_peek`, which compilers
//! inline, and then takes from the buffer what was peeked.

use std::collections::{BTreeMap, BTreeSet};

use crate::bodies::Bodies;
use crate::resolution::{Confidence, Found, Function, Refusal};
use crate::walk::Body;

// Reasons (`include/openssl/err.h`, `include/openssl/ssl.h`).
const BUF_LIB: u64 = 7;
const SHOULD_NOT_HAVE_BEEN_CALLED: u64 = 66;
const BAD_HELLO_REQUEST: u64 = 110;
const BAD_LENGTH: u64 = 111;
const CONNECTION_TYPE_NOT_SET: u64 = 134;
const NO_RENEGOTIATION: u64 = 182;
const NULL_SSL_CTX: u64 = 185;
const INVALID_SERVER_NAME: u64 = 213;
const SSL_HANDSHAKE_FAILURE: u64 = 215;
const UNINITIALIZED: u64 = 226;
const APPLICATION_DATA_ON_SHUTDOWN: u64 = 291;

/// The order of reasons that leads to `SSL_read` and `SSL_write`.
const ORDER: [u64; 7] = [
    UNINITIALIZED,
    SSL_HANDSHAKE_FAILURE,
    SHOULD_NOT_HAVE_BEEN_CALLED,
    SHOULD_NOT_HAVE_BEEN_CALLED,
    UNINITIALIZED,
    SSL_HANDSHAKE_FAILURE,
    BAD_LENGTH,
];

/// Errors of helpers that may be inlined: of `SSL_do_handshake` and `ssl_do_post_handshake`.
const INLINED: [u64; 3] = [CONNECTION_TYPE_NOT_SET, NO_RENEGOTIATION, BAD_HELLO_REQUEST];

/// Reasons and lines beyond these are no error call's.
const MAX_REASON: u64 = 1_000;
const MAX_LINE: u64 = 20_000;

/// An error call: line and reason.
type Error = (u64, u64);

/// The functions of the library whose `ssl_lib.cc` is at `file`.
pub(crate) fn select(bodies: &Bodies, file: u64) -> Result<(Vec<Found>, Confidence), Refusal> {
    let errors: BTreeMap<u64, BTreeSet<Error>> = bodies
        .bodies
        .iter()
        .map(|(start, body)| (*start, errors(body, file)))
        .filter(|(_, errors)| !errors.is_empty())
        .collect();
    let owners = |wanted: &[Error]| -> Vec<u64> {
        errors
            .iter()
            .filter(|(_, errors)| wanted.iter().any(|error| errors.contains(error)))
            .map(|(start, _)| *start)
            .collect()
    };
    let (read_impl, peek, write) = key_errors(&errors)?;
    let is_file = |text| text == file;
    let put_error = bodies.usual_target(is_file);
    let confirm = |body: &Body, function| bodies.confirm(body, function, is_file, put_error);

    let write_body = only(&owners(&write), bodies, Function::Write)?;
    expect_errors(&errors, write_body, &write, Function::Write)?;
    let write_confidence = confirm(write_body, Function::Write)?;

    let impl_body = only(&owners(&read_impl), bodies, Function::Read)?;
    expect_errors(&errors, impl_body, &read_impl, Function::Read)?;
    confirm(impl_body, Function::Read)?;

    let peeks = owners(&[peek]);
    if peeks.len() > 2 {
        return Err(Refusal::Ambiguous(Function::Read));
    }
    // Without the inner function none of the two stores anything: only what also takes does.
    let takers: Vec<u64> = peeks
        .into_iter()
        .filter(|start| bodies.bodies.get(start).is_some_and(|body| body.stores))
        .collect();
    let read_body = only(&takers, bodies, Function::Read)?;
    expect_errors(&errors, read_body, &[peek], Function::Read)?;
    // With two calls of the one error, two functions would have been taken for one.
    let is_one = errors
        .get(&read_body.start)
        .is_some_and(|errors| errors.len() == bodies.loads_in(read_body));
    if !is_one || !read_body.calls.contains(&impl_body.start) {
        return Err(Refusal::WrongSites(Function::Read));
    }
    let read_confidence = confirm(read_body, Function::Read)?;

    let mut functions = vec![
        Found {
            function: Function::Read,
            address: read_body.start,
        },
        Found {
            function: Function::Write,
            address: write_body.start,
        },
    ];
    let mut add = |function, body: &Body| {
        if confirm(body, function).is_ok() {
            functions.push(Found {
                function,
                address: body.start,
            });
        }
    };
    // Those that have nothing but one error, by its reason.
    let with_only = |reason| {
        let owners: Vec<&Body> = errors
            .iter()
            .filter(|(_, errors)| errors.len() == 1 && errors.iter().all(|error| error.1 == reason))
            .filter_map(|(start, _)| bodies.bodies.get(start))
            .collect();
        owners
    };
    // `SSL_connect` and `SSL_accept` may have it inlined: it is the one that `SSL_write` calls.
    for body in with_only(CONNECTION_TYPE_NOT_SET) {
        if write_body.calls.contains(&body.start) {
            add(Function::Handshake, body);
        }
    }
    for (reason, function) in [
        (NULL_SSL_CTX, Function::New),
        (INVALID_SERVER_NAME, Function::SetHostName),
    ] {
        if let [body] = with_only(reason).as_slice() {
            add(function, body);
        }
    }
    for body in with_only(BUF_LIB) {
        add(Function::SetFd, body);
    }
    functions.sort_unstable();
    Ok((functions, read_confidence.min(write_confidence)))
}

/// The error calls of a function in the file, by line.
fn errors(body: &Body, file: u64) -> BTreeSet<Error> {
    body.sites
        .iter()
        .filter(|site| site.text == file)
        .filter_map(|site| Some((site.after?, site.before?)))
        .filter(|(line, reason)| (1..MAX_LINE).contains(line) && (1..MAX_REASON).contains(reason))
        .collect()
}

/// The errors of the inner read function, of `SSL_peek` and of `SSL_write`.
fn key_errors(
    errors: &BTreeMap<u64, BTreeSet<Error>>,
) -> Result<([Error; 2], Error, [Error; 4]), Refusal> {
    let all: BTreeSet<Error> = errors.values().flatten().copied().collect();
    let all: Vec<Error> = all.into_iter().collect();
    // A program that does not shut connections down may be linked without that function.
    let is_shutdown = |(_, reason): &&Error| *reason == APPLICATION_DATA_ON_SHUTDOWN;
    let shutdown = all.iter().find(is_shutdown);
    let before: Vec<Error> = all
        .iter()
        .copied()
        .filter(|(line, _)| shutdown.is_none_or(|(shutdown, _)| line < shutdown))
        .collect();
    let mut found = before.windows(ORDER.len()).filter_map(|window| {
        let window: [Error; 7] = window.try_into().ok()?;
        (window.map(|(_, reason)| reason) == ORDER).then_some(window)
    });
    match (found.next(), found.next()) {
        (Some([a, b, c, d, e, f, g]), None) => Ok(([a, b], c, [d, e, f, g])),
        (Some(_), Some(_)) => Err(Refusal::Ambiguous(Function::Write)),
        (None, _) => Err(Refusal::Missing(Function::Write)),
    }
}

fn only<'a>(starts: &[u64], bodies: &'a Bodies, function: Function) -> Result<&'a Body, Refusal> {
    match starts {
        [] => Err(Refusal::Missing(function)),
        [start] => bodies.bodies.get(start).ok_or(Refusal::Missing(function)),
        [_, _, ..] => Err(Refusal::Ambiguous(function)),
    }
}

/// Refuses a function that has not exactly the errors that it should have. It may have inlined
/// those of helpers, which come before it in the file.
fn expect_errors(
    errors: &BTreeMap<u64, BTreeSet<Error>>,
    body: &Body,
    wanted: &[Error],
    function: Function,
) -> Result<(), Refusal> {
    let has: BTreeSet<Error> = errors
        .get(&body.start)
        .into_iter()
        .flatten()
        .copied()
        .filter(|(line, reason)| {
            let is_before = wanted.first().is_some_and(|(first, _)| line < first);
            !(is_before && INLINED.contains(reason))
        })
        .collect();
    if has.iter().eq(wanted) {
        Ok(())
    } else {
        Err(Refusal::WrongSites(function))
    }
}
