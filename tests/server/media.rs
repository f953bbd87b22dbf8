//! The embedded media server, with str0m as the client: what a browser is too slow for, and what it does not send.

use std::net::{SocketAddr, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc};
use support::client::Client;
use support::server::{Server, command_at};

const PATIENCE: Duration = Duration::from_secs(30);

const AUTO: [&str; 5] = ["--dev", "--set", "media.mode=auto", "--set", "media.p2p_max=1"];

/// A caller with a client of `/ws` and a media connection, which sends in one audio section and receives in another.
struct Caller {
    client: Client,
    socket: UdpSocket,
    address: SocketAddr,
    server: SocketAddr,
    rtc: Rtc,
    microphone: Mid,
    sent: u64,
    /// The payloads that have come, in order.
    received: Vec<Vec<u8>>,
}

/// The address in the candidate of a description.
fn candidate_in(sdp: &str) -> SocketAddr {
    let line = sdp.lines().find(|line| line.starts_with("a=candidate:")).expect("a candidate");
    let words: Vec<&str> = line.split_whitespace().collect();
    SocketAddr::new(words[4].parse().expect("an address"), words[5].parse().expect("a port"))
}

impl Caller {
    fn offer(mut client: Client) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(2))).expect("an option");
        let address = socket.local_addr().expect("its address");
        let config = Rtc::builder().set_rtp_mode(true).clear_codecs().enable_opus(true, false);
        let mut rtc = config.build(Instant::now());
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a candidate"));
        let mut changes = rtc.sdp_api();
        let microphone = changes.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().expect("an offer");
        let sdp = offer.to_sdp_string();
        client.send(
            &json!({ "type": "offer", "roomId": "r", "toPeerId": "sfu", "offer": { "type": "offer", "sdp": sdp } }),
        );
        let answer = client.wait_for("answer")["answer"].clone();
        let sdp = answer["sdp"].as_str().expect("a description");
        let server = candidate_in(sdp);
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(sdp).expect("an answer")).expect("it fits");
        Self { client, socket, address, server, rtc, microphone, sent: 0, received: Vec::new() }
    }

    /// Sends what is to be sent, and takes what has come.
    fn run(&mut self) {
        loop {
            match self.rtc.poll_output().expect("it works") {
                Output::Timeout(_) => break,
                Output::Transmit(datagram) => drop(self.socket.send_to(&datagram.contents, datagram.destination)),
                Output::Event(Event::RtpPacket(packet)) => self.received.push(packet.payload.to_vec()),
                Output::Event(_) => {}
            }
        }
        let mut buffer = [0; 2_048];
        let input = match self.socket.recv_from(&mut buffer) {
            Ok((length, source)) => {
                let contents = buffer[..length].try_into().expect("data of a media connection");
                let receive = Receive { proto: Protocol::Udp, source, destination: self.address, contents };
                Input::Receive(Instant::now(), receive)
            }
            Err(_) => Input::Timeout(Instant::now()),
        };
        self.rtc.handle_input(input).expect("it works");
    }

    /// Sends a packet that says its number.
    fn speak(&mut self) {
        let payload_type = self.rtc.codec_config().params().first().expect("Opus").pt();
        let number = self.sent;
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_tx_by_mid(self.microphone, None) else { return };
        let time = u32::try_from(number * 960).expect("a short test");
        stream.write_rtp(RtpWrite::new(
            payload_type,
            number.into(),
            time,
            Instant::now(),
            number.to_be_bytes().to_vec(),
        ));
        self.sent += 1;
    }
}

/// Two members in a room whose media go by the server.
fn pair(server: &Server) -> (Client, Client) {
    let clients = ["ann", "ben"].map(|peer| {
        let mut client = Client::connect(&server.address, None);
        client.send(&json!({ "type": "join-room", "roomId": "r", "peerId": peer, "sfu": 1 }));
        client.wait_for("room-joined");
        client
    });
    let [mut ann, mut ben] = clients;
    for client in [&mut ann, &mut ben] {
        assert_eq!(client.wait_for("connection-mode-changed")["connectionMode"], "sfu");
    }
    (ann, ben)
}

/// The rows of the next table of slots in which one has a source, or none has.
fn slots(client: &mut Client, has_source: bool) -> Value {
    let of = |message: &Value| message["media"]["slots"].as_array().cloned().unwrap_or_default();
    let message = client.wait_until(|message| {
        message["type"] == "media-slots" && of(message).iter().any(|row| row["peerId"].is_string()) == has_source
    });
    message["media"]["slots"].clone()
}

#[test]
fn packets_of_a_caller_reach_the_other_in_order_while_strangers_send_garbage() {
    let server = Server::start(&AUTO);
    let (ann, ben) = pair(&server);
    let (mut ann, mut ben) = (Caller::offer(ann), Caller::offer(ben));
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a port");
    stranger.set_nonblocking(true).expect("an option");
    let until = Instant::now() + PATIENCE;
    let mut garbage = 0_u32;
    while ben.received.len() < 100 {
        assert!(Instant::now() < until, "{} packets have come of {}", ben.received.len(), ann.sent);
        ann.run();
        ben.run();
        if ann.rtc.is_connected() && ben.rtc.is_connected() {
            ann.speak();
        }
        // Of every kind that a media connection knows, and of none.
        for first in [0_u8, 1, 20, 22, 63, 64, 127, 128, 191, 192, 255] {
            garbage += 1;
            let length = usize::try_from(garbage % 90).expect("it fits");
            let mut datagram = vec![first; length];
            datagram.extend_from_slice(&garbage.to_be_bytes());
            stranger.send_to(&datagram, ann.server).expect("it is sent");
        }
    }
    let numbers: Vec<u64> =
        ben.received.iter().map(|payload| u64::from_be_bytes(payload[..8].try_into().expect("8"))).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert!(stranger.recv_from(&mut [0; 2_048]).is_err(), "strangers get no answer");

    let rows = slots(&mut ben.client, true);
    assert_eq!((&rows[0]["peerId"], &rows[0]["source"]), (&json!("ann"), &json!("microphone")));
    // The end of a membership ends its media at once.
    ann.client.send(&json!({ "type": "leave-room", "roomId": "r" }));
    assert_eq!(slots(&mut ben.client, false)[0]["peerId"], json!(null));
}

#[test]
fn media_server_that_has_no_address_to_tell_is_refused_at_start() {
    let mut refused = command_at("0.0.0.0:0", &["--set", "media.mode=auto"], &[]);
    let output = refused.stderr(Stdio::piped()).output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("media.announced: clients are told an address"), "{said}");
}
