//! Gateways, the place where they keep everything, and the steps that are taken.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::Connection;
use tempfile::TempDir;
use tokio::task::yield_now;

use crate::policy::token::TokenHash;
use crate::store::RedisUrl;
use crate::store::contract::{PATIENCE, hash};
use crate::store::embedded::EmbeddedStore;
use crate::store::redis::RedisStore;
use crate::store::watched::Watched;

use super::gateway::{BOUND, Gateway};
use super::state::{Model, Token, Who};
use super::*;

const APPS: [&str; 2] = ["crm", "shop"];
const USERS: [&str; 2] = ["sam@example.com", "kim@example.com"];
const GRANTS: usize = 6;

/// Later than anything that is known counts.
const AGE: Duration = Duration::from_secs(3 * BOUND.as_secs());

pub enum Place<'s> {
    File { directory: TempDir, followed: bool },
    Redis { server: &'s RefCell<RedisServer>, killed: bool },
}

impl Place<'_> {
    /// In memory where there is such a directory: a disk would take most of the time.
    pub fn file(followed: bool) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::File { directory: directory.expect("there is a place for temporary files"), followed }
    }
}

pub struct World<'s> {
    pub seed: u64,
    random: Random,
    place: Place<'s>,
    gateways: Vec<Gateway>,
    model: Model,
    steps: Vec<String>,
    started: Who,
    serve_known: bool,
    /// Which server answers.
    server: Arc<AtomicU64>,
    /// Whether connections break.
    cut: bool,
    before: Option<Before>,
}

/// What Redis had, and how many acts had been done by then.
struct Before {
    acts: u64,
    keys: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("SCOPEGATE_SEED={}; the steps:\n  {}\n{:#?}", self.seed, self.steps.join("\n  "), self.model);
        }
    }
}

impl<'s> World<'s> {
    pub async fn new(mut random: Random, place: Place<'s>, gateways: usize) -> Self {
        if let Place::Redis { server, .. } = &place {
            beside(server).flush();
        }
        let serve_known = random.one_in(2);
        let mut world = Self {
            seed: 0,
            random,
            place,
            gateways: Vec::new(),
            model: Model::new(APPS.len()),
            steps: Vec::new(),
            started: 0,
            serve_known,
            server: Arc::default(),
            cut: false,
            before: None,
        };
        for _ in 0..gateways {
            let gateway = world.start().await;
            world.gateways.push(gateway);
        }
        for number in 0..gateways {
            world.catch_up(number).await;
        }
        for app in 0..APPS.len() {
            world.create(0, app).await;
        }
        world
    }

    async fn start(&mut self) -> Gateway {
        self.started += 1;
        let (store, followed): (Arc<dyn Store>, bool) = match &self.place {
            Place::File { directory, followed } => (Arc::new(open(directory.path()).await), *followed),
            Place::Redis { server, .. } => {
                let url = RedisUrl(server.borrow().url().into());
                (Arc::new(RedisStore::connect(&url, "sg", PATIENCE).await.expect("the server runs")), true)
            }
        };
        Gateway::new(self.started, "erp", Watched::over(store, &self.server), followed, self.serve_known)
    }

    fn say(&mut self, step: String) {
        self.steps.push(step);
    }

    /// Whether a gateway may answer with an error.
    fn may_fail(&self, number: usize) -> bool {
        let store = &self.gateways[number].store;
        self.cut || store.broken.load(Ordering::Relaxed) || store.mute.load(Ordering::Relaxed)
    }

    /// Who did it, if it was acknowledged.
    fn acknowledged<T>(&mut self, number: usize, what: &str, done: &Result<T, StoreError>) -> Option<Who> {
        let who = self.gateways[number].who;
        let (lost, allowed) = (done.as_ref().err(), self.may_fail(number) || !self.gateways[number].fresh);
        self.say(format!("{who}: {what}{}", lost.map(|why| format!(" failed: {why}")).unwrap_or_default()));
        assert!(lost.is_none() || allowed, "{what} failed though nothing was broken: {lost:?}");
        lost.is_none().then_some(who)
    }

    pub async fn step(&mut self) {
        match self.random.below(100) {
            0..40 => self.look().await,
            40..62 => {
                let number = self.random.below(self.gateways.len());
                self.follow(number).await;
            }
            62..90 => self.change().await,
            90..92 => self.restart().await,
            92..96 => self.break_or_mend(),
            96..98 => self.held().await,
            _ => match &self.place {
                Place::File { .. } => self.held().await,
                Place::Redis { killed: true, .. } if self.random.one_in(2) => self.kill().await,
                Place::Redis { .. } => match self.random.below(3) {
                    0 => self.cut_off().await,
                    1 => self.snapshot(),
                    _ => self.rewind(),
                },
            },
        }
    }

