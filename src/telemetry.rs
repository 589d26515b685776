//! What the gate tells its operator: logs, and counters for Prometheus.
//!
//! Each worker counts in cells of its own; they are summed when somebody asks. Labels have few values whatever clients send: a status, one
//! of our reasons, an outcome.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Upper ends of the latency buckets, in microseconds.
const BUCKETS: [u64; 14] = [50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000];

/// Status, reason and outcome.
type Label = (u16, &'static str, &'static str);

/// The cells of one worker.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// The lock is the worker's own: nobody else takes it but a scrape. There are a few dozen labels, and nearly every request has one of the
    /// first that came, so looking for it from the beginning beats hashing it.
    requests: Mutex<Vec<(Label, u64)>>,
    gate: Histogram,
    upstream: Histogram,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    fn record(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS.iter().position(|&end| micros <= end) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl WorkerCounters {
    /// Counts one request. `total` is the whole of it, `upstream` the part until the upstream's answer began.
    pub fn count(&self, status: u16, reason: &'static str, outcome: &'static str, total: Duration, upstream: Option<Duration>) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let label = (status, reason, outcome);
        match requests.iter_mut().find(|(known, _)| *known == label) {
            Some((_, count)) => *count += 1,
            None => requests.push((label, 1)),
        }
        drop(requests);
        self.gate.record(total.saturating_sub(upstream.unwrap_or_default()));
        if let Some(upstream) = upstream {
            self.upstream.record(upstream);
        }
    }
}

/// What a number is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// A gauge that is read in milliseconds and told in seconds.
    Seconds,
}

/// One number that somebody else keeps, read when it is asked for.
#[derive(Clone, Debug)]
pub struct Reading {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    /// Label names and values, and what they count.
    pub values: Vec<(Vec<(&'static str, String)>, u64)>,
}

/// Asks for all readings.
pub type Readings = Box<dyn Fn() -> Vec<Reading> + Send + Sync>;

/// Everything there is to scrape.
pub struct Metrics {
    workers: Vec<Arc<WorkerCounters>>,
    readings: Readings,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub fn new(workers: Vec<Arc<WorkerCounters>>, readings: Readings) -> Self {
        Self { workers, readings }
    }

    fn requests(&self) -> BTreeMap<Label, u64> {
        let mut sums = BTreeMap::new();
        for worker in &self.workers {
            for (label, count) in worker.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                *sums.entry(*label).or_default() += count;
            }
        }
        sums
    }

    fn histogram(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, of: fn(&WorkerCounters) -> &Histogram) -> fmt::Result {
        let sum = |cell: fn(&Histogram, usize) -> &AtomicU64, at: usize| -> u64 {
            self.workers.iter().map(|worker| cell(of(worker), at).load(Ordering::Relaxed)).sum()
        };
        let mut buckets: Vec<(f64, u64)> =
            BUCKETS.iter().enumerate().map(|(at, &end)| (end as f64 / 1e6, sum(|histogram, at| &histogram.buckets[at], at))).collect();
        let count = sum(|histogram, _| &histogram.count, 0);
        let inside: u64 = buckets.iter().map(|(_, count)| count).sum();
        buckets.push((f64::INFINITY, count.saturating_sub(inside)));
        let seconds = sum(|histogram, _| &histogram.micros, 0) as f64 / 1e6;
        encoder.encode_descriptor(name, help, None, MetricType::Histogram)?.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut requests = encoder.encode_descriptor("requests", "Requests that ended", None, MetricType::Counter)?;
        for ((status, reason, outcome), count) in self.requests() {
            let labels = [("status", status.to_string()), ("reason", reason.to_owned()), ("outcome", outcome.to_owned())];
            ConstCounter::new(count).encode(requests.encode_family(&labels)?)?;
        }
        self.histogram(&mut encoder, "gate_seconds", "Time of a request less the upstream's part of it", |worker| &worker.gate)?;
        self.histogram(&mut encoder, "upstream_seconds", "Time until an upstream began to answer", |worker| &worker.upstream)?;
        for reading in (self.readings)() {
            let kind = match reading.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge | Kind::Seconds => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(reading.name, reading.help, None, kind)?;
            let encode = |value: u64, cell: MetricEncoder<'_>| match reading.kind {
                Kind::Counter => ConstCounter::new(value).encode(cell),
                Kind::Gauge => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(cell),
                Kind::Seconds => ConstGauge::new(value as f64 / 1e3).encode(cell),
            };
            match reading.values.as_slice() {
                // An empty set of labels would be written as `{}`.
                [(labels, value)] if labels.is_empty() => encode(*value, family)?,
                values => values.iter().try_for_each(|(labels, value)| encode(*value, family.encode_family(labels)?))?,
            }
        }
        Ok(())
    }
}

