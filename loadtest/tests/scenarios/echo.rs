//! `echo` against a server that echoes well, and against some that do not: each fault is found, and counted as what it is.

use crate::harness::echo_server::{Answer, serve};
use crate::harness::{number, run_with};

#[test]
fn an_echo_server_is_measured() {
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
fn several_workers_share_the_connections() {
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
fn what_is_dropped_is_missing() {
    assert_eq!(
        faults(|connection, text| if connection < 2 && text == 7 { Answer::Never } else { Answer::Once }),
        [2, 0, 0, 0, 0]
    );
}

#[test]
fn what_comes_twice_is_doubled() {
    assert_eq!(
        faults(|connection, text| if connection == 1 && text <= 3 { Answer::Twice } else { Answer::Once }),
        [0, 3, 0, 0, 0]
    );
}

#[test]
fn what_comes_late_is_out_of_order() {
    assert_eq!(
        faults(|connection, text| if connection == 1 && text == 4 { Answer::AfterNext } else { Answer::Once }),
        [0, 0, 1, 0, 0]
    );
}

#[test]
fn what_is_cut_short_is_damaged_and_so_missing() {
    assert_eq!(
        faults(|connection, text| if connection == 1 && text == 4 { Answer::Short } else { Answer::Once }),
        [1, 0, 0, 1, 0]
    );
}

#[test]
fn what_was_under_way_on_a_closed_connection_is_missing() {
    let [missing, doubled, out_of_order, damaged, closed] =
        faults(|connection, text| if connection == 1 && text == 4 { Answer::Close } else { Answer::Once });
    assert!((1..=2).contains(&missing), "{missing}");
    assert_eq!([doubled, out_of_order, damaged, closed], [0, 0, 0, 1]);
}
