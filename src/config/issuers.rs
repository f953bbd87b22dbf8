//! Settings of issuers of tokens: a table for each.

use std::path::PathBuf;

use toml::{Table, Value};

use super::kinds::{Checked, Mismatch, Shaped};
use super::webhooks::{is_url, shown, wrong};
use crate::codec::jwt::{ClaimNames, ISSUERS_MAX, IssuerOptions};
use crate::runtime::key_files::{IssuerPlan, KeySetPlace};

impl Shaped for IssuerPlan {}

pub(super) fn issuers(value: &Value) -> Checked<Vec<IssuerPlan>> {
    const WORDS: &str = "a list of tables, such as [[auth.issuers]] with issuer, jwks_url and audience";
    let Value::Array(tables) = value else { return Err(Mismatch { part: None, expected: WORDS.to_owned() }) };
    if tables.len() > ISSUERS_MAX {
        return Err(Mismatch { part: None, expected: format!("at most {ISSUERS_MAX} issuers") });
    }
    let mut issuers: Vec<IssuerPlan> = Vec::new();
    for table in tables {
        let Value::Table(table) = table else { return Err(Mismatch { part: None, expected: WORDS.to_owned() }) };
        let issuer = issuer(table)?;
        if issuers.iter().any(|other| other.options.issuer == issuer.options.issuer) {
            return wrong(issuer.options.issuer, "each issuer once");
        }
        issuers.push(issuer);
    }
    Ok(issuers)
}

fn issuer(table: &Table) -> Checked<IssuerPlan> {
    const KEYS: [&str; 6] = ["issuer", "audience", "claims", "jwks_url", "jwks_file", "public_keys"];
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return wrong(unknown.as_str(), format!("only these keys in an issuer: {}", KEYS.join(", ")));
    }
    let name = match table.get("issuer").and_then(Value::as_str) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => return wrong(shown(table, "issuer"), "issuer: the iss of its tokens, not empty"),
    };
    let url = match table.get("jwks_url").map(Value::as_str) {
        None => None,
        Some(Some(url)) if is_url(url) => Some(KeySetPlace::Url(url.to_owned())),
        Some(_) => {
            return wrong(
                shown(table, "jwks_url"),
                format!("jwks_url of {name}: an address that begins with https://, without a login"),
            );
        }
    };
    let file = match table.get("jwks_file").map(Value::as_str) {
        None => None,
        Some(Some(path)) if !path.is_empty() => Some(KeySetPlace::File(PathBuf::from(path))),
        Some(_) => return wrong(shown(table, "jwks_file"), format!("jwks_file of {name}: the path of a JWKS file")),
    };
    let public_keys = texts(table, "public_keys", &name)?.into_iter().map(PathBuf::from).collect::<Vec<_>>();
    if [url.is_some(), file.is_some(), !public_keys.is_empty()].into_iter().filter(|is_given| *is_given).count() != 1 {
        return wrong(name.clone(), format!("exactly one of jwks_url, jwks_file and public_keys for {name}"));
    }
    let claims = match table.get("claims") {
        None => ClaimNames::default(),
        Some(Value::Table(names)) => claim_names(names, &name)?,
        Some(other) => return wrong(other.clone(), format!("claims of {name}: a table of names")),
    };
    let audience = texts(table, "audience", &name)?;
    let options = IssuerOptions { issuer: name, audience, claims, ..IssuerOptions::default() };
    Ok(IssuerPlan { options, public_keys, set: url.or(file) })
}

fn claim_names(table: &Table, name: &str) -> Checked<ClaimNames> {
    let mut names = ClaimNames::default();
    for (key, value) in table {
        let named = match key.as_str() {
            "user" => &mut names.user,
            "name" => &mut names.name,
            "email" => &mut names.email,
            "roles" => &mut names.roles,
            "scope" => &mut names.scope,
            "grants" => &mut names.grants,
            "room" => &mut names.room,
            "can" => &mut names.can,
            _ => {
                return wrong(
                    key.as_str(),
                    format!("only these keys in claims of {name}: user, name, email, roles, scope, grants, room, can"),
                );
            }
        };
        match value.as_str() {
            Some(claim) if !claim.is_empty() => *named = Some(claim.to_owned()),
            _ => return wrong(value.clone(), format!("{key} in claims of {name}: the name of a claim")),
        }
    }
    Ok(names)
}

/// A text or a list of texts; empty when absent.
fn texts(table: &Table, key: &str, name: &str) -> Checked<Vec<String>> {
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    match table.get(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) if list.iter().all(is_text) => {
            Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        Some(text) if is_text(text) => Ok(text.as_str().into_iter().map(str::to_owned).collect()),
        Some(other) => wrong(other.clone(), format!("{key} of {name}: a text or a list of texts")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<IssuerPlan>, String> {
        let table: Table = text.parse().expect("it is TOML");
        issuers(&table["issuers"]).map_err(|mismatch| mismatch.expected)
    }

    #[test]
    fn issuer_has_keys_audience_and_names_of_claims() {
        let text = "[[issuers]]\nissuer = 'https://sso.example/realms/a'\njwks_url = 'https://sso.example/certs'\n\
                    audience = 'chat'\nclaims = { name = 'nick', roles = 'realm_access.roles' }";
        let issuer = read(text).expect("an issuer").remove(0);
        assert_eq!(issuer.options.audience, ["chat"]);
        assert_eq!(issuer.options.claims.roles.as_deref(), Some("realm_access.roles"));
        assert!(matches!(issuer.set, Some(KeySetPlace::Url(_))));
        assert_eq!(read(&format!("{text}\n{text}")).expect_err("twice"), "each issuer once");
    }

    #[test]
    fn wrong_part_of_an_issuer_is_named() {
        for (lines, part) in [
            ("jwks_url = 'https://x/'", "issuer: the iss"),
            ("issuer = 'a'", "exactly one of"),
            ("issuer = 'a'\njwks_url = 'https://x/'\njwks_file = 'k.json'", "exactly one of"),
            ("issuer = 'a'\njwks_url = 'file:///x'", "jwks_url of a"),
            ("issuer = 'a'\njwks_url = 'https://u:p@x/'", "without a login"),
            ("issuer = 'a'\njwks_file = 7", "jwks_file of a"),
            ("issuer = 'a'\npublic_keys = ['']", "public_keys of a"),
            ("issuer = 'a'\njwks_file = 'k'\naudience = 7", "audience of a"),
            ("issuer = 'a'\njwks_file = 'k'\nclaims = 'x'", "claims of a"),
            ("issuer = 'a'\njwks_file = 'k'\nclaims = { sub = 'x' }", "only these keys in claims of a"),
            ("issuer = 'a'\njwks_file = 'k'\nclaims = { user = '' }", "user in claims of a"),
            ("issuer = 'a'\njwks_file = 'k'\ncolour = 'red'", "only these keys in an issuer"),
        ] {
            let refused = read(&format!("[[issuers]]\n{lines}")).expect_err(lines);
            assert!(refused.contains(part), "{lines}: {refused}");
        }
    }
}
