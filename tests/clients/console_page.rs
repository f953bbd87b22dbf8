//! The console in Chromium: each dialect, by keyboard, from the form to the frames; recovery of a dropped connection; and the
//! copies of a request.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::chromium::{Browser, Page};
use support::client::Client;
use support::server::{Server, token};

use super::browser_socketio::evaluate;
use super::pages::{check, press};

const PATIENCE: Duration = Duration::from_secs(60);

const OPERATIONS: &str = include_str!("../../src/pages/operations.js");
const PROTOCOL: &str = include_str!("../../docs/protocol.md");
const SOCKETIO: &str = include_str!("../../docs/socketio.md");

/// The console with a person at it.
struct Visitor(Page);

impl Visitor {
    fn at(browser: &Browser, address: &str, form: &str) -> Self {
        let page = browser.page(&format!("http://{address}/console{form}"));
        page.wait_for("document.querySelectorAll('#operation option').length > 0", PATIENCE);
        page.wait_for("document.getElementById('connect').textContent !== ''", PATIENCE);
        Self(page)
    }

    fn choose(&self, field: &str, value: &str) {
        let choose =
            "(it) => { it.focus(); it.value = VALUE; it.dispatchEvent(new Event('change', { bubbles: true })); }";
        let choose = choose.replace("VALUE", &json!(value).to_string());
        evaluate(&self.0, &format!("({choose})(document.getElementById('{field}'))"));
        assert_eq!(evaluate(&self.0, &format!("document.getElementById('{field}').value")), value);
    }

    fn enter(&self, field: &str, value: &str) {
        evaluate(&self.0, &format!("document.getElementById('{field}').focus()"));
        self.0.call("Input.insertText", json!({ "text": value })).expect("a text");
    }

    /// Uses a button by keyboard.
    fn use_button(&self, selector: &str) {
        evaluate(&self.0, &format!("document.querySelector('{selector}').focus()"));
        press(&self.0, "Enter");
    }

    fn connect(&self) {
        self.use_button("#connect");
        self.0.wait_for("document.getElementById('live').dataset.name === 'online'", PATIENCE);
    }

    fn send(&self, operation: &str, fields: &[(&str, &str)], shown: &str) {
        self.choose("operation", operation);
        for (name, value) in fields {
            self.enter(&format!("field-body-{name}"), value);
        }
        self.use_button("#request button");
        self.shows(shown);
    }

    fn shows(&self, text: &str) {
        let frames = "document.getElementById('frames').textContent";
        self.0.wait_for(&format!("{frames}.includes({})", json!(text)), PATIENCE);
    }

    fn code(&self, form: &str) -> String {
        self.choose("copy-as", form);
        evaluate(&self.0, "document.getElementById('code').textContent").as_str().expect("text").to_owned()
    }
}

#[test]
fn console_speaks_each_dialect_and_shows_recovery_of_a_dropped_connection() {
    let server = Server::start(&["--dev", "--shards", "2"]);
    let browser = Browser::launch(&[]);
    let mut bob = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    bob.join("tea", "b");
    let visitor = Visitor::at(&browser, &server.address, "");
    evaluate(&visitor.0, "document.querySelector('details').open = true");
    visitor.use_button("#mint button");
    visitor.0.wait_for("document.getElementById('token').value.length > 50", PATIENCE);
    visitor.connect();
    visitor.send("join-room", &[("roomId", "tea"), ("displayName", "Ann")], "\"type\":\"room-joined\"");
    visitor.send("message", &[("roomId", "tea"), ("content", "Hello")], "\"type\":\"message-sent\"");
    assert_eq!(bob.wait_for("message")["content"], "Hello");
    visitor.use_button("#drop");
    visitor.shows("The connection is lost");
    bob.send(&json!({ "type": "message", "roomId": "tea", "content": "missed" }));
    visitor.shows("Recovered");
    visitor.shows("\"content\":\"missed\"");
    for (dialect, operation, fields, shown) in [
        ("colon", "join:chat", ("chatId", "tea"), "room:joined"),
        ("camel", "joinRoom", ("roomId", "tea"), "joinedRoom"),
        ("notify", "heartbeat", ("", ""), "\"heartbeat\""),
    ] {
        visitor.choose("dialect", dialect);
        visitor.connect();
        let fields = [fields];
        visitor.send(operation, if fields[0].0.is_empty() { &[] } else { &fields }, shown);
    }
    visitor.use_button("#connect");
    visitor.choose("dialect", "rest");
    let made = "(it) => { it.value = 'room-of-the-console'; it.dispatchEvent(new Event('input', { bubbles: true })); }";
    visitor.choose("operation", "POST /rooms");
    evaluate(&visitor.0, &format!("({made})(document.getElementById('field-body-roomId'))"));
    visitor.use_button("#request button");
    visitor.shows("201 {");
    assert_eq!(visitor.0.problems(), [""; 0]);
}

