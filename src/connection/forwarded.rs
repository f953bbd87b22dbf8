//! Client address and site of a request: those of its connection or, behind trusted proxies, those in `X-Forwarded-For`,
//! `X-Forwarded-Proto` or `Forwarded` (RFC 7239).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use crate::base::network::Network;
use crate::codec::http::{RequestHead, bracketed_authority};

/// The client address of a request on a connection from `peer`. It is the right-most address of the chain that is not a
/// trusted proxy; addresses to its left are unverified.
pub fn client_address(head: &RequestHead<'_>, peer: IpAddr, trusted: &[Network]) -> IpAddr {
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let mut chain: Vec<&str> = head.headers_named("x-forwarded-for").flat_map(|list| list.split(',')).collect();
    if chain.is_empty() {
        let elements = head.headers_named("forwarded").flat_map(|list| list.split(','));
        chain = elements.map(|element| parameter(element, "for").unwrap_or_default()).collect();
    }
    let mut client = peer;
    for reported in chain.into_iter().rev() {
        // A proxy that reports no address counts as the client itself.
        let Some(address) = parse(reported) else { return client };
        client = address;
        if !is_trusted(address, trusted) {
            return client;
        }
    }
    client
}

/// The `scheme://host[:port]` by which the client of a request on a connection from `peer` knows the server.
///
/// Behind trusted proxies the scheme is that of `X-Forwarded-Proto` or, without it, of the parameter `proto` of `Forwarded`;
/// the host is its parameter `host` or else `Host`. Of several proxies the outermost trusted one counts.
pub fn site(head: &RequestHead<'_>, peer: IpAddr, trusted: &[Network]) -> String {
    let reported = if is_trusted(peer, trusted) { Reported::of(head, trusted) } else { Reported::default() };
    let host = reported.host.or_else(|| head.host().and_then(bracketed_authority));
    let scheme = if reported.is_secure { "https" } else { "http" };
    format!("{scheme}://{}", host.as_deref().filter(|host| !host.is_empty()).unwrap_or("localhost"))
}

/// The client's URL as proxies report it.
#[derive(Default)]
struct Reported<'a> {
    is_secure: bool,
    host: Option<Cow<'a, str>>,
}

impl<'a> Reported<'a> {
    fn of(head: &RequestHead<'a>, trusted: &[Network]) -> Self {
        let listed = |name| head.headers_named(name).flat_map(|list| list.split(',')).map(str::trim);
        let elements: Vec<&str> = listed("forwarded").collect();
        // Each proxy appends an element with the address that it saw.
        let is_proxy = |element: &&&str| {
            let address = parameter(element, "for").and_then(parse);
            address.is_some_and(|address| is_trusted(address, trusted))
        };
        let passed = elements.iter().rev().take_while(is_proxy).count();
        let outer = elements.iter().rev().take(passed + 1);
        let last = |name: &str| outer.clone().filter_map(|element| parameter(element, name)).next_back();
        let addresses: Vec<&str> = listed("x-forwarded-for").collect();
        let is_proxy = |text: &&&str| parse(text).is_some_and(|address| is_trusted(address, trusted));
        let passed = addresses.iter().rev().take_while(is_proxy).count();
        let schemes: Vec<&str> = listed("x-forwarded-proto").collect();
        let scheme = schemes.iter().rev().take(passed + 1).next_back().copied().or_else(|| last("proto"));
        let is_secure = scheme.is_some_and(|scheme| ["https", "wss"].iter().any(|it| it.eq_ignore_ascii_case(scheme)));
        Self { is_secure, host: last("host").and_then(bracketed_authority) }
    }
}

/// Whether `address` is that of a trusted proxy.
pub fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// A parameter of an element of `Forwarded`, without quotes.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(known, _)| known.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"'))
}

