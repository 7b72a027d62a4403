//! Many volumes whose records are in the cluster: how long it takes to lead with them, beside what the apiserver takes to
//! list them.

use std::sync::Arc;

use anyhow::{Result, ensure};
use driver::memory::MemoryArray;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use model::{Bytes, InstanceId, NodeIdentity, NodeName};
use orchestrator::{BackendFile, BackendOrigin, Orchestrator, Settings};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{KubernetesConfig, KubernetesStore};
use tokio::time::Instant;

use super::nodes;
use super::site::Site;
use crate::scale::{Family, create_many};
use crate::spread::median;

/// Milliseconds, the middle of all rounds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Records {
    pub(super) volumes: usize,
    /// The same pages, by a bare client that reads nothing but where the next one begins.
    pub(super) listed: f64,
    /// Until one leads that has just begun, and knows all of them.
    pub(super) started: f64,
    /// What is left of that without the list.
    pub(super) after: f64,
}

const NAMESPACE: &str = "many";
const NAME: &str = "bench";
const AT_ONCE: usize = 64;
const ROUNDS: usize = 5;
/// As the store asks for them.
const PAGE: usize = 500;

#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
}

#[derive(Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    more: String,
}

pub(super) async fn measure(site: &Site, volumes: usize) -> Result<Records> {
    let client = site.client().await?;
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": NAMESPACE } }))?;
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    let config = nodes::config(site, NAMESPACE);
    let array = MemoryArray::new(Bytes::gib(1 << 30));
    let filling = leading(&config, &array).await?;
    let file = BackendFile::parse("version: 1\nstorageDriverName: memory\nbackendName: array\n", NAME)?;
    filling.create_backend(file, BackendOrigin::File(NAME.into())).await?;
    create_many(&filling, "v", volumes, AT_ONCE).await?;
    filling.stop().await;
    let [mut listed, mut started, mut after] = [(); 3].map(|()| Vec::new());
    for _ in 0..ROUNDS {
        let list = list(&client).await?;
        let begun = Instant::now();
        let orchestrator = leading(&config, &array).await?;
        let start = begun.elapsed().as_secs_f64() * 1000.0;
        let count = orchestrator.catalogue().volume_count();
        ensure!(count == volumes, "{count} of {volumes} volumes are known");
        orchestrator.stop().await;
        listed.push(list);
        started.push(start);
        after.push(start - list);
    }
    let [listed, started, after] = [listed, started, after].map(median);
    Ok(Records { volumes, listed, started, after })
}

async fn leading(config: &KubernetesConfig, array: &Arc<MemoryArray>) -> Result<Orchestrator> {
    let store = KubernetesStore::open(config).await?;
    let node = NodeIdentity::named(NodeName::new(NAME)?);
    let settings = Settings::new(InstanceId::new(NAME)?, node);
    let orchestrator =
        Orchestrator::start(settings, Arc::new(store), Arc::new(Family(array.clone()))).await?;
    ensure!(orchestrator.leadership().leads, "somebody else leads");
    Ok(orchestrator)
}

async fn list(client: &kube::Client) -> Result<f64> {
    let begun = Instant::now();
    let mut more = String::new();
    loop {
        let uri = format!("/apis/leister.io/v1/namespaces/{NAMESPACE}/volumes?limit={PAGE}&continue={more}");
        let page: Page = client.request(http::Request::get(uri).body(Vec::new())?).await?;
        more = page.metadata.more;
        if more.is_empty() {
            return Ok(begun.elapsed().as_secs_f64() * 1000.0);
        }
    }
}