    /// All is mended, everyone has heard of everything: now there is one answer.
    pub async fn finish(&mut self) {
        for gateway in &self.gateways {
            gateway.store.broken.store(false, Ordering::Relaxed);
            gateway.store.mute.store(false, Ordering::Relaxed);
        }
        self.say("the end".to_owned());
        for number in 0..self.gateways.len() {
            self.follow(number).await;
        }
        for number in 0..self.gateways.len() {
            self.catch_up(number).await;
        }
        for number in 0..self.gateways.len() {
            for token in 0..self.model.tokens.len() {
                self.find(number, token, Duration::ZERO).await;
                self.find(number, token, AGE).await;
                self.introspect(number, token).await;
            }
            for (app, id) in APPS.into_iter().enumerate() {
                let found = self.gateways[number].store.client("erp", id).await.expect("nothing is broken");
                assert!(found.as_ref().is_none_or(|client| !client.public()), "{id} has become a public client");
                if let (true, Some(secret)) = (self.model.apps[app].lives(), self.model.apps[app].secret) {
                    assert_eq!(found.and_then(|client| client.secret), Some(secret), "the secret of {id}");
                }
            }
        }
    }

    // What is looked at.

    async fn look(&mut self) {
        if self.model.tokens.is_empty() {
            return;
        }
        let (number, token) = (self.random.below(self.gateways.len()), self.random.below(self.model.tokens.len()));
        match self.random.below(8) {
            0 | 1 => self.introspect(number, token).await,
            2 => self.find(number, token, AGE).await,
            _ => self.find(number, token, Duration::ZERO).await,
        }
    }

    async fn find(&mut self, number: usize, token: usize, age: Duration) {
        if self.gateways[number].following.is_none() {
            return self.introspect(number, token).await;
        }
        let answer = self.gateways[number].find(&self.model.tokens[token].name, age).await;
        self.judge(number, token, "find", answer);
    }

    async fn introspect(&mut self, number: usize, token: usize) {
        let answer = self.gateways[number].introspect(&self.model.tokens[token].name).await;
        self.judge(number, token, "introspect", answer);
    }

    fn judge(&mut self, number: usize, token: usize, how: &str, answer: Result<bool, StoreError>) {
        let gateway = &self.gateways[number];
        let (fresh, view) = (gateway.fresh, gateway.view(how == "introspect"));
        let name = self.model.tokens[token].name.clone();
        self.say(format!("{}: {how} {name}: {answer:?}", view.who));
        match answer {
            Ok(true) => {
                assert!(fresh, "{name} is let through before any log was read");
                assert!(self.model.may(view, token), "{name} is let through by {view:?}");
            }
            Ok(false) => assert!(!self.model.must(token), "{name} is refused by {view:?}"),
            Err(error) => assert!(self.may_fail(number) || !fresh, "{error}"),
        }
    }

    /// A look-up under way, whose answer comes when more has happened.
    async fn held(&mut self) {
        let number = self.random.below(self.gateways.len());
        let gateway = &self.gateways[number];
        if self.model.tokens.is_empty() || self.may_fail(number) || !gateway.fresh || gateway.following.is_none() {
            return;
        }
        let token = self.random.below(self.model.tokens.len());
        let (store, name) = (Arc::clone(&self.gateways[number].store), self.model.tokens[token].name.clone());
        let (gate, gated) = if self.random.one_in(2) { (&store.gate, &store.gated) } else { (&store.client_gate, &store.clients_gated) };
        let (must, acts) = (self.model.must(token), self.model.acts);
        self.say(format!("{}: a look-up of {name} is held", self.gateways[number].who));
        gated.store(true, Ordering::Relaxed);
        let held = store.held.load(Ordering::Relaxed);
        let age = if self.random.one_in(2) { AGE } else { Duration::ZERO };
        let (cached, at) = (Arc::clone(&self.gateways[number].cached), std::time::Instant::now() + age);
        let under_way = tokio::spawn({
            let name = name.clone();
            async move { cached.find_at(SITE, "erp", &hash(&name), wall_clock(), at).await }
        });
        while store.held.load(Ordering::Relaxed) == held && !under_way.is_finished() {
            yield_now().await;
        }
        gated.store(false, Ordering::Relaxed);
        if under_way.is_finished() {
            // It was known.
            let lives = under_way.await.expect("it does not panic").map(|found| matches!(found, Lookup::Live(_)));
            return self.judge(number, token, "find", lives);
        }
        for _ in 0..self.random.below(4) {
            match self.random.below(3) {
                0 => self.follow(number).await,
                _ => self.change().await,
            }
        }
        gate.add_permits(store.held.load(Ordering::Relaxed) - held);
        let answer = under_way.await.expect("it does not panic");
        self.say(format!("{}: the look-up of {name} goes on", self.gateways[number].who));
        let lives = answer.map(|found| matches!(found, Lookup::Live(_)));
        // What was given back meanwhile need not be seen.
        if matches!(lives, Ok(false)) && !(must && self.model.acts == acts) {
            return;
        }
        self.judge(number, token, "held", lives);
    }

