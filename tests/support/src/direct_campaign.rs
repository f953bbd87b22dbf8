//! Messages to users whose connections fail without a sign, while their servers may be killed: all that was acknowledged
//! arrives, in the order of each sender.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use switchboard::base::rng::Rng;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, Message, WebSocket};

use super::fault_proxy::FaultProxy;
use super::lossy_client::{ConnectionLost, Cut, LossyClient};
use super::server::token;

/// How long a client waits for one message before it looks whether all is over.
const GLANCE: Duration = Duration::from_millis(20);

/// All that was acknowledged has arrived within this time after the last fault.
const CONVERGENCE: Duration = Duration::from_secs(60);

/// The size of a campaign.
#[derive(Clone, Copy)]
pub struct Plan {
    pub senders: usize,
    /// Users that receive; each kind of client is among every five.
    pub receivers: usize,
    /// Messages of each sender.
    pub messages: usize,
    /// How often each receiver's connection falls silent.
    pub cuts: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub acknowledged: usize,
    pub arrived: usize,
    /// Messages that a receiver got more than once.
    pub repeated: usize,
    pub reconnects: usize,
    pub recovered: usize,
}

/// The kinds of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Raw, and comes back by `resume`.
    RawResumed,
    /// Raw, and comes back without a word of what was before.
    RawAnew,
    /// Socket.IO over WebSocket, which recovers by itself.
    SocketIo,
    /// The same, and comes back without a word of what was before.
    SocketIoAnew,
    /// Socket.IO by polling, which recovers by itself.
    Polling,
}

const KINDS: [Kind; 5] = [Kind::RawResumed, Kind::SocketIo, Kind::Polling, Kind::RawAnew, Kind::SocketIoAnew];

/// A campaign under way.
pub struct Campaign {
    plan: Plan,
    /// Addresses of the servers.
    servers: Vec<String>,
    /// By receiver: the acknowledged messages, as sender and number.
    acknowledged: Vec<Mutex<BTreeSet<(usize, usize)>>>,
    senders_left: AtomicUsize,
    sent: AtomicUsize,
    is_broken: AtomicBool,
    /// When the last message had been sent.
    sent_all: OnceLock<Instant>,
}

impl Campaign {
    /// Runs a campaign; `faults` does what it will to the servers meanwhile, which listen at the same addresses afterwards.
    pub fn run(plan: Plan, servers: &[String], faults: impl FnOnce(&Self)) -> Figures {
        let campaign = &Self {
            plan,
            servers: servers.to_vec(),
            acknowledged: (0..plan.receivers).map(|_| Mutex::default()).collect(),
            senders_left: AtomicUsize::new(plan.senders),
            sent: AtomicUsize::new(0),
            is_broken: AtomicBool::new(false),
            sent_all: OnceLock::new(),
        };
        // Messages are taken for users who are known.
        for receiver in 0..plan.receivers {
            LossyClient::connect(&servers[0], &user(receiver)).expect("the server listens").leave();
        }
        thread::scope(|scope| {
            let receivers: Vec<_> = (0..plan.receivers)
                .map(|number| scope.spawn(move || Receiver::new(campaign, number).receive()))
                .collect();
            (0..plan.senders).for_each(|number| drop(scope.spawn(move || campaign.guarded(|| campaign.send(number)))));
            faults(campaign);
            let mut figures = Figures::default();
            for receiver in receivers {
                let one = receiver.join().expect("a receiver has all of its messages");
                figures.acknowledged += one.acknowledged;
                figures.arrived += one.arrived;
                figures.repeated += one.repeated;
                figures.reconnects += one.reconnects;
                figures.recovered += one.recovered;
            }
            figures
        })
    }

