//! Reports as the program writes them: what is measured is written, read back, shown and compared.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

/// A file of this test's own.
fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&folder).expect("a folder");
    folder.join(name)
}

fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).args(arguments).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The file at this path as an argument.
fn path(file: &std::path::Path) -> &str {
    file.to_str().expect("UTF-8")
}

/// Measures a very little, with a secret in the command line.
fn measure(json: &std::path::Path, html: &std::path::Path) {
    let floor = ["floor", "--sockets", "2", "--seconds", "0.05", "--runs", "2", "--secret", "hush"];
    let output = loadtest(&[&floor[..], &["--json", path(json), "--html", path(html)]].concat());
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("deliveries_per_cpu_s"));
}

#[test]
fn report_is_written_shown_and_compared() {
    let (json, html, other) = (file("a.json"), file("a.html"), file("b.json"));
    measure(&json, &html);
    let written = fs::read_to_string(&json).expect("it is written");
    assert!(!written.contains("hush") && fs::read_to_string(&html).expect("a page").contains("</html>"));
    let mut sitting: Value = serde_json::from_str(&written).expect("JSON");
    assert_eq!(sitting["reports"].as_array().map(Vec::len), Some(2));
    let command = sitting["command"].as_str().expect("a command");
    assert!(command.starts_with("loadtest floor --sockets 2 "), "{command}");
    for key in ["cpu", "cores", "kernel", "memory_bytes"] {
        assert!(!sitting["machine"][key].is_null(), "{key}");
    }

    let shown = loadtest(&["show", path(&json)]);
    assert!(shown.status.success() && text(&shown.stdout).starts_with("floor 2 sockets"), "{shown:?}");

    for report in sitting["reports"].as_array_mut().expect("reports") {
        report["numbers"]["deliveries_per_s"] = Value::from(1e15);
    }
    fs::write(&other, sitting.to_string()).expect("it is written");
    let page = file("both.html");
    let commands = [
        vec!["compare", path(&json), path(&other)],
        vec!["--compare", path(&json), path(&other), "--html", path(&page)],
    ];
    for command in commands {
        let compared = loadtest(&command);
        assert!(compared.status.success(), "{compared:?}");
        let row = text(&compared.stdout).lines().find(|line| line.contains("deliveries_per_s")).map(str::to_owned);
        assert!(row.expect("a row").contains("apart"), "{compared:?}");
    }
    assert!(fs::read_to_string(&page).expect("a page").contains("Load tests compared"));
}

#[test]
fn invalid_report_is_refused_with_its_place() {
    let broken = file("broken.json");
    fs::write(&broken, "{\"machine\": 7}").expect("it is written");
    for (arguments, said) in [
        (&["show", path(&broken)][..], "broken.json: not what --json writes: machine: invalid type: integer `7`"),
        (&["show", "/nowhere.json"], "/nowhere.json: No such file"),
        (&["compare", path(&broken), path(&broken), "--json", "c.json"], "--json is for what is measured"),
        (&["--compare", path(&broken)], "2 values required"),
        (&["--compare", path(&broken), path(&broken), "floor"], "not both"),
        (&[], "Usage: loadtest"),
    ] {
        let output = loadtest(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(text(&output.stderr).contains(said), "{arguments:?}: {output:?}");
    }
}
