//! On which days the hours of a list count that are hours of work.
//!
//! DeepSeek, "Models & pricing" and "Change log" of 2026-07 to 2026-09: peak hours are those of Monday
//! to Friday without China's public holidays, from 2026-08-17 00:00 in Beijing on. The holidays are those
//! of the State Council's notice for 2026 (www.gov.cn, 202511/content_7047090). Both agree with
//! model-prices 0.0.5.

const DAY_MS: i64 = 86_400_000;

/// China's clock is eight hours ahead of UTC, all year.
const CHINA_MS: i64 = 8 * 3_600_000;

/// The first moment with peak hours: 2026-08-16T16:00:00Z.
const SINCE_MS: i64 = 1_786_896_000_000;

/// Public holidays from Monday to Friday since then, in days since the Unix epoch. Those of later years
/// are not known: calls on them cost at most what is said.
const HOLIDAYS: [i64; 6] = [
    // 2026-09-25, the Mid-Autumn Festival.
    20_721, // 2026-10-01, -02, -05, -06 and -07, the National Day.
    20_727, 20_728, 20_731, 20_732, 20_733,
];

/// Whether a moment is on a day on which China works, since hours of work have had a price.
pub(super) fn is_working_day(at_ms: i64) -> bool {
    let day = at_ms.saturating_add(CHINA_MS).div_euclid(DAY_MS);
    // The epoch began on a Thursday; Monday is 0.
    let weekday = day.saturating_add(3).rem_euclid(7);
    at_ms >= SINCE_MS && weekday < 5 && !HOLIDAYS.contains(&day)
}
