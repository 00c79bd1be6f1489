//! How much memory the agent may have, and how much of it each part gets.
//!
//! *Takes* the limits of the control group that the agent runs in (`MemoryMax` and `MemoryHigh` of a
//! unit, the limit of a container). *Gives* each part that holds something back its share, so that
//! all together stay within. *Remembers* nothing: limits are read at the start. *Nonsense*, and no
//! limit at all, is no limit: then each part has its full size.
//!
//! What a part does when its share is used up is in its own limits; the order in which the agent as a
//! whole gives way is in `agent/docs/service.md`.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use agent_core::pipeline::Settings;
use agent_core::tokens::Vocabularies;

const MIB: u64 = 1 << 20;

/// What the agent takes with nothing to do: its code and heap, the caches of SQLite, and the maps of
/// the kernel programs.
const AT_REST: u64 = 40 * MIB;

/// Two vocabularies.
const VOCABULARIES: u64 = 70 * MIB;

/// All that parts hold back at their full size, as measured or as their limits say: the line (200 MiB),
/// what is on the way to it (16 MiB), and records that wait for the ledger (100 MiB).
const HELD: u64 = 316 * MIB;

/// The part of a limit that the ring may take; it is the group's as well.
const RING_PART: u64 = 16;

/// Counters from here on mean that there is no limit.
const UNLIMITED: u64 = 1 << 60;

/// Where control groups are mounted, by which name `/proc/PID/cgroup` lists the hierarchy, and the
/// files of limits in each group.
const HIERARCHIES: [(&str, &str, &[&str]); 3] = [
    ("", "/sys/fs/cgroup", &["memory.max", "memory.high"]),
    ("", "/sys/fs/cgroup/unified", &["memory.max", "memory.high"]),
    (
        "memory",
        "/sys/fs/cgroup/memory",
        &["memory.limit_in_bytes"],
    ),
];

/// Shares of what the agent may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that the agent may have in all.
    limit: Option<u64>,
    /// What each part gets of its full size.
    thousandths: u64,
    vocabularies: Vocabularies,
}

impl Memory {
    /// As the control groups of this process say.
    pub fn of_this_process() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::within(limit_of(&groups, |file| fs::read_to_string(file).ok()))
    }

    /// Shares within this many bytes.
    pub fn within(limit: Option<u64>) -> Self {
        let rest = limit.map_or(u64::MAX, |limit| limit.saturating_sub(AT_REST));
        // Vocabularies can't be cut. Half of everything else is worth more than they are.
        let (vocabularies, left) = match rest.checked_sub(VOCABULARIES) {
            Some(left) if left >= HELD / 2 => (Vocabularies::Loaded, left),
            _ => (Vocabularies::Spared, rest),
        };
        let thousandths = (u128::from(left) * 1_000 / u128::from(HELD)).clamp(10, 1_000);
        Self {
            limit,
            thousandths: u64::try_from(thousandths).unwrap_or(1_000),
            vocabularies,
        }
    }

    /// The share of a part whose full size is this: of bytes, or of things that have a size.
    pub fn share(self, full: usize) -> usize {
        let share =
            u128::try_from(full).unwrap_or(u128::MAX) * u128::from(self.thousandths) / 1_000;
        usize::try_from(share).unwrap_or(full).max(1)
    }

    /// The size of the ring to the agent where this much is configured.
    pub fn ring_bytes(self, configured: NonZeroU32) -> NonZeroU32 {
        let most = self.limit.map_or(u64::MAX, |limit| limit / RING_PART);
        let mut bytes = configured;
        // Sizes of rings are powers of two, of whole pages.
        while u64::from(bytes.get()) > most && bytes.get() > 65_536 {
            bytes = NonZeroU32::new(bytes.get() / 2).unwrap_or(bytes);
        }
        bytes
    }

    /// Gives the stages of the line their shares.
    pub fn divide(self, settings: &mut Settings) {
        for full in [
            &mut settings.connection.held_bytes_of_all,
            &mut settings.http.buffered_bytes,
            &mut settings.http.decoder_bytes,
            &mut settings.llm.held_bytes,
        ] {
            *full = self.share(*full);
        }
        settings.vocabularies = self.vocabularies;
    }

    /// What is less than it should be, in a sentence.
    pub fn shortfall(self) -> Option<String> {
        let mib = self.limit? / MIB;
        match self.vocabularies {
            Vocabularies::Loaded => None,
            Vocabularies::Spared => Some(format!(
                "memory is limited to {mib} MiB: tokens that no provider reports are taken from the \
                 length of texts, and less is held back ({} % of what there could be)",
                self.thousandths / 10
            )),
        }
    }
}

