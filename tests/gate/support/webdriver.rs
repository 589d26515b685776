//! `chromedriver` and one headless chromium through it: started on free ports with nothing of the machine's, spoken to, ended.
//!
//! The protocol is JSON over HTTP/1.1 (W3C WebDriver, with chromedriver's `goog/cdp/execute` for what it lacks), which the wire of the
//! other tests speaks as well. The driver holds the browser by a pipe, so the browser ends with it, however it ends.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::DEADLINE;
use super::gate::Process;
use super::wire::Wire;

/// Under [`DEADLINE`], so that a page that never loads is told as such and not as a driver that is silent.
const PAGE_LOAD_MAX: Duration = Duration::from_secs(15);

/// What it prints when it listens, before the port that it was given.
const STARTED: &str = "started successfully on port ";

pub struct Driver {
    /// Holds the profile and whatever else the browser writes. Removed after both processes have gone.
    home: TempDir,
    process: Process,
    address: SocketAddr,
    session: String,
}

/// Why the driver would not do something, in the words of its protocol: `no such element`, `stale element reference`.
#[derive(Debug)]
pub struct Refused {
    pub error: String,
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error, self.message)
    }
}

impl Driver {
    /// A browser for which each of `hosts`, with a port or for all ports, is at its address, and no other host exists.
    pub fn start(hosts: &[(&str, SocketAddr)]) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new("chromedriver");
        // Port 0 leaves the choice to the kernel. In an empty environment there is no proxy to go through.
        command.arg("--port=0").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home.path());
        let mut process = Process::spawn(command);
        let line = process.line_with(STARTED);
        let port = line.split(STARTED).nth(1).and_then(|rest| rest.trim_end().trim_end_matches('.').parse().ok());
        let port = port.unwrap_or_else(|| panic!("chromedriver named no port: {}{}", process.output(), process.end_now()));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut driver = Self { home, process, address, session: String::new() };
        let capabilities = json!({ "capabilities": { "alwaysMatch": driver.capabilities(hosts) } });
        let started = driver.exchange("POST", "/session", &capabilities).unwrap_or_else(|refused| panic!("no browser: {refused}"));
        driver.session = started["sessionId"].as_str().expect("a session has an id").to_owned();
        driver
    }

    fn capabilities(&self, hosts: &[(&str, SocketAddr)]) -> Value {
        let mut rules: Vec<String> = hosts.iter().map(|(host, address)| format!("MAP {host} {address}")).collect();
        rules.push("MAP * ~NOTFOUND".to_owned());
        let profile = self.home.path().join("profile");
        let arguments = json!([
            "--headless=new",
            // Its own sandbox and shared memory are more than a container allows, and a test shows it nothing but our pages.
            "--no-sandbox",
            "--no-zygote",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--remote-debugging-pipe",
            format!("--user-data-dir={}", profile.display()),
            format!("--host-resolver-rules={}", rules.join(", ")),
            "--no-proxy-server",
            "--ignore-certificate-errors",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-background-networking",
            "--disable-component-update",
            // The same picture on every machine.
            "--lang=en-US",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
        ]);
        let milliseconds = PAGE_LOAD_MAX.as_millis();
        json!({
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "timeouts": { "pageLoad": milliseconds, "script": milliseconds, "implicit": 0 },
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        })
    }

    /// What the session has at `path`.
    pub fn read(&self, path: &str) -> Result<Value, Refused> {
        self.exchange("GET", &format!("/session/{}/{path}", self.session), &Value::Null)
    }

    /// Has the session do what `path` is for.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Refused> {
        self.exchange("POST", &format!("/session/{}/{path}", self.session), body)
    }

    pub fn delete(&self, path: &str) -> Result<Value, Refused> {
        self.exchange("DELETE", &format!("/session/{}/{path}", self.session), &Value::Null)
    }

    /// A command of the browser's own debugging protocol.
    pub fn debug(&self, command: &str, parameters: &Value) -> Value {
        let answer = self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
        answer.unwrap_or_else(|refused| panic!("{command}: {refused}"))
    }

    fn exchange(&self, method: &str, path: &str, body: &Value) -> Result<Value, Refused> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (address, length) = (self.address, body.len());
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        let value = Wire::plain_to(address).exchange(request).json()["value"].take();
        match value["error"].as_str() {
            None => Ok(value),
            Some(error) => {
                let message = value["message"].as_str().and_then(|message| message.lines().next()).unwrap_or_default();
                Err(Refused { error: error.to_owned(), message: message.to_owned() })
            }
        }
    }

    /// Asks the driver to end its browser and itself. A driver that is gone or stuck does not answer, and is ended by force.
    fn shut_down(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "GET /shutdown HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)?;
        stream.read_to_end(&mut Vec::new()).map(|_| ())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The browser ends with its driver also where this fails: the pipe between them is closed.
        if self.shut_down().is_err() {
            self.process.end_now();
        }
        if !std::thread::panicking() {
            self.process.wait();
        }
    }
}
