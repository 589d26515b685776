//! A scenario under way: the fleet, the load on it, the tokens of all kinds, and what has been done to each so far.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::gate::token_key;
use crate::support::setup::SITE;
use crate::support::{eventually, now};

use super::fleet::{A, BOTH, Fleet};
use super::load::{Answer, Load, RATE};
use super::oracle::{Call, Fate, Outage, Story};
use super::servers::{Data, Servers, client_keys, log_key};
use super::{BOUND, RECOVERY_MAX};

/// The clients: one that nothing happens to, whose keys leave one node of a Cluster to be without them and the log; and those that something
/// happens to.
pub const PLAIN: &str = "quiet";
pub const SWITCHED: &str = "switched";
pub const ROTATED: &str = "rotated";
pub const DELETED: &str = "deleted";
const CLIENTS: [&str; 4] = [PLAIN, SWITCHED, ROTATED, DELETED];

/// Tokens of the first client: ones that are revoked one by one, ones of users who are, ones of grants that are.
const SINGLES: usize = 4;
const LEAVERS: usize = 3;
const GRANTS: usize = 3;

/// Nothing here takes this long where the contract holds.
const WAIT_MAX: Duration = Duration::from_secs(10);

pub struct Scene<S> {
    // The clients end before the gates do.
    load: Load,
    pub fleet: Fleet<S>,
    began: Instant,
    /// By the number of the token.
    tokens: Vec<Token>,
    outages: Vec<Outage>,
    saved: Instant,
    patience: Duration,
}

/// A token that was issued and not shown yet.
pub struct Stashed {
    pub secret: String,
    user: String,
    stored: Instant,
}

struct Token {
    secret: String,
    stored: Instant,
    client: &'static str,
    user: String,
    fate: Fate,
}

impl<S: Servers> Scene<S> {
    /// Two gates with the default contract, every kind of token, and all of them as they should be.
    pub fn begin(servers: S) -> Self {
        Self::with(servers, "", BOUND)
    }

    /// The same with `store` over the `[store]` section, where gates may go on for `patience` without their store.
    pub fn with(servers: S, store: &str, patience: Duration) -> Self {
        let mut scene = Self::bare(servers, store, patience, RATE);
        for number in 0..6 {
            scene.issue(&format!("live-{number}"), PLAIN, &format!("user{number}@example.test"), None);
        }
        for number in 0..SINGLES {
            scene.issue(&format!("single-{number}"), PLAIN, "single@example.test", None);
        }
        for number in 0..LEAVERS {
            scene.issue(&format!("leaver-{number}"), PLAIN, &leaver(number), None);
        }
        for number in 0..GRANTS {
            scene.grant(&grant(number));
        }
        for client in [SWITCHED, ROTATED, DELETED] {
            scene.issue(client, client, "sam@example.test", None);
        }
        for seconds in [2, 4, 6] {
            scene.issue(&format!("brief-{seconds}"), PLAIN, "brief@example.test", Some(seconds));
        }
        for number in 0..2 {
            scene.invent(&format!("unknown-{number}"));
        }
        scene.settles_since(scene.began);
        scene
    }

    /// No token yet.
    pub fn bare(servers: S, store: &str, patience: Duration, rate: u32) -> Self {
        let began = Instant::now();
        let fleet = Fleet::start(servers, store);
        let load = Load::begin(BOTH.map(|gate| fleet.gates[gate].ready.behind_proxy[0]), rate);
        let scene = Self { load, fleet, began, tokens: Vec::new(), outages: Vec::new(), saved: began, patience };
        CLIENTS.iter().for_each(|client| scene.register(client));
        scene
    }

    /// Makes a client of that id.
    pub fn register(&self, id: &str) {
        let made = self.made("/clients", &json!({"name": "App", "client_id": id, "scopes": "all"}));
        self.keep_secret(made["client_secret"].as_str().expect("a secret"));
    }

    /// A token of the first client that is shown to nobody yet.
    pub fn stash(&self, user: &str) -> Stashed {
        let made = self.made("/tokens", &json!({"client_id": PLAIN, "user": user, "scope": "read"}));
        let secret = made["access_token"].as_str().expect("a token").to_owned();
        self.keep_secret(&secret);
        Stashed { secret, user: user.to_owned(), stored: Instant::now() }
    }

