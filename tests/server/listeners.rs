//! Listeners with roles, with and without TLS and the PROXY protocol, at Unix sockets, and those of a service manager.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use support::certificates::CertificateAuthority;
use support::client::{Client, PATIENCE};
use support::directory::Directory;
use support::http::{Http, ask, bearer};
use support::process::wait_until;
use support::redis::free_port;
use support::server::{SECRET, Server, command, token};
use support::tls::TlsClient;
use support::workspace;

/// The command that runs a server with this settings file; all listeners are those of the file.
fn command_of_file(directory: &Directory, settings: &str) -> Command {
    std::fs::create_dir_all(directory.path()).expect("a directory");
    let file = directory.path().join("switchboard.toml");
    std::fs::write(&file, format!("data_dir = \"\"\nshards = 2\n{settings}")).expect("a file");
    let mut command = Command::new(workspace::program("switchboard"));
    command
        .args(["serve", "--config"])
        .arg(file)
        .env_clear()
        .env("JWT_SECRET", SECRET)
        .current_dir(std::env::temp_dir());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// The address in a line of standard output.
fn address(line: &str) -> String {
    line.split_once("://").unwrap_or_else(|| panic!("no address: {line:?}")).1.to_owned()
}

fn status(address: &str, path: &str, user: &str) -> u16 {
    let claims = if user == "root" { json!({ "role": "admin" }) } else { json!({}) };
    ask(address, "GET", path, &[&bearer(&token(user, &claims))], None).status
}

/// What a client gets by a Unix socket for what it writes.
fn by_unix(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = vec![0; 64 << 10];
    let count = stream.read(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn listener_with_roles_serves_what_they_say_and_health() {
    let directory = Directory::new();
    let listener = |roles: &str| format!("[[listen]]\naddress = \"127.0.0.1:0\"\nroles = [{roles}]\n");
    let settings =
        [listener("\"public\""), listener("\"admin\""), listener("\"metrics\""), listener("\"public\", \"admin\"")];
    let (server, lines) = Server::spawn_and_read(&mut command_of_file(&directory, &settings.concat()), 3);
    let both =
        lines.iter().find(|line| line.starts_with("listening on ")).map(|line| address(line)).expect("a second one");
    let operators: Vec<_> =
        lines.iter().filter(|line| line.starts_with("for operators: ")).map(|line| address(line)).collect();
    let (clients, [admins, monitoring]) = (server.address.as_str(), operators.try_into().expect("two"));
    for (path, served) in [
        ("/healthz", [200, 200, 200, 200]),
        ("/readyz", [200, 200, 200, 200]),
        ("/metrics", [404, 200, 200, 200]),
        ("/users/blocked", [404, 200, 404, 200]),
        ("/websocket/me/status", [200, 200, 404, 200]),
        ("/call", [200, 404, 404, 200]),
        ("/socket.io/?EIO=4&transport=polling", [200, 404, 404, 200]),
    ] {
        let found = [clients, &admins, &monitoring, &both].map(|address| status(address, path, "root"));
        assert_eq!(found, served, "{path}");
    }
    let may_connect = |address: &str| Client::try_connect(address, Some(&token("ann", &json!({})))).is_ok();
    assert_eq!([clients, &admins, &monitoring, &both].map(may_connect), [true, false, false, true]);
    assert_eq!(status(&admins, "/users/blocked", "ann"), 403);
}

#[test]
fn listener_without_roles_serves_all_that_no_other_one_has() {
    let directory = Directory::new();
    let settings = "listen = [\"127.0.0.1:0\", { address = \"127.0.0.1:0\", roles = [\"metrics\"] }]";
    let (server, lines) = Server::spawn_and_read(&mut command_of_file(&directory, settings), 1);
    let monitoring = address(&lines[0]);
    for (path, served) in [("/metrics", [200, 200]), ("/users/blocked", [200, 404]), ("/call", [200, 404])] {
        assert_eq!([&server.address, &monitoring].map(|address| status(address, path, "root")), served, "{path}");
    }
}

#[test]
fn metrics_need_the_token_of_an_admin_unless_a_listener_is_for_them_or_for_developers() {
    let without_token = |address: &str| ask(address, "GET", "/metrics", &[], None).status;
    let alone = Server::start(&[]);
    assert_eq!(["root", "ann"].map(|user| status(&alone.address, "/metrics", user)), [200, 403]);
    assert_eq!(["root", "ann"].map(|user| status(&alone.address, "/users/blocked", user)), [200, 403]);
    assert_eq!(without_token(&alone.address), 401);
    let (apart, operators) = Server::start_with_operators(&[]);
    assert_eq!([&apart.address, &operators].map(|address| without_token(address)), [404, 200]);
    let directory = Directory::new();
    let settings = "listen = [{ address = \"127.0.0.1:0\", roles = [\"public\", \"metrics\"] }]";
    let open = Server::spawn(&mut command_of_file(&directory, settings));
    assert_eq!([without_token(&open.address), status(&open.address, "/users/blocked", "root")], [200, 404]);
    assert_eq!(without_token(&Server::start(&["--dev"]).address), 200);
}

#[test]
fn listener_may_do_without_tls_beside_one_with_it() {
    let (directory, authority) = (Directory::new(), CertificateAuthority::new());
    let line =
        |text: String| text.split_once('=').map(|(key, value)| format!("{key} = {value:?}\n")).expect("a setting");
    let settings = authority.settings().map(line);
    let listeners =
        "listen = [\"127.0.0.1:0\", { address = \"127.0.0.1:0\", tls = false }]\nrooms.create_on_join = \"always\"\n";
    let (server, lines) =
        Server::spawn_and_read(&mut command_of_file(&directory, &format!("{listeners}{}", settings.concat())), 1);
    assert!(lines[0].starts_with("listening on http://"), "{lines:?}");
    assert_eq!(status(&address(&lines[0]), "/healthz", "ann"), 200);
    assert_eq!(ask(&server.address, "GET", "/healthz", &[], None).status, 400, "TLS is asked for");
    let tunnel = TlsClient::new(&authority).tunnel(&server.address);
    assert_eq!(status(&tunnel.address, "/healthz", "ann"), 200);
    Client::connect(&tunnel.address, Some(&token("ann", &json!({})))).join("r", "a");
    Client::connect(&address(&lines[0]), Some(&token("bob", &json!({})))).join("r", "b");
}

#[test]
fn proxy_protocol_is_expected_by_the_listener_that_has_it() {
    let directory = Directory::new();
    let settings = "trusted_proxies = [\"127.0.0.1\"]\n\
                    listen = [\"127.0.0.1:0\", { address = \"127.0.0.1:0\", proxy_protocol = true }]\n";
    let (server, lines) = Server::spawn_and_read(&mut command_of_file(&directory, settings), 1);
    assert_eq!(status(&server.address, "/healthz", "ann"), 200);
    let mut proxy = Http::connect(&address(&lines[0]));
    proxy.write("PROXY TCP4 192.0.2.77 198.51.100.7 56324 8090\r\n");
    assert_eq!(proxy.ask("GET", "/healthz", &[], None).status, 200);
    let mut plain = TcpStream::connect(address(&lines[0])).expect("it listens");
    plain.write_all(HEALTH.as_bytes()).expect("it is sent");
    plain.set_read_timeout(Some(PATIENCE)).expect("an option");
    let mut answer = String::new();
    let _ = plain.read_to_string(&mut answer);
    assert!(!answer.contains(" 200 "), "{answer}");
}

#[test]
fn unix_socket_serves_clients_of_this_machine_and_is_removed_at_the_end() {
    let directory = Directory::new();
    std::fs::create_dir_all(directory.path()).expect("a directory");
    let path = directory.path().join("switchboard.sock");
    let text = format!("unix:{}", path.display());
    let proxied =
        ["--listen", &text, "--shards", "3", "--set", "trusted_proxies=127.0.0.1", "--set", "auth.guests=true"];
    let (mut server, lines) = Server::spawn_and_read(&mut command(&proxied, &[]), 1);
    assert_eq!(lines, [format!("listening on {text}")]);
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o666);
    for _ in 0..50 {
        assert!(by_unix(&path, HEALTH).starts_with("HTTP/1.1 200 "));
    }
    let handshake = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    assert!(by_unix(&path, handshake).starts_with("HTTP/1.1 101 "));
    // The proxy at the other end tells the address of the client.
    let own = bearer(&token("ann", &json!({})));
    let mut stream = UnixStream::connect(&path).expect("it listens");
    let upgrade = handshake.replace("/ws", &format!("/ws?token={}", token("ann", &json!({}))));
    stream
        .write_all(upgrade.replace("Upgrade: w", "X-Forwarded-For: 192.0.2.9\r\nUpgrade: w").as_bytes())
        .expect("sent");
    wait_until("the connection of 192.0.2.9", || {
        ask(&server.address, "GET", "/connections/ann", &[&own], None).text().contains("192.0.2.9")
    });
    server.signal(15);
    assert!(server.wait(Duration::from_secs(20)).success());
    assert!(!path.exists(), "the socket is left");
}

#[test]
fn unix_socket_of_a_dead_server_is_replaced_and_all_else_is_left() {
    let directory = Directory::new();
    std::fs::create_dir_all(directory.path()).expect("a directory");
    let path = directory.path().join("switchboard.sock");
    let text = format!("unix:{}", path.display());
    let start = || {
        let mut command = command(&["--listen", &text], &[]);
        command.stderr(Stdio::piped());
        command
    };
    let (server, _) = Server::spawn_and_read(&mut start(), 1);
    let refusal = || String::from_utf8(start().output().expect("it runs").stderr).expect("text");
    assert!(refusal().contains(&format!("cannot listen on {text}: another program listens there")), "{}", refusal());
    server.kill();
    assert!(path.exists());
    let (server, _) = Server::spawn_and_read(&mut start(), 1);
    assert!(by_unix(&path, HEALTH).starts_with("HTTP/1.1 200 "));
    drop(server);
    std::fs::remove_file(&path).expect("it is there");
    std::fs::write(&path, "notes").expect("a file");
    assert!(refusal().contains("there is a file that is no socket"), "{}", refusal());
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "notes");
}

#[test]
fn server_started_by_its_first_connection_serves_it_by_the_socket_it_was_given() {
    let (directory, port) = (Directory::new(), free_port());
    std::fs::create_dir_all(directory.path()).expect("a directory");
    let path = directory.path().join("switchboard.sock");
    let program = workspace::program("switchboard");
    let mut activate = Command::new("systemd-socket-activate");
    activate.args([
        "--fdname=clients:local",
        "-E",
        &format!("JWT_SECRET={SECRET}"),
        "-l",
        &format!("127.0.0.1:{port}"),
    ]);
    activate
        .arg("-l")
        .arg(&path)
        .arg(program)
        .args(["serve", "--data", "", "--listen", "fd:3", "--listen", "fd:local"]);
    activate.args(["--set", "drain.seconds=0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let first = std::thread::spawn(move || {
        // systemd-socket-activate may not listen yet.
        let address = format!("127.0.0.1:{port}");
        let mut connection = None;
        wait_until("the socket", || {
            connection = TcpStream::connect(&address).ok();
            connection.is_some()
        });
        let mut stream = connection.expect("it was awaited");
        stream.write_all(HEALTH.as_bytes()).expect("sent");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    });
    let (mut server, lines) = Server::spawn_and_read(&mut activate, 1);
    assert_eq!(
        (server.address.as_str(), lines),
        (format!("127.0.0.1:{port}").as_str(), vec!["listening on fd:local".to_owned()])
    );
    assert!(first.join().expect("no panic").starts_with("HTTP/1.1 200 "));
    assert!(by_unix(&path, HEALTH).starts_with("HTTP/1.1 200 "));
    server.signal(15);
    assert!(server.wait(Duration::from_secs(20)).success());
    assert!(path.exists(), "the socket is the service manager's");
}

#[test]
fn descriptor_that_was_not_passed_on_is_refused_by_name() {
    for (name, environment) in [("3", vec![]), ("4", vec![("LISTEN_FDS", "2"), ("LISTEN_PID", "1")])] {
        let mut command = command(&["--listen", &format!("fd:{name}")], &environment);
        let output = command.stderr(Stdio::piped()).output().expect("it runs");
        let text = String::from_utf8(output.stderr).expect("text");
        let expected = format!(
            "cannot listen on fd:{name}: the service manager has passed on 0 sockets, none of them as fd:{name}"
        );
        assert!(!output.status.success() && text.contains(&expected), "{text}");
    }
}
