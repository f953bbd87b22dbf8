//! Web origins: the page behind a request, as its browser reports it, and what that page may do.
//!
//! A browser sends a site's cookies with every request to the site, also with those that a foreign page causes. It says
//! where a request comes from in `Origin` and `Sec-Fetch-Site`, and no page can change these headers. Programs other than
//! browsers send neither, or any; they have no cookies of others.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::codec::http::RequestHead;

/// The sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A program, or a browser that does not say where the request comes from. Its cookies are no credentials.
    Program,
    /// A page of an allowed origin, or a user who entered the address. Its cookies are credentials.
    TrustedPage,
    /// A page that is allowed because all are. It gets no credentials, and its cookies are none.
    AnyPage,
    /// A page of another origin.
    ForeignPage,
}

impl Sender {
    /// Whether requests of this sender are served.
    pub fn is_allowed(self) -> bool {
        self != Self::ForeignPage
    }
}

/// The server as the client addresses it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addressed<'h> {
    /// `host[:port]`, not empty.
    pub host: Option<Cow<'h, str>>,
    /// Whether the client uses TLS.
    pub is_secure: bool,
}

/// Origins of web pages that may use this server.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// All origins, without credentials.
    pub any: bool,
    /// Allowed origins, as browsers send them, or with `*` as port for any.
    pub allowed: Vec<String>,
    /// Host names and addresses of this server, without port, in lower case. Those of loopback need not be listed.
    pub names: Vec<String>,
    /// Whether every IP address counts as one of this server: it listens on all of them.
    pub has_any_address: bool,
}

impl Origins {
    /// The sender of a request to the server at `addressed`.
    pub fn sender(&self, head: &RequestHead<'_>, addressed: &Addressed<'_>) -> Sender {
        let mut origins = head.headers_named("origin");
        let is_own_host = || addressed.host.as_deref().is_some_and(|host| self.is_own(host_name(host)));
        let trusted = if self.any { Sender::AnyPage } else { Sender::TrustedPage };
        match (origins.next(), head.header("sec-fetch-site")) {
            (Some(origin), _) if origins.next().is_none() => self.sender_at(origin, addressed),
            (Some(_), _) => Sender::ForeignPage,
            (None, None) => Sender::Program,
            (None, Some("none")) => trusted,
            // A name that the server does not know may be a foreign page's own, set to this server's address.
            (None, Some("same-origin")) if self.any || is_own_host() => trusted,
            // A page that may read the answer sends an Origin.
            (None, Some(_)) => Sender::ForeignPage,
        }
    }

    fn sender_at(&self, origin: &str, addressed: &Addressed<'_>) -> Sender {
        let is_listed = self.allowed.iter().any(|allowed| is_same(allowed, origin));
        // Every page can make a frame whose origin is `null`, so it is never trusted.
        let is_private = origin != "null" && !self.any;
        match () {
            () if is_private && (is_listed || self.is_own_page(origin, addressed)) => Sender::TrustedPage,
            () if self.any || is_listed => Sender::AnyPage,
            () => Sender::ForeignPage,
        }
    }

    /// Whether a page at `origin` was loaded from this server, under one of its names.
    pub fn is_own_page(&self, origin: &str, addressed: &Addressed<'_>) -> bool {
        let scheme = if addressed.is_secure { "https" } else { "http" };
        let (Some((own, authority)), Some(host)) = (split(origin), addressed.host.as_deref()) else { return false };
        // If the operator names the scheme of this host, the other one is another origin, even if a proxy hides the scheme.
        let is_named_with_scheme = self.allowed.iter().any(|allowed| {
            split(allowed).is_some_and(|(scheme, named)| {
                ["http", "https"].contains(&scheme) && named.eq_ignore_ascii_case(authority)
            })
        });
        !is_named_with_scheme
            && own.eq_ignore_ascii_case(scheme)
            && authority.eq_ignore_ascii_case(without_default_port(scheme, host))
            && self.is_own(host_name(host))
    }

