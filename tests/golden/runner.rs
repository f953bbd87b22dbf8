//! Runs a conversation: its own servers, a socket per client, every step checked where it is written.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;

use crate::pattern::{self, Names, differences, key};
use crate::script::{ClientDialect, ClientIdentity, Dialect, Script, ScriptLine, Sent, Step};
use crate::scripted_client::ScriptedClient;
use crate::servers::Servers;
use crate::socketio_client::{AGENT, SocketIoClient, shown};
use support::client::{Client, End, PATIENCE};
use support::http::{self, Response};
use support::server::token;

/// Where the files are.
pub(crate) const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// Performs the file of that name on one server: with one shard and again with several, or with as many as it says
/// itself.
pub(crate) fn perform(name: &str) {
    let script = read(name);
    let runs: &[&[&str]] = if script.says_shards() { &[&[]] } else { &[&["--shards", "1"], &["--shards", "3"]] };
    for shards in runs {
        let outcome = run(&script, Servers::of_one(&script, shards));
        report(name, &shards.join(" "), outcome);
    }
}

/// Performs the file of that name on several servers that share a Redis.
pub(crate) fn perform_on_several(name: &str) {
    let script = read(name);
    report(name, "on several servers", run(&script, Servers::of_many(&script)));
}

fn read(name: &str) -> Script {
    let path = format!("{DIRECTORY}/{name}.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let script = Script::parse(&text);
    script.unwrap_or_else(|(line, problem)| panic!("tests/golden/{name}.txt:{line}: {problem}"))
}

fn report(name: &str, place: &str, outcome: Result<(), (usize, &str, String)>) {
    if let Err((number, line, problem)) = outcome {
        panic!("\ntests/golden/{name}.txt:{number} {place}\n  {line}\n{problem}\n");
    }
}

/// Performs a conversation; the step that went wrong, by its number and text, and how.
fn run(script: &Script, place: Servers) -> Result<(), (usize, &str, String)> {
    let mut stage = Runner::new(place);
    let mut lines = script.lines.iter().peekable();
    while let Some(line) = lines.next() {
        let next_hears_greeting = |next: &&ScriptLine| matches!(&next.step, Step::Hear(_, heard) if is_greeting(heard));
        let is_greeting_written = lines.peek().is_some_and(next_hears_greeting);
        // Shown should the step never come to its end.
        println!("{}: {}", line.number, line.text);
        let outcome = stage.perform(&line.step, is_greeting_written);
        outcome.map_err(|problem| (line.number, line.text.as_str(), problem))?;
    }
    let last = script.lines.last().map_or(0, |line| line.number);
    stage.end().map_err(|problem| (last, "(the end)", problem))
}

/// A performance under way.
struct Runner {
    place: Servers,
    parties: BTreeMap<String, ScriptedClient>,
    names: Names,
    last_sender: Option<String>,
    answer: Option<Response>,
}

impl Runner {
    fn new(place: Servers) -> Self {
        Self { place, parties: BTreeMap::new(), names: Names::new(), last_sender: None, answer: None }
    }

    fn perform(&mut self, step: &Step, is_greeting_written: bool) -> Result<(), String> {
        match step {
            Step::Connect(who, caller, ClientDialect { dialect: None, .. }) => {
                self.connect(who, caller, is_greeting_written)
            }
            Step::Connect(who, caller, ClientDialect { dialect: Some(dialect), polls }) => {
                self.connect_talker(who, caller, (*dialect, *polls), is_greeting_written)
            }
            Step::Open(who, query, header, polls) => {
                let query = self.spoken(query);
                let header = header.as_ref().map(|(name, value)| (name.as_str(), self.spoken(value)));
                let headers: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let (node, address) = self.place.next();
                let talker = SocketIoClient::open(&address, &query, &headers, *polls);
                self.parties.insert(who.to_owned(), ScriptedClient::talker(talker, None, node));
                Ok(())
            }
            Step::Send(who, sent) => self.send(who, sent),
            Step::Hear(who, expected) => self.hear(who, expected),
            Step::HearNothing(who) => {
                self.fence_all()?;
                let party = self.party(who)?;
                match party.left().front() {
                    None => Ok(()),
                    Some(message) => Err(format!("  {who} got {}", shown(message))),
                }
            }
            Step::MayHear(who, optional) => {
                self.party(who)?.optional.push(optional.clone());
                Ok(())
            }
            Step::Close(who, code, reason) => {
                let frame = CloseFrame { code: (*code).into(), reason: reason.as_str().into() };
                self.settle(who)?;
                let before = if self.place.is_many() { self.connections(who)? } else { None };
                self.party(who)?.send_message(Message::Close(Some(frame)));
                self.closed(who, *code, "")?;
                self.wait_for_fewer(before)
            }
            Step::Closed(who, code, reason) => self.closed(who, *code, reason),
            Step::Vanish(who) => {
                self.settle(who)?;
                let before = self.connections(who)?;
                let party = self.parties.remove(who).ok_or_else(|| unknown(who))?;
                drop(party);
                self.wait_for_fewer(before)
            }
            Step::Ask(method, path, body, caller) => self.ask(method, path, body.as_deref(), caller),
            Step::Answer(status, expected) => self.answered(*status, expected.as_ref()),
        }
    }

    fn connect(&mut self, who: &str, caller: &ClientIdentity, is_greeting_written: bool) -> Result<(), String> {
        let token = self.token_of(caller)?;
        let (node, address) = self.place.next();
        let client = Client::connect(&address, token.as_deref());
        let (hello, connection) = (client.hello.clone(), client.id().to_owned());
        let user = hello["userId"].as_str().unwrap_or_default().to_owned();
        self.parties.insert(who.to_owned(), ScriptedClient::raw(client, token, node));
        self.names.insert(key("connection", who), connection);
        if *caller == ClientIdentity::Guest {
            self.names.insert(key("guest", who), user);
        }
        if is_greeting_written {
            return Ok(());
        }
        let user = match caller {
            ClientIdentity::User { id, .. } => id.clone(),
            _ => format!("<guest:{who}>"),
        };
        let greeting = json!({
            "type": "connect",
            "connectionId": format!("<connection:{who}>"),
            "userId": user,
            "heartbeatMs": 25_000,
            "recoveryToken": "<text>",
            "timestamp": "<time>",
        });
        self.hear(who, &greeting)
    }

    fn connect_talker(
        &mut self,
        who: &str,
        caller: &ClientIdentity,
        (dialect, polls): (Dialect, bool),
        is_greeting_written: bool,
    ) -> Result<(), String> {
        let token = self.token_of(caller)?;
        let given = token.clone().unwrap_or_default();
        let bearer = format!("Bearer {given}");
        // Each where its users give it: with the CONNECT, in the query, in a header.
        let (mut query, mut headers, mut payload) = (String::new(), Vec::new(), String::new());
        match dialect {
            _ if token.is_none() => {}
            Dialect::Colon => payload = json!({ "token": given }).to_string(),
            Dialect::Camel => query = format!("token={given}"),
            Dialect::Notify => headers.push(("Authorization", bearer.as_str())),
        }
        let (node, address) = self.place.next();
        let mut talker = SocketIoClient::open(&address, &query, &headers, polls);
        let place = if dialect == Dialect::Notify { "" } else { "/chat," };
        talker.send(&format!("packet 40{place}{payload}"));
        talker.place = Some(place);
        self.parties.insert(who.to_owned(), ScriptedClient::talker(talker, token, node));
        self.names.remove(&key("connection", who));
        if is_greeting_written && self.party(who)?.is_refused(place)? {
            return Ok(());
        }
        let connection = format!("<connection:{who}>");
        self.hear(who, &json!({ "packet": format!("40{place}"), "data": { "sid": connection } }))?;
        match (dialect, caller) {
            _ if is_greeting_written => Ok(()),
            (Dialect::Colon, _) => self.hear(who, &json!(["users:online", { "users": "<any>", "total": "<number>" }])),
            (Dialect::Notify, ClientIdentity::User { id, .. }) => {
                self.hear(who, &json!(["authenticated", { "userId": id, "socketId": connection }]))
            }
            _ => Ok(()),
        }
    }

    fn token_of(&self, caller: &ClientIdentity) -> Result<Option<String>, String> {
        match caller {
            ClientIdentity::Guest => Ok(None),
            ClientIdentity::ScriptedClient(who) => match self.parties.get(who) {
                Some(party) => Ok(party.token.clone()),
                None => Err(unknown(who)),
            },
            ClientIdentity::User { id, is_admin, called, email, seconds } => {
                let mut claims = json!({ "exp": pattern::now().as_secs() + seconds });
                if *is_admin {
                    claims["role"] = "admin".into();
                }
                if let Some(called) = called {
                    claims["name"] = called.as_str().into();
                }
                if let Some(email) = email {
                    claims["email"] = email.as_str().into();
                }
                Ok(Some(token(id, &claims)))
            }
        }
    }

    fn send(&mut self, who: &str, sent: &Sent) -> Result<(), String> {
        self.settle(who)?;
        let text = match sent {
            Sent::Text(text) => self.spoken(text),
            _ => String::new(),
        };
        self.party(who)?.send(sent, &text)?;
        self.last_sender = Some(who.to_owned());
        Ok(())
    }

    /// Waits until the server has read what another client sent before.
    fn settle(&mut self, next: &str) -> Result<(), String> {
        match self.last_sender.take() {
            Some(last) if last != next && self.place.is_many() => self.fence_all(),
            Some(last) if last != next => self.parties.get_mut(&last).map_or(Ok(()), ScriptedClient::fence),
            _ => Ok(()),
        }
    }

    /// Every client has heard what it had been sent.
    fn fence_all(&mut self) -> Result<(), String> {
        // Twice, since what one has sent may still be on its way to another when that one is asked first.
        for _ in 0..2 {
            for (who, party) in &mut self.parties {
                party.fence().map_err(|problem| format!("{problem} ({who})"))?;
            }
            if self.place.is_many() {
                self.place.mark(self.parties.values_mut())?;
            }
        }
        Ok(())
    }

    /// How many connections there are, where it takes a moment until it is known that there is one less when `who` has
    /// gone.
    fn connections(&mut self, who: &str) -> Result<Option<u64>, String> {
        let is_found_out = self.party(who)?.is_found_out();
        is_found_out.then(|| self.place.mark(self.parties.values_mut())).transpose()
    }

    /// Waits until it is known that somebody has gone.
    fn wait_for_fewer(&mut self, before: Option<u64>) -> Result<(), String> {
        let Some(before) = before else { return Ok(()) };
        let until = Instant::now() + PATIENCE;
        while self.place.mark(self.parties.values_mut())? >= before {
            if Instant::now() > until {
                return Err(format!("  there are still {before} connections"));
            }
        }
        Ok(())
    }

    fn hear(&mut self, who: &str, expected: &Value) -> Result<(), String> {
        let message = self.party(who)?.next();
        let message = message.map_err(|end| format!("  the connection ended: {end:?}"))?;
        agree(expected, &message, &mut self.names)
    }

    fn closed(&mut self, who: &str, code: u16, reason: &str) -> Result<(), String> {
        let next = self.party(who)?.next();
        self.parties.remove(who);
        match next {
            Ok(message) => Err(format!("  {who} got {}", shown(&message))),
            Err(end) if end == End::Close(code, reason.to_owned()) => Ok(()),
            Err(end) => Err(format!("  the connection ended otherwise: {end:?}")),
        }
    }

    fn ask(&mut self, method: &str, path: &str, body: Option<&str>, caller: &ClientIdentity) -> Result<(), String> {
        self.settle("")?;
        let token = self.token_of(caller)?;
        let header = token.map(|token| http::bearer(&token));
        let agent = format!("User-Agent: {AGENT}");
        let headers: Vec<&str> = header.as_deref().into_iter().chain([agent.as_str()]).collect();
        let (path, body) = (self.spoken(path), body.map(|body| self.spoken(body)));
        let body = body.as_deref().or((method == "POST").then_some("{}"));
        let own = match caller {
            ClientIdentity::ScriptedClient(who) => self.parties.get(who).map(|party| party.node),
            _ => None,
        };
        let address = self.place.next_but(own);
        self.answer = Some(http::ask(address, method, &path, &headers, body));
        Ok(())
    }

    fn answered(&mut self, status: u16, expected: Option<&Value>) -> Result<(), String> {
        let response = self.answer.take().ok_or("  nothing was asked")?;
        if response.status != status {
            return Err(format!("  the answer was {} {}", response.status, response.text()));
        }
        match expected {
            Some(expected) => agree(expected, &response.json(), &mut self.names),
            None if response.body.is_empty() => Ok(()),
            None => Err(format!("  the body was {}", response.text())),
        }
    }

    /// A text as it is sent: placeholders have their values.
    fn spoken(&self, text: &str) -> String {
        pattern::substitute(text, |kind, name| match (kind, name) {
            ("token", Some(user)) => Some(token(user, &json!({}))),
            ("expired", Some(user)) => Some(token(user, &json!({ "exp": 1_000_000_000 }))),
            (kind, None) => kind.strip_prefix("text*").map(|count| "x".repeat(count.parse().expect("a number"))),
            (kind, Some(name)) => self.names.get(&key(kind, name)).cloned(),
        })
    }

    fn end(&mut self) -> Result<(), String> {
        self.fence_all()?;
        let left = self.parties.iter_mut().filter_map(|(who, party)| Some((who, party.left().front()?)));
        let lines: Vec<String> = left.map(|(who, message)| format!("  {who} got {}", shown(message))).collect();
        if lines.is_empty() { Ok(()) } else { Err(lines.join("\n")) }
    }

    fn party(&mut self, who: &str) -> Result<&mut ScriptedClient, String> {
        self.parties.get_mut(who).ok_or_else(|| unknown(who))
    }
}

fn unknown(who: &str) -> String {
    format!("  nobody is connected as {who}")
}

fn agree(expected: &Value, found: &Value, names: &mut Names) -> Result<(), String> {
    let lines = differences(expected, found, names);
    if lines.is_empty() {
        return Ok(());
    }
    Err(format!("  came: {}\n  {}", shown(found), lines.join("\n  ")))
}

/// Whether it is the first thing that some dialect tells whoever connects, or the refusal to.
fn is_greeting(heard: &Value) -> bool {
    let is_refusal = heard["packet"].as_str().is_some_and(|packet| packet.starts_with("44"));
    heard["type"] == "connect" || heard[0] == "users:online" || heard[0] == "authenticated" || is_refusal
}
