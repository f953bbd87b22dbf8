//! The queue into each shard, and the waker that is used only when its reader sleeps.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::{Poll, Token, Waker};
use tokio::sync::Notify;

use mio::net::TcpStream;

use crate::message::ShardMessage;

/// What one shard's thread gets from another.
pub enum Parcel {
    /// Mail for the shard.
    ShardMessage(ShardMessage),
    /// A connection that the shard is to take over.
    Connection(Box<Moving>),
}

/// A connection on its way from one shard to another.
pub struct Moving {
    /// Its socket.
    pub stream: TcpStream,
    /// Where its client is.
    pub from: IpAddr,
    /// What came by it and has not been read.
    pub unread: Vec<u8>,
}

/// The writing end of a shard's mail.
#[derive(Clone)]
pub struct ChannelSender {
    mail: Sender<Parcel>,
    sleeper: Arc<Sleeper>,
}

/// The reading end.
pub struct Inbox {
    mail: Receiver<Parcel>,
    sleeper: Arc<Sleeper>,
}

struct Sleeper {
    waker: Rouse,
    is_asleep: AtomicBool,
}

/// What wakes a reader.
enum Rouse {
    /// It sleeps in a poll.
    Poll(Waker),
    /// It sleeps in a task.
    Task(Notify),
}

/// A mailbox whose reader sleeps in `poll`.
///
/// # Errors
/// The kernel refuses the waker's descriptor.
pub fn mailbox(poll: &Poll, token: Token) -> io::Result<(ChannelSender, Inbox)> {
    Ok(woken_by(Rouse::Poll(Waker::new(poll.registry(), token)?)))
}

/// A mailbox whose reader is a task that sleeps in [`Inbox::arrival`].
pub fn task_mailbox() -> (ChannelSender, Inbox) {
    woken_by(Rouse::Task(Notify::new()))
}

fn woken_by(waker: Rouse) -> (ChannelSender, Inbox) {
    let (sender, receiver) = unbounded();
    let sleeper = Arc::new(Sleeper { waker, is_asleep: AtomicBool::new(false) });
    (ChannelSender { mail: sender, sleeper: sleeper.clone() }, Inbox { mail: receiver, sleeper })
}

impl ChannelSender {
    /// Puts mail into the queue. To a shard that has ended it goes nowhere.
    pub fn send(&self, mail: ShardMessage) {
        self.send_parcel(Parcel::ShardMessage(mail));
    }

    /// Puts mail, or a connection, into the queue. To a shard that has ended it goes nowhere, and a connection is closed.
    pub fn send_parcel(&self, parcel: Parcel) {
        if self.mail.send(parcel).is_ok() {
            self.wake();
        }
    }

    /// Wakes the reader if it sleeps.
    fn wake(&self) {
        // Pairs with the fence in `fall_asleep`: either the reader sees the mail, or this sees it asleep.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.sleeper.is_asleep.load(Ordering::Relaxed) && self.sleeper.is_asleep.swap(false, Ordering::AcqRel) {
            self.rouse();
        }
    }

    /// Has the reader look up, whether it sleeps or is about to, and whether there is mail or not.
    pub fn rouse(&self) {
        match &self.sleeper.waker {
            Rouse::Poll(waker) => {
                if let Err(error) = waker.wake() {
                    tracing::error!(%error, "cannot wake a shard");
                }
            }
            Rouse::Task(waker) => waker.notify_one(),
        }
    }

    /// How much mail waits.
    pub fn len(&self) -> usize {
        self.mail.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.mail.is_empty()
    }
}

impl Inbox {
    /// Takes the next piece of mail.
    pub fn take(&self) -> Option<Parcel> {
        self.mail.try_recv().ok()
    }

    /// Whether there is no mail.
    pub fn is_empty(&self) -> bool {
        self.mail.is_empty()
    }

    /// Announces that the reader is about to sleep; whether it may, there being no mail.
    pub fn fall_asleep(&self) -> bool {
        self.sleeper.is_asleep.store(true, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.mail.is_empty() {
            return true;
        }
        self.sleeper.is_asleep.store(false, Ordering::Relaxed);
        false
    }

    /// Sleeps until there is mail, if the reader is a task.
    pub async fn arrival(&self) {
        if self.fall_asleep()
            && let Rouse::Task(waker) = &self.sleeper.waker
        {
            waker.notified().await;
        }
        self.wake_up();
    }

    /// The reader is up.
    pub fn wake_up(&self) {
        self.sleeper.is_asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::Events;
    use std::time::Duration;

    #[test]
    fn a_parcel_is_no_larger_than_mail() {
        assert_eq!(size_of::<Parcel>(), size_of::<ShardMessage>());
    }

    #[test]
    fn a_sleeper_is_woken_and_finds_its_mail_in_order() {
        let mut poll = Poll::new().expect("a poll");
        let (mailbox, inbox) = mailbox(&poll, Token(7)).expect("a mailbox");
        assert!(inbox.fall_asleep());
        let writer = std::thread::spawn(move || {
            for window_ms in 0..1000 {
                mailbox.send(ShardMessage::Drain { window_ms });
            }
        });
        let mut events = Events::with_capacity(4);
        let mut seen = 0;
        while seen < 1000 {
            poll.poll(&mut events, Some(Duration::from_secs(10))).expect("a wake-up");
            inbox.wake_up();
            loop {
                while let Some(Parcel::ShardMessage(ShardMessage::Drain { window_ms })) = inbox.take() {
                    assert_eq!(window_ms, seen);
                    seen += 1;
                }
                if seen == 1000 || inbox.fall_asleep() {
                    break;
                }
            }
        }
        writer.join().expect("the writer ends");
    }
}
