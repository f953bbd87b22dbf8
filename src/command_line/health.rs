//! The command `health`: one HTTP request to a running server, for container health checks and for people. It supports
//! `http://` only and follows no redirects.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Time limit of the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of the answer; a health report is far smaller.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Maximum number of headers in the answer.
const HEADERS_MAX: usize = 64;

/// Requests `url` (`http://host[:port][/path]`, by default `/healthz`) within 5 s; returns the body of an answer 200.
///
/// # Errors
///
/// The reason in one sentence and, for another status than 200, the body.
pub fn health(url: &str) -> Result<String, String> {
    match exchange("GET", url, "", "")? {
        (200, body) => Ok(body),
        (status, body) => Err(format!("{url}: answered {status}\n{body}").trim_end().to_owned()),
    }
}

/// Sends one request and returns the status and body of its answer. Each of the further `headers` ends with a line end.
///
/// # Errors
///
/// There was no answer; the reason in one sentence.
pub(super) fn exchange(method: &str, url: &str, headers: &str, body: &str) -> Result<(u16, String), String> {
    let target = HealthTarget::parse(url)?;
    let deadline = Instant::now() + TIMEOUT;
    let wrong = |error: std::io::Error| {
        let reason = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("no answer within {} s", TIMEOUT.as_secs())
            }
            _ => error.to_string(),
        };
        format!("{url}: {reason}")
    };
    let mut stream = connect(&target, deadline).map_err(wrong)?;
    let request = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\nConnection: close\r\n{headers}\r\n{body}",
        target.path, target.authority
    );
    stream.set_write_timeout(Some(left(deadline).map_err(wrong)?)).map_err(wrong)?;
    stream.write_all(request.as_bytes()).map_err(wrong)?;
    read_answer(&mut stream, deadline).map_err(wrong)
}

/// The parts of a URL.
struct HealthTarget<'a> {
    /// Host and port, as in the `Host` header.
    authority: &'a str,
    /// Host and port to connect to.
    host: &'a str,
    port: u16,
    /// Path and query.
    path: &'a str,
}

impl<'a> HealthTarget<'a> {
    fn parse(url: &'a str) -> Result<Self, String> {
        const EXPECTED: &str = "expected an address such as http://127.0.0.1:8090/healthz";
        let wrong = || format!("{url:?}: {EXPECTED}");
        let rest = match url.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => {
                return Err(format!(
                    "{url:?}: https is not supported; ask the server itself, behind its proxy ({EXPECTED}), or use curl"
                ));
            }
            Some(_) => return Err(wrong()),
            None => return Err(format!("{url:?}: the scheme is missing; {EXPECTED}")),
        };
        if rest.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err(wrong());
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) if rest.len() > slash + 1 => rest.split_at(slash),
            Some(slash) => (&rest[..slash], "/healthz"),
            None => (rest, "/healthz"),
        };
        // The last colon ends an IPv6 address's bracket or stands before the port.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (authority, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.is_empty() || host.contains(['@', '?', '#']) {
            true => Err(wrong()),
            false => Ok(Self { authority, host, port, path }),
        }
    }
}

