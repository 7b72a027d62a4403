//! What Leister says of a fault: its doctor while it lasts, its logs meanwhile.

use rig::{Job, Limit, Output};
use serde_json::Value;

use crate::fault::Machine;
use crate::observer::until;
use crate::stage::{LIMIT, Stage};

/// Where the logs were when the fault began.
pub(crate) struct Marks {
    leister: usize,
    storage: usize,
    doctor: Option<Job>,
}

/// Most answers are there at once; a fault does not last longer for one that is not.
const PATIENCE: Limit = Limit::from_secs(3);

impl Marks {
    pub(crate) fn new(stage: &Stage<'_>) -> Self {
        Self { leister: stage.node.log().len(), storage: stage.served.log().len(), doctor: None }
    }

    /// Asks what `leister doctor` asks. The fault need not wait for the answer: [`Marks::said`] does.
    pub(crate) fn ask(&mut self, stage: &Stage<'_>) {
        if !stage.guest(Machine::Node).is_up() {
            return;
        }
        let ask = "curl -sS -m 100 --unix-socket /run/leister/leister.sock http://leister/v1/doctor";
        self.doctor = stage.guest(Machine::Node).spawn(ask).ok();
        if let Some(doctor) = &self.doctor {
            until(PATIENCE, || !doctor.is_running());
        }
    }

    /// The doctor's findings, and the warnings and errors in both logs since the beginning, each once.
    pub(crate) fn said(self, stage: &Stage<'_>) -> Vec<String> {
        let mut said = self.doctor.map(|doctor| findings(&doctor.wait(LIMIT))).unwrap_or_default();
        for (who, log, from) in [
            ("leister", stage.node.log(), self.leister),
            (stage.served.name(), stage.served.log(), self.storage),
        ] {
            // A machine that lost its power may have lost the end of its log.
            for line in log.get(from..).unwrap_or_default().lines() {
                if let Some(message) = warning(line) {
                    let line = format!("{who}: {message}");
                    if !said.contains(&line) {
                        said.push(line);
                    }
                }
            }
        }
        said
    }
}

fn findings(answer: &Output) -> Vec<String> {
    let Ok(list) = serde_json::from_str::<Value>(&answer.stdout) else {
        // Nobody answers: `leister doctor` says so, too.
        return vec!["doctor: leister does not answer".to_owned()];
    };
    let part = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let line = |f: &Value| format!("doctor: {}: {}", part(f, "subject"), part(f, "problem"));
    list["items"].as_array().map(|findings| findings.iter().map(line).collect()).unwrap_or_default()
}

/// The message of a line of level WARN or ERROR, without its time.
fn warning(line: &str) -> Option<&str> {
    let rest = line.split_once(' ')?.1.trim_start();
    rest.strip_prefix("WARN ").or_else(|| rest.strip_prefix("ERROR ")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_and_errors_are_told_without_their_time() {
        assert_eq!(
            warning("2026-11-28T18:00:00.1Z  WARN docker: slow took=1s"),
            Some("docker: slow took=1s")
        );
        assert_eq!(warning("2026-11-28T18:00:00.1Z ERROR store: gone"), Some("store: gone"));
        assert_eq!(warning("2026-11-28T18:00:00.1Z  INFO docker: answered"), None);
    }
}
