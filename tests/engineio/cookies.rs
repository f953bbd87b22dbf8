//! Cookies as credentials of sessions: whose requests they count for, and that no script is an answer to them.

use serde_json::json;
use support::engineio::server;
use support::http::{Response, ask};
use support::server::{Server, token};

const POLL: &str = "/socket.io/?EIO=4&transport=polling";
const POLL_3: &str = "/socket.io/?EIO=3&transport=polling";
const OWN_PAGE: &str = "Origin: http://switchboard.test";

fn cookie(user: &str) -> String {
    format!("Cookie: theme=dark; token={}", token(user, &json!({})))
}

/// Opens a session with these headers, connects, and gives back what that is answered.
fn connect(server: &Server, headers: &[&str]) -> String {
    let opened = ask(&server.address, "GET", POLL, headers, None);
    assert_eq!(opened.status, 200, "{}", opened.text());
    let path = format!("{POLL}&sid={}", sid(&opened));
    assert_eq!(ask(&server.address, "POST", &path, &[], Some("40/chat,")).text(), "ok");
    ask(&server.address, "GET", &path, &[], None).text()
}

fn sid(opened: &Response) -> String {
    let text = opened.text();
    let (_, rest) = text.split_once("\"sid\":\"").or(text.split_once("\\\"sid\\\":\\\"")).expect("a session id");
    rest[..24].to_owned()
}

#[test]
fn cookie_counts_for_trusted_pages_only() {
    let named = server(&["server.names=switchboard.test", "cors.origins=[\"https://app.example\", \"null\"]"]);
    let ann = cookie("ann");
    for header in [OWN_PAGE, "Origin: https://app.example", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"] {
        assert!(connect(&named, &[&ann, header]).starts_with("40/chat,"), "{header}");
    }
    for headers in [&[ann.as_str()][..], &[&ann, "Origin: null"]] {
        let answer = connect(&named, headers);
        assert!(answer.starts_with("44/chat,") && answer.contains("A token is required"), "{headers:?}: {answer}");
    }
    for site in ["cross-site", "same-site"] {
        let answer = ask(&named.address, "GET", POLL, &[&ann, &format!("Sec-Fetch-Site: {site}")], None);
        assert_eq!(answer.status, 403, "{site}");
    }
    let any = server(&["server.names=switchboard.test", "cors.origins=*"]);
    for header in [OWN_PAGE, "Origin: https://app.example", "Sec-Fetch-Site: same-origin"] {
        assert!(connect(&any, &[&ann, header]).starts_with("44/chat,"), "{header}");
    }
    let off = server(&["server.names=switchboard.test", "auth.cookie=false"]);
    assert!(connect(&off, &[&ann, OWN_PAGE]).starts_with("44/chat,"));
}

#[test]
fn script_request_by_default_is_refused() {
    let server = server(&["server.names=switchboard.test"]);
    let ann = cookie("ann");
    for path in [POLL, POLL_3] {
        for headers in [&[][..], &[ann.as_str()], &[&ann, "Sec-Fetch-Site: none"], &[&ann, OWN_PAGE]] {
            let answer = ask(&server.address, "GET", &format!("{path}&j=0"), headers, None);
            let expected = (400, r#"{"code":3,"message":"JSONP is not available"}"#.to_owned());
            assert_eq!((answer.status, answer.text()), expected, "{path} {headers:?}");
        }
        let opened = ask(&server.address, "GET", path, &[], None);
        let polled = ask(&server.address, "GET", &format!("{path}&j=0&sid={}", sid(&opened)), &[], None);
        assert_eq!(polled.status, 400, "{path}");
    }
}

#[test]
fn script_never_carries_a_session_of_a_cookie() {
    let server = server(&["server.names=switchboard.test", "socketio.jsonp=true"]);
    let ann = cookie("ann");
    // As a script element of a foreign page sends it, and of the own page.
    for site in ["cross-site", "same-origin"] {
        let headers = [ann.as_str(), &format!("Sec-Fetch-Site: {site}")];
        let opened = ask(&server.address, "GET", &format!("{POLL}&j=0"), &headers, None);
        assert!(opened.text().starts_with("___eio[0]("), "{}", opened.text());
        let path = format!("{POLL}&sid={}", sid(&opened));
        assert_eq!(ask(&server.address, "POST", &path, &[], Some("40/chat,")).text(), "ok");
        let answer = ask(&server.address, "GET", &path, &[], None).text();
        assert!(answer.starts_with("44/chat,"), "{answer}");
    }
    // A client of Socket.IO 2 is connected by the first request alone.
    let opened = ask(&server.address, "GET", &format!("{POLL_3}&j=0"), &[&ann, "Sec-Fetch-Site: cross-site"], None);
    assert!(opened.text().contains("A token is required"), "{}", opened.text());
    // A session that a cookie has opened is not read by a script afterwards.
    let opened = ask(&server.address, "GET", POLL, &[&ann, OWN_PAGE], None);
    let polled = ask(&server.address, "GET", &format!("{POLL}&j=0&sid={}", sid(&opened)), &[], None);
    assert_eq!((polled.status, polled.text().contains("JSONP")), (400, true));
    // A token that the page itself adds is no cookie.
    let query = format!("{POLL}&j=0&token={}", token("ann", &json!({})));
    let opened = ask(&server.address, "GET", &query, &["Sec-Fetch-Site: cross-site"], None);
    assert!(opened.text().starts_with("___eio[0]("));
}

#[test]
fn engineio3_by_setting_is_refused() {
    let server = server(&["socketio.eio3=false"]);
    let answer = ask(&server.address, "GET", POLL_3, &[], None);
    assert_eq!((answer.status, answer.text().contains("Unsupported protocol version")), (400, true));
    assert_eq!(ask(&server.address, "GET", POLL, &[], None).status, 200);
}
