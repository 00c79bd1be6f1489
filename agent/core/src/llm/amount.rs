//! Amounts that need not be whole: dollars, seconds, units.

/// LIMIT: a million dollars for one call, in billionths; what claims more is nonsense.
pub const MAX_COST_NANOUSD: u64 = 1_000_000_000_000_000;

/// LIMIT: units of any other kind that one call may claim: searches, images, seconds. A file of
/// sound has a day at most, and no reply more searches or pictures.
pub(super) const MAX_UNITS: u64 = 100_000;

/// LIMIT: characters of a number that is read as an amount. The scanner cuts longer ones, and what
/// is cut may be an exponent.
const AMOUNT_BYTES: usize = 32;

/// An amount of dollars, in billionths.
pub(crate) fn nanousd(text: &str) -> Option<u64> {
    scaled(text, 9).filter(|cost| *cost <= MAX_COST_NANOUSD)
}

/// xAI's unit: ten billion of them are a dollar.
pub(super) fn nanousd_of_ticks(text: &str) -> Option<u64> {
    scaled(text, -1).filter(|cost| *cost <= MAX_COST_NANOUSD)
}

/// A number of units that are billed as whole ones once begun.
pub(super) fn whole_units(text: &str) -> Option<u64> {
    let thousandths = scaled(text, 3)?;
    Some(thousandths.div_ceil(1_000)).filter(|units| *units <= MAX_UNITS)
}

/// A number that is not negative, times ten to the `places`, rounded to the nearest whole one.
/// Decimal throughout, so that no amount is off by what a binary fraction cannot hold.
fn scaled(text: &str, places: i32) -> Option<u64> {
    if text.len() >= AMOUNT_BYTES {
        return None;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let behind = i32::try_from(fraction.len()).ok()?;
    let shift = exponent.checked_add(places)?.checked_sub(behind)?;
    let power = 10_u128.checked_pow(shift.unsigned_abs());
    let value = match power {
        _ if digits == 0 => 0,
        Some(power) if shift >= 0 => digits.checked_mul(power)?,
        None if shift >= 0 => return None,
        Some(power) => digits.checked_add(power / 2)? / power,
        // Far below the half of one.
        None => 0,
    };
    u64::try_from(value).ok()
}
