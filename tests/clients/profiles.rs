//! Clients in Chromium, each written as the document of one protocol shows it, at a fresh server under that protocol's
//! profile: with the calls of the document, tokens that only the profile accepts, and from a page of another origin.

use std::time::Duration;

use serde_json::{Value, json};
use support::chromium::{Browser, Page};
use support::server::{Server, command, token};

use crate::browser_socketio::{evaluate, site};

/// How long a page may take for what it must do.
const PATIENCE: Duration = Duration::from_secs(60);

const SIGNALING: &str = include_str!("signaling.js");

/// A server with nothing but the profile, and these variables.
fn server(profile: &str, environment: &[(&str, &str)]) -> Server {
    Server::spawn(command(&["--profile", profile], environment).env_remove("JWT_SECRET"))
}

fn user(name: &str) -> String {
    token(name, &json!({ "name": name.to_uppercase() }))
}

/// Has a page remember all that an emitter of events hears.
const HEARD: &str = "window.remember = (emitter, names) => {
    const heard = {};
    for (const name of names) emitter.on(name, (value) => (heard[name] ??= []).push(value ?? null));
    return heard;
}; 0";

fn page(browser: &Browser, origin: &str) -> Page {
    let page = browser.page(origin);
    evaluate(&page, HEARD);
    page
}

#[test]
fn messaging_client_of_profile_000_sends_and_receives() {
    let server = server("000", &[]);
    let browser = Browser::launch(&[]);
    let origin = site();
    let [ann, bob] = ["ann", "bob"].map(|name| {
        let page = page(&browser, &origin);
        let open = format!(
            "heard = []; socket = new WebSocket('ws://{}/ws?token={}');
             send = (type, fields) => socket.send(JSON.stringify({{ type, ...fields }}));
             hears = (type, fields = {{}}) => heard.some((it) => it.type === type && Object.entries(fields).every(([key, value]) => it[key] === value));
             socket.onmessage = ({{ data }}) => heard.push(JSON.parse(data)); 0",
            server.address,
            user(name)
        );
        evaluate(&page, &open);
        page.wait_for("hears('connect')", PATIENCE);
        evaluate(&page, "send('join-room', { roomId: 'tea' }); 0");
        page.wait_for("hears('room-joined')", PATIENCE);
        page
    });
    evaluate(
        &ann,
        "send('message', { roomId: 'tea', content: 'Hello' }); send('typing', { roomId: 'tea', isTyping: true }); 0",
    );
    evaluate(&ann, "send('presence', { status: 'away' }); send('message', { toUserId: 'bob', content: 'psst' }); 0");
    for condition in [
        "hears('message', { content: 'Hello', sender: 'ann' })",
        "hears('typing', { userId: 'ann' })",
        "hears('presence', { userId: 'ann', status: 'away' })",
        "hears('message', { content: 'psst' })",
    ] {
        bob.wait_for(condition, PATIENCE);
    }
    evaluate(
        &bob,
        "send('read-receipt', { roomId: 'tea', messageId: heard.find((it) => it.content === 'Hello').id }); 0",
    );
    ann.wait_for("hears('read-receipt', { userId: 'bob' })", PATIENCE);
    // REST from the same page, which asks first whether it may.
    let call = format!(
        "fetch('http://{}/presence/ann', {{ headers: {{ Authorization: 'Bearer {}' }} }}).then((answer) => answer.json())",
        server.address,
        user("bob")
    );
    assert_eq!(evaluate(&bob, &call)["status"], "away");
    assert_eq!([ann.problems(), bob.problems()].concat(), [""; 0]);
}

#[test]
fn meeting_client_of_profile_001_connects_peers() {
    let origin = site();
    let server = server("001", &[("CLIENT_URL", &origin)]);
    let browser = Browser::launch(&[]);
    let jane = page(&browser, &origin);
    let create = format!(
        "fetch('http://{}/api/rooms', {{ method: 'POST', headers: {{ 'Content-Type': 'application/json' }},
          body: JSON.stringify({{ hostPeerId: 'jane', maxParticipants: 10, encryption: 'none' }}) }}).then((answer) => answer.json())",
        server.address
    );
    let room = evaluate(&jane, &create);
    let id = room["roomId"].as_str().expect("a roomId");
    assert_eq!(room["joinLink"], format!("{origin}/meeting/{id}"));
    let john = page(&browser, &origin);
    for (page, name) in [(&jane, "jane"), (&john, "john")] {
        let join =
            format!("client = new SignalingClient('ws://{}/ws', '{id}', '{name}', '{name} doe'); 0", server.address);
        evaluate(page, &format!("{SIGNALING} window.SignalingClient = SignalingClient; {join}"));
        page.wait_for("client.joined", PATIENCE);
    }
    jane.wait_for("client.heard.includes('hello from john')", PATIENCE);
    jane.wait_for("client.isComplete", PATIENCE);
    assert_eq!(evaluate(&jane, "client['peer-joined'].displayName"), "john doe");
    assert_eq!(evaluate(&jane, "client.joined.iceServers"), json!([{ "urls": ["stun:stun.l.google.com:19302"] }]));
    evaluate(
        &john,
        "client.send('media-state-changed', { peerId: 'john', mediaState: { audio: false, video: true, screen: false } }); 0",
    );
    jane.wait_for("client['media-state-changed']?.mediaState.video", PATIENCE);
    evaluate(&john, "client.send('leave-room', { peerId: 'john' }); 0");
    jane.wait_for("client['peer-left']?.peerId === 'john'", PATIENCE);
    // Nothing has come that the document does not have.
    assert_eq!(evaluate(&jane, "client.errors"), json!([]));
    // No other page may use the server.
    let stranger = page(&browser, &origin.replace("127.0.0.1", "localhost"));
    let refused = format!(
        "new Promise((resolve) => {{ new WebSocket('ws://{}/ws').onerror = () => resolve('refused'); }})",
        server.address
    );
    assert_eq!(evaluate(&stranger, &refused), "refused");
}

