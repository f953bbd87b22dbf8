//! Joining rooms, a part of what several scenarios prepare: clients join in order, not too many at once, because a room
//! announces each join to all who are there.

use crate::play::Stage;
use crate::vocabulary::Vocabulary;
use crate::words::Share;

/// Joins of all workers that may be under way.
const UNDER_WAY_MAX: usize = 256;

/// The joins of one worker's clients.
pub struct Joining {
    share: Share,
    /// Members of each room.
    members: usize,
    asked: usize,
    joined: usize,
}

impl Joining {
    /// Nobody has joined. Rooms are numbered: the first has the first so many members of all workers.
    pub fn new(share: Share, members: usize) -> Self {
        Self { share, members, asked: 0, joined: 0 }
    }

    /// Begins.
    pub fn begin(&mut self, words: &Vocabulary, stage: &mut Stage) {
        (self.asked, self.joined) = (0, 0);
        self.ask(words, stage);
    }

    /// A client has joined.
    pub fn joined(&mut self, words: &Vocabulary, stage: &mut Stage) {
        self.joined += 1;
        self.ask(words, stage);
    }

    /// How many have joined, of how many.
    pub fn progress(&self) -> (u64, u64) {
        (self.joined as u64, self.share.clients as u64)
    }

    fn ask(&mut self, words: &Vocabulary, stage: &mut Stage) {
        let most = (UNDER_WAY_MAX / self.share.workers).max(1);
        while self.asked < self.share.clients && self.asked < self.joined + most {
            let room = (self.share.first + self.asked) / self.members;
            stage.send(self.asked, &words.join(room));
            self.asked += 1;
        }
    }
}
