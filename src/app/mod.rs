//! A checked configuration in, everything built and wired, then run until shutdown.
//!
//! Whatever can fail fails in [`App::build`], before a port is open. One thread for each worker, with a runtime of its own, serves
//! connections; one more runtime does everything that is no request: the store, health checks, the admin socket, metrics, signals.

pub mod demo;
pub mod observe;
pub mod sites;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin;
use crate::admin::operations::Admin;
use crate::app::sites::{Generation, Ingredients, Registry};
use crate::audit::{self, Audit};
use crate::config::checked::{self, Config};
use crate::config::rules::admin_rules;
use crate::exchange::held::{Bodies, HELD_BYTES_MAX};
use crate::gateway::credential::ClientKeys;
use crate::gateway::site_tokens::KeptTokens;
use crate::limiter::Clock;
use crate::listener::accept::{self, Shared as Lobby};
use crate::listener::certificate::CertificateFiles;
use crate::listener::connection::Entrance;
use crate::listener::drain::Drain;
use crate::listener::socket::{self, Listen};
use crate::listener::tls::{Tls, TlsSettings, TlsVersion};
use crate::policy::time::Timestamp;
use crate::router::Front;
use crate::store::cached::CachedStore;
use crate::store::follower::Follower;
use crate::store::ledger::Terms;
use crate::store::origins::Origins;
use crate::store::seal::SealKey;
use crate::store::{self, Store};
use crate::telemetry::{self, RequestIds, WorkerCounters};

/// Bad configuration, or something it names that is not as it should be (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;
pub const EXIT_FAILED: u8 = 1;

/// Threads of the runtime for everything that is no request.
const CONTROL_THREADS: usize = 2;

/// signal(7): a file would be larger than `RLIMIT_FSIZE`.
const SIGXFSZ: i32 = 25;

/// How long a start waits for the revocation logs.
const FIRST_READS_MAX: Duration = Duration::from_secs(5);

/// Why the gate does not run, or no longer.
#[derive(Debug)]
pub struct Failure {
    pub exit: u8,
    pub message: String,
}

impl Failure {
    pub fn config(message: impl ToString) -> Self {
        Self { exit: EXIT_CONFIG, message: message.to_string() }
    }

    pub fn failed(message: impl ToString) -> Self {
        Self { exit: EXIT_FAILED, message: message.to_string() }
    }
}

/// Everything built, nothing running.
pub struct App {
    control: Runtime,
    config_file: Option<PathBuf>,
    running: Arc<Running>,
    workers: Vec<accept::Worker>,
    admin: (UnixListener, Arc<Admin>),
    metrics: Option<TcpListener>,
    signals: Signals,
}

/// What an operator or a service manager sends. What comes while nobody listens yet is kept.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    reopen: Signal,
    /// Never asked for: it is caught so that a bound on the size of files (`LimitFSIZE`) is an error of the write, and not the end.
    _file_too_large: Signal,
}

/// What lives as long as the process, whatever is reloaded.
pub struct Running {
    started: Timestamp,
    pub store: Arc<dyn Store>,
    pub cached: Arc<CachedStore>,
    pub audit: Audit,
    pub lobby: Arc<Lobby>,
    pub tls: Option<Arc<Tls>>,
    pub counters: Vec<Arc<WorkerCounters>>,
    fronts: Vec<Front>,
    pub drain: Drain,
    registry: Mutex<Registry>,
    ingredients: Ingredients,
    follower: Follower,
    /// What was read last; a reload is held against it.
    config: Mutex<Config>,
    pub generation: ArcSwap<Generation>,
}

/// `scopegate serve`: until SIGTERM, or a failure.
pub fn serve(config_file: &Path, ready_json: bool) -> Result<(), Failure> {
    let (config, warnings) = load(config_file)?;
    telemetry::start_logging(config.log.level, config.log.format == checked::LogFormat::Json);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let app = App::build(config, Some(config_file.to_owned()))?;
    if ready_json {
        let mut out = std::io::stdout().lock();
        // A reader that went away is no reason not to serve.
        let _ = writeln!(out, "{}", app.addresses()).and_then(|()| out.flush());
    }
    app.run()
}

/// Reads the configuration file and the environment.
pub fn load(file: &Path) -> Result<(Config, Vec<crate::config::report::Warning>), Failure> {
    let environment = crate::config::environment().map_err(Failure::config)?;
    crate::config::load(file, environment.into_iter()).map_err(Failure::config)
}

