//! The call page in Chromium: calls between pages, and their recovery when the server or the link fails.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::chromium::{Browser, Page};
use support::client::Client;
use support::server::{Server, token};

use super::pages::press;

/// How long a page may take for what it must do; a loaded machine decodes its first frame late.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Opens the call page as a person who follows a link would, and waits until the room is joined.
pub(crate) fn join(browser: &Browser, address: &str, room: &str, name: &str) -> Page {
    let page = browser.page(&format!("http://{}/call?room={room}&name={name}&autojoin=1", address));
    page.wait_for("call.phase === 'joined'", PATIENCE);
    page
}

/// Something between a browser and the server that can lose the browser without the server noticing.
struct LinkProxy {
    /// `127.0.0.1:PORT`.
    address: String,
    pairs: Arc<Mutex<Vec<(TcpStream, TcpStream)>>>,
}

impl LinkProxy {
    fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let pairs = Arc::new(Mutex::new(Vec::new()));
        let (kept, server) = (pairs.clone(), server.to_owned());
        thread::spawn(move || {
            for browser in listener.incoming() {
                let browser = browser.expect("a connection");
                let upstream = TcpStream::connect(&server).expect("the server listens");
                let (mut from_browser, mut to_browser) = (browser.try_clone().unwrap(), browser.try_clone().unwrap());
                let (mut from_server, mut to_server) = (upstream.try_clone().unwrap(), upstream.try_clone().unwrap());
                kept.lock().unwrap().push((browser, upstream));
                thread::spawn(move || io::copy(&mut from_browser, &mut to_server));
                thread::spawn(move || io::copy(&mut from_server, &mut to_browser));
            }
        });
        Self { address, pairs }
    }

    /// Ends the browser's side of all connections there are; the server's sides stay open, and say nothing, until they
    /// are ended too.
    fn cut(&self) -> Vec<TcpStream> {
        let pairs = self.pairs.lock().unwrap().drain(..).collect::<Vec<_>>();
        let server_side = pairs.into_iter().map(|(browser, server)| {
            let _ = browser.shutdown(Shutdown::Both);
            server
        });
        server_side.collect()
    }
}

/// Waits until `page` is connected to `others` other people and shows a moving picture of each.
#[track_caller]
fn wait_for_pictures(page: &Page, others: usize) {
    page.wait_for(
        &format!(
            "call.peers().length === {others} && call.peers().every(peer => peer.connectionState === 'connected')"
        ),
        PATIENCE,
    );
    wait_for_more_frames(page);
}

/// Waits until more frames of everybody's camera have been decoded than there are now.
#[track_caller]
pub(crate) fn wait_for_more_frames(page: &Page) {
    let before = page.evaluate("call.stats()").expect("statistics");
    page.wait_for(
        &format!(
            "call.stats().then(now => {before}.every(old => \
             now.find(peer => peer.peerId === old.peerId)?.framesDecoded > old.framesDecoded))"
        ),
        PATIENCE,
    );
}

#[track_caller]
pub(crate) fn wait_for_chat(page: &Page, text: &str) {
    page.wait_for(
        &format!("call.messages.some(message => !message.self && message.text === {})", json!(text)),
        PATIENCE,
    );
    page.wait_for(&format!("document.getElementById('messages').textContent.includes({})", json!(text)), PATIENCE);
}

