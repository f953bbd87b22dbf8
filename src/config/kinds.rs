//! The types of values, each with its check and a description of the valid values.
//!
//! A check turns a TOML value into the setting's type or describes the valid ones. It knows neither the key nor the
//! source.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use jsonwebtoken::Algorithm;
use toml::Value;
use tracing::level_filters::LevelFilter;

use super::mask::MASK;

pub use crate::base::network::Network;

/// A secret text: its `Debug` form is masked.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for signing, verification or login. Never print it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// How text from outside the settings file becomes a value, by the setting's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The text is the value.
    Text,
    /// A number or a truth value as TOML writes it.
    Plain,
    /// A TOML array, or texts separated by commas.
    List,
}

/// A type of a setting.
pub(super) trait Shaped {
    /// How text becomes a value of this type.
    const SHAPE: Shape = Shape::Text;
}

impl Shaped for u64 {
    const SHAPE: Shape = Shape::Plain;
}
impl Shaped for usize {
    const SHAPE: Shape = Shape::Plain;
}
impl Shaped for bool {
    const SHAPE: Shape = Shape::Plain;
}
impl<T> Shaped for Vec<T> {
    const SHAPE: Shape = Shape::List;
}
impl<T> Shaped for Option<T> {}
impl Shaped for String {}
impl Shaped for LevelFilter {}

/// A value rejected by a check.
#[derive(Debug)]
pub(super) struct Mismatch {
    /// The invalid part, if it is not the whole value.
    pub(super) part: Option<Value>,
    /// Description of the valid values.
    pub(super) expected: String,
}

/// The result of a check.
pub(super) type Checked<T> = Result<T, Mismatch>;

fn expected<T>(words: impl Into<String>) -> Checked<T> {
    Err(Mismatch { part: None, expected: words.into() })
}

/// A whole number within the bounds, both included.
pub(super) fn whole<T: TryFrom<u64>>(least: u64, most: u64) -> impl Fn(&Value) -> Checked<T> {
    move |value| {
        number(value, least, most).map_or_else(|| expected(format!("a whole number from {least} to {most}")), Ok)
    }
}

/// A limit: a whole number up to `most`; 0 turns it off.
pub(super) fn limit<T: TryFrom<u64>>(most: u64) -> impl Fn(&Value) -> Checked<T> {
    move |value| number(value, 0, most).map_or_else(|| expected(format!("a whole number from 0 (off) to {most}")), Ok)
}

fn number<T: TryFrom<u64>>(value: &Value, least: u64, most: u64) -> Option<T> {
    let number = u64::try_from(value.as_integer()?).ok()?;
    let is_valid = (least..=most).contains(&number);
    is_valid.then(|| T::try_from(number).ok().expect("the bounds of a setting fit its type"))
}

/// `true` or `false`.
pub(super) fn truth(value: &Value) -> Checked<bool> {
    value.as_bool().map_or_else(|| expected("true or false"), Ok)
}

/// A text without control characters; `""` means none.
pub(super) fn text(value: &Value) -> Checked<Option<String>> {
    match value.as_str() {
        Some(text) if !text.chars().any(char::is_control) => Ok((!text.is_empty()).then(|| text.to_owned())),
        _ => expected("a text in quotes, without control characters"),
    }
}

/// A secret text; `""` means none.
pub(super) fn secret(value: &Value) -> Checked<Option<Secret>> {
    match value.as_str() {
        // Printed settings used as a settings file would otherwise make the mask the secret.
        Some(MASK) => expected("the secret itself, not the asterisks printed in its place"),
        Some(text) => Ok((!text.is_empty()).then(|| Secret(text.to_owned()))),
        None => expected("a text in quotes"),
    }
}

/// The path of a file or directory; `""` means none.
pub(super) fn path(value: &Value) -> Checked<Option<PathBuf>> {
    match text(value) {
        Ok(path) => Ok(path.map(PathBuf::from)),
        Err(_) => expected("a path in quotes"),
    }
}

