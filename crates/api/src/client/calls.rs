//! One method per route.

use std::fmt::Write;
use std::time::Duration;

use hyper::Method;
use serde::de::DeserializeOwned;

use super::{Client, ClientError, Started, VolumeFilter, Wait, json, text};
use crate::{
    AdoptRequest, AdoptResult, BackendView, ClassView, FenceRequest, FindingView, FoundVolume, GroupCreate,
    GroupView, ImportRequest, List, NodeView, OperationView, PoolView, RestoreRequest, SnapshotCreate,
    SnapshotView, VersionView, VolumeCreate, VolumeGrow, VolumeModify, VolumeView,
};

type Result<T> = std::result::Result<T, ClientError>;

const PAGE: usize = 1000;

/// Volumes.
impl Client {
    /// All that match, page by page.
    pub async fn volumes(&self, filter: &VolumeFilter) -> Result<Vec<VolumeView>> {
        self.all(&target("/v1/volumes", &filter.query())).await
    }

    /// One page; `next` is the token of the page before.
    pub async fn volumes_page(
        &self,
        filter: &VolumeFilter,
        limit: usize,
        next: Option<&str>,
    ) -> Result<List<VolumeView>> {
        let limit = limit.to_string();
        let mut query = filter.query();
        query.push(("limit", Some(limit.as_str())));
        query.push(("continue", next));
        self.get(&target("/v1/volumes", &query)).await
    }

    /// With `live`, the backend is asked for what is used.
    pub async fn volume(&self, name: &str, live: bool) -> Result<VolumeView> {
        self.get(&target(&volume(name), &[("live", live.then_some("true"))])).await
    }

    pub async fn create_volume(&self, wanted: &VolumeCreate, wait: Wait) -> Result<Started<VolumeView>> {
        self.start(Method::POST, "/v1/volumes", Some(json(wanted)), wait).await
    }

    pub async fn grow_volume(
        &self,
        name: &str,
        wanted: &VolumeGrow,
        wait: Wait,
    ) -> Result<Started<VolumeView>> {
        self.start(Method::POST, &format!("{}/grow", volume(name)), Some(json(wanted)), wait).await
    }

    pub async fn modify_volume(
        &self,
        name: &str,
        wanted: &VolumeModify,
        wait: Wait,
    ) -> Result<Started<VolumeView>> {
        self.start(Method::POST, &format!("{}/modify", volume(name)), Some(json(wanted)), wait).await
    }

    pub async fn delete_volume(&self, name: &str, with_snapshots: bool, wait: Wait) -> Result<Started<()>> {
        let query = [("snapshots", with_snapshots.then_some("delete"))];
        self.start(Method::DELETE, &target(&volume(name), &query), None, wait).await
    }

    pub async fn restore_volume(
        &self,
        name: &str,
        snapshot: &str,
        wait: Wait,
    ) -> Result<Started<VolumeView>> {
        let body = RestoreRequest { snapshot: snapshot.to_owned() };
        self.start(Method::POST, &format!("{}/restore", volume(name)), Some(json(&body)), wait).await
    }

    pub async fn fence_volume(&self, name: &str, node: &str, wait: Wait) -> Result<Started<()>> {
        let body = FenceRequest { node: node.to_owned() };
        self.start(Method::POST, &format!("{}/fence", volume(name)), Some(json(&body)), wait).await
    }

    /// What would be forgotten.
    pub async fn preview_forget(&self, name: &str) -> Result<VolumeView> {
        self.post(&format!("{}/forget?dryRun=true", volume(name)), &()).await
    }

    pub async fn forget_volume(&self, name: &str) -> Result<()> {
        self.post(&format!("{}/forget", volume(name)), &()).await
    }

    /// What would be imported.
    pub async fn preview_import(&self, wanted: &ImportRequest) -> Result<FoundVolume> {
        self.post("/v1/import?dryRun=true", wanted).await
    }

    pub async fn import_volume(&self, wanted: &ImportRequest, wait: Wait) -> Result<Started<VolumeView>> {
        self.start(Method::POST, "/v1/import", Some(json(wanted)), wait).await
    }

    pub async fn adopt(&self, wanted: &AdoptRequest, dry_run: bool) -> Result<AdoptResult> {
        self.post(&target("/v1/adopt", &[("dryRun", dry_run.then_some("true"))]), wanted).await
    }
}

/// Snapshots.
impl Client {
    /// Of one volume, or all.
    pub async fn snapshots(&self, volume: Option<&str>) -> Result<Vec<SnapshotView>> {
        self.all(&target("/v1/snapshots", &[("volume", volume)])).await
    }

    pub async fn snapshot(&self, volume: &str, name: &str) -> Result<SnapshotView> {
        self.get(&snapshot(volume, name)).await
    }

    pub async fn take_snapshot(
        &self,
        of: &str,
        wanted: &SnapshotCreate,
        wait: Wait,
    ) -> Result<Started<SnapshotView>> {
        self.start(Method::POST, &format!("{}/snapshots", volume(of)), Some(json(wanted)), wait).await
    }

    pub async fn delete_snapshot(&self, of: &str, name: &str, wait: Wait) -> Result<Started<()>> {
        self.start(Method::DELETE, &snapshot(of, name), None, wait).await
    }

    /// Of several volumes at one instant.
    pub async fn take_group(&self, wanted: &GroupCreate, wait: Wait) -> Result<Started<GroupView>> {
        self.start(Method::POST, "/v1/groups", Some(json(wanted)), wait).await
    }

    pub async fn group(&self, name: &str) -> Result<GroupView> {
        self.get(&group(name)).await
    }

    pub async fn delete_group(&self, name: &str, wait: Wait) -> Result<Started<()>> {
        self.start(Method::DELETE, &group(name), None, wait).await
    }
}

