//! Conversations that nobody would write down: whatever happens, a session keeps its promises.

use proptest::prelude::*;

use super::*;
use crate::codec::engineio::Transport as EngineIoSocket;

/// One thing that may happen to a session.
#[derive(Clone, Debug)]
enum Step {
    Get(u32),
    Post(u32, &'static str),
    Begin(u32),
    Whole(u32),
    Open(u32),
    Send(u32, &'static str),
    Break(u32),
    Wait(u64),
    Say,
    Close,
}

fn any_step() -> impl Strategy<Value = Step> {
    let slot = 1_u32..5;
    let text =
        prop::sample::select(vec!["4a", "2", "2probe", "3", "5", "1", "6", "x", "bAQ", "1:2", "2:4a", "6:2probe"]);
    prop_oneof![
        4 => slot.clone().prop_map(Step::Get),
        4 => (slot.clone(), text.clone()).prop_map(|(slot, text)| Step::Post(slot, text)),
        1 => slot.clone().prop_map(Step::Begin),
        1 => slot.clone().prop_map(Step::Whole),
        3 => (5_u32..8).prop_map(Step::Open),
        6 => (5_u32..8, text).prop_map(|(slot, text)| Step::Send(slot, text)),
        1 => (1_u32..8).prop_map(Step::Break),
        3 => (0_u64..400).prop_map(Step::Wait),
        3 => Just(Step::Say),
        1 => Just(Step::Close),
    ]
}

proptest! {
    /// Whatever happens: its end is told once, nothing is sent after it but what ends requests, no poll stays without an
    /// answer, and memory is bounded.
    #[test]
    fn any_conversation_keeps_the_promises(
        version in prop::sample::select(vec![Version::V3, Version::V4]),
        begins in prop::sample::select(vec![EngineIoSocket::Polling, EngineIoSocket::WebSocket]),
        steps in prop::collection::vec(any_step(), 0..60),
    ) {
        let mut play = match begins {
            EngineIoSocket::Polling => Play::polling(version),
            EngineIoSocket::WebSocket => Play::websocket(version),
        };
        // A connection carries one request at a time.
        let mut busy: Vec<u32> = Vec::new();
        let mut begun: Vec<u32> = Vec::new();
        let mut ends = 0;
        for step in steps {
            let lines = match step {
                Step::Get(slot) | Step::Begin(slot) | Step::Post(slot, _) if busy.contains(&slot) => String::new(),
                Step::Get(slot) => { busy.push(slot); play.gets(slot) }
                Step::Post(slot, text) => { busy.push(slot); play.posts(slot, text) }
                Step::Begin(slot) => {
                    busy.push(slot);
                    if play.feed(|session, context| session.post_begun(slot, context)) {
                        begun.push(slot);
                    }
                    play.turn_ends()
                }
                Step::Whole(slot) if begun.contains(&slot) => {
                    begun.retain(|begun| *begun != slot);
                    play.feed(|session, context| {
                        if session.post_whole(slot, context) {
                            session.post_read(slot, context);
                        }
                    });
                    play.turn_ends()
                }
                Step::Whole(_) => String::new(),
                Step::Open(slot) => play.opens(slot),
                Step::Send(slot, text) => play.sends(slot, text),
                Step::Break(slot) => {
                    busy.retain(|busy| *busy != slot);
                    begun.retain(|begun| *begun != slot);
                    play.breaks(slot)
                }
                Step::Wait(ms) => play.waits(ms),
                Step::Say => {
                    play.says(PacketData::Text("something"));
                    play.turn_ends()
                }
                Step::Close => {
                    play.feed(|session, context| session.close(Reason::ServerClose, context));
                    play.turn_ends()
                }
            };
            for line in lines.lines() {
                if line.starts_with("over") {
                    ends += 1;
                    continue;
                }
                let (slot, what) = line.split_once(": ").unwrap();
                let slot: u32 = slot.parse().unwrap();
                if slot < 5 {
                    prop_assert!(busy.contains(&slot), "{slot} is answered and did not ask: {what}");
                    busy.retain(|busy| *busy != slot);
                }
            }
            prop_assert_eq!(ends, usize::from(play.session.is_over()));
            if let SessionTransport::Polling(polling) = &play.session.transport {
                prop_assert!(polling.frames.len() <= SETTINGS.outbound_bytes + 16);
                let waiting = usize::from(polling.poll.is_some()) + usize::from(polling.post.is_some());
                prop_assert!(busy.len() >= waiting);
                let is_asked = polling.poll.is_some() || polling.post.is_some();
                prop_assert!(!polling.is_leaving() || !is_asked);
            }
            prop_assert_eq!(play.session.is_gone(), play.session.next_due().is_none());
        }
    }
}