    // Followers.

    async fn follow(&mut self, number: usize) {
        // One that starts while others have not written back what they know trusts the store too early: see `restart`.
        if self.unsettled() && !self.gateways[number].has_read() {
            return;
        }
        let Some(following) = &mut self.gateways[number].following else { return };
        let round = following.round().await;
        if let Some(at) = &mut following.settles_at {
            // The time of the others passes when they have done what it is for.
            *at = Instant::now() + BOUND;
            self.gateways[number].behind = false;
            self.model.write_back(self.gateways[number].view(false));
        }
        if round.as_ref().is_ok_and(|round| *round == Round::Complete) {
            (self.gateways[number].read, self.gateways[number].fresh) = (self.model.acts, true);
        }
        let _ = self.acknowledged(number, &format!("round {round:?}"), &round);
        if !self.unsettled() {
            self.gateways.iter_mut().filter_map(|gateway| gateway.following.as_mut()).for_each(|following| following.settles_at = None);
        }
    }

    async fn catch_up(&mut self, number: usize) {
        let complete = |world: &Self| world.gateways[number].following.is_none() || world.gateways[number].read >= world.model.acts;
        for _ in 0..4 {
            self.follow(number).await;
            if complete(self) && self.gateways[number].fresh {
                return;
            }
        }
        assert!(complete(self), "it does not catch up");
    }

    /// Whether somebody has not yet written back what it knows.
    fn unsettled(&self) -> bool {
        self.gateways.iter().any(|gateway| gateway.behind)
    }

    // What is changed.

    async fn change(&mut self) {
        let number = self.random.below(self.gateways.len());
        let app = self.random.below(APPS.len());
        let user = self.random.below(USERS.len());
        match self.random.below(20) {
            0..4 if !self.model.tokens.is_empty() => self.revoke_token(number).await,
            4..6 => {
                let done = self.gateways[number].void(&[Subject::User(USERS[user])]).await;
                let by = self.acknowledged(number, &format!("revoke user {}", USERS[user]), &done);
                self.model.end(by, |token| token.user == user);
            }
            6 => {
                let done = self.gateways[number].void(&[Subject::Client(APPS[app])]).await;
                let by = self.acknowledged(number, &format!("revoke client {}", APPS[app]), &done);
                self.model.end(by, |token| token.client == app);
            }
            7 | 8 => {
                let grant = self.random.below(GRANTS);
                let done = self.gateways[number].end_grant(&format!("g{grant}")).await;
                let by = self.acknowledged(number, &format!("end grant g{grant}"), &done);
                self.model.end(by, |token| token.grant == Some(grant));
            }
            // While some have not yet heard of the loss, what they know is not in the store, and nothing is given that it would end.
            _ if self.unsettled() => {}
            9 | 10 => self.switch(number, app, false).await,
            11 | 12 => self.switch(number, app, true).await,
            13 => self.delete(number, app).await,
            14 | 15 => self.create(number, app).await,
            16 => self.rotate(number, app).await,
            _ => self.issue(number, app, user).await,
        }
    }

