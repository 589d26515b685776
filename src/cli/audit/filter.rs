//! Which lines are asked for.

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::cli::audit::row::Row;
use crate::config::quantity::parse_time;

/// How lines have their times, so that these can be compared as text.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

#[derive(Debug, Default, Args)]
pub struct FilterArguments {
    /// The site
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// The client's id
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// The user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The address that the request came from
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// What was decided
    #[arg(long, value_name = "DECISION")]
    decision: Option<Decision>,
    /// The reason, such as insufficient_scope
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// A status, or all of a kind: 403, 4xx
    #[arg(long, value_name = "STATUS", value_parser = Statuses::parse)]
    status: Option<Statuses>,
    /// A doctype, in any case of letters
    #[arg(long, value_name = "NAME")]
    doctype: Option<String>,
    /// The effect: read, write, delete or call
    #[arg(long, value_name = "EFFECT")]
    effect: Option<String>,
    /// The X-Request-Id of the answer
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// From then on: a time ago like 10m, or a moment like 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Until then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Decision {
    Allow,
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Statuses {
    from: u64,
    to: u64,
}

impl Statuses {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a status; write it like 403 or 4xx");
        if let Some(kind) = text.strip_suffix("xx") {
            let kind: u64 = kind.parse().ok().filter(|kind| (1..=5).contains(kind)).ok_or_else(wrong)?;
            return Ok(Self { from: kind * 100, to: kind * 100 + 99 });
        }
        let status = text.parse().ok().filter(|status| *status < 1000).ok_or_else(wrong)?;
        Ok(Self { from: status, to: status })
    }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = parse_time(text) {
        let now = Timestamp::now();
        return now.checked_sub(ago).map_err(|_| format!("`{text}` ago is beyond the calendar"));
    }
    let whole = if text.len() == "2026-03-01".len() { format!("{text}T00:00:00Z") } else { text.to_owned() };
    whole.parse().map_err(|_| format!("`{text}` is not a time; write it like 10m, 2026-03-01 or 2026-03-01T12:00:00Z"))
}

/// What a line must be to be shown.
pub struct Filter<'a> {
    asked: &'a FilterArguments,
    since: Option<String>,
    until: Option<String>,
    /// Whether anything is asked that only a request has.
    of_requests: bool,
}

impl<'a> Filter<'a> {
    pub fn new(asked: &'a FilterArguments) -> Self {
        let text = |time: Option<Timestamp>| time.map(|time| time.strftime(TIME).to_string());
        let words =
            [&asked.site, &asked.client, &asked.user, &asked.address, &asked.reason, &asked.doctype, &asked.effect, &asked.request_id];
        let of_requests = words.iter().any(|word| word.is_some()) || asked.decision.is_some() || asked.status.is_some();
        Self { asked, since: text(asked.since), until: text(asked.until), of_requests }
    }

    /// Whether it says from when.
    pub const fn has_since(&self) -> bool {
        self.asked.since.is_some()
    }

    /// The time before which no line can be asked for that was written `slack` later than its request began.
    pub fn earliest(&self, slack: std::time::Duration) -> Option<String> {
        self.asked.since?.checked_sub(slack).ok().map(|time| time.strftime(TIME).to_string())
    }

    pub fn takes(&self, row: &Row<'_>) -> bool {
        let asked = self.asked;
        let is = |asked: &Option<String>, found: Option<&str>| asked.as_deref().is_none_or(|asked| found == Some(asked));
        let within =
            self.since.as_deref().is_none_or(|since| &*row.time >= since) && self.until.as_deref().is_none_or(|until| &*row.time <= until);
        if row.event.is_some() {
            return within && !self.of_requests;
        }
        let decision = asked.decision.is_none_or(|decision| {
            row.decision.as_deref()
                == Some(match decision {
                    Decision::Allow => "allow",
                    Decision::Refuse => "refuse",
                })
        });
        // Where an operation reaches several, they stand in one text.
        let doctype = asked.doctype.as_deref().is_none_or(|asked| {
            row.doctype.as_deref().is_some_and(|found| found.split(", ").any(|found| found.eq_ignore_ascii_case(asked)))
        });
        within
            && decision
            && doctype
            && asked.status.is_none_or(|statuses| row.status.is_some_and(|status| (statuses.from..=statuses.to).contains(&status)))
            && is(&asked.site, row.site.as_deref())
            && is(&asked.client, row.client.as_deref())
            && is(&asked.user, row.user.as_deref())
            && is(&asked.address, row.address.as_deref())
            && is(&asked.reason, row.reason.as_deref())
            && is(&asked.effect, row.effect.as_deref())
            && is(&asked.request_id, row.request_id.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        filter: FilterArguments,
    }

    const LINE: &[u8] = br#"{"time":"2026-11-18T11:06:40.120003Z","request_id":"0123","site":"erp.example.com","address":"192.0.2.7","client":"crm","user":"ann@example.com","token":null,"scopes":null,"method":"GET","effect":"read","doctype":"Sales Order, Item","name":null,"rpc":"a.b","decision":"refuse","reason":"insufficient_scope","status":403,"outcome":"refused","bytes_in":0,"bytes_out":1,"total_us":1234,"upstream_us":null,"gate":"0a1b2c3d4e5f","seq":1,"chain":"x"}"#;
    const EVENT: &[u8] = br#"{"time":"2026-11-18T11:06:40.120003Z","event":"end","gate":"0a1b2c3d4e5f","seq":1,"chain":"x"}"#;

    fn takes(words: &str, line: &[u8]) -> bool {
        let words = ["tail"].into_iter().chain(words.split_whitespace());
        let asked = Words::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).filter;
        Filter::new(&asked).takes(&Row::parse(line).expect("a line"))
    }

    #[test]
    fn every_filter_takes_its_own_and_no_other() {
        for (own, other) in [
            ("--site erp.example.com", "--site erp"),
            ("--client crm", "--client CRM"),
            ("--user ann@example.com", "--user bob@example.com"),
            ("--address 192.0.2.7", "--address 192.0.2.70"),
            ("--decision refuse", "--decision allow"),
            ("--reason insufficient_scope", "--reason ok"),
            ("--status 403", "--status 404"),
            ("--status 4xx", "--status 5xx"),
            ("--doctype item", "--doctype sales"),
            ("--effect read", "--effect write"),
            ("--request-id 0123", "--request-id 012"),
            ("--since 2026-11-18T11:06:40Z", "--since 2026-11-18T11:06:41Z"),
            ("--until 2026-11-18T12:06:41+01:00", "--until 2026-11-18T11:06:40Z"),
            ("--since 2026-11-18", "--until 2026-11-18"),
            ("--client crm --status 4xx", "--client crm --status 200"),
        ] {
            assert!(takes(own, LINE), "{own}");
            assert!(!takes(other, LINE), "{other}");
        }
        assert!(takes("", EVENT) && takes("--since 2026-11-18", EVENT) && !takes("--status 4xx", EVENT));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for words in ["--status 6xx", "--status 4x", "--status ok", "--since yesterday", "--since 2026-13-01", "--decision maybe"] {
            assert!(Words::try_parse_from(["tail"].into_iter().chain(words.split_whitespace())).is_err(), "{words}");
        }
    }
}
