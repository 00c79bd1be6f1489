//! An error and what caused it, in one line: for logs and reports, whose readers get no backtrace.

/// The messages of an error and of its causes, from the outermost inwards.
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_what_they_caused() {
        let error = anyhow::anyhow!("no such file")
            .context("can't read it")
            .context("can't start");
        assert_eq!(
            in_one_line(error.as_ref()),
            "can't start: can't read it: no such file"
        );
    }
}