    /// Whether an origin that is refused is that of the host that the request is addressed to: the server lacks a setting,
    /// or a foreign page has set a name of its own to this server's address.
    pub fn is_own_but_unknown(&self, origin: &str, addressed: &Addressed<'_>) -> bool {
        let named = split(origin).map(|(_, authority)| host_name(authority));
        named.is_some_and(|name| {
            addressed.host.as_deref().is_some_and(|host| host_name(host).eq_ignore_ascii_case(name))
        })
    }

    fn is_own(&self, name: &str) -> bool {
        let is_address = |is_loopback: bool| is_loopback || self.has_any_address;
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name.eq_ignore_ascii_case("localhost")
            || bare.parse::<Ipv4Addr>().is_ok_and(|address| is_address(address.is_loopback()))
            || bare.parse::<Ipv6Addr>().is_ok_and(|address| is_address(address.to_canonical().is_loopback()))
            || self.names.iter().any(|own| own.eq_ignore_ascii_case(bare))
    }
}

/// The scheme and the authority of an origin (RFC 6454 §6.2), without a default port or a final slash. The origin `null`
/// has neither.
fn split(origin: &str) -> Option<(&str, &str)> {
    let (scheme, authority) = origin.split_once("://")?;
    Some((scheme, without_default_port(scheme, authority.trim_end_matches('/'))))
}

fn without_default_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    authority.strip_suffix(port).unwrap_or(authority)
}

/// Whether an allowed origin covers the one of a page. `:*` stands for any port.
fn is_same(allowed: &str, origin: &str) -> bool {
    match (split(allowed), split(origin)) {
        (Some((scheme, authority)), Some((other_scheme, other_authority))) => {
            let (authority, other_authority) = match authority.strip_suffix(":*") {
                Some(host) => (host, host_name(other_authority)),
                None => (authority, other_authority),
            };
            scheme.eq_ignore_ascii_case(other_scheme) && authority.eq_ignore_ascii_case(other_authority)
        }
        _ => allowed == origin,
    }
}

