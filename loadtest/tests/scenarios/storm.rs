//! `storm` against the real server, and against one that lets nobody in at first.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::harness::{number, run, run_with};
use tungstenite::Message;

#[test]
fn storm_reconnects_all_clients() {
    let run = run("storm --connections 60 --room 10 --rounds 2 --settle 0.2 --workers 2");
    assert_eq!(run.code, Some(0), "{}", run.complaints);
    assert_eq!((run.reports.len(), run.faults("lost")), (2, 0));
    for report in &run.reports {
        let [come, there, after] = ["come", "there", "after"].map(|when| number(report, &format!("{when}_bytes")));
        assert!(come > 0.0 && there > 0.0 && after > 0.0);
        for wave in ["come", "back"] {
            assert!(number(report, &format!("{wave}_handshakes_per_cpu_s")) > 0.0);
            let of = |name: &str| number(report, &format!("{wave}_{name}"));
            assert!(0.0 < of("p50_us") && of("p50_us") <= of("p99_us") && of("p99_us") <= of("max_us"));
            // A histogram is exact to three digits.
            assert!(of("max_us") <= of("s") * 1.002e6, "{report}");
            assert!(report["percentiles"][wave].is_array());
        }
        assert_eq!(number(report, "handshakes") + number(report, "failed_attempts"), number(report, "attempts"));
        assert_eq!(number(report, "attempts") - number(report, "retries"), 2.0 * 60.0);
        assert!(report["series"]["memory_bytes"].as_array().is_some_and(|points| points.len() > 3));
    }
    let [first, second] = [0, 1].map(|round| number(&run.reports[round], "after_bytes"));
    assert_eq!(number(&run.reports[0], "after_of_first"), 1.0);
    assert!((number(&run.reports[1], "after_of_first") / (second / first) - 1.0).abs() < 1e-9);
}

#[test]
fn storm_client_never_admitted_is_reported_lost() {
    let run = run("storm --connections 20 --room 5 --rounds 1 --settle 0 --attempts 2 --set limits.connections=8");
    assert_eq!(run.code, Some(2), "{}", run.complaints);
    // Once when they come, and once when they come back.
    assert_eq!(run.faults("lost"), 2 * 12);
    assert!(number(&run.reports[0], "failed_attempts") >= 2.0 * 2.0 * 12.0);
}

#[test]
fn storm_client_refused_or_ignored_retries() {
    let address = serve(|number| match number {
        0..6 => Welcome::Refused,
        6..10 => Welcome::Ignored,
        _ => Welcome::Granted,
    });
    let target = format!("--target {address} --pid {}", std::process::id());
    let run = run_with(&format!("storm {target} --connections 20 --room 5 --rounds 1 --settle 0 --attempt 2"));
    let report = run.exact();
    assert!(number(report, "failed_attempts") >= 10.0);
    assert_eq!(number(report, "retries"), number(report, "failed_attempts"));
    // Whoever was ignored waited for so long.
    assert!(number(report, "come_max_us") >= 2e6);
}

#[test]
fn invalid_arguments_are_refused() {
    for (arguments, complaint) in [
        ("storm --room 0", "at least one member"),
        ("storm --attempts 0", "at least one attempt"),
        ("storm --settle -1", "error"),
        ("storm --target 127.0.0.1:1", "--pid"),
    ] {
        let run = run_with(arguments);
        assert!(run.complaints.contains(complaint), "{arguments}: {}", run.complaints);
        assert!(run.reports.is_empty() && run.code != Some(0));
    }
}

/// What becomes of a connection.
enum Welcome {
    Refused,
    Ignored,
    Granted,
}

/// Starts a server on a free port of loopback that grants joins on those connections it welcomes, by their numbers as
/// they come.
fn serve(welcome: fn(usize) -> Welcome) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        let mut ignored = Vec::new();
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            match welcome(number) {
                Welcome::Refused => {}
                Welcome::Ignored => ignored.push(stream),
                Welcome::Granted => drop(thread::spawn(move || grant(stream))),
            }
        }
    });
    address
}

fn grant(stream: TcpStream) {
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    while socket.read().is_ok() {
        if socket.send(Message::Text(r#"{"type":"room-joined"}"#.into())).is_err() {
            return;
        }
    }
}
