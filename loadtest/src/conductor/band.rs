//! The workers as processes: started, spoken to, listened to, and ended.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command as Program, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::process;
use crate::words::{Answer, Command, Setup};

/// How much longer the conductor waits than a worker, which knows better what is wrong.
const MORE_PATIENCE: Duration = Duration::from_secs(5);

/// All workers.
pub(super) struct Band {
    players: Vec<Player>,
    inbox: Receiver<(usize, Heard)>,
    patience: Duration,
    bar: ProgressBar,
}

struct Player {
    process: Child,
    input: ChildStdin,
}

/// What a worker's output says.
enum Heard {
    Answer(Answer),
    /// Something that is no answer.
    Noise(String),
    /// It is closed.
    End,
}

impl Band {
    /// Starts a worker for each setup.
    pub(super) fn start(setups: impl Iterator<Item = Setup>, patience: Duration) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let (sender, inbox) = mpsc::channel();
        let mut band = Self { players: Vec::new(), inbox, patience, bar: bar() };
        for (number, setup) in setups.enumerate() {
            let mut program = Program::new(&own);
            program.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut process = program.spawn().map_err(|error| format!("worker {number}: {error}"))?;
            let (input, output) = (process.stdin.take(), process.stdout.take());
            let (Some(input), Some(output)) = (input, output) else { return Err("a worker has no pipes".to_owned()) };
            band.players.push(Player { process, input });
            let sender = sender.clone();
            thread::spawn(move || listen(number, output, &sender));
            band.tell_one(number, &Command::Setup(Box::new(setup)))?;
        }
        Ok(band)
    }

    /// Says the same to all.
    pub(super) fn tell(&mut self, command: &Command) -> Result<(), String> {
        (0..self.players.len()).try_for_each(|number| self.tell_one(number, command))
    }

    fn tell_one(&mut self, number: usize, command: &Command) -> Result<(), String> {
        let mut line = serde_json::to_vec(command).map_err(|error| error.to_string())?;
        line.push(b'\n');
        let input = &mut self.players[number].input;
        if input.write_all(&line).and_then(|()| input.flush()).is_ok() {
            return Ok(());
        }
        // What it said last tells more than the broken pipe.
        let until = Instant::now() + MORE_PATIENCE;
        while self.hear(until)?.is_some() {}
        Err(format!("worker {number} does not listen"))
    }

    /// Waits for one answer of each worker.
    pub(super) fn gather<T>(&mut self, name: &str, pick: impl Fn(Answer) -> Option<T>) -> Result<Vec<T>, String> {
        let count = self.players.len();
        let mut picked: Vec<Option<T>> = (0..count).map(|_| None).collect();
        let mut progress = vec![(0, 0); count];
        let mut heard = vec![Instant::now(); count];
        while let Some(silent) =
            (0..count).filter(|number| picked[*number].is_none()).min_by_key(|number| heard[*number])
        {
            let until = heard[silent] + self.patience + MORE_PATIENCE;
            let Some((number, answer)) = self.hear(until)? else {
                return Err(format!("{name}: worker {silent} has said nothing for {:?}", heard[silent].elapsed()));
            };
            heard[number] = Instant::now();
            if let Answer::Progress { done, total } = answer {
                progress[number] = (done, total);
                self.show(name, progress.iter().map(|at| at.0).sum(), progress.iter().map(|at| at.1).sum());
            } else if picked[number].is_none() {
                picked[number] = pick(answer);
            }
        }
        Ok(picked.into_iter().flatten().collect())
    }

    /// Lets time pass until then, unless a worker has something to complain of. It is a part of what takes from `start` to
    /// `end`.
    pub(super) fn wait(&mut self, name: &str, until: Instant, start: Instant, end: Instant) -> Result<(), String> {
        while Instant::now() < until {
            self.show(name, start.elapsed().as_millis() as u64, (end - start).as_millis() as u64);
            self.hear(until.min(Instant::now() + Duration::from_millis(100)))?;
        }
        Ok(())
    }

    /// CPU time of each worker so far.
    pub(super) fn cpu_ns(&self) -> Vec<u64> {
        self.players.iter().map(|player| process::cpu_ns(player.process.id()).unwrap_or(0)).collect()
    }

    /// The next answer, if one comes in time.
    fn hear(&mut self, until: Instant) -> Result<Option<(usize, Answer)>, String> {
        match self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((number, Heard::Answer(Answer::Failed(error)))) => Err(format!("worker {number}: {error}")),
            Ok((number, Heard::Answer(answer))) => Ok(Some((number, answer))),
            Ok((number, Heard::Noise(line))) => Err(format!("worker {number} said {line:?}")),
            Ok((number, Heard::End)) => {
                let player = &mut self.players[number];
                // It may have closed its output only.
                let _ = player.process.kill();
                let status = player.process.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(format!("worker {number} has ended: {status}"))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err("there is no worker".to_owned()),
        }
    }

    fn show(&self, name: &str, done: u64, total: u64) {
        if !self.bar.is_hidden() && self.bar.message() != name {
            self.bar.set_message(name.to_owned());
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

impl Drop for Band {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        for player in &mut self.players {
            let _ = player.process.kill();
            let _ = player.process.wait();
        }
    }
}

/// Shows nothing unless standard error is a terminal.
fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:>12} {wide_bar} {percent:>3} %");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn listen(number: usize, output: ChildStdout, sender: &Sender<(usize, Heard)>) {
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { break };
        let heard = serde_json::from_str(&line).map_or(Heard::Noise(line), Heard::Answer);
        if sender.send((number, heard)).is_err() {
            return;
        }
    }
    let _ = sender.send((number, Heard::End));
}
