//! From events to commands.

use crate::codec::socketio::Arguments;
use crate::dialect::events::{self, requests};
use crate::dialect::fields::present;
use crate::domain::command::Command;
use crate::domain::reject::Reject;

requests! {
    /// `ping`, answered by [`super::pong`].
    Ping = "ping",
}

fn command<'a>(
    request: RequestName,
    mut arguments: Arguments<'a>,
    content_bytes: usize,
) -> Result<Command<'a>, Reject> {
    match request {
        RequestName::Ping => Ok(present(arguments.next()).map_or(Command::Ping, Command::Echo)),
        RequestName::Heartbeat => Ok(Command::Ping),
        _ => events::shared(request.name(), arguments, content_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::events::samples::heard;
    use crate::domain::command::{Signal, SignalTo};

    #[test]
    fn each_request_is_read() {
        let command = |packet| heard(packet, |name, arguments| decode(name, arguments, 16).map(|asked| asked.command));
        assert_eq!(command(r#"2["ping"]"#), Ok(Command::Ping));
        assert_eq!(command(r#"2["ping",null]"#), Ok(Command::Ping));
        assert_eq!(command(r#"2["ping",{"a":[1]},2]"#), Ok(Command::Echo(r#"{"a":[1]}"#)));
        assert_eq!(command(r#"2["heartbeat"]"#), Ok(Command::Ping));
        assert_eq!(command(r#"2["authenticate",{"token":"t"}]"#), Ok(Command::Authenticate { token: "t".into() }));
        let offer = SignalTo { room: "r".into(), from: None, to: "p".into(), signal: Signal::Offer, body: "{ }" };
        assert_eq!(command(r#"2["offer",{"roomId":"r","toPeerId":"p","offer":{ }}]"#), Ok(Command::Signal(offer)));
    }

    #[test]
    fn a_refusal_names_the_event_or_the_field() {
        let fault = |packet| {
            let fault = heard(packet, |name, arguments| decode(name, arguments, 16)).expect_err(packet);
            (fault.request, fault.reject.to_string())
        };
        assert_eq!(fault(r#"2["message",{}]"#), (None, r#"UNKNOWN_TYPE: Unknown event "message""#.to_owned()));
        let invalid = |text: &str| format!("INVALID_MESSAGE: {text}");
        assert_eq!(fault(r#"2["offer","x"]"#), (Some(RequestName::Offer), invalid("offer takes an object")));
        assert_eq!(fault(r#"2["offer"]"#), (Some(RequestName::Offer), invalid("roomId is missing")));
        assert_eq!(fault(r#"2["authenticate",{}]"#), (Some(RequestName::Authenticate), invalid("token is missing")));
    }
}