pub(crate) fn evaluate(page: &Page, expression: &str) -> Value {
    page.evaluate(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

#[test]
fn two_pages_connect_a_call() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    let ann = join(&browser, &server.address, "tea", "Ann");
    let ben = join(&browser, &server.address, "tea", "Ben");
    wait_for_pictures(&ann, 1);
    wait_for_pictures(&ben, 1);
    assert_eq!(evaluate(&ann, "call.peers()[0].displayName"), "Ben");
    assert_eq!(evaluate(&ben, "call.peers()[0].displayName"), "Ann");

    for page in [&ann, &ben] {
        page.wait_for("call.peers()[0].dataChannelState === 'open'", PATIENCE);
    }
    assert_eq!(evaluate(&ann, "call.sendChat('Milk?')"), 1);
    wait_for_chat(&ben, "Milk?");
    assert_eq!(evaluate(&ben, "call.sendChat('<b>No</b>')"), 1);
    wait_for_chat(&ann, "<b>No</b>");
    // Receipts say who has it, and who has seen it.
    ann.wait_for("document.getElementById('messages').textContent.includes('Received by 1')", PATIENCE);
    evaluate(&ben, "document.querySelector('[data-panel=chat]').click()");
    ann.wait_for("document.getElementById('messages').textContent.includes('Read by 1')", PATIENCE);
    // Who comes later sees what was said, once, and so does a page that is loaded anew.
    let cleo = join(&browser, &server.address, "tea", "Cleo");
    cleo.wait_for("call.messages.map(({ text }) => text).join() === 'Milk?,<b>No</b>'", PATIENCE);
    cleo.close();
    ben.wait_for("call.peers().length === 1", PATIENCE);

    ann.wait_for("call.peers()[0].mediaState.video === true", PATIENCE);
    evaluate(&ben, "call.setMedia({video: false})");
    ann.wait_for("call.peers()[0].mediaState.video === false && call.peers()[0].mediaState.audio === true", PATIENCE);
    evaluate(&ben, "call.setMedia({video: true})");
    ann.wait_for("call.peers()[0].mediaState.video === true", PATIENCE);
    wait_for_more_frames(&ann);

    assert_eq!(ben.problems(), [""; 0]);
    ben.close();
    ann.wait_for("call.log.some(entry => entry.direction === 'in' && entry.type === 'peer-left')", PATIENCE);
    ann.wait_for("call.peers().length === 0", PATIENCE);
    assert_eq!(ann.problems(), [""; 0]);
}

#[test]
fn call_survives_server_restart() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    let pages = [join(&browser, &server.address, "tea", "Ann"), join(&browser, &server.address, "tea", "Ben")];
    for page in &pages {
        wait_for_pictures(page, 1);
    }
    let address = server.kill();
    for page in &pages {
        page.wait_for("call.phase === 'rejoining'", PATIENCE);
        page.wait_for("document.getElementById('status').dataset.state === 'reconnecting'", PATIENCE);
        wait_for_more_frames(page);
        assert_eq!(evaluate(page, "call.peers()[0].connectionState"), "connected");
    }
    let server = Server::start_at(&address, &["--dev"]);
    for page in &pages {
        page.wait_for("call.phase === 'joined'", PATIENCE);
        page.wait_for("document.getElementById('status').dataset.state === 'connected'", PATIENCE);
    }
    // What the server lists is what it knows, not what the pages remember.
    let mut witness = Client::connect(&server.address, None);
    let listed = witness.join("tea", "witness")["peers"].clone();
    let mut names: Vec<&str> =
        listed.as_array().expect("a list").iter().filter_map(|peer| peer["displayName"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Ann", "Ben"]);
    witness.close();
    for page in &pages {
        page.wait_for("call.peers().length === 1", PATIENCE);
        wait_for_pictures(page, 1);
    }
    // Signaling works again: what one says reaches the other.
    evaluate(&pages[0], "call.setMedia({audio: false})");
    pages[1].wait_for("call.peers()[0].mediaState.audio === false", PATIENCE);
}

#[test]
fn call_page_with_stale_connection_reconnects() {
    let server = Server::start(&["--dev"]);
    let proxy = LinkProxy::to(&server.address);
    let browser = Browser::launch(&[]);
    let ann = join(&browser, &server.address, "tea", "Ann");
    let ben = join(&browser, &proxy.address, "tea", "Ben");
    wait_for_pictures(&ann, 1);
    wait_for_pictures(&ben, 1);
    let peer_id = evaluate(&ben, "call.peerId");
    let held = proxy.cut();
    // The server has not noticed anything; the token of the old connection opens the way all the same.
    ben.wait_for("call.log.some(entry => entry.direction === 'in' && entry.type === 'resumed')", PATIENCE);
    ben.wait_for("call.phase === 'joined'", PATIENCE);
    assert_eq!(evaluate(&ben, "call.peerId"), peer_id, "the same person, not a second one");
    wait_for_pictures(&ann, 1);
    wait_for_pictures(&ben, 1);
    drop(held);
    assert_eq!(evaluate(&ann, "call.peers().map(peer => peer.displayName)"), json!(["Ben"]));
}

#[test]
fn three_pages_on_several_shards_connect_a_call() {
    let server = Server::start(&["--dev", "--shards", "3"]);
    let browser = Browser::launch(&[]);
    let pages = ["Ann", "Ben", "Cleo"].map(|name| join(&browser, &server.address, "tea", name));
    for page in &pages {
        wait_for_pictures(page, 2);
    }
    for page in &pages {
        page.wait_for("call.peers().every(peer => peer.dataChannelState === 'open')", PATIENCE);
    }
    assert_eq!(evaluate(&pages[2], "call.sendChat('Sugar?')"), 2);
    wait_for_chat(&pages[0], "Sugar?");
    wait_for_chat(&pages[1], "Sugar?");
    evaluate(&pages[1], "call.leave()");
    for page in [&pages[0], &pages[2]] {
        page.wait_for("call.peers().length === 1", PATIENCE);
    }
    for page in &pages {
        assert_eq!(page.problems(), [""; 0]);
    }
}

#[test]
fn call_controls_on_a_phone_stay_in_reach_and_have_fitting_names() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    let page = join(&browser, &server.address, "tea", "Ann");
    page.set_viewport(320, 568, true);
    let is_hit = |selector: &str| {
        format!(
            "(() => {{ const it = document.querySelector('{selector}'); const {{ left, top, width, height, right }} = \
             it.getBoundingClientRect(); return right <= innerWidth && it.contains(\
             document.elementFromPoint(left + width / 2, top + height / 2)); }})()"
        )
    };
    evaluate(&page, "document.querySelector('[data-panel=chat]').click()");
    for selector in ["#leave", ".toolbar [data-media=audio]", ".toolbar [data-media=video]", "#chat-text"] {
        page.wait_for(&is_hit(selector), PATIENCE);
    }
    // The name of a button says what it switches, and its state whether that is on.
    let microphone = "(() => { const it = document.querySelector('.toolbar [data-media=audio]'); \
                      return [it.getAttribute('aria-label'), it.getAttribute('aria-pressed')]; })()";
    for audio in [false, true] {
        evaluate(&page, &format!("call.setMedia({{ audio: {audio} }})"));
        page.wait_for(&format!("{microphone}[1] === '{audio}'"), PATIENCE);
        assert_eq!(evaluate(&page, microphone)[0], "Microphone");
    }
    let mismatched = "[...document.querySelectorAll('button[aria-label]')].filter(it => it.offsetParent && \
                      !it.getAttribute('aria-label').includes(it.innerText.trim())).map(it => it.outerHTML)";
    assert_eq!(evaluate(&page, mismatched), json!([]));
    assert_eq!(evaluate(&page, "document.querySelectorAll('footer[role]').length"), 0);
}

#[test]
fn call_page_without_token_says_so_and_stops() {
    let server = Server::start(&["--set", "rooms.create_on_join=always"]);
    let browser = Browser::launch(&[]);
    let page = browser.page(&format!("http://{}/call?room=tea&name=Ann&autojoin=1", server.address));
    page.wait_for("document.getElementById('join-notice-text').textContent.includes('asks for a sign-in')", PATIENCE);
    assert_eq!(evaluate(&page, "call.phase"), "lobby");
}

#[test]
fn call_page_sends_its_token_by_subprotocol_and_takes_it_out_of_the_address() {
    let settings = ["rooms.create_on_join=always", "auth.query_token=false"];
    let server = Server::start(&settings.map(|setting| ["--set", setting]).concat());
    let browser = Browser::launch(&[]);
    let page = join(&browser, &server.address, &format!("tea&token={}", token("ann", &json!({}))), "Ann");
    assert_eq!(evaluate(&page, "location.search"), "?room=tea&name=Ann&autojoin=1");
    // A reload has it still.
    evaluate(&page, "window.isOld = true, location.reload(), 1");
    page.wait_for("!window.isOld && window.call?.phase === 'joined'", PATIENCE);
    assert_eq!(page.problems(), [""; 0]);
    // What cannot be a token is refused as one.
    let page = browser.page(&format!("http://{}/call?room=tea&name=Ann&autojoin=1&token=a,%20b%C3%BC", server.address));
    page.wait_for("document.getElementById('join-notice-text').textContent.includes('not valid')", PATIENCE);
    assert_eq!(evaluate(&page, "call.phase"), "lobby");
}

#[test]
fn landing_page_shows_server_health() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    let page = browser.page(&format!("http://{}/", server.address));
    page.wait_for("document.getElementById('live').textContent === 'Running'", PATIENCE);
    let facts = evaluate(&page, "document.getElementById('facts').innerText");
    for fact in ["Healthy", "Accepted", env!("CARGO_PKG_VERSION")] {
        assert!(facts.as_str().is_some_and(|facts| facts.contains(fact)), "{fact}: {facts}");
    }
    let shown = evaluate(&page, "document.querySelector('[data-fill=ws]').textContent");
    assert_eq!(shown, format!("ws://{}", server.address));

    // The client that it shows works as it stands there.
    let snippet = evaluate(&page, "document.getElementById('snippet').textContent");
    let snippet = snippet.as_str().expect("a text");
    let shows = |page: &Page, text: &str| {
        page.wait_for(&format!("document.body.innerText.includes({})", json!(text)), PATIENCE);
    };
    evaluate(&page, &format!("{snippet}\nundefined"));
    shows(&page, "joined the room; 0 others are here");
    let second = browser.page(&format!("http://{}/", server.address));
    evaluate(&second, &format!("{snippet}\nundefined"));
    shows(&second, "joined the room; 1 others are here");
    let (host, guest) = (evaluate(&page, "name"), evaluate(&second, "name"));
    let (host, guest) = (host.as_str().expect("a name"), guest.as_str().expect("a name"));
    shows(&page, &format!("{guest} joined"));
    shows(&second, &format!("{host}: Hello, {guest}!"));
    assert_eq!(page.problems(), [""; 0]);
    assert_eq!(second.problems(), [""; 0]);
}

