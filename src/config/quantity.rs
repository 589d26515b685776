//! Sizes, times and rates as an operator writes them: `"32KiB"`, `"250ms"`, `"600/1m"`.

use std::time::Duration;

use crate::wording::TIMES;

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

const SIZES: [(&str, u64); 4] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

/// How a size is written, for the remedy of an error.
pub const SIZE_EXAMPLE: &str = "write bytes as 32768 or \"32KiB\" (B, KiB, MiB, GiB)";
pub const TIME_EXAMPLE: &str = "write a number with its unit, like \"250ms\", \"10s\", \"1m\" or \"1h\"";
pub const RATE_EXAMPLE: &str = "write requests and the time they may take, like \"600/1m\", or \"off\"";

/// `requests` in `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub requests: u32,
    pub period: Duration,
}

pub fn parse_size(text: &str) -> Result<u64, String> {
    measured(text, &SIZES).ok_or_else(|| format!("`{text}` is not a size; {SIZE_EXAMPLE}"))
}

pub fn parse_time(text: &str) -> Result<Duration, String> {
    measured(text, &TIMES).map(Duration::from_millis).ok_or_else(|| format!("`{text}` is not a time; {TIME_EXAMPLE}"))
}

pub fn parse_pace(text: &str) -> Result<Pace, String> {
    let pace = text.split_once('/').and_then(|(requests, period)| {
        let requests = requests.parse().ok().filter(|&requests| requests > 0)?;
        let period = measured(period, &TIMES).map(Duration::from_millis)?;
        (Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&period).then_some(Pace { requests, period })
    });
    pace.ok_or_else(|| format!("`{text}` is not a rate over one second to one day; {RATE_EXAMPLE}"))
}

/// A whole number and one of `units`, nothing between them but at most one space.
fn measured(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The shortest way to write a size exactly.
pub fn show_size(bytes: u64) -> String {
    let (unit, factor) = SIZES.iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor)).unwrap_or(&SIZES[3]);
    format!("{}{unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{GIB, KIB, MIB, Pace, parse_pace, parse_size, parse_time, show_size};
    use crate::wording::show_time;

    #[test]
    fn sizes_have_binary_units_and_nothing_else() {
        for (text, bytes) in [("0B", 0), ("1B", 1), ("32KiB", 32 * KIB), ("4 MiB", 4 * MIB), ("10GiB", 10 * GIB)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "KiB", "32", "32KB", "32kib", "32K", "-1KiB", "1.5MiB", "4  MiB", "4MiB ", "99999999999999GiB", "１KiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        for (text, millis) in [("250ms", 250), ("10s", 10_000), ("0s", 0), ("1m", 60_000), ("1h", 3_600_000), ("30d", 2_592_000_000)] {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "10sec", "10S", "-1s", "1m30s", "0.5s", "99999999999999999d", "off"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_requests_over_a_time() {
        assert_eq!(parse_pace("600/1m"), Ok(Pace { requests: 600, period: Duration::from_secs(60) }));
        for text in ["", "600", "600/m", "0/1m", "600/0s", "600/10ms", "600/2d", "-1/1m", "600/1m/1m", "5000000000/1m", "1.5/1s"] {
            assert!(parse_pace(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_written() {
        for text in ["0B", "1B", "1025B", "32KiB", "4MiB", "1GiB"] {
            assert_eq!(parse_size(text).map(show_size).as_deref(), Ok(text));
        }
        for text in ["0s", "1ms", "1500ms", "10s", "90s", "1m", "1h", "1d"] {
            assert_eq!(parse_time(text).map(show_time).as_deref(), Ok(text));
        }
    }
}
