//! One fault on one wire, from beginning to end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::{Backend, Job, Limit, Rig};
use serde_json::json;

use crate::fault::{Act, Fault, Lasts, Machine, Plan, Storage};
use crate::observer::{Observer, until};
use crate::row::{Row, Saw};
use crate::said::Marks;
use crate::stage::{LIMIT, Stage, volume};
use crate::writer::Checked;

const APPLICATION: &str = "application";

/// Acknowledgements that show that the application writes.
const SOME: usize = 20;

/// Runs faults one after the other, each row told when it is there. After one that broke off the next gets a new rig.
///
/// # Errors
/// When no rig comes up.
pub fn run_all(faults: &[Fault], writer: &Path, mut tell: impl FnMut(&Row)) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut order: Vec<usize> = (0..faults.len()).collect();
    // Each pair of machines once. What cannot be tried comes first.
    order.sort_by_key(|at| machines(&faults[*at]));
    let mut left = order.iter().map(|at| &faults[*at]).peekable();
    while let Some(fault) = left.peek() {
        let kernel = match &fault.plan {
            Ok(plan) => plan.kernel,
            Err(reason) => {
                let row = Row::not_run(fault, reason);
                tell(&row);
                rows.push(row);
                left.next();
                continue;
            }
        };
        let rig = Stage::rig(kernel).up()?;
        let mut stage = Stage::up(&rig, fault.wire.storage(), writer)?;
        let same = machines(fault);
        while let Some(fault) = left.next_if(|next| machines(next) == same) {
            let row = caught(&rig, &mut stage, fault);
            tell(&row);
            let broke_off = row.broke_off();
            rows.push(row);
            if broke_off {
                break;
            }
        }
    }
    let mut placed: Vec<(usize, Row)> = order.into_iter().zip(rows).collect();
    placed.sort_by_key(|(at, _)| *at);
    Ok(placed.into_iter().map(|(_, row)| row).collect())
}

/// What a fault needs, if it can be tried.
fn machines(fault: &Fault) -> Option<(Storage, bool)> {
    fault.plan.as_ref().ok().map(|plan| (fault.wire.storage(), plan.kernel == Backend::Tcg))
}

/// One fault; its row says what came of it, also when it broke off.
fn run(stage: &mut Stage<'_>, fault: &Fault) -> Row {
    match &fault.plan {
        Err(reason) => Row::not_run(fault, reason),
        Ok(plan) => match trial(stage, fault, plan) {
            Ok(row) => row,
            Err(error) => Row::broken(fault, &format!("{error:#}")),
        },
    }
}

fn caught(rig: &Rig, stage: &mut Stage<'_>, fault: &Fault) -> Row {
    // A stage that is not whole is not used again.
    let row = catch_unwind(AssertUnwindSafe(|| run(stage, fault))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        Row::broken(fault, said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked"))
    });
    if row.broke_off() {
        // The row tells already what is wrong.
        let _ = rig.keep_evidence();
    }
    row
}

fn trial(stage: &mut Stage<'_>, fault: &Fault, plan: &Plan) -> Result<Row> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let account = format!("account-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let observer = Observer::of(&stage.account(&account));
    let contained = plan.contained;
    let mut application = Application { fault, account, contained, job: None, point: String::new() };
    application.attach(stage)?;
    application.run(stage, Machine::Node, "rm -f $point/records")?;
    if contained {
        application.detach(stage)?;
        stage.start_engine()?;
    }
    application.start(stage)?;
    let started = Instant::now();
    let writes = until(LIMIT, || observer.since(started).0 >= SOME);
    ensure!(writes, "the application does not write: {:?}", observer.seen());

    let mut marks = Marks::new(stage);
    let began = Instant::now();
    for act in &plan.begin {
        application.act(stage, *act).with_context(|| format!("{act:?}"))?;
    }
    let lasted = last(stage, &observer, plan.lasts, began)?;
    marks.ask(stage);
    let ended = Instant::now();
    for act in &plan.end {
        application.act(stage, *act).with_context(|| format!("{act:?}"))?;
    }
    let patience = LIMIT.max(Limit::from_secs(plan.expected.recovers_within));
    let recovered = until(patience, || observer.since(ended).0 >= SOME);
    let said = marks.said(stage);
    application.stop(stage);
    if contained {
        stage.exec(Machine::Node, "kill $(cat /run/engine.pid)").ok("the engine ends");
    }
    let checked = application.check(stage)?;
    let saw = Saw::of(&observer.seen(), began, ended, !plan.end.is_empty());
    Ok(Row::of(fault, plan, saw, (lasted, recovered), checked, said))
}

/// Whether the fault lasted until it had its effect.
fn last(stage: &Stage<'_>, observer: &Observer, lasts: Lasts, began: Instant) -> Result<bool> {
    Ok(match lasts {
        Lasts::Seconds(seconds) => {
            let time = Duration::from_secs(seconds).saturating_sub(began.elapsed());
            until(time, || false);
            true
        }
        Lasts::UntilError => until(LIMIT, || observer.since(began).1 > 0),
        Lasts::UntilWritten => until(LIMIT, || observer.since(began).0 >= 5 * SOME),
        Lasts::Until(machine, condition) => {
            let seen = stage.guest(machine).wait_for(condition, LIMIT);
            ensure!(seen.is_ok(), "`{condition}` does not come true: {seen:?}");
            true
        }
    })
}

