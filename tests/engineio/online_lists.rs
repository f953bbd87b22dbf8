//! Online lists as `colon` clients receive them: once after connecting, and in their rooms.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Error, Message};

use support::client::{Client, PATIENCE};
use support::engineio::{Polling, Socket, connect_packet, event};
use support::server::{Server, token};

/// A server where everybody is told how others are, and whoever is lost has left at once.
fn server(shards: usize) -> Server {
    Server::of_shards(shards, &["presence.scope=all"])
}

fn names(users: &Value) -> Vec<String> {
    let users = users.as_array().expect("a list");
    users.iter().map(|user| user["userId"].as_str().expect("a user id").to_owned()).collect()
}

/// A client that keeps the list of who is online, as any user interface does.
struct OnlineListClient {
    socket: Socket,
    user: String,
    online: BTreeSet<String>,
    lists: usize,
}

impl OnlineListClient {
    fn connect(server: &Server, user: &str) -> Self {
        let mut socket = Socket::open(&server.address, "/socket.io/");
        socket.send(&connect_packet("/chat", user));
        Self { socket, user: user.to_owned(), online: BTreeSet::new(), lists: 0 }
    }

    /// Takes all that has come.
    fn look(&mut self) {
        self.socket.0.get_ref().set_read_timeout(Some(Duration::from_millis(1))).expect("an option");
        loop {
            match self.socket.0.read() {
                Ok(Message::Text(text)) => self.hear(&text),
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                other => panic!("{other:?}"),
            }
        }
    }

    fn hear(&mut self, packet: &str) {
        if !packet.starts_with("42") {
            return;
        }
        let (name, argument) = event(packet);
        let user = argument["userId"].as_str().unwrap_or_default().to_owned();
        match name.as_str() {
            "users:online" => {
                self.lists += 1;
                self.online = names(&argument["users"]).into_iter().collect();
                assert_eq!(argument["total"], self.online.len());
                assert!(self.online.contains(&self.user), "{} is not in its own list", self.user);
            }
            "user:online" => drop(self.online.insert(user)),
            "user:offline" => drop(self.online.remove(&user)),
            other => panic!("{other}"),
        }
    }
}

/// Many come and go at once, on several shards; what each has been told comes to the same in the end.
#[test]
fn online_list_in_a_crowd_is_complete_for_everyone() {
    const USERS: usize = 60;
    for shards in [1, 3] {
        let server = server(shards);
        let mut watchers = Vec::new();
        let mut leaving = Vec::new();
        for number in 0..USERS {
            let watcher = OnlineListClient::connect(&server, &format!("user-{number:03}"));
            if number % 3 == 0 {
                leaving.push(watcher)
            } else {
                watchers.push(watcher)
            };
            if number % 5 == 4 {
                drop(leaving.pop());
            }
        }
        drop(leaving);
        let expected: BTreeSet<String> = watchers.iter().map(|watcher| watcher.user.clone()).collect();
        let until = Instant::now() + PATIENCE;
        while watchers.iter().any(|watcher| watcher.online != expected) {
            assert!(Instant::now() < until, "they do not agree");
            watchers.iter_mut().for_each(OnlineListClient::look);
        }
        for watcher in &watchers {
            assert_eq!(watcher.lists, 1, "{}", watcher.user);
        }
    }
}

#[test]
fn online_list_of_all_users_is_bounded() {
    const USERS: usize = 1_010;
    let server = server(2);
    let connect = |number| Client::connect(&server.address, Some(&token(&format!("user-{number:04}"), &json!({}))));
    let _others: Vec<Client> = (0..USERS).map(connect).collect();
    let mut socket = Socket::open(&server.address, "/socket.io/");
    socket.send(&connect_packet("/chat", "zoe"));
    let list = socket.hear("users:online");
    assert_eq!(list["total"], USERS + 1);
    let listed = names(&list["users"]);
    assert_eq!((listed.len(), listed[0].as_str(), listed[999].as_str()), (1_000, "user-0000", "user-0999"));
}

#[test]
fn online_list_of_a_room_is_bounded() {
    const USERS: usize = 103;
    let server = server(2);
    let mut sockets: Vec<Socket> = (0..USERS)
        .map(|number| {
            let (mut socket, _) = Socket::chat(&server.address, "colon", &format!("user-{number:03}"));
            socket.ask(0, "join:chat", &json!({ "chatId": "tea" }));
            assert_eq!(socket.acked(0)["success"], true);
            socket
        })
        .collect();
    for socket in &mut sockets {
        let mut update = json!({ "onlineCount": 0 });
        while update["onlineCount"] != USERS {
            update = socket.hear("room:online-update");
        }
        let listed = names(&update["onlineUsers"]);
        assert_eq!((listed.len(), listed[0].as_str(), listed[99].as_str()), (100, "user-000", "user-099"));
    }
}

/// However little may wait for a client, its list does.
#[test]
fn online_list_fits_the_outbound_limit() {
    const USERS: usize = 300;
    let server = Server::of_shards(1, &["presence.scope=all", "limits.outbound_bytes=65536"]);
    let connect = |number| Client::connect(&server.address, Some(&token(&format!("user-{number:04}"), &json!({}))));
    let _others: Vec<Client> = (0..USERS).map(connect).collect();
    let mut polling = Polling::open(&server.address, "/socket.io/");
    polling.send(&connect_packet("/chat", "zoe"));
    let (_, list) = event(&polling.wait_for(r#"42/chat,["users:online","#));
    assert_eq!(list["total"], USERS + 1);
    assert_eq!(names(&list["users"]).len(), USERS / 2);
}
