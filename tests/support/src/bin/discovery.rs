//! `discovery`: see [`test_support::discovery`].

fn main() -> anyhow::Result<()> {
    test_support::discovery::run()
}
