//! Functions with the errors of real libraries.

use super::{Function, Op};

/// The path as one of the clients has it.
const BORING_FILE: &str = "../../vendor/boringssl/ssl/ssl_lib.cc";
const OPENSSL_FILE: &str = "../deps/openssl/openssl/ssl/ssl_lib.c";

fn function(name: &'static str, file: &'static str, ops: Vec<Op>) -> Function {
    Function {
        name,
        ops,
        file,
        is_called: true,
    }
}

fn error(reason: u32, line: u32) -> Op {
    Op::If(vec![Op::Error { reason, line }])
}

fn shared(reason: u32, line: u32) -> Op {
    Op::If(vec![Op::SharedError { reason, line }])
}

fn raise(name: &'static str, reason: u32, line: u32) -> Op {
    Op::If(vec![Op::Raise { reason, line, name }])
}

/// BoringSSL, its functions not in the order of the source.
pub(crate) fn boring() -> Vec<Function> {
    let boring = |name, ops| function(name, BORING_FILE, ops);
    vec![
        boring("SSL_new", vec![Op::Store, error(185, 488)]),
        boring("SSL_do_handshake", vec![error(134, 724), Op::Store]),
        boring(
            "SSL_write",
            vec![
                Op::Store,
                shared(66, 955),
                shared(226, 960),
                Op::Call("SSL_do_handshake"),
                shared(215, 975),
                shared(111, 981),
            ],
        ),
        boring("SSL_peek", vec![error(66, 933), Op::Call("ssl_read_impl")]),
        boring(
            "SSL_read",
            vec![error(66, 933), Op::Call("ssl_read_impl"), Op::Store],
        ),
        boring(
            "ssl_read_impl",
            vec![
                Op::Store,
                shared(226, 839),
                Op::Call("SSL_do_handshake"),
                shared(215, 872),
            ],
        ),
        boring("SSL_shutdown", vec![error(226, 1023), error(291, 1071)]),
        boring("SSL_set_fd", vec![error(7, 1535), Op::Store]),
        boring("SSL_set_rfd", vec![error(7, 1569), Op::Store]),
        boring("SSL_set_tlsext_host_name", vec![error(213, 2324)]),
        boring("other", vec![error(330, 1874), error(239, 1885)]),
    ]
}

/// Whether `ssl_write_internal` takes flags, and so refuses unknown ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flags {
    Absent,
    Present,
}

/// OpenSSL, before or since 3.3.
pub(crate) fn openssl(flags: Flags) -> Vec<Function> {
    let openssl = |name, ops| function(name, OPENSSL_FILE, ops);
    let mut write = vec![
        raise("ssl_write_internal", 276, 2544),
        raise("ssl_write_internal", 207, 2550),
        raise("ssl_write_internal", 257 | 3 << 18, 2562),
        Op::Store,
    ];
    if flags == Flags::Present {
        write.insert(2, raise("ssl_write_internal", 412, 2555));
    }
    vec![
        Function {
            // Only a table of methods refers to it.
            is_called: false,
            ..openssl(
                "ssl3_ctrl",
                vec![Op::Switch(vec![
                    vec![Op::Store],
                    vec![raise("ssl3_ctrl", 10 | 2 << 18, 3800)],
                    vec![raise("ssl3_ctrl", 319, 3838), Op::Store],
                ])],
            )
        },
        openssl(
            "SSL_new",
            vec![raise("SSL_new", 195, 693), raise("SSL_new", 228, 697)],
        ),
        openssl("SSL_set_fd", vec![raise("SSL_set_fd", 7 | 2 << 18, 1730)]),
        openssl("SSL_set_wfd", vec![raise("SSL_set_wfd", 7 | 2 << 18, 1755)]),
        openssl(
            "ssl_read_internal",
            vec![
                raise("ssl_read_internal", 276, 2325),
                raise("ssl_read_internal", 257 | 3 << 18, 2336),
                Op::Store,
            ],
        ),
        openssl(
            "SSL_read",
            vec![raise("SSL_read", 271, 2370), Op::Call("ssl_read_internal")],
        ),
        openssl("SSL_read_ex", vec![Op::Call("ssl_read_internal")]),
        openssl("ssl_write_internal", write),
        openssl(
            "SSL_write",
            vec![
                raise("SSL_write", 271, 2660),
                Op::Call("ssl_write_internal"),
            ],
        ),
        openssl("SSL_write_ex", vec![Op::Call("ssl_write_internal")]),
        openssl(
            "SSL_do_handshake",
            vec![raise("SSL_do_handshake", 144, 4961)],
        ),
        openssl("SSL_ctrl", vec![Op::Store]),
        openssl("SSL_free", vec![Op::Store]),
    ]
}
