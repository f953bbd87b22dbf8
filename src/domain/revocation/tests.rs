use super::*;
use crate::domain::access::{Roles, TokenMark};

const NOW: Now = Now { mono: 1_000, wall: 1_750_000_000_000 };

fn entry(subject: Revoked) -> Revocation {
    Revocation { subject, until: None, reason: None, issued_before: None, made_at: NOW.wall, by: "root".into() }
}

fn list(entries: impl IntoIterator<Item = Revocation>) -> Revocations {
    let mut list = Revocations::new(1);
    entries.into_iter().for_each(|entry| list.insert(NOW, Arc::new(entry)));
    list.check_invariants();
    list
}

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

#[test]
fn subject_as_text_is_parsed_back() {
    let network = |text| Revoked::Address(Network::parse(text).expect(text).normalized());
    let subjects = [
        Revoked::User("a:b".into()),
        Revoked::Token("x".into()),
        Revoked::TokensOf("ann".into()),
        Revoked::Member { room: "r:1".into(), user: "bob".into() },
        Revoked::Key("k".into()),
        network("10.1.2.3"),
        network("10.1.2.3/8"),
        network("2001:db8::/32"),
    ];
    for subject in subjects {
        assert_eq!(Revoked::parse(&subject.text()), Some(subject));
    }
    for text in ["", "user", "what:x", "member:alone", "address:ten"] {
        assert_eq!(Revoked::parse(text), None, "{text}");
    }
}

#[test]
fn revocation_past_its_end_is_not_in_force_and_leaves_no_entry() {
    let until = Some(NOW.wall + 1_000);
    let mut list = list([Revocation { until, ..entry(Revoked::User("ann".into())) }]);
    assert!(list.check_user(NOW, "ann").is_err() && list.check_user(NOW, "bob").is_ok());
    let later = NOW.plus(1_000);
    assert!(list.check_user(later, "ann").is_ok());
    list.insert(later, Arc::new(entry(Revoked::Token("t".into()))));
    assert_eq!(list.len(), 1);
    list.check_invariants();
}

#[test]
fn token_issued_before_the_moment_is_refused_and_a_later_one_is_not() {
    let moment = Revocation { issued_before: Some(500), ..entry(Revoked::TokensOf("ann".into())) };
    let list = list([moment, entry(Revoked::Token("stolen".into()))]);
    let check = |user, id, issued_at| list.check_token(NOW, user, (id, issued_at)).map_err(|reject| reject.code);
    assert_eq!(check("ann", None, Some(499)), Err(Code::Unauthenticated));
    assert_eq!(check("ann", None, None), Err(Code::Unauthenticated));
    assert_eq!(check("ann", None, Some(500)), Ok(()));
    assert_eq!(check("bob", None, Some(1)), Ok(()));
    assert_eq!(check("bob", Some("stolen"), Some(900)), Err(Code::Unauthenticated));
    let of = |id: &str, issued_at| {
        let token = TokenMark { mark: token_mark(id), issued_at };
        Identity::of_token("bob", None, None, Roles::default(), token)
    };
    let nowhere = address("192.0.2.1");
    assert_eq!(list.strikes(NOW, &of("stolen", 900), nowhere).map(|struck| struck.kind), Some(RevokedKind::Token));
    assert_eq!(list.strikes(NOW, &of("other", 900), nowhere), None);
}

#[test]
fn address_in_a_blocked_network_is_refused_with_its_reason() {
    let blocked = |text: &str| {
        let network = Network::parse(text).expect(text).normalized();
        Revocation { reason: Some("spam".into()), ..entry(Revoked::Address(network)) }
    };
    let mut list = list([blocked("10.1.2.3/16"), blocked("192.0.2.7"), blocked("2001:db8::/32")]);
    let check = |list: &Revocations, text| list.check_address(NOW, address(text)).map_err(|reject| reject.text);
    for text in ["10.1.9.9", "192.0.2.7", "::ffff:192.0.2.7", "2001:db8:1::1"] {
        assert_eq!(check(&list, text), Err("Your address is blocked: spam".into()), "{text}");
    }
    for text in ["10.2.0.1", "192.0.2.8", "2001:db9::1"] {
        assert_eq!(check(&list, text), Ok(()), "{text}");
    }
    assert!(list.remove(&Revoked::parse("address:10.1.0.0/16").expect("a subject")));
    assert_eq!(check(&list, "10.1.9.9"), Ok(()));
    list.check_invariants();
}

#[test]
fn ban_holds_in_its_room_only() {
    let list = list([entry(Revoked::Member { room: "r".into(), user: "ann".into() })]);
    assert!(list.check_member(NOW, "r", "ann").is_err());
    assert!(list.check_member(NOW, "r", "bob").is_ok() && list.check_member(NOW, "s", "ann").is_ok());
    let names = |room| list.list(NOW, RevokedKind::Member, Some(room), (None, 10)).0.len();
    assert_eq!((names("r"), names("s")), (1, 0));
}

#[test]
fn list_comes_in_pages_without_gaps() {
    let list = list((0..25).map(|n| entry(Revoked::User(format!("user-{n:02}").as_str().into()))));
    let (mut after, mut seen): (Option<Name>, Vec<Name>) = (None, Vec::new());
    loop {
        let (page, is_more) = list.list(NOW, RevokedKind::User, None, (after.as_deref(), 10));
        seen.extend(page.iter().map(|revocation| revocation.subject.name()));
        after = seen.last().cloned();
        if !is_more {
            break;
        }
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted());
}

#[test]
fn replaced_list_forgets_what_is_missing() {
    let mut list = list([entry(Revoked::User("ann".into())), entry(Revoked::Token("t".into()))]);
    let new: Arc<[Arc<Revocation>]> = [Arc::new(entry(Revoked::User("bob".into())))].into();
    list.apply(NOW, &RevocationChange::Replaced(new));
    assert_eq!(
        (list.len(), list.check_user(NOW, "ann").is_ok(), list.check_user(NOW, "bob").is_ok()),
        (1, true, false)
    );
    list.check_invariants();
}
