//! The command `doctor`: looks at a server from outside, as its clients do, at this machine, and at Redis. Each finding that is not in
//! order comes with advice.

mod machine;
mod network;
mod transport;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::SettingsArguments;
use transport::Target;

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArguments {
    /// Address of the server as clients have it
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8090")]
    pub url: String,
    /// Token of a user, to open a WebSocket with
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Origin of a web page that is to use the server, such as <https://app.example>
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Option<String>,
    /// Hold a WebSocket for so many seconds without a message of the client; needs --token, or a server with guests
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub idle: u64,
    /// PEM file with the authorities to trust [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The settings of the server, for Redis.
    #[command(flatten)]
    pub settings: SettingsArguments,
}

/// How a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// It works, but not for long, or not for everyone.
    Doubtful,
    Bad,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    subject: &'static str,
    text: String,
    /// What to do; empty if it is in order.
    advice: String,
}

impl Finding {
    fn good(subject: &'static str, text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Good, subject, text: text.into(), advice: String::new() }
    }

    fn doubtful(subject: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Doubtful, subject, text: text.into(), advice: advice.into() }
    }

    fn bad(subject: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, ..Self::doubtful(subject, text, advice) }
    }

    fn line(&self) -> String {
        let word = match self.verdict {
            Verdict::Good => "ok  ",
            Verdict::Doubtful => "warn",
            Verdict::Bad => "FAIL",
        };
        let advice = if self.advice.is_empty() { String::new() } else { format!("\n        -> {}", self.advice) };
        format!("{word} {}: {}{advice}", self.subject, self.text)
    }
}

/// Looks at everything and prints each finding by `print`. `now_s` is the time in seconds since 1970.
///
/// # Errors
/// A finding is bad, or the arguments are not valid.
pub fn doctor(arguments: &DoctorArguments, now_s: u64, mut print: impl FnMut(&str)) -> Result<(), String> {
    let target = Target::parse(&arguments.url, arguments.ca.as_deref())?;
    let (mut bad, mut doubtful) = (0, 0);
    let mut tell = |finding: Finding| {
        bad += usize::from(finding.verdict == Verdict::Bad);
        doubtful += usize::from(finding.verdict == Verdict::Doubtful);
        print(&finding.line());
    };
    network::addresses(&target).into_iter().for_each(&mut tell);
    if let Some(certificate) = network::certificate(&target, now_s) {
        tell(certificate);
    }
    let health = network::health(&target, now_s);
    let is_reached = health.first().is_some_and(|finding| finding.subject != "http");
    health.into_iter().for_each(&mut tell);
    if is_reached {
        tell(network::websocket(&target, arguments.token.as_deref(), Duration::from_secs(arguments.idle)));
        tell(network::polling(&target));
        if let Some(origin) = &arguments.origin {
            tell(network::origin(&target, origin));
        }
    }
    machine::limits().into_iter().for_each(&mut tell);
    let settings = arguments.settings.load(|_| "of no use".repeat(4)).map_err(|error| error.to_string());
    match settings.map(|loaded| loaded.settings.redis_options()) {
        Ok(Some(redis)) => machine::redis(redis).into_iter().for_each(&mut tell),
        Ok(None) => {}
        Err(error) => tell(Finding::bad("settings", error, "correct them; `switchboard config --check` has them all")),
    }
    if bad > 0 {
        return Err(format!("{bad} of these do not work, and there are {doubtful} warnings"));
    }
    print(&if doubtful == 0 { "everything is in order".to_owned() } else { format!("{doubtful} warnings") });
    Ok(())
}