/// Parses an address as proxies write it: with or without quotes, brackets and port.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::http::{HeadLimits, parse_head};

    fn read<T>(
        headers: &str,
        peer: &str,
        trusted: &[&str],
        read: impl Fn(&RequestHead<'_>, IpAddr, &[Network]) -> T,
    ) -> T {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n").replace("Host: a\r\nHost:", "Host:");
        let trusted: Vec<Network> = trusted.iter().map(|text| Network::parse(text).expect(text)).collect();
        let limits = HeadLimits { bytes: 4_096, headers: 20 };
        let (head, _) = parse_head(text.as_bytes(), &limits).expect("a head").expect("whole");
        read(&head, peer.parse().expect(peer), &trusted)
    }

    fn client(headers: &str, peer: &str, trusted: &[&str]) -> String {
        read(headers, peer, trusted, client_address).to_string()
    }

    #[test]
    fn site_behind_trusted_proxies_is_the_one_that_the_client_sees() {
        let of = |headers: &str| read(headers, "10.0.0.1", &["10.0.0.0/8"], site);
        for (headers, expected) in [
            ("", "http://a"),
            ("X-Forwarded-Proto: https\r\n", "https://a"),
            ("X-Forwarded-Proto: HTTPS\r\n", "https://a"),
            ("X-Forwarded-Proto: wss\r\n", "https://a"),
            ("X-Forwarded-Proto: http\r\nForwarded: proto=https\r\n", "http://a"),
            ("X-Forwarded-Proto: javascript\r\n", "http://a"),
            ("Forwarded: for=192.0.2.1;proto=https;host=\"chat.example:8443\"\r\n", "https://chat.example:8443"),
            ("Forwarded: for=192.0.2.1;proto=https;host=\"a b/evil\"\r\n", "https://a"),
            ("Forwarded: Proto=https; Host=\"[::1]:1\"\r\n", "https://[::1]:1"),
            // The client's own words come first, those of the nearest proxy last.
            (
                "Forwarded: for=1.1.1.1;host=evil, for=192.0.2.1;host=b;proto=https, for=10.0.0.2;host=c;proto=http\r\n",
                "https://b",
            ),
            ("X-Forwarded-For: 192.0.2.1, 10.0.0.2\r\nX-Forwarded-Proto: https, http\r\n", "https://a"),
            ("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http, https\r\n", "https://a"),
            ("Host: ::1:8090\r\n", "http://[::1]:8090"),
            ("Host:\r\n", "http://localhost"),
        ] {
            assert_eq!(of(headers), expected, "{headers}");
        }
        let untrusted = "X-Forwarded-Proto: https\r\nForwarded: host=b;proto=https\r\n";
        assert_eq!(read(untrusted, "192.0.2.7", &["10.0.0.0/8"], site), "http://a");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let header = "X-Forwarded-For: 192.0.2.1\r\n";
        assert_eq!(client(header, "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client(header, "10.0.0.1", &["10.0.0.2"]), "10.0.0.1");
        assert_eq!(client(header, "10.0.0.1", &["10.0.0.0/8"]), "192.0.2.1");
        assert_eq!(client("", "10.0.0.1", &["10.0.0.0/8"]), "10.0.0.1");
        let chain = "X-Forwarded-For: 203.0.113.9, 192.0.2.1\r\nX-Forwarded-For: 10.0.0.7\r\n";
        assert_eq!(client(chain, "10.0.0.1", &["10.0.0.0/8"]), "192.0.2.1", "the first is the client's own word");
        assert_eq!(client("X-Forwarded-For: 10.0.0.9, 10.0.0.8\r\n", "10.0.0.1", &["10.0.0.0/8"]), "10.0.0.9");
    }

    #[test]
    fn addresses_are_written_in_many_ways() {
        let of = |headers: &str| client(headers, "::ffff:10.0.0.1", &["10.0.0.0/8"]);
        for (said, is) in [
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(of(&format!("X-Forwarded-For: {said}\r\n")), is);
            assert_eq!(of(&format!("Forwarded: proto=https;For=\"{said}\";by=10.0.0.1\r\n")), is);
        }
        for said in ["unknown", "", "_hidden", "999.1.1.1", "a, 10.0.0.5"] {
            assert!(of(&format!("X-Forwarded-For: {said}\r\n")).contains("10.0.0."), "{said}");
        }
        assert_eq!(of("Forwarded: for=203.0.113.9, for=192.0.2.1;proto=http, for=10.0.0.3\r\n"), "192.0.2.1");
        assert_eq!(of("Forwarded: for=203.0.113.9, proto=http\r\n"), "::ffff:10.0.0.1");
    }
}
