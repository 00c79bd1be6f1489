//! Builds the kernel programs and leaves them where the loader embeds them.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context as _, anyhow};
use aya_build::{Package, Toolchain};

const OBJECTS: [&str; 2] = ["probes-multi", "probes-single"];

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-env-changed=AGENT_EBPF_TOOLCHAIN");
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| anyhow!("OUT_DIR not set"))?);
    // An empty object keeps `cargo check` and the tests of pure code fast and free of bpf-linker;
    // the loader refuses it.
    if env::var_os("AYA_BUILD_SKIP").is_some() {
        println!("cargo::rerun-if-env-changed=AYA_BUILD_SKIP");
        for object in OBJECTS {
            fs::write(out_dir.join(object), []).context("cannot write an empty object")?;
        }
        return Ok(());
    }
    let root_dir =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../agent-ebpf");
    let root_dir = root_dir
        .to_str()
        .ok_or_else(|| anyhow!("the source path is no UTF-8"))?;
    let toolchain = env::var("AGENT_EBPF_TOOLCHAIN")
        .or_else(|_| env::var("RUSTUP_TOOLCHAIN"))
        .unwrap_or_else(|_| "1.98.0".to_owned());
    let features: &[&str] = if env::var_os("CARGO_FEATURE_EBPF_LOG").is_some() {
        &["log"]
    } else {
        &[]
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the child build takes it from the environment only"
    )]
    // SAFETY: a build script has one thread at this point. The variable is set here, for the child
    // build alone: in the shell it would switch on unstable features in many other crates.
    unsafe {
        env::set_var("RUSTC_BOOTSTRAP", "1");
    }
    aya_build::build_ebpf(
        [Package {
            name: "agent-ebpf",
            root_dir,
            no_default_features: false,
            features,
        }],
        Toolchain::Custom(&toolchain),
    )
}
