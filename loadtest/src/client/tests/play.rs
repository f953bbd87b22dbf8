//! Plays a conversation to a client, in pieces of every size, and takes down what the client asks for.

use crate::client::{Client, Effects, Reason, Settings};

/// What happens to a client.
pub(super) enum Step {
    Connected(u8),
    Received(u8, Vec<u8>),
    Ended(u8),
    Send(&'static str),
    Leave,
}

/// What a client asked for, one line each.
#[derive(Default)]
pub(super) struct Lines(pub(super) Vec<String>);

impl Effects for Lines {
    fn open(&mut self, lane: u8) {
        self.0.push(format!("open {lane}"));
    }

    fn write(&mut self, lane: u8, bytes: &[u8]) {
        self.0.push(format!("write {lane} {}", bytes.escape_ascii()));
    }

    fn close(&mut self, lane: u8) {
        self.0.push(format!("close {lane}"));
    }

    fn opened(&mut self) {
        self.0.push("opened".to_owned());
    }

    fn message(&mut self, text: &[u8]) {
        self.0.push(format!("message {}", text.escape_ascii()));
    }

    fn closed(&mut self) {
        self.0.push("closed".to_owned());
    }
}

/// Plays `steps`, each arrival in the pieces that `cut` makes of it.
fn play<'a>(
    settings: &Settings,
    steps: &'a [Step],
    cut: impl Fn(&'a [u8]) -> Vec<&'a [u8]>,
) -> (Vec<String>, Option<Reason>) {
    let mut client = Client::new(settings, 7, Some("t"));
    let mut lines = Lines::default();
    client.start(&mut lines);
    for step in steps {
        match step {
            Step::Connected(lane) => client.connected(*lane, &mut lines),
            Step::Received(lane, bytes) => {
                for piece in cut(bytes) {
                    client.received(*lane, piece, &mut lines);
                }
            }
            Step::Ended(lane) => client.ended(*lane, &mut lines),
            Step::Leave => client.leave(&mut lines),
            Step::Send(text) => client.send(text.as_bytes(), &mut lines),
        }
    }
    (lines.0, client.reason().cloned())
}

/// Whatever the split, the client asks for `expected` and closes for `reason`.
pub(super) fn agree(settings: &Settings, steps: &[Step], expected: &[&str], reason: Option<Reason>) {
    let (whole, why) = play(settings, steps, |bytes| vec![bytes]);
    assert_eq!(whole, expected);
    assert_eq!(why, reason);
    let longest = steps.iter().map(|step| if let Step::Received(_, bytes) = step { bytes.len() } else { 0 }).max();
    for size in 1..longest.unwrap_or_default().min(700) {
        let pieces = play(settings, steps, |bytes| bytes.chunks(size).collect());
        assert_eq!(pieces, (whole.clone(), why.clone()), "in pieces of {size}");
        let halves = play(settings, steps, |bytes| {
            let (first, second) = bytes.split_at(size.min(bytes.len()));
            vec![first, second]
        });
        assert_eq!(halves, (whole.clone(), why.clone()), "cut at {size}");
    }
}