/// One of the given words.
pub(super) fn one_of<T: Copy>(choices: &'static [(&'static str, T)]) -> impl Fn(&Value) -> Checked<T> {
    move |value| {
        let chosen = choices.iter().find(|(word, _)| value.as_str() == Some(word));
        match chosen {
            Some((_, choice)) => Ok(*choice),
            None => {
                let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
                expected(format!("one of {}", words.join(", ")))
            }
        }
    }
}

/// A list of texts that `parse` accepts; a single text is a list of one.
pub(super) fn list<T>(words: &'static str, parse: impl Fn(&str) -> Option<T>) -> impl Fn(&Value) -> Checked<Vec<T>> {
    move |value| {
        let single = std::slice::from_ref(value);
        let elements = match value {
            Value::Array(elements) => elements.as_slice(),
            Value::String(_) => single,
            _ => return expected(format!("a list of texts, each {words}")),
        };
        let parse_element = |element: &Value| {
            element
                .as_str()
                .and_then(&parse)
                .ok_or_else(|| Mismatch { part: Some(element.clone()), expected: words.to_owned() })
        };
        elements.iter().map(parse_element).collect()
    }
}

/// Addresses to listen on, none twice.
pub(super) fn admin_addresses(value: &Value) -> Checked<Vec<SocketAddr>> {
    const WORDS: &str = "an address and a port, such as 127.0.0.1:8090 or [::1]:8090, or a host name of this machine and \
                         a port, such as localhost:8090";
    let addresses: Vec<SocketAddr> = list(WORDS, resolved)(value)?.into_iter().flatten().collect();
    // Port 0 picks a free port, so the same text twice means two listeners.
    let twice = addresses
        .iter()
        .enumerate()
        .find(|(index, address)| address.port() != 0 && addresses[..*index].contains(address));
    match twice {
        Some((_, address)) => {
            Err(Mismatch { part: Some(Value::from(address.to_string())), expected: "each address once".to_owned() })
        }
        None => Ok(addresses),
    }
}

/// The addresses that a text with a port stands for: itself, or those of its host name.
pub(super) fn resolved(text: &str) -> Option<Vec<SocketAddr>> {
    let named = || Some(text).filter(|text| !text.starts_with(':')).and_then(|text| text.to_socket_addrs().ok());
    let mut found: Vec<SocketAddr> = match text.parse() {
        Ok(address) => vec![address],
        Err(_) => named()?.collect(),
    };
    found.sort_unstable();
    found.dedup();
    // Each would get another free port.
    if found.first()?.port() == 0 {
        found.truncate(1);
    }
    Some(found)
}

/// Ranges of IP addresses.
pub(super) fn networks(value: &Value) -> Checked<Vec<Network>> {
    list("an IP address or a range, such as 10.0.0.0/8 or ::1", Network::parse)(value)
}

/// IP addresses of this server, as clients know it.
pub(super) fn ip_addresses(value: &Value) -> Checked<Vec<IpAddr>> {
    let usable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast();
    list("an IP address, such as 203.0.113.7 or 2001:db8::7", |text| text.parse().ok().filter(usable))(value)
}

/// Names of signature algorithms.
pub(super) fn algorithms(value: &Value) -> Checked<Vec<Algorithm>> {
    const WORDS: &str = "one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, \
                         ES256, ES384, EdDSA";
    list(WORDS, |text| text.parse::<Algorithm>().ok())(value)
}

/// Addresses of web pages, stored without a slash at their end.
pub(super) fn web_addresses(value: &Value) -> Checked<Vec<String>> {
    let mut urls = urls_in("an address that begins with http:// or https://", &["http://", "https://"])(value)?;
    urls.iter_mut().for_each(|url| url.truncate(url.trim_end_matches('/').len()));
    Ok(urls)
}

/// Addresses with one of the given schemes; `""` means none.
pub(super) fn urls_in(
    words: &'static str,
    schemes: &'static [&'static str],
) -> impl Fn(&Value) -> Checked<Vec<String>> {
    move |value| match value.as_str() {
        Some("") => Ok(Vec::new()),
        _ => list(words, |text| has_host(text, schemes).then(|| text.to_owned()))(value),
    }
}