/// Sends what the code has to say to standard error. A second call changes nothing.
pub fn start_logging(level: tracing::Level, json: bool) {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::new(format!("warn,scopegate={}", level.as_str().to_lowercase()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = if json { builder.json().try_init() } else { builder.with_ansi(std::io::stderr().is_terminal()).try_init() };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

/// Tells the operator that something is away, once in `COMPLAINT_INTERVAL` at most: a store that is down is asked thousands of times.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<Option<Instant>>);

const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

impl Complaints {
    pub fn utter(&self, what: &str) {
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.saturating_duration_since(last) >= COMPLAINT_INTERVAL) {
            *last = Some(now);
            drop(last);
            tracing::error!("{what}");
        }
    }
}

/// The ids of one worker's requests: eight random bytes that are the worker's, and a count.
#[derive(Debug)]
pub struct RequestIds {
    prefix: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub const fn new(random: u64) -> Self {
        Self { prefix: random, next: AtomicU64::new(1) }
    }

    /// 24 hexadecimal digits.
    pub fn next(&self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = [0; 24];
        for (at, digit) in text.iter_mut().enumerate() {
            let nibble = if at < 16 { self.prefix >> (60 - 4 * at) } else { count >> (28 - 4 * (at - 16)) };
            *digit = DIGITS[(nibble & 15) as usize];
        }
        // Hexadecimal digits are always a header value.
        // An owner of its own, because Bytes that were copied are allocated once more when they are cloned, as every id is.
        HeaderValue::from_maybe_shared(Bytes::from_owner(text)).unwrap_or(HeaderValue::from_static("0"))
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn what_workers_count_is_summed() {
        let workers = vec![Arc::new(WorkerCounters::default()), Arc::new(WorkerCounters::default())];
        for worker in &workers {
            worker.count(200, "ok", "served", Duration::from_micros(1200), Some(Duration::from_micros(1100)));
        }
        workers[0].count(403, "insufficient_scope", "refused", Duration::from_micros(60), None);
        let reading = |name, kind, value| Reading { name, help: "Of a test", kind, values: vec![(Vec::new(), value)] };
        let readings = move || {
            vec![
                reading("connections_open", Kind::Gauge, 7),
                reading("log_age_seconds", Kind::Seconds, 1_250),
                reading("served_known", Kind::Counter, 3),
            ]
        };
        let mut registry = Registry::with_prefix("scopegate");
        registry.register_collector(Box::new(Metrics::new(workers, Box::new(readings))));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text is written");
        for line in [
            "scopegate_requests_total{status=\"200\",reason=\"ok\",outcome=\"served\"} 2",
            "scopegate_requests_total{status=\"403\",reason=\"insufficient_scope\",outcome=\"refused\"} 1",
            "scopegate_gate_seconds_bucket{le=\"0.0001\"} 3",
            "scopegate_upstream_seconds_count 2",
            "scopegate_upstream_seconds_bucket{le=\"+Inf\"} 2",
            "scopegate_connections_open 7",
            "scopegate_log_age_seconds 1.25",
            "scopegate_served_known_total 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n---\n{text}");
        }
    }

    #[test]
    fn request_ids_differ_and_are_plain() {
        let ids = RequestIds::new(0x0123_4567_89ab_cdef);
        assert_eq!(ids.next(), "0123456789abcdef00000001");
        assert_eq!(ids.next(), "0123456789abcdef00000002");
    }
}
