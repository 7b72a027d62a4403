//! The family under the orchestrator: what becomes of rights, of half-made volumes and of dead arrays.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use driver::config::BackendFile;
use driver::conformance::Fixture;
use driver::{Driver, DriverError};
use model::{BackendName, InstanceId, Layout, NodeIdentity, NodeName, SnapshotName, Source, VolumeId};
use orchestrator::{
    BackendOrigin, CreateRequest, Families, Orchestrator, Periods, Request, Settings, VolumeStatus,
};
use serde_json::{Value, json};
use sim_ontap::{Body, Effect, Fault};
use store::{MemoryStore, Store};

use crate::array::Array;

/// With the password that files find in the secret which they name.
#[derive(Clone, Default)]
struct Ontap(Arc<Mutex<String>>);

#[async_trait]
impl Families for Ontap {
    async fn open(&self, file: &BackendFile) -> Result<Arc<dyn Driver>, DriverError> {
        let mut file = file.clone();
        if file.credentials().is_some() {
            let password = self.0.lock().unwrap().clone();
            let secret = [("username".to_owned(), "admin".to_owned()), ("password".to_owned(), password)];
            file = file.with_secret(secret.into()).unwrap();
        }
        ontap::open(&file, InstanceId::new("ours").unwrap()).await
    }
}

const DRIVERS: [(&str, &str); 5] = [
    ("ontap-nas", ""),
    ("ontap-san", "sanType: iscsi"),
    ("ontap-san", "sanType: nvme"),
    ("ontap-nas-economy", ""),
    ("ontap-san-economy", ""),
];
/// Where rights are.
const RIGHTS: [&str; 3] = ["export_rules", "lun_maps", "nvme_maps"];
const LIMIT: Duration = Duration::from_secs(120);

/// A process of the orchestrator over a store: what it does by itself it does each period.
async fn start(store: &Arc<MemoryStore>, nodes: Vec<NodeIdentity>, files: Vec<BackendFile>) -> Orchestrator {
    start_with(Ontap::default(), Duration::from_millis(200), store, nodes, files).await
}

async fn start_with(
    families: Ontap,
    period: Duration,
    store: &Arc<MemoryStore>,
    nodes: Vec<NodeIdentity>,
    files: Vec<BackendFile>,
) -> Orchestrator {
    let periods =
        Periods { drift: period, probe: period, retry: period, grace: period, ..Periods::default() };
    let node = nodes[0].clone();
    let settings = Settings { periods, ..Settings::new(InstanceId::new("ours").unwrap(), node) };
    let store: Arc<dyn Store> = store.clone();
    let orchestrator = Orchestrator::start(settings, store, Arc::new(families)).await.unwrap();
    for node in nodes {
        orchestrator.register_node(node).await.unwrap();
    }
    for file in files {
        orchestrator.add_backend(file, BackendOrigin::File("gold.yaml".into()));
    }
    orchestrator
}

async fn ready(array: &Array, store: &Arc<MemoryStore>) -> Orchestrator {
    let orchestrator = start(store, array.nodes(), vec![array.file()]).await;
    online(&orchestrator).await;
    orchestrator
}

async fn health(orchestrator: &Orchestrator, name: &str) -> &'static str {
    let name = BackendName::new(name).unwrap();
    orchestrator.backend(&name).await.unwrap().map_or("unknown", |view| view.health.as_str())
}