    /// Waits until this part (of 100) of the messages was sent.
    pub fn wait_for(&self, percent: usize) {
        let part = self.plan.senders * self.plan.messages * percent / 100;
        while self.sent.load(Ordering::Relaxed) < part && !self.is_broken.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5)); // the pause of a wait that has an end
        }
    }

    fn guarded<T>(&self, act: impl FnOnce() -> T) -> T {
        struct Breaks<'a>(&'a AtomicBool);
        impl Drop for Breaks<'_> {
            fn drop(&mut self) {
                if thread::panicking() {
                    self.0.store(true, Ordering::Relaxed);
                }
            }
        }
        let _guard = Breaks(&self.is_broken);
        act()
    }

    /// Sends messages to all receivers in turn, and notes those that are acknowledged. One without an answer is given up.
    fn send(&self, sender: usize) {
        let address = &self.servers[sender % self.servers.len()];
        let mut line = None;
        for number in 0..self.plan.messages {
            self.sent.fetch_add(1, Ordering::Relaxed);
            if self.is_broken.load(Ordering::Relaxed) {
                break;
            }
            let receiver = (sender + number) % self.plan.receivers;
            let content = format!("{sender}:{number}");
            let message = json!({ "type": "message", "toUserId": user(receiver), "content": content });
            let since = Instant::now();
            let line_now = loop {
                match line.take().map_or_else(|| LossyClient::connect(address, &format!("sender-{sender}")), Ok) {
                    Ok(connected) => break line.insert(connected),
                    Err(ConnectionLost) => assert!(since.elapsed() < CONVERGENCE, "no server listens"),
                }
                thread::sleep(Duration::from_millis(10)); // the pause of a wait that has an end
            };
            let mut answered = || {
                let line = &mut *line_now;
                line.send(&message)?;
                loop {
                    let answer = line.next()?;
                    match answer["type"].as_str() {
                        Some("message-sent") => return Ok(true),
                        Some("error") => return Ok(false),
                        _ => {}
                    }
                }
            };
            let answer: Result<bool, ConnectionLost> = answered();
            match answer {
                Ok(true) => drop(self.acknowledged[receiver].lock().expect("it").insert((sender, number))),
                Ok(false) => {}
                Err(ConnectionLost) => line = None,
            }
        }
        self.senders_left.fetch_sub(1, Ordering::Release);
    }
}

fn user(receiver: usize) -> String {
    format!("receiver-{receiver}")
}

/// One user that receives.
struct Receiver<'a> {
    campaign: &'a Campaign,
    number: usize,
    kind: Kind,
    rng: Rng,
    proxies: Vec<FaultProxy>,
    /// The proxy of the present connection.
    at: usize,
    /// How often each message came, as sender and number.
    came: BTreeMap<(usize, usize), usize>,
    /// The last number of each sender that came for the first time.
    last: BTreeMap<usize, usize>,
    figures: Figures,
    silent: Vec<TcpStream>,
    resume: Option<String>,
}

/// A connection of any kind.
enum Line {
    Raw(LossyClient),
    SocketIo(SocketIoLine),
    Polling(PollingLine),
}

impl<'a> Receiver<'a> {
    fn new(campaign: &'a Campaign, number: usize) -> Self {
        let port = |address: &String| address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        Self {
            campaign,
            number,
            kind: KINDS[number % KINDS.len()],
            rng: Rng::from_seed(number as u64),
            proxies: campaign.servers.iter().map(|address| FaultProxy::to(port(address))).collect(),
            at: 0,
            came: BTreeMap::new(),
            last: BTreeMap::new(),
            figures: Figures::default(),
            silent: Vec::new(),
            resume: None,
        }
    }

    fn receive(mut self) -> Figures {
        let campaign = self.campaign;
        campaign.guarded(|| {
            // The cuts are spread over the messages, however fast they come.
            let plan = campaign.plan;
            let share = plan.senders * plan.messages / plan.receivers;
            let every = share / (plan.cuts + 1);
            let mut line = self.connect();
            let mut next_cut = self.rng.below(every.max(1) as u64) as usize;
            while !self.is_over() {
                match self.next(&mut line) {
                    Ok(true) => {}
                    Ok(false) => self.check_time(),
                    Err(ConnectionLost) => line = self.connect(),
                }
                if self.figures.reconnects < plan.cuts && self.came.len() >= next_cut {
                    next_cut = (self.figures.reconnects + 1) * every + self.rng.below(every.max(1) as u64) as usize;
                    self.figures.reconnects += 1;
                    self.proxies[self.at].silence(self.rng.below(3) == 0);
                    self.keep_open(line);
                    line = self.connect();
                }
            }
            self.figures.acknowledged = self.acknowledged().len();
            self.figures.arrived = self.came.len();
            self.figures.repeated = self.came.values().map(|count| count - 1).sum();
            self.figures
        })
    }

