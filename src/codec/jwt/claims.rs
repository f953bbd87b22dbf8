//! Claims of a token (RFC 7519 §4): validation and conversion. The signature has been verified before; time is an
//! argument.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde_json::value::RawValue;

use crate::base::display_name::{NameFault, name_fault};

use super::error::TokenError;
use super::loose::{self, Loose};

/// Prefix of the names of clients without a token; reserved in tokens.
pub use crate::base::display_name::GUEST_PREFIX;

/// Maximum size of `sub`, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 128;

/// Maximum size of a user name, in bytes.
pub const USERNAME_BYTES_MAX: usize = 128;

/// Maximum size of an e-mail address, in bytes, as in SMTP (RFC 5321 §4.5.3.1.3).
pub const EMAIL_BYTES_MAX: usize = 254;

/// Claims of an accepted token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub`: 1–128 bytes, no control characters, not `guest:…`.
    pub user: String,
    /// The first valid one of `name`, `preferred_username` and `username`: 1–128 bytes, no control characters, without a
    /// [`NameFault`].
    pub username: Option<String>,
    /// `email`: 1–254 bytes, no control characters. The syntax is not checked.
    pub email: Option<String>,
    /// Whether the token makes an admin, see [`AdminRule`].
    pub admin: bool,
    /// Whether `scope` or `scp` contains `push`.
    pub push: bool,
    /// `exp` in Unix seconds, rounded up, without the leeway.
    pub expires_at: Option<u64>,
    /// `iat` in Unix seconds, rounded up.
    pub issued_at: Option<u64>,
    /// `jti`: 1–128 bytes, no control characters.
    pub id: Option<String>,
    /// `grants`, if there is such a claim: the rooms that the token is limited to.
    pub grants: Option<Vec<GrantClaim>>,
    /// `room` and `can` of a token for one room.
    pub subscription: Option<GrantClaim>,
}

/// Rooms, and the names of what may be done in them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantClaim {
    /// The id of a room, or a pattern.
    pub rooms: String,
    /// The actions; `None` only of a token for one room.
    #[serde(deserialize_with = "some_list")]
    pub can: Option<Vec<String>>,
}

fn some_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Vec::deserialize(deserializer).map(Some)
}

/// The tokens that make an admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminRule {
    /// The claim that decides, alone; by default `role` is one of the values, or `roles`, `scope` or `scp` contains one.
    pub claim: Option<String>,
    /// Values of the claim that make an admin; none: no token does.
    pub values: Vec<String>,
}

impl Default for AdminRule {
    fn default() -> Self {
        Self { claim: None, values: vec!["admin".to_owned()] }
    }
}

impl AdminRule {
    fn is_met(&self, raw: &RawClaims<'_>, json: &str) -> Result<bool, TokenError> {
        let is_met_by = |claim: &Loose<'_>, separators: &[char]| {
            self.values.iter().any(|value| claim.names(value) || claim.lists(value, separators))
        };
        Ok(match &self.claim {
            Some(name) => is_met_by(&loose::claim_at(json, name).map_err(|_| TokenError::Malformed)?, &[' ', ',']),
            None => {
                self.values.iter().any(|value| raw.role.text() == Some(value))
                    || is_met_by(&raw.roles, &[' ', ','])
                    || is_met_by(&raw.scope, &[' '])
                    || is_met_by(&raw.scp, &[' '])
            }
        })
    }
}

/// Names of an issuer's own for claims: those that stand in place of the usual ones. Each is that of a claim, or a path of
/// names with dots between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimNames {
    /// In place of `sub`.
    pub user: Option<String>,
    /// In place of `name`, `preferred_username` and `username`.
    pub name: Option<String>,
    /// In place of `email`.
    pub email: Option<String>,
    /// In place of `role` and `roles`, and, for admins, of the scope.
    pub roles: Option<String>,
    /// In place of `scope` and `scp`.
    pub scope: Option<String>,
    /// In place of `grants`.
    pub grants: Option<String>,
    /// In place of `room`.
    pub room: Option<String>,
    /// In place of `can`.
    pub can: Option<String>,
}

