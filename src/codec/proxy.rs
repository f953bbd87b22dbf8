//! The PROXY protocol, versions 1 and 2: the header by which a proxy says at the start of a connection whose it is.
//!
//! Whether the proxy is to be believed is not decided here. Of what a header may say only the client's address is read.
//!
//! Source: the specification that comes with HAProxy.

use std::net::IpAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};

/// What each version begins with.
const LINE: &[u8] = b"PROXY ";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a header of version 1, its line end included.
const LINE_BYTES_MAX: usize = 107;

/// Bytes of a header of version 2 before its addresses; the last two are the length of what follows.
const BINARY_BYTES_MIN: usize = 16;

/// Bytes of a header. Those in use have a few hundred at most: two addresses, and what is said of a TLS session.
pub const HEADER_BYTES_MAX: usize = 4096;

/// What a connection's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxiedClient {
    /// Bytes of the header.
    pub used: usize,
    /// Where the client is; `None` when the proxy speaks for itself, or does not know.
    pub client: Option<IpAddr>,
}

/// The proxy's fault: what it sent that is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// It does not begin like one.
    Missing,
    /// It begins like one and is none.
    Malformed,
    /// It has more than [`HEADER_BYTES_MAX`] bytes.
    TooLarge,
}

impl ProxyError {
    /// What was wrong, as a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::Missing => "The connection does not begin with a PROXY protocol header",
            Self::Malformed => "The PROXY protocol header is malformed",
            Self::TooLarge => "The PROXY protocol header is too large",
        }
    }
}

/// Reads the header at the start of `bytes`; `None` while it is not all there.
///
/// # Errors
/// There is none.
pub fn read(bytes: &[u8]) -> Result<Option<ProxiedClient>, ProxyError> {
    let Some(used) = length(bytes)?.filter(|used| *used <= bytes.len()) else { return Ok(None) };
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, read) = ProxyHeader::parse(&bytes[..used], config).map_err(|_| ProxyError::Malformed)?;
    if read != used {
        return Err(ProxyError::Malformed);
    }
    let address = header.proxied_address().filter(|address| address.protocol == Protocol::Stream);
    Ok(Some(ProxiedClient { used, client: address.map(|address| address.source.ip().to_canonical()) }))
}

/// How many bytes the header has, once that can be seen.
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
