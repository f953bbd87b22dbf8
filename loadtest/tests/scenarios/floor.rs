//! `floor`: plain sends, and the relay between pairs.

use crate::harness::{number, run_with};

#[test]
fn floor_measures_plain_sends() {
    let run = run_with("floor --sockets 20 --batch 3 --bytes 100 --seconds 0.3");
    let report = run.exact();
    assert!(number(report, "deliveries_per_cpu_s") > 0.0);
    assert!(number(report, "deliveries_per_s") > 0.0);
}

#[test]
fn floor_measures_relayed_pairs_with_several_workers() {
    for workers in [1, 2] {
        let run = run_with(&format!("floor --pairs 20 --bytes 3000 --seconds 0.3 --workers {workers}"));
        assert!(number(run.exact(), "deliveries_per_cpu_s") > 0.0);
    }
}
