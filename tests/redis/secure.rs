//! Redis by TLS, with certificates of authorities of the test's own, and for users who have to log in.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use support::certificates::CertificateAuthority;
use support::client::Client;
use support::directory::Directory;
use support::process::wait_until;
use support::redis::{RedisServer, free_port};
use support::server::{Server, command, token};

/// A server that speaks TLS on another port than the usual one; which.
fn start(authority: &CertificateAuthority, options: &[&str]) -> (RedisServer, u16) {
    let port = free_port();
    let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| authority.file(name));
    let port_text = port.to_string();
    let files = ["--tls-ca-cert-file", &ca, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let usual = ["--tls-port", &port_text, "--tls-auth-clients", "no"];
    (RedisServer::start_with(&[&usual[..], &files, options].concat()), port)
}

/// A server that uses the Redis at this address, and two people who meet there, in a room of their own: with another login Redis
/// can look like another server, which has to hear first what the servers with members in a room know.
fn meet(url: &str, settings: &[&str]) {
    static MEETINGS: AtomicUsize = AtomicUsize::new(0);
    let room = format!("r{}", MEETINGS.fetch_add(1, Ordering::Relaxed));
    let url = format!("redis.url={url}");
    let server = Server::of_shards(1, &[&[url.as_str()], settings].concat());
    let connect = |user: &str| Client::connect(&server.address, Some(&token(user, &json!({}))));
    let (mut ada, mut bob) = (connect("ada"), connect("bob"));
    ada.join(&room, "a");
    bob.join(&room, "b");
    bob.send(&json!({ "type": "message", "roomId": room, "content": "hello" }));
    assert_eq!(ada.wait_until(|event| event["type"] == "message")["content"], "hello");
}

/// What a server says that does not start with these settings.
fn refusal(settings: &[&str]) -> String {
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let output = command(&arguments, &[]).stderr(Stdio::piped()).output().expect("the server starts");
    assert!(!output.status.success());
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn redis_is_reached_by_tls() {
    let authority = CertificateAuthority::new();
    let ca_file = format!("redis.ca_file={}", authority.file("ca.pem"));
    let (_single, port) = start(&authority, &[]);
    meet(&format!("rediss://127.0.0.1:{port}"), &[&ca_file]);

    let bus = free_port().to_string();
    let options = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--tls-cluster", "yes"];
    let (cluster, port) = start(&authority, &options);
    cluster.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    wait_until("it is whole", || cluster.ask::<String>("CLUSTER INFO").contains("cluster_state:ok"));
    meet(&format!("rediss+cluster://127.0.0.1:{port}"), &[&ca_file]);

    let (_master, port) = start(&authority, &[]);
    let (sentinel, at) = start(&authority, &["--sentinel", "--tls-replication", "yes"]);
    sentinel.command(&["SENTINEL", "MONITOR", "mymaster", "127.0.0.1", &port.to_string(), "1"]);
    wait_until("it is found", || sentinel.ask::<String>("INFO sentinel").contains("status=ok"));
    meet(&format!("rediss+sentinel://127.0.0.1:{at}/mymaster"), &[&ca_file]);
}

#[test]
fn untrusted_certificate_is_refused() {
    let [authority, other] = [CertificateAuthority::new(), CertificateAuthority::new()];
    let (_redis, port) = start(&authority, &[]);
    let url = format!("redis.url=rediss://127.0.0.1:{port}");
    let said = refusal(&[&url, &format!("redis.ca_file={}", other.file("ca.pem"))]);
    let wanted = format!("redis.url: Redis at 127.0.0.1:{port} is not trusted: ");
    assert!(said.contains(&wanted) && said.contains("Trusted are those in redis.ca_file ("), "{said}");
    let said = refusal(&[&url]);
    assert!(said.contains(&wanted) && said.contains("the authorities that this system trusts"), "{said}");
    for (file, why) in [("nothing.pem", "No such file"), ("server.key", "no certificate in PEM form is in it")] {
        let said = refusal(&[&url, &format!("redis.ca_file={}", authority.file(file))]);
        assert!(said.contains("redis.ca_file: ") && said.contains(why), "{said}");
    }
}

#[test]
fn login_with_limited_permissions_is_sufficient() {
    let redis = RedisServer::start();
    let allowed = ["~switchboard:*", "&switchboard:*", "+@all", "-@dangerous", "-@admin"];
    redis.command(&[&["ACL", "SETUSER", "node", "on", ">p@ss/word"], &allowed[..]].concat());
    meet(&format!("redis://node:p@ss/word@127.0.0.1:{}", redis.port()), &[]);
    let said = refusal(&[&format!("redis.url=redis://node:wrong@127.0.0.1:{}", redis.port())]);
    assert!(said.contains("redis.url: Redis at") && said.contains("does not let this server log in"), "{said}");
    redis.command(&["CONFIG", "SET", "requirepass", "hush"]);
    let port = redis.port().to_string();
    let environment = [("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", port.as_str()), ("REDIS_PASSWORD", "hush")];
    let server = Server::start_with(&[], &environment);
    assert!(server.address.starts_with("127."));
    let file = Directory::new();
    std::fs::create_dir_all(file.path()).expect("a directory");
    let path = file.path().join("password");
    std::fs::write(&path, "hush\n").expect("a file");
    meet(&format!("redis://127.0.0.1:{port}"), &[&format!("redis.password_file={}", path.display())]);
    meet(&format!("redis://127.0.0.1:{port}"), &["redis.password=hush"]);
    let said = refusal(&[&format!("redis.url=redis://127.0.0.1:{port}?password=hush")]);
    assert!(said.contains("redis.url: found") && !said.contains("hush"), "{said}");
}
