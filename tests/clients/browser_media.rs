//! Calls through the embedded media server: pages in Chromium that change between peer to peer connections and the server.

use std::sync::{Mutex, PoisonError};

use serde_json::json;
use support::chromium::{Browser, Page};
use support::server::Server;

use crate::browser_call::{PATIENCE, evaluate, wait_for_chat, wait_for_more_frames};

const AUTO: [&str; 7] =
    ["--dev", "--set", "media.mode=auto", "--set", "media.p2p_return_ms=1000", "--set", "media.p2p_max=2"];

/// Waits until media to and from all others take this way, without remains of the other way.
#[track_caller]
fn wait_for_way(page: &Page, others: usize, via: &str) {
    let has_rest = match via {
        "sfu" => "call.peers().some(peer => peer.hasDirectConnection)",
        _ => "Boolean(call.link.pc)",
    };
    page.wait_for(
        &format!(
            "call.mode === '{via}' && call.peers().length === {others} && \
             call.peers().every(peer => peer.via === '{via}' && peer.connectionState === 'connected') && !({has_rest})"
        ),
        PATIENCE,
    );
    wait_for_more_frames(page);
}

/// Held by the test whose pages encode pictures: one call takes all of a small machine.
static CAMERAS: Mutex<()> = Mutex::new(());

/// A small camera with 15 frames a second: a machine without a graphics card encodes several of them at a time.
const SMALL_CAMERA: &str = "(() => { const open = MediaDevices.prototype.getUserMedia; \
    MediaDevices.prototype.getUserMedia = function (wanted) { \
      const video = wanted.video && { width: 640, height: 360, frameRate: 15 }; \
      return open.call(this, { ...wanted, video }); }; })()";

/// A client that knows nothing but the messages of the first protocol: it answers each offer, sends a microphone and a camera,
/// and counts the frames that it gets from each peer.
const OLD_CLIENT: &str = r#"
    window.old = { peers: new Map(), modes: [], at: null };
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 180, frameRate: 10 } });
    const socket = new WebSocket(`ws://${location.host}/ws`);
    const say = (type, body) => socket.send(JSON.stringify({ type, roomId: "tea", fromPeerId: "old", ...body }));
    const connectTo = (peerId) => {
      const pc = new RTCPeerConnection();
      old.peers.get(peerId)?.close();
      old.peers.set(peerId, pc);
      for (const track of media.getTracks()) pc.addTrack(track, media);
      pc.onicecandidate = ({ candidate }) => candidate && say("ice-candidate", { toPeerId: peerId, candidate });
      return pc;
    };
    old.frames = async () => {
      const counts = {};
      for (const [peerId, pc] of old.peers) {
        const reports = [...(await pc.getStats()).values()];
        counts[peerId] = reports.find((it) => it.type === "inbound-rtp" && it.kind === "video")?.framesDecoded ?? 0;
      }
      return counts;
    };
    old.ask = (mode) => say("connection-mode", { mode });
    socket.onmessage = async ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "peer-left") old.peers.get(message.peerId)?.close(), old.peers.delete(message.peerId);
      if (message.type === "connection-mode-changed") old.modes.push(message.connectionMode);
      if (message.type === "ice-candidate") await old.peers.get(message.fromPeerId)?.addIceCandidate(message.candidate);
      if (message.type === "answer") await old.peers.get(message.fromPeerId)?.setRemoteDescription(message.answer);
      if (message.type === "offer") {
        const known = old.peers.get(message.fromPeerId);
        const pc = known?.remoteDescription ? known : connectTo(message.fromPeerId);
        await pc.setRemoteDescription(message.offer);
        await pc.setLocalDescription();
        say("answer", { toPeerId: message.fromPeerId, answer: pc.localDescription });
      }
      if (message.type === "room-joined") old.at = "room";
    };
    socket.onopen = () => socket.send(JSON.stringify({ type: "join-room", roomId: "tea", peerId: "old", displayName: "Old",
      mediaState: { audio: true, video: true } }));
"#;

/// Begins to note, for the tile of each other person, the longest time between two frames that it shows, and each moment in
/// which it shows no live picture.
const WATCH_TILES: &str = r##"(() => {
    window.seen = { tiles: {}, faults: [] };
    const isShown = (video) => video.dataset.part === "video" && video.isConnected;
    const follow = (video, tile) => {
      if (video.isFollowed) return;
      video.isFollowed = true;
      const frame = (now) => {
        if (isShown(video)) {
          const own = (seen.tiles[tile.dataset.id] ??= { longest: 0, frames: 0, last: now });
          own.longest = Math.max(own.longest, now - own.last);
          own.last = now;
          own.frames++;
        }
        video.requestVideoFrameCallback(frame);
      };
      video.requestVideoFrameCallback(frame);
    };
    const look = () => {
      for (const tile of document.querySelectorAll("#grid .tile:not(.tile-self)")) {
        for (const video of tile.querySelectorAll("video")) follow(video, tile);
        const shown = tile.querySelector("[data-part=video]");
        const track = shown?.srcObject?.getTracks()[0];
        if (!tile.classList.contains("has-video") || track?.readyState !== "live") {
          seen.faults.push(`${tile.dataset.id}: ${tile.className}, ${track?.readyState}`);
        }
      }
    };
    new MutationObserver(look).observe(document.getElementById("grid"), { subtree: true, childList: true, attributes: true });
    setInterval(look, 10);
    look();
    return 1;
})()"##;

