//! Work that goes on after the answer: jobs and splits, ending by the clock or when told.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sim_kit::JobFault;

use super::{Array, Inner};
use crate::record;
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, reference, time, uuid_of};
use crate::resources;
use crate::rest::params::Params;
use crate::state::State;

/// Ended jobs that are kept.
const KEPT: usize = 10_000;
/// The codes of malformed requests, which no array takes on.
const MALFORMED: std::ops::Range<i64> = 262_000..263_000;

/// A change, as it can be done at once or by a job later.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub method: String,
    /// Which resource, by its path.
    pub resource: &'static str,
    /// The key of the object, or of its parents when one is created.
    pub key: Vec<String>,
    pub query: String,
    pub body: Value,
    pub scope: Option<String>,
}

/// What a change did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The key of what was created.
    pub created: Option<String>,
    ids: Vec<String>,
}

impl Inner {
    /// Does the work on a copy of the state, which is taken over only when all of it succeeded and `keep` says so.
    pub(super) fn work(&mut self, work: &Work, ids: Vec<String>, now: Timestamp, keep: bool) -> Result<Done> {
        let resource = resources::by_path(work.resource).ok_or_else(refusal::url)?;
        let params = Params::parse(&work.query, resource, resource.params)?;
        let mut draft = self.state.clone();
        let mut change = Change {
            state: &mut draft,
            now,
            params: &params,
            manner: &self.manner,
            scope: work.scope.as_deref(),
            ids: VecDeque::from(ids),
            used: Vec::new(),
        };
        let key = work.key.join("/");
        let body = work.body.clone();
        let created = match (work.method.as_str(), resource.post, resource.patch, resource.delete) {
            ("POST", Some(post), ..) => Some(post(&mut change, &work.key, body)?),
            ("PATCH", _, Some(patch), _) => patch(&mut change, &key, body).map(|()| None)?,
            ("DELETE", .., Some(delete)) => delete(&mut change, &key).map(|()| None)?,
            _ => return Err(refusal::method()),
        };
        let ids = std::mem::take(&mut change.used);
        if keep {
            self.take_over(draft)?;
        } else {
            // Identities that were given out are not given out again.
            self.state.skip_numbers(&draft);
        }
        Ok(Done { created, ids })
    }

    /// Does the work as a job: at once unless a fault or the array's manner makes it wait.
    pub(super) fn start_job(
        &mut self,
        work: &Work,
        fault: Option<&JobFault>,
        now: Timestamp,
    ) -> Result<(String, Done)> {
        let wait = match fault {
            Some(JobFault::Slow(milliseconds) | JobFault::Fails { milliseconds, .. }) => Some(*milliseconds),
            Some(JobFault::Held) => None,
            None => Some(u64::try_from(self.manner.job_time.as_millis()).unwrap_or(u64::MAX)),
        };
        let done = match self.work(work, Vec::new(), now, false) {
            Ok(done) => done,
            Err(refusal) if self.manner.errors_by_job && !MALFORMED.contains(&refusal.code) => {
                let job = self.open_job(work, now);
                self.close_job(&job, now, Err(refusal));
                return Ok((job, Done::default()));
            }
            Err(refusal) => return Err(refusal),
        };
        let job = self.open_job(work, now);
        if wait == Some(0) {
            self.finish(&job, work, done.ids.clone(), fault, now);
        } else {
            let due = wait.map(|wait| later(now, wait).to_string());
            let order = self.state.next_number();
            let task = json!({
                "kind": "job", "due": due, "order": order, "work": work.to_json(), "ids": done.ids,
                "fault": fault,
            });
            self.state.put("_tasks", &job, task);
        }
        Ok((job, done))
    }

    /// Ends what the clock says is over, and with `all` also what waits for a word.
    pub(super) fn settle(&mut self, now: Timestamp, all: bool) {
        loop {
            let due = self.state.entries("_tasks", "").filter_map(|(key, task)| {
                let due: Option<Timestamp> = record::text(task, "due").and_then(|due| due.parse().ok());
                (all || due.is_some_and(|due| due <= now))
                    .then(|| (due, task["order"].as_u64(), key.to_owned()))
            });
            let Some((.., key)) = due.min() else { return };
            self.end_task(&key, now);
        }
    }

    /// Ends one task; false when there is none.
    fn end_task(&mut self, key: &str, now: Timestamp) -> bool {
        let Some(task) = self.state.remove("_tasks", key) else { return false };
        self.generation += 1;
        if let Some(volume) = record::text(&task, "volume") {
            resources::volumes::end_split(&mut self.state, volume);
        } else if let Some(work) = Work::from_json(&task["work"]) {
            let fault: Option<JobFault> = serde_json::from_value(task["fault"].clone()).unwrap_or_default();
            let ids = task["ids"].as_array().into_iter().flatten().filter_map(Value::as_str);
            self.finish(key, &work, ids.map(str::to_owned).collect(), fault.as_ref(), now);
        }
        true
    }

