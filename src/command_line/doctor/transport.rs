//! Connections of `doctor`: plain or with TLS, one request each, and the time that a certificate holds.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Time limit of a connection and of each answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The days after which it does not matter when a certificate ends.
const DAYS_MAX: u64 = 3_650;

/// Where to look.
pub(super) struct Target {
    pub(super) host: String,
    port: u16,
    /// Host and port, as in the `Host` header.
    authority: String,
    tls: Option<Arc<ClientConfig>>,
    roots: Arc<RootCertStore>,
}

/// Bytes both ways.
pub(super) trait Wire: Read + Write {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()>;
}

impl Wire for TcpStream {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))
    }
}

impl Wire for StreamOwned<ClientConnection, TcpStream> {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.sock.set_read_timeout(Some(timeout))
    }
}

/// An answer.
pub(super) struct Response {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Target {
    pub(super) fn parse(url: &str, authorities: Option<&Path>) -> Result<Self, String> {
        let wrong = || format!("{url:?}: expected an address such as https://chat.example or http://127.0.0.1:8090");
        let (is_secure, rest) = match url.split_once("://") {
            Some(("https" | "wss", rest)) => (true, rest),
            Some(("http" | "ws", rest)) => (false, rest),
            _ => return Err(wrong()),
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (authority, if is_secure { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_wrong = |letter: char| letter.is_whitespace() || letter.is_control() || "@?#[]".contains(letter);
        if host.is_empty() || host.contains(is_wrong) || !matches!(rest.strip_prefix(authority), Some("" | "/")) {
            return Err(wrong());
        }
        let mut roots = RootCertStore::empty();
        if let Some(path) = authorities {
            let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            roots.add_parsable_certificates(certificates.map_err(|error| format!("{}: {error}", path.display()))?);
        } else if is_secure {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.map_err(|error| error.to_string())?.with_root_certificates(roots.clone()).with_no_client_auth();
        let tls = is_secure.then(|| Arc::new(tls));
        Ok(Self { host: host.to_owned(), port, authority: authority.to_owned(), tls, roots })
    }

    pub(super) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }

    /// Connects without TLS to the first address that answers.
    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::from(ErrorKind::NotFound);
        for address in self.addresses()? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(TIMEOUT))?;
                    stream.set_write_timeout(Some(TIMEOUT))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn secured(&self, config: &Arc<ClientConfig>) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let mut session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        let mut stream = self.connect()?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(session, stream))
    }

    fn open(&self) -> io::Result<Box<dyn Wire>> {
        Ok(match &self.tls {
            Some(config) => Box::new(self.secured(config)?),
            None => Box::new(self.connect()?),
        })
    }

    /// Sends a request on a connection of its own; its answer, and the connection. Header lines end with a line end.
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> io::Result<(Response, Box<dyn Wire>)> {
        let mut wire = self.open()?;
        let (host, length) = (&self.authority, body.len());
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {length}\r\n") };
        write!(wire, "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}{headers}\r\n{body}")?;
        wire.flush()?;
        let (mut bytes, until) = (Vec::new(), Instant::now() + TIMEOUT);
        loop {
            let mut piece = [0; 4096];
            let count = match wire.read(&mut piece) {
                // Some servers end TLS without a word.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
                outcome => outcome?,
            };
            bytes.extend_from_slice(&piece[..count]);
            let is_last = count == 0 || bytes.len() > ANSWER_BYTES_MAX;
            if let Some(response) = parse(&bytes, is_last)? {
                return Ok((response, wire));
            }
            if is_last || Instant::now() > until {
                return Err(io::Error::other("the answer ended before it was complete"));
            }
        }
    }

    /// How many days the certificates hold from `now_s` on, at most [`DAYS_MAX`], and how many there are. The same check as that of
    /// clients is done for later times, so that certificates between count as well.
    pub(super) fn certificate_days(&self, now_s: u64) -> Option<io::Result<(u64, usize)>> {
        let config = self.tls.as_ref()?;
        Some(self.secured(config).and_then(|stream| {
            let chain = stream.conn.peer_certificates().unwrap_or_default();
            let (first, others) = chain.split_first().ok_or_else(|| io::Error::other("there is no certificate"))?;
            let verifier = WebPkiServerVerifier::builder_with_provider(
                self.roots.clone(),
                Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            );
            let verifier = verifier.build().map_err(io::Error::other)?;
            let name = ServerName::try_from(self.host.as_str()).map_err(io::Error::other)?;
            let holds = |days: u64| {
                let at = UnixTime::since_unix_epoch(Duration::from_secs(now_s + days * 86_400));
                verifier.verify_server_cert(first, others, &name, &[], at).is_ok()
            };
            let (mut good, mut bad) = (0, DAYS_MAX);
            while bad - good > 1 {
                let middle = good.midpoint(bad);
                if holds(middle) { good = middle } else { bad = middle }
            }
            Ok((good, chain.len()))
        }))
    }
}

/// The answer, if `bytes` has all of it.
fn parse(bytes: &[u8], is_last: bool) -> io::Result<Option<Response>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let head = response.parse(bytes).map_err(|_| io::Error::other("the answer is not HTTP"))?;
    let (httparse::Status::Complete(used), Some(status)) = (head, response.code) else { return Ok(None) };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = response.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect();
    let mut response = Response { status, headers, body: String::new() };
    let length = response.header("content-length").and_then(|length| length.parse::<usize>().ok());
    let rest = &bytes[used..];
    let is_chunked = response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let body = match length {
        _ if matches!(status, 101 | 204 | 304) => Some(&rest[..0]),
        Some(length) => rest.get(..length),
        // What the chunks say is looked for in their text, which is enough for short answers.
        None if is_chunked => (is_last || rest.ends_with(b"0\r\n\r\n")).then_some(rest),
        None => is_last.then_some(rest),
    };
    Ok(body.map(|body| {
        response.body = text(body);
        response
    }))
}
