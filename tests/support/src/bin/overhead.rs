//! `overhead`: see [`test_support::overhead`].

fn main() -> anyhow::Result<()> {
    test_support::overhead::run()
}
