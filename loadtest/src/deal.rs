//! How clients are dealt to workers: rooms whole where that is possible, and never the first of a room alone, because it
//! sends, and its worker's other members say when it may send again.

use crate::words::Share;

/// Connections that a worker may have; a process may have 20,000 descriptors.
pub const CONNECTIONS_MAX: usize = 18_000;

/// The clients of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// How many there are.
    pub clients: usize,
    /// So many belong together, such as the members of a room: 0 to so many, and so on.
    pub group: usize,
    /// How many may be half open at once, of all workers.
    pub opening_max: usize,
}

impl Crowd {
    /// So many clients in groups, opened at a pace that a server's backlog stands.
    pub fn of(clients: usize, group: usize) -> Self {
        Self { clients, group, opening_max: 512 }
    }
}

/// Deals to so many workers, or to as many as are needed when that is 0.
pub fn deal(crowd: Crowd, workers: usize, clients_max: usize) -> Result<Vec<Share>, String> {
    let Crowd { clients, group, .. } = crowd;
    let group = group.max(1);
    let needed = clients.div_ceil(clients_max).max(1);
    // A part of a group has at least two, so that a cut can be moved by one.
    let most = if group > 1 { clients / 2 } else { clients }.max(1);
    let workers = if workers == 0 { needed } else { workers };
    if workers < needed || workers > most {
        return Err(format!("{clients} clients take from {needed} to {most} workers, not {workers}"));
    }
    let groups = clients / group;
    let cut = |at: usize| {
        if groups.div_ceil(workers) * group <= clients_max && groups >= workers && clients == groups * group {
            return at * groups / workers * group;
        }
        let cut = at * clients / workers;
        if group > 1 && cut % group == 1 && at < workers { cut - 1 } else { cut }
    };
    let opening_max = (crowd.opening_max / workers).max(1);
    let share = |at| Share { workers, first: cut(at), clients: cut(at + 1) - cut(at), opening_max };
    Ok((0..workers).map(share).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firsts(clients: usize, group: usize, workers: usize) -> Vec<usize> {
        let shares = deal(Crowd::of(clients, group), workers, CONNECTIONS_MAX).expect("it can be dealt");
        assert_eq!(shares.iter().map(|share| share.clients).sum::<usize>(), clients);
        assert!(shares.iter().all(|share| share.clients > 0 && share.clients <= CONNECTIONS_MAX), "{shares:?}");
        assert!(shares.windows(2).all(|pair| pair[0].first + pair[0].clients == pair[1].first));
        shares.iter().map(|share| share.first).collect()
    }

    #[test]
    fn there_are_as_many_workers_as_it_takes() {
        assert_eq!(firsts(18_000, 1000, 0), [0]);
        assert_eq!(firsts(18_010, 10, 0), [0, 9000]);
        assert_eq!(firsts(1, 1, 0), [0]);
        assert!(deal(Crowd::of(40_000, 10), 2, CONNECTIONS_MAX).is_err());
        assert!(deal(Crowd::of(10, 10), 6, CONNECTIONS_MAX).is_err());
    }

    #[test]
    fn rooms_are_whole_where_that_is_possible() {
        assert_eq!(firsts(1000, 10, 3), [0, 330, 660]);
        assert_eq!(firsts(30_000, 10_000, 3), [0, 10_000, 20_000]);
        assert_eq!(firsts(30_000, 10_000, 0), [0, 15_000]);
        assert_eq!(firsts(40_000, 40_000, 0), [0, 13_333, 26_666]);
    }

    #[test]
    fn a_sender_is_never_alone() {
        assert_eq!(firsts(8, 4, 3), [0, 2, 4]);
        for clients in 2..60 {
            for workers in 1..=clients / 2 {
                let firsts = firsts(clients, clients, workers);
                assert!(!firsts.contains(&1), "{clients} to {workers}: {firsts:?}");
            }
        }
    }
}
