//! `echo` against a server that echoes well, and against some that do not: each fault is found, and counted as what it is.

use crate::harness::echo_server::{Answer, serve};
use crate::harness::{number, run_with};

#[test]
fn echo_against_correct_server_reports_no_fault() {
    let address = serve(|_, _| Answer::Once);
    let run = run_with(&format!("echo --target {address} --connections 20 --window 4 --bytes 200 --seconds 0.3"));
    let report = run.exact();
    assert!(number(report, "deliveries_per_s") > 0.0);
    assert_eq!(number(report, "message_bytes"), 200.0);
    assert!(number(report, "latency_p50_us") <= number(report, "latency_max_us"));
    assert!(!report["series"]["deliveries_per_s"].as_array().expect("a curve").is_empty());
    assert!(!report["percentiles"]["latency"].as_array().expect("a distribution").is_empty());
}

#[test]
fn echo_with_several_workers_shares_the_connections() {
    let address = serve(|_, _| Answer::Once);
    let run = run_with(&format!("echo --target {address} --connections 10 --workers 3 --seconds 0.3"));
    assert!(number(run.exact(), "deliveries_per_s") > 0.0);
}

/// What is found wrong with a server: missing, doubled, out of order, damaged, closed.
fn faults(answer: fn(usize, u64) -> Answer) -> [u64; 5] {
    let address = serve(answer);
    let load = "--connections 5 --window 2 --bytes 64 --seconds 0.3 --patience 1";
    let run = run_with(&format!("echo --target {address} {load}"));
    assert_eq!(run.code, Some(2), "{}", run.complaints);
    ["missing", "doubled", "out_of_order", "damaged", "closed"].map(|name| run.faults(name))
}

#[test]
fn dropped_message_is_reported_missing() {
    assert_eq!(
        faults(|connection, text| if connection < 2 && text == 7 { Answer::Never } else { Answer::Once }),
        [2, 0, 0, 0, 0]
    );
}

#[test]
fn repeated_message_is_reported_doubled() {
    assert_eq!(
        faults(|connection, text| if connection == 1 && text <= 3 { Answer::Twice } else { Answer::Once }),
        [0, 3, 0, 0, 0]
    );
}

#[test]
fn late_message_is_reported_out_of_order() {
    assert_eq!(
        faults(|connection, text| if connection == 1 && text == 4 { Answer::AfterNext } else { Answer::Once }),
        [0, 0, 1, 0, 0]
    );
}

#[test]
fn shortened_message_is_reported_damaged_and_missing() {
    assert_eq!(
        faults(|connection, text| if connection == 1 && text == 4 { Answer::Short } else { Answer::Once }),
        [1, 0, 0, 1, 0]
    );
}

#[test]
fn message_on_closed_connection_is_reported_missing() {
    let [missing, doubled, out_of_order, damaged, closed] =
        faults(|connection, text| if connection == 1 && text == 4 { Answer::Close } else { Answer::Once });
    assert!((1..=2).contains(&missing), "{missing}");
    assert_eq!([doubled, out_of_order, damaged, closed], [0, 0, 0, 1]);
}
