//! Two clients that exchange messages during a test, to detect whether other clients' input disturbs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use super::client::Client;
use super::process::wait_until;
use super::server::{Server, token};

/// A pair in a room of its own that exchanges numbered messages until it is stopped.
pub struct ControlPair {
    is_stopped: Arc<AtomicBool>,
    exchanged: Arc<AtomicU64>,
    pair: JoinHandle<()>,
}

impl ControlPair {
    /// Connects the pair and has it begin. The server must create rooms on join.
    pub fn start(server: &Server) -> Self {
        let mut pair =
            ["control-a", "control-b"].map(|name| Client::connect(&server.address, Some(&token(name, &json!({})))));
        for (number, client) in pair.iter_mut().enumerate() {
            client.join("control", &number.to_string());
        }
        assert_eq!(pair[0].next_event()["type"], "peer-joined");
        let (is_stopped, exchanged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (is_stopped.clone(), exchanged.clone());
        let pair = std::thread::spawn(move || exchange(pair, &stop, &count));
        Self { is_stopped, exchanged, pair }
    }

    /// Waits until the pair has exchanged another `count` messages.
    pub fn see(&self, count: u64) {
        let wanted = self.exchanged.load(Ordering::Relaxed) + count;
        wait_until("the control pair exchanges messages", || {
            self.pair.is_finished() || self.exchanged.load(Ordering::Relaxed) >= wanted
        });
        assert!(!self.pair.is_finished(), "the control pair was disturbed");
    }

    /// Stops the pair, which must have noticed nothing.
    pub fn stop(self) {
        self.see(20);
        self.is_stopped.store(true, Ordering::Relaxed);
        if let Err(panic) = self.pair.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Messages to and fro, each of which must arrive as the next in order, with its receipt, and nothing else with them.
fn exchange(mut pair: [Client; 2], is_stopped: &AtomicBool, exchanged: &AtomicU64) {
    while !is_stopped.load(Ordering::Relaxed) {
        let number = exchanged.load(Ordering::Relaxed) + 1;
        pair.rotate_left(1);
        let [from, to] = &mut pair;
        from.send(&json!({ "type": "message", "roomId": "control", "content": number.to_string() }));
        let receipt = from.next_event();
        assert_eq!((&receipt["type"], &receipt["seq"]), (&json!("message-sent"), &json!(number)));
        let message = to.next_event();
        assert_eq!((&message["type"], &message["seq"]), (&json!("message"), &json!(number)));
        assert_eq!(message["content"], number.to_string());
        exchanged.store(number, Ordering::Relaxed);
        // A pace that leaves the processor to those who are watched.
        std::thread::sleep(Duration::from_millis(1));
    }
}
