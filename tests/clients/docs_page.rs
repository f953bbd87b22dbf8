//! The reference of calls and messages in Chromium: all of both documents, found by words, opened by keyboard, on small and large
//! screens, without a fault that axe-core finds.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use support::chromium::Browser;
use support::http::ask;
use support::packages::WEB;
use support::server::Server;

use super::browser_socketio::evaluate;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn reference_has_all_calls_and_messages_and_is_accessible() {
    let server = Server::start(&["--dev"]);
    let document = |path: &str| ask(&server.address, "GET", path, &[], None).json();
    let (calls, messages) = (document("/openapi.json"), document("/asyncapi.json"));
    let operations = calls["paths"].as_object().expect("paths").values();
    let operations = operations.flat_map(|item| item.as_object().expect("operations").keys());
    let count = operations.filter(|name| *name != "parameters").count()
        + messages["components"]["messages"].as_object().expect("messages").len();
    let browser = Browser::launch(&[]);
    let page = browser.page(&format!("http://{}/docs", server.address));
    page.wait_for(&format!("document.getElementById('found').textContent === '{count} calls and messages'"), PATIENCE);

    // Each entry shows something, whatever its schema is.
    let open_all = "document.querySelectorAll('.entry').forEach((it) => { it.open = true; })";
    evaluate(&page, &format!("({open_all}, 0)"));
    page.wait_for("[...document.querySelectorAll('.entry > div')].every((it) => it.hasChildNodes())", PATIENCE);
    evaluate(&page, "(document.querySelectorAll('.entry').forEach((it) => { it.open = false; }), 0)");

    let find = "(text) => { const it = document.getElementById('find'); it.value = text; it.dispatchEvent(new Event('input')); \
                return document.getElementById('found').textContent; }";
    assert_eq!(evaluate(&page, &format!("({find})('post publish')")), "1 calls and messages");
    assert_eq!(evaluate(&page, &format!("({find})('no such call')")), "0 calls and messages");
    evaluate(&page, &format!("({find})('publish')"));
    evaluate(&page, "document.querySelector('.entry:not([hidden]) summary').focus()");
    for kind in ["keyDown", "keyUp"] {
        let event = json!({ "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r" });
        page.call("Input.dispatchKeyEvent", event).expect("a key");
    }
    page.wait_for("document.querySelector('.entry:not([hidden])').open", PATIENCE);

    let axe = fs::read_to_string(WEB.join("node_modules/axe-core/axe.min.js")).expect("it is there");
    page.evaluate(&format!("{axe}; 0")).expect("it runs");
    for scheme in ["dark", "light"] {
        let still = json!({ "name": "prefers-reduced-motion", "value": "reduce" });
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }, still] });
        page.call("Emulation.setEmulatedMedia", features).expect("a scheme");
        for width in [390, 1280] {
            page.set_viewport(width, 900, width == 390);
            let found = evaluate(
                &page,
                "axe.run().then(({ violations }) => violations.map((it) => `${it.id}: ${it.nodes[0].html}`))",
            );
            assert_eq!(found, json!([]), "{scheme} {width}");
            let fits = evaluate(&page, "document.documentElement.scrollWidth <= innerWidth");
            assert_eq!(fits, Value::Bool(true), "{scheme} {width}");
            if let Ok(folder) = std::env::var("SWITCHBOARD_SCREENSHOTS") {
                page.screenshot(format!("{folder}/docs-{scheme}-{width}.png"));
            }
        }
    }
    // The policy of the page allows nothing from elsewhere, and it needs nothing.
    assert_eq!(page.problems(), [""; 0]);
}
