//! What test programs say about themselves, counted from their output.

/// Counts over the output of one step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Test functions that passed.
    pub(crate) passed: u64,
    /// Test functions that failed.
    pub(crate) failed: u64,
    /// What `SKIP name: reason` lines said: tests that passed without having tested.
    pub(crate) skips: Vec<String>,
}

impl Tally {
    /// Takes one line of output.
    pub(crate) fn see(&mut self, line: &str) {
        if let Some(counts) = line.trim_start().strip_prefix("test result: ") {
            self.passed += number_before(counts, " passed");
            self.failed += number_before(counts, " failed");
        }
        // A test that prints does so behind "test name ... " when output is not captured.
        let skip = line
            .strip_prefix("SKIP ")
            .or_else(|| Some(line.split_once(" SKIP ")?.1));
        if let Some(skip) = skip.filter(|s| s.contains(": ")) {
            self.skips.push(skip.trim().to_owned());
        }
    }

    /// Adds the counts of another step.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skips.extend(other.skips);
    }

    /// Test functions that ran.
    pub(crate) fn ran(&self) -> u64 {
        self.passed + self.failed
    }
}

fn number_before(text: &str, word: &str) -> u64 {
    let Some((before, _)) = text.split_once(word) else {
        return 0;
    };
    before
        .rsplit(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_test_programs_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            tally.see(line);
        }

        assert_eq!(
            tally,
            Tally {
                passed: 6,
                failed: 1,
                skips: Vec::new()
            }
        );
        assert_eq!(tally.ran(), 7);
    }

    #[test]
    fn skips_are_found_at_the_start_of_a_line_and_behind_the_name_of_a_test() {
        let mut tally = Tally::default();
        for line in [
            "SKIP probe_multi: needs 6.6",
            "test probe_multi ... SKIP probe_multi: needs 6.6",
            "SKIPPED",
            "a SKIP b",
        ] {
            tally.see(line);
        }

        assert_eq!(
            tally.skips,
            ["probe_multi: needs 6.6", "probe_multi: needs 6.6"]
        );
    }
}