#[test]
fn console_copies_do_what_it_does_and_links_have_no_token() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    let form = json!({ "dialect": "raw", "operation": "message", "values": { "roomId": "tea", "content": "it's" } });
    let visitor = Visitor::at(&browser, &server.address, &format!("#{}", escaped(&form.to_string())));
    assert_eq!(evaluate(&visitor.0, "document.getElementById('field-body-content').value"), "it's");
    let frame = json!({ "type": "message", "content": "it's", "roomId": "tea" });
    let shown = evaluate(&visitor.0, "document.getElementById('frame').value");
    assert_eq!(serde_json::from_str::<Value>(shown.as_str().expect("text")).expect("JSON"), frame);
    let mut bob = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    bob.join("tea", "b");
    let publish = visitor.code("curl");
    let admin = token("root", &json!({ "role": "admin" }));
    let done = Command::new("sh").args(["-c", &publish]).env("TOKEN", &admin).output().expect("curl runs");
    assert!(done.status.success(), "{publish}");
    assert_eq!(bob.wait_for("message")["content"], "it's");
    for (form, part) in [("wscat", "wscat -c"), ("javascript", "new WebSocket"), ("python", "websockets.connect")] {
        assert!(visitor.code(form).contains(part), "{form}");
    }
    visitor.choose("dialect", "colon");
    visitor.choose("operation", "message:send");
    assert!(visitor.code("socketio").contains("emitWithAck(\"message:send\""));
    // The token of the tab is in no link.
    visitor.enter("token", "secret-token");
    let link = evaluate(
        &visitor.0,
        "(async () => { let text; navigator.clipboard.writeText = async (it) => { text = it; }; \
        document.getElementById('share').click(); await new Promise((done) => setTimeout(done)); return text; })()",
    );
    assert!(!link.as_str().expect("a link").contains("secret"), "{link}");
    assert_eq!(visitor.0.problems(), [""; 0]);
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn console_is_accessible_on_each_screen_in_each_language() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    let visitor = Visitor::at(&browser, &server.address, "");
    visitor.connect();
    visitor.send("join-room", &[("roomId", "tea")], "\"type\":\"room-joined\"");
    check(&visitor.0, "console", &["en", "de"]);
    assert_eq!(visitor.0.problems(), [""; 0]);
}

/// The first two cells of the rows of a table that begins with this one.
fn rows(manual: &str, first: &str) -> Vec<(String, String)> {
    let start = manual.find(&format!("| `{first}` |")).expect("the table is there");
    let lines = manual[start..].lines().take_while(|line| line.starts_with('|'));
    lines
        .map(|line| {
            let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
            let mut cell = || cells.next().unwrap_or_default().to_owned();
            (cell().trim_matches('`').to_owned(), cell())
        })
        .collect()
}

#[test]
fn console_has_the_operations_of_the_manual() {
    for (dialect, manual, first) in [
        ("raw", PROTOCOL, "join-room"),
        ("colon", SOCKETIO, "join:chat"),
        ("camel", SOCKETIO, "joinRoom"),
        ("notify", SOCKETIO, "ping"),
        ("shared", SOCKETIO, "heartbeat"),
    ] {
        let part = OPERATIONS.split(&format!("  {dialect}: {{\n")).nth(1).and_then(|rest| rest.split("  },").next());
        let part = part.unwrap_or_else(|| panic!("no operations of {dialect}"));
        for (name, fields) in rows(manual, first) {
            let fields = if fields.starts_with("| ") { String::new() } else { fields };
            let line = format!("    {}: {},\n", json!(name), json!(fields));
            assert!(part.contains(&line), "src/pages/operations.js lacks {line}");
        }
    }
}
