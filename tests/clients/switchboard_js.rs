//! The libraries `clients/js` and `clients/python`: their sizes and types, and that no message is lost, doubled or out of
//! order in Node, Deno, Chromium and Python when servers crash, connections are cut, tokens expire and pages are loaded anew.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::chromium::{Browser, Page};
use support::client::Client;
use support::directory::Directory;
use support::packages::{WEB, WEB_PYTHON, WEB_SCRIPTS, run};
use support::server::{SECRET, Server, token};

use super::browser_socketio::evaluate;

/// How long a client may take for what it must do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that the library, the hooks and the transport without WebSockets may have, compressed by `gzip -9`.
const SIZES: [(&str, usize); 4] = [
    ("switchboard.js", 6 * 1024),
    ("switchboard.mjs", 6 * 1024),
    ("switchboard-react.mjs", 2 * 1024),
    ("switchboard-fallback.mjs", 2 * 1024),
];

pub(crate) fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

#[test]
fn library_as_served_is_what_its_source_builds_and_is_small() {
    let to = Directory::new();
    fs::copy(clients().join("js/build.mjs"), WEB.join("build.mjs")).expect("a copy");
    let mut build = Command::new("node");
    build.arg(WEB.join("build.mjs")).arg(to.text()).env("SWITCHBOARD_CLIENTS", clients());
    run(&mut build);
    for (name, most) in SIZES {
        let packed = Command::new("gzip").args(["-9", "-c"]).arg(to.path().join(name)).output().expect("gzip runs");
        let size = packed.stdout.len();
        assert!(packed.status.success() && size <= most, "{name} has {size} of {most} bytes");
        let [built, kept] = [to.path().join(name), clients().join("js/dist").join(name)].map(fs::read);
        assert!(built.expect("it is built") == kept.expect("it is there"), "run node build.mjs: {name} is another");
    }
}

#[test]
fn typed_samples_compile_and_wrong_ones_do_not() {
    let directory = Directory::new();
    let modules = directory.path().join("node_modules");
    fs::create_dir_all(&modules).expect("a directory");
    for (name, target) in [
        ("switchboard-client", clients().join("js")),
        ("switchboard-react", clients().join("react")),
        ("@types", WEB.join("node_modules/@types")),
        ("csstype", WEB.join("node_modules/csstype")),
    ] {
        symlink(target, modules.join(name)).expect("a link");
    }
    for sample in ["chat.ts", "hooks.tsx"] {
        fs::copy(Path::new(WEB_SCRIPTS).join("samples").join(sample), directory.path().join(sample)).expect("a copy");
    }
    let options = "--strict --noEmit --module nodenext --target es2022 --lib es2023,dom,dom.iterable,esnext \
                   --jsx react-jsx --preserveSymlinks chat.ts hooks.tsx";
    let mut compile = Command::new(WEB.join("node_modules/.bin/tsc"));
    run(compile.args(options.split_whitespace()).current_dir(directory.path()));
}

/// A server that keeps its rooms on disk, where two shards know the users of meetings.
struct Place {
    server: Option<Server>,
    data: Directory,
}

impl Place {
    fn new() -> Self {
        let mut place = Self { server: None, data: Directory::new() };
        place.server = Some(place.start("127.0.0.1:0"));
        place
    }

    fn start(&self, address: &str) -> Server {
        let data = self.data.text();
        let settings =
            ["rooms.create_on_join=always", "cors.origins=*", "log.level=error", "heartbeat.interval_ms=1000"];
        let mut arguments = vec!["--shards", "2", "--data", &data];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
        Server::start_at(address, &arguments)
    }

    fn address(&self) -> &str {
        &self.server.as_ref().expect("it runs").address
    }

    /// Kills the server without a word to its clients, and starts another one in its place.
    fn crash(&mut self, between: impl FnOnce()) {
        let address = self.server.take().expect("it runs").kill();
        between();
        self.server = Some(self.start(&address));
    }
}

/// A program with a meeting that evaluates JavaScript.
trait Host {
    fn evaluate(&mut self, expression: &str) -> Value;