    pub fn show(&mut self, name: &str, stashed: Stashed) {
        let Stashed { secret, user, stored } = stashed;
        self.enter(name, secret, PLAIN, &user, true, None);
        self.tokens.last_mut().expect("it was entered").stored = stored;
    }

    /// Issues a token and shows it from now on.
    pub fn issue(&mut self, name: &str, client: &'static str, user: &str, seconds: Option<u64>) {
        let wanted = json!({"client_id": client, "user": user, "scope": "read", "expires_in": seconds});
        let made = self.made("/tokens", &wanted);
        let secret = made["access_token"].as_str().expect("a token").to_owned();
        let expires = seconds.and_then(|_| made["expires_at"].as_u64()).map(instant_of);
        self.enter(name, secret, client, user, true, expires);
    }

    /// What an operation makes, as soon as the gate trusts its store.
    fn made(&self, path: &str, wanted: &Value) -> Value {
        let mut made = None;
        eventually(path, || {
            let answer = self.fleet.admin(A).post(path, wanted);
            assert!(answer.done() || answer.status == 503, "{path}: {answer:?}");
            made = answer.done().then_some(answer.body);
            made.is_some()
        });
        made.expect("it was made")
    }

    /// A token of a grant of that id. Both records are written as another tool would: the gate's own way is a sign-in.
    fn grant(&mut self, id: &str) {
        let (secret, user, now) = (self.fleet.gates[A].unknown_token(), "granting@example.test", now());
        let grant = json!({"v": 1, "id": id, "client": PLAIN, "user": user, "scopes": "read", "created": now, "used": now});
        self.fleet.servers.put(&format!("sg:{SITE}:grant:{id}"), &grant);
        let token = json!({"v": 1, "client": PLAIN, "user": user, "scopes": "read", "grant": id, "iat": now, "exp": now + 3600});
        self.fleet.servers.put(&token_key(&secret), &token);
        self.enter(id, secret, PLAIN, user, true, None);
    }

    /// A token that nobody issued.
    fn invent(&mut self, name: &str) {
        let secret = self.fleet.gates[A].unknown_token();
        self.enter(name, secret, "", "", false, None);
    }

    fn enter(&mut self, name: &str, secret: String, client: &'static str, user: &str, issued: bool, expires: Option<Instant>) {
        self.keep_secret(&secret);
        let fate = Fate { name: name.to_owned(), issued, expires, endings: Vec::new(), gone: None };
        let number = self.load.show(&secret);
        assert_eq!(number, self.tokens.len(), "tokens are shown in their order");
        self.tokens.push(Token { secret, stored: Instant::now(), client, user: user.to_owned(), fate });
    }

    fn keep_secret(&self, secret: &str) {
        self.fleet.gates.iter().for_each(|gate| gate.keep_secret(secret));
    }

    // --- what ends tokens; each gives whether it was done ---

    pub fn revoke(&mut self, gate: usize, name: &str) -> bool {
        let secret = self.tokens.iter().find(|token| token.fate.name == name).expect("a token of that name").secret.clone();
        self.end(gate, "/tokens/revoke", &json!({"token": secret}), |token| token.fate.name == name)
    }

    /// The user of one of the tokens `leaver-…`.
    pub fn revoke_leaver(&mut self, gate: usize, number: usize) -> bool {
        let user = leaver(number);
        self.end(gate, "/users/revoke", &json!({"user": user}), |token| token.user == user)
    }

    pub fn revoke_grant(&mut self, gate: usize, number: usize) -> bool {
        let id = grant(number);
        self.end(gate, &format!("/grants/{id}/revoke"), &Value::Null, |token| token.fate.name == id)
    }

    pub fn rotate(&mut self, gate: usize) -> bool {
        let path = format!("/clients/{ROTATED}/rotate-secret");
        self.end(gate, &path, &json!({"revoke_tokens": true}), |token| token.client == ROTATED)
    }

    pub fn disable(&mut self, gate: usize) -> bool {
        self.end(gate, &format!("/clients/{SWITCHED}/disable"), &Value::Null, |token| token.client == SWITCHED)
    }

