//! A headless Chromium for tests of the browser pages: a small client of the Chrome DevTools
//! Protocol over one WebSocket.
//!
//! [`Browser::launch`] starts a process with a profile of its own and synthetic camera and
//! microphone; each [`Page`] is a window in a private context, so two pages share no cookies or
//! storage, as two people's browsers share none. Tests wait for conditions with
//! [`Page::wait_for`], never for time. It is no general driver: one thread, no network
//! interception, and of all events only what [`Page::problems`] tells. Dropping the browser kills
//! its processes and removes the profile.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const FLAGS: [&str; 15] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
];
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// One running Chromium.
pub(crate) struct Browser {
    link: Rc<RefCell<SessionLink>>,
    _process: Process,
}

/// One window of a [`Browser`], in a private context; it closes when dropped.
pub(crate) struct Page {
    link: Rc<RefCell<SessionLink>>,
    target_id: String,
    session_id: String,
    context_id: String,
    closed: bool,
}

impl Browser {
    /// Starts Chromium with the flags every test needs and `extra_flags`; panics when there is
    /// none, since a test that silently did not run would say more than it knows.
    pub(crate) fn launch(extra_flags: &[&str]) -> Browser {
        let (process, url) = Process::start(extra_flags);
        Browser { link: Rc::new(RefCell::new(SessionLink::open(&url))), _process: process }
    }

    /// Opens `url` in a new window, which is 1280 by 760 pixels, and waits until its document has
    /// loaded.
    pub(crate) fn page(&self, url: &str) -> Page {
        let call = |method: &str, params: Value| self.link.borrow_mut().call(None, method, params).expect(method);
        let context_id = text(&call("Target.createBrowserContext", json!({})), "browserContextId");
        let target = json!({"url": "about:blank", "browserContextId": context_id, "width": 1280, "height": 760});
        let target_id = text(&call("Target.createTarget", target), "targetId");
        let attached = call("Target.attachToTarget", json!({"targetId": target_id, "flatten": true}));
        let session_id = text(&attached, "sessionId");
        let page = Page { link: Rc::clone(&self.link), target_id, session_id, context_id, closed: false };
        page.call("Runtime.enable", json!({})).expect("Runtime.enable");
        page.call("Log.enable", json!({})).expect("Log.enable");
        page.navigate(url);
        page
    }
}

impl Page {
    /// Goes to `url` and waits until its document has loaded.
    pub(crate) fn navigate(&self, url: &str) {
        let answer = self.call("Page.navigate", json!({"url": url})).expect("Page.navigate");
        if let Some(error) = answer.get("errorText") {
            panic!("{url} could not be opened: {error}");
        }
        // Until the navigation commits, the old document still answers.
        let loaded = "document.readyState === 'complete' && location.href !== 'about:blank'";
        self.wait_for(loaded, COMMAND_TIMEOUT);
    }

