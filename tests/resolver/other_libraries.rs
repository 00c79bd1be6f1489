//! Libraries that are only named.

use agent_resolver::{Family, Outcome, Resolution};

use crate::elf::library::Flags;
use crate::elf::{Plan, Symbol, Table};
use crate::{PIE, VERSION_3_6, openssl_plan, resolved};

fn with_texts(texts: &[&'static str]) -> Resolution {
    let mut plan = Plan::new(PIE, Vec::new());
    plan.texts.extend(texts);
    resolved(&plan.build().bytes)
}

fn shown(resolution: &Resolution) -> Vec<String> {
    let libraries = resolution.libraries.iter();
    libraries.map(ToString::to_string).collect()
}

#[test]
fn they_are_named_and_nothing_is_probed() {
    for (texts, library) in [
        (
            &["/registry/src/rustls-0.23.46/src/conn.rs"][..],
            "rustls 0.23.46",
        ),
        (
            &[
                "/rustls-0.23.40/src/lib.rs",
                "/aws-lc/crypto/fipsmodule/cipher/aead.c",
            ],
            "rustls (AWS-LC) 0.23.40",
        ),
        (
            &["tls: received unexpected handshake message of type %T when waiting for %T"],
            "Go crypto/tls",
        ),
        (&["Mbed TLS 3.6.2"], "Mbed TLS 3.6.2"),
    ] {
        let resolution = with_texts(texts);
        assert_eq!(shown(&resolution), [library]);
        assert_eq!(resolution.outcome, Outcome::Nothing);
    }
}

#[test]
fn prose_and_a_library_without_tls_are_none() {
    for text in [
        "this needs OpenSSL 3.0 or later",
        VERSION_3_6,
        "see /rustls-native-certs for more",
        "Mbed TLS is not built in",
        "/aws-lc/crypto/fipsmodule/cipher/aead.c",
    ] {
        assert_eq!(with_texts(&[text]).libraries, [], "{text}");
    }
}

#[test]
fn they_are_told_by_the_names_that_they_define() {
    for (name, family) in [
        ("gnutls_record_send", Family::GnuTls),
        ("SSL_ImportFD", Family::Nss),
        ("mbedtls_ssl_write", Family::MbedTls),
        ("wolfSSL_write", Family::WolfSsl),
    ] {
        let symbol = Symbol {
            function: "main",
            ..Symbol::of(name)
        };
        let file = Plan::new(PIE, Vec::new())
            .with_symbols(Table::Dynamic, [symbol])
            .build();
        let resolution = resolved(&file.bytes);
        let families: Vec<Family> = resolution.libraries.iter().map(|l| l.family).collect();
        assert_eq!(families, [family]);
        assert_eq!(resolution.outcome, Outcome::Nothing);
    }
}

#[test]
fn one_beside_openssl_is_reported_too() {
    let mut plan = openssl_plan(PIE, Flags::Present, Some(VERSION_3_6));
    plan.texts.push("/rustls-0.23.46/src/lib.rs");
    assert_eq!(
        shown(&resolved(&plan.build().bytes)),
        ["OpenSSL 3.6.4", "rustls 0.23.46"]
    );
}