    pub fn enable(&mut self, gate: usize) -> bool {
        let asked = Instant::now();
        let done = self.fleet.admin(gate).post(&format!("/clients/{SWITCHED}/enable"), &Value::Null).done();
        let told = done.then(Instant::now);
        for token in self.tokens.iter_mut().filter(|token| token.client == SWITCHED) {
            for (_, undone) in token.fate.endings.iter_mut().filter(|(_, undone)| undone.is_none_or(|undone| undone.told.is_none())) {
                *undone = Some(Call { asked: undone.map_or(asked, |before| before.asked), told });
            }
        }
        done
    }

    pub fn delete(&mut self, gate: usize) -> bool {
        let asked = Instant::now();
        let done = self.fleet.admin(gate).delete(&format!("/clients/{DELETED}")).done();
        self.note(asked, done, |token| token.client == DELETED)
    }

    fn end(&mut self, gate: usize, path: &str, body: &Value, whom: impl Fn(&Token) -> bool) -> bool {
        let asked = Instant::now();
        let done = self.fleet.admin(gate).post(path, body).done();
        self.note(asked, done, whom)
    }

    /// A call that did not say that it was done may have been done, now or later.
    fn note(&mut self, asked: Instant, done: bool, whom: impl Fn(&Token) -> bool) -> bool {
        let told = done.then(Instant::now);
        let ended: Vec<&mut Token> = self.tokens.iter_mut().filter(|token| whom(token)).collect();
        assert!(!ended.is_empty(), "that ends no token");
        ended.into_iter().for_each(|token| token.fate.endings.push((Call { asked, told }, None)));
        done
    }

    // --- what happens to the store ---

    /// From now on `gates` cannot ask the store.
    pub fn loses(&mut self, gates: &[usize], fault: impl FnOnce(&mut S)) {
        fault(&mut self.fleet.servers);
        let from = Instant::now();
        let reached = (0..self.tokens.len()).filter(|number| !self.is_struck(*number)).collect();
        let followed = !self.fleet.servers.struck(&log_key());
        self.outages.push(Outage { gates: gates.to_vec(), from, until: None, healed: None, followed, reached });
    }

    /// Ends the outage.
    pub fn heals(&mut self, remedy: impl FnOnce(&mut S)) {
        let until = Instant::now();
        remedy(&mut self.fleet.servers);
        let outage = self.outages.last_mut().filter(|outage| outage.until.is_none()).expect("there is an outage");
        (outage.until, outage.healed) = (Some(until), Some(Instant::now()));
    }

    /// Takes down what the servers hold.
    pub fn saves<T>(&mut self, save: impl FnOnce(&mut S) -> T) -> T {
        let saved = save(&mut self.fleet.servers);
        self.saved = Instant::now();
        saved
    }

    /// Ends the outage of servers that were killed.
    pub fn restarts(&mut self, data: Data) {
        self.comes_back(data, |servers| servers.restart(data));
    }

    /// From one moment to the next the store has other data, and never was away.
    pub fn becomes(&mut self, data: Data, change: impl FnOnce(&mut S)) {
        self.loses(&BOTH, |_| ());
        self.comes_back(data, change);
    }

    /// Ends the outage in any way that leaves the store with that.
    pub fn comes_back(&mut self, data: Data, remedy: impl FnOnce(&mut S)) {
        let gone = Instant::now();
        self.heals(remedy);
        for token in &mut self.tokens {
            let had = match data {
                Data::Kept => true,
                Data::Lost => false,
                Data::Saved => token.stored <= self.saved,
            };
            if !had && self.fleet.servers.struck(&token_key(&token.secret)) {
                token.fate.gone = Some(gone);
            }
        }
    }

    /// Whether what is done to servers is done to a record that this token needs.
    fn is_struck(&self, number: usize) -> bool {
        let Token { secret, client, fate, .. } = &self.tokens[number];
        let struck = |key: &str| self.fleet.servers.struck(key);
        struck(&token_key(secret)) || (fate.issued && client_keys(client).iter().any(|key| struck(key)))
    }

    // --- what is waited for ---

