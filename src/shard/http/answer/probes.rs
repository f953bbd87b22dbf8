//! What a supervisor asks: health, readiness and metrics; and which listener serves which route.

use super::{Answer, RestAnswers};
use crate::base::handle::ConnSlot;
use crate::base::time::Now;
use crate::codec::http::RequestHead;
use crate::codec::json::{self, Object};
use crate::dialect::exposition::{self, ServerFigures};
use crate::dialect::rest::RestRoute;
use crate::domain::monitoring::assess;
use crate::domain::policy::Action;
use crate::message::redis;
use crate::shard::ListenerRoles;
use crate::shard::metrics::Metering;

impl RestAnswers<'_> {
    /// Whether the listener of a connection has a route.
    pub(super) fn is_served(&self, slot: ConnSlot, route: &RestRoute<'_>) -> bool {
        let roles = self.core.net.remotes.roles(slot);
        match route {
            RestRoute::Metrics => roles.serve(ListenerRoles::METRICS.with(ListenerRoles::ADMIN)),
            route if route.is_probe() => true,
            route if route.is_page() => roles.serve(ListenerRoles::PUBLIC),
            route if route.is_for_operators(self.core.options.openness) => roles.serve(ListenerRoles::ADMIN),
            _ => roles.serve(ListenerRoles::PUBLIC.with(ListenerRoles::ADMIN)),
        }
    }

    pub(super) fn health(&mut self, now: Now) -> Answer {
        let health = Metering::on(self.core).assess(now);
        let mut body = Vec::new();
        Object::begin(&mut body)
            .string("status", health.level.as_str())
            .string("version", env!("CARGO_PKG_VERSION"))
            .number("uptimeSeconds", now.mono / 1000)
            .list("issues", &health.issues, |out, issue| json::string(out, issue))
            .list("recommendations", &health.recommendations, |out, advice| json::string(out, advice))
            .end();
        Answer::json(200, body)
    }

    /// The metrics: for everyone where the listener is for monitoring, else for those who may monitor.
    pub(super) fn metrics(&mut self, now: Now, slot: ConnSlot, head: &RequestHead<'_>) -> Result<Answer, Answer> {
        if !self.core.net.remotes.roles(slot).serve(ListenerRoles::METRICS) {
            let (identity, _) = self.identify(now, slot, head, false)?;
            Action::Monitor.check(&identity, self.core.options.openness)?;
        }
        Ok(self.metrics_page(now))
    }

    fn metrics_page(&mut self, now: Now) -> Answer {
        let (stats, metrics, vitals) = (
            Metering::on(self.core).stats_of_all(now),
            Metering::on(self.core).totals(now).metrics(),
            Metering::on(self.core).vitals(now),
        );
        let mut text = exposition::write(&ServerFigures {
            stats: &stats,
            metrics: &metrics,
            vitals: &vitals,
            process: &(self.core.options.process)(),
            level: assess(&vitals).level,
            uptime_s: now.mono / 1000,
            shards: self.core.channels.placement.shards(),
        });
        let endpoints: Vec<_> = self.core.options.hook_counters.iter().map(|counters| counters.read()).collect();
        exposition::write_webhooks(&mut text, &endpoints);
        let body = text.into_bytes().into();
        let headers = vec![("Cache-Control", "no-store".to_owned())];
        Answer { status: 200, content_type: exposition::CONTENT_TYPE, body, headers }
    }

    pub(in crate::shard::http) fn ready(&self) -> Answer {
        let mut body = Vec::new();
        let status = match self.core.lost_redis() {
            _ if self.core.net.is_draining => "draining",
            None => "ready",
            Some(redis::RedisState::ReadOnly) => "Redis takes no writes",
            Some(redis::RedisState::Partial) => "a part of Redis is away",
            Some(_) => "without Redis",
        };
        Object::begin(&mut body).string("status", status).end();
        if status == "ready" { Answer::json(200, body) } else { Answer::json(503, body).with("Retry-After", "1") }
    }
}