/// The times that a call changes to the media server and back. More of them: `MEDIA_ROUNDS=20`.
fn rounds() -> usize {
    std::env::var("MEDIA_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// Opens the call page with a small camera.
fn join_small(browser: &Browser, server: &Server, name: &str) -> Page {
    let page = browser.page(&format!("http://{}/robots.txt", server.address));
    page.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": SMALL_CAMERA })).expect("a script");
    page.navigate(&format!("http://{}/call?room=tea&name={name}&autojoin=1", server.address));
    page.wait_for("window.call?.phase === 'joined'", PATIENCE);
    page
}

/// Waits until the pages' media take this way between each other, and go from peer to peer to the old client.
#[track_caller]
fn wait_for_way_beside_old_client(pages: [&Page; 2], old: &Page, via: &str) {
    for page in pages {
        let link = match via {
            "sfu" => "call.link.isOpen",
            _ => "!call.link.pc",
        };
        page.wait_for(
            &format!(
                "call.mode === '{via}' && call.peers().length === 2 && {link} && call.peers().every(peer => \
                 peer.connectionState === 'connected' && peer.via === (peer.sfu ? '{via}' : 'p2p') && \
                 peer.hasDirectConnection === (peer.via === 'p2p'))"
            ),
            PATIENCE,
        );
    }
    for page in pages {
        wait_for_more_frames(page);
    }
    let before = evaluate(old, "old.frames()");
    old.wait_for(
        &format!("old.frames().then(now => Object.entries({before}).every(([peer, count]) => now[peer] > count))"),
        PATIENCE,
    );
}

#[test]
fn pictures_never_stop_while_a_call_changes_its_way_beside_a_client_that_knows_no_media_server() {
    let _turn = CAMERAS.lock().unwrap_or_else(PoisonError::into_inner);
    let server =
        Server::start(&[&AUTO[..], &["--set", "media.p2p_max=0", "--set", "rooms.joined_have_host=true"]].concat());
    let browser = Browser::launch(&["--use-fake-device-for-media-stream=fps=15"]);
    let old = browser.page(&format!("http://{}/", server.address));
    evaluate(&old, &format!("(async () => {{ {OLD_CLIENT} }})()"));
    old.wait_for("old.at === 'room'", PATIENCE);
    let (ann, ben) = (join_small(&browser, &server, "Ann"), join_small(&browser, &server, "Ben"));
    old.wait_for("old.peers.size === 2", PATIENCE);
    wait_for_way_beside_old_client([&ann, &ben], &old, "p2p");
    for page in [&ann, &ben] {
        evaluate(page, WATCH_TILES);
    }
    let mut longest = Vec::new();
    for round in 0..rounds() {
        for via in ["sfu", "p2p"] {
            evaluate(&old, &format!("old.ask('{via}')"));
            wait_for_way_beside_old_client([&ann, &ben], &old, via);
            for page in [&ann, &ben] {
                let taken = "Object.values(seen.tiles).map(tile => { const { longest } = tile; tile.longest = 0; return longest; })";
                let gaps: Vec<f64> = serde_json::from_value(evaluate(page, taken)).expect("times");
                assert_eq!(gaps.len(), 2, "two others are shown");
                longest.push((gaps.into_iter().fold(0.0, f64::max), via));
            }
        }
        println!("round {round}: longest times between shown frames {:?}", &longest[longest.len() - 4..]);
    }
    longest.sort_by(|one, other| one.0.total_cmp(&other.0));
    println!("longest times between shown frames, in ms, of all: {longest:.0?}");
    for page in [&ann, &ben] {
        assert_eq!(evaluate(page, "seen.faults"), json!([]), "a tile showed no live picture");
        assert_eq!(page.problems(), [""; 0]);
    }
    let modes = evaluate(&old, "old.modes");
    assert_eq!(modes.as_array().map(Vec::len), Some(2 * rounds()), "each change is told once: {modes}");
    assert_eq!(old.problems(), [""; 0]);
}

#[test]
fn third_page_moves_the_call_to_the_media_server_and_its_leaving_moves_it_back() {
    let _turn = CAMERAS.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start(&AUTO);
    let browser = Browser::launch(&["--use-fake-device-for-media-stream=fps=15"]);
    let (ann, ben) = (join_small(&browser, &server, "Ann"), join_small(&browser, &server, "Ben"));
    for page in [&ann, &ben] {
        wait_for_way(page, 1, "p2p");
    }
    let cleo = join_small(&browser, &server, "Cleo");
    for page in [&ann, &ben, &cleo] {
        wait_for_way(page, 2, "sfu");
        // Sound comes as well as pictures.
        page.wait_for("call.link.measure().then(all => [...all.values()].every(of => of.packets > 0))", PATIENCE);
    }
    assert_eq!(evaluate(&ann, "call.sendChat('Milk?')"), 2);
    wait_for_chat(&ben, "Milk?");
    wait_for_chat(&cleo, "Milk?");
    evaluate(&cleo, "call.leave()");
    for page in [&ann, &ben] {
        wait_for_way(page, 1, "p2p");
    }
    for page in [&ann, &ben, &cleo] {
        assert_eq!(page.problems(), [""; 0]);
    }
}
