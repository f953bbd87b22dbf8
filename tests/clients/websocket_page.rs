//! The page `/websocket-client.html` in Chromium, as a person who tries the push dialect out uses it: from the server, and
//! from the disk.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use support::chromium::{Browser, Page};
use support::directory::Directory;
use support::http::ask;
use support::server::{Server, command};

/// How long a page may take for what it must do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tokens of the users user123 and user456 that the protocol's document prints; nobody has the key of their signature.
const USER_123: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
    eyJzdWIiOiJ1c2VyMTIzIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
const USER_456: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
    eyJzdWIiOiJ1c2VyNDU2IiwibmFtZSI6IkphbmUgU21pdGgiLCJpYXQiOjE1MTYyMzkwMjJ9.4Adcj3UFYzPUVaVF43FmMab6RlaQD8A9V8wFzzht-KQ";

/// A server under the profile of the push dialect, without a key.
fn server() -> Server {
    Server::spawn(command(&["--profile", "002"], &[]).env_remove("JWT_SECRET"))
}

/// The page with a person at it.
struct Visitor(Page);

impl Visitor {
    fn at(browser: &Browser, url: &str) -> Self {
        Self(browser.page(url))
    }

    #[track_caller]
    fn evaluate(&self, expression: &str) -> Value {
        self.0.evaluate(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn enter(&self, field: &str, value: &str) {
        self.evaluate(&format!("document.getElementById('{field}').value = {}; 0", Value::from(value)));
    }

    fn click(&self, button: &str) {
        self.evaluate(&format!("document.getElementById('{button}').click(); 0"));
    }

    /// Waits until a line of the log has all of this.
    #[track_caller]
    fn logs(&self, parts: &[&str]) {
        let parts = Value::from(parts);
        let is_there = "[...document.querySelectorAll('#log li')].some((line) => parts.every((part) => line.textContent.includes(part)))";
        self.0.wait_for(&format!("((parts) => {is_there})({parts})"), PATIENCE);
    }

    fn connect(&self, token: &str, user: &str) {
        self.enter("token", token);
        self.click("connect");
        self.logs(&["authenticated", user]);
        assert_eq!(self.evaluate("document.getElementById('state').textContent"), "connected");
    }
}

#[test]
fn websocket_client_page_has_a_button_for_each_documented_function() {
    let server = server();
    let browser = Browser::launch(&[]);
    let url = format!("http://{}/websocket-client.html", server.address);
    let [one, two] = [(); 2].map(|()| Visitor::at(&browser, &url));
    assert_eq!(one.evaluate("document.getElementById('server').value"), format!("http://{}", server.address));
    one.connect(USER_123, "user123");
    two.connect(USER_456, "user456");
    one.click("ping");
    one.logs(&["pong", "timestamp"]);
    // What one sends arrives at the other, and the answer of the call is in the log.
    one.enter("users", "user456");
    one.enter("text", "just for you");
    for (button, path, heard) in [
        ("send-user", "/websocket/message/user", "just for you"),
        ("send-users", "/websocket/message/users", "just for you"),
        ("broadcast", "/websocket/message/broadcast", "just for you"),
        ("notify", "/websocket/notification", "New Message"),
    ] {
        two.click("clear");
        one.click(button);
        one.logs(&[&format!("POST {path} 200"), "\"success\":true"]);
        two.logs(&["message", heard]);
    }
    for (button, said) in [
        ("connected-users", "GET /websocket/users/connected 200"),
        ("user-status", "GET /websocket/users/user456/status 200"),
        ("my-status", "GET /websocket/me/status 200"),
    ] {
        one.click(button);
        one.logs(&[said, "user"]);
    }
    one.click("disconnect-user");
    one.logs(&["DELETE /websocket/users/user456/disconnect 200", "\"disconnected\":1"]);
    two.0.wait_for("document.getElementById('state').textContent === 'disconnected'", PATIENCE);
    one.click("disconnect");
    one.0.wait_for("document.getElementById('state').textContent === 'disconnected'", PATIENCE);
    assert_eq!(one.0.problems(), [""; 0]);
}

#[test]
fn websocket_client_page_says_why_it_cannot_connect() {
    let server = server();
    let browser = Browser::launch(&[]);
    let page = Visitor::at(&browser, &format!("http://{}/websocket-client.html", server.address));
    page.enter("token", "no token");
    page.click("connect");
    page.logs(&["connect_error", "not a well-formed JWT"]);
    page.click("my-status");
    page.logs(&["GET /websocket/me/status 401", "UNAUTHENTICATED"]);
    page.click("ping");
    page.enter("server", "http://127.0.0.1:1");
    page.click("connect");
    page.logs(&["error", "the connection failed"]);
}

#[test]
fn websocket_client_page_works_from_the_disk() {
    let server = server();
    let folder = Directory::new();
    fs::create_dir_all(folder.path()).expect("a folder");
    for name in ["websocket-client.html", "websocket-client.js"] {
        let file = ask(&server.address, "GET", &format!("/{name}"), &[], None);
        assert_eq!(file.status, 200, "{name}");
        fs::write(format!("{}/{name}", folder.text()), &file.body).expect("a file");
    }
    let browser = Browser::launch(&[]);
    let page = Visitor::at(&browser, &format!("file://{}/websocket-client.html", folder.text()));
    page.enter("server", &format!("http://{}/", server.address));
    page.connect(USER_123, "user123");
    page.click("my-status");
    page.logs(&["GET /websocket/me/status 200", "\"connected\":true"]);
}
