//! `slow` against the real server.

use crate::harness::{number, run, run_with};

/// Messages are large, so that few fill what the kernel holds for a reader that stalls.
const LOAD: &str = "slow --members 11 --window 4 --bytes 12000 --seconds 0.3";

#[test]
fn stalled_reader_is_disconnected_without_effect_on_others() {
    let run = run(&format!("{LOAD} --rooms 2 --stalled 0.2 --unread 8000000 --outbound-bytes 200000 --workers 2"));
    assert_eq!(run.code, Some(0), "{}", run.complaints);
    let [before, report] = &run.reports[..] else { panic!("{} reports", run.reports.len()) };
    for name in ["missing", "doubled", "closed", "stalled_missing", "stalled_doubled", "stalled_out_of_order"] {
        assert_eq!([before, report].map(|report| &report["faults"][name]), [0, 0], "{name}");
    }
    assert_eq!(number(report, "stalled"), 4.0);
    assert_eq!(number(report, "disconnected"), 4.0);
    assert!(number(report, "told_slow") <= 4.0);
    // What was sent after they had been disconnected.
    assert!(number(report, "withheld") > 0.0);
    assert!(number(report, "memory_most_bytes") >= number(report, "memory_before_bytes"));
    for name in ["deliveries_ratio", "deliveries_per_cpu_ratio", "latency_p50_ratio", "latency_p99_ratio"] {
        assert!(number(report, name) > 0.0, "{name}");
    }
}

#[test]
fn briefly_stalled_reader_receives_everything() {
    let run = run(&format!("{LOAD} --stalled 0.5 --unread 100000 --outbound-bytes 1000000000"));
    assert_eq!(run.code, Some(0), "{}", run.complaints);
    let report = &run.reports[1];
    let counts = ["stalled", "disconnected", "told_slow", "withheld"].map(|name| number(report, name));
    assert_eq!(counts, [5.0, 0.0, 0.0, 0.0]);
    assert_eq!(run.faults("stalled_missing"), 0);
}

#[test]
fn invalid_arguments_are_refused() {
    for (arguments, complaint) in [
        ("slow --stalled 0", "one or more stall"),
        ("slow --stalled 1", "one or more do not"),
        ("slow --members 2", "one or more"),
        ("slow --window 0", "1 to 128 messages under way"),
        ("slow --bytes 29", "at least 30 bytes"),
    ] {
        let run = run_with(arguments);
        assert!(run.complaints.contains(complaint), "{arguments}: {}", run.complaints);
        assert!(run.reports.is_empty() && run.code != Some(0));
    }
}
