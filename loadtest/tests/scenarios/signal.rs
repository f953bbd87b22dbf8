//! `signal` against the real server, and against small ones that pass signals on badly.

use crate::harness::signal_server::{Pass, serve};
use crate::harness::{number, run, run_with};

#[test]
fn signal_in_closed_loop_answers_each_offer() {
    let run = run("signal --pairs 10 --bytes 600 --seconds 0.5");
    let report = run.exact();
    assert!(number(report, "deliveries_per_cpu_s") > 0.0);
    assert!(number(report, "message_bytes") > 600.0);
    // An exchange is two deliveries, one after the other.
    assert!(number(report, "exchange_p50_us") > number(report, "latency_p50_us"));
    assert!(report["percentiles"]["exchange"].is_array());
}

#[test]
fn signal_relay_with_window_and_workers_delivers_all_offers() {
    let run = run("signal --relay --pairs 12 --room-size 8 --window 4 --workers 2 --seconds 0.3");
    let report = run.exact();
    assert!(number(report, "deliveries_per_s") > 0.0);
    assert!(report["numbers"]["exchange_p50_us"].is_null());
}

#[test]
fn signal_relay_with_floor_reports_its_fraction() {
    let run = run("signal --relay --pairs 5 --seconds 0.3 --with-floor");
    assert_eq!(run.code, Some(0), "{}", run.complaints);
    let [own, floor] = &run.reports[..] else { panic!("{} reports", run.reports.len()) };
    assert!(floor["scenario"].as_str().is_some_and(|title| title.starts_with("floor 5 pairs")), "{floor}");
    let ratio = number(own, "deliveries_per_cpu_s") / number(floor, "deliveries_per_cpu_s");
    assert!((number(own, "of_floor") / ratio - 1.0).abs() < 1e-9);
}

#[test]
fn signal_meetings_connect_and_end() {
    let run = run("signal --meetings 6 --participants 3 --candidates 2 --workers 2 --seconds 0.7");
    let report = run.exact();
    assert!(number(report, "meetings_per_s") > 0.0);
    assert!(number(report, "joins_per_s") > number(report, "meetings_per_s"));
    assert!(number(report, "join_to_last_answer_p50_us") > 0.0);
    // Each two of a meeting send each other a description and two candidates: 18 signals for three joins. Some of them
    // are under way at the marks.
    let signals = number(report, "deliveries_per_s") / number(report, "joins_per_s");
    assert!((4.0..8.0).contains(&signals), "{signals}");
}

#[test]
fn invalid_arguments_are_refused() {
    for (options, complaint) in [
        ("--dialect echo", "takes the raw dialect"),
        ("--room-size 3", "whole pairs"),
        ("--window 1000", "1 to 128 offers"),
        ("--bytes 3", "at least 30 bytes"),
        ("--meetings 2 --participants 1", "2 to 100 participants"),
        ("--meetings 2 --participants 6 --workers 3", "fewer --workers"),
        ("--meetings 2 --seconds 0.1 --with-floor", "no floor"),
    ] {
        let run = run(&format!("signal {options}"));
        assert_eq!(run.code, Some(1), "{options}");
        assert!(run.complaints.contains(complaint), "{options}: {}", run.complaints);
    }
}

/// What is found wrong with a server: missing, doubled, out of order, damaged, errors.
fn faults(pass: fn(&str, u64) -> Pass, options: &str) -> [u64; 5] {
    let address = serve(pass);
    let run = run_with(&format!("signal --target {address} --bytes 400 --seconds 0.3 --patience 1 {options}"));
    assert_eq!(run.code, Some(2), "{}", run.complaints);
    ["missing", "doubled", "out_of_order", "damaged", "errors"].map(|name| run.faults(name))
}

#[test]
fn signal_relay_fault_is_reported_by_kind() {
    // The first of the second pair gets answers, the second offers.
    let of = |pass: fn(&str, u64) -> Pass| faults(pass, "--pairs 3 --window 2");
    assert_eq!(of(|to, n| if to == "peer-3" && n == 5 { Pass::Never } else { Pass::Once }), [1, 0, 0, 0, 0]);
    assert_eq!(of(|to, n| if to == "peer-2" && n <= 3 { Pass::Twice } else { Pass::Once }), [0, 3, 0, 0, 0]);
    assert_eq!(of(|to, n| if to == "peer-2" && n == 4 { Pass::AfterNext } else { Pass::Once }), [0, 0, 1, 0, 0]);
    assert_eq!(of(|to, n| if to == "peer-3" && n == 4 { Pass::Changed } else { Pass::Once }), [1, 0, 0, 1, 0]);
    assert_eq!(of(|to, n| if to == "peer-3" && n == 4 { Pass::Refused } else { Pass::Once }), [1, 0, 0, 0, 1]);
}

#[test]
fn signal_meeting_fault_is_reported_by_kind() {
    let of = |pass: fn(&str, u64) -> Pass| faults(pass, "--meetings 2 --participants 3 --candidates 1");
    assert_eq!(of(|to, n| if to == "peer-3" && n == 2 { Pass::Never } else { Pass::Once }), [1, 0, 0, 0, 0]);
    let [missing, doubled, late, damaged, errors] =
        of(|to, n| if to == "peer-4" && n == 2 { Pass::Twice } else { Pass::Once });
    // The peers of a server start anew in each room, so this happens in each meeting.
    assert!(doubled > 0 && [missing, late, damaged, errors] == [0; 4], "{doubled}");
}
