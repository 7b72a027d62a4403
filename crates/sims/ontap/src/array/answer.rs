//! What a call is answered.

use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};
use sim_kit::{Call, Reply};

use super::jobs::{Done, Work};
use super::links::{job_link, linked, location_of_key};
use super::route::{Route, allowed, route};
use super::{Array, Inner, refuse};
use crate::record;
use crate::refusal::{self, Refusal, Result};
use crate::resource::Resource;
use crate::resources;
use crate::rest::fields::Selection;
use crate::rest::order::Order;
use crate::rest::params::Params;
use crate::schema::Use;
use crate::state::State;

/// Fields that are shown as they are stored, where they are.
const STORED: [&str; 4] = ["name", "uuid", "svm.name", "svm.uuid"];
const MEDIA: &str = "application/hal+json";
/// What a value may not hold in a query.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'&').add(b'#').add(b'+').add(b'"').add(b'=');

impl Array {
    /// Answers a call of somebody who is in: confined to one SVM or not.
    pub(crate) async fn answer_scoped(&self, call: &Call, scope: Option<&str>) -> Reply {
        let now = self.clock.now();
        let answered = {
            let mut inner = self.lock();
            inner.settle(now, false);
            inner.answer(call, scope, now)
        };
        match answered {
            Err(refusal) => refuse(&refusal),
            Ok(Answer::Ready(reply)) => reply,
            Ok(Answer::Job { job, wait, answer }) => {
                if !wait.is_zero() {
                    self.wait_for(&job, wait).await;
                }
                let running = self.is_running(&job);
                answer.reply(&self.lock().state, &job, running, wait)
            }
        }
    }
}

enum Answer {
    Ready(Reply),
    Job { job: String, wait: Duration, answer: JobAnswer },
}

/// What a change by a job answers when its waiting is over.
struct JobAnswer {
    resource: &'static Resource,
    created: Option<String>,
    return_records: bool,
}

impl JobAnswer {
    fn reply(self, state: &State, job: &str, running: bool, wait: Duration) -> Reply {
        let mut body = json!({});
        let made = self.created.as_ref().and_then(|key| state.find(self.resource.table, key));
        if self.return_records
            && let Some(made) = made
        {
            body["num_records"] = json!(1);
            body["records"] = json!([whole(self.resource, state, made)]);
        }
        body["job"] = job_link(job);
        let waited = !wait.is_zero();
        let failed = state.find("jobs", job).filter(|job| waited && job["state"] == "failure");
        if let Some(failed) = failed {
            body["error"] = json!({"message": failed["message"], "code": failed["code"].to_string()});
        }
        let status = match (running || !waited, failed.is_some(), self.created.is_some()) {
            (true, ..) => 202,
            (false, true, _) => 500,
            (false, false, true) => 201,
            (false, false, false) => 200,
        };
        let reply = Reply::json(status, MEDIA, &body);
        match &self.created {
            Some(key) => reply.with_header("location", location_of_key(self.resource, key)),
            None => reply,
        }
    }
}

impl Inner {
    fn answer(&mut self, call: &Call, scope: Option<&str>, now: Timestamp) -> Result<Answer> {
        let mut draft = self.state.clone();
        if let Some(reply) = resources::cli::answer(&mut draft, call, scope)? {
            self.take_over(draft)?;
            return Ok(Answer::Ready(reply));
        }
        let route = route(&call.path)?;
        if scope.is_some() && route.resource.svm.is_none() {
            return Err(refusal::denied());
        }
        match call.method.as_str() {
            "GET" | "HEAD" => self.get(call, &route, scope).map(Answer::Ready),
            "OPTIONS" => {
                let reply = Reply::json(200, MEDIA, &json!({}));
                Ok(Answer::Ready(reply.with_header("allow", allowed(&route))))
            }
            "POST" | "PATCH" | "DELETE" => self.change(call, &route, scope, now),
            _ => Err(refusal::method()),
        }
    }

    fn get(&self, call: &Call, route: &Route, scope: Option<&str>) -> Result<Reply> {
        let resource = route.resource;
        let params = Params::parse(&call.query, resource, resource.params)?;
        let schema = resource.schema();
        if !params.ignore_unknown_fields {
            resources::check_version(&self.state, params.fields.as_deref().unwrap_or_default(), resource)?;
        }
        let asked = params.fields.as_deref();
        let asked =
            asked.map(|text| Selection::parse(text, schema, params.ignore_unknown_fields)).transpose()?;
        if route.instance {
            let record = self.one(route, scope)?;
            let mut selection = asked.unwrap_or_else(Selection::standard);
            name_identity(&mut selection, resource, &params);
            return Ok(Reply::json(200, MEDIA, &linked(resource, selection.apply(schema, record))));
        }
        if params.return_records == Some(false) {
            let count = self.matching(route, scope, &params, None)?.len();
            return Ok(Reply::json(200, MEDIA, &json!({"num_records": count})));
        }
        let order = match &params.order_by {
            Some(text) => Order::parse(text, schema)?,
            None => Order::by(resource.order),
        };
        // In the order of keys a page can be found without what comes before and after it.
        let most = order.is_none().then_some(params.max_records + 1);
        let mut records = self.matching(route, scope, &params, most)?;
        if !order.is_none() {
            records.sort_by(|(_, a), (_, b)| order.compare(a, b));
        }
        let mut selection = asked.unwrap_or_else(Selection::only);
        name_identity(&mut selection, resource, &params);
        page(call, resource, records, &params, &selection, !order.is_none())
    }