impl ClaimNames {
    fn rename<'a>(&self, raw: &mut RawClaims<'a>, json: &'a str) -> serde_json::Result<()> {
        let claim = |name: &Option<String>| name.as_deref().map(|name| loose::claim_at(json, name)).transpose();
        if let Some(user) = claim(&self.user)? {
            raw.sub = user;
        }
        if let Some(name) = claim(&self.name)? {
            (raw.name, raw.preferred_username, raw.username) = (name, Loose::Absent, Loose::Absent);
        }
        if let Some(email) = claim(&self.email)? {
            raw.email = email;
        }
        if let Some(roles) = claim(&self.roles)? {
            (raw.roles, raw.role) = (roles, Loose::Absent);
        }
        if let Some(scope) = claim(&self.scope)? {
            (raw.scope, raw.scp) = (scope, Loose::Absent);
        }
        if let Some(room) = claim(&self.room)? {
            raw.room = room;
        }
        if let Some(name) = &self.grants {
            raw.grants = loose::member_at(json, name)?;
        }
        if let Some(name) = &self.can {
            raw.can = loose::member_at(json, name)?.filter(|can| can.get() != "null");
        }
        Ok(())
    }
}

/// Rules for claims, from the configuration.
#[derive(Debug)]
pub(super) struct ClaimRules {
    pub(super) admin: AdminRule,
    /// Names of the issuer's own, if it has any.
    pub(super) names: Option<Box<ClaimNames>>,
    pub(super) audience: Vec<String>,
    pub(super) issuer: Vec<String>,
    pub(super) require_exp: bool,
    pub(super) leeway_s: u64,
}

impl ClaimRules {
    /// Parses a payload and applies all rules.
    pub(super) fn check(&self, json: &str, now_unix_s: u64) -> Result<Claims, TokenError> {
        let mut raw: RawClaims<'_> = serde_json::from_str(json).map_err(|_| TokenError::Malformed)?;
        if let Some(names) = &self.names {
            names.rename(&mut raw, json).map_err(|_| TokenError::Malformed)?;
        }
        self.check_times(&raw, now_unix_s)?;
        let is_one_of = |claim: &Loose<'_>, accepted: &[String]| {
            accepted.is_empty() || accepted.iter().any(|name| claim.names(name))
        };
        if !is_one_of(&raw.aud, &self.audience) {
            return Err(TokenError::WrongAudience);
        }
        if !is_one_of(&raw.iss, &self.issuer) {
            return Err(TokenError::WrongIssuer);
        }
        let user = raw.sub.text().and_then(|text| usable(text, SUBJECT_BYTES_MAX));
        let user = user.ok_or(TokenError::BadSubject)?;
        match name_fault(user) {
            Some(NameFault::GuestLike) => return Err(TokenError::ReservedSubject),
            Some(NameFault::Hidden) => return Err(TokenError::BadSubject),
            None => {}
        }
        let is_admin = self.admin.is_met(&raw, json)?;
        let grants = raw.grants.map(|grants| serde_json::from_str(grants.get())).transpose();
        let grants = grants.map_err(|_| TokenError::BadGrants)?;
        let subscription = raw.subscription()?;
        Ok(Claims { grants, subscription, ..raw.told(user.to_owned(), is_admin) })
    }

    /// A token is expired "on or after" `exp` (RFC 7519 §4.1.4) and not valid before `nbf` (§4.1.5).
    fn check_times(&self, raw: &RawClaims<'_>, now_unix_s: u64) -> Result<(), TokenError> {
        match raw.exp {
            None if self.require_exp => return Err(TokenError::NoExpiry),
            Some(exp) if now_unix_s >= exp.saturating_add(self.leeway_s) => return Err(TokenError::Expired),
            _ => {}
        }
        match raw.nbf {
            Some(nbf) if now_unix_s.saturating_add(self.leeway_s) < nbf => Err(TokenError::NotYetValid),
            _ => Ok(()),
        }
    }
}

/// The claims read, unconverted. A repeated claim is an error (RFC 7519 §4 allows that).
#[derive(Deserialize)]
struct RawClaims<'a> {
    #[serde(borrow, default)]
    sub: Loose<'a>,
    #[serde(default, deserialize_with = "numeric_date")]
    exp: Option<u64>,
    #[serde(default, deserialize_with = "numeric_date")]
    nbf: Option<u64>,
    #[serde(default, deserialize_with = "numeric_date")]
    iat: Option<u64>,
    #[serde(borrow, default)]
    jti: Loose<'a>,
    #[serde(borrow, default)]
    aud: Loose<'a>,
    #[serde(borrow, default)]
    iss: Loose<'a>,
    #[serde(borrow, default)]
    name: Loose<'a>,
    #[serde(borrow, default)]
    preferred_username: Loose<'a>,
    #[serde(borrow, default)]
    username: Loose<'a>,
    #[serde(borrow, default)]
    email: Loose<'a>,
    #[serde(borrow, default)]
    role: Loose<'a>,
    #[serde(borrow, default)]
    roles: Loose<'a>,
    #[serde(borrow, default)]
    scope: Loose<'a>,
    #[serde(borrow, default)]
    scp: Loose<'a>,
    /// Present even if it is `null`, which is no list of grants.
    #[serde(borrow, default, deserialize_with = "present")]
    grants: Option<&'a RawValue>,
    #[serde(borrow, default)]
    room: Loose<'a>,
    #[serde(borrow, default)]
    can: Option<&'a RawValue>,
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(deserializer).map(Some)
}

