//! `socket.io-client` in Chromium: the published bundle in a page of another origin, with each choice of transports.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::chromium::{Browser, Page};
use support::directory::Directory;
use support::packages::{NODE, SCRIPTS};
use support::server::{Server, token};

/// How long a page may take for what it must do.
const PATIENCE: Duration = Duration::from_secs(60);

const KINDS: [&str; 3] = ["default", "websocket", "polling"];

const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>Clients</title><link rel="icon" href="data:,">
    <script src="/socket.io.min.js"></script><script src="/browser.js"></script>"#;

/// Serves the page with its scripts on a port of its own for as long as the process lives; its origin.
pub(crate) fn site() -> String {
    let bundle = NODE.join("node_modules/socket.io-client-4/dist/socket.io.min.js");
    let bundle = std::fs::read(bundle).expect("the package has it");
    let script = std::fs::read(format!("{SCRIPTS}/browser.js")).expect("it is there");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("its address"));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (bundle, script) = (bundle.clone(), script.clone());
            // Browsers open connections that they may never use.
            thread::spawn(move || serve(&stream, &bundle, &script));
        }
    });
    origin
}

/// Answers the one request of a connection.
fn serve(mut stream: &TcpStream, bundle: &[u8], script: &[u8]) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let (kind, body) = match first.split(' ').nth(1) {
        Some("/") => ("text/html", PAGE.as_bytes()),
        Some("/socket.io.min.js") => ("text/javascript", bundle),
        Some("/browser.js") => ("text/javascript", script),
        other => panic!("nobody should ask for {other:?}"),
    };
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let length = body.len();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// The value of an expression that must not throw.
#[track_caller]
pub(crate) fn evaluate(page: &Page, expression: &str) -> Value {
    page.evaluate(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

fn user(name: &str) -> String {
    token(name, &json!({}))
}

#[test]
fn browser_bundle_exchanges_text_and_bytes() {
    let server = Server::start(&["--conformance", "--shards", "2"]);
    let browser = Browser::launch(&[]);
    let page = browser.page(&site());
    let mut attempts = Vec::new();
    for kind in KINDS {
        attempts.push(evaluate(&page, &format!("suite('http://{}', '{kind}')", server.address)));
    }
    // Polls of a session that was given up are a problem to a browser.
    if attempts == [1, 1, 1] {
        assert_eq!(page.problems(), [""; 0]);
    }
}

#[test]
fn browser_bundle_after_server_restart_reconnects_in_each_dialect() {
    let origin = site();
    let data = Directory::new();
    let (origins, directory) = (format!("cors.origins={origin}"), data.text());
    let arguments = ["--shards", "2", "--data", &directory, "--set", "rooms.create_on_join=always", "--set", &origins];
    let server = Server::start(&arguments);
    let browser = Browser::launch(&[]);
    let pages = KINDS.map(|kind| {
        let page = browser.page(&origin);
        let address = &server.address;
        let (ada, bob) = (user("ada"), user("bob"));
        evaluate(&page, &format!("meeting = new Meeting('http://{address}', '{kind}', '{ada}', '{bob}'); 0"));
        page
    });
    for page in &pages {
        evaluate(page, "meeting.begin()");
        assert_eq!(page.problems(), [""; 0]);
    }
    let address = server.kill();
    for page in &pages {
        page.wait_for("meeting.isCut()", PATIENCE);
    }
    let _server = Server::start_at(&address, &arguments);
    for page in &pages {
        page.wait_for("meeting.isBack()", PATIENCE);
        evaluate(page, "meeting.goOn()");
    }
}

#[test]
fn page_of_other_origin_is_admitted_by_settings() {
    let origin = site();
    let setting = format!("cors.origins={origin}");
    let server = Server::start(&["--set", &setting]);
    let browser = Browser::launch(&[]);
    let welcome = browser.page(&origin);
    // The same page by another name is another origin.
    let unknown = browser.page(&origin.replace("127.0.0.1", "localhost"));
    let refusal = |page: &Page, kind: &str, options: Value| {
        evaluate(page, &format!("refusal('http://{}', '{kind}', {options})", server.address))
    };
    let ada = user("ada");
    for kind in KINDS {
        let auth = json!({ "auth": { "token": ada } });
        assert_eq!(refusal(&welcome, kind, auth.clone()), Value::Null, "{kind}");
        assert_eq!(
            refusal(&welcome, kind, json!({ "auth": { "token": "x" } })),
            "The token is not a well-formed JWT.",
            "{kind}"
        );
        let expected = if kind == "websocket" { "websocket error" } else { "xhr poll error" };
        assert_eq!(refusal(&unknown, kind, auth), expected, "{kind}");
    }
    // Headers of its own have the browser ask first, and so do cookies.
    let header = json!({ "extraHeaders": { "Authorization": format!("Bearer {ada}") }, "withCredentials": true });
    for kind in ["default", "polling"] {
        assert_eq!(refusal(&welcome, kind, header.clone()), Value::Null, "{kind}");
        assert_eq!(refusal(&unknown, kind, header.clone()), "xhr poll error", "{kind}");
    }
    // A client that is refused is gone at once, and with it the WebSocket that it was about to move to.
    let mut problems = welcome.problems();
    problems.retain(|problem| !problem.contains("WebSocket is closed before the connection is established"));
    assert_eq!(problems, [""; 0]);
}
