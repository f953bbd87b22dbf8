//! What stops the start, in its exact words.

use super::*;

#[test]
fn invalid_value_in_file_is_reported_with_its_place() {
    let text = "listen = [\"0.0.0.0:80\"]\n[limits]\n  messages_per_minute = \"many\"\n";
    assert_eq!(
        refusal(file(text)),
        "switchboard.toml:3:25: limits.messages_per_minute: found \"many\", \
         expected a whole number from 0 (off) to 1000000000"
    );
    // Columns count characters, not bytes.
    assert_eq!(
        refusal(file("log = { format = \"text\", level = 'schön' }\nrooms = { history = 'ü' }")),
        "switchboard.toml:2:21: rooms.history: found \"ü\", expected true or false\n\
         switchboard.toml:1:34: log.level: found \"schön\", expected one of \
         \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\""
    );
}

#[test]
fn unknown_key_is_reported_with_a_suggestion() {
    for (text, expected) in [
        (
            "[limits]\nmesages_per_minute = 1",
            "2:1: unknown key limits.mesages_per_minute; did you mean limits.messages_per_minute?",
        ),
        ("lisen = []", "1:1: unknown key lisen; did you mean listen?"),
        ("[lmits]\nframe_bytes = 1", "1:2: unknown key lmits"),
        ("secret = 'x'", "1:1: unknown key secret; did you mean auth.secret?"),
        ("[auth.secret.more]", "1:7: auth.secret: found \"********\", expected a text in quotes"),
        ("limits = 3", "1:10: limits: found 3, expected a table of settings"),
    ] {
        assert_eq!(refusal(file(text)), format!("switchboard.toml:{expected}"));
    }
    assert_eq!(
        refusal(environment(&[("SWITCHBOARD_LIMITS_FRAME_BYTES", "1"), ("SWITCHBOARD_COLOUR", "1")])),
        "SWITCHBOARD_LIMITS_FRAME_BYTES: no setting has this name; did you mean SWITCHBOARD_LIMITS__FRAME_BYTES?\n\
         SWITCHBOARD_COLOUR: no setting has this name"
    );
    assert_eq!(
        refusal(set(&["limits.frame_byte=1", "secret"])),
        "--set: unknown key limits.frame_byte; did you mean limits.frame_bytes?\n\
         --set: expected key=value, such as limits.messages_per_minute=0"
    );
}

#[test]
fn invalid_toml_is_reported_with_its_place() {
    let error = refusal(file("shards = 1\nlisten = [\n"));
    assert!(error.starts_with("switchboard.toml:"), "{error}");
    assert_eq!(refusal(file("shards = 1\nshards = 2")), "switchboard.toml:2:1: duplicate key");
    let huge = refusal(file("shards = 99999999999999999999"));
    assert!(huge.starts_with("switchboard.toml:1:10: shards: "), "{huge}");
}

#[test]
fn invalid_value_names_its_variable_or_flag() {
    assert_eq!(
        refusal(environment(&[("SWITCHBOARD_SHARDS", "0")])),
        "SWITCHBOARD_SHARDS: shards: found 0, expected a whole number from 1 to 1024"
    );
    assert_eq!(
        refusal(environment(&[("SWITCHBOARD_LISTEN", "7, [::1]:80")])),
        "SWITCHBOARD_LISTEN: listen: found \"7\", \
         expected an address and a port, such as 127.0.0.1:8090 or [::1]:8090, or a host name of this machine and a port, \
         such as localhost:8090, or unix:/PATH, fd:NUMBER or fd:NAME"
    );
    assert_eq!(
        refusal(set(&["storage.durability=paper"])),
        "--set: storage.durability: found \"paper\", \
         expected one of \"process\", \"power\", \"none\""
    );
    let flags = Flags { listen: vec!["here".to_owned()], shards: Some("-1".to_owned()), ..Flags::default() };
    assert_eq!(
        refusal(SettingSources { flags, ..sources() }),
        "--listen: listen: found \"here\", \
         expected an address and a port, such as 127.0.0.1:8090 or [::1]:8090, or a host name of this machine and a port, \
         such as localhost:8090, or unix:/PATH, fd:NUMBER or fd:NAME\n\
         --shards: shards: found -1, expected a whole number from 1 to 1024"
    );
}