impl RawClaims<'_> {
    /// The room that the token is for, if it is one for a room. Other types of `room` are of the issuer's own.
    fn subscription(&self) -> Result<Option<GrantClaim>, TokenError> {
        let Some(room) = self.room.text() else { return Ok(None) };
        let can = self.can.map(|can| serde_json::from_str(can.get())).transpose();
        Ok(Some(GrantClaim { rooms: room.to_owned(), can: can.map_err(|_| TokenError::BadGrants)? }))
    }

    fn told(&self, user: String, admin: bool) -> Claims {
        let in_scope = |word| self.scope.lists(word, &[' ']) || self.scp.lists(word, &[' ']);
        let owned =
            |claim: &Loose<'_>, bytes_max| claim.text().and_then(|text| usable(text, bytes_max)).map(str::to_owned);
        let shown = |claim| owned(claim, USERNAME_BYTES_MAX).filter(|name| name_fault(name).is_none());
        let names = [&self.name, &self.preferred_username, &self.username];
        Claims {
            user,
            username: names.into_iter().find_map(shown),
            email: owned(&self.email, EMAIL_BYTES_MAX),
            admin,
            push: in_scope("push"),
            expires_at: self.exp,
            issued_at: self.iat,
            id: owned(&self.jti, SUBJECT_BYTES_MAX),
            grants: None,
            subscription: None,
        }
    }
}

/// The text, if it is valid as a name.
fn usable(text: &str, bytes_max: usize) -> Option<&str> {
    let fits = (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then_some(text)
}

/// A NumericDate (RFC 7519 §2): any JSON number. Fractions are rounded up, so that a comparison with whole seconds
/// gives the same result; times before 1970 are 0. `null` and other types are errors.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_any(NumericDateVisitor).map(Some)
}

struct NumericDateVisitor;

