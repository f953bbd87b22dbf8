//! Parser of conversations: lines to steps. `README.md` describes the forms.

use serde_json::Value;

use crate::socketio_client::{packet, short};

/// A whole file.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Arguments of the server.
    pub(crate) arguments: Vec<String>,
    /// Its environment variables.
    pub(crate) environment: Vec<(String, String)>,
    /// What happens.
    pub(crate) lines: Vec<ScriptLine>,
}

/// One step, and where it is written.
#[derive(Debug)]
pub(crate) struct ScriptLine {
    pub(crate) number: usize,
    pub(crate) text: String,
    pub(crate) step: Step,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Connect(String, ClientIdentity, ClientDialect),
    /// A session of Socket.IO in no namespace yet: name, query, header, whether it polls.
    Open(String, String, Option<(String, String)>, bool),
    Send(String, Sent),
    Hear(String, Value),
    HearNothing(String),
    MayHear(String, Value),
    Close(String, u16, String),
    Closed(String, u16, String),
    Vanish(String),
    /// Method, path, body.
    Ask(String, String, Option<String>, ClientIdentity),
    /// Status, body.
    Answer(u16, Option<Value>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sent {
    Text(String),
    Binary(Vec<u8>),
    Bytes(Vec<u8>),
}

/// How somebody speaks: `raw` when no dialect is given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ClientDialect {
    pub(crate) dialect: Option<Dialect>,
    pub(crate) polls: bool,
}

/// A dialect of Socket.IO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Dialect {
    Notify,
    Colon,
    Camel,
}

/// Who somebody is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ClientIdentity {
    /// Nobody in particular.
    Guest,
    /// A connected client, by its name in the file.
    ScriptedClient(String),
    User {
        id: String,
        is_admin: bool,
        called: Option<String>,
        email: Option<String>,
        seconds: u64,
    },
}

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];

impl Script {
    /// Reads a file.
    ///
    /// # Errors
    /// The number of the line that is no step, and what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut script = Self::default();
        for (number, line) in whole_lines(text) {
            if let Some(arguments) = line.strip_prefix("server: ") {
                script.arguments.extend(arguments.split_whitespace().map(str::to_owned));
            } else if let Some(variable) = line.strip_prefix("env: ") {
                let (name, value) = variable.split_once('=').ok_or((number, "no = in it".to_owned()))?;
                script.environment.push((name.to_owned(), value.to_owned()));
            } else {
                let step = step(&line).map_err(|problem| (number, problem))?;
                script.lines.push(ScriptLine { number, text: line, step });
            }
        }
        Ok(script)
    }

    /// Whether it asks for a number of shards.
    pub(crate) fn says_shards(&self) -> bool {
        self.arguments.iter().any(|argument| argument == "--shards")
    }
}

/// Lines with those that go on with them, without remarks and empty ones, each with its number.
fn whole_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        match lines.last_mut() {
            _ if line.trim().is_empty() => {}
            Some((_, whole)) if line.starts_with(' ') => {
                whole.push(' ');
                whole.push_str(line.trim());
            }
            _ => lines.push((at + 1, line.trim_end().to_owned())),
        }
    }
    lines
}

fn step(line: &str) -> Result<Step, String> {
    let (first, rest) = line.split_once(' ').ok_or("too short for a step")?;
    if first == "connect" {
        let (who, caller) = rest.split_once(" as ").ok_or("connect NAME as …")?;
        let (caller, speech) = speech_of(caller)?;
        return Ok(Step::Connect(who.to_owned(), caller_of(caller)?, speech));
    }
    if first == "open" {
        let (rest, polls) = rest.strip_suffix(" by polling").map_or((rest, false), |rest| (rest, true));
        let (who, with) = rest.split_once(" with ").unwrap_or((rest, ""));
        let header = with.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        let query = if header.is_none() { with } else { "" };
        return Ok(Step::Open(who.to_owned(), query.to_owned(), header, polls));
    }
    if METHODS.contains(&first) {
        let (request, caller) = rest.rsplit_once(" as ").ok_or("no `as` with who asks")?;
        let (path, body) = request.split_once(' ').map_or((request, None), |(path, body)| (path, Some(body)));
        return Ok(Step::Ask(first.to_owned(), path.to_owned(), body.map(str::to_owned), caller_of(caller)?));
    }
    if first == "->" {
        let (status, body) = rest.split_once(' ').map_or((rest, None), |(status, body)| (status, Some(body)));
        let status = status.parse().map_err(|_| "no status")?;
        return Ok(Step::Answer(status, body.map(json).transpose()?));
    }
    let who = first.to_owned();
    let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    match verb {
        ">" => Ok(Step::Send(who, sent(rest)?)),
        "<" if rest == "nothing" => Ok(Step::HearNothing(who)),
        "<" => Ok(Step::Hear(who, heard(rest)?)),
        "may" => match rest.strip_prefix("hear ") {
            Some(message) => Ok(Step::MayHear(who, heard(message)?)),
            None => Err("NAME may hear …".to_owned()),
        },
        "closes" => code(rest).map(|(code, reason)| Step::Close(who, code, reason)),
        "closed" => code(rest).map(|(code, reason)| Step::Closed(who, code, reason)),
        "vanishes" => Ok(Step::Vanish(who)),
        other => Err(format!("no such verb: {other:?}")),
    }
}

