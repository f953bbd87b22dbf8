//! The PROXY protocol, versions 1 and 2: a header at the start of a connection, in which a proxy reports the client.
//!
//! Only the client's address is read. The caller decides whether the proxy is trusted.
//!
//! Source: the specification in HAProxy's `doc/proxy-protocol.txt`.

use std::net::IpAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};

/// Signatures of versions 1 and 2.
const LINE: &[u8] = b"PROXY ";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Maximum size of a version 1 header, line end included, in bytes.
const LINE_BYTES_MAX: usize = 107;

/// Fixed part of a version 2 header, in bytes; the last two are the length of the rest.
const BINARY_BYTES_MIN: usize = 16;

/// Maximum size of a header, in bytes. Usual ones have a few hundred at most: two addresses and TLS parameters.
pub const HEADER_BYTES_MAX: usize = 4096;

/// A parsed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxiedClient {
    /// Size of the header in bytes.
    pub used: usize,
    /// Address of the client; `None` when the proxy reports none (`LOCAL`, `UNKNOWN`).
    pub client: Option<IpAddr>,
}

/// Why the header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// No signature of the protocol.
    Missing,
    /// Malformed after the signature.
    Malformed,
    /// More than [`HEADER_BYTES_MAX`] bytes.
    TooLarge,
}

impl ProxyError {
    /// Description, a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::Missing => "The connection does not begin with a PROXY protocol header",
            Self::Malformed => "The PROXY protocol header is malformed",
            Self::TooLarge => "The PROXY protocol header is too large",
        }
    }
}

/// Parses the header at the start of `bytes`; `None` while it is incomplete.
///
/// # Errors
/// See [`ProxyError`].
pub fn read(bytes: &[u8]) -> Result<Option<ProxiedClient>, ProxyError> {
    let Some(used) = length(bytes)?.filter(|used| *used <= bytes.len()) else { return Ok(None) };
    debug_assert!(used <= HEADER_BYTES_MAX, "invariant: the size of a header is bounded");
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, read) = ProxyHeader::parse(&bytes[..used], config).map_err(|_| ProxyError::Malformed)?;
    if read != used {
        return Err(ProxyError::Malformed);
    }
    let address = header.proxied_address().filter(|address| address.protocol == Protocol::Stream);
    Ok(Some(ProxiedClient { used, client: address.map(|address| address.source.ip().to_canonical()) }))
}

/// Size of the header in bytes, once it is known.
fn length(bytes: &[u8]) -> Result<Option<usize>, ProxyError> {
    let begins = |signature: &[u8]| bytes.iter().zip(signature).all(|(byte, expected)| byte == expected);
    if begins(LINE) {
        let line = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
        return match line.windows(2).position(|end| end == b"\r\n") {
            Some(at) => Ok(Some(at + 2)),
            None if line.len() < LINE_BYTES_MAX => Ok(None),
            None => Err(ProxyError::TooLarge),
        };
    }
    if !begins(BINARY) {
        return Err(ProxyError::Missing);
    }
    match bytes.get(BINARY_BYTES_MIN - 2..BINARY_BYTES_MIN) {
        None => Ok(None),
        Some(rest) => match BINARY_BYTES_MIN + usize::from(u16::from_be_bytes([rest[0], rest[1]])) {
            length if length > HEADER_BYTES_MAX => Err(ProxyError::TooLarge),
            length => Ok(Some(length)),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxy_header::{ProxiedAddress, Tlv};

    use super::*;

    const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

    fn client(bytes: &[u8]) -> Result<Option<(usize, Option<String>)>, ProxyError> {
        let read = read(bytes)?;
        Ok(read.map(|read| (read.used, read.client.map(|client| client.to_string()))))
    }

    #[test]
    fn the_first_version_is_a_line() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET /";
        assert_eq!(client(line), Ok(Some((45, Some("192.0.2.1".to_owned())))));
        let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n";
        assert_eq!(client(line), Ok(Some((line.len(), Some("2001:db8::1".to_owned())))));
        let line = b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n";
        assert_eq!(client(line), Ok(Some((line.len(), Some("192.0.2.1".to_owned())))));
        for line in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"] {
            assert_eq!(client(line), Ok(Some((line.len(), None))));
        }
    }

    #[test]
    fn the_second_version_is_binary() {
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbbGET /";
        assert_eq!(client(header), Ok(Some((28, Some("192.0.2.1".to_owned())))));
        assert_eq!(client(LOCAL), Ok(Some((16, None))));
        // Datagrams do not come by a stream.
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb";
        assert_eq!(client(header), Ok(Some((28, None))));
    }

    #[test]
    fn what_is_none_is_refused_at_once() {
        for bytes in [&b"G"[..], b"GET / HTTP/1.1\r\n", b"PROXYING", b"\r\n\r\n\0\r\nQUIX", b"proxy TCP4"] {
            assert_eq!(client(bytes), Err(ProxyError::Missing), "{}", bytes.escape_ascii());
        }
        for bytes in [
            &b"PROXY TCP5 192.0.2.1 198.51.100.7 56324 443\r\n"[..],
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\rX\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 70000 443\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n443\r\n",
            b"PROXY \r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb",
        ] {
            assert_eq!(client(bytes), Err(ProxyError::Malformed), "{}", bytes.escape_ascii());
        }
        let line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(client(line.as_bytes()), Err(ProxyError::TooLarge));
        assert_eq!(client(b"\r\n\r\n\0\r\nQUIT\n\x20\0\xff\xff"), Err(ProxyError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(
            source: std::net::SocketAddr,
            port: u16,
            is_first: bool,
            name in "[a-z]{0,40}",
            rest in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut header = ProxyHeader::with_address(ProxiedAddress::stream(source, (source.ip(), port).into()));
            let mut bytes = Vec::new();
            if is_first {
                header.encode_v1(&mut bytes).expect("addresses are all it says");
            } else {
                header.append_tlv(Tlv::Authority(name.into()));
                header.encode_v2(&mut bytes).expect("it is small");
            }
            let used = bytes.len();
            bytes.extend(rest);
            for end in 0..used {
                prop_assert_eq!(read(&bytes[..end]), Ok(None));
            }
            let client = Some(source.ip().to_canonical());
            for end in used..=bytes.len() {
                prop_assert_eq!(read(&bytes[..end]), Ok(Some(ProxiedClient { used, client })));
            }
        }

        #[test]
        fn no_bytes_are_waited_for_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..60), which in 0..3_usize) {
            let mut all = [LINE, BINARY].get(which).map_or(Vec::new(), |signature| signature.to_vec());
            all.extend(bytes);
            let first = read(&all);
            all.resize(HEADER_BYTES_MAX, b'x');
            let last = read(&all);
            prop_assert!(last.is_err() || last.is_ok_and(|read| read.is_some()));
            // What was refused stays refused, what was read stays read.
            prop_assert!(first == Ok(None) || first == last);
        }
    }
}
