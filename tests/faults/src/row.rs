//! What came of a fault, judged.

use std::time::{Duration, Instant};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::fault::{Fault, Lasts, Plan, Sees, Wire};
use crate::writer::{Checked, Said};

/// A shorter pause than this nobody calls waiting; the machine may be loaded.
const NOTICED: f64 = 1.0;

/// The cell of what Leister said is cut here; JSON has all.
const WIDTH: usize = 90;

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub fault: &'static str,
    pub wire: Wire,
    pub verdict: Verdict,
    /// Why the verdict is not `AsExpected`.
    pub reasons: Vec<String>,
    /// What the application saw.
    pub saw: Option<Saw>,
    /// Seconds from the end of the fault, or without one from its beginning, until the application went on.
    pub recovery: Option<f64>,
    /// The audit afterwards.
    pub checked: Option<Checked>,
    /// What Leister said while it lasted and until it was over.
    pub said: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    AsExpected,
    Otherwise,
    /// The trial itself failed.
    BrokeOff,
    /// It cannot be tried here.
    NotRun,
}

/// What the application saw from the fault's beginning on.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Saw {
    /// Seconds between two acknowledgements, at most.
    pub longest_wait: f64,
    pub errors: usize,
    /// The first error, and the seconds from the application's question to it.
    pub first_error: Option<(String, f64)>,
    /// Whether it ended with its machine; another went on where it had stopped.
    pub died: bool,
    /// Seconds until it went on; see [`Row::recovery`].
    recovery: Option<f64>,
}

impl Saw {
    pub(crate) fn of(seen: &[(Instant, Said)], began: Instant, ended: Instant, undone: bool) -> Self {
        let mut saw = Self { longest_wait: 0.0, errors: 0, first_error: None, died: false, recovery: None };
        let mut last = None;
        for (at, said) in seen {
            match said {
                Said::Began { .. } => {}
                Said::Acknowledged { .. } => {
                    if *at > began {
                        let wait = at.duration_since(last.unwrap_or(began));
                        saw.longest_wait = saw.longest_wait.max(wait.as_secs_f64());
                    }
                    if *at > ended && undone && saw.recovery.is_none() {
                        saw.recovery = Some(at.duration_since(ended).as_secs_f64());
                    }
                    last = Some(*at);
                }
                Said::Failed { text, after, .. } if *at > began => {
                    saw.errors += 1;
                    let after = Duration::from_millis(*after).as_secs_f64();
                    saw.first_error.get_or_insert_with(|| (text.clone(), after));
                    // It has not gone on before its last error.
                    saw.recovery = None;
                }
                Said::Failed { .. } => {}
            }
        }
        if !undone && last.is_some_and(|last| last > ended) {
            saw.recovery = Some(saw.longest_wait);
        }
        saw
    }

    fn text(&self) -> String {
        let Self { longest_wait: wait, errors, .. } = self;
        match &self.first_error {
            Some((text, after)) => {
                let text = text.split(" (os error").next().unwrap_or(text);
                let times = if *errors == 1 { String::new() } else { format!(", {errors} times") };
                format!("{text} after {after:.1} s{times}")
            }
            None if self.died => format!("its end; the next one wrote {wait:.1} s later"),
            None if *wait < NOTICED => "nothing".to_owned(),
            None => format!("waited {wait:.1} s"),
        }
    }
}

impl Row {
    pub(crate) fn of(
        fault: &Fault,
        plan: &Plan,
        mut saw: Saw,
        (lasted, recovered): (bool, bool),
        checked: Checked,
        said: Vec<String>,
    ) -> Self {
        saw.died = plan.expected.sees == Sees::Death;
        let mut reasons = Vec::new();
        if !lasted {
            reasons.push(match plan.lasts {
                Lasts::UntilWritten => "nothing was written while it lasted".to_owned(),
                _ => "the fault had no effect".to_owned(),
            });
        }
        if checked.lost > 0 {
            reasons.push(format!("lost: {}", checked.flaws.join("; ")));
        }
        match (plan.expected.sees, &saw.first_error) {
            (Sees::NoError | Sees::Death, Some((text, _))) => reasons.push(format!("an error: {text}")),
            (Sees::Error { from, to }, Some((_, after))) if *after < from as f64 || *after > to as f64 => {
                reasons.push(format!("the error was due after {from} to {to} s"));
            }
            (Sees::Error { .. }, None) => reasons.push("no error".to_owned()),
            _ => {}
        }
        let within = plan.expected.recovers_within;
        match saw.recovery {
            Some(recovery) if recovered && recovery <= within as f64 => {}
            Some(recovery) => {
                reasons.push(format!("it went on after {recovery:.1} s and should have within {within} s"));
            }
            None => reasons.push("it did not go on".to_owned()),
        }
        let verdict = if reasons.is_empty() { Verdict::AsExpected } else { Verdict::Otherwise };
        Self {
            verdict,
            reasons,
            recovery: saw.recovery,
            saw: Some(saw),
            checked: Some(checked),
            said,
            ..Self::bare(fault)
        }
    }

    pub(crate) fn not_run(fault: &Fault, reason: &str) -> Self {
        Self { verdict: Verdict::NotRun, reasons: vec![reason.to_owned()], ..Self::bare(fault) }
    }

    pub(crate) fn broken(fault: &Fault, reason: &str) -> Self {
        Self { verdict: Verdict::BrokeOff, reasons: vec![reason.to_owned()], ..Self::bare(fault) }
    }

