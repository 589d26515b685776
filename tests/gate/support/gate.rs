//! The real binary, running: started on free ports, stopped by SIGTERM, and searched for secrets when it has ended.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::Deserialize;
use serde_json::{Value, json};

use super::redis::Redis;
use super::setup::{API_KEY, SITE, Setup};
use super::{DEADLINE, eventually, now, signal};

/// The client that [`Gate::token`] issues for, allowed every scope.
pub const CLIENT: &str = "app";

/// The user that [`Gate::token`] issues for.
pub const USER: &str = "sam.fake@example.test";

/// The one line that `serve --ready-json` prints when every port is open.
#[derive(Debug, Deserialize)]
pub struct Ready {
    pub https: Vec<SocketAddr>,
    #[serde(default)]
    pub http: Vec<SocketAddr>,
    #[serde(default)]
    pub behind_proxy: Vec<SocketAddr>,
    pub metrics: Option<SocketAddr>,
}

pub struct Gate {
    pub setup: Setup,
    pub ready: Ready,
    pub config: PathBuf,
    process: Process,
    /// What must not be found in anything the gate wrote.
    secrets: Mutex<Vec<String>>,
}

/// What a gate left behind.
pub struct Ended {
    pub status: ExitStatus,
    pub log: String,
    /// One record a line.
    pub audit: Vec<Value>,
}

impl Gate {
    pub fn start(setup: Setup) -> Self {
        let config = setup.write();
        if let Some(redis) = &setup.redis {
            put_client(redis, &json!({"v": 1, "id": CLIENT, "name": "App", "scopes": "all", "enabled": true, "created": now()}));
        }
        let (process, ready) = launch(&setup, &config);
        Self { setup, ready, config, process, secrets: Mutex::new(vec![API_KEY.to_owned()]) }
    }

    /// Waits for its end after SIGKILL.
    pub fn wait_killed(&mut self) {
        self.process.wait();
        self.search();
    }

    /// Starts it and kills it after a moment, wherever it has come to by then.
    pub fn kill_while_it_starts(&mut self, moment: Duration) {
        let mut process = Process::spawn(command(&self.config, &["serve"]));
        let (_keep, never) = mpsc::channel::<()>();
        let _ = never.recv_timeout(moment);
        process.end_now();
        process.wait();
    }

    /// Starts it again after its end, on its files and on other ports.
    pub fn restart(&mut self) {
        (self.process, self.ready) = launch(&self.setup, &self.config);
    }

    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    pub fn https(&self) -> SocketAddr {
        self.ready.https[0]
    }

    pub fn http(&self) -> SocketAddr {
        self.ready.http[0]
    }

    pub fn redis(&self) -> &Redis {
        self.setup.redis.as_ref().expect("this gate keeps its tokens in Redis")
    }

    pub fn redis_mut(&mut self) -> &mut Redis {
        self.setup.redis.as_mut().expect("this gate keeps its tokens in Redis")
    }

    /// A live token with `scopes`, for an hour.
    pub fn token(&self, scopes: &str) -> String {
        self.token_until(scopes, now() + 3600)
    }

    pub fn token_until(&self, scopes: &str, exp: u64) -> String {
        self.token_of(CLIENT, scopes, exp)
    }

    pub fn token_of(&self, client: &str, scopes: &str, exp: u64) -> String {
        let token = self.unknown_token();
        self.put_token(&token, &json!({"v": 1, "client": client, "user": USER, "scopes": scopes, "iat": now(), "exp": exp}));
        token
    }

    /// A well-formed token that the store has never seen.
    pub fn unknown_token(&self) -> String {
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).expect("the system has random bytes");
        let token = BASE64URL_NOPAD.encode(&random);
        self.keep_secret(&token);
        token
    }

    /// Writes a token's record in the public format.
    pub fn put_token(&self, token: &str, record: &Value) {
        self.redis().put(&token_key(token), record);
    }

    pub fn put_client(&self, record: &Value) {
        put_client(self.redis(), record);
    }

    /// From now on `secret` may not appear in anything the gate writes.
    pub fn keep_secret(&self, secret: &str) {
        self.secrets.lock().expect("no one panics with it").push(secret.to_owned());
    }

    pub fn signal(&self, name: &str) {
        signal(self.process.pid, name);
    }

    /// Runs another command of the binary on the same config; it must succeed, and what it prints is JSON.
    pub fn cli_json(&self, arguments: &[&str]) -> Value {
        cli_json(&self.config, arguments)
    }

    /// Issues a token by the command line, where the store is not Redis or the command is what is tested.
    pub fn issue(&self, scopes: &str) -> String {
        let arguments = ["token", "issue", "--site", SITE, "--client", CLIENT, "--user", USER, "--scope", scopes, "--json"];
        let issued = self.cli_json(&arguments);
        let token = issued["access_token"].as_str().expect("an access_token").to_owned();
        self.keep_secret(&token);
        token
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The audit records so far: whole lines only.
    pub fn audit(&self) -> Vec<Value> {
        audit_records(&self.setup.audit_file())
    }

    /// Waits until `count` records are written, and gives them.
    pub fn audit_of(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} audit records"), || self.audit().len() >= count);
        self.audit()
    }

    /// Waits until it has gone by itself, as after a signal.
    pub fn wait(mut self) -> Ended {
        let status = self.process.wait();
        self.search();
        Ended { status, log: self.process.log(), audit: self.audit() }
    }

    /// SIGTERM, and what it left.
    pub fn stop(self) -> Ended {
        self.signal("TERM");
        self.wait()
    }

    /// No secret is in anything it wrote.
    fn search(&self) {
        let written = [
            ("stderr", self.process.log()),
            ("stdout", self.process.output()),
            ("the audit log", fs::read_to_string(self.setup.audit_file()).unwrap_or_default()),
        ];
        for secret in self.secrets.lock().expect("no one panics with it").iter() {
            for (place, text) in &written {
                let line = text.lines().find(|line| line.contains(secret.as_str()));
                assert!(line.is_none(), "a secret is in {place}: {}", line.unwrap_or_default());
            }
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the gate logged:\n{}", self.process.end_now());
        } else if self.process.ended.is_none() {
            self.signal("TERM");
            let status = self.process.wait();
            self.search();
            assert!(status.success(), "the gate ended with {status} on SIGTERM:\n{}", self.process.log());
        }
    }
}

