//! One array over HTTPS: who we are, how many calls at once, jobs, pages, and what is tried again.

mod pace;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::RETRY_AFTER;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{Account, Config};
use crate::error::{ArrayError, CallError};
use pace::{Fared, Pace};

pub(crate) type Result<T, E = CallError> = std::result::Result<T, E>;

/// A connection to one array. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    account: Account,
    pace: Arc<Pace>,
}

/// One page of a collection, or what a change brought about.
#[derive(Debug, Deserialize)]
struct Page<T> {
    #[serde(default = "Vec::new")]
    records: Vec<T>,
    #[serde(rename = "_links")]
    links: Option<Links>,
}

#[derive(Debug, Deserialize)]
struct Links {
    next: Option<Link>,
}

#[derive(Debug, Deserialize)]
struct Link {
    href: String,
}

/// What a change answered.
#[derive(Debug, Default, Deserialize)]
struct Changed {
    job: Option<JobLink>,
    #[serde(default)]
    jobs: Vec<JobLink>,
    #[serde(default)]
    num_records: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct JobLink {
    uuid: String,
}

#[derive(Debug, Deserialize)]
struct Job {
    state: String,
    message: Option<String>,
    code: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Envelope {
    error: Refusal,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    message: Option<String>,
    code: Option<Value>,
    target: Option<String>,
}

/// Records that one page holds.
const PAGE: u32 = 1000;
/// The array holds a change's answer back for its job this long: most jobs need no further call.
const PATIENCE: u32 = 15;
/// The longest that a job is waited for.
const JOB: Duration = Duration::from_secs(120);
/// The longest that one call may take; the caller's own limit may be shorter.
const CALL: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(6);
/// Attempts at a call that cannot do harm twice, where there is no answer.
const ATTEMPTS: u32 = 4;
/// Attempts at a call that the array has refused for having too much to do: it is there, and patience pays.
const ATTEMPTS_AT_BUSY: u32 = 7;

impl Client {
    /// # Errors
    /// Certificates or keys that cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Client, String> {
        if let Account::Elsewhere { secret } = &config.account {
            return Err(format!("the secret `{secret}` that `credentials` name has not been read"));
        }
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(config)?)
            .user_agent(concat!("leister/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(CALL)
            .pool_idle_timeout(Duration::from_secs(60))
            .no_proxy()
            .build()
            .map_err(|e| format!("the connection cannot be set up: {e}"))?;
        let base = Url::parse(&format!("https://{}/api/", config.management))
            .map_err(|e| format!("managementLIF `{}`: {e}", config.management))?;
        let account = config.account.clone();
        let pace = Pace::at(&config.management.authority);
        Ok(Client { http, base, account, pace })
    }

    /// The array's address, for errors.
    pub(crate) fn place(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// One thing.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T> {
        read(self.call(Method::GET, self.url(path, query)?, None).await?).await
    }

    /// All records of a collection, page by page.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>> {
        let mut url = self.url(path, query)?;
        url.query_pairs_mut().append_pair("max_records", &PAGE.to_string());
        let mut all = Vec::new();
        loop {
            let page: Page<T> = read(self.call(Method::GET, url.clone(), None).await?).await?;
            all.extend(page.records);
            let Some(next) = page.links.and_then(|links| links.next) else { return Ok(all) };
            url = self
                .base
                .join(&next.href)
                .map_err(|e| CallError::Strange(format!("the link to the next page: {e}")))?;
        }
    }

    /// The one record that fits, if any.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<T>> {
        let page: Page<T> = read(self.call(Method::GET, self.url(path, query)?, None).await?).await?;
        Ok(page.records.into_iter().next())
    }

    /// Makes something; waits for its job.
    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Result<()> {
        let url = self.url(path, &[("return_timeout", &PATIENCE.to_string())])?;
        self.change(Method::POST, url, Some(body)).await.map(drop)
    }

