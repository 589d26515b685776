//! SIGKILL in the middle of writes, many times: whatever was acknowledged is there when the gate is started again on its file.
//!
//! Several clients write at once, by the admin socket and by the OAuth endpoints, and keep account of what they were told. What was asked and
//! not answered may have taken place or not. The kill comes after a random number of acknowledgements; `SCOPEGATE_SEED` repeats a run's
//! choices, though never its timing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::gate::Gate;
use crate::support::provider::{App, CALLBACK, Frappe, Person, Provider, USER, encoded};
use crate::support::setup::{SITE, Setup};
use crate::support::{DEADLINE, signal};

const CLIENTS: usize = 4;
const ROUNDS: usize = 20;
/// The run ends after this, however many rounds that were.
const TIME_MAX: Duration = Duration::from_secs(12);
const ROUNDS_MIN: usize = 3;

/// How long after it was spent a refresh token is answered again; the gate's bound is 10 s.
const REPEATED: Duration = Duration::from_secs(8);

#[test]
fn whatever_was_acknowledged_survives_kill_9() {
    let mut random = Random::from_environment();
    let frappe = Frappe::start();
    let setup = Setup::embedded_at(&frappe.url())
        .config("[listen]\nbehind_proxy = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[log]\nlevel = \"info\"");
    let mut provider = Provider::begin(setup, frappe, "");
    let machine = provider.app("machine", "read", &["--grant-type", "client_credentials", "--user", "sync@example.com"]);
    let mut ledgers: Vec<Ledger> = (0..CLIENTS).map(|number| Ledger::begin(number, &mut random, &provider)).collect();

    let start = Instant::now();
    let (mut rounds, mut acknowledged) = (0, 0);
    while rounds < ROUNDS && (start.elapsed() < TIME_MAX || rounds < ROUNDS_MIN) {
        acknowledged += write_until_killed(&mut provider.gate, &mut ledgers, &machine, &mut random);
        if random.below(3) == 0 {
            provider.gate.kill_while_it_starts(Duration::from_millis(random.below(60)));
        }
        provider.gate.restart();
        let doors = Doors::of(&provider.gate);
        for ledger in &mut ledgers {
            ledger.check(&doors);
        }
        rounds += 1;
    }
    eprintln!("{rounds} kills, {acknowledged} acknowledged writes, {:?}", start.elapsed());
    assert!(acknowledged > 10 * rounds, "hardly anything was written");
    let log = provider.gate.log();
    // A write that was cut off is left out, and told with the word.
    let damaged = |line: &str| line.contains("damaged") && !line.contains("the last write is not whole and is left out");
    assert!(!log.contains("panicked") && !log.lines().any(damaged), "{log}");
}

/// Lets every client write, and kills the gate after some of them were told that it is done. Gives the number of acknowledgements.
fn write_until_killed(gate: &mut Gate, ledgers: &mut [Ledger], machine: &App, random: &mut Random) -> usize {
    let (wanted, moment) = (3 + random.below(60), Duration::from_micros(random.below(3_000)));
    let (doors, pid) = (Doors::of(gate), gate.pid());
    let count = thread::scope(|scope| {
        let (told, acknowledged) = mpsc::channel();
        for ledger in ledgers.iter_mut() {
            let (told, doors) = (told.clone(), &doors);
            scope.spawn(move || ledger.write(doors, machine, &told));
        }
        drop(told);
        for _ in 0..wanted {
            acknowledged.recv_timeout(DEADLINE).expect("the gate answers");
        }
        // Not at the moment of an answer, but somewhere in what comes next.
        let next = Instant::now() + moment;
        let mut more = 0;
        while let Some(left) = next.checked_duration_since(Instant::now())
            && acknowledged.recv_timeout(left).is_ok()
        {
            more += 1;
        }
        signal(pid, "KILL");
        // The clients end when nobody answers any more.
        wanted as usize + more + acknowledged.iter().count()
    });
    gate.wait_killed();
    count
}

/// What one client was told.
struct Ledger {
    name: String,
    /// The app of its refresh tokens.
    app: App,
    random: Random,
    live: Vec<String>,
    revoked: Vec<String>,
    /// Whether each is enabled; `None` for one that was deleted.
    clients: BTreeMap<String, Option<bool>>,
    created: usize,
    /// Its refresh token, used up and followed by the next.
    refresh: Option<String>,
    /// One that was sent and not answered, and when.
    unanswered: Option<(String, Instant)>,
    spent: Vec<String>,
    doomed: Grant,
}

/// A grant that is revoked at some time.
struct Grant {
    id: String,
    app: App,
    access: String,
    refresh: String,
    /// `None` where that was asked and not answered.
    revoked: Option<bool>,
}

