//! When memory is to be given back: after many connections have gone, as soon as it is quiet, and again when what outlived
//! them for a while has gone, too.

/// Connections that have to be gone, for less is not worth it; and at least half of those that there were.
const MANY: usize = 1_000;

/// Memory is given back at so many looks once it has become quiet, for users who were lost are offline some seconds later.
const LOOKS: u32 = 6;

/// And once more after so many, when empty rooms have ended.
const LAST_LOOK: u32 = 62;

/// See the module. It is to look once a second.
#[derive(Debug, Default)]
pub struct MemoryTrim {
    /// Connections at the last look.
    last: usize,
    /// The most there have been since memory was given back.
    most: usize,
    /// Looks since then.
    looks: Option<u32>,
}

impl MemoryTrim {
    /// Whether now, that there are so many connections, memory is to be given back.
    pub fn look(&mut self, connections: usize) -> bool {
        let moved = connections.abs_diff(std::mem::replace(&mut self.last, connections));
        let is_quiet = moved <= MANY / 10 + connections / 100;
        self.most = self.most.max(connections);
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
        let mut ebb = MemoryTrim::default();
        let looks = connections.into_iter().enumerate().filter(|(_, connections)| ebb.look(*connections));
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