    fn bare(fault: &Fault) -> Self {
        Self {
            fault: fault.name,
            wire: fault.wire,
            verdict: Verdict::BrokeOff,
            reasons: Vec::new(),
            saw: None,
            recovery: None,
            checked: None,
            said: Vec::new(),
        }
    }

    pub(crate) fn broke_off(&self) -> bool {
        self.verdict == Verdict::BrokeOff
    }

    /// Whether nothing is wrong with it.
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self.verdict, Verdict::AsExpected | Verdict::NotRun)
    }

    fn cells(&self) -> Vec<String> {
        let none = || "–".to_owned();
        let lost =
            self.checked.as_ref().map_or_else(none, |c| format!("{} of {}", c.lost, c.acknowledged * 4096));
        let verdict = match self.verdict {
            Verdict::AsExpected => "as expected".to_owned(),
            Verdict::Otherwise => format!("OTHERWISE: {}", self.reasons.join("; ")),
            Verdict::BrokeOff => format!("BROKE OFF: {}", self.reasons.join("; ")),
            Verdict::NotRun => format!("not run: {}", self.reasons.join("; ")),
        };
        let said = match self.said.split_first() {
            None if self.saw.is_some() => "nothing".to_owned(),
            None => none(),
            Some((first, rest)) => {
                let more = if rest.is_empty() { String::new() } else { format!(" (+{})", rest.len()) };
                let short: String = first.chars().take(WIDTH).collect();
                format!("{short}{}{more}", if short.len() < first.len() { "…" } else { "" })
            }
        };
        vec![
            self.fault.to_owned(),
            self.wire.to_string(),
            self.saw.as_ref().map_or_else(none, Saw::text),
            self.recovery.map_or_else(none, |seconds| format!("{seconds:.1} s")),
            lost,
            said,
            verdict,
        ]
    }
}

/// All rows, for a person.
#[must_use]
pub fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "fault",
        "wire",
        "the application saw",
        "recovery",
        "bytes lost",
        "leister said",
        "verdict",
    ]);
    for row in rows {
        table.add_row(row.cells());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Expected;

    fn at(zero: Instant, seconds: f64) -> Instant {
        zero + Duration::from_secs_f64(seconds)
    }

    fn judged(events: &[(f64, Said)], sees: Sees, lost: u64) -> Row {
        let zero = Instant::now();
        let seen: Vec<_> = events.iter().map(|(t, said)| (at(zero, *t), said.clone())).collect();
        let saw = Saw::of(&seen, at(zero, 1.0), at(zero, 5.0), true);
        let expected = Expected { sees, recovers_within: 10 };
        let lasts = Lasts::Seconds(4);
        let (kernel, contained) = (rig::Backend::Uml, false);
        let plan = Plan { begin: vec![], lasts, end: vec![], expected, kernel, contained };
        let fault = Fault { name: "f", wire: Wire::Iscsi, plan: Ok(plan.clone()), quick: false };
        let checked = Checked { acknowledged: 3, lost, flaws: vec!["x".into()] };
        Row::of(&fault, &plan, saw, (true, true), checked, vec![])
    }

    fn good(number: u64) -> Said {
        Said::Acknowledged { number }
    }

    fn bad(after: u64) -> Said {
        Said::Failed { number: 2, errno: 5, text: "Input/output error (os error 5)".into(), after }
    }

    #[test]
    fn a_wait_is_told_with_its_length_and_recovery_counts_from_the_end() {
        let row = judged(&[(0.5, good(1)), (7.0, good(2)), (7.1, good(3))], Sees::NoError, 0);
        assert_eq!(row.verdict, Verdict::AsExpected, "{row:?}");
        let cells = row.cells();
        assert_eq!(&cells[2..5], ["waited 6.5 s", "2.0 s", "0 of 12288"], "{cells:?}");
    }

    #[test]
    fn what_is_not_as_stated_is_named() {
        for (events, sees, lost, reason) in [
            (vec![(0.5, good(1)), (6.0, good(2))], Sees::NoError, 4096, "lost: x"),
            (vec![(0.5, good(1)), (4.0, bad(9)), (6.0, good(2))], Sees::NoError, 0, "an error: Input"),
            (vec![(0.5, good(1)), (6.0, good(2))], Sees::Error { from: 1, to: 2 }, 0, "no error"),
            (vec![(4.0, bad(9000)), (6.0, good(2))], Sees::Error { from: 1, to: 2 }, 0, "due after 1 to 2 s"),
            (vec![(0.5, good(1)), (19.0, good(2))], Sees::NoError, 0, "within 10 s"),
            (
                vec![(0.5, good(1)), (6.0, good(2)), (7.0, bad(9))],
                Sees::Error { from: 0, to: 2 },
                0,
                "not go on",
            ),
        ] {
            let row = judged(&events, sees, lost);
            let right = row.verdict == Verdict::Otherwise && row.reasons.iter().any(|r| r.contains(reason));
            assert!(right, "{reason}: {row:?}");
        }
        let events = [(0.5, good(1)), (4.0, bad(1500)), (6.0, good(2))];
        let row = judged(&events, Sees::Error { from: 1, to: 2 }, 0);
        assert_eq!(row.verdict, Verdict::AsExpected, "{row:?}");
        assert_eq!(row.cells()[2], "Input/output error after 1.5 s");
    }
}
