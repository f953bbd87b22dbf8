//! One turn of the bridge after the other: mail, what Redis said, what has become due; then what that leads to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::base::time::Now;
use crate::message::redis::{RedisCommand, RedisEvent};
use crate::message::{BRIDGE, Outgoing, ShardMessage};
use crate::owner::redis::RedisOwner;
use crate::runtime::bridge::carrier::RedisClient;
use crate::runtime::channel::{ChannelItem, ChannelReceiver, ChannelSender};
use crate::runtime::clock::Clock;

/// Pieces of mail, and of what Redis says, in one turn.
const PER_TURN: usize = 1_024;

/// With more calls under way than this no mail is read: it waits where the shards see it and refuse new work.
const CALLS_MAX: usize = 16 * 1_024;

/// How long what is under way at the end may take, in milliseconds.
const LAST_MS: u64 = 1_500;

/// See the module.
pub(super) struct Desk {
    authority: RedisOwner,
    carrier: RedisClient,
    inbox: ChannelReceiver,
    /// Those of the shards, and then its own.
    mailboxes: Arc<[ChannelSender]>,
    clock: Clock,
    is_over: Arc<AtomicBool>,
    /// Where it is said that Redis has answered for the first time.
    begun: Sender<()>,
    /// What the authority has just said; empty but for its memory.
    said: Vec<Outgoing>,
    heard: Vec<RedisEvent>,
    demands: Vec<RedisCommand>,
}

impl Desk {
    pub(super) fn new(
        authority: RedisOwner,
        carrier: RedisClient,
        inbox: ChannelReceiver,
        mailboxes: Arc<[ChannelSender]>,
        clock: Clock,
        is_over: Arc<AtomicBool>,
        begun: Sender<()>,
    ) -> Self {
        let (said, heard, demands) = (Vec::new(), Vec::new(), Vec::new());
        Self { authority, carrier, inbox, mailboxes, clock, is_over, begun, said, heard, demands }
    }

    /// Runs until nobody needs it any more, or this process may not go on.
    pub(super) async fn run(mut self) {
        let mut last: Option<u64> = None;
        loop {
            let now = self.clock.now();
            self.read_mail(now);
            if self.authority.next_due().is_some_and(|at| at <= now.mono) {
                self.authority.tick(now, &mut self.said);
            }
            if last.is_none() && self.is_over.load(Ordering::Acquire) && self.inbox.is_empty() {
                last = Some(now.mono + LAST_MS);
                self.authority.part(now);
            }
            self.pass_on(now);
            let is_done = last.is_some_and(|at| at <= now.mono || self.carrier.waiting() == 0);
            if is_done || self.authority.is_replaced() {
                return;
            }
            self.sleep(now, last).await;
        }
    }

    /// Sleeps until something happens or is due, and takes note of what Redis said.
    async fn sleep(&mut self, now: Now, last: Option<u64>) {
        let due = [self.authority.next_due(), last].into_iter().flatten().min();
        let pause = due.map_or(Duration::from_secs(3_600), |at| Duration::from_millis(at.saturating_sub(now.mono)));
        let takes_mail = self.carrier.waiting() < CALLS_MAX;
        tokio::select! {
            () = self.carrier.hear(&mut self.heard, PER_TURN) => {}
            () = self.inbox.wait(), if takes_mail => {}
            () = tokio::time::sleep(pause) => {}
        }
        self.inbox.end_sleep();
        let now = self.clock.now();
        let mut heard = std::mem::take(&mut self.heard);
        for heard in heard.drain(..) {
            if let RedisEvent::State(state) = heard {
                let _ = self.begun.try_send(());
                let shards = self.mailboxes.len() - 1;
                self.mailboxes[..shards].iter().for_each(|mailbox| mailbox.send(ShardMessage::RedisState(state)));
            }
            self.authority.told(now, heard, &mut self.said);
        }
        self.heard = heard;
    }

    fn read_mail(&mut self, now: Now) {
        for _ in 0..PER_TURN {
            if self.carrier.waiting() + self.demands.len() >= CALLS_MAX {
                return;
            }
            match self.inbox.take() {
                Some(ChannelItem::Message(mail)) => self.authority.mail(now, mail, &mut self.said),
                // Connections go to shards only.
                Some(ChannelItem::Connection(_)) => {}
                None => return,
            }
        }
    }

    /// Carries out what the authority demands and sends what it has said.
    fn pass_on(&mut self, now: Now) {
        while !self.said.is_empty() {
            let mut said = std::mem::take(&mut self.said);
            for (to, mail) in said.drain(..) {
                match to {
                    BRIDGE => self.authority.mail(now, mail, &mut self.said),
                    shard => match self.mailboxes[..self.mailboxes.len() - 1].get(usize::from(shard)) {
                        Some(mailbox) => mailbox.send(mail),
                        None => tracing::error!(shard, "there is no such shard"),
                    },
                }
            }
            if self.said.is_empty() {
                self.said = said;
                break;
            }
        }
        self.demands.extend(self.authority.orders(now));
        for demand in self.demands.drain(..) {
            self.carrier.carry(demand);
        }
    }
}
