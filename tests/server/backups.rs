//! Backups of a running server, their check and way back, and the export; by the commands.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::client::Client;
use support::directory::Directory;
use support::http::{ask, bearer};
use support::server::{Server, token};
use support::workspace;

/// Runs a command of the program: what it prints, or why it fails.
fn run(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(workspace::program("switchboard"));
    command.args(arguments).env_clear().current_dir(std::env::temp_dir()).stdin(Stdio::null());
    let output = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text").trim_end().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn server_at(directory: &str) -> Server {
    Server::of_shards(2, &[&format!("data_dir={directory}")])
}

fn say(client: &mut Client, texts: std::ops::Range<usize>) {
    for n in texts {
        client.send(&json!({ "type": "message", "roomId": "tea", "content": format!("\"{n}\" ü"), "requestId": n }));
        client.wait_until(|answer| answer["requestId"] == n);
    }
}

/// The messages of the room, and its epoch.
fn messages(server: &Server) -> (Vec<String>, Value) {
    let line = bearer(&token("backend", &json!({ "role": "admin" })));
    let answer = ask(&server.address, "GET", "/api/v1/rooms/tea/messages?limit=100", &[&line], None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let list = body["messages"].as_array().expect("a list").clone();
    let mut texts: Vec<String> =
        list.iter().map(|message| message["data"].as_str().unwrap_or_else(|| panic!("{message}")).to_owned()).collect();
    texts.sort_by_key(|text| text[1..].split('"').next().and_then(|number| number.parse::<u32>().ok()));
    (texts, body["epoch"].clone())
}

#[test]
fn backup_of_a_running_server_comes_back_with_another_epoch() {
    let (first, second, files) = (Directory::new(), Directory::new(), Directory::new());
    std::fs::create_dir_all(files.path()).expect("a directory");
    let (first, second) = (first.text(), second.text());
    let file = format!("{}/monday.db", files.text());
    let server = server_at(&first);
    let mut ann = Client::connect(&server.address, Some(&token("ann", &json!({}))));
    ann.join("tea", "a");
    say(&mut ann, 0..20);
    let done = run(&["backup", "--data", &first, &file]).expect("a backup");
    assert!(done.starts_with(&format!("{file}: version ")) && done.contains(" 20 messages, "), "{done}");
    assert_eq!(
        run(&["backup", "--data", &first, &file]).unwrap_err(),
        format!("switchboard: {file} cannot be used: it is there already")
    );
    assert!(!Path::new(&format!("{file}.new")).exists());
    say(&mut ann, 20..25);
    let (all, epoch) = messages(&server);
    assert_eq!(all.len(), 25);
    let refusal = run(&["restore", "--data", &first, "--force", &file]).unwrap_err();
    assert!(refusal.contains(&format!("is in use by process {}", server.pid())), "{refusal}");
    let done = run(&["restore", "--data", &second, &file]).expect("it is restored");
    assert!(done.contains("store.db: version ") && done.contains(" 20 messages, "), "{done}");
    let other = server_at(&second);
    let (restored, other_epoch) = messages(&other);
    assert_eq!(restored, all[..20]);
    assert_ne!(other_epoch, epoch);
    // It goes on from there, and back again over what is there by then.
    let mut bob = Client::connect(&other.address, Some(&token("bob", &json!({}))));
    bob.join("tea", "b");
    say(&mut bob, 50..51);
    other.kill();
    let refusal = run(&["restore", "--data", &second, &file]).unwrap_err();
    assert!(refusal.contains("it is there already; --force renames it"), "{refusal}");
    let done = run(&["restore", "--data", &second, "--force", &file]).expect("it is restored");
    let kept = done.split("the former one is ").nth(1).expect("its name");
    assert!(run(&["check", kept]).expect("it is in order").contains(" 21 messages, "));
    assert_eq!(messages(&server_at(&second)).0, all[..20]);
}

#[test]
fn damaged_foreign_and_newer_files_are_refused_and_nothing_is_changed() {
    let (source, target) = (Directory::new(), Directory::new());
    let server = server_at(&source.text());
    let mut ann = Client::connect(&server.address, Some(&token("ann", &json!({}))));
    ann.join("tea", "a");
    say(&mut ann, 0..200);
    let good = format!("{}/good.db", source.text());
    run(&["backup", "--data", &source.text(), &good]).expect("a backup");
    let bytes = std::fs::read(&good).expect("the backup");
    let changed = |name: &str, at: usize, with: &[u8]| {
        let file = format!("{}/{name}.db", source.text());
        let mut bytes = bytes.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        std::fs::write(&file, bytes).expect("a file");
        file
    };
    // Header fields (https://www.sqlite.org/fileformat2.html): user_version at 60, application_id at 68.
    let newer = changed("newer", 60, &999_u32.to_be_bytes());
    let foreign = changed("foreign", 68, &7_u32.to_be_bytes());
    let damaged = changed("damaged", bytes.len() / 2, &[0xAB; 4096]);
    let missing = format!("{}/missing.db", source.text());
    for (file, reason) in [
        (&newer, "has version 999, this program knows versions up to "),
        (&foreign, "is a database of another program"),
        (&damaged, "is damaged: "),
        (&missing, "No such file"),
    ] {
        for refusal in
            [run(&["check", file]).unwrap_err(), run(&["restore", "--data", &target.text(), file]).unwrap_err()]
        {
            assert!(refusal.contains(reason) && refusal.contains(file.as_str()), "{refusal}");
        }
    }
    assert!(!target.path().join("store.db").exists());
    let refusal = run(&["backup", "--data", "", "x.db"]).unwrap_err();
    assert_eq!(refusal, "switchboard: data_dir: it is \"\", so that nothing is stored");
    let refusal = run(&["backup", "--set", "redis.url=redis://127.0.0.1:1", "x.db"]).unwrap_err();
    assert!(refusal.contains("rooms and messages are in Redis"), "{refusal}");
}

#[test]
fn export_has_each_room_and_message_as_a_line() {
    let directory = Directory::new();
    let server = server_at(&directory.text());
    let mut ann = Client::connect(&server.address, Some(&token("ann", &json!({}))));
    ann.join("tea", "a");
    ann.join("other", "a");
    say(&mut ann, 0..3);
    let data =
        json!({ "type": "message", "roomId": "other", "event": "move", "data": { "x": [1, null] }, "requestId": 9 });
    ann.send(&data);
    ann.wait_until(|answer| answer["requestId"] == 9);
    let lines = |arguments: &[&str]| -> Vec<Value> {
        let text = run(&[&["export", "--data", &directory.text()], arguments].concat()).expect("lines");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let tea = lines(&["--room", "tea"]);
    assert_eq!((tea.len(), &tea[0]["room"], tea[0]["epoch"].is_string()), (4, &json!("tea"), true));
    let seqs: Vec<&Value> = tea[1..].iter().map(|line| &line["seq"]).collect();
    assert_eq!(seqs, [&json!(1), &json!(2), &json!(3)]);
    assert_eq!((&tea[1]["content"], &tea[1]["sender"]), (&json!("\"0\" ü"), &json!("ann")));
    assert!(tea[1]["id"].as_str().is_some_and(|id| id.len() == 36 && id.as_bytes()[14] == b'7'), "{}", tea[1]["id"]);
    let all = lines(&[]);
    assert_eq!(all.len(), 6);
    assert!(all.iter().any(|line| line["event"] == "move" && line["content"]["x"] == json!([1, null])), "{all:?}");
    assert!(
        run(&["export", "--data", &directory.text(), "--room", "none"])
            .unwrap_err()
            .contains("it has no room \"none\"")
    );
}

#[test]
fn settings_are_checked_with_the_files_they_name() {
    let directory = Directory::new();
    std::fs::create_dir_all(directory.path()).expect("a directory");
    let file = format!("{}/s.toml", directory.text());
    for (text, expected) in [
        ("auth.secret = \"0123456789abcdef0123456789abcdef\"", Ok("the settings are valid")),
        ("shards = 2", Err("auth.secret")),
        ("auth.public_keys = [\"/nowhere.pem\"]", Err("/nowhere.pem")),
        ("shards = \"two\"", Err("shards: found \"two\"")),
        (
            "tls.cert_file = \"/nowhere.pem\"\ntls.key_file = \"/nowhere.key\"\nauth.secret = \"0123456789abcdef0123456789abcdef\"",
            Err("/nowhere.pem"),
        ),
    ] {
        std::fs::write(&file, text).expect("a file");
        match (run(&["config", "--check", &file]), expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected),
            (Err(text), Err(expected)) => assert!(text.contains(expected), "{text}"),
            (outcome, _) => panic!("{text}: {outcome:?}"),
        }
    }
    // All defaults as a file, with and without the marks of comments, are settings.
    let defaults = run(&["config", "--default"]).expect("a file");
    let active: Vec<&str> = defaults
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .collect();
    std::fs::write(&file, active.join("\n").replace("secret = \"\"", "secret = \"0123456789abcdef0123456789abcdef\""))
        .expect("a file");
    let checked = run(&["config", "--check", &file]);
    assert!(checked.as_ref().is_ok_and(|text| text.ends_with("the settings are valid")), "{checked:?}");
    let schema: Value = serde_json::from_str(&run(&["config", "--schema"]).expect("a schema")).expect("JSON");
    let limits = &schema["properties"]["limits"];
    assert_eq!(limits["properties"]["frame_bytes"]["default"], 262_144);
    assert_eq!(
        (&limits["additionalProperties"], &schema["properties"]["listen"]["type"][0]),
        (&json!(false), &json!("array"))
    );
}

#[test]
fn shells_and_man_know_every_command() {
    let directory = Directory::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).expect("a script");
        assert!(["serve", "backup", "listen"].iter().all(|word| script.contains(word)), "{shell}");
    }
    run(&["man", &directory.text()]).expect("pages");
    let page = std::fs::read_to_string(directory.path().join("switchboard-backup.1")).expect("a page");
    assert!(page.contains("Copy the store to a file"), "{page}");
}
