//! `idle` against the real server.

use crate::harness::{number, run, run_with};

#[test]
fn idle_connections_in_rooms_are_measured() {
    let run = run("idle --connections 60 --room 10 --rounds 2 --workers 2");
    assert_eq!(run.code, Some(0), "{}", run.complaints);
    assert_eq!(run.reports.len(), 2);
    for report in &run.reports {
        assert!(number(report, "handshakes_per_cpu_s") > 0.0);
        assert!(number(report, "bytes_after") > 0.0);
        assert!(report["numbers"]["bytes_in_room"].is_number());
    }
}

#[test]
fn idle_without_server_reports_failed_connections() {
    let run = run_with(&format!("idle --target 127.0.0.1:1 --pid {} --connections 3", std::process::id()));
    assert_eq!(run.code, Some(1));
    assert!(run.complaints.contains("3 of 3 clients could not connect"), "{}", run.complaints);
}
