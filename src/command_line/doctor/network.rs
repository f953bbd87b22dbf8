//! What clients meet on their way: names, certificates, health, the clock, WebSockets, sessions by polling, and origins.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::Value;

use super::Finding;
use super::transport::{TIMEOUT, Target};

/// Days before the end of a certificate from which on a warning is due.
const CERTIFICATE_DAYS: u64 = 21;

/// Seconds by which clocks may differ.
const SKEW_S: u64 = 5;

const PROXY: &str =
    "a proxy in front must pass on Upgrade and Connection, by HTTP/1.1 (docs/deployment.md has nginx and others)";

/// Each address of the name, and whether it answers.
pub(super) fn addresses(target: &Target) -> Vec<Finding> {
    let addresses = match target.addresses() {
        Ok(addresses) => addresses,
        Err(error) => {
            return vec![Finding::bad("name", format!("{}: {error}", target.host), "set its A and AAAA records")];
        }
    };
    let answers = addresses.into_iter().map(|address| match TcpStream::connect_timeout(&address, TIMEOUT) {
        Ok(_) => Finding::good("address", format!("{address} answers")),
        Err(error) => Finding::bad(
            "address",
            format!("{address}: {error}"),
            "let the firewall pass it and have the server listen there, or take the address out of the DNS",
        ),
    });
    answers.collect()
}

/// The certificate, if the address is one of TLS.
pub(super) fn certificate(target: &Target, now_s: u64) -> Option<Finding> {
    let subject = "certificate";
    Some(match target.certificate_days(now_s)? {
        Ok((days, count)) if days >= CERTIFICATE_DAYS => {
            Finding::good(subject, format!("holds for {days} more days ({count} in the chain)"))
        }
        Ok((days, _)) => Finding::doubtful(
            subject,
            format!("holds for {days} more days"),
            "renew it; the server reads files that change by itself (tls.cert_file)",
        ),
        Err(error) => {
            let text = error.to_string();
            let advice = match () {
                () if text.contains("UnknownIssuer") => {
                    "put the intermediate certificates into tls.cert_file, or name the authority by --ca"
                }
                () if text.contains("Expired") => {
                    "renew it; the server reads files that change by itself (tls.cert_file)"
                }
                () if text.contains("NotValidForName") => "get a certificate for this name ([[tls.certificates]])",
                () => "is this the address of TLS? Without it the address begins with http://",
            };
            Finding::bad(subject, text, advice)
        }
    })
}

/// Health and clock; a finding of the subject `http` if the server is not reached.
pub(super) fn health(target: &Target, now_s: u64) -> Vec<Finding> {
    let response = match target.ask("GET", "/healthz", "Connection: close\r\n", "") {
        Ok((response, _)) => response,
        Err(error) => {
            return vec![Finding::bad("http", error.to_string(), "is it the server that listens there? See its log")];
        }
    };
    let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
    let Some(status) = body["status"].as_str().filter(|_| response.status == 200) else {
        let text = format!("/healthz answered {}, and not as this server does", response.status);
        return vec![Finding::bad("http", text, "have the proxy in front pass on all paths to the server")];
    };
    let list = |name: &str| -> String {
        let texts: Vec<&str> = body[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        texts.join("; ")
    };
    let text = format!("version {}, {status}", body["version"].as_str().unwrap_or("unknown"));
    let health = match status {
        "healthy" => Finding::good("health", text),
        "warning" => Finding::doubtful("health", format!("{text}: {}", list("issues")), list("recommendations")),
        _ => Finding::bad("health", format!("{text}: {}", list("issues")), list("recommendations")),
    };
    vec![health, clock(response.header("date"), now_s)]
}

/// The difference of the clocks, to a second.
fn clock(date: Option<&str>, now_s: u64) -> Finding {
    let at = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let Some(at) = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()) else {
        return Finding::doubtful("clock", "the answer has no Date", "have the proxy pass it on");
    };
    let skew = at.as_secs().abs_diff(now_s);
    match skew {
        0..=SKEW_S => Finding::good("clock", "that of the server is that of this machine"),
        _ => Finding::bad(
            "clock",
            format!("that of the server and that of this machine differ by {skew} s"),
            "tokens seem expired or not valid yet: have both keep time by NTP",
        ),
    }
}

