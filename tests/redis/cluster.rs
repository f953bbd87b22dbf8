//! A cluster of Redis servers: rooms are spread over them, channels with them.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::client::Client;
use crate::support::directory::Directory;
use crate::support::process::wait_until;
use crate::support::server::{Server, token};

struct Cluster {
    servers: Vec<Child>,
    ports: Vec<u16>,
    _directories: Vec<Directory>,
}

impl Cluster {
    fn start() -> Self {
        let mut cluster = Self { servers: Vec::new(), ports: Vec::new(), _directories: Vec::new() };
        while cluster.ports.len() < 3 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
            // Servers of a cluster speak with each other on a port of their own, 10,000 above this one unless told.
            let bus = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
            let directory = Directory::new();
            std::fs::create_dir_all(directory.path()).expect("a directory");
            let child = Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(["--cluster-enabled", "yes", "--cluster-port", &bus.to_string(), "--dir", &directory.text()])
                .stdout(Stdio::null())
                .spawn();
            cluster.servers.push(child.expect("redis-server is installed"));
            cluster.ports.push(port);
            cluster._directories.push(directory);
        }
        let addresses: Vec<String> = cluster.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        wait_until("they answer", || cluster.all(|port| redis_cli(port, &["PING"]).contains("PONG")));
        let mut create = vec!["--cluster", "create"];
        create.extend(addresses.iter().map(String::as_str));
        create.push("--cluster-yes");
        let status = Command::new("redis-cli").args(create).stdout(Stdio::null()).status();
        assert!(status.expect("redis-cli is installed").success());
        wait_until("they are a cluster", || {
            cluster.all(|port| redis_cli(port, &["CLUSTER", "INFO"]).contains("cluster_state:ok"))
        });
        cluster
    }

    fn all(&self, is_so: impl Fn(u16) -> bool) -> bool {
        self.ports.iter().all(|port| is_so(*port))
    }

    fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", self.ports[0], self.ports[1])
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn redis_cli(port: u16, words: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(words).stderr(Stdio::null()).output();
    String::from_utf8_lossy(&output.expect("redis-cli is installed").stdout).into_owned()
}

#[test]
fn members_on_two_nodes_are_in_one_room_wherever_that_is_kept() {
    let cluster = Cluster::start();
    let url = format!("redis.url={}", cluster.url());
    let servers = [(); 2].map(|()| Server::of_shards(2, &[&url]));
    let connect = |server: &Server, user: &str| Client::connect(&server.address, Some(&token(user, &json!({}))));
    let (mut ada, mut bob) = (connect(&servers[0], "ada"), connect(&servers[1], "bob"));
    for number in 0..12 {
        let room = format!("r{number}");
        ada.join(&room, "a");
        bob.join(&room, "b");
        assert_eq!(ada.next()["type"], "peer-joined");
        bob.send(&json!({ "type": "message", "roomId": room, "content": room }));
        let sent = bob.next();
        assert_eq!(sent["type"], "message-sent", "{sent}");
        assert_eq!(ada.next()["content"], room);
    }
    let keeps = |port: u16| redis_cli(port, &["--scan", "--pattern", "*:room:*"]).lines().count() > 0;
    assert!(cluster.all(keeps), "all servers keep rooms");
    ada.send(&json!({ "type": "message", "toUserId": "bob", "content": "to you" }));
    assert_eq!(bob.wait_until(|event| event["type"] == "message")["data"], "to you");
    // Scripts that all servers have forgotten are given to each again.
    for port in &cluster.ports {
        redis_cli(*port, &["SCRIPT", "FLUSH"]);
    }
    for number in 0..12 {
        ada.send(&json!({ "type": "message", "roomId": format!("r{number}"), "content": "again" }));
        assert_eq!(bob.wait_until(|event| event["type"] == "message")["content"], "again");
    }
}