    /// The object that a path names, if the caller may see it.
    fn one(&self, route: &Route, scope: Option<&str>) -> Result<Value> {
        let resource = route.resource;
        let key = route.key.join("/");
        let record = if resource.keys.is_empty() {
            self.state.list(resource.table).next()
        } else {
            self.state.find(resource.table, &key)
        };
        let visible = record.filter(|record| is_visible(resource, record, scope));
        let record = visible.ok_or_else(|| resources::absent(resource, &key))?;
        Ok((resource.view)(&self.state, record))
    }

    /// The objects of a collection that fit the query, with their keys: all of them, or `most` from where the page
    /// begins.
    fn matching(
        &self,
        route: &Route,
        scope: Option<&str>,
        params: &Params,
        most: Option<usize>,
    ) -> Result<Vec<(String, Value)>> {
        let resource = route.resource;
        let mut parents = String::new();
        if route.key.iter().all(|key| key != "*") {
            resources::check_parent(resource, &self.state, &route.key)?;
            parents = route.key.iter().map(|key| format!("{key}/")).collect();
        }
        // Most records are ruled out by what is stored, before the rest is computed.
        let may_fit = |record: &Value| {
            let mut stored = params.filters.iter().filter(|filter| STORED.contains(&filter.path.as_str()));
            stored.all(|filter| record::get(record, &filter.path).is_none() || filter.fits(record))
        };
        let start = params.start.as_deref().filter(|_| most.is_some());
        let entries: Box<dyn Iterator<Item = (&str, &Value)>> = match start {
            // The record itself may be gone by now: what follows it is still in order.
            Some(start) => Box::new(
                self.state
                    .entries_after(resource.table, start)
                    .take_while(|(key, _)| key.starts_with(&parents)),
            ),
            None => match self.meant(resource, params) {
                Some(one) => Box::new(one.into_iter()),
                None => Box::new(self.state.entries(resource.table, &parents)),
            },
        };
        let mut found = Vec::new();
        for (key, record) in entries {
            if !is_visible(resource, record, scope) || !may_fit(record) {
                continue;
            }
            let record = (resource.view)(&self.state, record);
            if params.filters.iter().all(|filter| filter.fits(&record)) {
                found.push((key.to_owned(), record));
            }
            if most.is_some_and(|most| found.len() >= most) {
                break;
            }
        }
        Ok(found)
    }

    /// The one object that a query can mean which names an SVM and a name in it, if it is there.
    fn meant(&self, resource: &Resource, params: &Params) -> Option<Option<(&str, &Value)>> {
        if !["volumes", "luns", "namespaces"].contains(&resource.table) {
            return None;
        }
        let equal = |path: &str| params.filters.iter().find(|filter| filter.path == path)?.equal();
        let (svm, name) = (equal("svm.name")?, equal("name")?);
        let svm = self.state.find_by("svms", "name", svm).map(|(key, _)| key);
        Some(svm.and_then(|svm| self.state.entry_named(resource.table, svm, name)))
    }

    fn change(&mut self, call: &Call, route: &Route, scope: Option<&str>, now: Timestamp) -> Result<Answer> {
        let resource = route.resource;
        let is_post = call.method == "POST";
        let exists = match call.method.as_str() {
            "POST" => resource.post.is_some() && (!route.instance || resource.keys.is_empty()),
            "PATCH" => resource.patch.is_some(),
            _ => resource.delete.is_some(),
        };
        if !exists {
            return Err(refusal::method());
        }
        let params = Params::parse(&call.query, resource, resource.params)?;
        let body = parse_body(call)?;
        match call.method.as_str() {
            "POST" => resource.schema().check(&body, Use::Create)?,
            "PATCH" => resource.schema().check(&body, Use::Modify)?,
            _ => {}
        }
        let work = |key: Vec<String>| Work {
            method: call.method.clone(),
            resource: resource.path,
            key,
            query: call.query.clone(),
            body: body.clone(),
            scope: scope.map(str::to_owned),
        };
        if is_post || route.instance {
            if let Some(filter) = params.filters.first() {
                return Err(refusal::unexpected(&filter.path));
            }
            if is_post {
                resources::check_parent(resource, &self.state, &route.key)?;
            } else {
                self.one(route, scope)?;
            }
            return self.change_one(call, resource, &work(route.key.clone()), &params, now);
        }
        if params.filters.is_empty() {
            let message = "At least one field must be given in the query to change more than one object.";
            return Err(Refusal::new(400, 262_245, message));
        }
        let matching = self.matching(route, scope, &params, None)?;
        let works = matching.iter().map(|(key, _)| work(key.split('/').map(str::to_owned).collect()));
        self.change_many(call, resource, works.collect(), now)
    }

