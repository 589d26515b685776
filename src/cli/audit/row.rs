//! One line of the log as a row for people. Columns have fixed widths, since lines that are still to come cannot be measured.

use std::borrow::Cow;

use serde::Deserialize;

use crate::admin::terminal::table::Paint;
use crate::admin::terminal::{Style, visible};

/// Widths in characters; what is longer is cut, and the last column has what room there is.
const REASON_WIDTH: usize = 22;
const CLIENT_WIDTH: usize = 16;
const USER_WIDTH: usize = 24;
const ADDRESS_WIDTH: usize = 15;
const TIME_WIDTH: usize = "2026-11-18 11:06:40.120Z".len();
const TOOK_WIDTH: usize = 9;

/// What is shown and asked for of a line.
#[derive(Debug, Deserialize)]
pub struct Row<'a> {
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    #[serde(borrow, default)]
    pub event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub request_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub site: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub address: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub client: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub user: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub effect: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub doctype: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub rpc: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub decision: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub reason: Option<Cow<'a, str>>,
    #[serde(default)]
    pub status: Option<u64>,
    #[serde(borrow, default)]
    pub outcome: Option<Cow<'a, str>>,
    #[serde(default)]
    total_us: Option<u64>,
    #[serde(borrow, default)]
    gate: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    host: Option<Cow<'a, str>>,
    #[serde(default)]
    lost: Option<u64>,
}

impl<'a> Row<'a> {
    /// `None` where it is no line of the log.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The row, with its line feed.
    pub fn text(&self, style: Style) -> String {
        let time =
            padded(&self.time.get(..23).map_or_else(|| self.time.to_string(), |time| format!("{}Z", time.replace('T', " "))), TIME_WIDTH);
        if let Some(event) = &self.event {
            let gate = self.gate.as_deref().unwrap_or("?");
            let (told, paint) = match &**event {
                "start" => (format!("gate {gate} starts on {}", self.host.as_deref().unwrap_or("?")), Paint::Heading),
                "continue" => (format!("gate {gate} goes on in this file"), Paint::Note),
                "lost" => (format!("gate {gate} LOST {} LINES HERE", self.lost.unwrap_or(0)), Paint::Bad),
                "end" => (format!("gate {gate} ends"), Paint::Heading),
                other => (format!("gate {gate}: {other}"), Paint::Note),
            };
            return format!("{time}  {}\n", paint.over(&format!("--- {}", visible(&told)), style));
        }
        let status = self.status.unwrap_or(0);
        let good = (100..400).contains(&status);
        let status = if good { Paint::Good } else { Paint::Bad }.over(&format!("{status:<6}"), style);
        // What was decided is one thing, what became of it another: `ok` alone would hide that the client went away.
        let outcome = self.outcome.as_deref().filter(|outcome| matches!(*outcome, "timed_out" | "abandoned"));
        let reason = match (self.reason.as_deref().unwrap_or("-"), outcome) {
            ("ok", Some(outcome)) => outcome,
            (reason, _) => reason,
        };
        let word = |word: &Option<Cow<'_, str>>, width| padded(word.as_deref().unwrap_or("-"), width);
        let took = self.total_us.map_or_else(|| "-".to_owned(), |micros| format!("{:.1}ms", micros as f64 / 1000.0));
        format!(
            "{time}  {status}  {}  {}  {}  {}  {took:>TOOK_WIDTH$}  {}\n",
            padded(reason, REASON_WIDTH),
            word(&self.client, CLIENT_WIDTH),
            word(&self.user, USER_WIDTH),
            word(&self.address, ADDRESS_WIDTH),
            visible(&self.operation()),
        )
    }

    /// `GET Sales Order SO-0001 at erp.example.com`.
    fn operation(&self) -> String {
        let mut words: Vec<&str> = Vec::new();
        words.extend(self.method.as_deref());
        words.extend(self.rpc.as_deref());
        words.extend(self.doctype.as_deref());
        words.extend(self.name.as_deref());
        if let Some(site) = self.site.as_deref() {
            words.extend(["at", site]);
        }
        words.join(" ")
    }
}

pub fn heading(style: Style) -> String {
    let text = format!(
        "{}  STATUS  {}  {}  {}  {}  {:>TOOK_WIDTH$}  OPERATION",
        padded("TIME", TIME_WIDTH),
        padded("REASON", REASON_WIDTH),
        padded("CLIENT", CLIENT_WIDTH),
        padded("USER", USER_WIDTH),
        padded("ADDRESS", ADDRESS_WIDTH),
        "TOOK",
    );
    format!("{}\n", Paint::Heading.over(&text, style))
}

/// Exactly so many characters.
fn padded(text: &str, width: usize) -> String {
    let text = visible(text);
    if text.chars().count() > width {
        return text.chars().take(width - 1).chain(['…']).collect();
    }
    format!("{text:<width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_under_their_heading() {
        let lines = include_str!("../../../tests/golden/audit.jsonl");
        let events = "{\"time\":\"2026-11-18T11:06:40.120003Z\",\"event\":\"lost\",\"lost\":3,\"gate\":\"0a\",\"seq\":1,\"chain\":\"x\"}";
        let rows = lines.lines().chain([events]).map(|line| Row::parse(line.as_bytes()).expect("a line").text(Style::PLAIN));
        let shown: String = std::iter::once(heading(Style::PLAIN)).chain(rows).collect();
        assert_eq!(
            shown,
            "\
TIME                      STATUS  REASON                  CLIENT            USER                      ADDRESS               TOOK  OPERATION
2026-11-18 11:06:40.120Z  200     ok                      crm               ann@example.com           192.0.2.7            1.2ms  GET Sales Order SO-\"1\"\\né at erp.example.com
2026-11-18 11:06:40.120Z  404     host_unknown            -                 -                         192.0.2.7            1.2ms  GET
2026-11-18 11:06:40.120Z  --- gate 0a LOST 3 LINES HERE
"
        );
    }
}
