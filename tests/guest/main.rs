//! The installed service under a real systemd, and what `bpftok run` says where it can't run.
//!
//! The guest is a Debian with the files of the package, booted on a kernel of Debian's by
//! `cargo xtask test-kernel service`. These tests stop services, set the clock and lock the kernel
//! down, so elsewhere they print `SKIP name: reason`.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod host;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod service;
