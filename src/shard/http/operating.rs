//! Calls of operators that the asked shard answers by itself: filters of the log, traces, the settings in force; and tokens
//! for whoever tries a server with `--dev` out.

use crate::base::handle::ConnSlot;
use crate::base::ids;
use crate::base::time::Now;
use crate::codec::jwt::{NewToken, sign_hs256};
use crate::dialect::rest::{self, RestCall};
use crate::domain::log_filter::LogFilterChange;
use crate::domain::reject::{Code, Reject};
use crate::shard::core::Core;
use crate::shard::http::answer::Answer;
use crate::shard::log::Logging;
use crate::shard::trace::Tracing;

/// Answers those calls.
pub(super) struct Operating<'a> {
    core: &'a mut Core,
}

impl<'a> Operating<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// The answer to a call, `None` within if it is written as it comes; `None` for other calls.
    pub(super) fn answer(
        &mut self,
        now: Now,
        slot: ConnSlot,
        call: &RestCall,
    ) -> Option<Result<Option<Answer>, Reject>> {
        Some(match call {
            RestCall::Trace { subject, seconds } => {
                Tracing::on(self.core).begin(now, slot, subject, *seconds).map(|()| None)
            }
            RestCall::Settings => Ok(Some(Answer::json(200, self.core.options.shown.settings.as_bytes().to_vec()))),
            RestCall::DevToken(wanted) => self.dev_token(now, wanted).map(Some),
            _ => return self.log_filters(now, call).map(|outcome| outcome.map(Some)),
        })
    }

    fn dev_token(&self, now: Now, wanted: &rest::WantedToken) -> Result<Answer, Reject> {
        let Some(secret) = self.core.options.shown.dev_secret() else {
            return Err(Reject::new(Code::NotFound, "Tokens are made here with --dev only"));
        };
        let (issued_at, expires_at) = (now.unix_seconds(), now.unix_seconds() + wanted.seconds);
        let token = NewToken {
            user: &wanted.user,
            name: wanted.name.as_deref(),
            role: wanted.role.as_deref(),
            scope: wanted.scope.as_deref(),
            issued_at,
            expires_at: Some(expires_at),
        };
        Ok(Answer::json(201, rest::dev_token(&sign_hs256(secret, &token), expires_at)))
    }

    /// The answer to a call on the filters of the log; `None` for other calls.
    fn log_filters(&mut self, now: Now, call: &RestCall) -> Option<Result<Answer, Reject>> {
        let filters = self.core.metrics.log.filters();
        Some(match call {
            RestCall::LogFilters => Ok(Answer::json(200, rest::log_filters(filters.list(now)))),
            RestCall::SetLogFilter { .. } if !tracing::enabled!(tracing::Level::INFO) => {
                Err(Reject::invalid("The log has no such lines at this level: set log.level to info or debug"))
            }
            RestCall::SetLogFilter { subject, seconds } => {
                let id = ids::random_word(&mut self.core.rng, 8).into();
                filters.plan(now, id, subject.clone(), *seconds).map(|filter| {
                    Logging::on(self.core).change(now, LogFilterChange::Set(filter.clone()));
                    Answer::json(201, rest::log_filter(&filter))
                })
            }
            RestCall::RemoveLogFilter { filter } if filters.list(now).iter().all(|known| known.id != *filter) => {
                Err(Reject::new(Code::NotFound, "No filter of that id"))
            }
            RestCall::RemoveLogFilter { filter } => {
                Logging::on(self.core).change(now, LogFilterChange::Remove(filter.clone()));
                Ok(Answer::json(204, Vec::new()))
            }
            _ => return None,
        })
    }
}
