//! The status of a running gate. It comes from a gate of any version, so whatever is not there is not shown.

use serde_json::Value;

use crate::admin::terminal::table::{Cell, Paint, fields, table};
use crate::admin::terminal::{Style, moment};
use crate::policy::time::Timestamp;

/// A certificate that ends within this many days is worth a colour.
const SOON_DAYS: u64 = 14;

const DAY: u64 = 86_400;

pub fn status(status: &Value, now: Timestamp, style: Style) -> String {
    let mut rows = Vec::new();
    let mut row = |name, cell: Option<Cell>| rows.extend(cell.map(|cell| (name, cell)));
    row("version", text(&status["version"]));
    row(
        "running",
        seconds(&status["started"]).map(|started| Cell::plain(&format!("{}, since {}", age(now.since(started)), moment(started)))),
    );
    row("store", store(&status["store"]));
    row("cache", cache(&status["cache"]));
    row("connections", connections(&status["connections"]));
    row("audit", status["audit"]["lost"].as_u64().map(|count| audit(count, status["audit"]["stuck"] == true)));
    let mut shown = fields(&rows, style);
    for section in [sites(&status["sites"], style), logs(&status["sites"], style), certificates(&status["certificates"], now, style)]
        .into_iter()
        .flatten()
    {
        if !shown.is_empty() {
            shown.push('\n');
        }
        shown.push_str(&section);
    }
    if shown.is_empty() {
        shown.push_str("a gate answers, and says nothing of itself\n");
    }
    shown
}

fn store(store: &Value) -> Option<Cell> {
    let kind = store["kind"].as_str()?;
    Some(match store["reachable"].as_bool() {
        Some(true) => Cell::painted(&format!("{kind}, reachable"), Paint::Good),
        Some(false) => Cell::painted(&format!("{kind}, NOT reachable"), Paint::Bad),
        None => Cell::plain(kind),
    })
}

fn cache(cache: &Value) -> Option<Cell> {
    let number = |key: &str| cache[key].as_u64();
    let entries = number("entries")?;
    let shown = match (number("hits"), number("misses")) {
        (Some(hits), Some(misses)) if hits.saturating_add(misses) > 0 => {
            let share = hits.saturating_mul(1000) / hits.saturating_add(misses);
            format!("{entries} tokens; {hits} hits, {misses} misses ({}.{}%)", share / 10, share % 10)
        }
        (Some(hits), Some(misses)) => format!("{entries} tokens; {hits} hits, {misses} misses"),
        _ => format!("{entries} tokens"),
    };
    Some(Cell::plain(&shown))
}

fn connections(connections: &Value) -> Option<Cell> {
    let parts: Vec<String> =
        ["open", "accepted", "refused"].iter().filter_map(|key| Some(format!("{} {key}", connections[key].as_u64()?))).collect();
    (!parts.is_empty()).then(|| Cell::plain(&parts.join(", ")))
}

fn audit(lost: u64, stuck: bool) -> Cell {
    match (lost, stuck) {
        (0, false) => Cell::plain("no line lost"),
        (0, true) => Cell::painted("NOT WRITTEN NOW", Paint::Bad),
        (lines, false) => Cell::painted(&format!("{lines} LINES LOST"), Paint::Bad),
        (lines, true) => Cell::painted(&format!("NOT WRITTEN NOW, {lines} LINES LOST"), Paint::Bad),
    }
}

fn sites(sites: &Value, style: Style) -> Option<String> {
    let mut rows = Vec::new();
    for site in sites.as_array()? {
        let name = site["name"].as_str().unwrap_or("?");
        let servers = site["servers"].as_array().map_or(&[][..], Vec::as_slice);
        if servers.is_empty() {
            rows.push(vec![Cell::plain(name)]);
        }
        for server in servers {
            let state = match server["healthy"].as_bool() {
                Some(true) => Cell::painted("healthy", Paint::Good),
                Some(false) => Cell::painted("resting", Paint::Bad),
                None => Cell::plain("?"),
            };
            let failures = server["failures"].as_u64().map(|failures| failures.to_string());
            let server = server["server"].as_str().unwrap_or("?");
            rows.push(vec![Cell::plain(name), Cell::plain(server), state, Cell::plain(&failures.unwrap_or_default())]);
        }
    }
    (!rows.is_empty()).then(|| table(&["SITE", "SERVER", "STATE", "FAILURES"], rows.into_iter(), style))
}

/// How each site's revocation log is read.
fn logs(sites: &Value, style: Style) -> Option<String> {
    let mut rows = Vec::new();
    for site in sites.as_array()? {
        let log = &site["revocation_log"];
        let Some(in_touch) = log["in_touch"].as_bool() else { continue };
        let read = match (in_touch, log["age_ms"].as_u64()) {
            (true, Some(age)) => Cell::painted(&format!("{age} ms ago"), Paint::Good),
            (false, Some(age)) => Cell::painted(&format!("{age} ms ago, TOO LONG: nobody is let in"), Paint::Bad),
            (true, None) => Cell::plain("?"),
            (false, None) => Cell::painted("NEVER: nobody is let in", Paint::Bad),
        };
        let gateways = log["gateways"].as_u64().map_or_else(|| "?".to_owned(), |gateways| gateways.to_string());
        let started_over = log["started_over"].as_u64().map(|times| times.to_string());
        rows.push(vec![
            Cell::plain(site["name"].as_str().unwrap_or("?")),
            read,
            Cell::plain(&gateways),
            Cell::plain(&started_over.unwrap_or_default()),
        ]);
    }
    (!rows.is_empty()).then(|| table(&["SITE", "REVOCATIONS READ", "GATEWAYS", "STARTED OVER"], rows.into_iter(), style))
}

fn certificates(certificates: &Value, now: Timestamp, style: Style) -> Option<String> {
    let rows: Vec<Vec<Cell>> = certificates
        .as_array()?
        .iter()
        .map(|certificate| {
            let names: Vec<&str> = certificate["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let left = seconds(&certificate["expires"]).map(|expires| left(expires, now));
            vec![
                Cell::plain(certificate["file"].as_str().unwrap_or("?")),
                Cell::plain(&names.join(" ")),
                left.unwrap_or_else(|| Cell::plain("?")),
            ]
        })
        .collect();
    (!rows.is_empty()).then(|| table(&["CERTIFICATE", "NAMES", "EXPIRES"], rows.into_iter(), style))
}

fn left(expires: Timestamp, now: Timestamp) -> Cell {
    let days = expires.since(now) / DAY;
    let at = moment(expires);
    if expires <= now {
        return Cell::painted(&format!("{at}, EXPIRED"), Paint::Bad);
    }
    let paint = if days < SOON_DAYS { Paint::Bad } else { Paint::Plain };
    Cell::painted(&format!("{at}, {days} days left"), paint)
}

fn text(value: &Value) -> Option<Cell> {
    value.as_str().map(Cell::plain)
}

fn seconds(value: &Value) -> Option<Timestamp> {
    value.as_u64().map(Timestamp::from_unix)
}

/// The two largest units of a time.
fn age(seconds: u64) -> String {
    match (seconds / DAY, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}
