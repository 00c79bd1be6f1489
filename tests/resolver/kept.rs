//! Resolutions that are kept.

use agent_resolver::{ContentKey, Kept, content_key};

use crate::elf::Plan;
use crate::elf::library::{Flags, boring, openssl};
use crate::{PIE, resolved};

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
