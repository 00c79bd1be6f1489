//! The contract between the kernel programs and the agent: fixed-width records, no logic.
//!
//! To change it: change the type, raise [`WIRE_VERSION`], regenerate the recordings under
//! `tests/corpus` (they carry the version they were made with), and load the object on every
//! kernel of the matrix (`cargo xtask test-kernel vm`). A new kind of record changes nothing in
//! the recordings that exist, and an older agent passes over it: the version stays.
#![no_std]
#![forbid(unsafe_code)]

pub mod record;
pub mod settings;
pub mod site;

/// Version of the record layout. A recording of another version is refused, not guessed.
pub const WIRE_VERSION: u32 = 1;
