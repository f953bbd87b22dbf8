//! A master and its replica, and Sentinels that watch over them, of a test's own.

use std::collections::BTreeMap;

use super::process::wait_until;
use super::redis::RedisServer;

/// What the Sentinels call the master.
const NAME: &str = "mymaster";

/// See the module.
pub struct RedisGroup {
    /// The master, and then its replica, at first.
    pub servers: [RedisServer; 2],
    /// The Sentinels, in the order of the address.
    pub sentinels: Vec<RedisServer>,
}

impl RedisGroup {
    /// A group with three Sentinels, who take a server that is silent for a second for dead.
    pub fn start() -> Self {
        let master = RedisServer::start_with(&["--appendonly", "yes"]);
        let port = master.port().to_string();
        let replica = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {port}"), "--appendonly", "yes"]);
        let sentinels: Vec<RedisServer> = (0..3).map(|_| RedisServer::start_with(&["--sentinel"])).collect();
        for sentinel in &sentinels {
            sentinel.command(&["SENTINEL", "MONITOR", NAME, "127.0.0.1", &port, "2"]);
            for (name, value) in [("down-after-milliseconds", "1000"), ("failover-timeout", "4000")] {
                sentinel.command(&["SENTINEL", "SET", NAME, name, value]);
            }
        }
        let group = Self { servers: [master, replica], sentinels };
        group.wait_until_whole();
        group
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        format!("redis+sentinel://{}/{NAME}", hosts.join(","))
    }

    /// Has the Sentinels give the replica its master's place.
    pub fn fail_over(&self) {
        self.sentinels[0].command(&["SENTINEL", "FAILOVER", NAME]);
    }

    /// The server that all Sentinels take for the master.
    pub fn master(&self) -> Option<usize> {
        let ask = |sentinel: &RedisServer| -> Vec<String> {
            sentinel.ask(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {NAME}"))
        };
        let ports: Vec<String> = self.sentinels.iter().map(|sentinel| ask(sentinel)[1].clone()).collect();
        self.servers.iter().position(|server| ports.iter().all(|port| *port == server.port().to_string()))
    }

    /// Whether a Sentinel is about to replace the master.
    pub fn is_failing_over(&self) -> bool {
        self.sentinels.iter().any(|sentinel| {
            let state: BTreeMap<String, String> = sentinel.ask(&format!("SENTINEL MASTER {NAME}"));
            state.get("flags").is_some_and(|flags| flags.contains("failover_in_progress"))
        })
    }

    /// Has one Sentinel name another server, which the others know nothing of.
    pub fn mislead(&self, sentinel: usize, port: u16) {
        let sentinel = &self.sentinels[sentinel];
        sentinel.command(&["SENTINEL", "REMOVE", NAME]);
        sentinel.command(&["SENTINEL", "MONITOR", NAME, "127.0.0.1", &port.to_string(), "2"]);
    }

    /// Waits until the Sentinels know each other and a replica that has what its master has.
    pub fn wait_until_whole(&self) {
        wait_until("the Sentinels know what there is", || {
            self.sentinels.iter().all(|sentinel| {
                let said: String = sentinel.ask("INFO sentinel");
                said.contains("status=ok") && said.contains("slaves=1,sentinels=3")
            })
        });
        wait_until("the replica is in step", || {
            self.servers.iter().any(|server| {
                // A master that becomes a replica is rid of its clients.
                let info = server.try_ask("INFO replication").unwrap_or_default();
                info.contains("role:slave") && info.contains("master_link_status:up")
            })
        });
    }
}