/// A handshake, and the time that the WebSocket lives without a message of the client.
pub(super) fn websocket(target: &Target, token: Option<&str>, idle: Duration) -> Finding {
    let subject = "websocket";
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let headers = format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n{token}"
    );
    let (response, mut wire) = match target.ask("GET", "/ws", &headers, "") {
        Ok(answered) => answered,
        Err(error) => return Finding::bad(subject, error.to_string(), PROXY),
    };
    let is_own = serde_json::from_str::<Value>(&response.body).is_ok_and(|body| body["code"].is_string());
    match response.status {
        101 if idle.is_zero() => Finding::good(subject, "/ws opens"),
        101 => {
            let until = Instant::now() + idle;
            let mut piece = [0; 4096];
            while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                let read = wire.set_timeout(left).and_then(|()| wire.read(&mut piece));
                match read {
                    Ok(0) => {
                        let lived = (idle.saturating_sub(left)).as_secs();
                        let advice = "raise the read timeout of the proxy in front above heartbeat.interval_ms";
                        return Finding::bad(subject, format!("/ws was closed after {lived} s"), advice);
                    }
                    Ok(_) => {}
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(error) => return Finding::bad(subject, format!("/ws was lost: {error}"), PROXY),
                }
            }
            Finding::good(subject, format!("/ws opens, and is there after {} s", idle.as_secs()))
        }
        401 if is_own && token.is_empty() => {
            Finding::good(subject, "/ws is reached, and needs a token (--token opens it)")
        }
        401 if is_own => {
            Finding::bad(subject, "/ws refuses the token", "`switchboard token` makes one; see the log for the reason")
        }
        403 if is_own => Finding::bad(subject, "/ws refuses this client", "see the log for the reason"),
        429 if is_own => Finding::doubtful(
            subject,
            "/ws is reached, and this address has tried too often",
            "wait for limits.connection_block_s; if all clients come by a proxy, set trusted_proxies",
        ),
        status => Finding::bad(subject, format!("/ws answered {status} instead of 101"), PROXY),
    }
}

/// A session by polling: its requests, each on a connection of its own, must reach the same server.
pub(super) fn polling(target: &Target) -> Finding {
    const TRIES: usize = 6;
    let subject = "polling";
    let closing = "Connection: close\r\n";
    let opened = target.ask("GET", "/socket.io/?EIO=4&transport=polling", closing, "").map(|(response, _)| response);
    let response = match opened {
        Ok(response) => response,
        Err(error) => return Finding::bad(subject, error.to_string(), "have the proxy pass on /socket.io/"),
    };
    let handshake = response.body.find("0{").map(|at| &response.body[at + 1..]);
    let handshake =
        handshake.and_then(|text| serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok());
    let Some(sid) = handshake.as_ref().and_then(|handshake| handshake["sid"].as_str()) else {
        let text = format!("/socket.io/ answered {} without a session", response.status);
        return Finding::bad(subject, text, "have the proxy pass on /socket.io/ as it is");
    };
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    // A NOOP changes nothing.
    let post = || target.ask("POST", &path, &format!("Content-Type: text/plain\r\n{closing}"), "6");
    let refused = (0..TRIES).filter(|_| !post().is_ok_and(|(response, _)| response.status == 200)).count();
    // The session is over: it would count as one that has shown no token otherwise.
    let _ = target.ask("POST", &path, &format!("Content-Type: text/plain\r\n{closing}"), "1");
    match refused {
        0 => Finding::good(subject, format!("{TRIES} requests of a session reach it")),
        _ => Finding::bad(
            subject,
            format!("{refused} of {TRIES} requests of a session do not reach it"),
            "with several servers the proxy must be sticky for /socket.io/ (hash of the client's address, or a cookie)",
        ),
    }
}

/// Whether a page of an origin may use the server.
pub(super) fn origin(target: &Target, origin: &str) -> Finding {
    let subject = "origin";
    let headers = format!("Origin: {origin}\r\nConnection: close\r\n");
    match target.ask("GET", "/socket.io/?EIO=4&transport=polling", &headers, "") {
        Ok((response, _)) => match response.header("access-control-allow-origin") {
            Some(allowed) if allowed == origin || allowed == "*" => {
                Finding::good(subject, format!("pages of {origin} may use the server"))
            }
            _ => Finding::bad(
                subject,
                format!("pages of {origin} may not use the server"),
                "add it to cors.origins or client_url, exactly as the browser has it",
            ),
        },
        Err(error) => Finding::bad(subject, error.to_string(), "is it the server that listens there? See its log"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn clocks_are_compared_by_the_date_of_an_answer() {
        let at = 1_445_412_480;
        for (now_s, verdict) in
            [(at, Verdict::Good), (at + 5, Verdict::Good), (at - 6, Verdict::Bad), (at + 90, Verdict::Bad)]
        {
            let finding = clock(Some("Wed, 21 Oct 2015 07:28:00 GMT"), now_s);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
        assert_eq!(clock(None, at).verdict, Verdict::Doubtful);
    }
}
