//! Masks secret values for display.

use toml::Value;

use super::webhooks::masked_endpoints;

/// Replaces a secret.
pub(super) const MASK: &str = "********";

/// Keys with a secret value.
const SECRET_KEYS: [&str; 5] = ["auth.secret", "auth.secrets", "redis.password", "turn.credential", "turn.secret"];

/// Keys with an address that may contain a password.
const ADDRESS_KEYS: [&str; 1] = ["redis.url"];

/// Whether a setting may hold a secret.
pub(super) fn is_secret(key: &str) -> bool {
    SECRET_KEYS.contains(&key) || ADDRESS_KEYS.contains(&key)
}

/// The displayable form of `value`. An empty secret is shown, because it means that there is none.
pub(super) fn masked(key: &str, value: &Value) -> Value {
    if value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty) {
        return value.clone();
    }
    if matches!(key, "webhooks.endpoints" | "hooks.connect" | "hooks.event") {
        return masked_endpoints(value);
    }
    if SECRET_KEYS.contains(&key) {
        return Value::from(MASK);
    }
    match value.as_str() {
        Some(address) if ADDRESS_KEYS.contains(&key) => Value::from(masked_address(address)),
        None if ADDRESS_KEYS.contains(&key) => Value::from(MASK),
        _ => value.clone(),
    }
}

/// `scheme://user:password@host` without the password. The last `@` ends the password, because users forget to escape
/// an `@` in it. Only a part that is certainly a place is shown; any other may be a misplaced password.
fn masked_address(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let separator = if scheme.is_empty() { "" } else { "://" };
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let is_shown = place.is_empty() || is_place(place, scheme.contains('+'));
    let place = if is_shown { place } else { MASK };
    match login {
        Some(login) => {
            let user = login.split_once(':').map_or("", |(user, _)| user);
            format!("{scheme}{separator}{user}:{MASK}@{place}")
        }
        None => format!("{scheme}{separator}{place}"),
    }
}

/// Whether a text is a list of hosts with ports, and perhaps a database or, `with_name`, the name of a master.
fn is_place(text: &str, with_name: bool) -> bool {
    let (hosts, path) = text.split_once('/').unwrap_or((text, ""));
    let is_word =
        |word: &str, others: &[u8]| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte));
    let is_host = |host: &str| match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            !name.is_empty() && is_word(name, b"-._[]:") && port.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => !host.is_empty() && is_word(host, b"-._[]:"),
    };
    hosts.split(',').all(is_host)
        && (path.bytes().all(|byte| byte.is_ascii_digit()) || with_name && is_word(path, b"-._/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(key: &str, value: &str) -> String {
        masked(key, &Value::from(value)).as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn mask_hides_secrets_and_passwords_in_addresses() {
        assert_eq!(shown("auth.secret", "hush"), MASK);
        assert_eq!(shown("auth.secret", ""), "");
        assert_eq!(shown("auth.issuer", "hush"), "hush");
        assert_eq!(shown("redis.url", "redis://me:hush@redis:6379"), "redis://me:********@redis:6379");
        assert_eq!(shown("redis.url", "redis://:h@sh@redis"), "redis://:********@redis");
        assert_eq!(shown("redis.url", "redis://hush@redis"), "redis://:********@redis");
        assert_eq!(shown("redis.url", ":hush@redis"), ":********@redis");
        for plain in [
            "redis://redis:6379",
            "rediss://redis:6379/2",
            "redis://[::1]:6379",
            "redis+sentinel://a:1,b:2/my-master/3",
        ] {
            assert_eq!(shown("redis.url", plain), plain);
        }
        for (misplaced, masked) in [
            ("redis://:hush", "redis://********"),
            ("redis://h:1?password=hush", "redis://********"),
            ("redis://me:x@h:1?password=hush", "redis://me:********@********"),
            ("redis://h:1#hush", "redis://********"),
            ("redis://h:hush", "redis://********"),
            ("redis://h/hush", "redis://********"),
            ("redis://:hush?@redis", "redis://:********@redis"),
            ("redis://:a@hush/more", "redis://:********@********"),
            ("hush hush", "********"),
        ] {
            assert_eq!(shown("redis.url", misplaced), masked, "{misplaced}");
        }
        assert_eq!(masked("auth.secrets", &Value::from(vec!["hush"])), Value::from(MASK));
        assert_eq!(masked("auth.secrets", &Value::from(Vec::<String>::new())), Value::from(Vec::<String>::new()));
        assert_eq!(masked("auth.secret", &Value::from(7)), Value::from(MASK));
    }
}