    fn change_one(
        &mut self,
        call: &Call,
        resource: &'static Resource,
        work: &Work,
        params: &Params,
        now: Timestamp,
    ) -> Result<Answer> {
        let return_records = params.return_records == Some(true);
        if resource.jobs {
            let (job, done) = self.start_job(work, call.job.as_ref(), now)?;
            let wait = Duration::from_secs(params.return_timeout.unwrap_or(0));
            let answer = JobAnswer { resource, created: done.created, return_records };
            return Ok(Answer::Job { job, wait, answer });
        }
        let Done { created, .. } = self.work(work, Vec::new(), now, true)?;
        let Some(key) = created else { return Ok(Answer::Ready(Reply::json(200, MEDIA, &json!({})))) };
        let mut body = json!({"num_records": 1});
        if return_records {
            let made = self.state.find(resource.table, &key);
            body["records"] = made.map(|made| whole(resource, &self.state, made)).into_iter().collect();
        }
        let reply = Reply::json(201, MEDIA, &body);
        Ok(Answer::Ready(reply.with_header("location", location_of_key(resource, &key))))
    }

    /// Changes objects one after the other, up to the first that is refused.
    fn change_many(
        &mut self,
        call: &Call,
        resource: &'static Resource,
        works: Vec<Work>,
        now: Timestamp,
    ) -> Result<Answer> {
        let mut body = json!({"num_records": works.len()});
        let mut jobs = Vec::new();
        for work in works {
            if resource.jobs {
                jobs.push(job_link(&self.start_job(&work, call.job.as_ref(), now)?.0));
            } else {
                self.work(&work, Vec::new(), now, true)?;
            }
        }
        let status = if jobs.is_empty() { 200 } else { 202 };
        if !jobs.is_empty() {
            body["jobs"] = json!(jobs);
        }
        Ok(Answer::Ready(Reply::json(status, MEDIA, &body)))
    }
}

/// What a record always shows: its identity, and what it was asked by.
fn name_identity(selection: &mut Selection, resource: &Resource, params: &Params) {
    let own = resource.keys.iter().chain(resource.shown).copied();
    own.chain(resource.parents()).for_each(|path| selection.add(path));
    params.filters.iter().for_each(|filter| selection.add(&filter.path));
}

/// One page of a collection, with the link to the next.
fn page(
    call: &Call,
    resource: &Resource,
    records: Vec<(String, Value)>,
    params: &Params,
    selection: &Selection,
    by_position: bool,
) -> Result<Reply> {
    let before = match &params.start {
        Some(start) if by_position => {
            start.parse().map_err(|_| refusal::invalid("start.at", start, "<a position>"))?
        }
        _ => 0,
    };
    let total = records.len();
    let mut shown = Vec::new();
    let mut next = None;
    for (at, (key, record)) in records.into_iter().enumerate().skip(before).take(params.max_records) {
        next = Some(if by_position { (at + 1).to_string() } else { key }).filter(|_| at + 1 < total);
        shown.push(linked(resource, selection.apply(resource.schema(), record)));
    }
    let own = if call.query.is_empty() { call.path.clone() } else { format!("{}?{}", call.path, call.query) };
    let mut body = json!({"records": shown, "num_records": shown.len(), "_links": {"self": {"href": own}}});
    let Some(next) = next else { return Ok(Reply::json(200, MEDIA, &body)) };
    let mut query = format!("start.at={}", utf8_percent_encode(&next, ESCAPED));
    for pair in call.query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("start.at=")) {
        query.push_str(&format!("&{pair}"));
    }
    let href = format!("{}?{query}", call.path);
    body["_links"]["next"] = json!({"href": href});
    Ok(Reply::json(200, MEDIA, &body).with_header("link", format!("<{href}>; rel=\"next\"")))
}

fn parse_body(call: &Call) -> Result<Value> {
    if call.body.is_empty() {
        return Ok(json!({}));
    }
    let invalid = || Refusal::new(400, 262_199, "The request body is not valid JSON.");
    let body: Value = serde_json::from_slice(&call.body).map_err(|_| invalid())?;
    if !body.is_object() {
        return Err(invalid());
    }
    Ok(record::undot(body))
}

fn is_visible(resource: &Resource, record: &Value, scope: Option<&str>) -> bool {
    match (scope, resource.svm) {
        (Some(scope), Some(path)) => record::text(record, path).is_none_or(|svm| svm == scope),
        _ => true,
    }
}

/// All that one object shows.
fn whole(resource: &Resource, state: &State, record: &Value) -> Value {
    let record = (resource.view)(state, record);
    linked(resource, Selection::standard().apply(resource.schema(), record))
}
