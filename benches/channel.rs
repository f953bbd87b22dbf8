//! What it costs to tell another shard something: `cargo bench --bench channel`.
//!
//! The reader is another thread that sleeps in the kernel as a shard's event loop does, and is woken only then.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mio::{Events, Poll, Token};
use switchboard::base::Name;
use switchboard::dialect::encoded_event::EncodedEvent;
use switchboard::message::{ShardMessage, ThreadMessage};
use switchboard::runtime::channel::{ChannelItem, ChannelReceiver, ChannelSender, channel};

use support::bench::brief;

/// Messages in one direction before the other side is asked whether it has them.
const BATCH: u64 = 1_000;

/// A thread's end of the channels: its inbox, and the poll in which it sleeps.
struct ReceivingThread {
    poll: Poll,
    events: Events,
    inbox: ChannelReceiver,
}

impl ReceivingThread {
    fn new() -> (ChannelSender, Self) {
        let poll = Poll::new().expect("a poll");
        let (sender, inbox) = channel(&poll, Token(0)).expect("a channel");
        (sender, Self { poll, events: Events::with_capacity(16), inbox })
    }

    /// The next message; sleeps until there is one.
    fn wait(&mut self) -> ChannelItem {
        loop {
            if let Some(message) = self.inbox.take() {
                return message;
            }
            if self.inbox.prepare_sleep() {
                self.poll.poll(&mut self.events, Some(Duration::from_secs(10))).expect("a wake-up");
            }
            self.inbox.end_sleep();
        }
    }
}

/// The most frequent message between shards: an event for the members of a room.
struct RoomMessage {
    room: Name,
    packed: Arc<EncodedEvent>,
}

impl RoomMessage {
    fn to_message(&self) -> ThreadMessage {
        ThreadMessage::Shard(ShardMessage::Publish {
            room: self.room.clone(),
            except: None,
            packed: self.packed.clone(),
        })
    }
}

/// Another thread that keeps what it is told and answers each question by one message, until it is told to go.
fn answer(mut receiver: ReceivingThread, back: &ChannelSender) {
    loop {
        match receiver.wait() {
            ChannelItem::Message(ThreadMessage::Shard(ShardMessage::Drain { window_ms: 0 })) => return,
            drain @ ChannelItem::Message(ThreadMessage::Shard(ShardMessage::Drain { .. })) => back.send(drain),
            message => drop(black_box(message)),
        }
    }
}

fn hops(criterion: &mut Criterion) {
    let message = RoomMessage {
        room: "standup".into(),
        packed: Arc::new(EncodedEvent { raw: Box::new([0; 341]), seq: 0, at: 0, droppable: false, for_peers: None }),
    };
    let question = || ThreadMessage::Shard(ShardMessage::Drain { window_ms: 1 });
    let mut group = criterion.benchmark_group("channel");

    let (own, mut receiver) = ReceivingThread::new();
    group.bench_function("send and take, on one thread", |bencher| {
        bencher.iter(|| {
            own.send(message.to_message());
            black_box(receiver.inbox.take())
        });
    });

    let (channel, other) = ReceivingThread::new();
    thread::scope(|scope| {
        scope.spawn(|| answer(other, &own));
        group.bench_function("to another thread that sleeps, and back", |bencher| {
            bencher.iter(|| {
                channel.send(question());
                receiver.wait()
            });
        });
        group.throughput(Throughput::Elements(BATCH));
        group.bench_function("a thousand to another thread", |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    channel.send(message.to_message());
                }
                channel.send(question());
                receiver.wait()
            });
        });
        channel.send(ThreadMessage::Shard(ShardMessage::Drain { window_ms: 0 }));
    });
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = hops }
criterion_main!(benches);