    fn acknowledged(&self) -> BTreeSet<(usize, usize)> {
        self.campaign.acknowledged[self.number].lock().expect("it").clone()
    }

    /// Whether all messages were sent, and all acknowledged ones have come.
    fn is_over(&mut self) -> bool {
        assert!(!self.campaign.is_broken.load(Ordering::Relaxed), "another client has failed");
        self.campaign.senders_left.load(Ordering::Acquire) == 0
            && self.acknowledged().iter().all(|message| self.came.contains_key(message))
    }

    /// Nothing came for a moment. After the last message was sent that must have an end.
    fn check_time(&mut self) {
        if self.campaign.senders_left.load(Ordering::Acquire) == 0 {
            let since = self.campaign.sent_all.get_or_init(Instant::now);
            let missing = || -> Vec<_> {
                self.acknowledged().into_iter().filter(|message| !self.came.contains_key(message)).collect()
            };
            assert!(since.elapsed() < CONVERGENCE, "{:?} {} lacks {:?}", self.kind, self.number, missing());
        }
    }

    /// Keeps the sockets of a silent connection: closing them would tell the server.
    fn keep_open(&mut self, line: Line) {
        match line {
            Line::Raw(line) => self.silent.extend(line.cut(Cut::Silent)),
            Line::SocketIo(line) => self.silent.push(line.socket.get_ref().try_clone().expect("a descriptor")),
            Line::Polling(line) => self.silent.extend([line.reading, line.writing]),
        }
    }

    /// Connects until that succeeds: the server may be away.
    fn connect(&mut self) -> Line {
        let since = Instant::now();
        loop {
            assert!(since.elapsed() < CONVERGENCE, "no server listens");
            assert!(!self.campaign.is_broken.load(Ordering::Relaxed), "another client has failed");
            self.at = self.rng.below(self.proxies.len() as u64) as usize;
            let address = format!("127.0.0.1:{}", self.proxies[self.at].port);
            if let Ok(line) = self.try_connect(&address) {
                return line;
            }
            thread::sleep(Duration::from_millis(10)); // the pause of a wait that has an end
        }
    }

    fn try_connect(&mut self, address: &str) -> Result<Line, ConnectionLost> {
        let user = user(self.number);
        match self.kind {
            Kind::RawResumed | Kind::RawAnew => {
                let mut line = LossyClient::connect(address, &user)?;
                let former = self.resume.replace(line.token());
                if let Some(token) = former.filter(|_| self.kind == Kind::RawResumed) {
                    line.send(&json!({ "type": "resume", "recoveryToken": token, "rooms": {} }))?;
                    loop {
                        let message = line.next()?;
                        match message["type"].as_str() {
                            Some("resumed") => break self.figures.recovered += 1,
                            Some("error") => break assert_eq!(message["code"], "RECOVERY_FAILED", "{message}"),
                            _ => self.hear(message["content"].as_str()),
                        }
                    }
                }
                Ok(Line::Raw(line))
            }
            Kind::SocketIo | Kind::SocketIoAnew => {
                let mut line = SocketIoLine::open(address)?;
                line.send(&self.connect_packet(&user))?;
                self.connected(|| line.packet()?.ok_or(ConnectionLost))?;
                Ok(Line::SocketIo(line))
            }
            Kind::Polling => {
                let mut line = PollingLine::open(address)?;
                line.post(&self.connect_packet(&user))?;
                self.connected(|| line.packet())?;
                Ok(Line::Polling(line))
            }
        }
    }