impl App {
    /// Opens everything that the configuration names. Ports come last.
    pub fn build(config: Config, config_file: Option<PathBuf>) -> Result<Self, Failure> {
        // Taken out of the environment first, while there are no other threads.
        let inherited = socket::inherited();
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
        let now = Timestamp::from_unix(audit::now().as_secs());
        let tls = load_tls(&config, now)?;
        let seal = config.encryption_key.as_ref().map(|key| SealKey::from_hex(key.reveal())).transpose().map_err(Failure::config)?;
        let seal = seal.map(Arc::new);
        let told = |key: &str, error: String| Failure::config(config.places.tell(key, error));
        let store = control.block_on(store::open(&config.store)).map_err(|error| Failure::config(config.tell_store(&error)))?;
        let audit = Audit::open(&config.audit, config.listen.workers).map_err(|error| told("audit.file", error))?;
        let cached = Arc::new(CachedStore::new(store.clone(), &config.store));
        let counters: Vec<_> = (0..config.listen.workers).map(|_| Arc::new(WorkerCounters::default())).collect();
        let ingredients = Ingredients {
            store: cached.clone(),
            keys: Arc::new(ClientKeys::new(store.clone(), seal.clone(), config.store.revocation_bound, config.store.serve_known)),
            site_tokens: Arc::new(KeptTokens::new(
                store.clone(),
                seal.clone(),
                config.store.revocation_bound,
                config.store.serve_known.unwrap_or_default(),
            )),
            origins: Arc::new(Origins::new(store.clone(), config.store.revocation_bound)),
            seal: seal.clone(),
            bodies: Bodies::new(HELD_BYTES_MAX),
            clock: Clock::start(),
            complaints: Arc::default(),
            memory: Arc::default(),
        };
        let mut registry = Registry::default();
        // Which port a redirect names is known when it is bound; everything else is settled before.
        let mut generation = Generation::new(&config, None, &mut registry, &ingredients, None).map_err(Failure::config)?;
        let doors = socket::open(&listens(&config), config.listen.workers, inherited);
        let doors = doors.map_err(|error| told(&format!("listen.{}", error.entrance().key()), error.to_string()))?;
        let (lobby, workers) = accept::assemble(config.bounds.clone(), config.listen.trusted_proxies.clone(), tls.clone(), doors);
        generation.https_port = https_port(&config, workers.first());
        store.ledger().follow(Terms { bound: config.store.revocation_bound, patience: config.store.lookup_timeout });
        let follower = Follower::new(cached.clone(), config.store.revocation_bound, control.handle().clone());
        for name in &generation.names {
            follower.follow(registry.id(name), name);
        }
        control.block_on(first_reads(&*store, &generation.names));
        let logs = |index| audit.log(index);
        let fronts = (0..config.listen.workers)
            .map(|index| {
                let table = generation.table(logs(index), counters[index].clone());
                Ok(Front { table: Arc::new(ArcSwap::from_pointee(table)), ids: Arc::new(RequestIds::new(random()?)) })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let rules = admin_rules(&config, |name| registry.id(name));
        let guard = control.enter();
        let admin_socket = admin::socket::bind(&config.admin.socket).map_err(|error| told("admin.socket", error))?;
        // In place before anybody is told that it runs: the first SIGHUP must not end it.
        let signals = Signals::catch().map_err(|error| Failure::failed(format!("signals cannot be received: {error}")))?;
        drop(guard);
        let metrics = config.metrics.listen.map(|address| {
            let bind = control.block_on(TcpListener::bind(address));
            bind.map_err(|error| {
                let problem = format!("cannot listen on {address}: {error}; stop what has the port, or write another, or \"off\"");
                told("metrics.listen", problem)
            })
        });
        let metrics = metrics.transpose()?;
        let running = Arc::new(Running {
            started: now,
            store: store.clone(),
            cached: cached.clone(),
            audit,
            lobby,
            tls,
            counters,
            fronts,
            drain: Drain::new(),
            registry: Mutex::new(registry),
            ingredients,
            follower,
            config: Mutex::new(config),
            generation: ArcSwap::from_pointee(generation),
        });
        let told = Arc::downgrade(&running);
        let status = Box::new(move || told.upgrade().map_or(json!({}), |running| running.status()));
        let admin = Arc::new(Admin::new(rules, store, Some(cached), seal, status));
        Ok(Self { control, config_file, running, workers, admin: (admin_socket, admin), metrics, signals })
    }

    /// Where it listens, for scripts: one line of JSON.
    pub fn addresses(&self) -> serde_json::Value {
        let of = |entrance| -> Vec<String> {
            self.workers
                .first()
                .map(|worker| {
                    worker.listens().filter(|listen| listen.entrance == entrance).map(|listen| listen.address.to_string()).collect()
                })
                .unwrap_or_default()
        };
        let metrics = self.metrics.as_ref().and_then(|listener| listener.local_addr().ok()).map(|address| address.to_string());
        let config = self.running.config.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "https": of(Entrance::Https),
            "http": of(Entrance::Http),
            "behind_proxy": of(Entrance::BehindProxy),
            "metrics": metrics,
            "admin": config.admin.socket,
        })
    }

