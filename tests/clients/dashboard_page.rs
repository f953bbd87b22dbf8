//! The dashboard in Chromium: its figures and actions, by keyboard, in two languages, on small and large screens, without a
//! fault that axe-core finds.

use std::time::Duration;

use serde_json::json;
use support::chromium::{Browser, Page};
use support::client::Client;
use support::http::ask;
use support::process::wait_until;
use support::server::{Server, token};

use super::browser_socketio::evaluate;
use super::pages::{check, press};

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
    page.wait_for("document.querySelectorAll('#settings td').length > 4", PATIENCE);
    page
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
    page.wait_for("document.querySelectorAll('#rooms td, #users td').length > 4", PATIENCE);
    check(&page, "dashboard", &["en", "de"]);
    assert_eq!(page.problems(), [""; 0]);
}

#[test]
fn dashboard_shows_the_frames_of_a_user_and_the_settings_in_force() {
    let server = Server::start(&["--dev", "--shards", "2", "--set", "limits.messages_per_minute=0"]);
    let browser = Browser::launch(&[]);
    let mut bob = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    let mut eve = Client::connect(&server.address, Some(&token("eve", &json!({}))));
    bob.join("tea", "b");
    eve.join("coffee", "e");
    let page = open(&browser, &server.address);
    let shows = |text: &str| format!("document.getElementById('frames').textContent.includes({})", json!(text));
    evaluate(&page, "document.getElementById('trace-subject').focus()");
    page.call("Input.insertText", json!({ "text": "bob" })).expect("a text");
    press(&page, "Enter");
    page.wait_for("document.getElementById('trace-go').textContent === 'Stop'", PATIENCE);
    let mut said = 0;
    wait_until("frames are shown", || {
        said += 1;
        eve.send(&json!({ "type": "message", "roomId": "coffee", "event": "secret", "data": said }));
        bob.send(&json!({ "type": "message", "roomId": "tea", "event": "e", "data": { "said": said } }));
        evaluate(&page, &shows("\"said\":")) == true
    });
    assert_eq!(evaluate(&page, &shows("secret")), false);
    // While it is paused, what comes is kept and not shown.
    evaluate(&page, "document.getElementById('trace-pause').focus()");
    press(&page, "Enter");
    bob.send(&json!({ "type": "message", "roomId": "tea", "content": "in a pause", "requestId": "pause" }));
    bob.wait_until(|event| event["requestId"] == "pause");
    assert_eq!(evaluate(&page, &shows("in a pause")), false);
    press(&page, "Enter");
    page.wait_for(&shows("in a pause"), PATIENCE);
    evaluate(&page, "document.getElementById('trace-filter').focus()");
    page.call("Input.insertText", json!({ "text": "pause" })).expect("a text");
    page.wait_for(&format!("{} && !{}", shows("in a pause"), shows("\"said\":")), PATIENCE);
    evaluate(&page, "document.getElementById('trace-go').focus()");
    press(&page, "Enter");
    page.wait_for("document.getElementById('trace-go').textContent === 'Watch'", PATIENCE);
    let row = "[...document.querySelectorAll('#settings tr')].find((it) => it.textContent.startsWith('shards'))";
    page.wait_for(&format!("{row}?.textContent.includes('2--shards')"), PATIENCE);
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
