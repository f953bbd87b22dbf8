//! What happened to connections lately: the last so many incidents.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::base::Name;
use crate::base::brief::{CompactReader, put_number, put_text};
use crate::base::ids::ConnectionId;
use crate::domain::client_query::{IncidentFilter, IncidentKind};

/// How many incidents are kept.
pub const INCIDENTS_KEPT: usize = 10_000;

/// Incidents in one answer unless it is said how many.
const LISTED_DEFAULT: usize = 50;

/// Incidents in one answer at the most.
const LISTED_MAX: usize = 1_000;

/// Incidents that are forgotten at once.
const PAGE_INCIDENTS: usize = 1_000;

/// Different words that a page has numbers for.
const PAGE_WORDS: usize = 32;

/// Marks an incident's first byte, beside its kind: a connection's id follows.
const CONNECTION: u8 = 1 << 3;

/// Likewise: its address is of IPv6.
const IPV6: u8 = 1 << 4;

/// Bytes of a user agent that are kept.
pub const USER_AGENT_BYTES: usize = 256;

/// One thing that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// What.
    pub kind: IncidentKind,
    /// The connection, if there was one already.
    pub connection: Option<ConnectionId>,
    /// Whose it is, if that was known.
    pub user: Option<Name>,
    /// Where it came from.
    pub address: IpAddr,
    /// What it came with, [`shortened`].
    pub user_agent: Option<Name>,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Why, in a few words.
    pub reason: Option<Name>,
}

/// The last [`INCIDENTS_KEPT`] incidents, each in some 40 bytes.
#[derive(Debug, Default)]
pub struct Journal {
    /// The newest last. The first may begin with incidents that count no more.
    pages: VecDeque<JournalPage>,
}

/// Up to [`PAGE_INCIDENTS`] incidents, one written behind the other.
#[derive(Debug)]
struct JournalPage {
    /// What times are counted from, in milliseconds since 1970.
    began: u64,
    count: usize,
    bytes: Vec<u8>,
    /// Programs and reasons that occur in it; whatever does not fit in here is written out.
    words: Vec<Name>,
}

impl Journal {
    /// Something happened.
    pub fn note(&mut self, incident: Incident) {
        let is_full = |page: &mut JournalPage| {
            let is_full = page.count == PAGE_INCIDENTS;
            if is_full {
                page.bytes.shrink_to_fit();
            }
            is_full
        };
        if self.pages.back_mut().is_none_or(is_full) {
            self.pages.push_back(JournalPage { began: incident.at, count: 0, bytes: Vec::new(), words: Vec::new() });
        }
        if let Some(page) = self.pages.back_mut() {
            page.write(&incident);
        }
        let count: usize = self.pages.iter().skip(1).map(|page| page.count).sum();
        if count >= INCIDENTS_KEPT {
            self.pages.pop_front();
        }
    }

    /// Those that a filter lets through, newest first.
    pub fn select(&self, filter: &IncidentFilter<'_>) -> Vec<Incident> {
        let fits = |incident: &Incident| {
            filter.kind.is_none_or(|kind| incident.kind == kind)
                && filter.user.as_deref().is_none_or(|user| incident.user.as_deref() == Some(user))
                && filter.address.is_none_or(|address| incident.address == address)
        };
        let all = self.pages.iter().rev().flat_map(|page| page.read().into_iter().rev());
        all.take(INCIDENTS_KEPT).filter(fits).take(listed(filter.limit)).collect()
    }
}

impl JournalPage {
    fn write(&mut self, incident: &Incident) {
        let Incident { kind, connection, user, address, user_agent, at, reason } = incident;
        let kind = IncidentKind::ALL.iter().position(|known| known == kind).unwrap_or_default() as u8;
        let bytes = &mut self.bytes;
        bytes.push(kind | connection.map_or(0, |_| CONNECTION) | if address.is_ipv6() { IPV6 } else { 0 });
        bytes.extend(connection.iter().flat_map(ConnectionId::bytes));
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
        // A clock may be set back.
        put_number(bytes, at.wrapping_sub(self.began));
        put_text(bytes, user.as_deref());
        self.write_word(user_agent.as_ref());
        self.write_word(reason.as_ref());
        self.count += 1;
    }

    /// Writes the number of a word that occurs here, counted from 1; 0 for none, and 255 before one that is written out.
    fn write_word(&mut self, word: Option<&Name>) {
        let Some(word) = word else { return self.bytes.push(0) };
        let at = match self.words.iter().position(|known| known == word) {
            Some(at) => at,
            None if self.words.len() < PAGE_WORDS => {
                self.words.push(word.clone());
                self.words.len() - 1
            }
            None => {
                self.bytes.push(u8::MAX);
                return put_text(&mut self.bytes, Some(word));
            }
        };
        self.bytes.push(1 + at as u8);
    }

    fn read(&self) -> Vec<Incident> {
        let mut brief = CompactReader(&self.bytes);
        (0..self.count).map_while(|_| self.read_next(&mut brief)).collect()
    }

    fn read_next(&self, brief: &mut CompactReader<'_>) -> Option<Incident> {
        let mark = brief.byte()?;
        let kind = *IncidentKind::ALL.get(usize::from(mark & !(CONNECTION | IPV6)))?;
        let connection = match mark & CONNECTION {
            0 => None,
            _ => Some(ConnectionId::from_bytes(brief.bytes()?)),
        };
        let address = match mark & IPV6 {
            0 => IpAddr::from(brief.bytes::<4>()?),
            _ => IpAddr::from(brief.bytes::<16>()?),
        };
        let at = self.began.wrapping_add(brief.number()?);
        let user = brief.text()?.map(Name::from);
        let (user_agent, reason) = (self.read_word(brief)?, self.read_word(brief)?);
        Some(Incident { kind, connection, user, address, user_agent, at, reason })
    }

