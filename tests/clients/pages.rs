//! What holds for each page: on small and large screens, dark and light, in each language, axe-core finds no fault, and nothing
//! is wider than the screen.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use support::chromium::{Browser, Page};
use support::packages::WEB;
use support::server::Server;

use super::browser_socketio::evaluate;

const PATIENCE: Duration = Duration::from_secs(60);

/// Presses a key where the focus is.
pub(crate) fn press(page: &Page, key: &str) {
    let text = if key == "Enter" { "\r" } else { "" };
    let code = match key {
        "Enter" => 13,
        "Tab" => 9,
        "Escape" => 27,
        _ => u32::from(key.to_ascii_uppercase().as_bytes()[0]),
    };
    for kind in ["keyDown", "keyUp"] {
        let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
        page.call("Input.dispatchKeyEvent", event).expect("a key");
    }
}

/// Looks at a page in each form. With `SWITCHBOARD_SCREENSHOTS`, pictures of it are left in that directory.
pub(crate) fn check(page: &Page, name: &str, languages: &[&str]) {
    let axe = fs::read_to_string(WEB.join("node_modules/axe-core/axe.min.js")).expect("it is there");
    page.evaluate(&format!("{axe}; 0")).expect("it runs");
    for language in languages {
        let choose = "(it) => { it.value = LANGUAGE; it.dispatchEvent(new Event('change')); }"
            .replace("LANGUAGE", &json!(language).to_string());
        if languages.len() > 1 {
            evaluate(page, &format!("({choose})(document.getElementById('language'))"));
        }
        page.wait_for(&format!("document.documentElement.lang === '{language}'"), PATIENCE);
        for scheme in ["dark", "light"] {
            // Colours change at once then, not while axe looks at them.
            let still = json!({ "name": "prefers-reduced-motion", "value": "reduce" });
            let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }, still] });
            page.call("Emulation.setEmulatedMedia", features).expect("a scheme");
            for width in [390, 820, 1280] {
                page.set_viewport(width, 900, width == 390);
                let at = format!("{name} {language} {scheme} {width}");
                let found = evaluate(
                    page,
                    "axe.run().then(({ violations }) => violations.map((it) => `${it.id}: ${it.nodes[0].html}`))",
                );
                assert_eq!(found, json!([]), "{at}");
                let fits = evaluate(page, "document.documentElement.scrollWidth <= innerWidth");
                assert_eq!(fits, Value::Bool(true), "{at}");
                if let Ok(folder) = std::env::var("SWITCHBOARD_SCREENSHOTS") {
                    page.screenshot(format!("{folder}/{name}-{language}-{scheme}-{width}.png"));
                }
            }
        }
    }
}

#[test]
fn pages_without_a_language_of_choice_are_accessible_on_each_screen() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    for (path, name, is_ready) in [
        ("/", "landing", "document.getElementById('facts').children.length > 1"),
        ("/call?room=tea&audio=0&video=0", "call-lobby", "!document.getElementById('join').hidden"),
        ("/call?room=tea&name=Ann&autojoin=1&audio=0&video=0", "call", "globalThis.call?.phase === 'joined'"),
        ("/websocket-client.html", "websocket-client", "document.readyState === 'complete'"),
    ] {
        let page = browser.page(&format!("http://{}{path}", server.address));
        page.wait_for(is_ready, PATIENCE);
        check(&page, name, &["en"]);
        assert_eq!(page.problems(), [""; 0], "{name}");
    }
}
