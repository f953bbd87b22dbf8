//! `fanout` against the real server, and against small ones that lose or double messages.

use crate::harness::room_server::{Copies, serve};
use crate::harness::{number, run, run_with};
use support::redis::RedisServer;

#[test]
fn fanout_in_closed_loop_delivers_everything() {
    let run = run("fanout --rooms 5 --members 8 --window 4 --bytes 64 --seconds 0.5");
    let report = run.exact();
    assert!(number(report, "deliveries_per_cpu_s") > 0.0);
    assert!(number(report, "message_bytes") > 64.0);
    // A message goes to all members but its sender; some are under way at the marks.
    let copies = number(report, "deliveries_per_s") / number(report, "sent_per_s");
    assert!((6.0..8.0).contains(&copies), "{copies}");
    assert!(number(report, "latency_p50_us") > 0.0);
    assert!(report["series"]["server_cpu_share"].as_array().is_some_and(|points| !points.is_empty()));
}

#[test]
fn fanout_at_a_rate_keeps_its_timetable() {
    let run = run("fanout --rooms 3 --members 4 --rate 300 --seconds 1 --workers 2");
    let report = run.exact();
    assert_eq!(number(report, "asked_per_s"), 300.0);
    assert!(number(report, "sent_per_s") > 0.0);
    assert!(number(report, "lateness_p50_us") <= number(report, "lateness_max_us"));
    assert!(report["percentiles"]["lateness"].is_array());
}

#[test]
fn fanout_room_spans_several_workers() {
    let run = run("fanout --rooms 1 --members 50 --window 2 --workers 4 --seconds 0.3");
    assert!(number(run.exact(), "deliveries_per_s") > 0.0);
    let run = crate::harness::run("fanout --rooms 3 --members 20 --workers 2 --seconds 0.3");
    assert!(number(run.exact(), "deliveries_per_s") > 0.0);
}

#[test]
fn fanout_room_spans_several_servers() {
    let redis = RedisServer::start();
    let load = "fanout --rooms 4 --members 6 --window 4 --seconds 0.5 --servers 3 --set redis.url=";
    let run = run(&format!("{load}{}", redis.url()));
    let report = run.exact();
    let copies = number(report, "deliveries_per_s") / number(report, "sent_per_s");
    assert!((4.0..6.0).contains(&copies), "{copies}");
    let run = crate::harness::run("fanout --servers 2");
    assert_eq!(run.code, Some(1));
    assert!(run.complaints.contains("redis.url"), "{}", run.complaints);
}

#[test]
fn fanout_with_floor_reports_its_fraction() {
    let run = run("fanout --rooms 2 --members 10 --window 2 --seconds 0.3 --with-floor --runs 2");
    assert_eq!(run.code, Some(0), "{}", run.complaints);
    let titles: Vec<_> = run.reports.iter().filter_map(|report| report["scenario"].as_str()).collect();
    let [own, floor, ..] = titles[..] else { panic!("{titles:?}") };
    assert_eq!(titles, [own, floor, own, floor]);
    assert!(own.starts_with("fanout") && floor.starts_with("floor 18 sockets, 2 per send"), "{titles:?}");
    for pair in run.reports.chunks(2) {
        let ratio = number(&pair[0], "deliveries_per_cpu_s") / number(&pair[1], "deliveries_per_cpu_s");
        assert!((number(&pair[0], "of_floor") / ratio - 1.0).abs() < 1e-9);
    }
}

/// What is found wrong with a server by three workers that share a room: missing and doubled.
fn faults(copies: Copies) -> [u64; 2] {
    let address = serve(copies);
    let load = "--rooms 2 --members 6 --window 3 --workers 3 --seconds 0.3 --patience 1";
    let run = run_with(&format!("fanout --target {address} {load}"));
    assert_eq!(run.code, Some(2), "{}", run.complaints);
    for name in ["out_of_order", "damaged", "closed"] {
        assert_eq!(run.faults(name), 0, "{name}");
    }
    ["missing", "doubled"].map(|name| run.faults(name))
}

#[test]
fn lost_delivery_is_reported_missing_for_any_worker() {
    assert_eq!(faults(|_, message| usize::from(message != 2)), [2 * 5, 0]);
    assert_eq!(faults(|member, message| usize::from(member != 4 || message != 3)), [2, 0]);
}

#[test]
fn repeated_last_delivery_is_reported_doubled() {
    assert_eq!(faults(|member, message| 1 + usize::from(member == 4 && message <= 3)), [0, 2 * 3]);
}

#[test]
fn invalid_arguments_are_refused_before_start() {
    for (arguments, complaint) in [
        ("fanout --members 1", "at least 2 members"),
        ("fanout --window 129", "1 to 128 messages under way"),
        ("fanout --bytes 29", "at least 30 bytes"),
        ("fanout --rate 0", "a rate is more than 0"),
        ("fanout --members 4 --workers 3", "not 3"),
        ("fanout --patience x", "not a number"),
        ("fanout --dialect echo", "no rooms to join"),
        ("signal --dialect echo", "signal takes the raw dialect"),
        ("signal --dialect socketio --transport polling", "signal takes the raw dialect"),
        ("idle --dialect echo", "no rooms to join in what clients speak: give --room 0"),
        ("fanout --dialect socketio --join=", "no rooms to join"),
        ("fanout --dialect socketio --publish hello", "--publish hello has no {content}"),
        ("echo --dialect echo --joined in", "not for --dialect echo"),
        ("echo --dialect socketio --hears-own false", "from which clients hear what they send"),
        ("fanout --transport polling", "--transport polling is for --dialect socketio"),
        ("fanout --dialect socketio --auth x", "--auth is not a JSON object"),
        ("fanout --dialect socketio --transport polling --with-floor", "--with-floor is not for --transport polling"),
        ("echo", "--target"),
        ("idle --target 127.0.0.1:1 --connections 0", "--pid"),
    ] {
        let run = run_with(arguments);
        assert!(run.complaints.contains(complaint), "{arguments}: {}", run.complaints);
        assert_eq!(run.reports.len(), 0);
        assert_ne!(run.code, Some(0));
    }
}
