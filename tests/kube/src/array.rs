//! A simulated array on a cluster's network, without data.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cluster::Cluster;
use docker_suite::until;

/// What it is called among the cluster's programs.
const ARRAY: &str = "array";
const ADDRESS: &str = "10.99.0.1:8443";
/// The keys of its administrator's account, and what they are.
pub const ARRAY_ACCOUNT: [(&str, &str); 2] = [("username", "admin"), ("password", PASSWORD)];
const PASSWORD: &str = "precious-word";
const LIMIT: Duration = Duration::from_secs(120);

/// A backend file for it, with more lines.
pub fn array_backend(driver: &str, name: &str, prefix: &str, more: &str) -> String {
    let account = ARRAY_ACCOUNT.map(|(key, value)| format!("{key}: {value}\n")).concat();
    array_backend_without_account(driver, name, prefix, &(account + more))
}

/// The same for who has the account elsewhere.
pub fn array_backend_without_account(driver: &str, name: &str, prefix: &str, more: &str) -> String {
    format!(
        "version: 1\nstorageDriverName: {driver}\nbackendName: {name}\nmanagementLIF: {ADDRESS}\nsvm: svm1\n\
         storagePrefix: {prefix}\n{more}"
    )
}

impl Cluster {
    /// Starts it, and waits until it answers. Its state outlives it.
    ///
    /// # Errors
    /// It does not start.
    pub fn serve_array(&self) -> Result<()> {
        let file = |name: &str| self.path(name).display().to_string();
        let (password, state) = (file("array.password"), file("array.json"));
        fs::write(&password, PASSWORD)?;
        let listen = format!("--listen={ADDRESS}");
        let words = ["sim", "ontap", &listen, "--password-file", &password, "--state", &state];
        self.serve_leister_as(ARRAY, &words)?;
        until("the array", LIMIT, || self.array("svm/svms").ok()).map(drop)
    }

    /// What the array says of some of its resources.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub fn array(&self, path: &str) -> Result<Value> {
        let user = format!("admin:{PASSWORD}");
        let url = format!("https://{ADDRESS}/api/{path}");
        let script = format!("curl --silent --show-error --fail --insecure --user {user} '{url}'");
        let text = self.shell(&script)?.ok()?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    }
}