    /// Where it listens, for people: `https 0.0.0.0:8443, http 0.0.0.0:8080, metrics 127.0.0.1:9464`.
    fn listening(&self) -> String {
        let doors = self.workers.first().into_iter().flat_map(accept::Worker::listens);
        let doors = doors.map(|listen| format!("{} {}", listen.entrance.name(), listen.address));
        let metrics = self.metrics.as_ref().and_then(|listener| listener.local_addr().ok()).map(|address| format!("metrics {address}"));
        doors.chain(metrics).collect::<Vec<_>>().join(", ")
    }

    /// Runs until a signal says to stop; then finishes what is in flight, within `drain_timeout`.
    pub fn run(self) -> Result<(), Failure> {
        let listening = self.listening();
        let Self { control, config_file, running, workers, admin: (socket, admin), metrics, signals } = self;
        let stop = running.drain.clone();
        running.audit.begin();
        control.spawn(admin::http::serve(socket, admin.clone(), async move { stop.wait().await }));
        if let Some(listener) = metrics {
            control.spawn(observe::serve(listener, running.clone()));
        }
        control.spawn(flush(running.clone()));
        control.spawn(tidy(running.cached.clone()));
        control.spawn(obey(signals, running.clone(), admin.clone(), config_file));
        running.generation.load().watch(&control.handle().clone());
        let threads = workers
            .into_iter()
            .enumerate()
            .map(|(index, worker)| serve_on_thread(index, worker, &running))
            .collect::<Result<Vec<_>, _>>()?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), workers = threads.len(), listening, "ready");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let mut result = Ok(());
        let mut cut = 0;
        for thread in threads {
            match thread.join() {
                Ok(Ok(count)) => cut += count,
                Ok(Err(error)) => {
                    running.drain.begin();
                    result = Err(Failure::failed(format!("a worker failed: {error}")));
                }
                Err(_) => {
                    running.drain.begin();
                    result = Err(Failure::failed("a worker panicked"));
                }
            }
        }
        tracing::info!(cut, "stopped");
        running.generation.load().stop();
        control.block_on(running.follower.leave());
        control.shutdown_timeout(Duration::from_secs(1));
        running.audit.close();
        result
    }
}

fn serve_on_thread(
    index: usize,
    worker: accept::Worker,
    running: &Arc<Running>,
) -> Result<std::thread::JoinHandle<std::io::Result<u64>>, Failure> {
    let (lobby, front, drain) = (running.lobby.clone(), running.fronts[index].clone(), running.drain.clone());
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(accept::run(worker, lobby, front, drain))
    };
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(serve).map_err(|error| Failure::failed(format!("no thread: {error}")))
}

async fn flush(running: Arc<Running>) {
    let mut tick = tokio::time::interval(audit::FLUSH_INTERVAL);
    loop {
        tick.tick().await;
        running.audit.flush();
    }
}

/// Lets go of tokens that nobody shows any more.
async fn tidy(cached: Arc<CachedStore>) {
    loop {
        tokio::time::sleep(cached.idle()).await;
        cached.forget_idle();
    }
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            _file_too_large: signal(SignalKind::from_raw(SIGXFSZ))?,
        })
    }
}

/// TERM and INT drain, HUP reloads, USR1 reopens the audit file.
async fn obey(mut signals: Signals, running: Arc<Running>, admin: Arc<Admin>, config_file: Option<PathBuf>) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hangup.recv() => {
                let (running, admin, file) = (running.clone(), admin.clone(), config_file.clone());
                let reload = tokio::task::spawn_blocking(move || running.reload(&admin, file.as_deref()));
                if reload.await.is_err() {
                    tracing::error!("the reload failed; the old configuration stays");
                }
            }
            _ = signals.reopen.recv() => running.audit.reopen(),
        }
    }
    tracing::info!("draining");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    running.drain.begin();
}

