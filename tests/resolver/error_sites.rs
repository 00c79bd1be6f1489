//! Functions without names.

use agent_resolver::{Confidence, Family, Function, Method, Outcome, Refusal};

use crate::elf::library::{Flags, boring, openssl};
use crate::elf::{Op, Plan, Shape, Unwind};
use crate::{
    PIE, VERSION_3_0, VERSION_3_6, boring_functions, found, openssl_plan, refused, resolved,
};

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
fn a_program_that_never_shuts_down_is_found() {
    let mut functions = boring();
    functions.retain(|function| function.name != "SSL_shutdown");
    let file = Plan::new(PIE, functions).build();
    assert_eq!(resolved(&file.bytes).functions(), boring_functions(&file));
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
fn the_table_of_error_texts_tells_the_signature_too() {
    for (flags, texts, write) in [
        (
            Flags::Absent,
            &["protocol is shutdown"][..],
            Some(Function::WriteEx),
        ),
        (
            Flags::Present,
            &["protocol is shutdown", "unsupported write flag"],
            Some(Function::WriteEx2),
        ),
        (
            Flags::Absent,
            &["protocol is shutdown", "unsupported write flag"],
            None,
        ),
        (Flags::Present, &["protocol is shutdown"], None),
    ] {
        let mut plan = openssl_plan(PIE, flags, None);
        plan.texts.extend(texts);
        let resolution = resolved(&plan.build().bytes);
        let functions = resolution.functions().iter();
        let mut writes = functions.map(|f| f.function).filter(|f| f.writes());
        assert_eq!(writes.next(), write, "{flags:?} {texts:?}");
        assert_eq!(
            resolution.refusal(),
            write.is_none().then_some(Refusal::UnknownVersion)
        );
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
    let body = |functions: &[crate::elf::Function], name| -> Vec<Op> {
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
                for change in [0x01, 0xff] {
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
