//! What a shard itself remembers of connections that have gone, so that their clients may come back: of those that were in
//! no room, of whom a restart need not know; and of all, where nothing outlives the process anyway.
//!
//! Sessions are written one behind the other, in a few dozen bytes each, into a log that a hash table of places goes with.
//! A new log begins every eighth of the recovery window, and each is dropped as a whole when none of its sessions can be
//! recovered any more. So a storm leaves no holes in the heap, and nothing at all once the window is over.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::base::Name;
use crate::base::brief::{CompactReader, put_number, put_text};
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::command::MediaState;
use crate::domain::record::{Position, Session, TokenHash};

/// Bytes that are kept of a token's hash: as many as a connection's id has at random.
const KEY_BYTES: usize = 12;

/// Parts that the recovery window is divided into.
const LOGS_PER_WINDOW: u64 = 8;

/// See the module.
pub(super) struct Departed {
    window_ms: u64,
    logs: VecDeque<Log>,
}

/// The sessions of some time.
struct Log {
    began: Now,
    bytes: Vec<u8>,
    /// Where each begins.
    places: HashTable<u32>,
}

impl Departed {
    /// Nobody has gone. Who goes may come back for `window_ms` milliseconds.
    pub(super) fn new(window_ms: u64) -> Self {
        Self { window_ms, logs: VecDeque::new() }
    }

    fn span_ms(&self) -> u64 {
        (self.window_ms / LOGS_PER_WINDOW).max(1)
    }

    /// Remembers a session. Its end is a window from now, whatever it says itself.
    pub(super) fn note(&mut self, now: Now, session: &Session) {
        let is_over = |log: &Log| {
            now.mono - log.began.mono >= self.span_ms()
                || log.bytes.len() >= limits::DEPARTED_BYTES / LOGS_PER_WINDOW as usize
        };
        if self.logs.back().is_none_or(is_over) {
            self.logs.push_back(Log { began: now, bytes: Vec::new(), places: HashTable::new() });
            // Who went first has waited longest, and is the least likely to come.
            while self.bytes() > limits::DEPARTED_BYTES {
                self.logs.pop_front();
            }
        }
        if let Some(log) = self.logs.back_mut() {
            log.write(now, session);
        }
    }

    /// Takes the session that a token opens, if it is remembered and has not ended. Nobody else gets it after that.
    pub(super) fn take(&mut self, now: Now, token: TokenHash) -> Option<Session> {
        let window_ms = self.window_ms;
        let all = self.logs.iter_mut().rev().filter_map(|log| log.take(token));
        // The newest counts, should it have gone more than once; none is left behind.
        let (gone, newest) = all.fold(None, |newest, older| newest.or(Some(older)))?;
        (now.mono < gone + window_ms).then_some(newest)
    }

    /// When [`Departed::tick`] has something to forget, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.logs.front().map(|log| log.began.mono + self.span_ms() + self.window_ms)
    }

    /// Forgets whoever cannot come back any more.
    pub(super) fn tick(&mut self, now: Now) {
        while self.next_due().is_some_and(|at| at <= now.mono) {
            self.logs.pop_front();
        }
        if self.logs.is_empty() {
            self.logs.shrink_to_fit();
        }
    }

    /// Bytes of all that is remembered.
    fn bytes(&self) -> usize {
        self.logs.iter().map(|log| log.bytes.len() + 5 * log.places.capacity()).sum()
    }
}

fn key(token: TokenHash) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key.copy_from_slice(&token.0[token.0.len() - KEY_BYTES..]);
    key
}

/// A token's hash needs no hashing.
fn hash(key: [u8; KEY_BYTES]) -> u64 {
    key.first_chunk().map_or(0, |half| u64::from_le_bytes(*half))
}

