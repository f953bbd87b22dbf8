//! `floor`: plain sends, and the relay between pairs.

use crate::harness::{number, run_with};

#[test]
fn plain_sends_are_measured() {
    let run = run_with("floor --sockets 20 --batch 3 --bytes 100 --seconds 0.3");
    let report = run.exact();
    assert!(number(report, "deliveries_per_cpu_s") > 0.0);
    assert!(number(report, "deliveries_per_s") > 0.0);
}

#[test]
fn the_relay_between_pairs_is_measured_with_several_workers_too() {
    for workers in [1, 2] {
        let run = run_with(&format!("floor --pairs 20 --bytes 3000 --seconds 0.3 --workers {workers}"));
        assert!(number(run.exact(), "deliveries_per_cpu_s") > 0.0);
    }
}
