//! A person at a browser: a real chromium without a screen that opens pages, reads, types, clicks, and is photographed.
//!
//! One browser a test, with a fresh profile, and a network in which only the hosts exist that the test names. What needs an element waits
//! for it. Windows, colours and scripts can be changed at any time; a page sees the change at once, scripts with the next page.
//!
//! Pictures go to `target/screenshots`, or to the directory that SCOPEGATE_SCREENSHOTS names, and are never committed.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::eventually;
use super::webdriver::{Driver, Refused};

pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";

/// A window, inside its frame, in CSS pixels.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub width: u32,
    pub height: u32,
    /// Touched, not clicked; a page that does not say `width=device-width` is laid out for a desktop and shrunk.
    phone: bool,
}

pub const DESKTOP: Window = Window { width: 1280, height: 800, phone: false };
pub const PHONE: Window = Window { width: 390, height: 844, phone: true };

/// How WebDriver spells an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// What a page may still be on its way to; anything else that the driver refuses is a fault of the test.
const NOT_YET: &[&str] = &["no such element", "stale element reference", "element not interactable", "element click intercepted"];

/// The most elements that the Tab key is followed through.
const STOPS_MAX: usize = 100;

pub struct Browser {
    driver: Driver,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    pub name: String,
    pub value: String,
    pub domain: String,
    pub path: String,
    pub secure: bool,
    pub http_only: bool,
    /// `None` where the site did not say.
    pub same_site: Option<String>,
}

impl Browser {
    /// With a desktop's window, light colours, and scripts. Each of `hosts` is at its address: with a port, at that port only, and else
    /// whatever the port in a URL.
    pub fn start(hosts: &[(&str, SocketAddr)]) -> Self {
        let browser = Self { driver: Driver::start(hosts) };
        browser.resize(DESKTOP);
        browser.prefer_dark(false);
        browser
    }

    pub fn resize(&self, window: Window) {
        let Window { width, height, phone } = window;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.driver.debug("Emulation.setDeviceMetricsOverride", &metrics);
        self.driver.debug("Emulation.setTouchEmulationEnabled", &json!({ "enabled": phone }));
    }

