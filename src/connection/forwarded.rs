//! Where a request comes from: the other side of its connection, or, where that is a proxy that is trusted, whom the proxy
//! says it speaks for, by `X-Forwarded-For` or `Forwarded` (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use crate::base::network::Network;
use crate::codec::http::RequestHead;

/// The address of whoever sent a request on a connection from `peer`. Of a chain of proxies, the last that is not trusted
/// is the client: what stands before it is only its own word.
pub fn client_address(head: &RequestHead<'_>, peer: IpAddr, trusted: &[Network]) -> IpAddr {
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let mut chain: Vec<&str> = head.headers_named("x-forwarded-for").flat_map(|list| list.split(',')).collect();
    if chain.is_empty() {
        let elements = head.headers_named("forwarded").flat_map(|list| list.split(','));
        chain = elements.map(|element| for_of(element).unwrap_or_default()).collect();
    }
    let mut client = peer;
    for said in chain.into_iter().rev() {
        // Whoever is not told by an address came by the proxy that says so.
        let Some(address) = parse(said) else { return client };
        client = address;
        if !is_trusted(address, trusted) {
            return client;
        }
    }
    client
}

/// Whether the word of whoever has this address is taken.
pub fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// The `for` of an element of `Forwarded`.
fn for_of(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, value)| value).next()
}

/// An address as proxies write it: in quotes or brackets or not, with a port or without.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::http::{HeadLimits, parse_head};

    fn client(headers: &str, peer: &str, trusted: &[&str]) -> String {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let trusted: Vec<Network> = trusted.iter().map(|text| Network::parse(text).expect(text)).collect();
        let limits = HeadLimits { bytes: 4_096, headers: 20 };
        let (head, _) = parse_head(text.as_bytes(), &limits).expect("a head").expect("whole");
        client_address(&head, peer.parse().expect(peer), &trusted).to_string()
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
