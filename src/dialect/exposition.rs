//! Metrics in Prometheus's text format (version 0.0.4): a fixed list of figures. Only the health and the endpoints of webhooks
//! have labels, so the response has the same length on a busy and on an idle server.

use std::fmt::{Display, Write};

use crate::domain::hook::counters::HookFigures;
use crate::domain::monitoring::{Level, Metrics, Stats, Vitals};

/// The `Content-Type` of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes all figures.
pub fn write(stats: &Stats, metrics: &Metrics, vitals: &Vitals, level: Level, uptime_s: u64) -> String {
    let mut out = String::with_capacity(8 * 1024);
    let mut counter = |name, help, value: u64| family(&mut out, name, "counter", help, value);
    counter("sockets_accepted_total", "TCP connections taken on.", stats.accepted);
    counter("sockets_refused_total", "TCP connections closed at once because there were too many.", stats.refused);
    counter("sockets_closed_total", "TCP connections ended.", stats.closed);
    counter("http_requests_total", "HTTP requests.", stats.requests);
    counter("connections_opened_total", "Clients that connected.", metrics.total);
    counter("connections_failed_total", "Clients that were turned away.", metrics.failed);
    counter("room_messages_total", "Messages of rooms brought to a shard for its members.", stats.published);
    counter("refusals_total", "Requests that were refused.", stats.refusals);
    counter("tokens_refused_total", "Attempts and calls without a valid token.", stats.tokens_refused);
    counter(
        "rate_limited_total",
        "Attempts to connect and calls that were more than an address or a user may make.",
        stats.rate_limited,
    );
    counter("origins_refused_total", "Requests of pages whose origin may not use the server.", stats.origins_refused);
    counter("blocked_total", "Attempts and calls of blocked users and addresses.", stats.blocked);
    counter("timeouts_total", "Connections closed because nothing came from them.", stats.timed_out);
    counter("slow_consumers_total", "Connections closed because they did not read.", stats.slow_consumers);
    counter("log_lines_dropped_total", "Log lines that were not written.", vitals.lost_log_lines);
    let mut gauge = |name, help, value: u64| family(&mut out, name, "gauge", help, value);
    gauge("sockets", "TCP connections.", stats.connections as u64);
    gauge("connections", "Clients that are connected.", metrics.active);
    gauge("connections_peak", "The most clients that were connected at one time.", metrics.peak);
    gauge("engineio_sessions", "Engine.IO sessions.", stats.sessions as u64);
    gauge("socketio_peers", "Socket.IO clients, one for each namespace.", stats.peers as u64);
    gauge("rooms", "Rooms.", stats.rooms as u64);
    gauge("users", "Users who are here, or were a moment ago.", stats.users as u64);
    gauge("questions", "Questions between shards under way.", stats.asks as u64);
    gauge("queue_length", "Messages in the longest queue between shards.", vitals.queue.used);
    gauge("storage_lag_milliseconds", "The age of the oldest record not kept yet.", vitals.storage_lag_ms.used);
    gauge("resident_memory_bytes", "The process's memory.", vitals.memory_bytes.used);
    gauge("uptime_seconds", "Since the start.", uptime_s);
    let rate = "The part of attempts and requests that failed within five minutes.";
    family(&mut out, "error_rate", "gauge", rate, metrics.error_rate);
    head(&mut out, "health", "gauge", "1 for the level that the server's health is at.");
    for known in [Level::Healthy, Level::Warning, Level::Critical] {
        let name = known.as_str();
        let _ = writeln!(out, "switchboard_health{{status=\"{name}\"}} {}", u8::from(known == level));
    }
    out
}

/// Writes the figures of the endpoints of webhooks, if there are any. Their number is that of the settings.
pub fn write_webhooks(out: &mut String, endpoints: &[HookFigures]) {
    type Figure = (&'static str, &'static str, &'static str, fn(&HookFigures) -> u64);
    const FIGURES: [Figure; 9] = [
        ("webhook_events_delivered_total", "counter", "Events that an endpoint has accepted.", |it| it.delivered),
        ("webhook_events_dead_total", "counter", "Events that were given up after a day.", |it| it.dead),
        ("webhook_events_dropped_total", "counter", "Events for which the outbox had no room.", |it| it.dropped),
        ("webhook_requests_accepted_total", "counter", "Requests that an endpoint has accepted.", |it| it.accepted),
        ("webhook_requests_failed_total", "counter", "Requests that were refused or not answered.", |it| it.failed),
        ("webhook_events_waiting", "gauge", "Events that wait for delivery.", |it| it.waiting.0),
        ("webhook_waiting_bytes", "gauge", "The bytes of the events that wait.", |it| it.waiting.1),
        ("webhook_dead_letters", "gauge", "Events that were given up and can be replayed.", |it| it.dead_letters),
        ("webhook_breaker_open", "gauge", "1 while an endpoint gets single events only, after failures.", |it| {
            u64::from(it.is_open)
        }),
    ];
    for (name, kind, help, value) in FIGURES.into_iter().filter(|_| !endpoints.is_empty()) {
        head(out, name, kind, help);
        for endpoint in endpoints {
            let _ = writeln!(out, "switchboard_{name}{{endpoint=\"{}\"}} {}", endpoint.endpoint, value(endpoint));
        }
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str, value: impl Display) {
    head(out, name, kind, help);
    let _ = writeln!(out, "switchboard_{name} {value}");
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP switchboard_{name} {help}\n# TYPE switchboard_{name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Now;
    use crate::domain::monitoring::ShardFigures;

    #[test]
    fn every_figure_has_its_help_its_type_and_a_value() {
        let metrics = ShardFigures::new(1, Now { mono: 0, wall: 0 }).totals().metrics();
        let stats = Stats { requests: 7, ..Stats::default() };
        let text = write(&stats, &metrics, &Vitals::default(), Level::Warning, 3);
        assert!(text.contains("\n# TYPE switchboard_http_requests_total counter\nswitchboard_http_requests_total 7\n"));
        assert!(text.contains("switchboard_health{status=\"warning\"} 1\n") && text.ends_with("\"critical\"} 0\n"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.split_once(' ').expect("a value");
            let name = name.split('{').next().expect("a name");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")), "{line}");
        }
    }
}
