//! Sessions of departed connections that a shard keeps in memory for recovery: those in no room, which a restart may lose,
//! and all of them if no state outlives the process.
//!
//! Sessions are appended to a log in a few dozen bytes each, with a hash table of their positions. A new log begins every
//! eighth of the recovery window and is dropped as a whole once none of its sessions can be recovered. So a mass
//! disconnect fragments no heap and leaves no memory behind after the window.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::base::Name;
use crate::base::brief::{CompactReader, put_number, put_text};
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::about::About;
use crate::domain::command::MediaState;
use crate::domain::record::{Position, Session, TokenHash};

/// Bytes of a token's hash that are kept: as many as a connection's id has at random.
const KEY_BYTES: usize = 12;

/// Logs that cover a recovery window.
const LOGS_PER_WINDOW: u64 = 8;

/// Sessions of departed connections, by recovery token.
pub(super) struct DepartedSessions {
    window_ms: u64,
    /// Oldest first.
    logs: VecDeque<SessionLog>,
}

/// Sessions that ended within one part of the window.
struct SessionLog {
    began: Now,
    bytes: Vec<u8>,
    /// Position of each session in `bytes`.
    places: HashTable<u32>,
}

impl DepartedSessions {
    pub(super) fn new(window_ms: u64) -> Self {
        Self { window_ms, logs: VecDeque::new() }
    }

    fn span_ms(&self) -> u64 {
        (self.window_ms / LOGS_PER_WINDOW).max(1)
    }

    /// Keeps a session until a window from now; its own `expires_at` is ignored.
    pub(super) fn insert(&mut self, now: Now, session: &Session) {
        let is_over = |log: &SessionLog| {
            now.mono - log.began.mono >= self.span_ms()
                || log.bytes.len() >= limits::DEPARTED_BYTES / LOGS_PER_WINDOW as usize
        };
        if self.logs.back().is_none_or(is_over) {
            self.logs.push_back(SessionLog { began: now, bytes: Vec::new(), places: HashTable::new() });
            // The oldest sessions are the least likely to be recovered.
            while self.bytes() > limits::DEPARTED_BYTES {
                self.logs.pop_front();
            }
        }
        self.logs.back_mut().expect("invariant: the newest log is never dropped").write(now, session);
    }

    /// Takes the session of a recovery token, unless its window is over or its user is another than `may_take` accepts.
    pub(super) fn take_if(&mut self, now: Now, token: TokenHash, may_take: impl Fn(&str) -> bool) -> Option<Session> {
        // All sessions of a token are of one user.
        let kept = self.logs.iter().rev().find_map(|log| log.any(token))?;
        if !may_take(&kept.user) {
            return None;
        }
        let window_ms = self.window_ms;
        let all = self.logs.iter_mut().rev().filter_map(|log| log.take(token));
        // A session may have been kept several times: the newest counts, and all are removed.
        let (ended_at, newest) = all.fold(None, |newest, older| newest.or(Some(older)))?;
        (now.mono < ended_at + window_ms).then_some(newest)
    }

    /// When [`DepartedSessions::expire`] has work, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.logs.front().map(|log| log.began.mono + self.span_ms() + self.window_ms)
    }

    /// Drops sessions that cannot be recovered any more.
    pub(super) fn expire(&mut self, now: Now) {
        while self.next_due().is_some_and(|at| at <= now.mono) {
            self.logs.pop_front();
        }
        if self.logs.is_empty() {
            self.logs.shrink_to_fit();
        }
        debug_assert!(self.logs.iter().is_sorted_by_key(|log| log.began.mono), "invariant: the oldest log comes first");
    }

    pub(super) fn bytes(&self) -> usize {
        self.logs.iter().map(|log| log.bytes.len() + 5 * log.places.capacity()).sum()
    }
}

fn key(token: TokenHash) -> [u8; KEY_BYTES] {
    *token.0.last_chunk().expect("invariant: a key is shorter than a token's hash")
}

/// Part of the key: a token's hash needs no further hashing.
fn hash(key: [u8; KEY_BYTES]) -> u64 {
    u64::from_le_bytes(*key.first_chunk().expect("invariant: a key has at least 8 bytes"))
}

fn key_at(bytes: &[u8], place: u32) -> [u8; KEY_BYTES] {
    *bytes[place as usize..].first_chunk().expect("invariant: a session begins with its key")
}

impl SessionLog {
    fn write(&mut self, now: Now, session: &Session) {
        let Self { began, bytes, places } = self;
        let (place, key) = (bytes.len() as u32, key(session.token));
        bytes.extend_from_slice(&key);
        bytes.extend_from_slice(&session.connection.bytes());
        put_number(bytes, now.mono - began.mono);
        put_number(bytes, now.wall.saturating_sub(session.connected_at));
        put_text(bytes, Some(&session.user));
        bytes.push(session.dialect);
        put_number(bytes, session.rooms.len() as u64);
        for Position { room, epoch, seq, since, peer, about, media } in &session.rooms {
            put_text(bytes, Some(room));
            put_text(bytes, Some(epoch));
            put_number(bytes, *seq);
            put_number(bytes, since.map_or(0, |since| since.saturating_add(1)));
            put_text(bytes, peer.as_deref());
            put_text(bytes, about.packed().map(|packed| &**packed));
            bytes.push(media.bits());
        }
        places.insert_unique(hash(key), place, |place| hash(key_at(bytes, *place)));
    }

    /// A session of a token.
    fn any(&self, token: TokenHash) -> Option<Session> {
        let key = key(token);
        let place = self.places.find(hash(key), |place| key_at(&self.bytes, *place) == key)?;
        Some(self.read(token, *place).expect("invariant: a log reads back what it wrote").1)
    }