impl Ledger {
    fn begin(number: usize, random: &mut Random, provider: &Provider) -> Self {
        let tokens = |app: &App| {
            let mut person = Person::new(provider);
            let code = person.allow(app, "read");
            let answer = provider.redeem(app, &code).json();
            ["access_token", "refresh_token"].map(|name| text(&answer, name).to_owned())
        };
        // A person has one grant to an app, so each has an app of its own.
        let app = provider.app(&format!("app-{number}"), "read", &["--redirect-uri", CALLBACK]);
        let [access, refresh] = tokens(&app);
        let other = provider.app(&format!("doomed-{number}"), "read", &["--redirect-uri", CALLBACK]);
        let [doomed, doomed_refresh] = tokens(&other);
        let shown = provider.gate.cli_json(&["token", "inspect", &doomed, "--site", SITE, "--json"]);
        let doomed =
            Grant { id: text(&shown, "grant").to_owned(), app: other, access: doomed, refresh: doomed_refresh, revoked: Some(false) };
        Self {
            name: format!("client-{number}"),
            app,
            random: Random(random.next() | 1),
            live: vec![access],
            revoked: Vec::new(),
            clients: BTreeMap::new(),
            created: 0,
            refresh: Some(refresh),
            unanswered: None,
            spent: Vec::new(),
            doomed,
        }
    }

    /// Writes until nobody answers; tells of each acknowledgement.
    fn write(&mut self, doors: &Doors, machine: &App, told: &Sender<()>) {
        while self.step(doors, machine).is_some() {
            // Whoever counts may have seen enough.
            let _ = told.send(());
        }
    }

    /// One write. What it touches is nobody's knowledge until the answer is there.
    fn step(&mut self, doors: &Doors, machine: &App) -> Option<()> {
        match self.random.below(9) {
            0 | 1 => {
                let new = json!({"client_id": "machine", "user": USER, "scope": "read"});
                let issued = doors.admin("POST", "/tokens", Some(&new))?.expect(200);
                self.live.push(text(&issued, "access_token").to_owned());
            }
            2 => {
                let form = [("grant_type", "client_credentials"), ("scope", "read")];
                let issued = doors.oauth("/oauth/token", machine, &form)?.expect(200);
                self.live.push(text(&issued, "access_token").to_owned());
            }
            3 if self.live.len() > 1 => {
                let token = self.live.swap_remove(self.random.below(self.live.len() as u64) as usize);
                doors.admin("POST", "/tokens/revoke", Some(&json!({"token": token})))?.expect(200);
                self.revoked.push(token);
            }
            4 => {
                let form = [("grant_type", "client_credentials"), ("scope", "read")];
                let issued = doors.oauth("/oauth/token", machine, &form)?.expect(200);
                let token = text(&issued, "access_token").to_owned();
                doors.oauth("/oauth/revoke", machine, &[("token", &token)])?.expect(200);
                self.revoked.push(token);
            }
            5 => {
                let id = format!("{}.{}", self.name, self.created);
                self.created += 1;
                let new = json!({"name": "App", "client_id": id, "scopes": "read"});
                doors.admin("POST", "/clients", Some(&new))?.expect(200);
                self.clients.insert(id, Some(true));
            }
            6 if !self.clients.is_empty() => {
                let at = self.random.below(self.clients.len() as u64) as usize;
                let (id, state) = self.clients.iter().nth(at).map(|(id, &state)| (id.clone(), state)).expect("it is there");
                let Some(enabled) = state else { return Some(()) };
                self.clients.remove(&id);
                let path = format!("/clients/{id}");
                let after = match self.random.below(4) {
                    0 => {
                        doors.admin("DELETE", &path, None)?.expect(200);
                        None
                    }
                    _ if enabled => {
                        doors.admin("POST", &format!("{path}/disable"), None)?.expect(200);
                        Some(false)
                    }
                    _ => {
                        doors.admin("POST", &format!("{path}/enable"), None)?.expect(200);
                        Some(true)
                    }
                };
                self.clients.insert(id, after);
            }
            7 if self.doomed.revoked != Some(true) && self.random.below(6) == 0 => {
                self.doomed.revoked = None;
                doors.admin("POST", &format!("/grants/{}/revoke", self.doomed.id), None)?.expect(200);
                self.doomed.revoked = Some(true);
            }
            _ => {
                let Some(refresh) = self.refresh.take() else { return Some(()) };
                self.unanswered = Some((refresh.clone(), Instant::now()));
                self.rotate(doors, &refresh)?;
            }
        }
        Some(())
    }