    /// Everything is as it should be at both gates, at most [`RECOVERY_MAX`] after the outage was ended.
    pub fn recovers(&self) {
        let healed = self.outages.last().and_then(|outage| outage.healed).expect("an outage has ended");
        self.settles_since(healed);
        let took = healed.elapsed();
        assert!(took <= RECOVERY_MAX, "{took:?} until everything was as it should be");
    }

    /// From now on: each token that lives has passed, and each one that is over was refused, at both gates.
    pub fn settles(&self) {
        self.settles_since(Instant::now());
    }

    fn settles_since(&self, since: Instant) {
        for (number, token) in self.tokens.iter().enumerate() {
            let wanted = match &token.fate {
                fate if fate.lives() => 200,
                fate if fate.is_over(since) => 401,
                _ => continue,
            };
            for gate in BOTH {
                self.waits_for(&format!("{} gets {wanted} from gate {gate}", token.fate.name), |answer| {
                    (answer.token, answer.gate, answer.status) == (number, gate, wanted) && answer.sent >= since
                });
            }
        }
    }

    /// Every token that lives is refused for lack of a store.
    pub fn is_refused(&self, gates: &[usize]) {
        let since = Instant::now();
        for (number, token) in self.tokens.iter().enumerate().filter(|(_, token)| token.fate.lives()) {
            for &gate in gates {
                self.waits_for(&format!("{} gets 503 from gate {gate}", token.fate.name), |answer| {
                    (answer.token, answer.gate, answer.status) == (number, gate, 503) && answer.sent >= since
                });
            }
        }
    }

    /// From now on each token whose name begins like that is answered so by both gates.
    pub fn get(&self, name: &str, status: u16) {
        let since = Instant::now();
        for token in self.numbers(name) {
            for gate in BOTH {
                self.waits_for(&format!("{} gets {status} from gate {gate}", self.tokens[token].fate.name), |answer| {
                    (answer.token, answer.gate, answer.status) == (token, gate, status) && answer.sent >= since
                });
            }
        }
    }

    fn waits_for(&self, what: &str, like: impl Fn(&Answer) -> bool) {
        let start = Instant::now();
        eventually(what, || {
            let came = self.load.saw(&like);
            if !came && start.elapsed() > WAIT_MAX {
                // What was seen says more than what was not.
                self.judge();
                panic!("{what}: not within {WAIT_MAX:?}");
            }
            came
        });
    }

    /// Lets `time` pass since the store was lost, because the contract speaks of it.
    pub fn lasts(&self, time: Duration) {
        let from = self.outages.last().expect("there is an outage").from;
        eventually("time passes", || from.elapsed() >= time);
    }

    /// Lets `time` pass under load, for what shows itself later.
    pub fn goes_on(&self, time: Duration) {
        let from = Instant::now();
        eventually("time passes", || from.elapsed() >= time);
    }

    /// The tokens whose names begin like that.
    pub fn numbers(&self, name: &str) -> Vec<usize> {
        (0..self.tokens.len()).filter(|&number| self.tokens[number].fate.name.starts_with(name)).collect()
    }

    /// Ends the load and judges what was seen. Gives the answers, for what a scenario wants to know besides.
    pub fn ends(mut self) -> Vec<Answer> {
        // What was revoked last is watched for longer than it may live.
        self.goes_on(2 * BOUND);
        self.load.end();
        self.judge();
        self.load.answers()
    }

    fn judge(&self) {
        let fates: Vec<Fate> = self.tokens.iter().map(|token| token.fate.clone()).collect();
        let (answers, arrivals) = (self.load.answers(), self.fleet.arrivals());
        let Self { began, outages, patience, .. } = self;
        Story { began: *began, fates: &fates, outages, arrivals: &arrivals, answers: &answers, patience: *patience }.judge();
    }
}

/// The id of a grant, and the name of its token.
fn grant(number: usize) -> String {
    format!("grant-{number}")
}

/// The user of a token of that name.
pub fn leaver(number: usize) -> String {
    format!("leaver{number}@example.test")
}

/// The instant of a second of the day's clock.
fn instant_of(second: u64) -> Instant {
    let now = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970"));
    now.0 + Duration::from_secs(second).saturating_sub(now.1)
}