/// The least of the limits of groups that a text like `/proc/self/cgroup` names, and of those above.
fn limit_of(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        for (controller, mount, files) in HIERARCHIES {
            if !controllers.split(',').any(|name| name == controller) {
                continue;
            }
            let group = Path::new(mount).join(path.trim_start_matches('/'));
            let above = group
                .ancestors()
                .take_while(|above| above.starts_with(mount));
            let limits = above
                .flat_map(|group| files.iter().map(|file| group.join(file)))
                .filter_map(|file| read(&file)?.trim().parse().ok())
                .filter(|limit| *limit < UNLIMITED);
            least = least.into_iter().chain(limits).min();
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_a_group_and_those_above_holds() {
        let limit = |groups: &str, files: &[(&str, &str)]| {
            limit_of(groups, |path| {
                let is_it = |(file, _): &&(&str, &str)| Path::new(file) == path;
                files.iter().find(is_it).map(|(_, text)| (*text).to_owned())
            })
        };
        let unit = "0::/system.slice/bpftok.service\n";
        let folder = "/sys/fs/cgroup/system.slice";
        let max = format!("{folder}/bpftok.service/memory.max");
        let high = format!("{folder}/bpftok.service/memory.high");
        let above = format!("{folder}/memory.max");
        assert_eq!(limit(unit, &[]), None);
        assert_eq!(limit(unit, &[(&max, "max\n"), (&above, "max\n")]), None);
        assert_eq!(limit(unit, &[(&max, "9000\n")]), Some(9_000));
        let files = [(max.as_str(), "9000\n"), (&high, "8000\n")];
        assert_eq!(limit(unit, &files), Some(8_000));
        assert_eq!(
            limit(unit, &[(&max, "9000\n"), (&above, "7000\n")]),
            Some(7_000)
        );

        // Version 1, and a container that sees its own group as the root.
        let groups = "9:name=systemd:/\n4:hugetlb,memory:/a/b\n0::/\n";
        let files = [
            (
                "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "67108864\n",
            ),
            (
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ];
        assert_eq!(limit(groups, &files), Some(64 * MIB));
        assert_eq!(limit(groups, &files[1..]), None);
        let root = [("/sys/fs/cgroup/memory.max", "5\n")];
        assert_eq!(limit("0::/\n", &root), Some(5));
        for nonsense in ["", "\n", "0", "0::", "a:b:c", "1:memory"] {
            assert_eq!(limit(nonsense, &files), None, "{nonsense}");
        }
    }

    #[test]
    fn all_shares_together_stay_within_the_limit() {
        let full = Settings::default();
        for mib in [64, 96, 128, 200, 256, 384, 512, 1_024] {
            let memory = Memory::within(Some(mib * MIB));
            let mut settings = Settings::default();
            memory.divide(&mut settings);
            let vocabularies = match settings.vocabularies {
                Vocabularies::Loaded => VOCABULARIES,
                Vocabularies::Spared => 0,
            };
            // Calls may hold twice what they keep texts for.
            let line = settings.connection.held_bytes_of_all
                + settings.http.buffered_bytes
                + settings.http.decoder_bytes
                + 2 * settings.llm.held_bytes;
            let others = memory.share((16 + 100) << 20);
            let all = u64::try_from(line + others).unwrap() + vocabularies + AT_REST;
            assert!(all <= mib * MIB, "{} of {mib} MiB", all / MIB);
            assert_eq!(memory.shortfall().is_some(), mib < 300, "{mib}");
        }
        let memory = Memory::within(None);
        let mut settings = Settings::default();
        memory.divide(&mut settings);
        assert_eq!(settings.http, full.http);
        assert_eq!(settings.llm, full.llm);
        assert_eq!(memory.shortfall(), None);
        assert_eq!(memory.share(100_000), 100_000);
    }

    #[test]
    fn the_ring_is_cut_to_a_part_of_the_limit() {
        let ring = |limit, configured| {
            let configured = NonZeroU32::new(configured).unwrap();
            Memory::within(limit).ring_bytes(configured).get()
        };
        assert_eq!(ring(None, 64 << 20), 64 << 20);
        assert_eq!(ring(Some(384 * MIB), 16 << 20), 16 << 20);
        assert_eq!(ring(Some(64 * MIB), 16 << 20), 4 << 20);
        assert_eq!(ring(Some(MIB), 16 << 20), 65_536);
        assert_eq!(ring(Some(MIB), 4_096), 4_096);
    }
}
