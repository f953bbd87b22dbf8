//! Decides when to call `malloc_trim`: after a large drop in connections, as soon as the number is stable, and again
//! after the state that outlives connections (offline users, empty rooms) has been freed.

/// A trim needs a drop of at least this many connections, and of at least half of the maximum.
const MANY: usize = 1_000;

/// Number of trims, one per check, after a drop: users go offline some seconds after their connections.
const LOOKS: u32 = 6;

/// The check of one more trim, when empty rooms have been deleted.
const LAST_LOOK: u32 = 62;

/// The decision; it is made once a second.
#[derive(Debug, Default)]
pub struct MemoryTrim {
    /// Connections at the last check.
    last: usize,
    /// Maximum since the last trim.
    most: usize,
    /// Checks since the last drop.
    looks: Option<u32>,
}

impl MemoryTrim {
    /// Whether to trim now, given the present number of connections.
    pub fn is_due(&mut self, connections: usize) -> bool {
        let moved = connections.abs_diff(std::mem::replace(&mut self.last, connections));
        let is_quiet = moved <= MANY / 10 + connections / 100;
        self.most = self.most.max(connections);
        debug_assert!(self.most >= connections, "invariant: the maximum covers the present count");
        self.looks = self.looks.map(|looks| looks.saturating_add(1));
        if is_quiet && self.most - connections >= MANY.max(self.most / 2) {
            (self.most, self.looks) = (connections, Some(0));
        }
        is_quiet && self.looks.is_some_and(|looks| looks < LOOKS || looks == LAST_LOOK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(connections: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut memory_trim = MemoryTrim::default();
        let looks = connections.into_iter().enumerate().filter(|(_, connections)| memory_trim.is_due(*connections));
        looks.map(|(at, _)| at).collect()
    }

    #[test]
    fn memory_is_given_back_when_many_have_gone_and_it_is_quiet() {
        let mut connections = vec![0, 5_000, 15_000, 15_000, 15_000, 9_000, 3_000, 20];
        connections.extend([20; 100]);
        assert_eq!(looks(connections), [8, 9, 10, 11, 12, 13, 70]);
    }

    #[test]
    fn not_while_they_come_back_or_when_few_have_gone() {
        assert_eq!(looks([15_000, 15_000, 2_000, 9_000, 15_000, 15_000, 15_000]), [0; 0]);
        assert_eq!(looks([15_000, 15_000, 15_000, 10_000, 10_000, 10_000]), [0; 0]);
        assert_eq!(looks([900, 900, 0, 0, 0, 0, 0, 0, 0]), [0; 0]);
    }

    #[test]
    fn those_who_trickle_away_count_as_well() {
        let looks = looks((0..=200).map(|look| 10_000 - 50 * look));
        assert_eq!((looks.len(), looks[0], looks[6], looks[12], looks[18]), (24, 100, 150, 175, 195));
    }
}