    /// Changes what fits the query; says how many that were.
    pub(crate) async fn patch(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<u64> {
        let mut url = self.url(path, query)?;
        url.query_pairs_mut().append_pair("return_timeout", &PATIENCE.to_string());
        let changed = self.change(Method::PATCH, url, Some(body)).await?;
        Ok(changed.num_records.unwrap_or(1))
    }

    /// Deletes what fits the query; says how many that were.
    pub(crate) async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<u64> {
        let mut url = self.url(path, query)?;
        url.query_pairs_mut().append_pair("return_timeout", &PATIENCE.to_string());
        let changed = self.change(Method::DELETE, url, None::<&()>).await?;
        Ok(changed.num_records.unwrap_or(1))
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url> {
        let mut url = self.base.join(path).map_err(|e| CallError::Strange(format!("{path}: {e}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn change(&self, method: Method, url: Url, body: Option<&impl Serialize>) -> Result<Changed> {
        let body = body
            .map(serde_json::to_value)
            .transpose()
            .map_err(|e| CallError::Strange(format!("what was to be sent: {e}")))?;
        let response = self.call(method, url, body).await?;
        let accepted = response.status() == StatusCode::ACCEPTED;
        let text = response.bytes().await.map_err(CallError::Silent)?;
        if text.trim_ascii().is_empty() {
            return Ok(Changed::default());
        }
        let changed: Changed = serde_json::from_slice(&text).map_err(|e| unread(&e))?;
        // Any other answer but 202 says that it is done.
        for job in changed.job.iter().filter(|_| accepted).chain(&changed.jobs) {
            self.job(&job.uuid).await?;
        }
        Ok(changed)
    }

    /// Waits for a job's end.
    async fn job(&self, uuid: &str) -> Result<()> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let url = self.url(&format!("cluster/jobs/{uuid}"), &[("fields", "state,message,code,error")])?;
            let job: Job = read(self.call(Method::GET, url, None).await?).await?;
            match job.state.as_str() {
                "success" => return Ok(()),
                "queued" | "running" | "paused" | "pausing" | "retrying" => {}
                _ => return Err(CallError::Failed(job.failure())),
            }
            if started.elapsed() > JOB {
                return Err(CallError::Slow { job: uuid.to_owned(), seconds: JOB.as_secs() });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// One call, or several where the array says that it was not done, or where doing it twice is no harm.
    async fn call(&self, method: Method, url: Url, body: Option<Value>) -> Result<Response> {
        let mut attempt = 1;
        loop {
            let place = self.pace.enter().await;
            let mut request = self.sign(self.http.request(method.clone(), url.clone()));
            if let Some(body) = &body {
                request = request.json(body);
            }
            let sent = request.send().await;
            let fared = fared(sent.as_ref());
            place.learn(fared);
            let attempts = match &sent {
                // Not done: the array had too much to do.
                Ok(_) if matches!(fared, Fared::Refused(_)) => ATTEMPTS_AT_BUSY,
                Ok(_) => 0,
                Err(error) if error.is_connect() || method == Method::GET && !error.is_timeout() => ATTEMPTS,
                Err(_) => 0,
            };
            drop(place);
            if attempt < attempts {
                tokio::time::sleep(pace::backoff(attempt)).await;
                attempt += 1;
                continue;
            }
            let response = sent.map_err(|e| CallError::Silent(e.without_url()))?;
            if response.status().is_success() {
                return Ok(response);
            }
            return Err(CallError::Refused(refusal(response).await));
        }
    }

    fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.account {
            Account::Password { user, password } => request.basic_auth(user, Some(password.expose())),
            Account::Certificate { .. } | Account::Elsewhere { .. } => request,
        }
    }
}

impl Job {
    fn failure(self) -> ArrayError {
        let (message, code) = match self.error {
            Some(error) => (error.message.or(self.message), error.code.or(self.code)),
            None => (self.message, self.code),
        };
        ArrayError {
            status: 500,
            code: code.as_ref().map(text).unwrap_or_default(),
            message: message.unwrap_or_else(|| format!("the job ended as `{}` and says no more", self.state)),
            target: None,
        }
    }
}

fn fared(sent: Result<&Response, &reqwest::Error>) -> Fared {
    let Ok(response) = sent else { return Fared::Silent };
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let rest = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            Fared::Refused(rest.and_then(|text| text.parse().ok()).map(Duration::from_secs))
        }
        _ => Fared::Answered,
    }
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T> {
    let bytes = response.bytes().await.map_err(|e| CallError::Silent(e.without_url()))?;
    serde_json::from_slice(&bytes).map_err(|e| unread(&e))
}

fn unread(error: &serde_json::Error) -> CallError {
    if error.is_eof() { CallError::Cut } else { CallError::Strange(error.to_string()) }
}

async fn refusal(response: Response) -> ArrayError {
    let status = response.status();
    let said = response.bytes().await.unwrap_or_default();
    let refusal = serde_json::from_slice::<Envelope>(&said).ok().map(|envelope| envelope.error);
    let (message, code, target) = match refusal {
        Some(refusal) => (refusal.message, refusal.code, refusal.target),
        None => (None, None, None),
    };
    ArrayError {
        status: status.as_u16(),
        code: code.as_ref().map(text).unwrap_or_default(),
        message: message.unwrap_or_else(|| format!("it answered with HTTP status {status}")),
        target,
    }
}

/// The description writes codes as numbers, the array as texts.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