#[test]
fn push_client_of_profile_002_receives() {
    let server = server("002", &[]);
    let browser = Browser::launch(&[]);
    let page = page(&browser, &site());
    let open = format!(
        "socket = io('http://{}', {{ extraHeaders: {{ Authorization: 'Bearer {}' }} }});
         heard = remember(socket, ['connect', 'authenticated', 'message', 'pong', 'disconnect']); 0",
        server.address,
        user("ann")
    );
    evaluate(&page, &open);
    page.wait_for("heard.connect && heard.authenticated?.[0].userId === 'ann'", PATIENCE);
    evaluate(&page, "socket.emit('ping'); 0");
    page.wait_for("heard.pong", PATIENCE);
    page.wait_for("socket.io.engine.transport.name === 'websocket'", PATIENCE);
    let push = format!(
        "fetch('http://{}/websocket/notification', {{ method: 'POST',
          headers: {{ 'Content-Type': 'application/json', Authorization: 'Bearer {}' }},
          body: JSON.stringify({{ userId: 'ann', title: 'New Message', body: 'Tea', data: {{ priority: 'normal' }} }}) }})
          .then((answer) => answer.json())",
        server.address,
        user("bob")
    );
    assert_eq!(evaluate(&page, &push)["delivered"], 1);
    page.wait_for("heard.message?.[0].type === 'notification'", PATIENCE);
    let data = evaluate(&page, "heard.message[0].data");
    assert_eq!(data, json!({ "title": "New Message", "body": "Tea", "priority": "normal" }));
    assert_eq!(page.problems(), [""; 0]);
}

#[test]
fn chat_client_of_profile_003_converses() {
    let server = server("003", &[]);
    let browser = Browser::launch(&[]);
    let origin = site();
    let [ann, bob] = ["ann", "bob"].map(|name| {
        let page = page(&browser, &origin);
        let open = format!(
            "socket = io('ws://{}/chat', {{ auth: {{ token: '{}' }} }});
             heard = remember(socket, ['connect', 'message:new', 'user:typing', 'user:online', 'user:offline']);
             ask = (event, payload) => new Promise((resolve, reject) => socket.emit(event, payload,
               (response) => response.success ? resolve(response) : reject(new Error(response.message)))); 0",
            server.address,
            user(name)
        );
        evaluate(&page, &open);
        page.wait_for("heard.connect", PATIENCE);
        evaluate(&page, "ask('join:chat', { chatId: 'chat-uuid' })");
        page
    });
    let sent: Value =
        evaluate(&ann, "ask('message:send', { chatId: 'chat-uuid', content: 'Hello, world!', type: 'text' })");
    assert_eq!(sent["sentMessage"]["user"], json!({ "id": "ann", "username": "ANN" }));
    evaluate(&ann, "socket.emit('message:typing', { chatId: 'chat-uuid', isTyping: true }); 0");
    bob.wait_for(
        "heard['message:new']?.[0].content === 'Hello, world!' && heard['user:typing']?.[0].isTyping",
        PATIENCE,
    );
    ann.wait_for("heard['user:online'].some(({ userId }) => userId === 'bob')", PATIENCE);
    let refused = ann.evaluate("ask('message:send', { chatId: 'unknown', content: 'x' })").expect_err("it is refused");
    assert!(refused.contains("Chat not found or access denied"), "{refused}");
    evaluate(&bob, "socket.disconnect(); 0");
    ann.wait_for("heard['user:offline']?.some(({ userId }) => userId === 'bob')", PATIENCE);
}

#[test]
fn chat_client_of_profile_004_converses() {
    let server = server("004", &[]);
    let browser = Browser::launch(&[]);
    let origin = site();
    let [ann, bob] = ["ann", "bob"].map(|name| {
        let page = page(&browser, &origin);
        let open = format!(
            "socket = io('http://{}/chat', {{ transports: ['websocket'], query: {{ token: '{}' }}, reconnectionAttempts: Infinity }});
             heard = remember(socket, ['connect', 'joinedRoom', 'messageSent', 'newMessage', 'messageRead', 'syncComplete', 'error']); 0",
            server.address,
            user(name)
        );
        evaluate(&page, &open);
        evaluate(&page, "socket.emit('joinRoom', 'room-id'); 0");
        page.wait_for("heard.connect && heard.joinedRoom?.[0] === 'room-id'", PATIENCE);
        page
    });
    let message = "{ content: 'Hello world!', roomId: 'room-id', metadata: { customField: 'value' } }";
    evaluate(&ann, &format!("socket.emit('sendMessage', {message}); 0"));
    ann.wait_for("heard.messageSent?.[0].status", PATIENCE);
    bob.wait_for("heard.newMessage?.[0].metadata.customField === 'value'", PATIENCE);
    evaluate(&bob, "socket.emit('readReceipt', { messageId: heard.newMessage[0].id, roomId: 'room-id' }); 0");
    ann.wait_for("heard.messageRead?.[0].userId === 'bob'", PATIENCE);
    evaluate(&bob, "socket.emit('syncMessages', { roomId: 'room-id' }); 0");
    bob.wait_for("heard.syncComplete?.[0].syncedMessageCount === 1", PATIENCE);
    assert_eq!(evaluate(&ann, "heard.error ?? null"), Value::Null);
    assert_eq!([ann.problems(), bob.problems()].concat(), [""; 0]);
}
