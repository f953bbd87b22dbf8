//! When messages are due at a fixed rate. All rooms take turns, each worker sends for its own rooms, and the timetable goes
//! on whether what was due before has been sent or not: who is late stays late.

/// The timetable of one worker's rooms.
pub struct Timetable {
    start_ns: u64,
    /// Nanoseconds between two messages, whatever their rooms.
    gap_ns: f64,
    /// Rooms of all workers, the first of this one's, and how many are its own.
    rooms: usize,
    first: usize,
    own: usize,
    /// Messages that were handed out.
    count: u64,
}

impl Timetable {
    /// From a time on, so many messages a second in all rooms together.
    pub fn new(start_ns: u64, rate: f64, rooms: usize, first: usize, own: usize) -> Self {
        Self { start_ns, gap_ns: 1e9 / rate, rooms, first, own, count: 0 }
    }

    /// The next message if it is due by `now_ns`: the room, counted from this worker's first, and when it was due.
    pub fn due(&mut self, now_ns: u64) -> Option<(usize, u64)> {
        let due = self.next().filter(|due| *due <= now_ns)?;
        let room = (self.count % self.own as u64) as usize;
        self.count += 1;
        Some((room, due))
    }

    /// When the next message is due, in nanoseconds since 1970; never if this worker has no room.
    pub fn next(&self) -> Option<u64> {
        let own = self.own as u64;
        let round = self.count.checked_div(own)?;
        let place = round * self.rooms as u64 + self.first as u64 + self.count % own;
        Some(self.start_ns + (place as f64 * self.gap_ns) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_take_turns_and_late_messages_keep_their_time() {
        // Ten rooms, of which two are here, at 1,000 messages a second.
        let mut timetable = Timetable::new(5_000_000, 1000.0, 10, 3, 2);
        assert_eq!(timetable.next(), Some(8_000_000));
        assert_eq!(timetable.due(7_999_999), None);
        assert_eq!(timetable.due(8_000_000), Some((0, 8_000_000)));
        assert_eq!(timetable.due(40_000_000), Some((1, 9_000_000)));
        assert_eq!(timetable.due(40_000_000), Some((0, 18_000_000)));
        assert_eq!(timetable.due(40_000_000), Some((1, 19_000_000)));
        assert_eq!(timetable.due(18_500_000), None);
    }

    #[test]
    fn without_rooms_nothing_is_due() {
        let mut timetable = Timetable::new(0, 1000.0, 10, 3, 0);
        assert_eq!((timetable.next(), timetable.due(u64::MAX)), (None, None));
    }

    #[test]
    fn the_rate_holds_over_a_long_time() {
        let mut timetable = Timetable::new(0, 30_000.0, 7, 0, 7);
        let mut count = 0;
        while timetable.due(60_000_000_000).is_some() {
            count += 1;
        }
        assert!((1_800_000..=1_800_001).contains(&count), "{count}");
    }
}
