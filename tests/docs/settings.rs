//! Settings: the table is that of the code, settings files in the documents have no mistakes, and no key or variable is
//! mentioned that does not exist.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use switchboard::config;

use super::markdown::{codes, document, documents, root};
use support::directory::Directory;

const FILE: &str = "docs/settings.md";
const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- end of settings -->";

/// Variables that tests read, without their prefix.
const OF_TESTS: [&str; 8] = ["REDIS_SERVER", "SEED", "SEEDS", "CUTS", "KILLS", "FAULTS", "EXAMPLES", "OPERATIONS"];

fn keys() -> BTreeSet<String> {
    let table = config::reference();
    let rows = table.lines().skip(2);
    rows.map(|row| codes(row).next().expect("a key").to_owned()).collect()
}

#[test]
fn settings_table_is_that_of_the_code() {
    let document = document(FILE);
    let (head, rest) = document.text.split_once(BEGIN).expect("where the table begins");
    let (table, tail) = rest.split_once(END).expect("where the table ends");
    let expected = format!("\n{}\n", config::reference());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(FILE), format!("{head}{BEGIN}{expected}{END}{tail}")).expect("the file is written");
    } else {
        let advice = "UPDATE_DOCS=1 cargo test --test docs settings";
        assert!(table == expected, "{FILE} is out of date; update it with {advice}. It should have:\n{expected}");
    }
}

#[test]
fn keys_in_the_documents_exist() {
    let keys = keys();
    let groups: BTreeSet<&str> = keys.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
    let mut found = 0;
    for document in documents().iter().filter(|document| document.name != "CHANGELOG.md") {
        for (_, line) in document.prose() {
            for code in codes(line) {
                let key = code.split([' ', '=']).next().expect("a word").trim_end_matches(".*");
                let Some((group, name)) = key.split_once('.') else { continue };
                let is_key = name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !name.ends_with("_");
                if groups.contains(group) && is_key && !["md", "rs", "toml", "lua"].contains(&name) {
                    assert!(keys.contains(key), "{}: `{code}` is no setting", document.name);
                    found += 1;
                }
            }
        }
    }
    assert!(found > 60, "{found} keys found");
}

/// Files of `packaging` that start the server.
const STARTING: [(&str, &str); 4] = [
    ("packaging/docker/Dockerfile", include_str!("../../packaging/docker/Dockerfile")),
    ("packaging/docker/compose.yaml", include_str!("../../packaging/docker/compose.yaml")),
    ("packaging/docker/compose.redis.yaml", include_str!("../../packaging/docker/compose.redis.yaml")),
    ("packaging/helm", include_str!("../../packaging/helm/switchboard/templates/_helpers.tpl")),
];

#[test]
fn environment_variables_in_the_documents_exist() {
    let keys = keys();
    let mut found = 0;
    let documents = documents();
    let texts = documents.iter().map(|document| (document.name.as_str(), document.text.as_str()));
    for (file, text) in texts.chain(STARTING) {
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        for part in text.split("SWITCHBOARD_").skip(1) {
            let name: String = part.chars().take_while(|c| is_name(*c)).collect();
            if name.is_empty() || OF_TESTS.contains(&name.as_str()) {
                continue;
            }
            let key = name.to_ascii_lowercase().replace("__", ".");
            assert!(keys.contains(&key), "{file}: SWITCHBOARD_{name}");
            found += 1;
        }
    }
    assert!(found >= 12, "{found} variables found");
}

/// Runs `switchboard config` with these arguments; its output.
fn config_of(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.arg("config").args(arguments).env_clear().stdin(Stdio::null()).current_dir(std::env::temp_dir());
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn settings_files_have_no_mistakes() {
    let directory = Directory::new();
    fs::create_dir_all(directory.path()).expect("a directory");
    let path = directory.path().join("switchboard.toml");
    let path_text = path.to_str().expect("text");
    let mut files = 0;
    for document in documents() {
        for block in document.blocks_in("toml") {
            fs::write(&path, &block.text).expect("a file");
            let printed = config_of(&["--config", path_text]);
            assert!(printed.contains("switchboard.toml:"), "{}: no value is from the file:\n{printed}", document.name);
            files += 1;
        }
    }
    assert!(files >= 2, "{files} settings files found");
}

#[test]
fn commands_of_service_managers_are_understood() {
    let directory = Directory::new();
    fs::create_dir_all(directory.path()).expect("a directory");
    let path = directory.path().join("switchboard.toml");
    fs::write(&path, "").expect("a file");
    let mut commands = 0;
    let documents = documents();
    let blocks = documents.iter().flat_map(|document| document.blocks()).map(|block| block.text.clone());
    for text in blocks.chain(STARTING.map(|(_, text)| text.to_owned())) {
        for line in text.lines() {
            let words: Vec<String> = match (line.strip_prefix("ExecStart="), line.strip_prefix("CMD ")) {
                (Some(command), _) => command.split(' ').skip(1).map(str::to_owned).collect(),
                (_, Some(list)) => serde_json::from_str(list).expect("a list"),
                _ => continue,
            };
            assert_eq!(words[0], "serve", "{words:?}");
            let replaced: Vec<&str> = words[1..]
                .iter()
                .map(|word| if word.ends_with(".toml") { path.to_str().expect("text") } else { word })
                .collect();
            config_of(&replaced);
            commands += 1;
        }
    }
    assert_eq!(commands, 2, "commands found");
}
