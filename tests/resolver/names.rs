//! Functions with names.

use agent_resolver::{Arch, Confidence, Found, Function, Method, Outcome, Refusal, resolve_by};

use crate::elf::library::{Flags, boring};
use crate::elf::{Op, Plan, Shape, Symbol, Table, Unwind};
use crate::{PIE, VERSION_3_6, found, memmem, openssl_plan, refused, resolved};

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
    let functions = vec![crate::elf::Function {
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