/// What an administrator sets up.
impl Client {
    pub async fn backends(&self) -> Result<Vec<BackendView>> {
        self.all("/v1/backends").await
    }

    pub async fn backend(&self, name: &str) -> Result<BackendView> {
        self.get(&format!("/v1/backends/{}", escape(name))).await
    }

    /// Creates or updates from a file's text, YAML or JSON, and waits until it has been opened.
    pub async fn create_backend(&self, file: &str) -> Result<BackendView> {
        let limit = self.timeout.max(Duration::from_secs(300));
        let (status, body) = self.send(Method::POST, "/v1/backends", Some(text(file)), limit).await?;
        self.read(status, &body)
    }

    pub async fn delete_backend(&self, name: &str) -> Result<()> {
        self.delete(&format!("/v1/backends/{}", escape(name))).await
    }

    pub async fn pools(&self) -> Result<Vec<PoolView>> {
        self.all("/v1/pools").await
    }

    pub async fn classes(&self) -> Result<Vec<ClassView>> {
        self.all("/v1/classes").await
    }

    pub async fn class(&self, name: &str) -> Result<ClassView> {
        self.get(&format!("/v1/classes/{}", escape(name))).await
    }

    /// Every class in the text, in any shape that [`crate::manifest`] reads.
    pub async fn create_classes(&self, file: &str) -> Result<Vec<ClassView>> {
        let (status, body) = self.send(Method::POST, "/v1/classes", Some(text(file)), self.timeout).await?;
        self.read::<List<ClassView>>(status, &body).map(|list| list.items)
    }

    pub async fn delete_class(&self, name: &str) -> Result<()> {
        self.delete(&format!("/v1/classes/{}", escape(name))).await
    }

    pub async fn nodes(&self) -> Result<Vec<NodeView>> {
        self.all("/v1/nodes").await
    }

    pub async fn node(&self, name: &str) -> Result<NodeView> {
        self.get(&format!("/v1/nodes/{}", escape(name))).await
    }

    /// The names of the volumes that it may reach.
    pub async fn volumes_of_node(&self, name: &str) -> Result<Vec<String>> {
        self.all(&format!("/v1/nodes/{}/volumes", escape(name))).await
    }

    pub async fn delete_node(&self, name: &str) -> Result<()> {
        self.delete(&format!("/v1/nodes/{}", escape(name))).await
    }
}

/// The server itself.
impl Client {
    pub async fn operations(&self) -> Result<Vec<OperationView>> {
        self.all("/v1/operations").await
    }

    pub async fn operation(&self, id: &str) -> Result<OperationView> {
        self.get(&format!("/v1/operations/{}", escape(id))).await
    }

    pub async fn doctor(&self) -> Result<Vec<FindingView>> {
        self.all("/v1/doctor").await
    }

    /// In the OpenMetrics text format.
    pub async fn metrics(&self) -> Result<String> {
        self.text("/metrics").await
    }

    pub async fn version(&self) -> Result<VersionView> {
        self.get("/v1/version").await
    }
}

impl Client {
    /// Every page of a list.
    async fn all<T: DeserializeOwned>(&self, list: &str) -> Result<Vec<T>> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mark = if list.contains('?') { '&' } else { '?' };
            let paged = match &next {
                Some(token) => format!("{list}{mark}limit={PAGE}&continue={}", escape(token)),
                None => list.to_owned(),
            };
            let page: List<T> = self.get(&paged).await?;
            items.extend(page.items);
            next = page.next;
            if next.is_none() {
                return Ok(items);
            }
        }
    }

    async fn delete(&self, target: &str) -> Result<()> {
        let (status, body) = self.send(Method::DELETE, target, None, self.timeout).await?;
        self.read(status, &body)
    }
}

impl VolumeFilter {
    fn query(&self) -> Vec<(&'static str, Option<&str>)> {
        vec![
            ("backend", self.backend.as_deref()),
            ("class", self.class.as_deref()),
            ("status", self.status.as_deref()),
            ("selector", self.selector.as_deref()),
            ("live", self.live.then_some("true")),
        ]
    }
}

fn volume(name: &str) -> String {
    format!("/v1/volumes/{}", escape(name))
}

fn snapshot(volume: &str, name: &str) -> String {
    format!("/v1/volumes/{}/snapshots/{}", escape(volume), escape(name))
}

fn group(name: &str) -> String {
    format!("/v1/groups/{}", escape(name))
}

fn target(path: &str, query: &[(&str, Option<&str>)]) -> String {
    let mut target = path.to_owned();
    let given = query.iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    for (i, (name, value)) in given.enumerate() {
        target.push(if i == 0 { '?' } else { '&' });
        target.push_str(name);
        target.push('=');
        target.push_str(&escape(value));
    }
    target
}

/// Percent-encodes all that is not plainly allowed everywhere in a target.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place_in_the_path() {
        assert_eq!(volume("a/../b?x"), "/v1/volumes/a%2F..%2Fb%3Fx");
        assert_eq!(target("/x", &[("a", None), ("b", Some("1 2")), ("c", Some("ä"))]), "/x?b=1%202&c=%C3%A4");
    }

    #[test]
    fn an_address_is_a_unix_socket_or_http() {
        for good in ["unix:///run/leister/leister.sock", "http://127.0.0.1:8000", "http://[::1]:8000/"] {
            assert!(Client::new(good).is_ok(), "{good}");
        }
        for bad in ["/run/x.sock", "unix://run/x", "https://x", "http://", "http://a/b", "http://me@x"] {
            assert!(matches!(Client::new(bad), Err(ClientError::Address { .. })), "{bad}");
        }
    }
}
