//! The line of one request, as the worker writes it: everything but its end, which is the chain's (`chain.rs`).
//!
//! The shape is fixed (`README.md`, "The audit log"): every field in every line, in one order, `null` where there is nothing to say. Never a
//! token, a secret, a cookie or a body.

use std::time::Duration;

/// The longest text in a line, in bytes; of a longer one stands what fits, and `…`. Names in Frappe have 140 characters, so what is cut
/// names nothing. Without a bound, a long name would be the way not to be on record: syslog takes no line of any length.
const TEXT_BYTES_MAX: usize = 2048;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream's answer went out to its end.
    Served,
    /// The gate answered itself.
    Refused,
    /// A time limit ended it.
    TimedOut,
    /// The client went away, or the answer broke off.
    Abandoned,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What is kept of one request.
#[derive(Clone, Debug)]
pub struct AuditRecord<'a> {
    /// When it began, since 1970.
    pub began: Duration,
    pub request_id: &'a str,
    pub site: Option<&'a str>,
    pub address: &'a str,
    pub client: Option<&'a str>,
    pub user: Option<&'a str>,
    /// First bytes of the token's hash.
    pub token: Option<&'a str>,
    pub scopes: Option<&'a str>,
    /// `None` where there was no request to have one.
    pub method: Option<&'a str>,
    pub effect: Option<&'a str>,
    pub doctype: Option<&'a str>,
    pub name: Option<&'a str>,
    pub rpc: Option<&'a str>,
    /// `allow`, or `refuse`.
    pub allowed: bool,
    pub reason: &'a str,
    pub status: u16,
    pub outcome: Outcome,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub total: Duration,
    pub upstream: Option<Duration>,
}

impl AuditRecord<'_> {
    /// Appends the line without its closing brace, and a line feed: gate, number and chain are the writer's to add.
    pub fn write(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(br#"{"time":""#);
        write_time(self.began, line);
        word(line, br#"","request_id":""#, self.request_id);
        text(line, br#"","site":"#, self.site);
        word(line, br#","address":""#, self.address);
        text(line, br#"","client":"#, self.client);
        text(line, br#","user":"#, self.user);
        text(line, br#","token":"#, self.token);
        text(line, br#","scopes":"#, self.scopes);
        text(line, br#","method":"#, self.method);
        text(line, br#","effect":"#, self.effect);
        text(line, br#","doctype":"#, self.doctype);
        text(line, br#","name":"#, self.name);
        text(line, br#","rpc":"#, self.rpc);
        word(line, br#","decision":""#, if self.allowed { "allow" } else { "refuse" });
        word(line, br#"","reason":""#, self.reason);
        number(line, br#"","status":"#, u64::from(self.status));
        word(line, br#","outcome":""#, self.outcome.as_str());
        number(line, br#"","bytes_in":"#, self.bytes_in);
        number(line, br#","bytes_out":"#, self.bytes_out);
        number(line, br#","total_us":"#, micros(self.total));
        match self.upstream {
            Some(upstream) => number(line, br#","upstream_us":"#, micros(upstream)),
            None => line.extend_from_slice(br#","upstream_us":null"#),
        }
        line.push(b'\n');
    }
}

/// A word of our own, which needs no escapes. Its closing quote belongs to whatever follows.
fn word(line: &mut Vec<u8>, key: &[u8], value: &str) {
    line.extend_from_slice(key);
    line.extend_from_slice(value.as_bytes());
}

pub(super) fn text(line: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    line.extend_from_slice(key);
    match value {
        None => line.extend_from_slice(b"null"),
        Some(value) if value.len() > TEXT_BYTES_MAX => {
            let cut = format!("{}…", &value[..value.floor_char_boundary(TEXT_BYTES_MAX)]);
            serde_json::to_writer(line, &cut).unwrap_or(());
        }
        Some(value) if is_plain(value) => {
            line.push(b'"');
            line.extend_from_slice(value.as_bytes());
            line.push(b'"');
        }
        // Writing into a Vec does not fail, and text is always JSON.
        Some(value) => serde_json::to_writer(line, value).unwrap_or(()),
    }
}

/// Whether text stands in JSON as it is. Every byte is looked at, whatever the first said: that is faster.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\'))
}

pub(super) fn number(line: &mut Vec<u8>, key: &[u8], value: u64) {
    line.extend_from_slice(key);
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Appends RFC 3339 with microseconds in UTC. Civil date from days after Howard Hinnant's `civil_from_days`, years 1970 to 9999.
pub(super) fn write_time(since_epoch: Duration, line: &mut Vec<u8>) {
    let seconds = since_epoch.as_secs();
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = (year_of_era + era * 400 + u64::from(month <= 2)).min(9999);
    let second = seconds % 86_400;
    let mut out = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |at: usize, width: usize, mut value: u64| {
        for digit in out[at..at + width].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, second / 3600);
    put(14, 2, second / 60 % 60);
    put(17, 2, second % 60);
    put(20, 6, u64::from(since_epoch.subsec_micros()));
    line.extend_from_slice(&out);
}

#[cfg(test)]
pub(super) mod tests;
