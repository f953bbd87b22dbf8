//! How clients speak: the dialect, the transport, and what goes into a request, as templates that each client fills.

use clap::{Args, ValueEnum};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::socketio;

/// What stands for itself in a query (RFC 3986 section 2.3).
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What clients speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// JSON objects in WebSocket frames
    #[default]
    Raw,
    /// Socket.IO 5
    #[value(name = "socketio")]
    SocketIo,
    /// Plain text in WebSocket frames
    Echo,
}

/// What carries Socket.IO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One WebSocket
    #[default]
    Websocket,
    /// HTTP long-polling
    Polling,
}

/// What all clients of a run have in common. `{token}` and `{number}` in a template stand for the client's own.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct Settings {
    /// What clients speak
    #[arg(long, global = true, value_enum, default_value_t)]
    pub dialect: Dialect,
    /// What carries Socket.IO
    #[arg(long, global = true, value_enum, default_value_t)]
    pub transport: Transport,
    /// Path, with a query if need be; {token} and {number} are filled in [default: /ws?events=all, /socket.io/, or / for echo]
    #[arg(long, global = true)]
    pub path: Option<String>,
    /// Socket.IO namespace
    #[arg(long, global = true, default_value = "/chat")]
    pub namespace: String,
    /// What a Socket.IO client shows the namespace [default: {"token":"{token}"}, or nothing when there is no token]
    #[arg(long, global = true, value_name = "JSON")]
    pub auth: Option<String>,
    /// WebSocket subprotocols to offer
    #[arg(long, global = true)]
    pub subprotocol: Option<String>,
    /// The `Host` header: the server's address, for which the command line has another option.
    #[arg(skip)]
    pub host: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dialect: Dialect::default(),
            transport: Transport::default(),
            path: None,
            namespace: "/chat".to_owned(),
            auth: None,
            subprotocol: None,
            host: String::new(),
        }
    }
}

impl Settings {
    /// TCP connections of a client.
    pub fn lanes(&self) -> usize {
        match (self.dialect, self.transport) {
            (Dialect::SocketIo, Transport::Polling) => 2,
            _ => 1,
        }
    }

    /// Bytes that go before each message on the wire, a frame's header not among them.
    pub fn prefix_bytes(&self) -> usize {
        if self.dialect == Dialect::SocketIo { socketio::event_prefix(&self.namespace).len() } else { 0 }
    }

