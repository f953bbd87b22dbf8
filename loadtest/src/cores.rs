//! Which processors the server and the load run on. Left alone, the kernel puts processes that wake each other on the same
//! one, now and then: then they take turns, and a server that looks idle is waiting for the processor.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors of a run, parted.
#[derive(Clone, Copy)]
pub struct Cores {
    server: CpuSet,
    load: CpuSet,
}

impl Cores {
    /// As many for the server as it has shards, the others for the load.
    pub fn part(shards: usize) -> Result<Self, String> {
        let all = sched_getaffinity(None).map_err(|error| format!("which processors there are: {error}"))?;
        let own: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).collect();
        if own.len() <= shards {
            return Err(format!("--pin: {shards} shards leave no processor for the load; there are {}", own.len()));
        }
        let set = |cpus: &[usize]| {
            let mut set = CpuSet::new();
            cpus.iter().for_each(|cpu| set.set(*cpu));
            set
        };
        Ok(Self { server: set(&own[..shards]), load: set(&own[shards..]) })
    }

    /// Runs `start` on the server's processors, where the processes that it starts stay, and goes on on the load's.
    pub fn start_server<T>(&self, start: impl FnOnce() -> T) -> Result<T, String> {
        let go = |set| sched_setaffinity(None, set).map_err(|error| format!("--pin: {error}"));
        go(&self.server)?;
        let started = start();
        go(&self.load)?;
        Ok(started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_and_load_share_no_processor() {
        let all = sched_getaffinity(None).expect("it is known").count() as usize;
        assert!(Cores::part(all).is_err_and(|error| error.contains("no processor")));
        if let Some(shards) = all.checked_sub(1).filter(|shards| *shards > 0) {
            let cores = Cores::part(shards).expect("one is left");
            let both = (0..CpuSet::MAX_CPU).filter(|cpu| cores.server.is_set(*cpu) && cores.load.is_set(*cpu)).count();
            assert_eq!((both, cores.server.count() as usize, cores.load.count()), (0, shards, 1));
        }
    }
}