    #[track_caller]
    fn wait_for(&mut self, condition: &str) {
        let until = Instant::now() + PATIENCE;
        while self.evaluate(condition) != true {
            assert!(Instant::now() < until, "not within {PATIENCE:?}: {condition}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Node or Deno.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn of_javascript(command: &mut Command, url: &str) -> Self {
        let library = format!("file://{}", clients().join("js/dist/switchboard.mjs").display());
        Self::start(command.arg(WEB.join("host.mjs")).args([&library, url, SECRET]))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let input = child.stdin.take().expect("its input");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, input, output }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Host for Program {
    fn evaluate(&mut self, expression: &str) -> Value {
        writeln!(self.input, "{expression}").expect("it listens");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{expression}: {error} in {line:?}"))
    }
}

impl Host for &Page {
    fn evaluate(&mut self, expression: &str) -> Value {
        evaluate(self, expression)
    }
}

/// Has a meeting go on while connections break, the server crashes and tokens run out; no message may be amiss.
fn disturb(host: &mut dyn Host, place: &mut Place) {
    host.evaluate("meeting.begin()");
    for _ in 0..3 {
        host.evaluate("meeting.drop()");
        host.wait_for("meeting.isBack()");
        place.crash(|| host.wait_for("meeting.isCut()"));
        host.wait_for("meeting.isBack()");
    }
    // Tokens are renewed in time on open connections.
    let asked = host.evaluate("meeting.tokensAsked").as_u64().expect("a number");
    host.wait_for(&format!("meeting.tokensAsked > {asked} + 2 && meeting.isBack()"));
    // Without tokens, the server ends the connections when theirs expire.
    host.evaluate("meeting.isWithoutTokens = true");
    host.wait_for("meeting.isCut()");
    host.evaluate("meeting.isWithoutTokens = false");
    host.wait_for("meeting.isBack()");
    host.wait_for("meeting.isHeard()");
    assert_eq!(host.evaluate("meeting.faults()"), json!([]));
    assert!(host.evaluate("meeting.sent[0]").as_u64() > Some(300));
    host.evaluate("meeting.close()");
}

#[test]
fn node_client_loses_and_doubles_no_message() {
    let mut place = Place::new();
    let url = format!("http://{}", place.address());
    disturb(&mut Program::of_javascript(&mut Command::new("node"), &url), &mut place);
}

#[test]
fn node_client_without_websockets_loses_and_doubles_no_message() {
    let mut place = Place::new();
    let url = format!("http://{}", place.address());
    let mut node = Command::new("node");
    // Each WebSocket ends before it has opened.
    node.env("BLOCKED", clients().join("js/dist/switchboard-fallback.mjs"));
    disturb(&mut Program::of_javascript(&mut node, &url), &mut place);
    assert!(place.server.expect("it runs").metrics().contains("switchboard_http_responses_total{code=\"204\"}"));
}

#[test]
fn deno_client_loses_and_doubles_no_message() {
    let mut place = Place::new();
    let url = format!("http://{}", place.address());
    let mut deno = Command::new(WEB.join("node_modules/.bin/deno"));
    deno.args(["run", "--quiet", "--no-lock", "--allow-all"]).env("DENO_NO_UPDATE_CHECK", "1");
    disturb(&mut Program::of_javascript(&mut deno, &url), &mut place);
}

#[test]
fn python_client_loses_and_doubles_no_message() {
    let mut place = Place::new();
    let url = format!("http://{}", place.address());
    let mut python = Command::new(&*WEB_PYTHON);
    python.arg(Path::new(WEB_SCRIPTS).join("host.py")).args([&url, SECRET]).env("PYTHONPATH", clients().join("python"));
    disturb(&mut Program::start(python.env("PYTHONDONTWRITEBYTECODE", "1")), &mut place);
}

#[test]
fn python_client_is_typed_throughout() {
    let cache = Directory::new();
    let mut check = Command::new(&*WEB_PYTHON);
    check.args(["-m", "mypy", "--strict", "--cache-dir", &cache.text(), "switchboard_client"]);
    run(check.current_dir(clients().join("python")));
}

#[test]
fn react_hooks_show_what_happens_in_a_room() {
    let server = Server::start(&["--dev", "--shards", "2"]);
    fs::copy(clients().join("js/dist/switchboard-react.mjs"), WEB.join("switchboard-react.mjs")).expect("a copy");
    let library = format!("file://{}", clients().join("js/dist/switchboard.mjs").display());
    let mut node = Command::new("node");
    let said = run(node.arg(WEB.join("hooks.mjs")).args([&library, &format!("http://{}", server.address)]));
    assert_eq!(said, "done\n");
}

/// Opens a page of the server with the library, and evaluates a script in each document that it loads.
fn page_with(browser: &Browser, url: &str, script: &str) -> Page {
    let page = browser.page("about:blank#");
    page.call("Page.enable", json!({})).expect("Page.enable");
    page.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).expect("a script");
    page.navigate(url);
    page
}

#[test]
fn browser_client_loses_and_doubles_no_message() {
    let mut place = Place::new();
    let browser = Browser::launch(&[]);
    let url = format!("http://{}", place.address());
    let meeting = fs::read_to_string(Path::new(WEB_SCRIPTS).join("meeting.mjs")).expect("it is there");
    let meeting = meeting.replace("export class", "globalThis.Meeting = class");
    let page = browser.page(&format!("{url}/websocket-client.html"));
    page.evaluate(&format!(
        "(async () => {{ {meeting}; const {{ Switchboard }} = await import('/switchboard.mjs'); \
         globalThis.meeting = new Meeting(Switchboard, '/ws', {}); }})()",
        json!(SECRET)
    ))
    .expect("it runs");
    disturb(&mut &page, &mut place);
    // The classic script has the same class.
    page.evaluate(
        "new Promise((done) => document.head.append(Object.assign(document.createElement('script'), \
         { src: '/switchboard.js', onload: done })))",
    )
    .expect("it loads");
    assert_eq!(evaluate(&page, "typeof Switchboard === 'function' && typeof Switchboard.Error === 'function'"), true);
}

/// What a page does where no WebSocket passes: the library loads its other transport from the server by itself.
const BLOCKED: &str = "
    globalThis.WebSocket = class {
        readyState = 0;
        constructor() { setTimeout(() => { this.readyState = 3; this.onclose?.({ code: 1006, reason: '' }); }); }
        close() {}
    };
    if (location.protocol === 'http:') import('/switchboard.mjs').then(({ Switchboard }) => {
        globalThis.client = new Switchboard('/ws', { token: TOKEN });
        globalThis.room = client.join('tea');
        globalThis.heard = [];
        room.on('*', (data) => heard.push(data));
    });
";

#[test]
fn browser_without_websockets_talks_with_one_that_has_them() {
    let place = Place::new();
    let browser = Browser::launch(&[]);
    let mut bob = Client::connect(place.address(), Some(&token("bob", &json!({}))));
    bob.join("tea", "b");
    let script = BLOCKED.replace("TOKEN", &json!(token("ada", &json!({}))).to_string());
    let address = format!("http://{}/websocket-client.html", place.address());
    let page = page_with(&browser, &address, &script);
    page.wait_for("globalThis.room?.isJoined", PATIENCE);
    page.evaluate("Promise.all(['one', 'ü'.repeat(6000), 'two'].map((it) => room.publish(it)))").expect("receipts");
    for expected in ["one", &"ü".repeat(6000), "two"] {
        assert_eq!(bob.wait_for("message")["content"], expected);
    }
    bob.send(&json!({ "type": "message", "roomId": "tea", "content": "three" }));
    page.wait_for("heard.includes('three')", PATIENCE);
    // A page that is loaded anew goes on where the former one was.
    page.call("Page.navigate", json!({ "url": "about:blank" })).expect("it is left");
    page.wait_for("location.href === 'about:blank'", PATIENCE);
    bob.send(&json!({ "type": "message", "roomId": "tea", "content": "four" }));
    bob.wait_for("message-sent");
    page.navigate(&address);
    page.wait_for("globalThis.room?.isJoined && heard.join() === 'four'", PATIENCE);
    assert_eq!(page.problems(), [""; 0]);
}

#[test]
fn offline_browser_keeps_what_is_published_and_sends_it_when_it_is_back() {
    let place = Place::new();
    let browser = Browser::launch(&[]);
    let mut bob = Client::connect(place.address(), Some(&token("bob", &json!({}))));
    bob.join("tea", "b");
    let page = browser.page(&format!("http://{}/websocket-client.html", place.address()));
    page.evaluate(&format!(
        "import('/switchboard.mjs').then(({{ Switchboard }}) => {{ \
         client = new Switchboard('/ws', {{ token: {} }}); room = client.join('tea'); return room.joined.then(() => 0); }})",
        json!(token("ada", &json!({})))
    ))
    .expect("it joins");
    let network = |offline: bool| {
        let conditions = json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        page.call("Network.enable", json!({})).expect("Network.enable");
        page.call("Network.emulateNetworkConditions", conditions).expect("conditions");
    };
    network(true);
    page.evaluate(
        "client.drop(); sent = []; for (const n of [0, 1, 2]) room.publish('number', n).then(() => sent.push(n)); 0",
    )
    .expect("it runs");
    page.wait_for("client.state !== 'online' && sent.length === 0", PATIENCE);
    network(false);
    page.wait_for("sent.join() === '0,1,2'", PATIENCE);
    for number in 0..3 {
        let message = bob.wait_for("message");
        assert_eq!((&message["event"], &message["data"]), (&json!("number"), &json!(number)));
    }
}

/// What a page does in the test below: it notes what it hears, and says the next numbers, in each of its lives.
const RELOADED: &str = "
    globalThis.life = Math.random();
    const noted = (name) => JSON.parse(sessionStorage.getItem(name) ?? '[]');
    const note = (name, value) => sessionStorage.setItem(name, JSON.stringify([...noted(name), value]));
    const say = () => {
        const next = noted('said').length;
        note('said', next);
        room.publish('said', next).catch((error) => note('problems', error.code));
    };
    import('/switchboard.mjs').then(({ Switchboard }) => {
        globalThis.client = new Switchboard('/ws', { token: TOKEN });
        globalThis.room = client.join('tea');
        room.on('number', (number) => note('heard', number));
        room.when('gap', (gap) => note('problems', gap));
        room.when('joined', () => note('joined', client.userId));
        client.when('ready', ({ isResumed }) => note('resumed', isResumed));
        say();
        globalThis.timer = setInterval(say, 20);
    });
";

#[test]
fn page_loaded_anew_a_hundred_times_under_traffic_misses_and_doubles_no_message() {
    const LOADS: usize = 100;
    let place = Place::new();
    let browser = Browser::launch(&[]);
    let mut bob = Client::connect(place.address(), Some(&token("bob", &json!({}))));
    bob.join("tea", "b");
    let script = RELOADED.replace("TOKEN", &json!(token("ada", &json!({}))).to_string());
    let page = page_with(&browser, &format!("http://{}/websocket-client.html", place.address()), &script);
    page.wait_for("noted('joined').length", PATIENCE);
    let mut number = 0;
    let mut say = |bob: &mut Client| {
        bob.send(&json!({ "type": "message", "roomId": "tea", "event": "number", "data": number }));
        number += 1;
    };
    for load in 0..LOADS {
        (0..5).for_each(|_| say(&mut bob));
        let life = evaluate(&page, "life");
        page.call("Page.reload", json!({})).expect("it loads anew");
        page.wait_for(&format!("globalThis.life && life !== {life}"), PATIENCE);
        (0..5).for_each(|_| say(&mut bob));
        // Every other page is gone before it has connected.
        if load % 2 == 0 {
            page.wait_for("globalThis.room?.isJoined", PATIENCE);
        }
    }
    page.wait_for("globalThis.room?.isJoined", PATIENCE);
    page.wait_for(&format!("noted('heard').length >= {}", LOADS * 10), PATIENCE);
    page.evaluate("clearInterval(timer)").expect("it runs");
    let heard = evaluate(&page, "noted('heard')");
    assert_eq!(heard, json!((0..LOADS * 10).collect::<Vec<_>>()));
    let said = evaluate(&page, "noted('said')");
    let said = said.as_array().expect("numbers");
    for expected in said {
        let message = bob.wait_until(|event| event["type"] == "message" && event["event"] == "said");
        assert_eq!(message["data"], *expected, "of {}", said.len());
    }
    assert_eq!(evaluate(&page, "noted('problems')"), json!([]));
    let resumed = evaluate(&page, "noted('resumed').slice(1)");
    let resumed = resumed.as_array().expect("a list");
    assert!(resumed.iter().filter(|resumed| **resumed == true).count() * 10 > resumed.len() * 9, "{resumed:?}");
}