    /// The value of a JavaScript expression, as by a user's gesture; a promise is awaited, an
    /// exception or rejection is the error.
    pub(crate) fn evaluate(&self, expression: &str) -> Result<Value, String> {
        let params = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": true,
        });
        let mut answer = self.call("Runtime.evaluate", params)?;
        match answer.get("exceptionDetails") {
            None => Ok(answer["result"]["value"].take()),
            Some(details) => {
                let said = details["exception"]["description"].as_str().or(details["text"].as_str());
                Err(said.unwrap_or("an exception without a description").to_owned())
            }
        }
    }

    /// Waits until a JavaScript expression is truthy; panics with its last value or exception
    /// when it has not become so within `timeout`.
    #[track_caller]
    pub(crate) fn wait_for(&self, condition: &str, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        loop {
            // An exception may be a page that is still loading, so it counts as "not yet".
            let last = self.evaluate(&format!("Promise.resolve({condition}).then(Boolean)"));
            if last == Ok(Value::Bool(true)) {
                return;
            }
            if Instant::now() >= deadline {
                panic!("not within {timeout:?}: {condition} (last: {last:?})");
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// What went wrong in the page so far, in the browser's words: uncaught exceptions, console
    /// warnings and errors, failed requests, violations of the content security policy.
    pub(crate) fn problems(&self) -> Vec<String> {
        // Events come before the answer to a command sent after them.
        self.evaluate("0").expect("the page answers");
        let link = self.link.borrow();
        let of_this_page = link.events.iter().filter(|event| event["sessionId"] == self.session_id.as_str());
        of_this_page.filter_map(|event| problem(&event["method"], &event["params"])).collect()
    }

    /// Writes what the window shows as a PNG file.
    pub(crate) fn screenshot(&self, path: impl AsRef<Path>) {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"})).expect("Page.captureScreenshot");
        fs::write(path, decode_base64(&text(&answer, "data"))).expect("the screenshot's file");
    }

    /// Sizes the window, in CSS pixels; `mobile` adds touch and a phone's viewport rules.
    pub(crate) fn set_viewport(&self, width: u32, height: u32, mobile: bool) {
        let params = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.call("Emulation.setDeviceMetricsOverride", params).expect("the viewport");
        self.call("Emulation.setTouchEmulationEnabled", json!({"enabled": mobile})).expect("touch");
    }

    /// Sends any DevTools command to this page, for what has no method here.
    pub(crate) fn call(&self, method: &str, params: Value) -> Result<Value, String> {
        self.link.borrow_mut().call(Some(&self.session_id), method, params)
    }

    /// Closes the window; the page sees `pagehide`, as when a person closes a tab.
    pub(crate) fn close(mut self) {
        self.shut();
    }

    fn shut(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        // Closing the context alone would end the page without telling it.
        let mut link = self.link.borrow_mut();
        let _ = link.call(None, "Target.closeTarget", json!({"targetId": self.target_id}));
        let _ = link.call(None, "Target.disposeBrowserContext", json!({"browserContextId": self.context_id}));
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.shut();
    }
}

/// The problem that a DevTools event tells of, if it does.
fn problem(method: &Value, params: &Value) -> Option<String> {
    match method.as_str()? {
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" => {
            ["error", "warning", "assert"].contains(&params["type"].as_str()?).then(|| params["args"].to_string())
        }
        "Log.entryAdded" => {
            let entry = &params["entry"];
            ["error", "warning"]
                .contains(&entry["level"].as_str()?)
                .then(|| format!("{} {}", entry["text"], entry["url"]))
        }
        _ => None,
    }
}

/// The DevTools connection: numbered commands, each answered once, and events as they come between.
struct SessionLink {
    socket: WebSocket<TcpStream>,
    next_id: u64,
    events: Vec<Value>,
}

impl SessionLink {
    fn open(url: &str) -> SessionLink {
        let address = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).expect("a ws:// address");
        let stream = TcpStream::connect(address).expect("the DevTools port");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(COMMAND_TIMEOUT)).expect("a read timeout");
        let (socket, _) = tungstenite::client(url, stream).expect("the DevTools handshake");
        SessionLink { socket, next_id: 1, events: Vec::new() }
    }

    fn call(&mut self, session_id: Option<&str>, method: &str, params: Value) -> Result<Value, String> {
        let id = self.next_id;
        self.next_id += 1;
        let mut command = json!({"id": id, "method": method, "params": params});
        if let Some(session_id) = session_id {
            command["sessionId"] = session_id.into();
        }
        let sent = self.socket.send(Message::text(command.to_string()));
        sent.map_err(|error| format!("{method}: {error}"))?;
        loop {
            let message = self.socket.read().map_err(|error| format!("{method}: {error}"))?;
            let Message::Text(body) = message else { continue };
            let mut answer: Value = serde_json::from_str(&body).map_err(|error| format!("{method}: {error}"))?;
            if answer["id"] != id {
                self.events.push(answer);
                continue;
            }
            return match answer.get("error") {
                Some(error) => Err(format!("{method}: {error}")),
                None => Ok(answer["result"].take()),
            };
        }
    }
}

/// Chromium's processes and their profile directory; both end when this is dropped.
struct Process {
    child: Child,
    profile: PathBuf,
}

impl Process {
    fn start(extra_flags: &[&str]) -> (Process, String) {
        static LAUNCHED: AtomicU32 = AtomicU32::new(0);
        let number = LAUNCHED.fetch_add(1, Ordering::Relaxed);
        let profile = std::env::temp_dir().join(format!("switchboard-chromium-{}-{number}", std::process::id()));
        fs::create_dir_all(&profile).expect("a profile directory");
        let mut child = Command::new(find_program())
            .args(FLAGS)
            .args(extra_flags)
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            // A group of its own, so that its helpers can be ended with it and nothing else is.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Chromium starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its standard error")).lines();
        let process = Process { child, profile };
        let mut said = String::new();
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some(url) = line.strip_prefix("DevTools listening on ") {
                let url = url.trim().to_owned();
                // Unread, the pipe would fill and Chromium would stop in the middle of a log line.
                thread::spawn(move || lines.for_each(drop));
                return (process, url);
            }
            said.push_str(&line);
            said.push('\n');
        }
        panic!("Chromium ended without opening its DevTools port:\n{said}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group is this child's own; `kill` is a program so that the tests need no unsafe code.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A helper that is just ending may still be writing into the profile.
        for _ in 0..20 {
            match fs::remove_dir_all(&self.profile) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => thread::sleep(POLL_INTERVAL),
                _ => return,
            }
        }
        let _ = writeln!(std::io::stderr(), "left behind: {}", self.profile.display());
    }
}

fn find_program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|directory| PROGRAMS.map(|program| directory.join(program)))
        .find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "these tests drive a real browser and none of {PROGRAMS:?} is on PATH; on Debian: apt-get install chromium"
        )
    })
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}")).to_owned()
}

fn decode_base64(encoded: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(encoded.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0u32);
    for letter in encoded.bytes().filter(|letter| *letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => panic!("not base64: {letter}"),
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}
