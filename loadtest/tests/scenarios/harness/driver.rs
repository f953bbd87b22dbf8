//! Drives one client over real sockets: connections are made and written to in place, and a thread per connection
//! reads.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use loadtest::client::{Client, Effects, Reason, Settings};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Few enough that much is read in pieces.
const READ_BYTES: usize = 200;

/// A client and its connections.
pub(crate) struct Driver {
    client: Client,
    pub(crate) wire: Wire,
    arrivals: Receiver<Arrival>,
}

/// What a client asked for, done.
pub(crate) struct Wire {
    server: SocketAddr,
    lanes: [Lane; 2],
    arriving: Sender<Arrival>,
    /// How often each lane was opened.
    pub(crate) opens: [usize; 2],
    pub(crate) is_open: bool,
    pub(crate) is_closed: bool,
    pub(crate) heard: Vec<String>,
}

#[derive(Default)]
struct Lane {
    stream: Option<TcpStream>,
}

/// Something that happened to the connection that was the lane's `open`th.
struct Arrival {
    lane: u8,
    open: usize,
    what: What,
}

enum What {
    Connected,
    Bytes(Vec<u8>),
    Ended,
}

impl Driver {
    /// Starts a client of that server.
    pub(crate) fn start(server: SocketAddr, settings: &Settings, token: Option<&str>) -> Self {
        let settings = Settings { host: server.to_string(), ..settings.clone() };
        settings.check().expect("the settings can be");
        let (arriving, arrivals) = channel();
        let wire = Wire {
            server,
            lanes: Default::default(),
            arriving,
            opens: [0; 2],
            is_open: false,
            is_closed: false,
            heard: Vec::new(),
        };
        let mut driver = Self { client: Client::new(&settings, 0, token), wire, arrivals };
        driver.client.start(&mut driver.wire);
        driver
    }

    /// Goes on until `is_done`.
    pub(crate) fn until(&mut self, is_done: impl Fn(&Wire) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_done(&self.wire) {
            assert!(!self.wire.is_closed, "{:?}; heard {:?}", self.client.reason(), self.wire.heard);
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(arrival) = self.arrivals.recv_timeout(left) else {
                panic!("it did not happen; heard {:?}", self.wire.heard);
            };
            self.happened(arrival);
        }
    }

    /// Sends one application message.
    pub(crate) fn send(&mut self, text: &str) {
        self.client.send(text.as_bytes(), &mut self.wire);
    }

    /// Why it closed.
    pub(crate) fn reason(&self) -> Option<&Reason> {
        self.client.reason()
    }

    fn happened(&mut self, Arrival { lane, open, what }: Arrival) {
        let at = usize::from(lane);
        // A connection that the client closed has nothing more to say.
        if open != self.wire.opens[at] || self.wire.lanes[at].stream.is_none() {
            return;
        }
        match what {
            What::Connected => self.client.connected(lane, &mut self.wire),
            What::Bytes(bytes) => self.client.received(lane, &bytes, &mut self.wire),
            What::Ended => {
                self.wire.lanes[at].stream = None;
                self.client.ended(lane, &mut self.wire);
            }
        }
    }
}

impl Effects for Wire {
    fn open(&mut self, lane: u8) {
        let at = usize::from(lane);
        assert!(self.lanes[at].stream.is_none(), "lane {lane} is open");
        self.opens[at] += 1;
        let stream = TcpStream::connect(self.server).expect("the server listens");
        stream.set_nodelay(true).expect("it is a TCP socket");
        let reading = stream.try_clone().expect("there are descriptors left");
        self.lanes[at].stream = Some(stream);
        let (open, arriving) = (self.opens[at], self.arriving.clone());
        thread::spawn(move || read(reading, |what| arriving.send(Arrival { lane, open, what }).is_ok()));
    }

    fn write(&mut self, lane: u8, bytes: &[u8]) {
        // Whether the server still takes it shows in what it answers.
        let _ = self.lanes[usize::from(lane)].stream.as_mut().expect("the lane is open").write_all(bytes);
    }

    fn close(&mut self, lane: u8) {
        let stream = self.lanes[usize::from(lane)].stream.take().expect("the lane is open");
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn opened(&mut self) {
        assert!(!self.is_open && !self.is_closed);
        self.is_open = true;
    }

    fn message(&mut self, text: &[u8]) {
        assert!(!self.is_closed);
        self.heard.push(str::from_utf8(text).expect("messages are UTF-8").to_owned());
    }

    fn closed(&mut self) {
        assert!(!self.is_closed);
        self.is_closed = true;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for stream in self.lanes.iter_mut().filter_map(|lane| lane.stream.take()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Reads until the end, or until nobody listens.
fn read(mut stream: TcpStream, mut tell: impl FnMut(What) -> bool) {
    let mut buffer = [0; READ_BYTES];
    let mut goes_on = tell(What::Connected);
    while goes_on {
        goes_on = match stream.read(&mut buffer) {
            Ok(0) | Err(_) => {
                tell(What::Ended);
                false
            }
            Ok(count) => tell(What::Bytes(buffer[..count].to_vec())),
        };
    }
}
