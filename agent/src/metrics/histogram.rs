//! How often values of which size came.

/// Upper ends of the buckets of times, in seconds: those that the conventions for generative AI of
/// OpenTelemetry advise.
pub(crate) const SECONDS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];

/// Upper ends of the buckets of tokens.
pub(crate) const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
];

/// Counts of values by their size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    /// Upper end of each bucket and how many values are in it and in none before; the last has no
    /// end.
    pub(crate) buckets: Vec<(f64, u64)>,
    /// Sum of all values.
    pub(crate) sum: f64,
    /// Number of all values.
    pub(crate) count: u64,
}

impl Histogram {
    pub(crate) fn new(ends: &[f64]) -> Self {
        let ends = ends.iter().copied().chain([f64::INFINITY]);
        Self {
            buckets: ends.map(|end| (end, 0)).collect(),
            sum: 0.0,
            count: 0,
        }
    }

    pub(crate) fn observe(&mut self, value: f64) {
        if let Some((_, count)) = self.buckets.iter_mut().find(|(end, _)| value <= *end) {
            *count = count.saturating_add(1);
        }
        self.sum += value;
        self.count = self.count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_it_does_not_exceed() {
        let mut histogram = Histogram::new(&[1.0, 4.0]);
        for value in [0.0, 1.0, 1.5, 4.0, 4.5] {
            histogram.observe(value);
        }
        assert_eq!(
            histogram,
            Histogram {
                buckets: vec![(1.0, 2), (4.0, 2), (f64::INFINITY, 1)],
                sum: 11.0,
                count: 5,
            }
        );
    }
}
