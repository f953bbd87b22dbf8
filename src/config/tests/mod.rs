//! The settings as a whole: defaults, precedence, `--dev`, warnings, and what is printed.

mod refusals;

use std::net::SocketAddr;

use super::error::SettingSource;
use super::*;
use crate::domain::op::Scope;
use crate::runtime::storage::Durability;

fn sources() -> SettingSources {
    SettingSources {
        file: None,
        environment: Vec::new(),
        flags: Flags::default(),
        dev: false,
        profile: None,
        cores: 3,
        dev_secret: Box::new(|_| "fresh and thirty-two bytes long!".to_owned()),
        read_secret: |path| match path.to_str() {
            Some("one") => Ok(b"a secret of thirty-two bytes here\r\n".to_vec()),
            Some("two") => Ok(b"a secret of thirty-two bytes here\n\nthe former one, of as many bytes\n".to_vec()),
            Some("empty") => Ok(b"\n".to_vec()),
            Some("binary") => Ok(vec![0xff]),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        },
    }
}

fn file(text: &str) -> SettingSources {
    SettingSources { file: Some((FILE.into(), text.to_owned())), ..sources() }
}

fn environment(variables: &[(&str, &str)]) -> SettingSources {
    let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    SettingSources { environment: variables.iter().map(owned).collect(), ..sources() }
}

fn set(values: &[&str]) -> SettingSources {
    let set = values.iter().map(ToString::to_string).collect();
    SettingSources { flags: Flags { set, ..Flags::default() }, ..sources() }
}

fn settings(sources: SettingSources) -> Settings {
    load(sources).unwrap().settings
}

fn refusal(sources: SettingSources) -> String {
    load(sources).unwrap_err().to_string()
}

/// Key and default of every setting, in the order they are printed.
pub(super) const TABLE: &str = r#"
listen = ["[::]:8090"]
listen_admin = []
shards = 3
data_dir = "./switchboard-data"
client_url = []
trusted_proxies = []
proxy_protocol = false
server.names = []
tls.cert_file = ""
tls.key_file = ""
tls.certificates = []
tls.client_ca_file = ""
tls.client_certificates = "required"
tls.min_version = "1.2"
auth.secret = ""
auth.secret_file = ""
auth.secrets = []
auth.public_keys = []
auth.jwks_file = ""
auth.issuers = []
auth.jwks_refresh_seconds = 300
auth.jwks_allow_private = false
auth.algorithms = []
auth.audience = []
auth.issuer = ""
auth.admin_claim = ""
auth.admin_values = ["admin"]
auth.require_exp = true
auth.cookie = true
auth.query_token = true
auth.guests = false
auth.verify = "signature"
rooms.create_on_join = "seed"
rooms.joined_have_host = false
rooms.history = true
rooms.list_open = false
rooms.require_grant = false
rooms.announce_limit = 500
rooms.stream_idle_ms = 60000
rooms.retention_messages = 10000
rooms.retention_hours = 720
storage.durability = "process"
storage.on_damage = "set-aside"
storage.memory_bytes = 67108864
storage.memory_messages = 100000
media.mode = "off"
media.server = "embedded"
media.p2p_max = 2
media.p2p_return_ms = 20000
media.udp_port = 7882
media.announced = []
media.memory_bytes = 1073741824
presence.scope = "auto"
presence.details = false
presence.grace_ms = 3000
presence.batch_ms = 100
websocket.subprotocols = []
websocket.events = "request"
deflate.enabled = false
deflate.min_bytes = 256
deflate.level = 2
deflate.http = false
deflate.http_min_bytes = 1024
push.by_users = false
monitoring.open = false
heartbeat.interval_ms = 25000
heartbeat.timeout_ms = 20000
recovery.window_ms = 120000
limits.connection_attempts = 5
limits.connection_window_s = 300
limits.connection_block_s = 900
limits.exempt = ["127.0.0.0/8", "::1/128"]
limits.messages_per_minute = 100
limits.typing_per_minute = 10
limits.signals_per_minute = 600
limits.signals_burst = 200
limits.rest_per_minute = 300
limits.key_rest_per_minute = 6000
limits.key_cost = 600000
limits.cost_per_user = 6000
limits.cost_per_ip = 60000
limits.message_bytes = 16384
limits.frame_bytes = 262144
limits.outbound_bytes = 1048576
limits.body_bytes = 1048576
limits.rooms_per_connection = 100
limits.rooms_per_user = 1000
limits.direct_bytes_per_user = 4194304
limits.connections_per_user = 20
limits.connections_per_ip = 10000
limits.sockets_per_ip = 20000
limits.connections = 0
limits.handshake_ms = 10000
limits.head_ms = 10000
limits.idle_ms = 75000
limits.unauthenticated_ms = 45000
limits.http_head_bytes = 16384
limits.http_headers = 100
socketio.path = "/socket.io/"
socketio.transports = ["polling", "websocket"]
socketio.upgrade_timeout_ms = 10000
socketio.jsonp = false
socketio.eio3 = true
socketio.namespaces = []
socketio.emitter_key = "socket.io"
socketio.emitter_channel = "socketio"
cors.origins = []
ice.stun_urls = []
turn.url = []
turn.username = ""
turn.credential = ""
turn.secret = ""
turn.secret_file = ""
turn.ttl_s = 7200
turn.guests = false
redis.url = ""
redis.password = ""
redis.password_file = ""
redis.ca_file = ""
redis.prefix = "switchboard"
redis.resting_rooms = 1000000
drain.seconds = 10
log.level = "info"
log.format = "text"
audit.level = "info"
audit.format = ""
audit.file = ""
access.enabled = false
access.sample = 1
access.format = ""
access.file = ""
webhooks.endpoints = []
webhooks.allow_private = false
webhooks.outbox_bytes = 268435456
hooks.connect = []
hooks.join = []
hooks.publish = []
hooks.event = []
hooks.allow_private = false
hooks.concurrency = 64
"#;

