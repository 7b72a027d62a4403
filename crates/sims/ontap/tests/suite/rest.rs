//! A plain client, which believes nothing and checks nothing.

use serde_json::Value;
use sim_ontap::{Builder, Sim};

pub(crate) struct Rest {
    pub sim: Sim,
    client: reqwest::Client,
}

pub(crate) struct Answer {
    pub status: u16,
    pub body: Value,
    pub headers: reqwest::header::HeaderMap,
}

impl Rest {
    pub(crate) async fn start() -> Self {
        Self::of(Sim::builder()).await
    }

    pub(crate) async fn of(builder: Builder) -> Self {
        let sim = builder.http().user("admin", "secret").start().await.unwrap();
        // A client must know how it would speak TLS, even where it does not. Another test may have said so already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { sim, client: reqwest::Client::new() }
    }

    pub(crate) async fn try_call(&self, method: &str, path: &str, body: Value) -> reqwest::Result<Answer> {
        self.call_as("admin", "secret", &[], method, path, body).await
    }

    pub(crate) async fn call_as(
        &self,
        user: &str,
        password: &str,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: Value,
    ) -> reqwest::Result<Answer> {
        let url = format!("{}/api{path}", self.sim.url());
        let mut request = self.client.request(method.parse().unwrap(), url).basic_auth(user, Some(password));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        Ok(Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() })
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.try_call("GET", path, Value::Null).await.unwrap();
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        answer.body
    }

    /// Makes a call that must succeed; a job must have succeeded too.
    pub(crate) async fn good(&self, method: &str, path: &str, body: Value) -> Answer {
        let answer = self.try_call(method, path, body).await.unwrap();
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.body);
        if let Some(job) = answer.body["job"]["uuid"].as_str() {
            let job = self.get(&format!("/cluster/jobs/{job}")).await;
            assert_eq!(job["state"], "success", "{method} {path}: {job}");
        }
        answer
    }

    /// Makes a call that must be refused, and returns status and code.
    pub(crate) async fn bad(&self, method: &str, path: &str, body: Value) -> (u16, i64) {
        let answer = self.try_call(method, path, body).await.unwrap();
        assert!(answer.status >= 400, "{method} {path}: {} {}", answer.status, answer.body);
        assert!(!answer.body["error"]["message"].as_str().unwrap_or_default().is_empty(), "{}", answer.body);
        (answer.status, answer.body["error"]["code"].as_str().unwrap().parse().unwrap())
    }

    /// Creates something and returns its path below `/api`.
    pub(crate) async fn make(&self, path: &str, body: Value) -> String {
        let answer = self.good("POST", path, body).await;
        answer.headers["location"].to_str().unwrap().strip_prefix("/api").unwrap().to_owned()
    }

    /// Creates a thin volume of this many MiB, and returns its path.
    pub(crate) async fn volume(&self, name: &str, mib: u64) -> String {
        let body = serde_json::json!({
            "name": name, "svm.name": "svm1", "aggregates": [{"name": "aggr1"}], "size": mib << 20,
            "guarantee.type": "none", "nas.path": format!("/{name}"),
        });
        self.make("/storage/volumes", body).await
    }
}
