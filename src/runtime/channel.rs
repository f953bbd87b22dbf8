//! The channel into each thread that a shard or the bridge runs on: an unbounded queue, and a waker that is used only when
//! the receiving thread sleeps. Senders bound the queue: a shard refuses requests for an owner whose queue is too long.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::net::TcpStream;
use mio::{Poll, Token, Waker};
use tokio::sync::Notify;

use crate::message::{BridgeMessage, ThreadMessage};
use crate::runtime::tls::TlsSession;
use crate::shard::{ListenerRoles, Options};

/// An item of the channel into a shard.
pub enum ChannelItem {
    /// A message.
    Message(ThreadMessage),
    /// A connection for the receiving shard to take over.
    Connection(Box<ConnectionTransfer>),
    /// The options of the shard from now on.
    Options(Arc<Options>),
    /// To be counted, as a sign of life.
    Beat(Arc<AtomicUsize>),
}

impl<M: Into<ThreadMessage>> From<M> for ChannelItem {
    fn from(message: M) -> Self {
        Self::Message(message.into())
    }
}

impl From<Arc<AtomicUsize>> for ChannelItem {
    fn from(answers: Arc<AtomicUsize>) -> Self {
        Self::Beat(answers)
    }
}

impl From<Arc<Options>> for ChannelItem {
    fn from(options: Arc<Options>) -> Self {
        Self::Options(options)
    }
}

impl From<Box<ConnectionTransfer>> for ChannelItem {
    fn from(transfer: Box<ConnectionTransfer>) -> Self {
        Self::Connection(transfer)
    }
}

/// A connection that moves from one shard to another, with its connection permit.
pub struct ConnectionTransfer {
    /// Its socket.
    pub stream: TcpStream,
    /// The TLS on it.
    pub(super) tls: Option<Box<TlsSession>>,
    /// The client's address.
    pub from: IpAddr,
    /// What its listener serves.
    pub roles: ListenerRoles,
    /// Bytes that were received but not handled.
    pub unread: Vec<u8>,
}

/// The sending end of a channel.
pub struct ChannelSender<T = ChannelItem> {
    queue: Sender<T>,
    sleeper: Arc<Sleeper>,
}

impl<T> Clone for ChannelSender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), sleeper: self.sleeper.clone() }
    }
}

/// The receiving end of a channel.
pub struct ChannelReceiver<T = ChannelItem> {
    queue: Receiver<T>,
    sleeper: Arc<Sleeper>,
}

/// The sleep state of a receiver.
struct Sleeper {
    waker: Wakeup,
    is_asleep: AtomicBool,
}

/// How a receiver is woken.
enum Wakeup {
    /// It sleeps in a poll.
    Poll(Waker),
    /// It sleeps in a task.
    Task(Notify),
}

/// A channel into a shard, whose receiver sleeps in `poll`.
///
/// # Errors
/// The kernel refuses the waker's descriptor.
pub fn channel(poll: &Poll, token: Token) -> io::Result<(ChannelSender, ChannelReceiver)> {
    Ok(woken_by(Wakeup::Poll(Waker::new(poll.registry(), token)?)))
}

/// The channel into another thread whose receiver sleeps in `poll`.
///
/// # Errors
/// As [`channel`].
pub(super) fn request_channel<T>(poll: &Poll, token: Token) -> io::Result<(ChannelSender<T>, ChannelReceiver<T>)> {
    Ok(woken_by(Wakeup::Poll(Waker::new(poll.registry(), token)?)))
}

/// The channel into the bridge, a task that sleeps in [`ChannelReceiver::wait`].
pub fn task_channel() -> (ChannelSender<BridgeMessage>, ChannelReceiver<BridgeMessage>) {
    woken_by(Wakeup::Task(Notify::new()))
}

fn woken_by<T>(waker: Wakeup) -> (ChannelSender<T>, ChannelReceiver<T>) {
    let (sender, receiver) = unbounded();
    let sleeper = Arc::new(Sleeper { waker, is_asleep: AtomicBool::new(false) });
    (ChannelSender { queue: sender, sleeper: sleeper.clone() }, ChannelReceiver { queue: receiver, sleeper })
}

impl<T> ChannelSender<T> {
    /// Sends a message or a connection. If the receiver has ended, the item is dropped; this closes a connection.
    pub fn send(&self, item: impl Into<T>) {
        if self.queue.send(item.into()).is_ok() {
            self.wake_if_asleep();
        }
    }

    fn wake_if_asleep(&self) {
        // Pairs with the fence in `prepare_sleep`: either the receiver sees the item, or this thread sees it asleep.
        fence(Ordering::SeqCst);
        if self.sleeper.is_asleep.load(Ordering::Relaxed) && self.sleeper.is_asleep.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Wakes the receiver, or keeps it from its next sleep, even if the queue is empty.
    pub fn wake(&self) {
        match &self.sleeper.waker {
            Wakeup::Poll(waker) => {
                if let Err(error) = waker.wake() {
                    tracing::error!(%error, "cannot wake a shard");
                }
            }
            Wakeup::Task(waker) => waker.notify_one(),
        }
    }

    /// Number of queued items.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl<T> ChannelReceiver<T> {
    /// Takes the next item, if there is one.
    pub fn take(&self) -> Option<T> {
        self.queue.try_recv().ok()
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Announces that the receiver is about to sleep; returns whether it may, because the queue is empty.
    pub fn prepare_sleep(&self) -> bool {
        self.sleeper.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.sleeper.is_asleep.store(false, Ordering::Relaxed);
        false
    }

    /// Sleeps until an item arrives, if the receiver is a task.
    pub async fn wait(&self) {
        if self.prepare_sleep()
            && let Wakeup::Task(waker) = &self.sleeper.waker
        {
            waker.notified().await;
        }
        self.end_sleep();
    }

    /// Announces that the receiver is awake.
    pub fn end_sleep(&self) {
        self.sleeper.is_asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ShardMessage;
    use mio::Events;
    use std::time::Duration;

    #[test]
    fn an_item_is_no_larger_than_a_message() {
        assert_eq!(size_of::<ChannelItem>(), size_of::<ThreadMessage>());
    }

    #[test]
    fn a_sleeping_receiver_is_woken_and_receives_in_order() {
        let mut poll = Poll::new().expect("a poll");
        let (sender, inbox) = channel(&poll, Token(7)).expect("a channel");
        assert!(inbox.prepare_sleep());
        let writer = std::thread::spawn(move || {
            for window_ms in 0..1000 {
                sender.send(ShardMessage::Drain { window_ms });
            }
        });
        let mut events = Events::with_capacity(4);
        let mut seen = 0;
        while seen < 1000 {
            poll.poll(&mut events, Some(Duration::from_secs(10))).expect("a wake-up");
            inbox.end_sleep();
            loop {
                while let Some(ChannelItem::Message(ThreadMessage::Shard(ShardMessage::Drain { window_ms }))) =
                    inbox.take()
                {
                    assert_eq!(window_ms, seen);
                    seen += 1;
                }
                if seen == 1000 || inbox.prepare_sleep() {
                    break;
                }
            }
        }
        writer.join().expect("the writer ends");
    }
}
