//! Filters of the log: connections, users and rooms of which everything is logged for a while, whatever the level of the log.

use std::fmt;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::reject::{Code, Reject};

/// The subject of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSubject {
    /// A connection, by the id that its client knows.
    Connection(ConnectionId),
    /// A user.
    User(Name),
    /// A room.
    Room(Name),
}

impl fmt::Display for LogSubject {
    /// The subject for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(id) => write!(f, "connection {id}"),
            Self::User(name) => write!(f, "user {name}"),
            Self::Room(name) => write!(f, "room {name}"),
        }
    }
}

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// Its id.
    pub id: Name,
    /// What is logged.
    pub subject: LogSubject,
    /// Its end, in milliseconds since 1970.
    pub expires_at: u64,
}

/// A change of the filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFilterChange {
    /// Adds a filter, in place of one with the same id.
    Set(LogFilter),
    /// Removes the filter of this id.
    Remove(Name),
}

/// The filters in force.
#[derive(Debug, Default)]
pub struct LogFilters {
    list: Vec<LogFilter>,
}

impl LogFilters {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The filters that have not expired.
    pub fn list(&mut self, now: Now) -> &[LogFilter] {
        self.list.retain(|filter| filter.expires_at > now.wall);
        &self.list
    }

    /// The filter for a subject, for `seconds` from now: the one that there is, renewed, or a new one with the id `id`.
    ///
    /// # Errors
    /// There are too many.
    pub fn plan(&mut self, now: Now, id: Name, subject: LogSubject, seconds: u64) -> Result<LogFilter, Reject> {
        let known = self.list(now);
        let id = match known.iter().find(|filter| filter.subject == subject) {
            Some(filter) => filter.id.clone(),
            None if known.len() < limits::LOG_FILTERS => id,
            None => {
                let text = format!("There are {} filters already: delete one, or wait", limits::LOG_FILTERS);
                return Err(Reject::new(Code::RateLimited, text));
            }
        };
        Ok(LogFilter { id, subject, expires_at: now.wall + seconds * 1_000 })
    }

    /// Applies a change that any thread has decided. Of too many filters the first one ends.
    pub fn apply(&mut self, now: Now, change: LogFilterChange) {
        let (LogFilterChange::Set(LogFilter { id, .. }) | LogFilterChange::Remove(id)) = &change;
        self.list.retain(|filter| filter.id != *id && filter.expires_at > now.wall);
        if let LogFilterChange::Set(filter) = change {
            if self.list.len() >= limits::LOG_FILTERS {
                self.list.remove(0);
            }
            self.list.push(filter);
        }
    }

    /// The filter that has one of these subjects, if there is one.
    pub fn find(
        &mut self,
        now: Now,
        connection: Option<ConnectionId>,
        user: Option<&str>,
        room: Option<&str>,
    ) -> Option<&LogFilter> {
        self.list(now).iter().find(|filter| match &filter.subject {
            LogSubject::Connection(known) => connection == Some(*known),
            LogSubject::User(known) => user == Some(&**known),
            LogSubject::Room(known) => room == Some(&**known),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { mono: 1_000, wall: 1_750_000_000_000 };

    #[test]
    fn log_filters_expire_are_renewed_and_have_a_bound() {
        let mut filters = LogFilters::default();
        let user = |name: &str| LogSubject::User(name.into());
        for number in 0..limits::LOG_FILTERS {
            let filter = filters.plan(NOW, format!("f{number}").into(), user(&format!("u{number}")), 60).expect("room");
            filters.apply(NOW, LogFilterChange::Set(filter));
        }
        assert_eq!(filters.plan(NOW, "more".into(), user("more"), 60).expect_err("no room").code, Code::RateLimited);
        let renewed = filters.plan(NOW, "other".into(), user("u1"), 600).expect("it is known");
        assert_eq!((&*renewed.id, renewed.expires_at), ("f1", NOW.wall + 600_000));
        filters.apply(NOW, LogFilterChange::Set(renewed));
        assert!(
            filters.find(NOW, None, Some("u1"), None).is_some() && filters.find(NOW, None, None, Some("u1")).is_none()
        );
        filters.apply(NOW, LogFilterChange::Remove("f2".into()));
        assert!(filters.find(NOW, None, Some("u2"), None).is_none());
        let later = NOW.plus(60_000);
        assert_eq!(filters.list(later).len(), 1);
        assert!(filters.find(later.plus(600_000), None, Some("u1"), None).is_none() && filters.is_empty());
        // Beyond the bound, as two threads may decide at once.
        for number in 0..=limits::LOG_FILTERS {
            let (id, subject) = (format!("g{number}").into(), LogSubject::Room("r".into()));
            filters.apply(NOW, LogFilterChange::Set(LogFilter { id, subject, expires_at: NOW.wall + 1 }));
        }
        assert_eq!(filters.list(NOW).len(), limits::LOG_FILTERS);
    }
}
