//! Scenarios against a Socket.IO server of the reference implementation, over each transport. Its senders hear
//! themselves.

use crate::harness::reference_server::ReferenceServer;
use crate::harness::{Run, number, run_with};

/// Runs a scenario as clients that the server knows.
fn run(node: &ReferenceServer, transport: &str, scenario: &str) -> Run {
    let speech = format!(r#"--dialect socketio --transport {transport} --auth {{"token":"secret"}}"#);
    run_with(&format!("{scenario} {speech} --target {} --pid {}", node.address, node.pid()))
}

#[test]
fn socketio_fanout_delivers_to_members_and_senders() {
    let node = ReferenceServer::start("{}");
    for transport in ["websocket", "polling"] {
        for load in ["--rooms 3 --members 4 --window 4", "--rooms 1 --members 8 --workers 3", "--rate 200 --members 4"]
        {
            let run = run(&node, transport, &format!("fanout {load} --seconds 0.5"));
            let report = run.exact();
            assert!(number(report, "deliveries_per_cpu_s") > 0.0);
            // A message goes to all members; some are under way at the marks.
            let copies = number(report, "deliveries_per_s") / number(report, "sent_per_s");
            let members = if load.contains("--members 8") { 8.0 } else { 4.0 };
            assert!((copies / members - 1.0).abs() < 0.2, "{transport} {load}: {copies}");
        }
    }
}

#[test]
fn socketio_idle_connections_are_measured_on_both_transports() {
    let node = ReferenceServer::start("{}");
    for transport in ["websocket", "polling"] {
        let run = run(&node, transport, "idle --connections 30 --room 10 --rounds 2 --workers 2");
        assert_eq!(run.code, Some(0), "{}", run.complaints);
        assert_eq!(run.reports.len(), 2);
        for report in &run.reports {
            assert!(number(report, "handshakes_per_cpu_s") > 0.0);
            assert_eq!(report["faults"]["closed"], 0);
        }
    }
}

#[test]
fn socketio_echo_works_by_rooms_and_by_acks() {
    let node = ReferenceServer::start("{}");
    let acks = r##"--join= --publish 1["ask","{content}"] --delivered ["#"##;
    for transport in ["websocket", "polling"] {
        for words in ["", acks] {
            let run = run(&node, transport, &format!("echo --connections 5 --window 3 --seconds 0.3 {words}"));
            assert!(number(run.exact(), "deliveries_per_s") > 0.0);
        }
    }
}

#[test]
fn socketio_churn_closes_cleanly_on_both_transports() {
    let node = ReferenceServer::start("{}");
    for transport in ["websocket", "polling"] {
        let run = run(&node, transport, "churn --connections 10 --parallel 4 --room 5 --workers 2 --seconds 0.4");
        let report = run.exact();
        assert!(number(report, "joins_per_s") > 0.0 && number(report, "deliveries_per_s") > 0.0);
        // Every second one says goodbye.
        assert!(number(report, "churned") >= 2.0);
    }
}

#[test]
fn socketio_fault_reports_the_first_close_reason() {
    let node = ReferenceServer::start("{}");
    for transport in ["websocket", "polling"] {
        let leave = r#"--publish ["leave","{content}"]"#;
        let run = run(&node, transport, &format!("echo --connections 4 --seconds 0.3 --workers 2 {leave}"));
        assert_eq!((run.code, run.faults("closed")), (Some(2), 4), "{}", run.complaints);
        assert_eq!(run.reports[0]["why_closed"], "the server closed the conversation");
    }
}

#[test]
fn socketio_refusal_reports_the_servers_words() {
    let node = ReferenceServer::start("{}");
    for transport in ["websocket", "polling"] {
        let stranger = format!("--dialect socketio --transport {transport} --target {}", node.address);
        let run = run_with(&format!("fanout --members 3 {stranger}"));
        assert_eq!(run.code, Some(1));
        let expected =
            r#"3 of 3 clients could not connect: the server refused the namespace: {"message":"not authorized"}"#;
        assert!(run.complaints.contains(expected), "{}", run.complaints);
    }
}