    fn connect_packet(&self, user: &str) -> String {
        let mut payload = json!({ "token": token(user, &json!({})) });
        if let Some(pid) = self.resume.as_ref().filter(|_| self.kind != Kind::SocketIoAnew) {
            payload["pid"] = json!(pid);
            payload["offset"] = json!("");
        }
        format!("40{payload}")
    }

    /// Waits for the answer to a CONNECT, and sees whether the client was recovered.
    fn connected(&mut self, mut next: impl FnMut() -> Result<String, ConnectionLost>) -> Result<(), ConnectionLost> {
        loop {
            let packet = next()?;
            if let Some(object) = packet.strip_prefix("40") {
                let object: Value = serde_json::from_str(object).expect("JSON");
                let pid = object["pid"].as_str().map(str::to_owned);
                if pid.is_some() && pid == self.resume {
                    self.figures.recovered += 1;
                }
                self.resume = pid;
                return Ok(());
            }
            self.hear_packet(&packet);
        }
    }

    /// Takes the next message, if one comes at once.
    fn next(&mut self, line: &mut Line) -> Result<bool, ConnectionLost> {
        match line {
            Line::Raw(line) => {
                let message = line.next_within(GLANCE)?;
                if let Some(message) = &message {
                    self.hear(message["content"].as_str());
                }
                Ok(message.is_some())
            }
            Line::SocketIo(line) => {
                let packet = line.packet()?;
                if let Some(packet) = &packet {
                    self.hear_packet(packet);
                }
                Ok(packet.is_some())
            }
            Line::Polling(line) => {
                let packet = line.packet_within_glance()?;
                if let Some(packet) = &packet {
                    self.hear_packet(packet);
                }
                Ok(packet.is_some())
            }
        }
    }

    fn hear_packet(&mut self, packet: &str) {
        if let Some(event) = packet.strip_prefix("42") {
            let event: Vec<Value> = serde_json::from_str(event).expect("JSON");
            if event[0] == "message" {
                self.hear(event[1]["data"].as_str());
            }
        }
    }

    fn hear(&mut self, content: Option<&str>) {
        let message = content.and_then(|content| content.split_once(':'));
        let message = message.and_then(|(sender, number)| Some((sender.parse().ok()?, number.parse().ok()?)));
        let Some((sender, number)) = message else { return };
        let count = self.came.entry((sender, number)).or_default();
        *count += 1;
        if *count == 1 {
            let last = self.last.insert(sender, number);
            let is_next = last.is_none_or(|last| last < number);
            assert!(is_next, "{:?}: message {number} of sender {sender} came after {last:?}", self.kind);
        }
    }
}

/// Socket.IO over WebSocket.
struct SocketIoLine {
    socket: WebSocket<TcpStream>,
}

impl SocketIoLine {
    fn open(address: &str) -> Result<Self, ConnectionLost> {
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let stream = TcpStream::connect(address).map_err(|_| ConnectionLost)?;
        stream.set_read_timeout(Some(CONVERGENCE)).map_err(|_| ConnectionLost)?;
        let request = url.into_client_request().expect("a request");
        let (socket, _) = tungstenite::client(request, stream).map_err(|_| ConnectionLost)?;
        let mut line = Self { socket };
        match line.socket.read() {
            Ok(Message::Text(text)) if text.starts_with('0') => Ok(line),
            _ => Err(ConnectionLost),
        }
    }

    fn send(&mut self, packet: &str) -> Result<(), ConnectionLost> {
        self.socket.send(Message::text(packet)).map_err(|_| ConnectionLost)
    }

    /// The next packet, if it comes soon. Pings are answered.
    fn packet(&mut self) -> Result<Option<String>, ConnectionLost> {
        // A whole second while the server is busy: a CONNECT is answered in that time.
        self.socket.get_mut().set_read_timeout(Some(Duration::from_secs(1))).map_err(|_| ConnectionLost)?;
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) if text.as_str() == "2" => self.send("3")?,
                Ok(Message::Text(text)) => return Ok(Some(text.to_string())),
                Ok(Message::Close(_)) => return Err(ConnectionLost),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(_) => return Err(ConnectionLost),
            }
        }
    }
}