/// One wrong value, as `--set` has it, for each kind of check; and what is said to it.
const WRONG: &[(&str, &str)] = &[
    ("listen=[]", "found [], expected at least one address to listen on"),
    (
        "listen=unix:run/a,fd:3",
        "found \"unix:run/a\", expected an address and a port, such as 127.0.0.1:8090 or [::1]:8090, or a host name of this machine and a port, such as localhost:8090, or unix:/PATH, fd:NUMBER or fd:NAME",
    ),
    ("listen=unix:/run/a,unix:/run/a", "found \"unix:/run/a\", expected each address once"),
    ("listen=[::1]:80,[::1]:80", "found \"[::1]:80\", expected each address once"),
    (
        "listen=7",
        "found \"7\", expected an address and a port, such as 127.0.0.1:8090 or [::1]:8090, or a host name of this machine and a port, such as localhost:8090, or unix:/PATH, fd:NUMBER or fd:NAME",
    ),
    ("client_url=app.example", "found \"app.example\", expected an address that begins with http:// or https://"),
    (
        "trusted_proxies=10.0.0.0/40",
        "found \"10.0.0.0/40\", expected an IP address or a range, such as 10.0.0.0/8 or ::1",
    ),
    ("proxy_protocol=v2", "found \"v2\", expected true or false"),
    ("auth.verify=maybe", "found \"maybe\", expected one of \"signature\", \"none\""),
    (
        "auth.algorithms=none",
        "found \"none\", expected one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA",
    ),
    ("auth.guests=yes", "found \"yes\", expected true or false"),
    ("auth.secret=********", "found \"********\", expected the secret itself, not the asterisks printed in its place"),
    ("auth.audience=[7]", "found 7, expected a text that is not empty"),
    ("rooms.create_on_join=sometimes", "found \"sometimes\", expected one of \"seed\", \"always\", \"never\""),
    ("presence.scope=some", "found \"some\", expected one of \"auto\", \"all\", \"rooms\", \"none\""),
    ("heartbeat.interval_ms=0", "found 0, expected a whole number from 1 to 86400000"),
    ("heartbeat.timeout_ms=0", "found 0, expected a whole number from 1 to 86400000"),
    (
        "cors.origins=app.example",
        "found \"app.example\", expected an origin, such as https://app.example or capacitor://localhost, null, or *",
    ),
    ("ice.stun_urls=turn:a", "found \"turn:a\", expected an address that begins with stun: or stuns:"),
    ("turn.url=stun:a", "found \"stun:a\", expected an address that begins with turn: or turns:"),
    (
        "redis.url=http://:hush@a",
        "found \"http://:********@a\", expected redis://[user:password@]host[:port][/database], \
         redis+sentinel://host:port,…/master or redis+cluster://host:port,…, each with TLS when it begins with rediss",
    ),
    (
        "redis.url=redis://me:hush@",
        "found \"redis://me:********@\", expected redis://[user:password@]host[:port][/database], \
         redis+sentinel://host:port,…/master or redis+cluster://host:port,…, each with TLS when it begins with rediss",
    ),
    ("redis.prefix={a}", "found \"{a}\", expected 1 to 64 of the characters A-Z a-z 0-9 - _ . :"),
    ("limits.http_headers=0", "found 0, expected a whole number from 8 to 128"),
    ("log.format=xml", "found \"xml\", expected one of \"text\", \"json\""),
];

#[test]
fn invalid_value_is_reported_with_the_expected_form() {
    for (written, expected) in WRONG {
        let key = written.split('=').next().unwrap();
        assert_eq!(refusal(set(&[written])), format!("--set: {key}: {expected}"));
    }
}

#[test]
fn overridden_invalid_value_is_reported() {
    let flags = Flags { shards: Some("2".to_owned()), ..Flags::default() };
    let error = refusal(SettingSources { flags, ..file("shards = 0") });
    assert_eq!(error, "switchboard.toml:1:10: shards: found 0, expected a whole number from 1 to 1024");
}

