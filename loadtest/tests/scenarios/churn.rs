//! `churn` against the real server, against one that echoes, and against one that does not answer.

use crate::harness::echo_server::{self, Answer};
use crate::harness::{number, room_server, run, run_with};

#[test]
fn churn_with_resting_connections_measures_handshakes_and_joins() {
    let run = run("churn --connections 40 --parallel 6 --room 5 --seconds 0.6");
    let report = run.exact();
    assert!(number(report, "handshakes_per_cpu_s") > 0.0);
    assert!(number(report, "joins_per_cpu_s") > 0.0);
    assert!(number(report, "deliveries_per_s") > 0.0);
    // Each place was used more than once, or nobody would have come anew.
    assert!(number(report, "churned") > 46.0);
    assert!(number(report, "open_p50_us") > 0.0 && number(report, "join_p50_us") > 0.0);
    let grown = number(report, "bytes_after") - number(report, "bytes_before");
    let per_1000 = grown / number(report, "churned") * 1000.0;
    assert!((number(report, "bytes_grown_per_1000") - per_1000).abs() < 1.0);
}

#[test]
fn churn_at_a_rate_follows_its_timetable() {
    let run = run("churn --connections 30 --parallel 20 --rate 100 --life 50 --messages 2 --workers 2 --seconds 1");
    let report = run.exact();
    assert_eq!(number(report, "asked_per_s"), 100.0);
    let churned = number(report, "churned");
    // A second and a half by the timetable, if the machine keeps up, and the openings' places before.
    assert!((20.0..1000.0).contains(&churned), "{churned}");
}

#[test]
fn churn_without_rooms_measures_handshakes_and_echoes() {
    let run = run("churn --connections 10 --parallel 4 --room 0 --messages 0 --seconds 0.3");
    assert_eq!(number(run.exact(), "joins_per_s"), 0.0);
    let address = echo_server::serve(|_, _| Answer::Once);
    let options = "--dialect echo --connections 5 --parallel 3 --room 0 --messages 2 --bytes 64 --seconds 0.3";
    let run = run_with(&format!("churn --target {address} {options}"));
    assert!(number(run.exact(), "handshakes_per_s") > 0.0);
}

#[test]
fn churn_against_faulty_server_reports_missing_answers_and_ends() {
    // It has no receipts for messages, and keeps the connections of members that leave. One of the two places that openings
    // have is lost to each.
    let address = room_server::serve(|_, _| 1);
    let options = "--connections 3 --parallel 2 --room 2 --messages 1 --seconds 0.2 --patience 1";
    let run = run_with(&format!("churn --target {address} {options}"));
    assert_eq!(run.code, Some(2), "{}", run.complaints);
    let faults = ["unanswered", "unended", "unopened", "refused", "closed"].map(|name| run.faults(name));
    assert_eq!(faults, [1, 1, 0, 0, 0]);
}

#[test]
fn invalid_arguments_are_refused() {
    for (options, complaint) in [
        ("--connections 0", "at least one connection"),
        ("--room 0", "nobody to say something to"),
        ("--dialect echo", "no rooms"),
        ("--dialect socketio --room 0", "nobody to say something to"),
        ("--dialect socketio --hears-own false", "give --messages 0"),
        ("--rate 0", "more than 0"),
    ] {
        let run = run(&format!("churn {options}"));
        assert_ne!(run.code, Some(0), "{options}");
        assert!(run.complaints.contains(complaint), "{options}: {}", run.complaints);
    }
}
