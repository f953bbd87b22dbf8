//! The statements of the five protocol documents that the server unites, one test for each: a server under the document's
//! profile and real clients, the packages of npm. `statements.toml` lists them; `000.mjs` to `004.mjs` have their checks, which
//! share a server where they can.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use support::packages::NODE;
use support::workspace;

const STATEMENTS: &str = include_str!("statements.toml");
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seeds");
/// The statements of all documents.
const TOTAL: usize = 166;

/// What a script says of one check.
#[derive(Deserialize)]
struct Outcome {
    error: Option<String>,
    /// The numbers of all checks of the script.
    checks: BTreeSet<String>,
}

/// The scripts, beside the packages that they use.
static COPIES: LazyLock<()> = LazyLock::new(|| {
    let directory = NODE.join("seeds");
    std::fs::create_dir_all(&directory).expect("a directory");
    for entry in std::fs::read_dir(SCRIPTS).expect("the scripts are there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            std::fs::copy(&path, directory.join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
});

/// A running script: numbers go in, outcomes come out.
struct Script {
    process: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Script {
    fn start(document: &str, owner: Owner) -> Self {
        LazyLock::force(&COPIES);
        let mut process = Command::new("node")
            .arg(NODE.join("seeds").join(document).with_extension("mjs"))
            .args((owner == Owner::Redis).then_some("--redis"))
            .env("SWITCHBOARD", workspace::program("switchboard"))
            .current_dir(Path::new(&std::env::temp_dir()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let output = BufReader::new(process.stdout.take().expect("its output")).lines();
        Self { input: process.stdin.take(), output, process }
    }

    fn perform(&mut self, number: &str) -> Result<Outcome, Failed> {
        let input = self.input.as_mut().expect("invariant: the input is open until the script is dropped");
        writeln!(input, "{number}").map_err(|error| format!("the script has ended: {error}"))?;
        let line = self.output.next().ok_or("the script has ended")?.map_err(|error| error.to_string())?;
        serde_json::from_str(&line).map_err(|error| Failed::from(format!("{error}: {line}")))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // At the end of its input the script ends its servers, then itself.
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

/// The owner of rooms and users at the servers of a script.
#[derive(Clone, Copy, PartialEq)]
enum Owner {
    Embedded,
    Redis,
}

/// A document with its script, which starts with the first check.
struct Document {
    number: String,
    owner: Owner,
    script: Mutex<Option<Script>>,
}

impl Document {
    fn perform(&self, check: &str) -> Result<Outcome, Failed> {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.get_or_insert_with(|| Script::start(&self.number, self.owner)).perform(check)
    }

    fn check(&self, number: &str) -> Result<(), Failed> {
        match self.perform(number)?.error {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
    }
}

/// The tests of a document: its statements, and that the list and the script have the same.
fn checks_of(number: &str, statements: &BTreeMap<String, String>, owner: Owner) -> Vec<Trial> {
    let document = Arc::new(Document { number: number.to_owned(), owner, script: Mutex::new(None) });
    let place = if owner == Owner::Redis { " with Redis:" } else { "" };
    let check = |(check, statement): (&String, &String)| {
        let (document, check) = (Arc::clone(&document), check.clone());
        let name = format!("{number}-{check}{place} {statement}");
        Trial::test(name, move || document.check(&check))
    };
    let mut trials: Vec<Trial> = statements.iter().map(check).collect();
    let numbers: BTreeSet<String> = statements.keys().cloned().collect();
    trials.push(Trial::test(format!("{number}{place} has one check for each statement"), move || {
        let checks = document.perform("checks")?.checks;
        if checks == numbers { Ok(()) } else { Err(format!("{checks:?} and {numbers:?}").into()) }
    }));
    trials
}

fn main() -> ExitCode {
    let all: BTreeMap<String, BTreeMap<String, String>> = toml::from_str(STATEMENTS).expect("a list of statements");
    let total: usize = all.values().map(BTreeMap::len).sum();
    assert_eq!(total, TOTAL, "statements in the list");
    let mut trials = Vec::new();
    for (number, statements) in &all {
        for owner in [Owner::Embedded, Owner::Redis] {
            trials.extend(checks_of(number, statements, owner));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