fn key_at(bytes: &[u8], place: u32) -> [u8; KEY_BYTES] {
    bytes.get(place as usize..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default()
}

impl Log {
    fn write(&mut self, now: Now, session: &Session) {
        let Self { began, bytes, places } = self;
        let (place, key) = (bytes.len() as u32, key(session.token));
        bytes.extend_from_slice(&key);
        bytes.extend_from_slice(&session.connection.bytes());
        put_number(bytes, now.mono - began.mono);
        put_text(bytes, Some(&session.user));
        bytes.push(session.dialect);
        put_number(bytes, session.rooms.len() as u64);
        for Position { room, epoch, seq, since, peer, display_name, media } in &session.rooms {
            put_text(bytes, Some(room));
            put_text(bytes, Some(epoch));
            put_number(bytes, *seq);
            put_number(bytes, since.map_or(0, |since| since.saturating_add(1)));
            put_text(bytes, peer.as_deref());
            put_text(bytes, display_name.as_deref());
            bytes.push(u8::from(media.audio) | u8::from(media.video) << 1 | u8::from(media.screen) << 2);
        }
        places.insert_unique(hash(key), place, |place| hash(key_at(bytes, *place)));
    }

    /// Takes all that a token opens, of which the last counts; when it went, in monotonic milliseconds.
    fn take(&mut self, token: TokenHash) -> Option<(u64, Session)> {
        let key = key(token);
        let mut last: Option<u32> = None;
        while let Ok(found) = self.places.find_entry(hash(key), |place| key_at(&self.bytes, *place) == key) {
            last = last.max(Some(found.remove().0));
        }
        // It is what was written there, so it can be read.
        last.and_then(|place| self.read(token, place))
    }

    fn read(&self, token: TokenHash, place: u32) -> Option<(u64, Session)> {
        let mut brief = CompactReader(self.bytes.get(place as usize + KEY_BYTES..)?);
        let connection = ConnectionId::from_bytes(brief.bytes()?);
        let after = brief.number()?;
        let at = self.began.wall + after;
        let user = brief.text()??.into();
        let dialect = brief.byte()?;
        let count = brief.number()?;
        let rooms = (0..count).map(|_| position(&mut brief)).collect::<Option<_>>()?;
        let (connected_at, active_at, expires_at) = (at, at, None);
        let session = Session { token, user, connection, connected_at, active_at, expires_at, dialect, rooms };
        Some((self.began.mono + after, session))
    }
}

fn position(brief: &mut CompactReader<'_>) -> Option<Position> {
    let (room, epoch): (Name, Name) = (brief.text()??.into(), brief.text()??.into());
    let (seq, since) = (brief.number()?, brief.number()?.checked_sub(1));
    let (peer, display_name) = (brief.text()?.map(Name::from), brief.text()?.map(Into::into));
    let media = brief.byte()?;
    let media = MediaState { audio: media & 1 != 0, video: media & 2 != 0, screen: media & 4 != 0 };
    Some(Position { room, epoch, seq, since, peer, display_name, media })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ConnectionPlace;

    const WINDOW_MS: u64 = 120_000;

    fn at(ms: u64) -> Now {
        Now { mono: 1_000 + ms, wall: 1_750_000_000_000 + ms }
    }

    fn token(number: u32) -> TokenHash {
        let mut hash = [7; 32];
        hash[20..24].copy_from_slice(&number.wrapping_mul(0x9E37_79B9).to_be_bytes());
        TokenHash(hash)
    }

    fn position(room: &str) -> Position {
        Position {
            room: room.into(),
            epoch: "ab12cd34".into(),
            seq: 70_000,
            since: (room.len() > 4).then_some(69_000),
            peer: Some("p".into()),
            display_name: None,
            media: MediaState { audio: true, video: false, screen: true },
        }
    }

    fn session(number: u32, gone: u64, rooms: Vec<Position>) -> Session {
        let connection = ConnectionId::new(ConnectionPlace { node: 0, shard: 1, slot: number }, [number as u8; 12]);
        let (user, at) = (format!("user-{number}").into(), at(gone).wall);
        let (connected_at, active_at, expires_at, dialect) = (at, at, None, number as u8);
        Session { token: token(number), user, connection, connected_at, active_at, expires_at, dialect, rooms }
    }

    #[test]
    fn a_session_is_given_back_once_as_it_was() {
        let mut departed = Departed::new(WINDOW_MS);
        let sessions: Vec<Session> = (0..1_000)
            .map(|number| {
                session(number, u64::from(number), (0..number % 3).map(|n| position(&n.to_string())).collect())
            })
            .collect();
        for (number, session) in sessions.iter().enumerate() {
            departed.note(at(number as u64), session);
        }
        for session in &sessions {
            assert_eq!(departed.take(at(2_000), session.token).as_ref(), Some(session));
            assert_eq!(departed.take(at(2_000), session.token), None);
        }
    }

    #[test]
    fn the_last_time_it_went_counts_and_nothing_is_left_of_the_others() {
        let mut departed = Departed::new(WINDOW_MS);
        for gone in [0, 10, WINDOW_MS / 2] {
            departed.note(at(gone), &session(1, gone, Vec::new()));
        }
        departed.note(at(WINDOW_MS / 2), &session(1, WINDOW_MS / 2, vec![position("r")]));
        let back = departed.take(at(WINDOW_MS), token(1)).expect("it may come back");
        assert_eq!(back.rooms, [position("r")]);
        assert_eq!(departed.take(at(WINDOW_MS), token(1)), None);
    }

    #[test]
    fn after_the_window_there_is_neither_a_session_nor_memory() {
        let mut departed = Departed::new(WINDOW_MS);
        for gone in 0..1_000 {
            departed.note(at(100 * gone), &session(gone as u32, 100 * gone, Vec::new()));
        }
        assert!(departed.take(at(WINDOW_MS), token(1)).is_some());
        assert_eq!(departed.take(at(WINDOW_MS), token(0)), None);
        while let Some(due) = departed.next_due() {
            departed.tick(Now { mono: due, ..at(due) });
        }
        assert_eq!((departed.bytes(), departed.logs.capacity()), (0, 0));
    }

    #[test]
    fn a_connection_in_a_room_is_remembered_in_a_hundred_bytes() {
        let mut departed = Departed::new(WINDOW_MS);
        for number in 0..10_000 {
            departed.note(at(0), &session(number, 0, vec![position("room-1234")]));
        }
        assert!(departed.bytes() / 10_000 <= 100, "{}", departed.bytes() / 10_000);
    }
}