impl Running {
    /// Reads configuration and certificates again. Whatever is wrong with the new ones, the old ones stay.
    fn reload(&self, admin: &Admin, file: Option<&Path>) {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Reloading]);
        if let Err(message) = self.try_reload(admin, file) {
            tracing::error!("reload refused, the old configuration stays: {message}");
        } else {
            tracing::info!("reloaded");
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    fn try_reload(&self, admin: &Admin, file: Option<&Path>) -> Result<(), String> {
        let Some(file) = file else { return Ok(()) };
        let (config, warnings) = load(file).map_err(|failure| failure.message)?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let mut current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        for (section, same) in [
            ("listen", format!("{:?}", current.listen) == format!("{:?}", config.listen)),
            ("bounds", format!("{:?}", current.bounds) == format!("{:?}", config.bounds)),
            ("store", format!("{:?}", current.store) == format!("{:?}", config.store) && current.encryption_key == config.encryption_key),
            ("audit", format!("{:?}", current.audit) == format!("{:?}", config.audit)),
            ("metrics", format!("{:?}", current.metrics) == format!("{:?}", config.metrics)),
            ("admin", format!("{:?}", current.admin) == format!("{:?}", config.admin)),
            ("log", format!("{:?}", current.log) == format!("{:?}", config.log)),
            ("tls", current.tls.min_version == config.tls.min_version),
        ] {
            if !same {
                tracing::warn!("[{section}] has changed and takes a restart; the rest is taken over now");
            }
        }
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.generation.load();
        let generation = Generation::new(&config, before.https_port, &mut registry, &self.ingredients, Some(&**before))?;
        for name in &generation.names {
            self.follower.follow(registry.id(name), name);
        }
        if let Some(tls) = &self.tls {
            let now = Timestamp::from_unix(audit::now().as_secs());
            tls.reload(&certificate_files(&config), now).map_err(|error| config.tell_tls(&error))?;
        }
        for (index, front) in self.fronts.iter().enumerate() {
            front.table.store(Arc::new(generation.table(self.audit.log(index), self.counters[index].clone())));
        }
        if let Ok(handle) = tokio::runtime::Handle::try_current() {
            generation.watch(&handle);
        }
        self.generation.swap(Arc::new(generation)).stop();
        admin.replace_rules(admin_rules(&config, |name| registry.id(name)));
        *current = config;
        Ok(())
    }
}

/// Waits until the revocation log of each site was read once, so that the first requests need not. A site whose log cannot be read lets
/// nobody in, and comes by itself.
async fn first_reads(store: &dyn Store, sites: &[Arc<str>]) {
    let all = async {
        for site in sites {
            while store.ledger().vouch(site).await.is_err() {}
        }
    };
    if tokio::time::timeout(FIRST_READS_MAX, all).await.is_err() {
        tracing::warn!("a revocation log could not be read yet; its site answers 503 until it is");
    }
}

fn load_tls(config: &Config, now: Timestamp) -> Result<Option<Arc<Tls>>, Failure> {
    if config.listen.https.is_empty() {
        return Ok(None);
    }
    let min_version = match config.tls.min_version {
        checked::TlsVersion::V1_2 => TlsVersion::V1_2,
        checked::TlsVersion::V1_3 => TlsVersion::V1_3,
    };
    let settings = TlsSettings { certificates: certificate_files(config), min_version };
    Tls::load(&settings, now).map(|tls| Some(Arc::new(tls))).map_err(|error| Failure::config(config.tell_tls(&error)))
}

fn certificate_files(config: &Config) -> Vec<CertificateFiles> {
    let files = config.tls.certificates.iter();
    files.map(|files| CertificateFiles { cert_file: files.cert_file.clone(), key_file: files.key_file.clone() }).collect()
}

fn listens(config: &Config) -> Vec<Listen> {
    let listen = &config.listen;
    let of = |entrance, addresses: &[std::net::SocketAddr]| {
        addresses.iter().map(move |&address| Listen { entrance, address, proxy_protocol: listen.proxy_protocol }).collect::<Vec<_>>()
    };
    [of(Entrance::Https, &listen.https), of(Entrance::Http, &listen.http), of(Entrance::BehindProxy, &listen.behind_proxy)].concat()
}

/// The port that a redirect names: the one that clients know, or else the one that was bound; none for 443.
fn https_port(config: &Config, worker: Option<&accept::Worker>) -> Option<u16> {
    let bound = || worker?.listens().find(|listen| listen.entrance == Entrance::Https).map(|listen| listen.address.port());
    config.listen.https_public_port.or_else(bound).filter(|&port| port != 443)
}

fn random() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::failed("the system gives no random bytes"))?;
    Ok(u64::from_ne_bytes(bytes))
}