    /// Removes all sessions of a token. Returns the last one and when it ended, in monotonic milliseconds.
    fn take(&mut self, token: TokenHash) -> Option<(u64, Session)> {
        let key = key(token);
        let mut last: Option<u32> = None;
        while let Ok(found) = self.places.find_entry(hash(key), |place| key_at(&self.bytes, *place) == key) {
            last = last.max(Some(found.remove().0));
        }
        last.map(|place| self.read(token, place).expect("invariant: a log reads back what it wrote"))
    }

    fn read(&self, token: TokenHash, place: u32) -> Option<(u64, Session)> {
        let mut brief = CompactReader(self.bytes.get(place as usize + KEY_BYTES..)?);
        let connection = ConnectionId::from_bytes(brief.bytes()?);
        let after = brief.number()?;
        let active_at = self.began.wall + after;
        let connected_at = active_at.saturating_sub(brief.number()?);
        let user = brief.text()??.into();
        let dialect = brief.byte()?;
        let count = brief.number()?;
        let rooms = (0..count).map(|_| position(&mut brief)).collect::<Option<_>>()?;
        let expires_at = None;
        let session = Session { token, user, connection, connected_at, active_at, expires_at, dialect, rooms };
        Some((self.began.mono + after, session))
    }
}

fn position(brief: &mut CompactReader<'_>) -> Option<Position> {
    let (room, epoch): (Name, Name) = (brief.text()??.into(), brief.text()??.into());
    let (seq, since) = (brief.number()?, brief.number()?.checked_sub(1));
    let (peer, about) = (brief.text()?.map(Name::from), About::from_packed(brief.text()?.map(Into::into)));
    let media = brief.byte()?;
    let media = MediaState::from_bits(media);
    Some(Position { room, epoch, seq, since, peer, about, media })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ConnectionPlace;

    const WINDOW_MS: u64 = 120_000;

    impl DepartedSessions {
        fn take(&mut self, now: Now, token: TokenHash) -> Option<Session> {
            self.take_if(now, token, |_| true)
        }
    }

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
            about: About::new(None, room.ends_with('1').then_some("{}"), room.ends_with('2')),
            media: MediaState { audio: true, screen: true, sfu: true, ..MediaState::default() },
        }
    }

    fn session(number: u32, gone: u64, rooms: Vec<Position>) -> Session {
        let connection = ConnectionId::new(ConnectionPlace { node: 0, shard: 1, slot: number }, [number as u8; 12]);
        let (user, at) = (format!("user-{number}").into(), at(gone).wall);
        let (connected_at, active_at, expires_at, dialect) = (at - 60_000 * u64::from(number), at, None, number as u8);
        Session { token: token(number), user, connection, connected_at, active_at, expires_at, dialect, rooms }
    }

    #[test]
    fn session_is_taken_once_as_it_was_inserted() {
        let mut departed = DepartedSessions::new(WINDOW_MS);
        let sessions: Vec<Session> = (0..1_000)
            .map(|number| {
                session(number, u64::from(number), (0..number % 3).map(|n| position(&n.to_string())).collect())
            })
            .collect();
        for (number, session) in sessions.iter().enumerate() {
            departed.insert(at(number as u64), session);
        }
        for session in &sessions {
            assert_eq!(departed.take(at(2_000), session.token).as_ref(), Some(session));
            assert_eq!(departed.take(at(2_000), session.token), None);
        }
    }

    #[test]
    fn session_of_another_user_stays() {
        let mut departed = DepartedSessions::new(WINDOW_MS);
        departed.insert(at(0), &session(1, 0, Vec::new()));
        for _ in 0..10 {
            assert_eq!(departed.take_if(at(1), token(1), |user| user == "user-2"), None);
        }
        assert!(departed.take_if(at(WINDOW_MS - 1), token(1), |user| user == "user-1").is_some());
    }

    #[test]
    fn session_inserted_again_is_taken_in_its_newest_form() {
        let mut departed = DepartedSessions::new(WINDOW_MS);
        for gone in [0, 10, WINDOW_MS / 2] {
            departed.insert(at(gone), &session(1, gone, Vec::new()));
        }
        departed.insert(at(WINDOW_MS / 2), &session(1, WINDOW_MS / 2, vec![position("r")]));
        let back = departed.take(at(WINDOW_MS), token(1)).expect("it may come back");
        assert_eq!(back.rooms, [position("r")]);
        assert_eq!(departed.take(at(WINDOW_MS), token(1)), None);
    }

    #[test]
    fn session_after_the_window_is_gone_and_leaves_no_memory() {
        let mut departed = DepartedSessions::new(WINDOW_MS);
        for gone in 0..1_000 {
            departed.insert(at(100 * gone), &session(gone as u32, 100 * gone, Vec::new()));
        }
        assert!(departed.take(at(WINDOW_MS), token(1)).is_some());
        assert_eq!(departed.take(at(WINDOW_MS), token(0)), None);
        while let Some(due) = departed.next_due() {
            departed.expire(Now { mono: due, ..at(due) });
        }
        assert_eq!((departed.bytes(), departed.logs.capacity()), (0, 0));
    }

    #[test]
    fn session_in_a_room_takes_at_most_a_hundred_bytes() {
        let mut departed = DepartedSessions::new(WINDOW_MS);
        for number in 0..10_000 {
            departed.insert(at(0), &session(number, 0, vec![position("room-1234")]));
        }
        assert!(departed.bytes() / 10_000 <= 100, "{}", departed.bytes() / 10_000);
    }
}
