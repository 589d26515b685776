//! How the operator's words are read back to him: the name that was probably meant, and the length of a time.

use std::time::Duration;

/// How alike a wrong and a right name must be, from 0 to 1, before the one is offered for the other: `lgo` and `log` are 0.67.
const ALIKE: f64 = 0.6;

/// In milliseconds. `ms` stands before `s` and `m`, which end and begin like it.
pub const TIMES: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The one of `names` that was probably meant by `name`.
pub fn alike<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .map(|other| (strsim::normalized_damerau_levenshtein(name, other), other))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, other)| other)
}

/// The shortest way to write a time exactly, to the millisecond.
pub fn show_time(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = TIMES.iter().rev().find(|(_, factor)| millis != 0 && millis.is_multiple_of(*factor)).unwrap_or(&TIMES[1]);
    format!("{}{unit}", millis / factor)
}