#[test]
fn call_has_keys_raised_hands_views_and_a_choice_of_devices() {
    let server = Server::start(&["--dev", "--shards", "2"]);
    let browser = Browser::launch(&[]);
    let [ann, ben] = ["Ann", "Ben"].map(|name| join(&browser, &server.address, "tea", name));
    wait_for_pictures(&ann, 1);
    wait_for_pictures(&ben, 1);
    let is_raised = |page: &Page, count: usize| {
        page.wait_for(&format!("document.querySelectorAll('#stage .has-hand').length === {count}"), PATIENCE);
    };
    evaluate(&ann, "document.body.focus()");
    press(&ann, "h");
    is_raised(&ann, 1);
    is_raised(&ben, 1);
    // Who comes later sees it, too.
    let cleo = join(&browser, &server.address, "tea", "Cleo");
    is_raised(&cleo, 1);
    press(&ann, "h");
    is_raised(&cleo, 0);
    press(&ann, "m");
    ben.wait_for("call.peers().some((peer) => peer.displayName === 'Ann' && !peer.mediaState.audio)", PATIENCE);
    // The keys are letters in the chat.
    press(&ann, "c");
    evaluate(&ann, "document.getElementById('chat-text').focus()");
    ann.call("Input.insertText", json!({ "text": "hm" })).expect("a text");
    press(&ann, "m");
    assert_eq!(evaluate(&ann, "call.mediaState.audio"), false);
    // The large tile is that of who speaks, or the one that is pinned.
    let large = |page: &Page, count: usize| {
        page.wait_for(&format!("document.querySelectorAll('#spotlight .tile').length === {count}"), PATIENCE);
    };
    evaluate(&ben, "document.body.focus()");
    press(&ben, "g");
    large(&ben, 1);
    press(&ben, "g");
    large(&ben, 0);
    evaluate(&ben, "document.querySelector('.tile:not(.tile-self) [data-pin]').focus()");
    press(&ben, "Enter");
    large(&ben, 1);
    // Another camera takes the place of the former one, and pictures go on.
    evaluate(&ann, "document.getElementById('devices-open').click()");
    ann.wait_for("document.querySelectorAll('#device-video option').length > 0", PATIENCE);
    let choose = "(it) => { it.selectedIndex = it.options.length - 1; it.dispatchEvent(new Event('change')); }";
    evaluate(&ann, &format!("({choose})(document.getElementById('device-video'))"));
    press(&ann, "Escape");
    wait_for_more_frames(&ben);
    for page in [&ann, &ben, &cleo] {
        assert_eq!(page.problems(), [""; 0]);
    }
}