    /// What `prefers-color-scheme` says.
    pub fn prefer_dark(&self, dark: bool) {
        let scheme = json!({ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } });
        self.driver.debug("Emulation.setEmulatedMedia", &json!({ "features": [scheme] }));
    }

    /// Whether scripts of pages run, from the next page on. Those of [`Browser::script`] always do.
    pub fn allow_scripts(&self, allow: bool) {
        self.driver.debug("Emulation.setScriptExecutionDisabled", &json!({ "value": !allow }));
    }

    /// Opens a page and waits until it is loaded, whatever its status.
    pub fn open(&self, url: &str) {
        self.try_open(url).unwrap_or_else(|refused| panic!("{url}: {refused}"));
    }

    pub fn try_open(&self, url: &str) -> Result<(), Refused> {
        self.driver.post("url", &json!({ "url": url })).map(|_| ())
    }

    pub fn url(&self) -> String {
        self.string("url")
    }

    /// Waits until the address starts with `start`, as after a click that leads through redirects, and gives all of it.
    pub fn arrive_at(&self, start: &str) -> String {
        let mut url = String::new();
        eventually(&format!("the browser at {start}"), || {
            url = self.url();
            url.starts_with(start)
        });
        url
    }

    pub fn title(&self) -> String {
        self.string("title")
    }

    pub fn source(&self) -> String {
        self.string("source")
    }

    /// What can be read on the page, as it is laid out.
    pub fn text(&self) -> String {
        self.script("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// How many elements there are now, without waiting for any.
    pub fn count(&self, css: &str) -> usize {
        self.elements(css).unwrap_or_else(|refused| panic!("`{css}`: {refused}")).len()
    }

    pub fn text_of(&self, css: &str) -> String {
        self.with(css, |element| self.driver.read(&format!("element/{element}/text"))).as_str().unwrap_or_default().to_owned()
    }

    /// `None` where the element does not have it.
    pub fn attribute(&self, css: &str, name: &str) -> Option<String> {
        self.with(css, |element| self.driver.read(&format!("element/{element}/attribute/{name}"))).as_str().map(str::to_owned)
    }

    /// Replaces what is in a field, by typing.
    pub fn fill(&self, css: &str, text: &str) {
        self.with(css, |element| {
            self.driver.post(&format!("element/{element}/clear"), &json!({}))?;
            self.driver.post(&format!("element/{element}/value"), &json!({ "text": text }))
        });
    }

    /// Clicks where a person would, and waits for the page that it leads to, if any.
    pub fn click(&self, css: &str) {
        self.with(css, |element| self.driver.post(&format!("element/{element}/click"), &json!({})));
    }

    /// Types into whatever has the focus: text, [`TAB`], [`ENTER`].
    pub fn press(&self, keys: &str) {
        let strokes: Vec<Value> =
            keys.chars().flat_map(|key| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]).collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.driver.post("actions", &actions).unwrap_or_else(|refused| panic!("{keys:?}: {refused}"));
    }

    /// What a screen reader says of the element that has the focus, such as `button Allow`; `None` where none has it.
    pub fn focused(&self) -> Option<String> {
        let element = self.driver.read("element/active").unwrap_or_else(|refused| panic!("the focus: {refused}"));
        let element = element[ELEMENT].as_str()?;
        let said = |what: &str| {
            let said = self.driver.read(&format!("element/{element}/{what}")).unwrap_or_else(|refused| panic!("{what}: {refused}"));
            said.as_str().unwrap_or_default().to_owned()
        };
        let at_rest = self.script("return document.activeElement === document.body") == true;
        (!at_rest).then(|| format!("{} {}", said("computedrole"), said("computedlabel")))
    }

    /// What the Tab key stops at, from the top of the page to its end; each stop must show that it has the focus.
    pub fn focus_order(&self) -> Vec<String> {
        self.script("document.activeElement?.blur(); getSelection().removeAllRanges(); scrollTo(0, 0)");
        let mut stops = Vec::new();
        while stops.len() < STOPS_MAX {
            self.press(TAB);
            let Some(stop) = self.focused() else { return stops };
            assert_eq!(self.script(include_str!("focus.js")), true, "nothing shows that {stop} has the focus");
            stops.push(stop);
        }
        panic!("the Tab key does not come to an end: {stops:?}");
    }

    /// What `return` gives of a function body, run in the page, whether or not its own scripts may.
    pub fn script(&self, body: &str) -> Value {
        self.driver
            .post("execute/sync", &json!({ "script": body, "args": [] }))
            .unwrap_or_else(|refused| panic!("{refused} in the script\n{body}"))
    }

    /// All that would be sent to the page that is open, those included that its scripts cannot see.
    pub fn cookies(&self) -> Vec<Cookie> {
        let cookies = self.driver.read("cookie").unwrap_or_else(|refused| panic!("cookies: {refused}"));
        serde_json::from_value(cookies).expect("cookies are as WebDriver has them")
    }

    /// Forgets the cookies that [`Browser::cookies`] would give.
    pub fn forget_cookies(&self) {
        self.driver.delete("cookie").unwrap_or_else(|refused| panic!("cookies: {refused}"));
    }

    /// What the console has said since the last look: violations of the content security policy, scripts that failed, resources of
    /// hosts that do not exist. It also repeats the status of every answer from 400 on, which is no complaint about the page, and left out.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.driver.post("se/log", &json!({ "type": "browser" })).unwrap_or_else(|refused| panic!("the console: {refused}"));
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        log.as_array()
            .expect("the console is a list")
            .iter()
            .map(|entry| (text(entry, "source"), text(entry, "message")))
            .filter(|(source, message)| source != "network" || !message.contains("the server responded with a status of"))
            .map(|(source, message)| format!("{source}: {message}"))
            .collect()
    }

    /// What stands in the way of someone with a screen reader, a keyboard, a small screen or weak eyes, as far as a script can tell.
    pub fn barriers(&self) -> Vec<String> {
        serde_json::from_value(self.script(include_str!("barriers.js"))).expect("a list of sentences")
    }

    /// Photographs the whole page, in the width of the window, as `<name>.png`.
    pub fn screenshot(&self, name: &str) -> PathBuf {
        let size = &self.driver.debug("Page.getLayoutMetrics", &json!({}))["cssContentSize"];
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let options = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let picture = self.driver.debug("Page.captureScreenshot", &options);
        let picture = BASE64.decode(picture["data"].as_str().unwrap_or_default().as_bytes()).expect("a picture in Base64");
        let directory = std::env::var_os("SCOPEGATE_SCREENSHOTS")
            .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots"), PathBuf::from);
        fs::create_dir_all(&directory).expect("a place for screenshots");
        let file = directory.join(name).with_extension("png");
        fs::write(&file, picture).expect("a place for screenshots");
        file
    }

    fn string(&self, path: &str) -> String {
        let value = self.driver.read(path).unwrap_or_else(|refused| panic!("{path}: {refused}"));
        value.as_str().unwrap_or_default().to_owned()
    }

    fn elements(&self, css: &str) -> Result<Vec<String>, Refused> {
        let found = self.driver.post("elements", &json!({ "using": "css selector", "value": css }))?;
        let found = found.as_array().expect("a list of elements");
        Ok(found.iter().filter_map(|element| element[ELEMENT].as_str().map(str::to_owned)).collect())
    }

    /// Does something with the one element that `css` stands for, as soon as it is there and lets itself.
    fn with(&self, css: &str, act: impl Fn(&str) -> Result<Value, Refused>) -> Value {
        let mut done = None;
        eventually(&format!("`{css}` on {}", self.url()), || {
            let outcome = self.elements(css).and_then(|found| match found.as_slice() {
                [] => Ok(None),
                [element] => act(element).map(Some),
                many => panic!("`{css}` stands for {} elements of {}", many.len(), self.url()),
            });
            done = match outcome {
                Ok(value) => value,
                Err(refused) if NOT_YET.contains(&refused.error.as_str()) => None,
                Err(refused) => panic!("`{css}`: {refused}"),
            };
            done.is_some()
        });
        done.expect("it ended because something was done")
    }
}
