//! What proxies report of a request: the client's address, in `X-Forwarded-For` or `Forwarded` (RFC 7239), and the host and
//! the scheme that the client used. Only trusted proxies are believed.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::network::Network;
use crate::codec::http::{RequestHead, bracketed_authority};
use crate::connection::origins::Addressed;

/// Headers that proxies add.
const FORWARDING_HEADERS: [&str; 9] = [
    "x-forwarded-for",
    "forwarded",
    "x-real-ip",
    "x-forwarded-proto",
    "x-forwarded-host",
    "via",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
];

/// The client address of a request on a connection from `peer`. It is the right-most address of the chain that is not a
/// trusted proxy; addresses to its left are unverified. It is the unspecified address if a proxy on this host is not
/// trusted: its clients are unknown, and none of them is on loopback.
pub fn client_address(head: &RequestHead<'_>, peer: IpAddr, trusted: &[Network]) -> IpAddr {
    if !is_trusted(peer, trusted) {
        return match peer.to_canonical() {
            peer if !peer.is_loopback() || !is_forwarded(head) => peer,
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
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

fn is_forwarded(head: &RequestHead<'_>) -> bool {
    FORWARDING_HEADERS.iter().any(|name| head.values(name).next().is_some())
}

/// The server as the client of a request on a connection from `peer` addresses it: by `Host`, and with TLS if the connection
/// `is_secure`.
///
/// Behind trusted proxies the scheme is that of `X-Forwarded-Proto` or, without it, of the parameter `proto` of `Forwarded`;
/// the host is that of `X-Forwarded-Host`, of the parameter `host`, or else of `Host`. Of several proxies the outermost
/// trusted one counts.
pub fn addressed<'h>(head: &RequestHead<'h>, (peer, is_secure): (IpAddr, bool), trusted: &[Network]) -> Addressed<'h> {
    let (host, reported) = if is_trusted(peer, trusted) { reported(head, trusted) } else { (None, None) };
    let host = host.or_else(|| head.host().and_then(bracketed_authority));
    Addressed { host: host.filter(|host| !host.is_empty()), is_secure: reported.unwrap_or(is_secure) }
}

/// The `scheme://host[:port]` by which a client knows the server.
pub fn site(Addressed { host, is_secure }: &Addressed<'_>) -> String {
    let scheme = if *is_secure { "https" } else { "http" };
    format!("{scheme}://{}", host.as_deref().unwrap_or("localhost"))
}

/// The host by which the client addresses the server, and whether with TLS, as far as proxies report it.
fn reported<'h>(head: &RequestHead<'h>, trusted: &[Network]) -> (Option<Cow<'h, str>>, Option<bool>) {
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
    let outermost = |name| {
        let values: Vec<&str> = listed(name).collect();
        values.iter().rev().take(passed + 1).next_back().copied()
    };
    let scheme = outermost("x-forwarded-proto").or_else(|| last("proto"));
    let is_secure = scheme.map(|scheme| ["https", "wss"].iter().any(|it| it.eq_ignore_ascii_case(scheme)));
    let host = outermost("x-forwarded-host").or_else(|| last("host"));
    (host.and_then(bracketed_authority), is_secure)
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
        let plain = |head: &RequestHead<'_>, peer, trusted: &[Network]| site(&addressed(head, (peer, false), trusted));
        let secure = |head: &RequestHead<'_>, peer, trusted: &[Network]| site(&addressed(head, (peer, true), trusted));
        let of = |headers: &str| read(headers, "10.0.0.1", &["10.0.0.0/8"], plain);
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
        assert_eq!(read(untrusted, "192.0.2.7", &["10.0.0.0/8"], plain), "http://a");
        assert_eq!(read("X-Forwarded-Proto: http\r\n", "192.0.2.7", &["10.0.0.0/8"], secure), "https://a");
        assert_eq!(read("", "10.0.0.1", &["10.0.0.0/8"], secure), "https://a");
        assert_eq!(read("X-Forwarded-Proto: http\r\n", "10.0.0.1", &["10.0.0.0/8"], secure), "http://a");
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

    #[test]
    fn client_of_an_untrusted_proxy_on_this_host_is_unknown() {
        for header in
            ["X-Forwarded-For: 192.0.2.1", "X-Real-IP: 1", "Forwarded: for=a", "Via: 1.1 p", "X-Forwarded-Proto: a"]
        {
            assert_eq!(client(&format!("{header}\r\n"), "127.0.0.1", &["10.0.0.0/8"]), "0.0.0.0", "{header}");
            assert_eq!(client(&format!("{header}\r\n"), "::1", &[]), "::", "{header}");
        }
        assert_eq!(client("X-Other: 1\r\n", "127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(client("X-Forwarded-For: 192.0.2.1\r\n", "127.0.0.1", &["127.0.0.1"]), "192.0.2.1");
    }

    #[test]
    fn address_of_the_server_is_reported_by_trusted_proxies() {
        let of = |headers: &str, trusted: &[&str]| {
            let text = format!("GET / HTTP/1.1\r\nHost: inner:8090\r\n{headers}\r\n\r\n");
            let trusted: Vec<Network> = trusted.iter().map(|text| Network::parse(text).expect(text)).collect();
            let limits = HeadLimits { bytes: 4_096, headers: 20 };
            let (head, _) = parse_head(text.as_bytes(), &limits).expect("a head").expect("whole");
            let Addressed { host, is_secure } =
                addressed(&head, ("10.0.0.1".parse().expect("an address"), false), &trusted);
            (host.unwrap_or_default().into_owned(), is_secure)
        };
        let trusted = ["10.0.0.0/8"];
        assert_eq!(of("X-Forwarded-Proto: https\r\nX-Forwarded-Host: chat.example", &[]), ("inner:8090".into(), false));
        for headers in [
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: chat.example",
            "X-Forwarded-For: 192.0.2.1, 10.0.0.2\r\nX-Forwarded-Proto: HTTPS, http\r\nX-Forwarded-Host: chat.example, other",
            "Forwarded: for=192.0.2.1;Proto=https;host=\"chat.example\", for=10.0.0.2;proto=http",
        ] {
            assert_eq!(of(headers, &trusted), ("chat.example".into(), true), "{headers}");
        }
        assert_eq!(of("X-Forwarded-Proto: http", &trusted), ("inner:8090".into(), false));
    }
}
