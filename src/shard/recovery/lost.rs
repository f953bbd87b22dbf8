//! Sessions of connections that are lost and may be recovered, for statistics: what waits for them, and for how many.

use std::collections::VecDeque;

use crate::base::Name;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::domain::monitoring::SessionStats;
use crate::domain::record::{Session, TokenHash};

/// Sessions in the list. More than these count as one with nothing that waits.
const LOST_MAX: usize = 16_384;

/// Positions of lost sessions in one answer.
const POSITIONS_MAX: usize = 4_096;

/// Lost sessions of a shard, by recovery token.
pub(super) struct LostSessions {
    window_ms: u64,
    sessions: Map<TokenHash, LostSession>,
    /// The end of each window, in monotonic milliseconds, in order. A session that is lost again is in it twice.
    ends: VecDeque<(u64, TokenHash)>,
}

struct LostSession {
    ends_at: u64,
    connected_at: u64,
    /// Its rooms, with the number of the last message that it was sent of each.
    positions: Box<[(Name, u64)]>,
}

impl LostSessions {
    pub(super) fn new(window_ms: u64, seed: u64) -> Self {
        Self { window_ms, sessions: map(seed), ends: VecDeque::new() }
    }

    /// A connection is lost.
    pub(super) fn insert(&mut self, now: Now, session: &Session) {
        self.expire(now);
        if self.ends.len() >= LOST_MAX
            && let Some((_, oldest)) = self.ends.pop_front()
        {
            self.sessions.remove(&oldest);
        }
        let ends_at = now.mono + self.window_ms;
        let positions = session.rooms.iter().map(|position| (position.room.clone(), position.seq)).collect();
        let lost = LostSession { ends_at, connected_at: session.connected_at, positions };
        self.sessions.insert(session.token, lost);
        self.ends.push_back((ends_at, session.token));
        debug_assert!(self.ends.len() <= LOST_MAX, "invariant: the list of lost sessions has a bound");
    }

    /// The client of a session has come back, or will not.
    pub(super) fn remove(&mut self, token: TokenHash) {
        self.sessions.remove(&token);
    }

    /// Forgets the sessions that no client can recover any more.
    pub(super) fn expire(&mut self, now: Now) {
        while let Some((ends_at, token)) = self.ends.pop_front_if(|(ends_at, _)| *ends_at <= now.mono) {
            if self.sessions.get(&token).is_some_and(|lost| lost.ends_at == ends_at) {
                self.sessions.remove(&token);
            }
        }
        if self.ends.is_empty() {
            self.sessions.shrink_to_fit();
            self.ends.shrink_to_fit();
        }
    }

    /// Adds the lost sessions to the counts of open ones.
    pub(super) fn add_to(&mut self, now: Now, stats: &mut SessionStats) {
        self.expire(now);
        for lost in self.sessions.values() {
            stats.sessions += 1;
            stats.tokens += 1;
            stats.age_ms += now.wall.saturating_sub(lost.connected_at);
            let room_for = POSITIONS_MAX.saturating_sub(stats.waiting.len());
            stats.waiting.extend(lost.positions.iter().take(room_for).cloned());
        }
    }

    /// When the first window ends, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.ends.front().map(|(ends_at, _)| *ends_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{ConnectionId, ConnectionPlace};
    use crate::domain::about::About;
    use crate::domain::command::MediaState;
    use crate::domain::record::Position;

    const WINDOW_MS: u64 = 120_000;

    fn at(ms: u64) -> Now {
        Now { mono: 1_000 + ms, wall: 1_750_000_000_000 + ms }
    }

    fn session(number: u8) -> Session {
        let (epoch, since, peer, about, media) = ("e".into(), None, None, About::default(), MediaState::default());
        Session {
            token: TokenHash([number; 32]),
            user: "ann".into(),
            connection: ConnectionId::new(ConnectionPlace { node: 0, shard: 0, slot: 1 }, [number; 12]),
            connected_at: at(0).wall - 60_000,
            active_at: at(0).wall,
            expires_at: None,
            dialect: 0,
            rooms: vec![Position { room: "r".into(), epoch, seq: u64::from(number), since, peer, about, media }],
        }
    }

    fn stats(lost: &mut LostSessions, ms: u64) -> SessionStats {
        let mut stats = SessionStats::default();
        lost.add_to(at(ms), &mut stats);
        stats
    }

    #[test]
    fn lost_session_counts_until_its_window_ends_or_it_is_recovered() {
        let mut lost = LostSessions::new(WINDOW_MS, 1);
        for number in 1..=3 {
            lost.insert(at(0), &session(number));
        }
        lost.insert(at(1_000), &session(3));
        lost.remove(session(2).token);
        let counted = stats(&mut lost, 2_000);
        assert_eq!((counted.sessions, counted.tokens, counted.age_ms), (2, 2, 124_000));
        let mut waiting = counted.waiting;
        waiting.sort_unstable();
        assert_eq!(waiting, [("r".into(), 1), ("r".into(), 3)]);
        assert_eq!(stats(&mut lost, WINDOW_MS).sessions, 1, "one was lost again");
        assert_eq!(stats(&mut lost, WINDOW_MS + 1_000).sessions, 0);
        assert_eq!((lost.next_due(), lost.ends.capacity()), (None, 0));
    }

    #[test]
    fn lost_sessions_have_a_bound() {
        let mut lost = LostSessions::new(WINDOW_MS, 1);
        for number in 0..LOST_MAX as u32 + 9 {
            let mut token = [0; 32];
            token[..4].copy_from_slice(&number.to_be_bytes());
            lost.insert(at(0), &Session { token: TokenHash(token), ..session(1) });
        }
        assert_eq!((lost.sessions.len(), lost.ends.len()), (LOST_MAX, LOST_MAX));
    }
}