    fn open_job(&mut self, work: &Work, now: Timestamp) -> String {
        let uuid = uuid_of(self.state.next_number());
        let mut description = format!("{} /api/{}", work.method, work.resource);
        for key in &work.key {
            description.push_str(&format!("/{key}"));
        }
        let mut job = json!({
            "uuid": uuid, "description": description, "state": "running", "message": "Running", "code": 0,
            "start_time": time(now),
        });
        if let Some(node) = self.state.list("nodes").next() {
            job["node"] = json!({"name": node["name"]});
        }
        if let Some(svm) = work.scope.as_deref().and_then(|scope| self.state.find("svms", scope)) {
            job["svm"] = reference(svm);
        }
        self.state.put("jobs", &uuid, job);
        let order = self.state.next_number();
        self.state.put("_job_order", &format!("{order:020}"), json!(uuid));
        self.forget_old_jobs();
        self.generation += 1;
        uuid
    }

    fn forget_old_jobs(&mut self) {
        if self.state.count("jobs") <= KEPT {
            return;
        }
        let oldest = self.state.entries("_job_order", "").next();
        if let Some((order, uuid)) = oldest.map(|(order, uuid)| (order.to_owned(), uuid.clone())) {
            self.state.remove("_job_order", &order);
            self.state.remove("jobs", uuid.as_str().unwrap_or_default());
        }
    }

    fn finish(&mut self, job: &str, work: &Work, ids: Vec<String>, fault: Option<&JobFault>, now: Timestamp) {
        let result = match fault {
            Some(JobFault::Fails { code, message, applied, .. }) => {
                if *applied {
                    // The job says that it failed, whatever came of it.
                    drop(self.work(work, ids, now, true));
                }
                Err(Refusal::new(500, *code, message.clone()))
            }
            _ => self.work(work, ids, now, true).map(drop),
        };
        self.close_job(job, now, result);
    }

    fn close_job(&mut self, job: &str, now: Timestamp, result: Result<()>) {
        self.state.change("jobs", job, |record| {
            record["end_time"] = json!(time(now));
            match result {
                Ok(()) => {
                    record["state"] = json!("success");
                    record["message"] = json!("success");
                }
                Err(refusal) => {
                    record["state"] = json!("failure");
                    record["message"] = json!(refusal.message);
                    record["code"] = json!(refusal.code);
                    record["error"] = json!({"message": refusal.message, "code": refusal.code.to_string()});
                }
            }
        });
    }
}

impl Array {
    pub(super) fn is_running(&self, job: &str) -> bool {
        self.lock().state.find("_tasks", job).is_some()
    }

    /// Ends a job (or a split, by its volume) now; false when there is none under way.
    pub(crate) fn finish_job(&self, job: &str) -> bool {
        let ended = self.lock().end_task(job, self.clock.now());
        self.told.notify_waiters();
        ended
    }

    /// Ends all jobs and splits now.
    pub(crate) fn finish_jobs(&self) {
        self.lock().settle(self.clock.now(), true);
        self.told.notify_waiters();
    }

    /// Returns when the job has ended or the limit is over.
    pub(super) async fn wait_for(&self, job: &str, limit: Duration) {
        let waiting = async {
            loop {
                let told = self.told.notified();
                tokio::pin!(told);
                told.as_mut().enable();
                let due = {
                    let mut inner = self.lock();
                    inner.settle(self.clock.now(), false);
                    let Some(task) = inner.state.find("_tasks", job) else { return };
                    record::text(task, "due").and_then(|due| due.parse().ok())
                };
                match due {
                    Some(due) => tokio::select! {
                        () = told => {}
                        () = self.clock.sleep_until(due) => {}
                    },
                    None => told.await,
                }
            }
        };
        drop(tokio::time::timeout(limit, waiting).await);
    }
}

impl Work {
    fn to_json(&self) -> Value {
        json!({
            "method": self.method, "resource": self.resource, "key": self.key, "query": self.query,
            "body": self.body, "scope": self.scope,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |name: &str| record::text(value, name).map(str::to_owned);
        let key = value["key"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Some(Self {
            method: text("method")?,
            resource: resources::by_path(&text("resource")?)?.path,
            key,
            query: text("query")?,
            body: value["body"].clone(),
            scope: text("scope"),
        })
    }
}

/// Begins the split of a clone: it ends later, by itself.
pub(crate) fn begin_split(state: &mut State, volume: &str, due: Timestamp) {
    let order = state.next_number();
    let task = json!({"kind": "split", "due": due.to_string(), "order": order, "volume": volume});
    state.put("_tasks", volume, task);
}

pub(crate) fn later(at: Timestamp, milliseconds: u64) -> Timestamp {
    let wait = SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX));
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}