    fn read_word(&self, brief: &mut CompactReader<'_>) -> Option<Option<Name>> {
        Some(match brief.byte()? {
            0 => None,
            u8::MAX => brief.text()?.map(Name::from),
            at => Some(self.words.get(usize::from(at) - 1)?.clone()),
        })
    }
}

/// The newest of what several journals have selected, newest first.
pub fn newest(selections: impl IntoIterator<Item = Vec<Incident>>, limit: Option<usize>) -> Vec<Incident> {
    let mut all: Vec<Incident> = selections.into_iter().flatten().collect();
    all.sort_by_key(|incident| std::cmp::Reverse(incident.at));
    all.truncate(listed(limit).min(INCIDENTS_KEPT));
    all
}

/// The beginning of a user agent, as much of it as is kept.
pub fn shortened(user_agent: &str) -> &str {
    &user_agent[..user_agent.floor_char_boundary(USER_AGENT_BYTES)]
}

fn listed(limit: Option<usize>) -> usize {
    limit.unwrap_or(LISTED_DEFAULT).min(LISTED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ConnectionPlace;

    fn incident(at: u64, user: &str) -> Incident {
        let kind = IncidentKind::ALL[at as usize % 5];
        let address = IpAddr::from([10, 0, 0, (at % 3) as u8]);
        let user = Some(user.into());
        Incident { kind, connection: None, user, address, user_agent: None, at, reason: None }
    }

    fn times(incidents: &[Incident]) -> Vec<u64> {
        incidents.iter().map(|incident| incident.at).collect()
    }

    #[test]
    fn the_newest_are_kept_and_come_first() {
        let mut journal = Journal::default();
        for at in 0..INCIDENTS_KEPT as u64 + 5 {
            journal.note(incident(at, &format!("u{at}")));
        }
        let kept: usize = journal.pages.iter().map(|page| page.count).sum();
        assert!((INCIDENTS_KEPT..INCIDENTS_KEPT + PAGE_INCIDENTS).contains(&kept), "{kept}");
        let oldest = |at: u64| {
            journal.select(&IncidentFilter { user: Some(format!("u{at}").into()), ..IncidentFilter::default() }).len()
        };
        assert_eq!((oldest(4), oldest(5)), (0, 1));
        assert_eq!(
            times(&journal.select(&IncidentFilter { limit: Some(2), ..IncidentFilter::default() })),
            [10_004, 10_003]
        );
        assert_eq!(journal.select(&IncidentFilter::default()).len(), LISTED_DEFAULT);
        assert_eq!(
            journal.select(&IncidentFilter { limit: Some(usize::MAX), ..IncidentFilter::default() }).len(),
            LISTED_MAX
        );
    }

    #[test]
    fn incidents_are_what_they_were_and_small() {
        let mut journal = Journal::default();
        let incidents: Vec<Incident> = (0..900u32)
            .map(|n| {
                let place = ConnectionPlace { node: 0, shard: 1, slot: n };
                let word = |n: u32| (!n.is_multiple_of(3)).then(|| format!("word {}", n % 70).into());
                Incident {
                    kind: IncidentKind::ALL[n as usize % 5],
                    connection: (n % 4 != 0).then(|| ConnectionId::new(place, [n as u8; 12])),
                    user: (n % 7 != 0).then(|| format!("user-{n}").into()),
                    address: if n % 2 == 0 { [10, 0, 0, n as u8].into() } else { [n as u16; 8].into() },
                    user_agent: word(n),
                    at: 1_750_000_000_000 - u64::from(n % 11),
                    reason: word(n / 2),
                }
            })
            .collect();
        incidents.iter().cloned().for_each(|incident| journal.note(incident));
        let shown = journal.select(&IncidentFilter { limit: Some(1_000), ..IncidentFilter::default() });
        assert!(shown.iter().rev().eq(&incidents));
        let mut usual = Journal::default();
        for n in 0..1_000u32 {
            let connection = Some(ConnectionId::new(ConnectionPlace { node: 0, shard: 1, slot: n }, [n as u8; 12]));
            let incident = incident(1_750_000_000_000 + u64::from(n), "user-1234");
            usual.note(Incident { connection, user_agent: Some("Mozilla/5.0".into()), ..incident });
        }
        assert!(usual.pages[0].bytes.len() <= 40 * 1_000, "{}", usual.pages[0].bytes.len());
    }

    #[test]
    fn filters_let_through_what_they_name() {
        let mut journal = Journal::default();
        for at in 0..60 {
            journal.note(incident(at, if at < 30 { "a" } else { "b" }));
        }
        let of = |filter| times(&journal.select(&filter));
        let filter =
            IncidentFilter { kind: Some(IncidentKind::Error), user: Some("a".into()), ..IncidentFilter::default() };
        assert_eq!(of(filter), [27, 22, 17, 12, 7, 2]);
        let address = Some(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(of(IncidentFilter { address, user: Some("b".into()), limit: Some(2), kind: None }), [58, 55]);
        assert_eq!(of(IncidentFilter { user: Some("c".into()), ..IncidentFilter::default() }), [0; 0]);
    }

    #[test]
    fn several_journals_are_one() {
        let lists = [vec![incident(9, "a"), incident(3, "a")], vec![incident(5, "b")], Vec::new()];
        assert_eq!(times(&newest(lists, Some(2))), [9, 5]);
    }

    #[test]
    fn user_agents_are_cut_between_characters() {
        assert_eq!(shortened("Mozilla/5.0"), "Mozilla/5.0");
        assert_eq!(shortened(&format!("a{}", "é".repeat(200))).len(), 255);
    }
}
