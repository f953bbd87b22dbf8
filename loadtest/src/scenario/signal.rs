//! WebRTC signaling: offers, answers and ICE candidates from peer to peer, in the shapes of the `raw` dialect.
//!
//! Either pairs of peers exchange descriptions ([`relay`]), each delivery being the reason for the next, which measures the
//! way through the server and nothing else. Or meetings come and go ([`meetings`]): participants join one after the other,
//! and each newcomer comes to terms with everyone who is there.

mod meetings;
mod relay;
mod words;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::client::Dialect;
use crate::conductor::{Conductor, Span};
use crate::deal::Crowd;
use crate::play::Play;
use crate::report::Report;
use crate::scenario::fanout::websocket_bytes;
use crate::scenario::floor::Floor;
use crate::scenario::{Scenario, check_bytes};
use crate::vocabulary::Vocabulary;
use crate::words::{Phase, Setup};

use meetings::Meetings;
use relay::Relay;

/// Options of `signal`.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Signal {
    /// Pairs of peers
    #[arg(long, default_value_t = 1000)]
    pairs: usize,
    /// Peers in each room
    #[arg(long, default_value_t = 2)]
    room_size: usize,
    /// Offers of each pair under way
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// Offers one way only: each that is delivered triggers the next; else each is answered, and the answer does
    #[arg(long)]
    relay: bool,
    /// So many meetings at a time instead of pairs
    #[arg(long, conflicts_with_all = ["pairs", "room_size", "window", "relay"])]
    meetings: Option<usize>,
    /// Participants of each meeting
    #[arg(long, default_value_t = 4, requires = "meetings")]
    participants: usize,
    /// ICE candidates that each participant sends to each other
    #[arg(long, default_value_t = 8, requires = "meetings")]
    candidates: usize,
    /// Bytes of a description, as JSON spells it
    #[arg(long, default_value_t = 2048)]
    bytes: usize,
    /// Seconds to measure
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// Offers of a pair that can be told apart while they are under way.
const WINDOW_MAX: usize = 128;

/// With more participants, the streams of a meeting, which are the square of them, would be the load.
const PARTICIPANTS_MAX: usize = 100;

/// Larger descriptions are larger than any server takes them.
const BYTES_MAX: usize = 16 << 20;

impl Scenario for Signal {
    fn crowd(&self, words: &Vocabulary) -> Result<Crowd, String> {
        check_bytes(self.bytes)?;
        if self.bytes > BYTES_MAX {
            return Err(format!("a description has at most {BYTES_MAX} bytes"));
        }
        if words.dialect() != Dialect::Raw {
            return Err("signal takes the raw dialect: in others, clients cannot name themselves as peers".to_owned());
        }
        let Some(meetings) = self.meetings else { return self.pairs() };
        if meetings == 0 || !(2..=PARTICIPANTS_MAX).contains(&self.participants) {
            return Err(format!("a meeting has 2 to {PARTICIPANTS_MAX} participants, and there is at least one"));
        }
        Ok(Crowd::of(meetings * self.participants, self.participants))
    }

    fn play(&self, setup: &Setup) -> Box<dyn Play> {
        if self.meetings.is_some() {
            Box::new(Meetings::new(self, setup.share))
        } else {
            Box::new(Relay::new(self, setup.share))
        }
    }

    fn conduct(&self, conductor: &mut Conductor) -> Result<Vec<Report>, String> {
        let mut report = Report::new(&self.title());
        conductor.phase(Phase::Open)?;
        conductor.phase(Phase::Prepare)?;
        let held = conductor.tally()?.counts.get("held").copied();
        if self.meetings.is_some_and(|meetings| held != Some(meetings as u64)) {
            return Err("a meeting is held by one worker: give fewer --workers".to_owned());
        }
        let span = conductor.measure(self.seconds, &mut report)?;
        if self.meetings.is_some() {
            quote_meetings(&span, &mut report);
        }
        conductor.finish(&mut report)?;
        Ok(vec![report])
    }

    fn floor(&self, _words: &Vocabulary, report: &Report) -> Option<Floor> {
        if self.meetings.is_some() {
            return None;
        }
        let bytes = websocket_bytes(report.numbers.get("message_bytes")?.round() as usize);
        Some(Floor { sockets: 0, pairs: Some(self.pairs), batch: 1, bytes, seconds: self.seconds })
    }
}

impl Signal {
    fn pairs(&self) -> Result<Crowd, String> {
        if self.pairs == 0 || !(1..=WINDOW_MAX).contains(&self.window) {
            return Err(format!("there is at least one pair, each with 1 to {WINDOW_MAX} offers under way"));
        }
        if self.room_size < 2 || !self.room_size.is_multiple_of(2) {
            return Err("a room has whole pairs: 2 peers, or 4, or more".to_owned());
        }
        Ok(Crowd::of(2 * self.pairs, 2))
    }

    fn title(&self) -> String {
        let Self { pairs, room_size, window, participants, candidates, bytes, .. } = self;
        if let Some(meetings) = self.meetings {
            return format!("signal {meetings} meetings of {participants}, {bytes} B, {candidates} candidates");
        }
        let what = if self.relay { "offers" } else { "offers and answers" };
        format!("signal {pairs} pairs in rooms of {room_size}, {what}, {window} under way, {bytes} B")
    }
}

fn quote_meetings(span: &Span, report: &mut Report) {
    for name in ["meetings", "joins"] {
        report.number(&format!("{name}_per_s"), span.count(name) / span.seconds);
        if let Some(rate) = span.per_cpu_second(name) {
            report.number(&format!("{name}_per_cpu_s"), rate);
        }
    }
}