/// The writer in the node, and the use that it makes of its volume.
struct Application<'f> {
    fault: &'f Fault,
    account: String,
    contained: bool,
    job: Option<Job>,
    /// Where the volume is.
    point: String,
}

impl Application<'_> {
    /// Has the volume mounted.
    fn attach(&mut self, stage: &Stage<'_>) -> Result<()> {
        let body = json!({ "Name": volume(self.fault.wire), "ID": APPLICATION });
        let answer = stage.node.plugin("Mount", &body)?;
        let point = answer["Mountpoint"].as_str().filter(|point| !point.is_empty());
        point.with_context(|| format!("no mount: {answer}"))?.clone_into(&mut self.point);
        Ok(())
    }

    /// Has it given back, if it is there.
    fn detach(&self, stage: &Stage<'_>) -> Result<()> {
        let body = json!({ "Name": volume(self.fault.wire), "ID": APPLICATION });
        let answer = stage.node.plugin("Unmount", &body)?;
        let refused = answer["Err"].as_str().unwrap_or_default();
        ensure!(refused.is_empty(), "no unmount: {refused}");
        Ok(())
    }

    fn start(&mut self, stage: &Stage<'_>) -> Result<()> {
        if self.contained {
            let started = stage.exec(Machine::Node, &stage.container(volume(self.fault.wire), &self.account));
            ensure!(started.is_ok(), "no container: {}{}", started.stdout, started.stderr);
            return Ok(());
        }
        let words = stage.writer("write", &format!("{}/records", self.point), &self.account);
        self.job = Some(stage.guest(Machine::Node).spawn(&words)?);
        Ok(())
    }

    /// Ends the writer, however it is.
    fn stop(&mut self, stage: &Stage<'_>) {
        if self.contained {
            stage.exec(Machine::Node, "docker rm -f application").ok("the engine knows its container");
        }
        if let Some(job) = self.job.take().filter(Job::is_running) {
            stage.exec(Machine::Node, "kill -KILL $(cat /run/writer.pid)").ok("the writer is killed");
            // Its verdict is that it was killed.
            let _ = job.wait(LIMIT);
        }
    }

    /// Detaches the volume, so that nothing is remembered on the node, attaches it and reads.
    fn check(&mut self, stage: &Stage<'_>) -> Result<Checked> {
        self.detach(stage)?;
        let forget = "echo 3 >/proc/sys/vm/drop_caches";
        stage.exec(Machine::Storage, &format!("sync; {forget}")).ok("the storage's cache");
        stage.exec(Machine::Node, forget).ok("the node's cache");
        self.attach(stage)?;
        let words = stage.writer("check", &format!("{}/records", self.point), &self.account);
        let said = stage.exec(Machine::Node, &words).ok("audit");
        self.detach(stage)?;
        serde_json::from_str(&said).with_context(|| format!("audit: {said}"))
    }

    /// Runs a script that may speak of `$point`.
    fn run(&self, stage: &Stage<'_>, machine: Machine, script: &str) -> Result<()> {
        let output = stage.exec(machine, &format!("point={}\n{script}", self.point));
        ensure!(output.is_ok(), "code {}: {}{}", output.code, output.stdout, output.stderr);
        Ok(())
    }

    fn act(&mut self, stage: &mut Stage<'_>, act: Act) -> Result<()> {
        match act {
            Act::Cut(link) => stage.guest(Machine::Storage).cut(link)?,
            Act::Join(link) => stage.guest(Machine::Storage).join(link)?,
            Act::Kill(machine) => stage.guest(machine).kill()?,
            Act::Start(machine) => stage.start(machine)?,
            Act::Freeze(machine) => stage.guest(machine).stop()?,
            Act::Thaw(machine) => stage.guest(machine).cont()?,
            Act::Run(machine, script) => self.run(stage, machine, script)?,
            Act::KillLeister => stage.node.kill(),
            Act::StartLeister => stage.node.start()?,
            Act::KillService => stage.served.kill(),
            Act::StartService => stage.served.start()?,
            Act::TakeOver => stage.served.fail_over("takeover")?,
            Act::GiveBack => stage.served.fail_over("giveback")?,
            Act::StartEngine => stage.start_engine()?,
            Act::ShutDownNode => {
                self.stop(stage);
                self.detach(stage)?;
                stage.node.stop();
                stage.exec(Machine::Node, "umount /var/lib/leister; sync").ok("disks");
                stage.guest(Machine::Node).kill()?;
            }
            Act::RestartApplication => {
                self.stop(stage);
                self.detach(stage)?;
                self.attach(stage)?;
                self.start(stage)?;
            }
        }
        Ok(())
    }
}
