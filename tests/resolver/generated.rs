//! The resolver on files made for it: every form that it knows, and what must be refused.

mod elf;

use std::cell::Cell;
use std::io;

use agent_resolver::{
    Arch, Confidence, ContentKey, Family, Found, Function, Kept, MAX_READ_BYTES, Method, Outcome,
    Refusal, Resolution, Source, Unreadable, content_key, resolve, resolve_by,
};
use elf::library::{Flags, boring, openssl};
use elf::{Addresses, File, Op, Plan, Shape, Symbol, Table, Unwind};
use proptest::prelude::*;

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

mod error_sites {
    use super::*;

    #[test]
    fn stripped_boringssl_is_found_in_every_shape() {
        for shape in Shape::all() {
            let file = Plan::new(shape, boring()).build();
            let resolution = resolved(&file.bytes);
            assert_eq!(resolution.functions(), boring_functions(&file), "{shape:?}");
            let Outcome::Found(functions) = &resolution.outcome else {
                panic!("{shape:?}");
            };
            assert_eq!(functions.method, Method::ErrorSites);
            let confidence = match shape.unwind {
                Unwind::Present => Confidence::High,
                Unwind::Absent => Confidence::Fair,
            };
            assert_eq!(functions.confidence, confidence, "{shape:?}");
            assert_eq!(resolution.arch, shape.arch);
            assert_eq!(resolution.library().unwrap().family, Family::BoringSsl);
        }
    }

    #[test]
    fn where_peek_is_gone_the_one_that_is_left_is_read() {
        for shape in Shape::all() {
            let mut functions = boring();
            functions.retain(|function| function.name != "SSL_peek");
            let file = Plan::new(shape, functions).build();
            assert_eq!(resolved(&file.bytes).functions(), boring_functions(&file));
        }
    }

    #[test]
    fn where_only_peek_is_left_nothing_is_guessed() {
        let mut functions = boring();
        functions.retain(|function| function.name != "SSL_read");
        let file = Plan::new(PIE, functions).build();
        assert_eq!(refused(&file.bytes), Some(Refusal::Missing(Function::Read)));
    }

    #[test]
    fn helpers_may_be_inlined_and_nothing_else() {
        let with = |op: Op| {
            let mut functions = boring();
            let read = functions.iter_mut().find(|f| f.name == "ssl_read_impl");
            read.unwrap().ops.push(op);
            Plan::new(PIE, functions).build()
        };
        let helper = with(Op::If(vec![Op::SharedError {
            reason: 182,
            line: 779,
        }]));
        assert_eq!(
            resolved(&helper.bytes).functions(),
            boring_functions(&helper)
        );
        let foreign = with(Op::If(vec![Op::SharedError {
            reason: 137,
            line: 779,
        }]));
        assert_eq!(
            refused(&foreign.bytes),
            Some(Refusal::WrongSites(Function::Read))
        );
    }

    #[test]
    fn two_copies_of_a_function_are_ambiguous() {
        for shape in Shape::all() {
            let mut functions = boring();
            let mut copy = functions
                .iter()
                .find(|f| f.name == "SSL_write")
                .unwrap()
                .clone();
            copy.name = "SSL_write.copy";
            functions.push(copy);
            let file = Plan::new(shape, functions).build();
            assert_eq!(
                refused(&file.bytes),
                Some(Refusal::Ambiguous(Function::Write)),
                "{shape:?}"
            );
        }
    }

    #[test]
    fn an_error_that_is_new_between_the_known_ones_is_refused() {
        let mut functions = boring();
        let write = functions.iter_mut().find(|f| f.name == "SSL_write");
        write.unwrap().ops.push(Op::If(vec![Op::SharedError {
            reason: 182,
            line: 970,
        }]));
        let file = Plan::new(PIE, functions).build();
        assert_eq!(
            refused(&file.bytes),
            Some(Refusal::Missing(Function::Write))
        );
    }

    #[test]
    fn a_function_that_nothing_confirms_is_refused() {
        for shape in Shape::all().filter(|shape| shape.unwind == Unwind::Absent) {
            let mut functions = boring();
            let write = functions.iter_mut().find(|f| f.name == "SSL_write");
            write.unwrap().is_called = false;
            let file = Plan::new(shape, functions).build();
            assert!(refused(&file.bytes).is_some(), "{shape:?}");
        }
    }