/// Socket.IO by polling, with a connection for each direction.
struct PollingLine {
    reading: TcpStream,
    writing: TcpStream,
    sid: String,
    packets: Vec<String>,
    /// What came of the answer to the poll under way.
    partial: Option<Vec<u8>>,
}

impl PollingLine {
    fn open(address: &str) -> Result<Self, ConnectionLost> {
        let connect = || {
            let stream = TcpStream::connect(address).map_err(|_| ConnectionLost)?;
            stream.set_read_timeout(Some(CONVERGENCE)).map_err(|_| ConnectionLost)?;
            Ok(stream)
        };
        let (reading, writing) = (connect()?, connect()?);
        let mut line = Self { reading, writing, sid: String::new(), packets: Vec::new(), partial: None };
        let open = line.packet()?;
        let open: Value = serde_json::from_str(open.strip_prefix('0').ok_or(ConnectionLost)?).expect("JSON");
        line.sid = format!("&sid={}", open["sid"].as_str().expect("a sid"));
        Ok(line)
    }

    fn post(&mut self, body: &str) -> Result<(), ConnectionLost> {
        let path = format!("/socket.io/?EIO=4&transport=polling{}", self.sid);
        let request = super::http::request("POST", &path, &[], Some(body));
        self.writing.write_all(request.as_bytes()).map_err(|_| ConnectionLost)?;
        let mut answer = Vec::new();
        while answer_in(&answer).is_none() {
            read_some(&mut self.writing, &mut answer)?;
        }
        answer_in(&answer).filter(|body| body == "ok").map(drop).ok_or(ConnectionLost)
    }

    /// The next packet.
    fn packet(&mut self) -> Result<String, ConnectionLost> {
        let since = Instant::now();
        while since.elapsed() < CONVERGENCE {
            if let Some(packet) = self.packet_within_glance()? {
                return Ok(packet);
            }
        }
        Err(ConnectionLost)
    }

    /// The next packet, if it comes at once. Pings are answered.
    fn packet_within_glance(&mut self) -> Result<Option<String>, ConnectionLost> {
        if self.packets.is_empty() {
            if self.partial.is_none() {
                let path = format!("/socket.io/?EIO=4&transport=polling{}", self.sid);
                let request = super::http::request("GET", &path, &[], None);
                self.reading.write_all(request.as_bytes()).map_err(|_| ConnectionLost)?;
            }
            self.reading.set_read_timeout(Some(GLANCE)).map_err(|_| ConnectionLost)?;
            let partial = self.partial.get_or_insert_default();
            read_some(&mut self.reading, partial)?;
            if let Some(body) = answer_in(partial) {
                self.partial = None;
                self.packets = body.split('\u{1e}').rev().map(str::to_owned).collect();
            }
        }
        match self.packets.pop() {
            Some(packet) if packet == "2" => self.post("3").map(|()| None),
            Some(packet) if packet == "1" => Err(ConnectionLost),
            packet => Ok(packet),
        }
    }
}

/// Reads what comes within the socket's time.
fn read_some(stream: &mut TcpStream, out: &mut Vec<u8>) -> Result<(), ConnectionLost> {
    let mut bytes = [0; 16 * 1024];
    match stream.read(&mut bytes) {
        Ok(0) => Err(ConnectionLost),
        Ok(count) => {
            out.extend_from_slice(&bytes[..count]);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(_) => Err(ConnectionLost),
    }
}

/// The body of a whole answer of status 200; an empty one, which no client awaits, of any other status.
fn answer_in(bytes: &[u8]) -> Option<String> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap_or(0);
    let body = bytes.get(end..end + length)?;
    Some(if head.starts_with("http/1.1 200") { String::from_utf8_lossy(body).into_owned() } else { "1".to_owned() })
}