/// `host[:port]` without the port.
pub fn host_name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::http::{HeadLimits, parse_head};

    fn origins() -> Origins {
        let allowed = ["https://app.example", "capacitor://localhost", "file://", "null"].map(str::to_owned).into();
        Origins {
            any: false,
            allowed,
            names: ["chat.example", "app.example", "10.1.2.3"].map(str::to_owned).into(),
            has_any_address: false,
        }
    }

    fn sender(origins: &Origins, host: &str, is_secure: bool, headers: &str) -> Sender {
        let text = format!("GET /ws HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        let limits = HeadLimits { bytes: 4_096, headers: 20 };
        let (head, _) = parse_head(text.as_bytes(), &limits).expect("a head").expect("whole");
        origins.sender(&head, &Addressed { host: head.host().map(Cow::Borrowed), is_secure })
    }

    #[test]
    fn page_of_a_listed_origin_is_trusted() {
        for (origin, expected) in [
            ("https://app.example", Sender::TrustedPage),
            ("https://APP.example:443", Sender::TrustedPage),
            ("capacitor://localhost", Sender::TrustedPage),
            ("file://", Sender::TrustedPage),
            ("null", Sender::AnyPage),
            ("http://app.example", Sender::ForeignPage),
            ("https://app.example:8443", Sender::ForeignPage),
            ("https://app.example.evil.example", Sender::ForeignPage),
            ("ionic://localhost", Sender::ForeignPage),
            ("", Sender::ForeignPage),
        ] {
            assert_eq!(
                sender(&origins(), "chat.example", true, &format!("Origin: {origin}\r\n")),
                expected,
                "{origin}"
            );
        }
        let twice = "Origin: https://app.example\r\nOrigin: https://evil.example\r\n";
        assert_eq!(sender(&origins(), "chat.example", true, twice), Sender::ForeignPage);
    }

    #[test]
    fn page_of_own_host_is_trusted_under_a_known_name_only() {
        let own =
            |host: &str, is_secure, origin: &str| sender(&origins(), host, is_secure, &format!("Origin: {origin}\r\n"));
        for (host, is_secure, origin) in [
            ("chat.example", true, "https://chat.example"),
            ("chat.example:443", true, "https://CHAT.example"),
            ("Chat.Example:8090", false, "http://chat.example:8090"),
            ("127.0.0.1:8090", false, "http://127.0.0.1:8090"),
            ("localhost", false, "http://localhost:80"),
            ("[::1]:8090", false, "http://[::1]:8090"),
            ("10.1.2.3", false, "http://10.1.2.3"),
            ("app.example", false, "https://app.example"),
        ] {
            assert_eq!(own(host, is_secure, origin), Sender::TrustedPage, "{host} {origin}");
        }
        for (host, is_secure, origin) in [
            ("evil.example", false, "http://evil.example"),
            ("localhost.evil.example", false, "http://localhost.evil.example"),
            ("127.0.0.1.evil.example", false, "http://127.0.0.1.evil.example"),
            ("chat.example", false, "https://chat.example"),
            ("chat.example", true, "http://chat.example"),
            ("127.0.0.1:8090", false, "https://127.0.0.1:8090"),
            ("127.0.0.1:8090", false, "http://127.0.0.1:8091"),
            ("192.0.2.1", false, "http://192.0.2.1"),
            ("app.example", false, "http://app.example"),
        ] {
            assert_eq!(own(host, is_secure, origin), Sender::ForeignPage, "{host} {origin}");
        }
        let everywhere = Origins { has_any_address: true, ..origins() };
        let header = "Origin: http://192.0.2.1:8090\r\n";
        assert_eq!(sender(&everywhere, "192.0.2.1:8090", false, header), Sender::TrustedPage);
        assert_eq!(sender(&everywhere, "evil.example", false, "Origin: http://evil.example\r\n"), Sender::ForeignPage);
    }

    #[test]
    fn star_as_port_stands_for_any_port_of_that_host() {
        let origins =
            Origins { allowed: vec!["http://dev.example:*".to_owned(), "http://[::1]:*".to_owned()], ..origins() };
        for (origin, expected) in [
            ("http://dev.example", Sender::TrustedPage),
            ("http://dev.example:3000", Sender::TrustedPage),
            ("http://[::1]:5173", Sender::TrustedPage),
            ("https://dev.example:3000", Sender::ForeignPage),
            ("http://dev.example.evil.example:3000", Sender::ForeignPage),
            ("http://dev.example:3000.evil.example", Sender::ForeignPage),
            ("http://evil.example:*", Sender::ForeignPage),
        ] {
            let headers = format!("Origin: {origin}\r\n");
            assert_eq!(sender(&origins, "chat.example", false, &headers), expected, "{origin}");
        }
    }

    #[test]
    fn request_without_origin_is_judged_by_its_site() {
        let of = |host: &str, site: &str| sender(&origins(), host, false, &format!("Sec-Fetch-Site: {site}\r\n"));
        assert_eq!(sender(&origins(), "any.example", false, ""), Sender::Program);
        assert_eq!(of("chat.example", "same-origin"), Sender::TrustedPage);
        assert_eq!(of("evil.example", "same-origin"), Sender::ForeignPage);
        assert_eq!(of("any.example", "none"), Sender::TrustedPage);
        assert_eq!(["same-site", "cross-site", "new"].map(|site| of("chat.example", site)), [Sender::ForeignPage; 3]);
    }

    #[test]
    fn any_origin_is_never_trusted() {
        let any = Origins { any: true, ..origins() };
        for header in ["Origin: https://app.example", "Origin: http://localhost", "Sec-Fetch-Site: same-origin"] {
            assert_eq!(sender(&any, "localhost", false, &format!("{header}\r\n")), Sender::AnyPage, "{header}");
        }
        assert_eq!(sender(&any, "localhost", false, "Sec-Fetch-Site: cross-site\r\n"), Sender::ForeignPage);
    }
}
