//! The snippets for clients run: in a browser, and in Node with the stock client of Socket.IO.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::markdown::{ADDRESS, document, documents};
use support::chromium::Browser;
use support::client::Client;
use support::directory::Directory;
use support::packages::{NODE, run};
use support::server::{Server, token};

const PATIENCE: Duration = Duration::from_secs(60);

fn snippets(file: &str, language: &str, server: &Server) -> Vec<String> {
    let blocks = document(file).blocks_in(language);
    blocks.into_iter().map(|block| block.text.replace(ADDRESS, &server.address)).collect()
}

#[test]
fn first_client_sends_and_receives() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    let snippets = snippets("README.md", "js", &server);
    let [connect, say] = snippets.as_slice() else { panic!("two snippets: {snippets:?}") };
    let open = || {
        let page = browser.page(&format!("http://{}/", server.address));
        let listen = "const heard = []; \
                      socket.addEventListener('message', ({ data }) => heard.push(JSON.parse(data)));";
        page.evaluate(&format!("{connect}\n{listen}")).expect("it runs");
        page.wait_for("heard.some(message => message.type === 'room-joined')", PATIENCE);
        page
    };
    let (first, second) = (open(), open());
    first.evaluate(say).expect("it runs");
    second.wait_for("heard.some(message => message.type === 'message' && message.content === 'Hello')", PATIENCE);
    first.wait_for("heard.some(message => message.type === 'message-sent' && message.requestId === 1)", PATIENCE);
}

#[test]
fn reconnecting_client_receives_each_message_once() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    let snippets = snippets("docs/protocol.md", "js", &server);
    let [connect] = snippets.as_slice() else { panic!("one snippet: {snippets:?}") };
    let page = browser.page(&format!("http://{}/", server.address));
    let url = format!("ws://{}/ws?events=all&token={}", server.address, token("ann", &json!({})));
    let start = format!("const heard = []; const client = connect('{url}', {{ onMessage: (it) => heard.push(it) }});");
    page.evaluate(&format!("{connect}\n{start}")).expect("it runs");
    let mut other = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    while other.join("tea", "b")["participantCount"] != 2 {}
    let mut say = |content: &str| {
        other.send(&json!({ "type": "message", "roomId": "tea", "content": content }));
        other.wait_for("message-sent");
    };
    let contents = "heard.map((message) => message.content).join()";
    say("one");
    page.wait_for(&format!("{contents} === 'one'"), PATIENCE);
    page.evaluate("client.drop()").expect("it runs");
    say("two");
    page.wait_for(&format!("{contents} === 'one,two'"), PATIENCE);
    page.evaluate("client.send({ type: 'message', roomId: 'tea', content: 'three' })").expect("it runs");
    other.wait_until(|event| event["type"] == "message" && event["content"] == "three");
}

#[test]
fn client_library_is_used_as_documented() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    let snippets = snippets("docs/clients.md", "js", &server);
    let [snippet] = snippets.as_slice() else { panic!("one snippet: {snippets:?}") };
    let snippet = snippet.replace("console.log", "said.push");
    let page = browser.page(&format!("http://{}/", server.address));
    page.evaluate(&format!("said = []; (async () => {{ {snippet} }})()")).expect("it runs");
    page.wait_for("said[0] === 1 && said[1] === 'Hello' && said[3].total === 12", PATIENCE);
    assert_eq!(page.problems(), [""; 0]);
}

#[test]
fn socketio_snippets_run_in_node() {
    let server = Server::start(&["--dev"]);
    let directory = Directory::new();
    fs::create_dir_all(directory.path().join("node_modules")).expect("a directory");
    let package = NODE.join("node_modules/socket.io-client-4");
    symlink(package, directory.path().join("node_modules/socket.io-client")).expect("a link");
    let mut count = 0;
    for document in documents() {
        for snippet in snippets(&document.name, "javascript", &server) {
            let script = directory.path().join("snippet.mjs");
            let end = "setTimeout(() => process.exit(), 500);";
            fs::write(&script, format!("{snippet}\n{end}\n")).expect("a file");
            let mut command = Command::new("node");
            let said = run(command.arg(&script).env("TOKEN", token("ann", &json!({ "name": "Ann" }))));
            assert!(said.contains("Ann: Hello"), "{}: {said}", document.name);
            count += 1;
        }
    }
    assert_eq!(count, 2, "snippets found");
}