    #[test]
    fn stripped_openssl_gives_its_internal_functions_with_the_signature_of_its_version() {
        for shape in Shape::all() {
            for (flags, version, write) in [
                (Flags::Absent, Some(VERSION_3_0), Function::WriteEx),
                (Flags::Present, Some(VERSION_3_6), Function::WriteEx2),
                (Flags::Present, None, Function::WriteEx2),
            ] {
                let file = openssl_plan(shape, flags, version).build();
                let mut expected = vec![
                    (Function::ReadEx, "ssl_read_internal"),
                    (write, "ssl_write_internal"),
                    (Function::New, "SSL_new"),
                    (Function::SetFd, "SSL_set_fd"),
                    (Function::SetFd, "SSL_set_wfd"),
                    (Function::Handshake, "SSL_do_handshake"),
                ];
                // Nothing calls it: only unwind information says where it begins.
                if shape.unwind == Unwind::Present {
                    expected.push((Function::Ctrl, "ssl3_ctrl"));
                }
                let resolution = resolved(&file.bytes);
                assert_eq!(
                    resolution.functions(),
                    found(&file, &expected),
                    "{shape:?} {flags:?} {version:?}"
                );
                assert_eq!(resolution.library().unwrap().family, Family::OpenSsl);
            }
        }
    }

    #[test]
    fn openssl_of_unknown_signature_is_refused() {
        for (flags, version) in [
            (Flags::Absent, None),
            (Flags::Absent, Some(VERSION_3_6)),
            (Flags::Present, Some(VERSION_3_0)),
        ] {
            let file = openssl_plan(PIE, flags, version).build();
            assert_eq!(
                refused(&file.bytes),
                Some(Refusal::UnknownVersion),
                "{flags:?} {version:?}"
            );
        }
    }

    #[test]
    fn where_an_internal_function_was_inlined_nothing_is_guessed() {
        let mut functions = openssl(Flags::Present);
        let body = |functions: &[elf::Function], name| -> Vec<Op> {
            let function = functions.iter().find(|function| function.name == name);
            function.unwrap().ops.clone()
        };
        let inlined = body(&functions, "ssl_read_internal");
        let read = functions.iter_mut().find(|f| f.name == "SSL_read_ex");
        read.unwrap().ops = inlined;
        let file = Plan::new(PIE, functions).build();
        assert_eq!(
            refused(&file.bytes),
            Some(Refusal::Ambiguous(Function::ReadEx))
        );
    }

    #[test]
    fn code_that_is_shifted_against_its_unwind_information_is_refused() {
        for shape in Shape::all().filter(|shape| shape.unwind == Unwind::Present) {
            for functions in [boring(), openssl(Flags::Present)] {
                let mut file = Plan::new(shape, functions).build();
                let (first, last) = (file.range("ERR_put_error"), file.range("main"));
                file.bytes[first.start..last.end].rotate_right(1);
                let resolution = resolved(&file.bytes);
                assert!(resolution.refusal().is_some(), "{shape:?}: {resolution:?}");
            }
        }
    }

    #[test]
    fn a_function_that_is_shifted_is_refused() {
        for shape in Shape::all() {
            for name in ["SSL_read", "SSL_write", "ssl_read_impl"] {
                let mut file = Plan::new(shape, boring()).build();
                let range = file.range(name);
                file.bytes[range].rotate_right(1);
                let resolution = resolved(&file.bytes);
                assert!(
                    resolution.refusal().is_some(),
                    "{shape:?} {name}: {resolution:?}"
                );
            }
        }
    }