    async fn issue(&mut self, number: usize, app: usize, user: usize) {
        let grant = self.random.one_in(2).then(|| self.random.below(GRANTS));
        // A grant is of one user to one client.
        let (app, user) = grant.map_or((app, user), |grant| (grant % APPS.len(), grant / APPS.len() % USERS.len()));
        let name = format!("t{}", self.model.tokens.len());
        let of = grant.map(|grant| format!("g{grant}"));
        let done = self.gateways[number].issue(&name, APPS[app], USERS[user], of.as_deref()).await;
        let by = self.acknowledged(number, &format!("issue {name} to {} for {} under {of:?}: {done:?}", APPS[app], USERS[user]), &done);
        if matches!(done, Ok(false)) {
            let known = &self.model.apps[app];
            assert!(grant.is_some() || !known.sure || !known.lives(), "nothing is issued to a client that lives");
            return;
        }
        let issued = self.model.act(by).number;
        self.model.tokens.push(Token { name, client: app, user, grant, issued, ended: Vec::new(), sure: by.is_some() });
    }

    async fn revoke_token(&mut self, number: usize) {
        let chosen = self.random.below(self.model.tokens.len());
        let name = self.model.tokens[chosen].name.clone();
        let must = self.model.must(chosen);
        let done = self.gateways[number].revoke_token(&name).await;
        let by = self.acknowledged(number, &format!("revoke {name}: {done:?}"), &done);
        assert!(!must || !matches!(done, Ok(false)), "{name} is not there");
        if !matches!(done, Ok(false)) {
            self.model.end(by, |token| token.name == name);
        }
    }

    async fn switch(&mut self, number: usize, app: usize, lives: bool) {
        let done = self.gateways[number].switch(APPS[app], lives).await;
        let by = self.acknowledged(number, &format!("switch {} to {lives}: {done:?}", APPS[app]), &done);
        self.there(app, &done, true);
        if !matches!(done, Ok(false)) {
            self.model.switch(by, app, lives);
        }
    }

    async fn delete(&mut self, number: usize, app: usize) {
        let done = self.gateways[number].delete(APPS[app]).await;
        let by = self.acknowledged(number, &format!("delete {}: {done:?}", APPS[app]), &done);
        self.there(app, &done, true);
        if !matches!(done, Ok(false)) {
            self.model.end(by, |token| token.client == app);
            self.model.switch(by, app, false);
            (self.model.apps[app].secret, self.model.apps[app].there) = (None, by.map(|_| false));
        }
    }

    async fn create(&mut self, number: usize, app: usize) {
        let secret = TokenHash::of(&self.random.next().to_be_bytes());
        let done = self.gateways[number].create(APPS[app], secret).await;
        let by = self.acknowledged(number, &format!("create {}: {done:?}", APPS[app]), &done);
        self.there(app, &done, false);
        if !matches!(done, Ok(false)) {
            self.model.switch(by, app, true);
            (self.model.apps[app].secret, self.model.apps[app].there) = (by.map(|_| secret), by.map(|_| true));
        }
    }

    /// A client is found where it is, and its id is free where it is not.
    fn there(&self, app: usize, done: &Result<bool, StoreError>, needed: bool) {
        let there = self.model.apps[app].there;
        assert!(!matches!(done, Ok(false)) || there != Some(needed), "{} is there: {there:?}", APPS[app]);
    }

    async fn rotate(&mut self, number: usize, app: usize) {
        let (secret, tokens) = (TokenHash::of(&self.random.next().to_be_bytes()), self.random.one_in(2));
        let done = self.gateways[number].rotate(APPS[app], secret, tokens).await;
        let by = self.acknowledged(number, &format!("rotate {} and tokens {tokens}: {done:?}", APPS[app]), &done);
        self.there(app, &done, true);
        if !matches!(done, Ok(false)) {
            if tokens {
                self.model.end(by, |token| token.client == app);
            }
            let changed = self.model.act(by).number;
            (self.model.apps[app].secret, self.model.apps[app].changed) = (by.map(|_| secret), changed);
        }
    }

    // What goes wrong.

    async fn restart(&mut self) {
        // What it alone knows must be in the store: a gateway that ends at the same time as the store is outside the claim.
        if self.unsettled() {
            return;
        }
        let number = self.random.below(self.gateways.len());
        let gone = self.gateways.remove(number);
        let [broken, mute] = [&gone.store.broken, &gone.store.mute].map(|fault| fault.load(Ordering::Relaxed));
        self.say(format!("{}: restart as {}", gone.who, self.started + 1));
        drop(gone);
        let new = self.start().await;
        new.store.broken.store(broken, Ordering::Relaxed);
        new.store.mute.store(mute, Ordering::Relaxed);
        self.gateways.insert(number, new);
    }