/// Whether `text` has one of the schemes, followed by a host.
pub(super) fn has_host(text: &str, schemes: &[&str]) -> bool {
    let after = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    let blank = |letter: char| letter.is_whitespace() || letter.is_control();
    after.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#', '@']) && !rest.contains(blank))
}

/// An origin as browsers and native shells send it (RFC 6454 §6.2) in lower case, without a final slash; the same with `*` as
/// port, for any; `null`; or `*` for any origin. Schemes other than those of the web may have an empty host.
pub(super) fn origin(text: &str) -> Option<String> {
    if text == "*" || text == "null" {
        return Some(text.to_owned());
    }
    let origin = text.to_ascii_lowercase();
    let (scheme, host) = origin.split_once("://")?;
    let host = host.strip_suffix('/').unwrap_or(host);
    let is_scheme = scheme.starts_with(|letter: char| letter.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let is_plain = !host
        .strip_suffix(":*")
        .unwrap_or(host)
        .contains(|letter: char| "/?#@*".contains(letter) || letter.is_whitespace() || letter.is_control());
    let is_web = ["http", "https", "ws", "wss", "ftp"].contains(&scheme);
    let has_valid_host = if is_web { has_host(&origin, &["http://", "https://"]) } else { true };
    (is_scheme && is_plain && has_valid_host).then(|| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: fmt::Debug>(checked: Checked<T>) -> String {
        checked.unwrap_err().expected
    }

    #[test]
    fn number_outside_its_bounds_is_rejected() {
        let check = whole::<u64>(1, 9);
        assert_eq!(check(&Value::from(1)).unwrap(), 1);
        assert_eq!(check(&Value::from(9)).unwrap(), 9);
        for wrong in [Value::from(0), Value::from(10), Value::from(-1), Value::from("5")] {
            assert_eq!(refusal(check(&wrong)), "a whole number from 1 to 9");
        }
        assert_eq!(limit::<u64>(9)(&Value::from(0)).unwrap(), 0);
        assert_eq!(refusal(limit::<u64>(9)(&Value::from(1.5))), "a whole number from 0 (off) to 9");
    }

    #[test]
    fn network_contains_its_addresses_only() {
        let holds = |network: &str, address: &str| Network::parse(network).unwrap().contains(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.1.2") && !holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("10.0.0.1", "10.0.0.1") && !holds("10.0.0.1", "10.0.0.2"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "2001:db8::1") && holds("::1", "::1") && !holds("::1", "::2"));
        assert!(holds("127.0.0.0/8", "::ffff:127.0.0.1"));
        for wrong in ["", "10.0.0.0/33", "::1/129", "10.0.0/8", "10.0.0.0/", "host"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn origin_has_scheme_host_and_port_only() {
        assert_eq!(origin("*").unwrap(), "*");
        assert_eq!(origin("https://App.Example:8443").unwrap(), "https://app.example:8443");
        for shell in [
            "null",
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "app://-",
            "file://",
            "chrome-extension://abcdefghijklmnop",
            "moz-extension://6f2a4d1c-0000-4000-8000-000000000000",
        ] {
            assert_eq!(origin(shell).as_deref(), Some(shell));
        }
        assert_eq!(origin("https://app.example/").as_deref(), Some("https://app.example"));
        assert_eq!(origin("http://Localhost:*").as_deref(), Some("http://localhost:*"));
        for wrong in [
            "app.example",
            "https://",
            "https://a/b",
            "https://u@a",
            "ftp://a",
            "wss://a",
            "https://a b",
            "https://*.a",
            "https://*:*",
            "https://:*",
            "https://a:8*",
            "://a",
            "1a://b",
            "file:///home",
            "NULL",
        ] {
            assert_eq!(origin(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn web_address_is_stored_without_final_slash() {
        let kept = web_addresses(&Value::from("https://app.example/"));
        assert_eq!(kept.unwrap(), ["https://app.example"]);
        assert!(web_addresses(&Value::from("")).unwrap().is_empty());
        assert!(web_addresses(&Value::from(vec!["https://app.example", "app.example"])).is_err());
    }

    #[test]
    fn secret_debug_form_is_masked() {
        let secret = secret(&Value::from("hush")).unwrap().unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.expose(), "hush");
    }
}