impl Visitor<'_> for NumericDateVisitor {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number of seconds since 1970")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<u64, E> {
        Ok(seconds)
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<u64, E> {
        Ok(u64::try_from(seconds).unwrap_or(0))
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<u64, E> {
        Ok(seconds.ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn rules() -> ClaimRules {
        ClaimRules {
            admin: AdminRule::default(),
            names: None,
            audience: Vec::new(),
            issuer: Vec::new(),
            require_exp: false,
            leeway_s: 30,
        }
    }

    fn check(json: &str) -> Result<Claims, TokenError> {
        rules().check(json, NOW)
    }

    #[test]
    fn a_bare_subject_is_a_plain_user() {
        let plain = Claims {
            user: "u1".into(),
            username: None,
            email: None,
            admin: false,
            push: false,
            expires_at: None,
            issued_at: None,
            id: None,
            grants: None,
            subscription: None,
        };
        assert_eq!(check(r#"{"sub":"u1"}"#), Ok(plain));
    }

    #[test]
    fn configured_claim_alone_makes_an_admin() {
        let rule = |claim: Option<&str>, values: &[&str]| ClaimRules {
            admin: AdminRule {
                claim: claim.map(str::to_owned),
                values: values.iter().map(|value| (*value).to_owned()).collect(),
            },
            ..rules()
        };
        let is_admin = |rules: &ClaimRules, claims: &str| {
            rules.check(&format!(r#"{{"sub":"u1",{claims}}}"#), NOW).map(|claims| claims.admin)
        };
        let groups = rule(Some("https://app.example/groups"), &["ops", "chat admins"]);
        for claims in [
            r#""https://app.example/groups":"ops""#,
            r#""https://app.example/groups":["dev","chat admins"]"#,
            r#""https://app.example/groups":"dev,ops""#,
            r#""https://app.example/groups":"chat admins""#,
        ] {
            assert_eq!(is_admin(&groups, claims), Ok(true), "{claims}");
        }
        for claims in [
            r#""role":"admin""#,
            r#""role":"ops""#,
            r#""scope":"admin ops""#,
            r#""https://app.example/groups":"opsx""#,
            r#""https://app.example/groups":{"ops":true}"#,
            r#""https://app.example/groups":null"#,
        ] {
            assert_eq!(is_admin(&groups, claims), Ok(false), "{claims}");
        }
        let twice = r#""https://app.example/groups":"dev","https://app.example/groups":"ops""#;
        assert_eq!(is_admin(&groups, twice), Err(TokenError::Malformed));
        let values = rule(None, &["superuser"]);
        assert_eq!(is_admin(&values, r#""role":"superuser""#), Ok(true));
        assert_eq!(is_admin(&values, r#""roles":["superuser"]"#), Ok(true));
        assert_eq!(is_admin(&values, r#""role":"admin""#), Ok(false));
        let nobody = rule(None, &[]);
        assert_eq!(is_admin(&nobody, r#""role":"admin","scope":"admin""#), Ok(false));
    }

    #[test]
    fn names_of_an_issuer_stand_in_place_of_the_usual_ones() {
        let own = |name: &str| Some(name.to_owned());
        let names = ClaimNames {
            user: own("https://app.example/id"),
            name: own("profile.nick"),
            roles: own("realm_access.roles"),
            scope: own("perms"),
            grants: own("chat.grants"),
            ..ClaimNames::default()
        };
        let admin = AdminRule { claim: names.roles.clone(), ..AdminRule::default() };
        let rules = ClaimRules { names: Some(Box::new(names)), admin, ..rules() };
        let json = r#"{"sub":"x","https://app.example/id":"u1","name":"No","profile":{"nick":"Ann"},"scope":"push",
            "realm_access":{"roles":["admin","b"]},"perms":["push"],"roles":["b"],
            "chat":{"grants":[{"rooms":"r","can":["join"]}]}}"#;
        let claims = rules.check(json, NOW).expect("good claims");
        assert_eq!((claims.user.as_str(), claims.username.as_deref()), ("u1", Some("Ann")));
        assert!(claims.admin && claims.push);
        assert_eq!(claims.grants.map(|grants| grants.len()), Some(1));
        let bare = rules.check(r#"{"https://app.example/id":"u1","role":"admin","scope":"push","grants":7}"#, NOW);
        let bare = bare.expect("the usual names are of no effect");
        assert!(!bare.admin && !bare.push && bare.grants.is_none());
        assert_eq!(rules.check(r#"{"sub":"u1"}"#, NOW), Err(TokenError::BadSubject));
    }

    #[test]
    fn times_at_their_borders() {
        let cases = [
            (format!(r#""exp":{}"#, NOW - 29), Ok(Some(NOW - 29))),
            (format!(r#""exp":{}"#, NOW - 30), Err(TokenError::Expired)),
            (format!(r#""exp":{}.5"#, NOW - 30), Ok(Some(NOW - 29))),
            (format!(r#""exp":{}.5"#, NOW - 31), Err(TokenError::Expired)),
            (r#""exp":-1"#.into(), Err(TokenError::Expired)),
            (r#""exp":1e300"#.into(), Ok(Some(u64::MAX))),
            (r#""exp":18446744073709551615"#.into(), Ok(Some(u64::MAX))),
            (format!(r#""nbf":{}"#, NOW + 30), Ok(None)),
            (format!(r#""nbf":{}"#, NOW + 31), Err(TokenError::NotYetValid)),
            (format!(r#""nbf":{}.5"#, NOW + 30), Err(TokenError::NotYetValid)),
            (r#""nbf":-1.5"#.into(), Ok(None)),
            (format!(r#""iat":{}"#, NOW + 1_000_000), Ok(None)),
        ];
        for (claim, expected) in cases {
            let result = check(&format!(r#"{{"sub":"u1",{claim}}}"#));
            assert_eq!(result.map(|claims| claims.expires_at), expected, "{claim}");
        }
        let latest = rules().check(r#"{"sub":"u1","exp":18446744073709551615,"nbf":18446744073709551615}"#, u64::MAX);
        assert_eq!(latest, Err(TokenError::Expired));
    }

    #[test]
    fn dates_that_are_not_numbers_are_malformed() {
        for name in ["exp", "nbf", "iat"] {
            for value in ["null", r#""1700000000""#, "true", "[1]", "{}", "1e999"] {
                let json = format!(r#"{{"sub":"u1","{name}":{value}}}"#);
                assert_eq!(check(&json), Err(TokenError::Malformed), "{json}");
            }
        }
    }

    #[test]
    fn an_expiry_may_be_required() {
        let strict = ClaimRules { require_exp: true, ..rules() };
        assert_eq!(strict.check(r#"{"sub":"u1"}"#, NOW), Err(TokenError::NoExpiry));
        assert!(strict.check(&format!(r#"{{"sub":"u1","exp":{NOW}}}"#), NOW).is_ok());
    }

    #[test]
    fn audience_and_issuer_when_configured() {
        let particular = ClaimRules { audience: vec!["a".into(), "b".into()], issuer: vec!["i".into()], ..rules() };
        let cases = [
            (r#""aud":"a","iss":"i""#, None),
            (r#""aud":["x","b"],"iss":["i"]"#, None),
            (r#""iss":"i""#, Some(TokenError::WrongAudience)),
            (r#""aud":"a b","iss":"i""#, Some(TokenError::WrongAudience)),
            (r#""aud":[],"iss":"i""#, Some(TokenError::WrongAudience)),
            (r#""aud":1,"iss":"i""#, Some(TokenError::WrongAudience)),
            (r#""aud":"a""#, Some(TokenError::WrongIssuer)),
            (r#""aud":"a","iss":"I""#, Some(TokenError::WrongIssuer)),
        ];
        for (claims, expected) in cases {
            let json = format!(r#"{{"sub":"u1",{claims}}}"#);
            assert_eq!(particular.check(&json, NOW).err(), expected, "{json}");
        }
        assert!(check(r#"{"sub":"u1","aud":"anyone","iss":7}"#).is_ok());
    }

    #[test]
    fn subjects() {
        let longest = "é".repeat(64);
        assert_eq!(check(&format!(r#"{{"sub":"{longest}"}}"#)).map(|claims| claims.user), Ok(longest.clone()));
        let too_long = format!(r#""{longest}x""#);
        for sub in ["null", r#""""#, "7", "[]", r#"["u1"]"#, r#""a\u0000b""#, r#""a\n""#, r#""\u0085""#, &too_long] {
            assert_eq!(check(&format!(r#"{{"sub":{sub}}}"#)), Err(TokenError::BadSubject), "{sub}");
        }
        assert_eq!(check("{}"), Err(TokenError::BadSubject));
        assert_eq!(check(r#"{"sub":"a","sub":"b"}"#), Err(TokenError::Malformed));
        assert_eq!(check(r#"{"sub":"guest:1"}"#), Err(TokenError::ReservedSubject));
        assert_eq!(check(r#"{"sub":"gu\u0065st:1"}"#), Err(TokenError::ReservedSubject));
        assert!(check(r#"{"sub":"guest"}"#).is_ok());
    }

    #[test]
    fn roles_and_scopes() {
        let cases = [
            (r#""role":"admin""#, true, false),
            (r#""role":"administrator""#, false, false),
            (r#""role":"user admin""#, false, false),
            (r#""roles":["user","admin"]"#, true, false),
            (r#""roles":"user,admin""#, true, false),
            (r#""roles":"user, admin""#, true, false),
            (r#""roles":"push""#, false, false),
            (r#""roles":{"admin":true}"#, false, false),
            (r#""scope":"openid push""#, false, true),
            (r#""scope":"push admin""#, true, true),
            (r#""scope":"push,admin""#, false, false),
            (r#""scp":["push"]"#, false, true),
            (r#""scp":"admin""#, true, false),
            (r#""scope":7,"role":null"#, false, false),
        ];
        for (claim, admin, push) in cases {
            let claims = check(&format!(r#"{{"sub":"u1",{claim}}}"#)).expect(claim);
            assert_eq!((claims.admin, claims.push), (admin, push), "{claim}");
        }
    }

    #[test]
    fn profiles_keep_what_is_usable() {
        let long = "n".repeat(129);
        let cases = [
            (r#""username":"c","preferred_username":"b","name":"a""#.to_owned(), Some("a")),
            (r#""username":"c","preferred_username":"b","name":"""#.to_owned(), Some("b")),
            (r#""username":"c","name":7"#.to_owned(), Some("c")),
            (format!(r#""name":"{long}","username":"c\u0007""#), None),
        ];
        for (claim, expected) in cases {
            let claims = check(&format!(r#"{{"sub":"u1",{claim}}}"#)).expect("accepted");
            assert_eq!(claims.username.as_deref(), expected, "{claim}");
        }
        for (bytes, kept) in [(254, true), (255, false)] {
            let json = format!(r#"{{"sub":"u1","email":"{}"}}"#, "e".repeat(bytes));
            assert_eq!(check(&json).expect("accepted").email.is_some(), kept);
        }
    }
}