    fn break_or_mend(&mut self) {
        let number = self.random.below(self.gateways.len());
        let fails = self.may_fail(number);
        let store = Arc::clone(&self.gateways[number].store);
        store.broken.store(!fails && self.random.one_in(2), Ordering::Relaxed);
        store.mute.store(!fails && !store.broken.load(Ordering::Relaxed), Ordering::Relaxed);
        self.say(format!("{}: broken {:?} mute {:?}", self.gateways[number].who, store.broken, store.mute));
    }

    fn server(&self) -> Option<&'s RefCell<RedisServer>> {
        match self.place {
            Place::Redis { server, .. } => Some(server),
            Place::File { .. } => None,
        }
    }

    /// Every connection breaks, and one change is made on what is left of them.
    async fn cut_off(&mut self) {
        let Some(server) = self.server() else { return };
        self.say("all connections are cut".to_owned());
        self.cut = true;
        beside(server).ask(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes"));
        self.change().await;
        self.found_again().await;
    }

    /// Killed, and started again with all that it had.
    async fn kill(&mut self) {
        let Some(server) = self.server() else { return };
        if self.unsettled() {
            return;
        }
        self.say("the server is killed".to_owned());
        self.cut = true;
        beside(server).ask(&redis::cmd("SAVE"));
        server.borrow_mut().kill();
        self.look().await;
        server.borrow_mut().restart();
        self.say("and restarted".to_owned());
        self.gateways.iter_mut().for_each(|gateway| gateway.behind = gateway.has_read());
        self.found_again().await;
    }

    async fn found_again(&mut self) {
        for gateway in &self.gateways {
            let [broken, mute] = [&gateway.store.broken, &gateway.store.mute].map(|fault| fault.swap(false, Ordering::Relaxed));
            let deadline = Instant::now() + PATIENCE;
            while let Err(error) = gateway.store.ping().await {
                assert!(Instant::now() < deadline, "{error}");
                yield_now().await;
            }
            gateway.store.broken.store(broken, Ordering::Relaxed);
            gateway.store.mute.store(mute, Ordering::Relaxed);
        }
        self.cut = false;
    }

    fn snapshot(&mut self) {
        let Some(server) = self.server() else { return };
        if self.unsettled() {
            return;
        }
        self.say("a snapshot".to_owned());
        self.before = Some(Before { acts: self.model.acts, keys: beside(server).dump() });
    }

    /// Another server answers, with the data of the snapshot.
    fn rewind(&mut self) {
        let Some(server) = self.server() else { return };
        if self.unsettled() {
            return;
        }
        let Some(before) = &self.before else { return };
        beside(server).restore(&before.keys);
        let views: Vec<_> = self.gateways.iter().filter(|gateway| gateway.has_read()).map(|gateway| gateway.view(false)).collect();
        self.model.rewind(before.acts, &views);
        self.server.fetch_add(1, Ordering::Relaxed);
        self.gateways.iter_mut().for_each(|gateway| gateway.behind = gateway.has_read());
        self.say("the server goes back to the snapshot".to_owned());
    }
}

/// Opens the file as soon as all who had it have let go of it.
async fn open(directory: &Path) -> EmbeddedStore {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match EmbeddedStore::open(&directory.join("store.redb")) {
            Ok(store) => return store,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        yield_now().await;
    }
}

/// A connection of the test's own.
struct Beside(Connection);

fn beside(server: &RefCell<RedisServer>) -> Beside {
    let client = redis::Client::open(server.borrow().url()).expect("it is an address");
    Beside(client.get_connection().expect("the server runs"))
}

impl Beside {
    fn ask(&mut self, command: &redis::Cmd) {
        command.exec(&mut self.0).expect("the server takes it");
    }

    fn flush(&mut self) {
        self.ask(&redis::cmd("FLUSHALL"));
    }

    fn dump(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut self.0).expect("the server tells");
        let mut dumps = redis::pipe();
        for key in &keys {
            dumps.cmd("DUMP").arg(key);
        }
        let dumps: Vec<Vec<u8>> = if keys.is_empty() { Vec::new() } else { dumps.query(&mut self.0).expect("the server tells") };
        keys.into_iter().zip(dumps).collect()
    }

    fn restore(&mut self, keys: &[(Vec<u8>, Vec<u8>)]) {
        let mut restore = redis::pipe();
        restore.cmd("FLUSHALL").ignore();
        for (key, dump) in keys {
            restore.cmd("RESTORE").arg(key).arg(0).arg(dump).ignore();
        }
        restore.exec(&mut self.0).expect("the server takes it");
    }
}