/// The settings with these values of `--set`.
pub(super) fn load_set(flags: &[&str]) -> Result<Loaded, ConfigError> {
    load(set(flags))
}

#[test]
fn every_key_of_the_table_has_its_default() {
    let loaded = load(sources()).unwrap();
    let shown: Vec<String> =
        loaded.in_force.iter().map(|setting| format!("{} = {}", setting.key, setting.value)).collect();
    assert_eq!(shown, TABLE.trim().lines().collect::<Vec<_>>());
    assert!(loaded.in_force.iter().all(|setting| setting.source == SettingSource::Default));
    assert!(loaded.explicit.is_empty() && loaded.warnings.is_empty());
}

#[test]
fn every_key_of_the_table_is_taken_from_every_source() {
    for line in TABLE.trim().lines() {
        let (key, default) = line.split_once(" = ").unwrap();
        let variable = format!("SWITCHBOARD_{}", key.replace('.', "__").to_uppercase());
        let text = default.trim_matches('"');
        for sources in [file(line), environment(&[(&variable, text)]), set(&[&line.replace(" = ", "=")])] {
            let loaded = load(sources).unwrap();
            assert_eq!(loaded.explicit, BTreeSet::from([key.to_owned()]));
            let setting = loaded.in_force.iter().find(|setting| setting.key == key).unwrap();
            assert_eq!(setting.value.to_string(), default);
        }
    }
}

#[test]
fn defaults_arrive_in_their_types() {
    let settings = settings(sources());
    assert_eq!(settings.listen, ["[::]:8090".parse().unwrap()]);
    assert_eq!((settings.shards, settings.dev), (3, false));
    assert_eq!(settings.data_dir, Some("./switchboard-data".into()));
    assert!(settings.auth.secret.is_none() && settings.auth.accepted_algorithms().is_empty());
    assert_eq!(settings.auth.verify, Verify::Signature);
    assert_eq!(settings.rooms.create_on_join, CreateOnJoin::Seed);
    assert_eq!(settings.storage.durability, Durability::Process);
    assert_eq!(settings.presence.scope, Scope::Auto);
    assert!(settings.limits.exempt[0].contains("127.1.2.3".parse().unwrap()));
    assert_eq!(settings.log.level, tracing::level_filters::LevelFilter::INFO);
}

#[test]
fn later_source_takes_precedence() {
    let variables = [("JWT_SECRET", "common"), ("SWITCHBOARD_AUTH__SECRET", "own")];
    let secret = |variables: &[(&str, &str)], flags: &[&str]| {
        let sources = SettingSources {
            environment: environment(variables).environment,
            flags: set(flags).flags,
            ..file("[auth]\nsecret = 'file'")
        };
        settings(sources).auth.secret.unwrap().expose().to_owned()
    };
    assert_eq!(secret(&[], &[]), "file");
    assert_eq!(secret(&variables[..1], &[]), "common");
    assert_eq!(secret(&variables, &[]), "own");
    assert_eq!(secret(&variables, &["auth.secret=first", "auth.secret=flag"]), "flag");
    let flags = Flags { shards: Some("7".to_owned()), ..set(&["shards=6"]).flags };
    assert_eq!(settings(SettingSources { flags, ..file("shards = 5") }).shards, 7);
}

