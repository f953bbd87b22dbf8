//! Calls through the embedded media server: pages in Chromium that change between peer to peer connections and the server.

use support::chromium::{Browser, Page};
use support::server::Server;

use crate::browser_call::{PATIENCE, evaluate, join, wait_for_chat, wait_for_more_frames};

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

/// Begins to note the longest time between two shown frames of the first remote tile.
fn watch_gaps(page: &Page) {
    evaluate(
        page,
        "(() => { window.gaps = { longest: 0, frames: 0 }; \
          const video = [...document.querySelectorAll('video')].find(it => it.srcObject && !it.muted) \
            ?? [...document.querySelectorAll('#grid video')].find(it => it.srcObject); \
          let last = performance.now(); \
          const frame = (now) => { gaps.longest = Math.max(gaps.longest, now - last); gaps.frames++; last = now; \
            video.requestVideoFrameCallback(frame); }; \
          video.requestVideoFrameCallback(frame); return 1; })()",
    );
}

#[test]
fn third_page_moves_the_call_to_the_media_server_and_its_leaving_moves_it_back() {
    let server = Server::start(&AUTO);
    let browser = Browser::launch(&[]);
    let ann = join(&browser, &server.address, "tea", "Ann");
    let ben = join(&browser, &server.address, "tea", "Ben");
    for page in [&ann, &ben] {
        wait_for_way(page, 1, "p2p");
    }
    watch_gaps(&ann);
    let cleo = join(&browser, &server.address, "tea", "Cleo");
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
    let gaps = evaluate(&ann, "gaps");
    println!("gaps between shown frames: {gaps}");
    for page in [&ann, &ben, &cleo] {
        assert_eq!(page.problems(), [""; 0]);
    }
}