    /// What is wrong with them, if anything is. Clients take them as they are.
    pub fn check(&self) -> Result<(), String> {
        if self.transport == Transport::Polling && self.dialect != Dialect::SocketIo {
            return Err("--transport polling is for --dialect socketio".to_owned());
        }
        let path = self.path.as_deref().unwrap_or("/");
        if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("--path {path:?} does not start with a slash, or contains a space"));
        }
        if !self.namespace.starts_with('/') || self.namespace.contains([',', '?']) {
            return Err(format!("--namespace {:?} is not a slash and a name", self.namespace));
        }
        if self.subprotocol.as_deref().is_some_and(|names| names.contains(char::is_control)) {
            return Err("--subprotocol contains a control character".to_owned());
        }
        let auth = self.fill(0, Some("token")).auth;
        match auth.as_deref().map(serde_json::from_str::<Map<String, Value>>) {
            Some(Err(error)) => Err(format!("--auth is not a JSON object: {error}")),
            _ => Ok(()),
        }
    }

    /// What one client sends of them.
    pub(super) fn fill(&self, number: usize, token: Option<&str>) -> Filled {
        let query_token: String = utf8_percent_encode(token.unwrap_or_default(), QUERY).collect();
        let template = self.path.as_deref().unwrap_or(match self.dialect {
            Dialect::Raw => "/ws?events=all",
            Dialect::SocketIo => "/socket.io/",
            Dialect::Echo => "/",
        });
        let mut target = fill(template, number, &query_token);
        if self.dialect == Dialect::SocketIo {
            let transport = match self.transport {
                Transport::Websocket => "websocket",
                Transport::Polling => "polling",
            };
            add_query(&mut target, "EIO=4&transport=", transport);
        } else if token.is_some() && !template.contains("{token}") {
            add_query(&mut target, "token=", &query_token);
        }
        let auth = self.auth.as_deref().or(token.map(|_| r#"{"token":"{token}"}"#));
        Filled {
            host: self.host.clone(),
            target,
            namespace: (self.dialect == Dialect::SocketIo).then(|| self.namespace.clone()),
            auth: auth.map(|template| fill(template, number, &json_escaped(token.unwrap_or_default()))),
            subprotocol: self.subprotocol.as_deref().map(|names| fill(names, number, token.unwrap_or_default())),
        }
    }
}

/// The templates, filled for one client.
pub(super) struct Filled {
    pub(super) host: String,
    /// Path and query of the first request.
    pub(super) target: String,
    /// Of a Socket.IO client.
    pub(super) namespace: Option<String>,
    /// JSON.
    pub(super) auth: Option<String>,
    pub(super) subprotocol: Option<String>,
}

fn fill(template: &str, number: usize, token: &str) -> String {
    template.replace("{number}", &number.to_string()).replace("{token}", token)
}

fn add_query(target: &mut String, name: &str, value: &str) {
    target.push(if target.contains('?') { '&' } else { '?' });
    target.push_str(name);
    target.push_str(value);
}

fn json_escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        settings: Settings,
    }

    fn settings(arguments: &[&str]) -> Settings {
        CommandLine::parse_from([&["loadtest"], arguments].concat()).settings
    }

    fn target(arguments: &[&str], token: Option<&str>) -> String {
        settings(arguments).fill(7, token).target
    }

    #[test]
    fn the_path_is_the_dialects_own_unless_given() {
        assert_eq!(target(&[], Some("a b")), "/ws?events=all&token=a%20b");
        assert_eq!(target(&[], None), "/ws?events=all");
        assert_eq!(target(&["--dialect", "echo"], None), "/");
        assert_eq!(target(&["--path", "/a?b=c"], Some("t.t_t")), "/a?b=c&token=t.t_t");
        assert_eq!(target(&["--path", "/{number}/{token}"], Some("t")), "/7/t");
        let socketio = ["--dialect", "socketio"];
        assert_eq!(target(&socketio, Some("t")), "/socket.io/?EIO=4&transport=websocket");
        let arguments = [&socketio[..], &["--transport", "polling", "--path", "/x/?token={token}"]].concat();
        assert_eq!(target(&arguments, Some("t")), "/x/?token=t&EIO=4&transport=polling");
    }

    #[test]
    fn auth_is_the_token_unless_given() {
        let auth = |arguments: &[&str], token| settings(arguments).fill(7, token).auth;
        assert_eq!(auth(&[], None), None);
        assert_eq!(auth(&[], Some("a\"b")).as_deref(), Some(r#"{"token":"a\"b"}"#));
        assert_eq!(auth(&["--auth", r#"{"user":{number}}"#], Some("t")).as_deref(), Some(r#"{"user":7}"#));
    }

    #[test]
    fn what_cannot_be_is_told() {
        let wrong = |arguments: &[&str]| settings(arguments).check().expect_err("it is wrong");
        assert!(wrong(&["--transport", "polling"]).contains("--dialect socketio"));
        assert!(wrong(&["--path", "/a b"]).contains("--path"));
        assert!(wrong(&["--path", "ws"]).contains("--path"));
        assert!(wrong(&["--namespace", "chat"]).contains("--namespace"));
        assert!(wrong(&["--auth", "[1]"]).contains("--auth is not a JSON object"));
        assert!(wrong(&["--subprotocol", "a\r\nb: c"]).contains("--subprotocol"));
        let right = settings(&["--dialect", "socketio", "--transport", "polling", "--auth", r#"{"a":"{token}"}"#]);
        assert_eq!(right.check(), Ok(()));
        assert_eq!(Settings::default().check(), Ok(()));
        assert_eq!((right.lanes(), Settings::default().lanes()), (2, 1));
        assert_eq!((right.prefix_bytes(), Settings::default().prefix_bytes()), ("42/chat,".len(), 0));
    }

    #[test]
    fn a_worker_process_reads_what_another_wrote() {
        let written = serde_json::to_string(&settings(&["--dialect", "socketio", "--path", "/x"])).unwrap();
        let read: Settings = serde_json::from_str(&written).unwrap();
        assert_eq!((read.dialect, read.path.as_deref()), (Dialect::SocketIo, Some("/x")));
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
    }
}
