//! A Redis Cluster of a test's own: three masters, each with a third of the slots, and replicas of some of them.

use super::process::wait_until;
use super::redis::{RedisServer, free_port};

/// Servers that are masters at first.
pub const MASTERS: usize = 3;

const SLOTS: u16 = 16_384;

/// How long a server that does not answer is taken for well, in milliseconds.
const NODE_TIMEOUT: &str = "1000";

/// See the module.
pub struct RedisCluster {
    /// The masters, and behind them the replicas.
    pub servers: Vec<RedisServer>,
}

/// A server without slots.
fn one() -> RedisServer {
    // Servers of a cluster speak with each other on a port of their own, 10,000 above the other unless told.
    let bus = free_port().to_string();
    let usual = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", NODE_TIMEOUT];
    let replicas = ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"];
    RedisServer::start_with(&[&usual[..], &replicas].concat())
}

impl RedisCluster {
    /// Masters, each by itself.
    pub fn start() -> Self {
        let cluster = Self { servers: (0..MASTERS).map(|_| one()).collect() };
        for (at, server) in cluster.servers.iter().enumerate() {
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
            let [first, last] = [at, at + 1].map(|part| usize::from(SLOTS) * part / MASTERS);
            server.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(last - 1).to_string()]);
        }
        (1..MASTERS).for_each(|server| cluster.introduce(server));
        cluster.wait_until_whole();
        cluster
    }

    /// Adds a replica of a master; its place among the servers.
    pub fn add_replica(&mut self, master: usize) -> usize {
        self.servers.push(one());
        let (replica, master) = (self.servers.len() - 1, self.id(master));
        self.introduce(replica);
        self.wait_until_whole();
        self.servers[replica].command(&["CLUSTER", "REPLICATE", &master]);
        self.wait_until_in_step(replica);
        replica
    }

    fn introduce(&self, server: usize) {
        let server = &self.servers[server];
        let (port, bus) = (server.port().to_string(), server.option("--cluster-port"));
        self.servers[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// What a server is called in the cluster.
    pub fn id(&self, server: usize) -> String {
        self.servers[server].ask("CLUSTER MYID")
    }

    /// The slot of a key.
    pub fn slot(&self, key: &str) -> u16 {
        self.servers[0].ask(&format!("CLUSTER KEYSLOT {key}"))
    }

    /// Whether a server says that it is a master.
    pub fn is_master(&self, server: usize) -> bool {
        self.servers[server].ask::<String>("INFO replication").contains("role:master")
    }

    /// The master that keeps a slot, as `by` knows it.
    pub fn keeper(&self, slot: u16, by: usize) -> Option<usize> {
        let nodes: String = self.servers[by].ask("CLUSTER NODES");
        let keeps = |line: &&str| {
            line.split(' ').skip(8).filter(|word| !word.starts_with('[')).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
            })
        };
        let id = nodes.lines().find(keeps)?.split(' ').next()?;
        let port = nodes.lines().find(|line| line.starts_with(id))?.split([':', '@']).nth(1)?;
        self.servers.iter().position(|server| server.port().to_string() == port)
    }

    /// Moves a slot from one master to another, key by key; `midway`, some are here and some there.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize, midway: impl FnOnce()) {
        let slot = slot.to_string();
        let (ids, ports) = ([self.id(from), self.id(to)], self.servers[to].port().to_string());
        let set = |server: usize, words: &[&str]| {
            self.servers[server].command(&[&["CLUSTER", "SETSLOT", &slot], words].concat());
        };
        set(to, &["IMPORTING", &ids[0]]);
        set(from, &["MIGRATING", &ids[1]]);
        let move_some = |most: usize| {
            let keys: Vec<String> = self.servers[from].ask(&format!("CLUSTER GETKEYSINSLOT {slot} {most}"));
            for key in &keys {
                self.servers[from].command(&["MIGRATE", "127.0.0.1", &ports, key, "0", "5000"]);
            }
            !keys.is_empty()
        };
        move_some(2);
        midway();
        while move_some(100) {}
        (0..self.servers.len()).for_each(|server| set(server, &["NODE", &ids[1]]));
    }

    /// Waits until all servers know each other and all slots are kept.
    pub fn wait_until_whole(&self) {
        let count = format!("cluster_known_nodes:{}", self.servers.len());
        wait_until("they are a cluster", || {
            self.servers.iter().all(|server| {
                let info: String = server.ask("CLUSTER INFO");
                info.contains("cluster_state:ok") && info.contains(&count)
            })
        });
    }

    /// Waits until a replica has what its master has.
    pub fn wait_until_in_step(&self, replica: usize) {
        wait_until("the replica is in step", || {
            let info: String = self.servers[replica].ask("INFO replication");
            info.contains("role:slave") && info.contains("master_link_status:up")
        });
    }
}
