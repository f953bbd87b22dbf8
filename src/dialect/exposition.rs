//! Metrics in Prometheus's text format (version 0.0.4): a fixed list of figures, with labels of fixed sets, and those of the
//! endpoints of webhooks. So the response has about the same length on a busy and on an idle server.
//!
//! The shards count without atomics and report once a second, so the registry of a metrics library would have nothing to count;
//! what is left of it, the format, is below.

use std::fmt::{Display, Write};

use crate::dialect::socketio::DIALECT_NAMES;
use crate::domain::hook::counters::HookFigures;
use crate::domain::monitoring::{
    DEPARTURES, Durations, LISTENERS, LONG_US, Level, Metrics, ProcessFigures, SHORT_US, STATUSES, Stats, TRANSPORTS,
    Telemetry, Vitals,
};
use crate::domain::reject::Code;

/// The `Content-Type` of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The figures of a server at one time.
pub struct ServerFigures<'a> {
    /// Counters and sizes of all shards.
    pub stats: &'a Stats,
    /// Connection counters.
    pub metrics: &'a Metrics,
    /// What health is assessed by.
    pub vitals: &'a Vitals,
    /// What belongs to no shard.
    pub process: &'a ProcessFigures,
    /// The level of health.
    pub level: Level,
    /// Time since the start.
    pub uptime_s: u64,
    /// Number of shards.
    pub shards: usize,
}

/// Writes all figures.
pub fn write(figures: &ServerFigures<'_>) -> String {
    let mut out = String::with_capacity(24 * 1024);
    let build = format!("version=\"{}\",shards=\"{}\"", env!("CARGO_PKG_VERSION"), figures.shards);
    head(&mut out, "build_info", "gauge", "1, with the version of the server and the number of its shards.");
    let _ = writeln!(out, "switchboard_build_info{{{build}}} 1");
    counters(&mut out, figures);
    labelled_counters(&mut out, &figures.stats.telemetry);
    gauges(&mut out, figures);
    histograms(&mut out, &figures.stats.telemetry, figures.process);
    out
}

fn counters(out: &mut String, ServerFigures { stats, metrics, vitals, .. }: &ServerFigures<'_>) {
    let mut counter = |name, help, value: u64| family(out, name, "counter", help, value);
    counter("sockets_refused_total", "TCP connections closed at once because there were too many.", stats.refused);
    counter("sockets_closed_total", "TCP connections ended.", stats.closed);
    counter("http_requests_total", "HTTP requests.", stats.requests);
    counter("connections_failed_total", "Clients that were turned away.", metrics.failed);
    counter("room_messages_total", "Messages of rooms brought to a shard for its members.", stats.published);
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
    let traffic = &stats.telemetry.traffic;
    let upgrades = stats.telemetry.engineio_upgrades;
    counter("engineio_upgrades_total", "Engine.IO sessions that went on from polling to a WebSocket.", upgrades);
    counter("socket_received_bytes_total", "Bytes read from sockets, without those of TLS.", traffic.received_bytes);
    counter("socket_sent_bytes_total", "Bytes written to sockets, without those of TLS.", traffic.sent_bytes);
    counter("socket_reads_total", "Reads of sockets that had bytes.", traffic.reads);
    counter("socket_writes_total", "Writes to sockets that took bytes.", traffic.writes);
}

fn labelled_counters(out: &mut String, telemetry: &Telemetry) {
    let mut counter = |name, help, label, values: &mut dyn Iterator<Item = (&str, u64)>| {
        labelled(out, (name, "counter", help), label, values);
    };
    let accepted = &mut LISTENERS.into_iter().zip(telemetry.accepted);
    counter("sockets_accepted_total", "TCP connections taken on, by the role of the listener.", "listener", accepted);
    let dialects = || ["raw"].into_iter().chain(DIALECT_NAMES);
    let arrivals = &mut dialects().zip(telemetry.arrivals);
    counter("connections_opened_total", "Clients that connected, by dialect.", "dialect", arrivals);
    let departed = &mut DEPARTURES.into_iter().zip(telemetry.departed);
    counter("connections_closed_total", "Clients that left, by the way they did.", "reason", departed);
    let opened = &mut TRANSPORTS.into_iter().zip(telemetry.sessions_opened);
    let help = "Engine.IO sessions opened, by their first transport.";
    counter("engineio_sessions_opened_total", help, "transport", opened);
    let refusals = &mut Code::ALL.iter().map(|code| code.as_str()).zip(telemetry.refusals);
    counter("refusals_total", "Requests that were refused, by the code of the error.", "code", refusals);
    let statuses: Vec<String> = STATUSES.iter().map(u16::to_string).chain(["other".to_owned()]).collect();
    let answers = &mut statuses.iter().map(String::as_str).zip(telemetry.answers);
    counter("http_responses_total", "HTTP responses by status.", "code", answers);
}

