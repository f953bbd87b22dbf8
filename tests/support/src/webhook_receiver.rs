//! An endpoint for webhooks: an HTTP server that keeps the requests it gets and answers as a test wants.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use switchboard::codec::webhook::{WebhookSecret, signatures};

use super::certificates::self_signed;
use super::process::wait_until;
use super::server::Server;

/// The secret of [`WebhookReceiver::setting`].
pub const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct WebhookRequest {
    /// The header fields, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// The status of the answer.
    pub status: u16,
}

impl WebhookRequest {
    /// The events in the body.
    pub fn events(&self) -> Vec<Value> {
        let body: Value = serde_json::from_str(&self.body).expect("JSON");
        body["data"]["events"].as_array().expect("a list").clone()
    }

    fn check_signature(&self) {
        let secret = WebhookSecret::parse(WEBHOOK_SECRET).expect("a secret");
        let (id, at) = (&self.headers["webhook-id"], self.headers["webhook-timestamp"].parse().expect("a number"));
        let right = signatures(&[secret], id, at, self.body.as_bytes());
        let given: Vec<&str> = self.headers["webhook-signature"].split(' ').collect();
        assert!(given.contains(&&*right), "{given:?}");
    }
}

/// Makes the body of an answer from that of its request.
type Answers = Box<dyn Fn(&Value) -> Value + Send>;

struct ReceiverState {
    answers: Mutex<Option<Answers>>,
    requests: Mutex<Vec<WebhookRequest>>,
    status: AtomicU16,
    delay_ms: AtomicU64,
    is_over: AtomicBool,
}

/// See the module.
pub struct WebhookReceiver {
    /// `127.0.0.1:PORT`.
    pub address: String,
    state: Arc<ReceiverState>,
    certificate: String,
}

impl WebhookReceiver {
    /// One on a free port, which answers with 200.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    /// One at an address.
    pub fn start_at(address: &str) -> Self {
        Self::start_on(address, None, String::new())
    }

    /// One with TLS, for `localhost`, with a certificate of its own.
    pub fn start_secure() -> Self {
        let (config, certificate) = self_signed();
        Self::start_on("127.0.0.1:0", Some(config), certificate)
    }

    /// The certificate of one with TLS, as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    fn start_on(address: &str, tls: Option<Arc<rustls::ServerConfig>>, certificate: String) -> Self {
        let listener = TcpListener::bind(address).expect("an address");
        let address = listener.local_addr().expect("its address").to_string();
        let (requests, is_over) = (Mutex::default(), AtomicBool::new(false));
        let state = Arc::new(ReceiverState {
            answers: Mutex::default(),
            requests,
            status: AtomicU16::new(200),
            delay_ms: AtomicU64::new(0),
            is_over,
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::Acquire) {
                    return;
                }
                let shared = shared.clone();
                let tls = tls.clone();
                thread::spawn(move || match (stream, tls) {
                    (Ok(stream), None) => serve(stream, &shared),
                    (Ok(stream), Some(config)) => {
                        let session = rustls::ServerConnection::new(config).expect("a session");
                        serve(rustls::StreamOwned::new(session, stream), &shared);
                    }
                    (Err(_), _) => {}
                });
            }
        });
        Self { address, state, certificate }
    }

    /// The argument of `--set` that makes it the endpoint `app`, with further keys.
    pub fn setting(&self, more: &str) -> String {
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        let address = &self.address;
        format!(
            "webhooks.endpoints=[{{ name = \"app\", url = \"http://{address}/hook\", secret = \"{WEBHOOK_SECRET}\"{more} }}]"
        )
    }

    /// Starts a server whose endpoint `app` it is, with further keys of that, where joining makes rooms and a client that is
    /// lost has left at once.
    pub fn start_server(&self, more: &str, arguments: &[&str]) -> Server {
        let endpoint = self.setting(more);
        let mut all = vec!["--shards", "2", "--set", &endpoint, "--set", "webhooks.allow_private=true"];
        for setting in ["rooms.create_on_join=always", "presence.grace_ms=0", "recovery.window_ms=0"] {
            all.extend(["--set", setting]);
        }
        all.extend(arguments);
        Server::start(&all)
    }

    /// Sets the bodies of the next answers, as those of a hook.
    pub fn answer_by(&self, answers: impl Fn(&Value) -> Value + Send + 'static) {
        *self.state.answers.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(answers));
    }

    /// Sets the status of the next answers.
    pub fn answer_with(&self, status: u16) {
        self.state.status.store(status, Ordering::Release);
    }

    /// Sets how long an answer takes.
    pub fn answer_after(&self, delay: Duration) {
        self.state.delay_ms.store(delay.as_millis() as u64, Ordering::Release);
    }

    /// All requests so far, each with a good signature.
    pub fn requests(&self) -> Vec<WebhookRequest> {
        let requests = self.state.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        requests.iter().for_each(WebhookRequest::check_signature);
        requests
    }

    /// The events of the accepted requests, in order, each id once.
    pub fn events(&self) -> Vec<Value> {
        let mut seen = std::collections::BTreeSet::new();
        let accepted = self.requests().into_iter().filter(|request| request.status == 200);
        let events = accepted.flat_map(|request| request.events());
        events.filter(|event| seen.insert(event["id"].as_str().expect("an id").to_owned())).collect()
    }

    /// Waits until the events are as wanted; returns them.
    pub fn wait_for(&self, what: &str, is_it: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        wait_until(what, || {
            events = self.events();
            let is_it = is_it(&events);
            if !is_it {
                thread::sleep(Duration::from_millis(20));
            }
            is_it
        });
        events
    }
}

impl Drop for WebhookReceiver {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(&self.address));
    }
}

fn serve(stream: impl Read + Write, state: &ReceiverState) {
    let mut reader = BufReader::new(stream);
    while let Some((headers, body)) = read_request(&mut reader) {
        let delay = Duration::from_millis(state.delay_ms.load(Ordering::Acquire));
        thread::sleep(delay);
        if state.is_over.load(Ordering::Acquire) {
            return;
        }
        let status = state.status.load(Ordering::Acquire);
        let said = match &*state.answers.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(answers) => answers(&serde_json::from_str(&body).expect("JSON")).to_string(),
            None => "ok".to_owned(),
        };
        let request = WebhookRequest { headers, body, status };
        state.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let answer = format!(
            "HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\nLocation: http://127.0.0.1:1/\r\n\r\n{said}",
            said.len()
        );
        if reader.get_mut().write_all(answer.as_bytes()).is_err() || reader.get_mut().flush().is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(BTreeMap<String, String>, String)> {
    let mut headers = BTreeMap::new();
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    assert!(first.starts_with("POST /hook HTTP/1.1"), "{first}");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((headers, String::from_utf8(body).ok()?))
}

/// The contents of the messages among events.
pub fn published_contents(events: &[Value]) -> Vec<String> {
    let messages = events.iter().filter(|event| event["type"] == "message.published");
    messages.map(|event| event["data"]["content"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Panics unless the rooms were occupied and vacated in turn, each first occupied.
pub fn check_alternation(events: &[Value]) {
    let mut occupied: BTreeMap<&str, bool> = BTreeMap::new();
    for event in events {
        let room = event["data"]["roomId"].as_str().unwrap_or_default();
        let is_occupied = match event["type"].as_str().unwrap_or_default() {
            "room.occupied" => true,
            "room.vacated" => false,
            _ => continue,
        };
        assert_ne!(occupied.insert(room, is_occupied).unwrap_or(false), is_occupied, "{event}");
    }
}