    fn rotate(&mut self, doors: &Doors, refresh: &str) -> Option<()> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
        let answer = doors.oauth("/oauth/token", &self.app, &form)?.expect(200);
        self.unanswered = None;
        self.spent.push(refresh.to_owned());
        self.live.push(text(&answer, "access_token").to_owned());
        self.refresh = Some(text(&answer, "refresh_token").to_owned());
        Some(())
    }

    /// Holds the gate to all of it.
    fn check(&mut self, doors: &Doors) {
        let inspect = |token: &str| doors.admin("POST", "/tokens/inspect", Some(&json!({"token": token}))).expect("the gate answers");
        for token in &self.live {
            assert_eq!(inspect(token).expect(200)["state"], "live", "a token that was issued");
        }
        for token in &self.revoked {
            assert_eq!(inspect(token).status, 404, "a token that was revoked");
            assert_eq!(doors.api(token), 401);
        }
        for (id, state) in &self.clients {
            let found = doors.admin("GET", &format!("/clients/{id}"), None).expect("the gate answers");
            match state {
                Some(enabled) => assert_eq!(found.expect(200)["enabled"], *enabled, "{id}"),
                None => assert_eq!(found.status, 404, "{id} was deleted"),
            }
        }
        if let Some((refresh, sent)) = self.unanswered.take() {
            // Its answer was lost, and is given now: again, or for the first time.
            if sent.elapsed() < REPEATED {
                self.rotate(doors, &refresh).expect("the gate answers");
            }
        }
        let active = |app: &App, token: &str| {
            let told = doors.oauth("/oauth/introspect", app, &[("token", token)]).expect("the gate answers").expect(200);
            told["active"].as_bool().expect("RFC 7662 section 2.2")
        };
        for refresh in &self.spent {
            assert!(!active(&self.app, refresh), "a refresh token that was spent is whole again");
        }
        if let Some(refresh) = &self.refresh {
            assert!(active(&self.app, refresh), "a refresh token that was issued");
        }
        let Grant { access, refresh, revoked, app: other, .. } = &self.doomed;
        if let Some(revoked) = *revoked {
            let lives = inspect(access).expect(200)["state"] == "live";
            assert_eq!((lives, active(other, refresh), doors.api(access)), if revoked { (false, false, 401) } else { (true, true, 200) });
        }
    }
}

/// Where the gate is asked.
struct Doors {
    admin: PathBuf,
    proxy: SocketAddr,
}

struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

impl Doors {
    fn of(gate: &Gate) -> Self {
        Self { admin: gate.setup.dir.path().join("admin.sock"), proxy: gate.ready.behind_proxy[0] }
    }

    /// An operation of the site; `None` where the answer does not come.
    fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let target = format!("/v1/sites/{SITE}{path}");
        exchange(connect(&self.admin)?, &request(method, &target, "Content-Type: application/json\r\n", &body))
    }

    fn oauth(&self, path: &str, app: &App, form: &[(&str, &str)]) -> Option<Answer> {
        let mut whole = vec![("client_id", app.id.as_str()), ("client_secret", app.secret.as_deref().expect("a secret"))];
        whole.extend_from_slice(form);
        let headers = format!("{PROXIED}Content-Type: application/x-www-form-urlencoded\r\n");
        exchange(TcpStream::connect(self.proxy).ok()?, &request("POST", path, &headers, &encoded(&whole)))
    }

    fn api(&self, token: &str) -> u16 {
        let headers = format!("{PROXIED}Authorization: Bearer {token}\r\n");
        let stream = TcpStream::connect(self.proxy).expect("the gate listens");
        exchange(stream, &request("GET", "/api/resource/Item", &headers, "")).expect("the gate answers").status
    }
}

const PROXIED: &str = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n";

fn connect(socket: &Path) -> Option<UnixStream> {
    UnixStream::connect(socket).ok()
}

fn request(method: &str, target: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nHost: {SITE}\r\n{headers}{length}Connection: close\r\n\r\n{body}")
}

/// One request and its whole answer; `None` where that is cut off.
fn exchange(mut stream: impl Read + Write, request: &str) -> Option<Answer> {
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok())?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() == length).then(|| Answer { status, body: serde_json::from_str(body).unwrap_or(Value::Null) })
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("`{key}` in {value}"))
}

/// xorshift64*: the same choices for the same seed.
struct Random(u64);

impl Random {
    fn from_environment() -> Self {
        let given = std::env::var("SCOPEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            aws_lc_rs::rand::fill(&mut bytes).expect("the system has random bytes");
            u64::from_ne_bytes(bytes) | 1
        });
        eprintln!("SCOPEGATE_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