fn gauges(out: &mut String, figures: &ServerFigures<'_>) {
    let ServerFigures { stats, metrics, vitals, process, level, uptime_s, .. } = figures;
    let Telemetry { arrivals, departures, held, .. } = &stats.telemetry;
    let present = arrivals.iter().zip(departures).map(|(came, left)| came.saturating_sub(*left));
    let present = &mut ["raw"].into_iter().chain(DIALECT_NAMES).zip(present);
    labelled(out, ("connections", "gauge", "Clients that are connected, by dialect."), "dialect", present);
    let allocator = process.allocator;
    let held = [
        ("connections", held.connections),
        ("sessions", held.sessions),
        ("output", held.output),
        ("recovery", held.recovery),
        ("backlogs", held.backlogs),
        ("memberships", held.memberships),
        ("rooms", held.rooms),
        ("users", held.users),
        ("store", process.store_bytes),
        ("allocator-used", allocator.used),
        ("allocator-free", allocator.free),
    ];
    let help = "Memory by owner: tables of connections and sessions, output of a turn, sessions of departed connections, what \
                clients have not taken, members, rooms, users, and a store in memory; and all that the allocator has handed out or holds \
                free.";
    labelled(out, ("memory_bytes", "gauge", help), "owner", &mut held.into_iter());
    let mut gauge = |name, help, value: u64| family(out, name, "gauge", help, value);
    gauge("sockets", "TCP connections.", stats.connections as u64);
    gauge("connections_peak", "The most clients that were connected at one time.", metrics.peak);
    gauge("engineio_sessions", "Engine.IO sessions.", stats.sessions as u64);
    gauge("socketio_peers", "Socket.IO clients, one for each namespace.", stats.peers as u64);
    gauge("rooms", "Rooms.", stats.rooms as u64);
    gauge("users", "Users who are here, or were a moment ago.", stats.users as u64);
    gauge("questions", "Questions between shards under way.", stats.asks as u64);
    gauge("queue_length", "Messages in the longest queue between shards.", vitals.queue.used);
    gauge("resident_memory_bytes", "The process's memory.", vitals.memory_bytes.used);
    gauge("uptime_seconds", "Since the start.", *uptime_s);
    let lag = seconds(vitals.storage_lag_ms.used.saturating_mul(1_000));
    family(out, "storage_lag_seconds", "gauge", "The age of the oldest record not kept yet.", lag);
    let rate = "The part of attempts and requests that failed within five minutes.";
    family(out, "error_rate", "gauge", rate, metrics.error_rate);
    let levels = [Level::Healthy, Level::Warning, Level::Critical];
    let levels = &mut levels.map(|known| (known.as_str(), u64::from(known == *level))).into_iter();
    labelled(out, ("health", "gauge", "1 for the level that the server's health is at."), "status", levels);
}

fn histograms(out: &mut String, telemetry: &Telemetry, process: &ProcessFigures) {
    let mut histogram = |name, help, bounds: &[u64; Durations::BOUNDS], durations: &Durations| {
        head(out, name, "histogram", help);
        let mut below = 0;
        for (bound, count) in bounds.iter().zip(durations.counts) {
            below += count;
            let _ = writeln!(out, "switchboard_{name}_bucket{{le=\"{}\"}} {below}", seconds(*bound));
        }
        let (sum, count) = (seconds(durations.sum_us), durations.count());
        let _ = writeln!(out, "switchboard_{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "switchboard_{name}_sum {sum}\nswitchboard_{name}_count {count}");
    };
    histogram("loop_turn_seconds", "Turns of the event loops.", &SHORT_US, &telemetry.turns);
    let publish = "From the acceptance of a message to its last write, once for each shard with members.";
    histogram("publish_seconds", publish, &LONG_US, &telemetry.publications);
    let handshake = "From the acceptance of a connection to its WebSocket, TLS included.";
    histogram("handshake_seconds", handshake, &LONG_US, &telemetry.handshakes);
    histogram("store_commit_seconds", "Transactions of the store.", &SHORT_US, &process.store_commits);
    let redis = "Exchanges with Redis, of one or more calls each.";
    histogram("redis_exchange_seconds", redis, &SHORT_US, &process.redis_exchanges);
}

/// Microseconds as seconds, without rounding.
fn seconds(us: u64) -> impl Display {
    us as f64 / 1e6
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
        let values = &mut endpoints.iter().map(|endpoint| (&*endpoint.endpoint, value(endpoint)));
        labelled(out, (name, kind, help), "endpoint", values);
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str, value: impl Display) {
    head(out, name, kind, help);
    let _ = writeln!(out, "switchboard_{name} {value}");
}

fn labelled(
    out: &mut String,
    (name, kind, help): (&str, &str, &str),
    label: &str,
    values: &mut dyn Iterator<Item = (&str, u64)>,
) {
    head(out, name, kind, help);
    for (of, value) in values {
        let _ = writeln!(out, "switchboard_{name}{{{label}=\"{of}\"}} {value}");
    }
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
        let metrics = &ShardFigures::new(1, Now { mono: 0, wall: 0 }).totals().metrics();
        let mut stats = Stats { requests: 7, ..Stats::default() };
        stats.telemetry.upgraded(3);
        let (vitals, process) = (&Vitals::default(), &ProcessFigures::default());
        let text = write(&ServerFigures {
            stats: &stats,
            metrics,
            vitals,
            process,
            level: Level::Warning,
            uptime_s: 3,
            shards: 2,
        });
        for part in [
            "\n# TYPE switchboard_http_requests_total counter\nswitchboard_http_requests_total 7\n",
            "\nswitchboard_health{status=\"warning\"} 1\n",
            "\nswitchboard_handshake_seconds_bucket{le=\"0.002\"} 0\nswitchboard_handshake_seconds_bucket{le=\"0.005\"} 1\n",
            "\nswitchboard_handshake_seconds_sum 0.003\nswitchboard_handshake_seconds_count 1\n",
            "\nswitchboard_http_responses_total{code=\"101\"} 1\n",
        ] {
            assert!(text.contains(part), "{part}{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let name = name.split('{').next().expect("a name");
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let name = of_histogram.unwrap_or(name);
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")), "{line}");
        }
    }
}