    /// Whatever byte is damaged, a function is either refused or found where it is. What is done
    /// without may be missing.
    #[test]
    fn no_damaged_byte_moves_a_function() {
        for shape in Shape::all() {
            for (functions, names) in [
                (
                    boring(),
                    &["SSL_read", "SSL_peek", "SSL_write", "ssl_read_impl"][..],
                ),
                (
                    openssl(Flags::Present),
                    &["ssl_read_internal", "SSL_read", "ssl_write_internal"],
                ),
            ] {
                let file = Plan::new(shape, functions).build();
                let whole = resolved(&file.bytes).functions().to_vec();
                for at in names.iter().flat_map(|name| file.range(name)) {
                    for change in [0x01, 0x10, 0xff] {
                        let mut bytes = file.bytes.clone();
                        bytes[at] ^= change;
                        let resolution = resolved(&bytes);
                        let functions = resolution.functions();
                        assert!(
                            functions.iter().all(|found| whole.contains(found)),
                            "{shape:?}, byte {at:#x} ^ {change:#x}: {functions:x?} instead of {whole:x?}"
                        );
                        assert!(
                            !functions.is_empty() || resolution.refusal().is_some(),
                            "{shape:?}, byte {at:#x} ^ {change:#x}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn without_any_of_its_errors_a_function_is_refused() {
        for (name, errors) in [("SSL_write", 4), ("ssl_read_impl", 2), ("SSL_read", 1)] {
            for number in 0..errors {
                let mut functions = boring();
                functions.retain(|function| function.name != "SSL_peek");
                let function = functions.iter_mut().find(|f| f.name == name).unwrap();
                let at = function
                    .ops
                    .iter()
                    .enumerate()
                    .filter(|(_, op)| matches!(op, Op::If(_)))
                    .nth(number)
                    .unwrap()
                    .0;
                function.ops.remove(at);
                let file = Plan::new(PIE, functions).build();
                assert!(refused(&file.bytes).is_some(), "{name} {number}");
            }
        }
    }
}

mod names {
    use super::*;

    const FUNCTIONS: [(Function, &str); 8] = [
        (Function::Read, "SSL_read"),
        (Function::ReadEx, "SSL_read_ex"),
        (Function::Write, "SSL_write"),
        (Function::WriteEx, "SSL_write_ex"),
        (Function::Free, "SSL_free"),
        (Function::New, "SSL_new"),
        (Function::Ctrl, "SSL_ctrl"),
        (Function::SetFd, "SSL_set_fd"),
    ];

    fn named(table: Table) -> Plan {
        openssl_plan(PIE, Flags::Present, Some(VERSION_3_6))
            .with_symbols(table, FUNCTIONS.map(|(_, name)| Symbol::of(name)))
    }

    #[test]
    fn names_of_either_table_win_over_error_sites_and_both_agree() {
        for table in [Table::Dynamic, Table::Full] {
            let file = named(table).build();
            let resolution = resolved(&file.bytes);
            let Outcome::Found(functions) = &resolution.outcome else {
                panic!("{table:?}: {resolution:?}");
            };
            assert_eq!(functions.method, Method::Names);
            assert_eq!(functions.confidence, Confidence::Certain);
            assert_eq!(functions.functions, found(&file, &FUNCTIONS), "{table:?}");
            assert_eq!(resolution.library().unwrap().to_string(), "OpenSSL 3.6.4");

            let sites = resolve_by(&file.bytes, Method::ErrorSites).unwrap();
            for (function, name) in [
                (Function::ReadEx, "ssl_read_internal"),
                (Function::New, "SSL_new"),
                (Function::SetFd, "SSL_set_fd"),
            ] {
                let address = file.address(name);
                assert!(sites.functions().contains(&Found { function, address }));
            }
        }
    }

    #[test]
    fn a_name_in_both_tables_is_one_function() {
        let symbols = FUNCTIONS.map(|(_, name)| Symbol::of(name));
        let file = named(Table::Dynamic)
            .with_symbols(Table::Full, symbols)
            .build();
        assert_eq!(resolved(&file.bytes).functions(), found(&file, &FUNCTIONS));
    }

    #[test]
    fn a_name_that_is_the_end_of_another_one_is_found() {
        let mut plan = Plan::new(PIE, boring());
        plan = plan.with_symbols(Table::Dynamic, ["SSL_read", "SSL_write"].map(Symbol::of));
        let file = plan.build();
        let mut bytes = file.bytes.clone();
        // The string table says "XSL_read", and the symbol points behind its first letter: to no
        // name. Then the linker's trick: the longer name ends with the one that is meant.
        let at = memmem(&bytes, b"\0SSL_read\0SSL_write\0").unwrap();
        bytes[at + 1] = b'X';
        assert_ne!(
            resolve_by(&bytes, Method::Names).unwrap().functions(),
            resolve_by(&file.bytes, Method::Names).unwrap().functions()
        );
        let mut merged = file.bytes.clone();
        merged[at] = b'w';
        assert_eq!(
            resolve_by(&merged, Method::Names).unwrap().functions(),
            resolve_by(&file.bytes, Method::Names).unwrap().functions()
        );
    }

    #[test]
    fn imports_are_no_functions() {
        let imports = FUNCTIONS.map(|(_, name)| Symbol {
            is_defined: false,
            ..Symbol::of(name)
        });
        let file = Plan::new(PIE, Vec::new())
            .with_symbols(Table::Dynamic, imports)
            .build();
        let resolution = resolved(&file.bytes);
        assert_eq!(resolution.outcome, Outcome::Nothing);
        assert_eq!(resolution.libraries, []);
    }

    #[test]
    fn half_a_pair_is_refused() {
        let functions = vec![elf::Function {
            name: "SSL_read",
            ops: vec![Op::Store],
            file: "",
            is_called: true,
        }];
        let file = Plan::new(PIE, functions)
            .with_symbols(Table::Dynamic, [Symbol::of("SSL_read")])
            .build();
        assert_eq!(refused(&file.bytes), Some(Refusal::HalfAPair));
    }

    #[test]
    fn a_name_inside_a_function_is_refused_by_unwind_information_and_by_the_decoder() {
        for shape in Shape::all() {
            // Without unwind information, only where the code behind can't be decoded to its end.
            let distances = match (shape.unwind, shape.arch) {
                (Unwind::Present, _) => 1..16,
                (Unwind::Absent, Arch::Aarch64) => 1..4,
                (Unwind::Absent, Arch::X86_64) => continue,
            };
            for distance in distances {
                let plan = openssl_plan(shape, Flags::Present, None).with_symbols(
                    Table::Dynamic,
                    [
                        Symbol::of("SSL_read"),
                        Symbol {
                            distance,
                            ..Symbol::of("SSL_write")
                        },
                    ],
                );
                let file = plan.build();
                assert_eq!(
                    resolve_by(&file.bytes, Method::Names).unwrap().refusal(),
                    Some(Refusal::NameInsideCode),
                    "{shape:?} {distance}"
                );
            }
        }
    }

    #[test]
    fn a_name_outside_of_the_code_is_refused() {
        for distance in [0x10_0000, u64::MAX / 2] {
            let file = openssl_plan(PIE, Flags::Present, None)
                .with_symbols(
                    Table::Dynamic,
                    [
                        Symbol::of("SSL_read"),
                        Symbol {
                            distance,
                            ..Symbol::of("SSL_write")
                        },
                    ],
                )
                .build();
            assert_eq!(
                resolve_by(&file.bytes, Method::Names).unwrap().refusal(),
                Some(Refusal::NameInsideCode)
            );
        }
    }
}

mod other_libraries {
    use super::*;

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
}

mod kept {
    use super::*;

    fn key(bytes: &[u8]) -> ContentKey {
        content_key(&bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_resolution_holds_for_the_same_content_and_survives_writing() {
        let file = Plan::new(PIE, boring()).build();
        let resolution = resolved(&file.bytes);
        let kept = Kept::new(&file.bytes, resolution.clone()).unwrap().unwrap();
        assert_eq!(kept.key(), key(&file.bytes));
        let text = serde_json::to_string(&kept).unwrap();
        let read: Kept = serde_json::from_str(&text).unwrap();
        assert_eq!(read, kept);
        assert_eq!(read.recall(&file.bytes), Some(resolution));
    }

    #[test]
    fn it_does_not_hold_where_a_function_differs_although_the_key_may_be_equal() {
        let file = Plan::new(PIE, boring()).build();
        let resolution = resolved(&file.bytes);
        for found in resolution.functions() {
            let kept = Kept::new(&file.bytes, resolution.clone()).unwrap().unwrap();
            let mut bytes = file.bytes.clone();
            let offset = resolution.offset_of(found.address).unwrap();
            bytes[usize::try_from(offset).unwrap()] ^= 1;
            assert_eq!(kept.recall(&bytes), None);
        }
    }

    #[test]
    fn one_of_other_rules_does_not_hold() {
        let file = Plan::new(PIE, boring()).build();
        let kept = Kept::new(&file.bytes, resolved(&file.bytes))
            .unwrap()
            .unwrap();
        let mut value = serde_json::to_value(&kept).unwrap();
        value["format"] = 0.into();
        let other: Kept = serde_json::from_value(value).unwrap();
        assert_eq!(other.recall(&file.bytes), None);
    }

    #[test]
    fn what_has_no_functions_is_not_kept() {
        let nothing = Plan::new(PIE, Vec::new()).build();
        let refused = Plan::new(PIE, openssl(Flags::Absent)).build();
        for file in [nothing, refused] {
            assert_eq!(Kept::new(&file.bytes, resolved(&file.bytes)).unwrap(), None);
        }
    }

    #[test]
    fn keys_tell_sizes_layouts_and_code_apart() {
        let file = Plan::new(PIE, boring()).build();
        let mut longer = file.bytes.clone();
        longer.push(0);
        let mut other_code = file.bytes.clone();
        other_code[file.range("SSL_write").start] ^= 1;
        // The offset of the code segment.
        let mut moved = file.bytes.clone();
        moved[64 + 56 + 8] ^= 0x10;
        let keys = [&file.bytes, &longer, &other_code, &moved].map(|bytes| key(bytes));
        for (number, one) in keys.iter().enumerate() {
            assert!(!keys[number + 1..].contains(one), "{number}");
        }
    }
}

mod hostile {
    use super::*;

    #[test]
    fn offsets_are_those_of_executable_segments() {
        let file = Plan::new(PIE, boring()).build();
        let resolution = resolved(&file.bytes);
        for found in resolution.functions() {
            let offset = resolution.offset_of(found.address).unwrap();
            let function = &file.bytes[usize::try_from(offset).unwrap()..];
            assert!(function.starts_with(&[0x55, 0x48, 0x89, 0xe5]));
        }
        assert_eq!(resolution.offset_of(0), None);
        assert_eq!(resolution.offset_of(u64::MAX), None);
    }

    #[test]
    fn what_is_no_elf_file_of_these_machines_is_said() {
        let file = Plan::new(PIE, boring()).build();
        let with = |at: usize, value: u8| {
            let mut bytes = file.bytes.clone();
            bytes[at] = value;
            resolve(&bytes).unwrap_err().to_string()
        };
        assert_eq!(with(0, 0), "it is no ELF file");
        assert_eq!(with(4, 1), "it is not for a 64-bit x86 or ARM machine");
        assert_eq!(with(5, 2), "it is not for a 64-bit x86 or ARM machine");
        assert_eq!(with(18, 243), "it is not for a 64-bit x86 or ARM machine");
        assert_eq!(with(16, 4), "it is neither a program nor a library");
        assert_eq!(with(56, 0), "its headers are damaged");
        assert_eq!(with(57, 0xff), "its headers are damaged");
        assert_eq!(with(39, 1), "it ends too early");
        assert!(resolve(&Vec::new()).is_err());
    }

    #[test]
    fn segments_that_overlap_are_refused() {
        let mut file = Plan::new(PIE, boring()).build();
        // The address of the code becomes that of the first segment.
        file.bytes[64 + 56 + 16..64 + 56 + 24].fill(0);
        assert!(matches!(resolve(&file.bytes), Err(Unreadable::Malformed)));
    }

    #[test]
    fn a_file_that_ends_anywhere_gives_an_error_or_the_same_or_less() {
        let plan = openssl_plan(PIE, Flags::Present, None).with_symbols(
            Table::Dynamic,
            ["SSL_read", "SSL_write", "SSL_free"].map(Symbol::of),
        );
        let file = plan.build();
        for length in 0..file.bytes.len() {
            if let Ok(resolution) = resolve(&file.bytes[..length].to_vec()) {
                check(&resolution);
            }
        }
    }

    /// A file of any size that has only its first bytes, zeros behind them.
    struct Sparse {
        start: Vec<u8>,
        size: u64,
        read: Cell<u64>,
    }

    impl Source for Sparse {
        fn size(&self) -> u64 {
            self.size
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            self.read.set(self.read.get() + buffer.len() as u64);
            let rest = usize::try_from(offset)
                .ok()
                .and_then(|offset| self.start.get(offset..))
                .unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer.fill(0);
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(buffer.len())
        }
    }

    #[test]
    fn a_sparse_file_of_ten_gigabytes_is_refused_before_it_is_read() {
        let mut file = Plan::new(
            Shape {
                unwind: Unwind::Absent,
                ..PIE
            },
            boring(),
        )
        .build();
        let size = 10_u64 << 30;
        // The code segment reaches to the end.
        let header = 64 + 56;
        let offset = u64::from_le_bytes(*file.bytes[header + 8..].first_chunk().unwrap());
        for at in [32, 40] {
            file.bytes[header + at..header + at + 8]
                .copy_from_slice(&(size - offset).to_le_bytes());
        }
        // Nothing is loaded behind it.
        file.bytes[header + 56..header + 2 * 56].fill(0);
        let sparse = Sparse {
            start: file.bytes,
            size,
            read: Cell::new(0),
        };
        assert!(matches!(resolve(&sparse), Err(Unreadable::TooLarge)));
        assert!(sparse.read.get() < 1 << 20);
        assert!(content_key(&sparse).is_ok());
        assert!(sparse.read.get() < 1 << 20);
    }

    #[test]
    fn tables_of_a_sparse_file_are_read_up_to_the_limit() {
        let file = Plan::new(PIE, boring())
            .with_symbols(Table::Full, [Symbol::of("SSL_read")])
            .build();
        let size = 10_u64 << 30;
        let mut bytes = file.bytes;
        let sections = u64::from_le_bytes(*bytes[40..].first_chunk().unwrap());
        // The string table of the full symbol table reaches over everything.
        let header = usize::try_from(sections).unwrap() + 4 * 64;
        bytes[header + 24..header + 32].fill(0);
        bytes[header + 32..header + 40].copy_from_slice(&size.to_le_bytes());
        let sparse = Sparse {
            start: bytes,
            size,
            read: Cell::new(0),
        };
        let _unimportant = resolve(&sparse);
        assert!(sparse.read.get() <= MAX_READ_BYTES);
    }

    /// What holds of every resolution.
    fn check(resolution: &Resolution) {
        let functions = resolution.functions();
        assert!(functions.is_sorted());
        assert!(
            functions
                .iter()
                .all(|found| resolution.offset_of(found.address).is_some())
        );
        if !functions.is_empty() {
            assert!(functions.iter().any(|found| found.function.reads()));
            assert!(functions.iter().any(|found| found.function.writes()));
            assert!(resolution.library().is_some());
        }
    }

    fn plans() -> Vec<Plan> {
        Shape::all()
            .flat_map(|shape| {
                let named = openssl_plan(shape, Flags::Present, Some(VERSION_3_6)).with_symbols(
                    Table::Dynamic,
                    ["SSL_read", "SSL_write", "SSL_free"].map(Symbol::of),
                );
                [
                    Plan::new(shape, boring()),
                    openssl_plan(shape, Flags::Absent, Some(VERSION_3_0)),
                    named,
                ]
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_048)) {
            let with_magic = [b"\x7fELF\x02\x01\x01".as_slice(), &bytes].concat();
            for bytes in [bytes, with_magic] {
                if let Ok(resolution) = resolve(&bytes) {
                    check(&resolution);
                }
                let _unimportant = content_key(&bytes);
            }
        }

        #[test]
        fn no_change_of_a_file_panics(
            number in any::<prop::sample::Index>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        ) {
            let plans = plans();
            let mut bytes = number.get(&plans).build().bytes;
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(resolution) = resolve(&bytes) {
                check(&resolution);
                let kept = Kept::new(&bytes, resolution.clone()).unwrap();
                if let Some(kept) = kept {
                    prop_assert_eq!(kept.recall(&bytes), Some(resolution));
                }
            }
        }
    }
}

fn memmem(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