async fn online(orchestrator: &Orchestrator) {
    until("the backend is online", async || health(orchestrator, "gold").await == "online").await;
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < LIMIT, "not so within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// So many comparisons of records and array have begun and ended since.
async fn rounds(array: &Array, count: usize) {
    let lists = || {
        let counts = array.sim.calls().counts();
        ["GET /storage/volumes", "GET /storage/luns", "GET /storage/qtrees"]
            .iter()
            .map(|template| counts.get(*template).copied().unwrap_or(0))
            .sum::<usize>()
    };
    let before = lists();
    until("records and array are compared", async || lists() >= before + 3 * (count + 1)).await;
}

fn volume(array: &Array, name: &str) -> CreateRequest {
    let layout = Some(array.layout());
    CreateRequest { layout, ..CreateRequest::named(VolumeId::new(name).unwrap()) }
}

async fn create(orchestrator: &Orchestrator, request: CreateRequest) -> orchestrator::Result<()> {
    orchestrator.run(Request::Create(Box::new(request))).await.map(drop)
}

async fn publish(orchestrator: &Orchestrator, name: &str, node: &NodeName) {
    let volume = VolumeId::new(name).unwrap();
    let request = Request::Publish { volume, node: node.clone(), read_only: false, force: false, kept: true };
    orchestrator.run(request).await.unwrap();
}

/// All rights, as the array has them.
fn rights(array: &Array) -> Vec<(String, Value)> {
    let state = array.sim.state();
    let of =
        |table: &str| state.list(table).map(|right| (table.to_owned(), right.clone())).collect::<Vec<_>>();
    RIGHTS.iter().flat_map(|table| of(table)).collect()
}

/// Trident #1181, and the drift period: what a person took away is back by itself, what a person added stays.
#[tokio::test]
async fn a_right_deleted_by_hand_is_back_by_itself_and_foreign_ones_stay() {
    for (kind, rest) in DRIVERS {
        let array = Array::new(kind, rest).await;
        let orchestrator = ready(&array, &Arc::default()).await;
        create(&orchestrator, volume(&array, "v")).await.unwrap();
        publish(&orchestrator, "v", &array.nodes()[0].name).await;
        let published = |array: &Array| {
            let node = &array.nodes()[0];
            let has = |(table, right): &(String, Value)| {
                table != "export_rules" || right.to_string().contains(&node.addresses[0].to_string())
            };
            rights(array).iter().filter(|right| has(right)).count()
        };
        let before = published(&array);
        assert!(before > 0, "{kind}");
        let foreign = kind.starts_with("ontap-nas").then(|| {
            let state = array.sim.state();
            let policies = state.list("export_policies");
            let own =
                |policy: &&Value| policy["name"].as_str().is_some_and(|name| name.starts_with("leister_v"));
            policies.filter(own).map(|policy| policy["id"].clone()).next().unwrap()
        });
        if let Some(id) = &foreign {
            let rule = json!({"clients": [{"match": "192.0.2.0/24"}], "protocols": ["nfs"], "ro_rule": ["sys"],
                "rw_rule": ["sys"], "superuser": ["sys"]});
            array.ask(&format!("/protocols/nfs/export-policies/{id}/rules"), rule).await;
        }
        {
            // The node's entry in the address book is a right too: to pass, and no more.
            let mut state = array.sim.edit();
            let book: Vec<String> = state
                .entries("export_policies", "")
                .filter(|(_, policy)| {
                    !policy["name"].as_str().is_some_and(|name| name.starts_with("leister_v"))
                })
                .map(|(key, _)| format!("{key}/"))
                .collect();
            for table in RIGHTS {
                let keys: Vec<String> = state
                    .entries(table, "")
                    .filter(|(_, right)| !right.to_string().contains("192.0.2.0"))
                    .map(|(key, _)| key.to_owned())
                    .filter(|key| !book.iter().any(|entry| key.starts_with(entry)))
                    .collect();
                for key in keys {
                    state.remove(table, &key);
                }
            }
        }
        assert!(published(&array) < before, "{kind}: nothing was taken away");
        until("the right is back", async || published(&array) == before).await;
        if foreign.is_some() {
            rounds(&array, 2).await;
            let text = format!("{:?}", rights(&array));
            assert!(text.contains("192.0.2.0/24"), "{kind}: the foreign rule is gone");
        }
        orchestrator.stop().await;
    }
}

/// Trident #1179: a restart or a changed account emptied shared policies, and every node lost its mounts.
#[tokio::test]
async fn no_restart_no_account_no_config_and_no_lost_store_takes_a_right() {
    for (kind, rest) in DRIVERS {
        let array = Array::with(kind, rest, |sim| sim.user("second", "netapp456")).await;
        let store: Arc<MemoryStore> = Arc::default();
        let orchestrator = ready(&array, &store).await;
        for name in ["a", "b", "c"] {
            create(&orchestrator, volume(&array, name)).await.unwrap();
            publish(&orchestrator, name, &array.nodes()[0].name).await;
        }
        let before = rights(&array);
        assert!(before.len() >= 3, "{kind}: {before:?}");
        // Another account, a wrong one, the same file again: each over the running backend.
        let file = |user: &str, password: &str| {
            let mut file = array.file().to_value().clone();
            file["username"] = json!(user);
            file["password"] = json!(password);
            BackendFile::from_value(file, "gold.yaml").unwrap()
        };
        let origin = || BackendOrigin::File("gold.yaml".into());
        orchestrator.create_backend(file("second", "netapp456"), origin()).await.unwrap();
        orchestrator.create_backend(file("second", "wrong"), origin()).await.unwrap_err();
        orchestrator.create_backend(array.file(), origin()).await.unwrap();
        rounds(&array, 2).await;
        assert_eq!(rights(&array), before, "{kind}: a changed config has changed rights");
        orchestrator.stop().await;

        // A restart that meets an array which refuses everybody, and then lets us in.
        let refusal = Effect::Answer {
            status: 401,
            body: Body::Json(json!({"error": {"message": "not now", "code": "6691623"}})),
            headers: Vec::new(),
        };
        array.sim.faults().always("*", refusal);
        let orchestrator = start(&store, array.nodes(), vec![array.file()]).await;
        let met = array.sim.faults().met();
        until("it is refused", async || array.sim.faults().met() > met + 2).await;
        array.sim.faults().clear();
        online(&orchestrator).await;
        rounds(&array, 2).await;
        assert_eq!(rights(&array), before, "{kind}: a restart has changed rights");
        orchestrator.stop().await;

        // Records lost: nothing is known to be published, and still nothing is taken.
        let orchestrator = ready(&array, &Arc::default()).await;
        rounds(&array, 3).await;
        assert_eq!(rights(&array), before, "{kind}: a lost store has changed rights");
        orchestrator.stop().await;
    }
}

#[tokio::test]
async fn a_dead_array_delays_neither_the_start_nor_anothers_volumes() {
    let (alive, dead) = (Array::new("ontap-nas", "").await, Array::new("ontap-nas", "").await);
    dead.sim.faults().always("*", Effect::Stall { milliseconds: None });
    let mut file = dead.file().to_value().clone();
    file["backendName"] = json!("dead");
    let file = BackendFile::from_value(file, "dead.yaml").unwrap();
    // The dead one stalls for as long as this test runs: whatever ends has not waited for it.
    let orchestrator = start(&Arc::default(), alive.nodes(), vec![file, alive.file()]).await;
    let started = Instant::now();
    online(&orchestrator).await;
    for n in 0..10 {
        let name = format!("v{n}");
        create(&orchestrator, volume(&alive, &name)).await.unwrap();
        publish(&orchestrator, &name, &alive.nodes()[0].name).await;
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    assert_ne!(health(&orchestrator, "dead").await, "online");
    dead.sim.faults().clear();
    orchestrator.stop().await;
}

/// The array makes the FlexVol and refuses what is to lie in it: the user is told, and nothing is left.
#[tokio::test]
async fn a_volume_that_fails_half_way_is_cleaned_up() {
    for (kind, rest, part) in [
        ("ontap-san", "sanType: iscsi", "POST /storage/luns"),
        ("ontap-san", "sanType: nvme", "POST /storage/namespaces"),
        ("ontap-nas-economy", "", "POST /storage/quota/rules"),
        ("ontap-nas-economy", "", "POST /protocols/nfs/export-policies"),
    ] {
        let array = Array::new(kind, rest).await;
        let orchestrator = ready(&array, &Arc::default()).await;
        create(&orchestrator, volume(&array, "first")).await.unwrap();
        let objects = || {
            let state = array.sim.state();
            ["volumes", "luns", "namespaces", "qtrees", "quota_rules", "export_policies"]
                .map(|table| (table, state.count(table)))
        };
        let before = objects();
        let broken = Effect::Answer {
            status: 500,
            body: Body::Json(json!({"error": {"message": "the shelf is on fire", "code": "99"}})),
            headers: Vec::new(),
        };
        array.sim.faults().always(part, broken);
        let error = create(&orchestrator, volume(&array, "v")).await.unwrap_err();
        assert!(error.to_string().contains("the shelf is on fire"), "{kind}: {error}");
        until("the record is gone", async || {
            orchestrator.catalogue().volume(&VolumeId::new("v").unwrap()).is_none()
        })
        .await;
        assert_eq!(objects(), before, "{kind}: {part} failed");
        array.sim.faults().clear();
        create(&orchestrator, volume(&array, "v")).await.unwrap();
        orchestrator.stop().await;
    }
}

/// The process dies between the clone and its split, and a new one goes on from the records.
#[tokio::test]
async fn a_clone_whose_split_was_lost_with_the_process_is_split_by_the_next_one() {
    let array = Array::new("ontap-nas", "").await;
    let store: Arc<MemoryStore> = Arc::default();
    let (source, snapshot) = (VolumeId::new("source").unwrap(), SnapshotName::new("s").unwrap());
    let orchestrator = ready(&array, &store).await;
    create(&orchestrator, volume(&array, "source")).await.unwrap();
    let take = Request::Take { volume: source.clone(), snapshot: snapshot.clone() };
    orchestrator.run(take).await.unwrap();
    orchestrator.stop().await;
    drop(orchestrator);

    // The split never gets an answer in this life.
    array.sim.faults().add(Fault {
        calls: "PATCH /storage/volumes*".to_owned(),
        containing: Some("split_initiated".to_owned()),
        after: 0,
        times: Some(1),
        effect: Effect::Stall { milliseconds: Some(600_000) },
    });
    let mut copy = volume(&array, "copy");
    copy.source = Some(Source { volume: source.clone(), snapshot: Some(snapshot.clone()) });
    let life = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (nodes, file, records) = (array.nodes(), array.file(), store.clone());
    let lived = life.spawn(async move {
        let orchestrator = start(&records, nodes, vec![file]).await;
        while health(&orchestrator, "gold").await != "online" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        orchestrator.run(Request::Create(Box::new(copy))).await.map(drop)
    });
    until("the split is under way", async || array.sim.faults().met() == 1).await;
    life.shutdown_background();
    assert!(lived.await.is_err(), "it has died under way");
    store.expire_lease();

    let orchestrator = ready(&array, &store).await;
    let copy = VolumeId::new("copy").unwrap();
    until("the clone is finished", async || {
        orchestrator.catalogue().volume(&copy).is_some_and(|record| record.status() == VolumeStatus::Ready)
    })
    .await;
    let state = array.sim.state();
    let (_, made) = state.find_by("volumes", "name", "leister_copy").unwrap();
    assert_eq!(made["clone"]["is_flexclone"], json!(false), "it depends on its source for good");
    let delete = Request::DeleteSnapshot { volume: source, snapshot };
    orchestrator.run(delete).await.unwrap();
    assert_eq!(array.layout(), Layout::File);
    array.sim.faults().release();
    orchestrator.stop().await;
}

/// The password is changed at the array and then in the secret, and nobody touches the backend or its file.
#[tokio::test]
async fn a_secret_that_is_changed_is_taken_up_without_a_restart() {
    let array = Array::new("ontap-nas", "").await;
    let mut file = array.file().to_value().clone();
    let keys = file.as_object_mut().unwrap();
    keys.retain(|key, _| key != "username" && key != "password");
    keys.insert("credentials".to_owned(), json!({"name": "svm1"}));
    let file = BackendFile::from_value(file, "gold.yaml").unwrap();
    ontap::check(&file).unwrap();
    let families = Ontap::default();
    *families.0.lock().unwrap() = "not yet right".to_owned();
    let orchestrator =
        start_with(families.clone(), Duration::from_millis(200), &Arc::default(), array.nodes(), vec![file])
            .await;
    until("it is refused", async || health(&orchestrator, "gold").await == "failed").await;
    *families.0.lock().unwrap() = "netapp123".to_owned();
    online(&orchestrator).await;
    create(&orchestrator, volume(&array, "v")).await.unwrap();
    publish(&orchestrator, "v", &array.nodes()[0].name).await;
    let before = rights(&array);

    assert!(array.sim.change_password("admin", "changed4567"));
    let error = create(&orchestrator, volume(&array, "w")).await.unwrap_err();
    assert_eq!(error.kind, orchestrator::ErrorKind::Denied, "{error}");
    *families.0.lock().unwrap() = "changed4567".to_owned();
    let is_made = async || create(&orchestrator, volume(&array, "w")).await.is_ok();
    until("the new secret is used", is_made).await;
    assert_eq!(rights(&array), before);
    let view = orchestrator.backend(&BackendName::new("gold").unwrap()).await.unwrap().unwrap();
    assert!(!format!("{view:?}").contains("changed4567"), "a secret is shown");
    orchestrator.stop().await;
}

/// What a user's wish costs the array, the orchestrator's look before it included.
#[tokio::test]
async fn a_create_costs_three_calls_and_a_publication_one_more_than_its_permit() {
    let array = Array::new("ontap-nas", "").await;
    let hour = Duration::from_secs(3600);
    let store = Arc::default();
    let orchestrator = start_with(Ontap::default(), hour, &store, array.nodes(), vec![array.file()]).await;
    online(&orchestrator).await;
    // Whatever the start has begun comes to rest.
    let seen = Mutex::new((0, Instant::now()));
    until("the array is left alone", async || {
        let mut seen = seen.lock().unwrap();
        let total = array.sim.calls().total();
        if seen.0 != total {
            *seen = (total, Instant::now());
        }
        seen.1.elapsed() > Duration::from_secs(1)
    })
    .await;
    let total = || array.sim.calls().total();
    let node = &array.nodes()[0].name;
    create(&orchestrator, volume(&array, "first")).await.unwrap();
    publish(&orchestrator, "first", node).await;
    let before = total();
    create(&orchestrator, volume(&array, "v")).await.unwrap();
    assert_eq!(total() - before, 3, "a look, the create with its job, a look");
    let before = total();
    publish(&orchestrator, "v", node).await;
    assert_eq!(total() - before, 3, "a look, the policy with its rule, its use");
    orchestrator.stop().await;
}
