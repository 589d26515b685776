//! What the operator's machines ask: `/metrics`, `/livez`, `/readyz`, on a port of their own; and `status`, for himself.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::app::Running;
use crate::listener::violation::Violation;
use crate::telemetry::{Kind, Metrics, Reading};

/// What OpenMetrics text is called.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

struct Observed {
    running: Arc<Running>,
    registry: Registry,
}

/// Serves the metrics port until the process ends.
pub async fn serve(listener: TcpListener, running: Arc<Running>) {
    let told = Arc::downgrade(&running);
    let readings = Box::new(move || told.upgrade().map(|running| running.readings()).unwrap_or_default());
    let mut registry = Registry::with_prefix("scopegate");
    registry.register_collector(Box::new(Metrics::new(running.counters.clone(), readings)));
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(Observed { running, registry }));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the metrics port is no longer served");
    }
}

async fn metrics(State(observed): State<Arc<Observed>>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &observed.registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

/// Ready to take requests: not draining, the store answers, and the revocation log of each site was read within the bound. An upstream that
/// is down does not count: clients are better told so by the gate than by whatever stands before it.
async fn readyz(State(observed): State<Arc<Observed>>) -> impl IntoResponse {
    let draining = observed.running.drain.begun();
    let store = observed.running.store.ping().await;
    let revocations = observed.running.in_touch();
    let ready = !draining && store.is_ok() && revocations.values().all(|in_touch| in_touch == true);
    let upstreams = observed.running.reachable();
    let body = json!({"ready": ready, "draining": draining, "store": store.is_ok(), "revocations": revocations, "sites": upstreams});
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

impl Running {
    /// Whether each site has a server that is up, as far as is known.
    fn reachable(&self) -> serde_json::Map<String, Value> {
        let generation = self.generation.load();
        let sites = generation.names.iter().enumerate();
        sites.map(|(index, name)| (name.to_string(), Value::from(generation.upstreams.is_reachable(index)))).collect()
    }

    /// Whether the revocation log of each site was read within the bound, without which nobody is let in there.
    fn in_touch(&self) -> serde_json::Map<String, Value> {
        let generation = self.generation.load();
        generation.names.iter().map(|name| (name.to_string(), Value::from(self.store.ledger().touch(name).within_bound))).collect()
    }

    /// What `scopegate status` shows.
    pub(super) fn status(&self) -> Value {
        let generation = self.generation.load();
        let servers_of = |site| -> Vec<Value> {
            let servers = generation.upstreams.status_of(site).into_iter();
            servers.map(|server| json!({"server": server.server, "healthy": server.healthy, "failures": server.failures})).collect()
        };
        let sites = generation.names.iter().enumerate();
        let log_of = |name| {
            let touch = self.store.ledger().touch(name);
            let age = touch.age.map(milliseconds);
            json!({"age_ms": age, "in_touch": touch.within_bound, "started_over": touch.started_over})
        };
        let sites = sites.map(|(index, name)| json!({"name": name, "servers": servers_of(index), "revocation_log": log_of(name)}));
        let sites: Vec<Value> = sites.collect();
        let gauges = &self.lobby.gauges;
        let certificates: Vec<Value> = self
            .tls
            .iter()
            .flat_map(|tls| tls.expiries())
            .map(|served| json!({"file": served.file, "names": served.names, "expires": served.expires.unix()}))
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "started": self.started.unix(),
            "sites": sites,
            "cache": {
                "entries": self.cached.len(),
                "hits": self.cached.hits(),
                "misses": self.cached.misses(),
                "served_known": self.cached.served_known(),
            },
            "connections": {
                "open": self.lobby.open(),
                "accepted": gauges.accepted.value(),
                "refused": gauges.refused_total.value() + gauges.refused_address.value(),
            },
            "certificates": certificates,
            "audit": {"lost": self.audit.lost(), "stuck": self.audit.stuck()},
        })
    }

    fn readings(&self) -> Vec<Reading> {
        let gauges = &self.lobby.gauges;
        let one = |name, help, kind, value| Reading { name, help, kind, values: vec![(Vec::new(), value)] };
        let labelled = |name, help, kind, label: &'static str, values: Vec<(&str, u64)>| Reading {
            name,
            help,
            kind,
            values: values.into_iter().map(|(of, value)| (vec![(label, of.to_owned())], value)).collect(),
        };
        let violations = Violation::ALL.into_iter().map(|violation| (violation.reason(), gauges.violations(violation))).collect();
        let refused = vec![
            ("total", gauges.refused_total.value()),
            ("address", gauges.refused_address.value()),
            ("untrusted", gauges.refused_untrusted.value()),
        ];
        let generation = self.generation.load();
        let ledger = self.store.ledger();
        let touches: Vec<_> = generation.names.iter().map(|name| (&**name, ledger.touch(name))).collect();
        let servers = generation.upstreams.status();
        let certificates = self.tls.iter().flat_map(|tls| tls.expiries());
        vec![
            one("connections_open", "Connections open now", Kind::Gauge, self.lobby.open() as u64),
            one("connections_accepted", "Connections accepted", Kind::Counter, gauges.accepted.value()),
            labelled("connections_refused", "Connections closed at once, by the bound they met", Kind::Counter, "bound", refused),
            one("connections_too_slow", "Connections cut off because the peer took in too little", Kind::Counter, gauges.too_slow.value()),
            one("connections_handed_over", "Connections given to a worker with fewer", Kind::Counter, gauges.handed_over.value()),
            one("accept_errors", "Connections that could not be accepted", Kind::Counter, gauges.accept_errors.value()),
            one("handshakes", "TLS handshakes", Kind::Counter, gauges.handshakes.value()),
            one("handshakes_resumed", "TLS handshakes that resumed a session", Kind::Counter, gauges.handshakes_resumed.value()),
            one("handshakes_failed", "TLS handshakes that failed", Kind::Counter, gauges.handshakes_failed.value()),
            labelled("violations", "What was no request, by what was wrong with it", Kind::Counter, "reason", violations),
            one("cache_entries", "Tokens in the cache", Kind::Gauge, self.cached.len()),
            one("cache_hits", "Tokens found in the cache", Kind::Counter, self.cached.hits()),
            one("cache_misses", "Tokens looked up in the store", Kind::Counter, self.cached.misses()),
            one("served_known", "Requests let in by what was known, while the store was lost", Kind::Counter, self.cached.served_known()),
            labelled(
                "revocation_log_age_seconds",
                "Time since the last complete read of the revocation log was sent; since the start where there was none",
                Kind::Seconds,
                "site",
                touches.iter().map(|(name, touch)| (*name, milliseconds(touch.age.unwrap_or(ledger.age())))).collect(),
            ),
            labelled(
                "revocation_started_over",
                "How often the revocation log had to be read from its beginning, because the store may have lost something",
                Kind::Counter,
                "site",
                touches.iter().map(|(name, touch)| (*name, touch.started_over)).collect(),
            ),
            one("audit_lost", "Audit lines that could not be written", Kind::Counter, self.audit.lost()),
            one("audit_stuck", "Whether the audit log does not take what it is given", Kind::Gauge, u64::from(self.audit.stuck())),
            Reading {
                name: "upstream_healthy",
                help: "Whether a server is asked",
                kind: Kind::Gauge,
                values: servers.into_iter().map(|server| (vec![("server", server.server)], u64::from(server.healthy))).collect(),
            },
            Reading {
                name: "certificate_expires_seconds",
                help: "When a certificate ends, since 1970",
                kind: Kind::Gauge,
                values: certificates.map(|served| (vec![("file", served.file.display().to_string())], served.expires.unix())).collect(),
            },
        ]
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