#[test]
fn redis_variables_need_a_host_or_port_that_is_valid() {
    let url = |variables| settings(environment(variables)).redis.url;
    assert_eq!(url(&[("REDIS_PORT", "tcp://10.0.0.1:6379"), ("REDIS_PASSWORD", "x")]), None);
    assert_eq!(url(&[("REDIS_PORT", "6380"), ("REDIS_PASSWORD", "x")]).unwrap().expose(), "redis://:x@127.0.0.1:6380");
    assert_eq!(url(&[("REDIS_HOST", "::1")]).unwrap().expose(), "redis://[::1]:6379");
    assert_eq!(
        refusal(environment(&[("REDIS_HOST", "redis"), ("REDIS_PORT", "tcp://10.0.0.1:6379")])),
        "REDIS_PORT: redis.url: found \"tcp://10.0.0.1:6379\", expected a port number from 1 to 65535"
    );
}

#[test]
fn port_that_is_none_is_rejected() {
    for port in ["http", "65536", "-1"] {
        assert_eq!(
            refusal(environment(&[("PORT", port)])),
            format!("PORT: listen: found {port:?}, expected a port number from 0 to 65535")
        );
    }
}

#[test]
fn serve_without_key_is_rejected() {
    let error = load(sources()).unwrap().check_serve().unwrap_err().to_string();
    assert_eq!(
        error,
        "no key to verify tokens with. Give one of:
  auth.secret       a secret shared with whoever signs the tokens, also as JWT_SECRET or SWITCHBOARD_AUTH__SECRET
  auth.public_keys  PEM files with public keys
  auth.jwks_file    a JWKS file with public keys
  auth.issuers      issuers, such as Keycloak, with the address of their keys
  auth.guests       true: clients of /ws and /api/rooms need no token
or, to try things out on this machine alone: switchboard serve --dev"
    );
    for key in [
        "auth.secret=hush hush hush hush hush hush hush",
        "auth.public_keys=a.pem",
        "auth.jwks_file=a.json",
        "auth.guests=true",
    ] {
        load(set(&[key])).unwrap().check_serve().unwrap();
    }
    load(set(&["auth.verify=none", "listen=127.0.0.1:0"])).unwrap().check_serve().unwrap();
}

#[test]
fn unverified_tokens_need_loopback() {
    assert_eq!(
        refusal(set(&["auth.verify=none", "listen=[::1]:80,10.0.0.1:80"])),
        "--set: auth.verify: \"none\" lets anybody be anybody, so every listener must \
         be on loopback, such as 127.0.0.1:8090; 10.0.0.1:80 is not"
    );
    let loaded = load(set(&["auth.verify=none", "listen=[::1]:80,127.0.0.2:80"])).unwrap();
    assert_eq!(loaded.warnings, ["--set: auth.verify: tokens are taken without checking their signature"]);
}

#[test]
fn algorithms_must_fit_the_keys() {
    use jsonwebtoken::Algorithm::{EdDSA, HS256, HS384, HS512};
    let accepted = |values: &[&str]| settings(set(values)).auth.accepted_algorithms();
    assert_eq!(accepted(&["auth.secret=x"]), [HS256, HS384, HS512]);
    assert_eq!(accepted(&["auth.public_keys=a.pem"]).len(), 9);
    assert_eq!(accepted(&["auth.public_keys=a.pem", "auth.algorithms=HS256,EdDSA"]), [EdDSA]);
    assert_eq!(
        refusal(set(&["auth.secret=x", "auth.algorithms=RS256"])),
        "--set: auth.algorithms: none of them fits the keys given: HS algorithms \
         need auth.secret, all others auth.public_keys, auth.jwks_file or auth.issuers"
    );
}

#[test]
fn keys_by_http_need_a_setting() {
    let issuer = "auth.issuers=[{ issuer = 'a', jwks_url = 'http://sso.local/certs', audience = 'chat' }]";
    assert!(refusal(set(&[issuer])).contains("jwks_url must begin with https://"));
    let loaded = load(set(&[issuer, "auth.jwks_allow_private=true"])).unwrap();
    let text = "--set: auth.issuers: the keys of a are fetched by http: others on the way can replace them";
    assert_eq!(loaded.warnings, [text]);
}

#[test]
fn turn_url_needs_a_password() {
    assert_eq!(
        refusal(environment(&[("TURN_URL", "turn:t"), ("TURN_USERNAME", "me")])),
        "TURN_URL: turn.url: a TURN server needs turn.secret, or turn.username and turn.credential"
    );
    settings(set(&["turn.url=turn:t", "turn.secret=hush"]));
}
