//! Files with more of something than any program has.

use agent_resolver::{Function, Method, Outcome, Refusal, resolve_by};

use crate::elf::library::{Flags, boring};
use crate::elf::{Op, Plan, Symbol, Table};
use crate::{PIE, VERSION_3_0, openssl_plan, refused, resolved};

fn name(prefix: &str, number: usize) -> &'static str {
    format!("{prefix}{number}").leak()
}

#[test]
fn a_file_with_too_many_functions_that_report_errors_is_refused() {
    let mut functions = boring();
    let other = functions.pop().unwrap();
    functions.extend((0..3_000).map(|number| crate::elf::Function {
        name: name("other", number),
        ..other.clone()
    }));
    let file = Plan::new(PIE, functions).build();
    assert_eq!(refused(&file.bytes), Some(Refusal::NoSites));
}

#[test]
fn a_file_with_too_many_error_calls_is_refused() {
    let mut functions = boring();
    let other = functions.last_mut().unwrap();
    other.ops = (0..20_000)
        .map(|line| {
            Op::If(vec![Op::Error {
                reason: 330,
                line: 3_000 + line,
            }])
        })
        .collect();
    let file = Plan::new(PIE, functions).build();
    assert_eq!(refused(&file.bytes), Some(Refusal::NoSites));
}

#[test]
fn a_function_in_which_too_many_errors_share_a_call_is_refused() {
    let with = |count| {
        let mut functions = boring();
        let other = functions.iter_mut().find(|f| f.name == "ssl_read_impl");
        let errors = (0..count).map(|number| {
            Op::If(vec![Op::SharedError {
                reason: 182,
                line: 700 + number,
            }])
        });
        other.unwrap().ops.extend(errors);
        resolved(&Plan::new(PIE, functions).build().bytes)
    };
    assert!(matches!(with(8).outcome, Outcome::Found(_)));
    assert_eq!(with(80).refusal(), Some(Refusal::Unreached(Function::Read)));
}

#[test]
fn names_beyond_the_limit_are_not_probed() {
    let copies = (0..500).flat_map(|_| ["SSL_read", "SSL_write"]);
    let symbols = copies.enumerate().map(|(number, name)| Symbol {
        function: ["SSL_read", "SSL_write", "SSL_free", "SSL_new"][number % 4],
        ..Symbol::of(name)
    });
    let file = openssl_plan(PIE, Flags::Present, None)
        .with_symbols(Table::Dynamic, symbols)
        .build();
    let resolution = resolve_by(&file.bytes, Method::Names).unwrap();
    assert!((1..=64).contains(&resolution.functions().len()));
}

#[test]
fn texts_beyond_the_limit_are_not_looked_at() {
    let mut plan = Plan::new(PIE, Vec::new());
    let versions = (0..20_000).map(|n| name("OpenSSL 3.0.19 1 Jan 2026 ", n));
    plan.texts.extend(versions);
    plan.texts
        .extend([VERSION_3_0, "~/rustls-0.23.46/src/lib.rs"]);
    assert_eq!(resolved(&plan.build().bytes).libraries, []);
}

#[test]
fn a_symbol_table_beyond_the_limit_counts_as_none() {
    let file = openssl_plan(PIE, Flags::Present, None)
        .with_symbols(Table::Dynamic, ["SSL_read", "SSL_write"].map(Symbol::of))
        .build();
    let found = |bytes: &[u8]| {
        let resolution = resolve_by(&bytes.to_vec(), Method::Names).unwrap();
        resolution.functions().len()
    };
    assert_eq!(found(&file.bytes), 2);
    let mut bytes = file.bytes;
    let sections = u64::from_le_bytes(*bytes[40..].first_chunk().unwrap());
    let size = usize::try_from(sections).unwrap() + 64 + 32;
    bytes[size..size + 8].copy_from_slice(&(257_u64 << 20).to_le_bytes());
    assert_eq!(found(&bytes), 0);
}