#[test]
fn text_is_not_parsed_and_lists_have_two_spellings() {
    let loaded = environment(&[
        ("SWITCHBOARD_AUTH__SECRET", "12345"),
        ("SWITCHBOARD_AUTH__ISSUER", "true"),
        ("SWITCHBOARD_LISTEN", "[::1]:80, 1.2.3.4:5"),
        ("SWITCHBOARD_CORS__ORIGINS", r#"["https://A.example", "*"]"#),
        ("SWITCHBOARD_DATA_DIR", ""),
        ("STUN_URLS", "stun:a:3478,stuns:b"),
        ("PATH", "/bin"),
    ]);
    let settings = settings(loaded);
    assert_eq!(settings.auth.secret.unwrap().expose(), "12345");
    assert_eq!(settings.auth.issuer.unwrap(), "true");
    assert_eq!(settings.listen, ["[::1]:80".parse().unwrap(), "1.2.3.4:5".parse().unwrap()]);
    assert_eq!(settings.cors.origins, ["https://a.example", "*"]);
    assert!(settings.cors.any());
    assert_eq!(settings.data_dir, None);
    assert_eq!(settings.ice.stun_urls, ["stun:a:3478", "stuns:b"]);
    let from_flags = load(set(&["auth.secret=12", "auth.issuer=\"a b\"", "auth.audience=a"]));
    let auth = from_flags.unwrap().settings.auth;
    assert_eq!(auth.secret.unwrap().expose(), "12");
    assert_eq!(auth.issuer.unwrap(), "a b");
    assert_eq!(auth.audience, ["a"]);
}

#[test]
fn common_variables_set_their_settings() {
    let settings = settings(environment(&[
        ("REDIS_HOST", "redis"),
        ("REDIS_PORT", "6380"),
        ("REDIS_PASSWORD", "p@ss"),
        ("TURN_URL", "turn:t:3478, turns:t:5349"),
        ("TURN_USERNAME", "me"),
        ("TURN_CREDENTIAL", "hush"),
        ("CLIENT_URL", "http://localhost:3000/,https://app.example"),
        ("PORT", "4000"),
        ("JWT_SECRET", ""),
    ]));
    assert_eq!(settings.redis.url.unwrap().expose(), "redis://:p%40ss@redis:6380");
    assert_eq!(settings.turn.url, ["turn:t:3478", "turns:t:5349"]);
    assert_eq!(settings.turn.username.unwrap(), "me");
    assert_eq!(settings.turn.credential.unwrap().expose(), "hush");
    assert_eq!(settings.client_url, ["http://localhost:3000", "https://app.example"]);
    assert!(settings.auth.secret.is_none());
    assert_eq!(settings.listen, ["[::]:4000".parse().unwrap()]);
    let dev = SettingSources { dev: true, ..environment(&[("PORT", "4000")]) };
    assert_eq!(load(dev).unwrap().settings.listen, ["127.0.0.1:4000", "[::1]:4000"].map(|text| text.parse().unwrap()));
}

#[test]
fn profile_changes_defaults_only() {
    use ProtocolProfile::{CamelChat, ColonChat, Meetings, Messaging, Push};
    for (profile, port) in [(Messaging, 8090), (Meetings, 4000), (Push, 8090), (ColonChat, 3001), (CamelChat, 8090)] {
        let loaded = load(SettingSources { profile: Some(profile), ..sources() }).unwrap();
        loaded.check_serve().unwrap();
        let settings = loaded.settings;
        let listen = ["127.0.0.1", "::1"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
        assert_eq!(settings.listen, listen.map(ListenerSettings::from), "{profile:?}");
        // The documents' tokens have no `exp`, and signatures of unknown secrets.
        let takes_any_token = settings.auth.verify == Verify::None && !settings.auth.require_exp;
        assert_eq!((takes_any_token, settings.auth.guests), (profile != Meetings, profile == Meetings), "{profile:?}");
        assert_eq!((settings.push.by_users, settings.monitoring.open), (profile == Push, profile == ColonChat));
        assert_eq!((settings.presence.details, settings.rooms.list_open), (profile == ColonChat, profile == Meetings));
        // A key is used once there is one.
        assert_eq!(settings.media.is_embedded(), profile == Meetings, "{profile:?}");

        let keyed = SettingSources { profile: Some(profile), ..environment(&[("JWT_SECRET", "hush")]) };
        assert_eq!(load(keyed).unwrap().settings.auth.verify, Verify::Signature, "{profile:?}");
    }
    // Not where no address of a media server is known, or several servers share the calls.
    for setting in ["listen=0.0.0.0:1", "redis.url=redis://127.0.0.1"] {
        let meetings = SettingSources { profile: Some(Meetings), ..set(&[setting]) };
        assert!(!load(meetings).unwrap().settings.media.is_embedded(), "{setting}");
    }
    let open = SettingSources { profile: Some(Push), ..set(&["listen=0.0.0.0:1"]) };
    assert!(refusal(open).contains("must be on loopback"));
}

#[test]
fn dev_changes_defaults_only() {
    let dev = load(SettingSources { dev: true, ..sources() }).unwrap();
    let settings = &dev.settings;
    assert_eq!(settings.listen, ["127.0.0.1:8090".parse().unwrap(), "[::1]:8090".parse().unwrap()]);
    assert!(settings.dev && settings.auth.guests && !settings.auth.require_exp);
    assert!(settings.cors.any());
    assert_eq!(settings.rooms.create_on_join, CreateOnJoin::Always);
    let secret = settings.auth.secret.as_ref().unwrap();
    assert_eq!(secret.expose(), "fresh and thirty-two bytes long!");
    assert!(dev.explicit.is_empty() && dev.warnings.is_empty());
    dev.check_serve().unwrap();

    let text = "listen = '127.0.0.1:1'\nauth = { guests = false, secret = 'set' }";
    let dev_secret = Box::new(|_: Option<&std::path::Path>| -> String { panic!("a secret was set") });
    let set = load(SettingSources { dev: true, dev_secret, ..file(text) }).unwrap().settings;
    assert_eq!(set.listen, ["127.0.0.1:1".parse().unwrap()]);
    assert!(!set.auth.guests);
    assert_eq!(set.auth.secret.unwrap().expose(), "set");
}

#[test]
fn suspicious_value_is_a_warning() {
    let warnings = |values: &[&str]| load(set(values)).unwrap().warnings.join("\n");
    assert_eq!(warnings(&["auth.secret=short"]), "--set: auth.secret: 5 bytes can be guessed, use at least 32");
    assert_eq!(warnings(&["auth.secrets=short"]), "--set: auth.secrets: 5 bytes can be guessed, use at least 32");
    let audience = warnings(&["auth.public_keys=a.pem"]);
    assert!(audience.starts_with("default: auth.audience: without it, tokens"), "{audience}");
    assert_eq!(warnings(&["auth.public_keys=a.pem", "auth.audience=chat"]), "");
    for key in ["handshake_ms", "head_ms", "idle_ms", "unauthenticated_ms"] {
        let expected = format!("--set: limits.{key}: 0 lets silent clients hold their connections for a day");
        assert_eq!(warnings(&[&format!("limits.{key}=0")]), expected);
    }
    assert!(warnings(&["cors.origins=null"]).contains("cors.origins"));
    assert_eq!(
        warnings(&["turn.secret=a", "turn.credential=b"]),
        "--set: turn.credential: not used, since turn.secret wins over it"
    );
    assert_eq!(
        warnings(&["limits.message_bytes=300000"]),
        "--set: limits.message_bytes: \
         300000 is more than a frame holds (limits.frame_bytes = 262144)"
    );
    assert_eq!(
        warnings(&["limits.frame_bytes=0"]),
        "--set: limits.frame_bytes: 0 lets a single client take all the memory"
    );
}

#[test]
fn short_secret_is_refused_where_others_can_reach_the_server() {
    let serve = |values: &[&str]| load(set(values)).unwrap().check_serve().map_err(|error| error.to_string());
    for (values, key) in [
        (["auth.secret=short", "listen=0.0.0.0:1"], "auth.secret: 5 bytes"),
        (["auth.secrets=short", "listen=[\"127.0.0.1:1\", \"10.0.0.1:1\"]"], "auth.secrets: 5 bytes"),
    ] {
        let refusal = serve(&values).unwrap_err();
        assert!(refusal.contains(key), "{refusal}");
    }
    serve(&["auth.secret=short", "listen=127.0.0.1:1"]).unwrap();
    serve(&["auth.secret=a secret of thirty-two bytes here", "listen=0.0.0.0:1"]).unwrap();
    let dev = SettingSources { dev: true, ..set(&["listen=0.0.0.0:1"]) };
    assert!(load(dev).unwrap().warnings.join("\n").contains("listen: 0.0.0.0:1 can be reached by others"));
}

#[test]
fn secret_in_a_file_is_read_and_not_shown() {
    let loaded = load(set(&["auth.secret_file=two", "turn.secret_file=one", "redis.password_file=one"])).unwrap();
    let secret = "a secret of thirty-two bytes here";
    let auth = &loaded.settings.auth;
    assert_eq!(auth.secret.as_ref().unwrap().expose(), secret);
    assert_eq!(auth.secrets.iter().map(Secret::expose).collect::<Vec<_>>(), ["the former one, of as many bytes"]);
    assert_eq!(loaded.settings.turn.secret.as_ref().unwrap().expose(), secret);
    assert_eq!(loaded.settings.redis.password.as_ref().unwrap().expose(), secret);
    let text = print(&loaded);
    assert!(text.contains("secret_file = \"two\"  # --set") && text.contains("secret = \"\"  # two"), "{text}");
    assert!(!text.contains("thirty") && !format!("{loaded:?}").contains("thirty"), "{text}");
    load(file(&text)).unwrap();
}

#[test]
fn secret_file_without_a_secret_is_refused() {
    for (values, problem) in [
        (&["auth.secret_file=none"][..], "auth.secret_file: none: entity not found"),
        (&["auth.secret_file=empty"], "auth.secret_file: empty: it is empty"),
        (&["turn.secret_file=two"], "turn.secret_file: two: it has more than one line"),
        (&["redis.password_file=binary"], "redis.password_file: binary: not UTF-8 text"),
        (&["auth.secret_file=one", "auth.secret=x"], "auth.secret_file: auth.secret is set, too (--set); give one"),
        (&["redis.url=redis://:hush@h", "redis.password=x"], "redis.password: redis.url has a password, too"),
        (&["redis.url=redis://:hush"], "redis.url: found \"redis://********\", expected"),
        (&["redis.url=redis://h:1?password=hush"], "redis.url: found \"redis://********\", expected"),
        (&["limits.http_headers=129"], "expected a whole number from 8 to 128"),
        (&["auth.secrets=[\"\"]"], "auth.secrets: found "),
    ] {
        let refusal = refusal(set(values));
        assert!(refusal.contains(problem) && !refusal.contains("hush"), "{refusal}");
    }
}

#[test]
fn printed_settings_have_sources_and_masked_secrets() {
    let loaded = load(SettingSources {
        environment: environment(&[("REDIS_HOST", "redis"), ("REDIS_PASSWORD", "hush")]).environment,
        flags: set(&["turn.secret=hush", "turn.credential=hush"]).flags,
        dev: true,
        ..file("shards = 2\n[auth]\nsecret = \"hush hush hush hush hush hush hush\"\n")
    });
    let loaded = loaded.unwrap();
    let text = print(&loaded);
    for line in [
        "listen = [\"127.0.0.1:8090\", \"[::1]:8090\"]  # --dev",
        "shards = 2  # switchboard.toml:1:10",
        "[auth]",
        "secret = \"********\"  # switchboard.toml:3:10",
        "credential = \"********\"  # --set",
        "url = \"redis://:********@redis:6379\"  # REDIS_HOST",
        "data_dir = \"./switchboard-data\"  # default",
        "frame_bytes = 262144  # default",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert!(!text.contains("hush") && !format!("{loaded:?}").contains("hush"), "{text}");
}

#[test]
fn printed_settings_are_a_settings_file() {
    let loaded = load(sources()).unwrap();
    let again = load(file(&print(&loaded))).unwrap();
    assert_eq!(again.explicit.len(), keys().count());
}

#[test]
fn the_reference_has_a_row_for_every_key() {
    let reference = reference();
    assert_eq!(reference.lines().count(), keys().count() + 2);
    assert!(reference.contains("| `shards` | number of cores | "));
    assert!(keys().all(|key| !key.meaning.contains('|') && key.meaning.trim().ends_with('.')));
}