/// What somebody hears: JSON, or one of the forms of Socket.IO.
fn heard(text: &str) -> Result<Value, String> {
    if let Some(text) = text.strip_prefix("packet ") {
        return Ok(packet(text));
    }
    match text.starts_with(|first: char| first.is_ascii_digit()) {
        true => short(text).ok_or_else(|| format!("no ack: {text:?}")),
        false => json(text),
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

fn sent(text: &str) -> Result<Sent, String> {
    match text.split_once(' ') {
        Some(("binary", bytes)) => hex(bytes).map(Sent::Binary),
        Some(("bytes", bytes)) => hex(bytes).map(Sent::Bytes),
        _ => Ok(Sent::Text(text.to_owned())),
    }
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let byte = |pair: &str| u8::from_str_radix(pair, 16).map_err(|_| format!("no byte: {pair:?}"));
    text.split_whitespace().map(byte).collect()
}

fn code(text: &str) -> Result<(u16, String), String> {
    let (code, reason) = text.split_once(' ').unwrap_or((text, ""));
    Ok((code.parse().map_err(|_| "no close code")?, reason.to_owned()))
}

/// How somebody speaks, and what is said of them before that.
fn speech_of(text: &str) -> Result<(&str, ClientDialect), String> {
    let Some((caller, dialect)) = text.split_once(" speaking ") else { return Ok((text, ClientDialect::default())) };
    let (dialect, polls) = dialect.strip_suffix(" by polling").map_or((dialect, false), |dialect| (dialect, true));
    let dialect = match dialect {
        "notify" => Dialect::Notify,
        "colon" => Dialect::Colon,
        "camel" => Dialect::Camel,
        other => return Err(format!("no such dialect: {other:?}")),
    };
    Ok((caller, ClientDialect { dialect: Some(dialect), polls }))
}

fn caller_of(text: &str) -> Result<ClientIdentity, String> {
    if text == "guest" {
        return Ok(ClientIdentity::Guest);
    }
    let Some(rest) = text.strip_prefix("user ") else {
        return match text.contains(' ') {
            true => Err(format!("nobody: {text:?}")),
            false => Ok(ClientIdentity::ScriptedClient(text.to_owned())),
        };
    };
    let (rest, seconds) = match rest.strip_suffix(" s").and_then(|rest| rest.rsplit_once(" for ")) {
        Some((rest, seconds)) => (rest, seconds.parse().map_err(|_| "for how many seconds?")?),
        None => (rest, 3600),
    };
    let (rest, email) = match rest.split_once(" with email ") {
        Some((rest, email)) => (rest, Some(email.to_owned())),
        None => (rest, None),
    };
    let (rest, called) = match rest.split_once(" called ") {
        Some((rest, called)) => (rest, Some(called.to_owned())),
        None => (rest, None),
    };
    let (id, is_admin) = rest.strip_suffix(" admin").map_or((rest, false), |id| (id, true));
    match id.contains(' ') {
        true => Err(format!("no user id: {id:?}")),
        false => Ok(ClientIdentity::User { id: id.to_owned(), is_admin, called, email, seconds }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn steps(text: &str) -> Vec<Step> {
        let script = Script::parse(text).expect("a good script");
        script.lines.into_iter().map(|line| line.step).collect()
    }

    #[test]
    fn script_is_parsed_line_by_line() {
        let text = "# a remark\nserver: --set a=1 --set b=2\nenv: X=y=z\n\na > {\"b\":\n   1}\na < nothing\n";
        let script = Script::parse(text).expect("a good script");
        assert_eq!(script.arguments, ["--set", "a=1", "--set", "b=2"]);
        assert_eq!(script.environment, [("X".to_owned(), "y=z".to_owned())]);
        assert_eq!(script.lines.iter().map(|line| line.number).collect::<Vec<_>>(), [5, 7]);
        assert_eq!(script.lines[0].step, Step::Send("a".into(), Sent::Text("{\"b\": 1}".into())));
    }

    #[test]
    fn script_form_is_parsed_to_its_step() {
        let user = |id: &str, is_admin, called: Option<&str>, seconds| ClientIdentity::User {
            id: id.to_owned(),
            is_admin,
            called: called.map(str::to_owned),
            email: None,
            seconds,
        };
        let raw = ClientDialect::default();
        let speaking = |dialect, polls| ClientDialect { dialect: Some(dialect), polls };
        let table = [
            ("connect a as guest", Step::Connect("a".into(), ClientIdentity::Guest, raw)),
            ("connect a as user b", Step::Connect("a".into(), user("b", false, None, 3600), raw)),
            (
                "connect a as user b admin called B C for 2 s",
                Step::Connect("a".into(), user("b", true, Some("B C"), 2), raw),
            ),
            (
                "connect a as user b speaking camel by polling",
                Step::Connect("a".into(), user("b", false, None, 3600), speaking(Dialect::Camel, true)),
            ),
            (
                "connect a as guest speaking notify",
                Step::Connect("a".into(), ClientIdentity::Guest, speaking(Dialect::Notify, false)),
            ),
            ("open a with b=c by polling", Step::Open("a".into(), "b=c".into(), None, true)),
            ("open a with B: c: d", Step::Open("a".into(), String::new(), Some(("B".into(), "c: d".into())), false)),
            ("open a", Step::Open("a".into(), String::new(), None, false)),
            ("a > 1[\"b\"]", Step::Send("a".into(), Sent::Text("1[\"b\"]".into()))),
            ("a < [\"b\",1]", Step::Hear("a".into(), json!(["b", 1]))),
            ("a < 1[{}]", Step::Hear("a".into(), json!([1, [{}]]))),
            ("a < packet 44/b,{\"c\":1}", Step::Hear("a".into(), json!({ "packet": "44/b,", "data": { "c": 1 } }))),
            ("a < packet 41/b,", Step::Hear("a".into(), json!({ "packet": "41/b," }))),
            ("a > binary 00 ff", Step::Send("a".into(), Sent::Binary(vec![0, 255]))),
            ("a > bytes 81", Step::Send("a".into(), Sent::Bytes(vec![0x81]))),
            ("a < {\"b\":1}", Step::Hear("a".into(), json!({ "b": 1 }))),
            ("a may hear {}", Step::MayHear("a".into(), json!({}))),
            ("a closes 1000", Step::Close("a".into(), 1000, String::new())),
            ("a closed 1002 b c", Step::Closed("a".into(), 1002, "b c".into())),
            ("a vanishes", Step::Vanish("a".into())),
            ("GET /b as a", Step::Ask("GET".into(), "/b".into(), None, ClientIdentity::ScriptedClient("a".into()))),
            (
                "POST /b {\"c\": 1} as guest",
                Step::Ask("POST".into(), "/b".into(), Some("{\"c\": 1}".into()), ClientIdentity::Guest),
            ),
            ("-> 204", Step::Answer(204, None)),
            ("-> 200 {}", Step::Answer(200, Some(json!({})))),
        ];
        for (line, step) in table {
            assert_eq!(steps(line), [step], "{line}");
        }
    }

    #[test]
    fn script_error_is_reported_with_its_line() {
        for line in [
            "a",
            "a says b",
            "a < {",
            "a < 1{}",
            "connect a as user b speaking c",
            "-> ok {}",
            "connect a",
            "GET /b",
            "a closes x",
            "a > bytes zz",
            "GET / as b c",
        ] {
            assert_eq!(Script::parse(&format!("# x\n{line}")).expect_err(line).0, 2, "{line}");
        }
    }
}
