//! The dashboard in Chromium: its figures and actions, by keyboard, in two languages, on small and large screens, without a
//! fault that axe-core finds.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use support::chromium::{Browser, Page};
use support::client::Client;
use support::http::ask;
use support::packages::WEB;
use support::server::{Server, token};

use super::browser_socketio::evaluate;

/// How long a page may take for what it must do.
const PATIENCE: Duration = Duration::from_secs(60);

fn admin() -> String {
    token("root", &json!({ "role": "admin" }))
}

/// The dashboard of a server, with the token of an admin.
fn open(browser: &Browser, address: &str) -> Page {
    let page = browser.page(&format!("http://{address}/dashboard"));
    page.wait_for("document.getElementById('facts').children.length > 3", PATIENCE);
    evaluate(
        &page,
        &format!(
            "(() => {{ const it = document.getElementById('token'); it.value = {}; it.focus(); }})()",
            json!(admin())
        ),
    );
    press(&page, "Enter");
    page.wait_for("document.querySelectorAll('.scroll > *').length === 4", PATIENCE);
    page
}

/// Presses a key where the focus is.
fn press(page: &Page, key: &str) {
    let text = if key == "Enter" { "\r" } else { "" };
    for kind in ["keyDown", "keyUp"] {
        let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": 13, "text": text });
        page.call("Input.dispatchKeyEvent", event).expect("a key");
    }
}

/// Uses the button of an action by keyboard, and confirms it with this text.
fn act(page: &Page, label: &str, text: Option<&str>) {
    let label = json!(label);
    page.wait_for(&format!("document.querySelector(`button[aria-label={label}]`)"), PATIENCE);
    evaluate(page, &format!("document.querySelector(`button[aria-label={label}]`).focus()"));
    press(page, "Enter");
    page.wait_for("document.getElementById('ask').open", PATIENCE);
    if let Some(text) = text {
        page.call("Input.insertText", json!({ "text": text })).expect("a text");
    }
    evaluate(page, "document.getElementById('ask-yes').focus()");
    press(page, "Enter");
    page.wait_for("!document.getElementById('ask').open", PATIENCE);
}

#[test]
fn dashboard_figures_and_actions_are_those_of_the_server() {
    let server = Server::start(&["--dev", "--shards", "2"]);
    let browser = Browser::launch(&[]);
    let mut bob = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    bob.join("tea", "b");
    let mut eve = Client::connect(&server.address, Some(&token("eve", &json!({}))));
    eve.join("tea", "e");
    let page = open(&browser, &server.address);
    page.wait_for("document.querySelector('.chart strong').textContent === '2'", PATIENCE);
    page.wait_for("document.getElementById('rooms').textContent.includes('tea2')", PATIENCE);
    act(&page, "Message: tea", Some("Tea is ready"));
    let message = bob.wait_for("message");
    assert_eq!(message["content"], "Tea is ready");
    act(&page, "Block: eve", Some("noise"));
    eve.wait_until(|event| event["type"] == "error" && event["code"] == "FORBIDDEN");
    page.wait_for("document.getElementById('blocks').textContent.includes('noise')", PATIENCE);
    page.wait_for("document.querySelector('.chart strong').textContent === '1'", PATIENCE);
    act(&page, "Close: tea", None);
    bob.wait_for("room-closed");
    page.wait_for("document.getElementById('rooms').textContent === 'None'", PATIENCE);
    assert_eq!(page.problems(), [""; 0]);
}

#[test]
fn dashboard_is_accessible_on_each_screen_in_each_language() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    let mut bob = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    bob.join("tea", "b");
    let page = open(&browser, &server.address);
    page.call("Page.setBypassCSP", json!({ "enabled": false })).expect("the policy stays");
    let axe = fs::read_to_string(WEB.join("node_modules/axe-core/axe.min.js")).expect("it is there");
    page.evaluate(&format!("{axe}; 0")).expect("it runs");
    page.wait_for("document.querySelectorAll('#rooms td, #users td').length > 4", PATIENCE);
    for language in ["en", "de"] {
        let choose = "(it) => { it.value = LANGUAGE; it.dispatchEvent(new Event('change')); }"
            .replace("LANGUAGE", &json!(language).to_string());
        evaluate(&page, &format!("({choose})(document.getElementById('language'))"));
        page.wait_for(&format!("document.documentElement.lang === '{language}'"), PATIENCE);
        for scheme in ["dark", "light"] {
            // Colours change at once then, not while axe looks at them.
            let still = json!({ "name": "prefers-reduced-motion", "value": "reduce" });
            let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }, still] });
            page.call("Emulation.setEmulatedMedia", features).expect("a scheme");
            for width in [390, 820, 1280] {
                page.set_viewport(width, 900, width == 390);
                let at = format!("{language} {scheme} {width}");
                let found = evaluate(
                    &page,
                    "axe.run().then(({ violations }) => violations.map((it) => `${it.id}: ${it.nodes[0].html}`))",
                );
                assert_eq!(found, json!([]), "{at}");
                assert_eq!(
                    evaluate(&page, "document.documentElement.scrollWidth <= innerWidth"),
                    Value::Bool(true),
                    "{at}"
                );
                if let Ok(folder) = std::env::var("SWITCHBOARD_SCREENSHOTS") {
                    page.screenshot(format!("{folder}/dashboard-{language}-{scheme}-{width}.png"));
                }
            }
        }
    }
    assert_eq!(page.problems(), [""; 0]);
}

#[test]
fn dashboard_is_served_where_the_calls_of_operators_are() {
    let (server, operators) = Server::start_with_operators(&["--dev"]);
    for path in ["/dashboard", "/dashboard/dashboard.js", "/dashboard/dashboard.css", "/dashboard/style.css"] {
        assert_eq!(ask(&operators, "GET", path, &[], None).status, 200, "{path}");
        assert_eq!(ask(&server.address, "GET", path, &[], None).status, 404, "{path}");
    }
    assert_eq!(ask(&operators, "GET", "/dashboard/call.js", &[], None).status, 404);
    let browser = Browser::launch(&[]);
    assert_eq!(open(&browser, &operators).problems(), [""; 0]);
}