fn left(deadline: Instant) -> std::io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Connects to the first of the host's addresses that answers.
fn connect(target: &HealthTarget<'_>, deadline: Instant) -> std::io::Result<TcpStream> {
    let mut last_error = ErrorKind::NotFound.into();
    let addresses: Vec<SocketAddr> = (target.host, target.port).to_socket_addrs()?.collect();
    for address in addresses {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

/// Status and body of the answer, read until it is complete or the server closes.
fn read_answer(stream: &mut TcpStream, deadline: Instant) -> std::io::Result<(u16, String)> {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let length = match stream.read(&mut piece) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        answer.extend_from_slice(&piece[..length]);
        let complete = length == 0 || answer.len() >= ANSWER_BYTES_MAX;
        if let Some(found) = parse_answer(&answer, complete)? {
            return Ok(found);
        }
        if complete {
            return Err(std::io::Error::other("the answer ended before it was complete"));
        }
    }
}

/// The answer, if `bytes` has all of it. `complete`: no more bytes follow, which ends a body of unknown length.
fn parse_answer(bytes: &[u8], complete: bool) -> std::io::Result<Option<(u16, String)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = response.parse(bytes);
    let head = head.map_err(|_| std::io::Error::other("the answer is not HTTP"))?;
    let (httparse::Status::Complete(head_bytes), Some(status)) = (head, response.code) else {
        return Ok(None);
    };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    let body = &bytes[head_bytes..];
    let body = match length {
        _ if status == 204 => Some(&body[..0]),
        Some(length) => body.get(..length),
        None => complete.then_some(body),
    };
    Ok(body.map(|body| (status, String::from_utf8_lossy(body).into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread::{JoinHandle, spawn};

    /// A server that answers one request with `pieces` and gives back the request's head.
    fn server(pieces: &'static [&'static str]) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            for piece in pieces {
                stream.write_all(piece.as_bytes()).unwrap();
            }
            String::from_utf8(request).unwrap()
        });
        (address, served)
    }

    #[test]
    fn health_of_a_healthy_server_is_its_body() {
        let (address, served) =
            server(&["HTTP/1.1 200 OK\r\nContent-", "Length: 15\r\n\r\n{\"status\":", "\"ok\"}, more"]);
        assert_eq!(health(&format!("http://{address}/readyz?a=b")).unwrap(), r#"{"status":"ok"}"#);
        let request = served.join().unwrap();
        assert!(request.starts_with("GET /readyz?a=b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("\r\nHost: {address}\r\n")), "{request}");
    }

    #[test]
    fn health_works_without_path_and_length() {
        let (address, served) = server(&["HTTP/1.0 200 OK\r\n\r\nfine"]);
        assert_eq!(health(&format!("http://{address}/")).unwrap(), "fine");
        assert!(served.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\n"));
    }

    #[test]
    fn health_reports_another_status_with_body() {
        let (address, _served) = server(&["HTTP/1.1 503 Service Unavailable\r\nContent-Length: 8\r\n\r\ncritical"]);
        let url = format!("http://{address}/healthz");
        assert_eq!(health(&url).unwrap_err(), format!("{url}: answered 503\ncritical"));
    }

    #[test]
    fn health_reports_an_invalid_answer() {
        let (address, _served) = server(&["SSH-2.0-OpenSSH\r\n"]);
        let url = format!("http://{address}/healthz");
        assert_eq!(health(&url).unwrap_err(), format!("{url}: the answer is not HTTP"));
        let (address, _served) = server(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]);
        let url = format!("http://{address}/healthz");
        let expected = format!("{url}: the answer ended before it was complete");
        assert_eq!(health(&url).unwrap_err(), expected);
    }

    #[test]
    fn health_reports_a_refused_connection() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = health(&format!("http://{address}/healthz")).unwrap_err();
        assert!(error.contains("refused"), "{error}");
    }

    #[test]
    fn health_target_is_parsed_from_the_url() {
        let parts = |url| {
            let target = HealthTarget::parse(url).unwrap();
            (target.host, target.port, target.path)
        };
        assert_eq!(parts("http://a"), ("a", 80, "/healthz"));
        assert_eq!(parts("http://[::1]:81/x"), ("::1", 81, "/x"));
        assert_eq!(parts("http://[::1]"), ("::1", 80, "/healthz"));
        let error = |url| HealthTarget::parse(url).err().unwrap();
        assert!(error("https://a").contains("https is not supported"), "{}", error("https://a"));
        for url in ["127.0.0.1:8090", "localhost", "//a"] {
            assert!(error(url).contains("the scheme is missing"), "{}", error(url));
        }
        for wrong in ["", "a", "ftp://a", "http://", "http://:80", "http://a:b", "http://a b", "http://u@a"] {
            let error = HealthTarget::parse(wrong).err().unwrap();
            assert!(error.ends_with("expected an address such as http://127.0.0.1:8090/healthz"));
        }
    }
}
