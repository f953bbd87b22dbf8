//! The settings of nginx, HAProxy and Caddy in `docs/deployment.md`, in the real programs: WebSockets, polls, pages of the server's
//! own name and the address of the client come through.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use support::directory::Directory;
use support::process::{Kept, wait_until};
use support::server::{Server, token};
use tungstenite::Message;

/// A client's address that is no proxy's.
const CLIENT: &str = "127.0.0.2";

/// The settings that the documentation has for a file.
fn documented(file: &str) -> String {
    let text = include_str!("../../docs/deployment.md");
    let begin = text.find(&format!("# {file}\n")).unwrap_or_else(|| panic!("{file} is documented"));
    let end = text[begin..].find("```").expect("the end of the block");
    text[begin..begin + end].to_owned()
}

/// Replaces a part of the settings, which must be there.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} in {text}");
    text.replace(from, to)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port()
}

/// A connection from the client's address.
fn connect(address: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from: SocketAddr = format!("{CLIENT}:0").parse().expect("an address");
    socket.bind(&from.into()).expect("an address of loopback");
    let to: SocketAddr = address.parse().expect("an address");
    socket.connect(&to.into()).expect("the proxy listens");
    socket.into()
}

/// The status and the body of an answer by HTTP.
fn get(address: &str, path: &str, headers: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n{headers}\r\n")
        .expect("it goes out");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it ends");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer}")), answer)
}

/// Sends a client through the proxy that `start` starts at an address, in front of the server at another one.
fn check(scheme: &str, start: impl FnOnce(&Path, &str, &str) -> Command) {
    let directory = Directory::new();
    std::fs::create_dir_all(directory.path()).expect("a directory");
    let file = directory.path().join("access.log");
    let log = format!("access.file={}", file.display());
    let own = ["trusted_proxies=127.0.0.1", "server.names=chat.example", "access.enabled=true", "access.format=json"];
    let server = Server::of_shards(1, &[&own[..], &[&log]].concat());
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = start(directory.path(), &address, &server.address);
    let _proxy = Kept(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the proxy starts"));
    wait_until("the proxy passes on", || TcpStream::connect(&address).is_ok() && get(&address, "/readyz", "").0 == 200);

    let ann = token("ann", &json!({}));
    let url = format!("ws://chat.example/ws?events=all&token={ann}");
    let (mut socket, _) = tungstenite::client(&url, connect(&address)).expect("a WebSocket");
    socket.send(Message::text(r#"{"type":"join-room","roomId":"tea","requestId":1}"#)).expect("it goes out");
    let joined = std::iter::from_fn(|| socket.read().ok()).find(|frame| frame.to_string().contains("\"room-joined\""));
    assert!(joined.is_some());

    let (status, body) = get(&address, "/socket.io/?EIO=4&transport=polling", "");
    assert!(status == 200 && body.contains("\"sid\""), "{body}");
    let page = format!("Origin: {scheme}://chat.example\r\nAuthorization: Bearer {ann}\r\n");
    assert_eq!(get(&address, "/websocket/me/status", &page).0, 200);
    assert_eq!(get(&address, "/websocket/me/status", &page.replace("chat", "evil")).0, 403);

    let has_line = |text: String| {
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["path"] == "/websocket/me/status").all(|line| line["address"] == CLIENT)
            && text.contains("/websocket/me/status")
    };
    wait_until("a line with the client's address", || has_line(std::fs::read_to_string(&file).unwrap_or_default()));
}

#[test]
fn clients_come_through_nginx_as_documented() {
    check("http", |directory, address, server| {
        let own = documented("/etc/nginx/conf.d/switchboard.conf");
        let own = replaced(&own, "listen 443 ssl;", &format!("listen {address};"));
        let own = replaced(&own, "127.0.0.1:8090", server);
        let own: String =
            own.lines().filter(|line| !line.contains("ssl_certificate")).map(|line| line.to_owned() + "\n").collect();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {kind};\n"))
            .concat();
        let all =
            format!("pid nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{own}\n}}\n");
        std::fs::write(directory.join("nginx.conf"), all).expect("a file");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(directory).args([
            "-c",
            "nginx.conf",
            "-e",
            "stderr",
            "-g",
            "daemon off; master_process off;",
        ]);
        command
    });
}

#[test]
fn clients_come_through_haproxy_as_documented() {
    check("https", |directory, address, server| {
        let own = documented("/etc/haproxy/haproxy.cfg");
        let own = replaced(&own, "bind :443 ssl crt /etc/haproxy/certs/ alpn http/1.1", &format!("bind {address}"));
        let own = replaced(&own, "127.0.0.1:8090", server);
        let file = directory.join("haproxy.cfg");
        std::fs::write(&file, own).expect("a file");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        command
    });
}

#[test]
fn clients_come_through_caddy_as_documented() {
    check("http", |directory, address, server| {
        let own = documented("/etc/caddy/Caddyfile");
        let own = replaced(&own, "chat.example {", &format!("http://{} {{", address.replace("127.0.0.1", "")));
        let own = replaced(&own, "127.0.0.1:8090", server);
        let file = directory.join("Caddyfile");
        std::fs::write(&file, format!("{{\n\tadmin off\n}}\n{own}")).expect("a file");
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file).env("HOME", directory);
        command
    });
}