/// Runs `serve` until every port is open.
fn launch(setup: &Setup, config: &Path) -> (Process, Ready) {
    let mut process = Process::spawn(match setup.descriptors {
        Some(count) => limited(config, count),
        None => command(config, &["serve", "--ready-json"]),
    });
    let line = process.first_line();
    let ready = serde_json::from_str(&line)
        .unwrap_or_else(|error| panic!("the ready line is not as expected ({error}): {line:?}\n{}", process.end_now()));
    (process, ready)
}

fn put_client(redis: &Redis, record: &Value) {
    let id = record["id"].as_str().expect("a client has an id");
    redis.put(&format!("sg:{SITE}:client:{id}"), record);
    redis.add(&format!("sg:{SITE}:clients"), id);
    redis.log(SITE, &["client", id]);
}

pub fn token_key(token: &str) -> String {
    key_of("token", token)
}

/// Where Redis has what is kept of a secret: `token`, `refresh` or `code`.
pub fn key_of(kind: &str, secret: &str) -> String {
    format!("sg:{SITE}:{kind}:{}", sha256(secret))
}

/// In hexadecimal, as records have it.
pub fn sha256(text: &str) -> String {
    HEXLOWER.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref())
}

fn audit_records(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("audit line {line:?}: {error}"))).collect()
}

/// The binary with `arguments` and `--config`, in an environment that says nothing.
fn command(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scopegate"));
    command.args(arguments).arg("--config").arg(config).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// `serve` with a bound on open files, which the shell sets before it becomes the gate.
fn limited(config: &Path, descriptors: u32) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {descriptors}; exec \"$0\" serve --ready-json --config \"$1\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_scopegate")]).arg(config);
    command
}

/// Runs a command to its end.
pub fn cli(config: &Path, arguments: &[&str]) -> Output {
    command(config, arguments).stdin(Stdio::null()).output().expect("the binary is built")
}

pub fn cli_json(config: &Path, arguments: &[&str]) -> Value {
    let output = cli(config, arguments);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {}\n{stdout}{}", output.status, String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{arguments:?} printed {stdout:?}: {error}"))
}

/// A child of this test, its output read as it comes.
pub struct Process {
    pub pid: u32,
    lines: Receiver<String>,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
    exit: Receiver<ExitStatus>,
    ended: Option<ExitStatus>,
}

impl Process {
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let (tell, lines) = mpsc::channel();
        let (out, err) = (Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(Vec::new())));
        let (out_kept, err_kept) = (Arc::clone(&out), Arc::clone(&err));
        let readers = vec![
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let mut kept = out_kept.lock().expect("no one panics with it");
                    kept.push_str(&line);
                    kept.push('\n');
                    // Nobody may be waiting for lines any more.
                    let _ = tell.send(line);
                }
            }),
            thread::spawn(move || keep(stderr, &err_kept)),
        ];
        let pid = child.id();
        Self { pid, lines, stdout: out, stderr: err, readers, exit: waiting(child), ended: None }
    }

    /// The first line it prints; empty where it ends without one.
    pub fn first_line(&mut self) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap_or_default()
    }

    /// The first line from here on that contains `part`; empty where it ends without one.
    pub fn line_with(&mut self, part: &str) -> String {
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) if !line.contains(part) => {}
                Ok(line) => return line,
                Err(_) => return String::new(),
            }
        }
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().expect("no one panics with it")).into_owned()
    }

    pub fn output(&self) -> String {
        self.stdout.lock().expect("no one panics with it").clone()
    }

    /// Waits for its end and for the last of its output.
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.exit.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("still running after {DEADLINE:?}\n{}", self.end_now()));
        self.ended = Some(status);
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        status
    }

    /// SIGKILL, and what it had logged.
    pub fn end_now(&mut self) -> String {
        if self.ended.is_none() && self.exit.try_recv().is_err() {
            signal(self.pid, "KILL");
        }
        self.log()
    }
}

fn keep(mut from: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        kept.lock().expect("no one panics with it").extend_from_slice(&buffer[..read]);
    }
}

/// Tells of a child's end.
fn waiting(mut child: Child) -> Receiver<ExitStatus> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        if let Ok(status) = child.wait() {
            let _ = tell.send(status);
        }
    });
    told
}
