//! Masks secret values for display.

use toml::Value;

/// Replaces a secret.
pub(super) const MASK: &str = "********";

/// Keys with a secret value.
const SECRET_KEYS: [&str; 3] = ["auth.secret", "turn.credential", "turn.secret"];

/// Keys with an address that may contain a password.
const ADDRESS_KEYS: [&str; 1] = ["redis.url"];

/// The displayable form of `value`. An empty secret is shown, because it means that there is none.
pub(super) fn masked(key: &str, value: &Value) -> Value {
    if value.as_str() == Some("") {
        return value.clone();
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
/// an `@` in it.
fn masked_address(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let Some((login, host)) = rest.rsplit_once('@') else {
        return address.to_owned();
    };
    let user = login.split_once(':').map_or("", |(user, _)| user);
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{user}:{MASK}@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(key: &str, value: &str) -> String {
        masked(key, &Value::from(value)).as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn secrets_are_masked_whole_and_addresses_in_their_password() {
        assert_eq!(shown("auth.secret", "hush"), MASK);
        assert_eq!(shown("auth.secret", ""), "");
        assert_eq!(shown("auth.issuer", "hush"), "hush");
        assert_eq!(shown("redis.url", "redis://me:hush@redis:6379"), "redis://me:********@redis:6379");
        assert_eq!(shown("redis.url", "redis://:h@sh@redis"), "redis://:********@redis");
        assert_eq!(shown("redis.url", "redis://hush@redis"), "redis://:********@redis");
        assert_eq!(shown("redis.url", ":hush@redis"), ":********@redis");
        assert_eq!(shown("redis.url", "redis://redis:6379"), "redis://redis:6379");
        assert_eq!(masked("auth.secret", &Value::from(7)), Value::from(MASK));
    }
}
