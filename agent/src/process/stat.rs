//! `/proc/PID/stat` (proc_pid_stat(5)).

/// The fields that are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Field 2, without its parentheses; any bytes may stand in it.
    pub(super) comm: Vec<u8>,
    /// Field 4.
    pub(super) parent_pid: u32,
    /// Field 6, the pid of the session's leader; 0 where it is not to be seen from here.
    pub(super) session: u32,
    /// Field 22, in clock ticks since boot.
    pub(super) start_ticks: u64,
}

impl Stat {
    /// Reads the line. The name may hold spaces and parentheses, so it ends at the last one.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|byte| *byte == b'(')?;
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let comm = line.get(open + 1..close)?.to_vec();
        let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace().skip(1);
        let parent_pid = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        let start_ticks = fields.nth(15)?.parse().ok()?;
        Some(Self {
            comm,
            parent_pid,
            session,
            start_ticks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &[u8] = b" S 41 42 43 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3\n";

    #[test]
    fn parent_session_and_start_are_found_behind_any_name() {
        for name in ["curl", "a b", ") S 1 (", "((", ")"] {
            let line = [b"42 (", name.as_bytes(), b")", TAIL].concat();
            assert_eq!(
                Stat::parse(&line),
                Some(Stat {
                    comm: name.into(),
                    parent_pid: 41,
                    session: 43,
                    start_ticks: 987_654
                }),
            );
        }
    }

    #[test]
    fn a_cut_line_is_refused() {
        let line = [b"42 (curl)".as_slice(), TAIL].concat();
        let enough = line.len() - " 1 2 3\n".len() - "987654".len();
        for end in 0..enough {
            assert_eq!(Stat::parse(&line[..end]), None, "{end} bytes");
        }
    }
}
