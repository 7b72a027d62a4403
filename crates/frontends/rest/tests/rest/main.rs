//! The interface over a real socket, on a real orchestrator with an array in memory.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod rig;

use std::collections::BTreeSet;
use std::time::Duration;

use api::{
    AdoptRequest, ErrorKind, ImportRequest, OperationState, Quantity, SnapshotCreate, SourceView, Started,
    VolumeCreate, VolumeFilter, VolumeGrow, Wait,
};
use driver::memory::{Call, Fault};
use rig::{CLASS, Rig, refused};

fn wanted(name: &str) -> VolumeCreate {
    VolumeCreate { name: name.to_owned(), size: Some(Quantity::new("1GiB")), ..VolumeCreate::default() }
}

fn done<T: std::fmt::Debug>(started: Started<T>) -> T {
    match started {
        Started::Done(result) => result,
        Started::Running(operation) => panic!("still running: {operation:?}"),
    }
}

#[tokio::test]
async fn a_volume_goes_from_wish_to_gone() {
    let rig = Rig::start().await;
    let client = &rig.client;
    let (status, _, first) =
        rig.send("POST", "/v1/volumes", Some(r#"{"name":"db","size":"1GiB","class":"gold"}"#)).await;
    assert_eq!(status, 201, "{first}");
    let (status, _, again) =
        rig.send("POST", "/v1/volumes", Some(r#"{"name":"db","size":1073741824}"#)).await;
    assert_eq!(status, 200, "{again}");

    let volume = client.volume("db", false).await.unwrap();
    assert_eq!(
        (volume.size, volume.status.as_str(), volume.class.as_deref()),
        (1 << 30, "ready", Some(CLASS))
    );
    assert_eq!(volume.backend, "mem");

    let grown = client.grow_volume("db", &VolumeGrow { size: Quantity::new("2GiB") }, Wait::Done).await;
    assert_eq!(done(grown.unwrap()).size, 2 << 30);
    let (status, _, body) = rig.send("PATCH", "/v1/volumes/db", Some(r#"{"size":"3GiB"}"#)).await;
    assert_eq!((status, body.contains(&(3u64 << 30).to_string())), (200, true), "{body}");

    let snapshot = SnapshotCreate { name: "s1".to_owned() };
    assert_eq!(done(client.take_snapshot("db", &snapshot, Wait::Done).await.unwrap()).name, "s1");
    let (status, ..) = rig.send("POST", "/v1/volumes/db/snapshots", Some(r#"{"name":"s1"}"#)).await;
    assert_eq!(status, 200);
    assert_eq!(client.snapshots(Some("db")).await.unwrap().len(), 1);
    assert_eq!(client.volume("db", false).await.unwrap().snapshots, 1);

    let source = Some(SourceView { volume: "db".to_owned(), snapshot: Some("s1".to_owned()) });
    let copy = VolumeCreate { name: "copy".to_owned(), source, ..VolumeCreate::default() };
    assert_eq!(done(client.create_volume(&copy, Wait::Done).await.unwrap()).size, 3 << 30);
    done(client.restore_volume("db", "s1", Wait::Done).await.unwrap());

    let error = refused(client.delete_volume("db", false, Wait::Done).await);
    assert_eq!(error.kind, ErrorKind::InUse, "{error:?}");
    done(client.delete_volume("copy", false, Wait::Done).await.unwrap());
    done(client.delete_snapshot("db", "s1", Wait::Done).await.unwrap());
    done(client.delete_volume("db", true, Wait::Done).await.unwrap());
    assert!(client.volumes(&VolumeFilter::default()).await.unwrap().is_empty());
    let (status, ..) = rig.send("DELETE", "/v1/volumes/db", None).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn long_work_is_answered_with_its_operation() {
    let rig = Rig::start().await;
    rig.array.faults.plan(Call::Create, 1, Fault::Hang);
    let (status, headers, body) =
        rig.send("POST", "/v1/volumes?wait=false", Some(r#"{"name":"slow","size":"1GiB"}"#)).await;
    assert_eq!(status, 202, "{body}");
    let place = headers["location"].to_str().unwrap().to_owned();
    let (status, _, operation) = rig.send("GET", &place, None).await;
    assert_eq!(status, 200);
    assert!(operation.contains("\"running\""), "{operation}");

    let same =
        rig.client.create_volume(&wanted("slow"), Wait::AtMost(Duration::from_millis(20))).await.unwrap();
    let Started::Running(operation) = same else { panic!("{same:?}") };
    assert_eq!(
        (format!("/v1/operations/{}", operation.id), operation.state),
        (place, OperationState::Running)
    );

    let (status, headers, body) = rig.send("DELETE", "/v1/volumes/slow?wait=false", None).await;
    assert_eq!((status, headers.contains_key("retry-after")), (409, true), "{body}");
    assert!(body.contains("\"busy\""), "{body}");
}

#[tokio::test]
async fn pages_show_all_that_stays_exactly_once_while_others_come_and_go() {
    let rig = Rig::start().await;
    for n in 0..40 {
        done(rig.client.create_volume(&wanted(&format!("v{n:02}")), Wait::Done).await.unwrap());
    }
    let mut seen = Vec::new();
    let mut next: Option<String> = None;
    let mut turn = 0;
    loop {
        let filter = VolumeFilter::default();
        let page = rig.client.volumes_page(&filter, 7, next.as_deref()).await.unwrap();
        assert!(page.items.len() <= 7);
        seen.extend(page.items.into_iter().map(|volume| volume.name));
        // One behind and one ahead goes, one behind and one ahead comes; so does the last one of the page.
        for name in [format!("v{turn:02}"), format!("v{:02}", 39 - turn), seen[seen.len() - 1].clone()] {
            let _ = rig.client.delete_volume(&name, false, Wait::Done).await;
        }
        for name in [format!("a{turn}"), format!("z{turn}")] {
            done(rig.client.create_volume(&wanted(&name), Wait::Done).await.unwrap());
        }
        turn += 1;
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let once: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(once.len(), seen.len(), "something was shown twice: {seen:?}");
    for volume in rig.client.volumes(&VolumeFilter::default()).await.unwrap() {
        if volume.name.starts_with('v') {
            assert!(once.contains(&volume.name), "{} was never shown", volume.name);
        }
    }
    for bad in
        ["/v1/volumes?continue=xyz", "/v1/volumes?continue=after.%2F", "/v1/snapshots?continue=after.x"]
    {
        assert_eq!(rig.send("GET", bad, None).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn lists_are_filtered() {
    let rig = Rig::start().await;
    let mut gold = wanted("gold1");
    gold.class = Some(CLASS.to_owned());
    gold.labels.insert("tier".to_owned(), "one".to_owned());
    done(rig.client.create_volume(&gold, Wait::Done).await.unwrap());
    done(rig.client.create_volume(&wanted("plain"), Wait::Done).await.unwrap());
    let some = |text: &str| Some(text.to_owned());
    let none = VolumeFilter::default();
    for (filter, names) in [
        (VolumeFilter { class: some(CLASS), ..none.clone() }, vec!["gold1"]),
        (VolumeFilter { selector: some("tier in (one, two)"), ..none.clone() }, vec!["gold1"]),
        (VolumeFilter { selector: some("!tier"), ..none.clone() }, vec!["plain"]),
        (
            VolumeFilter { backend: some("mem"), status: some("Ready"), live: true, ..none.clone() },
            vec!["gold1", "plain"],
        ),
        (VolumeFilter { backend: some("other"), ..none.clone() }, vec![]),
        (VolumeFilter { status: some("missing"), ..none.clone() }, vec![]),
    ] {
        let found: Vec<String> =
            rig.client.volumes(&filter).await.unwrap().into_iter().map(|volume| volume.name).collect();
        assert_eq!(found, names, "{filter:?}");
    }
    let error = refused(rig.client.volumes(&VolumeFilter { status: some("gone"), ..none }).await);
    assert!(error.message.contains("known: creating, ready"), "{error:?}");
}

#[tokio::test]
async fn every_kind_of_error_arrives_with_its_status() {
    let rig = Rig::start().await;
    done(rig.client.create_volume(&wanted("there"), Wait::Done).await.unwrap());
    for (kind, status) in [
        (driver::ErrorKind::Invalid, 400),
        (driver::ErrorKind::Unsupported, 501),
        (driver::ErrorKind::Denied, 502),
        (driver::ErrorKind::Internal, 500),
        (driver::ErrorKind::InUse, 409),
        (driver::ErrorKind::Conflict, 409),
    ] {
        rig.array.faults.plan(Call::Grow, 1, Fault::Refuse(kind));
        let (got, _, body) = rig.send("POST", "/v1/volumes/there/grow", Some(r#"{"size":"2GiB"}"#)).await;
        assert_eq!(got, status, "{kind:?}: {body}");
    }
    let (got, _, body) = rig.send("POST", "/v1/volumes", Some(r#"{"name":"big","size":"900TiB"}"#)).await;
    assert_eq!(got, 507, "{body}");
    let (got, _, body) = rig.send("POST", "/v1/volumes", Some(r#"{"name":"there","size":"5GiB"}"#)).await;
    assert_eq!(got, 409, "{body}");
    let (got, _, body) = rig.send("GET", "/v1/volumes/ther", None).await;
    assert_eq!(got, 404);
    assert!(body.contains("did you mean `there`?"), "{body}");
}

#[tokio::test]
async fn bad_requests_are_explained() {
    let rig = Rig::start().await;
    done(rig.client.create_volume(&wanted("db"), Wait::Done).await.unwrap());
    type Row = (&'static str, &'static str, Option<&'static str>, u16, &'static [&'static str]);
    let table: &[Row] = &[
        (
            "POST",
            "/v1/volumes",
            Some(r#"{"name":"a","sise":"1GiB"}"#),
            400,
            &["unknown field `sise`", "did you mean `size`?"],
        ),
        ("POST", "/v1/volumes", Some(r#"{"size":"1GiB"}"#), 400, &["missing field `name`"]),
        ("POST", "/v1/volumes", Some("{"), 400, &["the body is not right"]),
        ("POST", "/v1/volumes", Some(r#"{"name":"a"} x"#), 400, &["trailing"]),
        (
            "POST",
            "/v1/volumes",
            Some(r#"{"name":"a/b","size":"1GiB"}"#),
            400,
            &["the character `/`", r#""field":"name""#],
        ),
        (
            "POST",
            "/v1/volumes",
            Some(r#"{"name":"a","size":"1Gx"}"#),
            400,
            &["unknown unit", r#""field":"size""#],
        ),
        (
            "POST",
            "/v1/volumes",
            Some(r#"{"name":"a","size":-1}"#),
            400,
            &["a size such as", r#""field":"size""#],
        ),
        ("POST", "/v1/volumes", Some(r#"{"name":"a","size":0}"#), 400, &["is zero"]),
        (
            "POST",
            "/v1/volumes",
            Some(r#"{"name":"a","source":{"volume":7}}"#),
            400,
            &[r#""field":"source.volume""#],
        ),
        (
            "POST",
            "/v1/volumes",
            Some(r#"{"name":"a","options":{"snapDir":"true"}}"#),
            400,
            &["did you mean `snapshotDir`", "options.snapDir"],
        ),
        (
            "POST",
            "/v1/volumes",
            Some(r#"{"name":"a","layout":"file","filesystem":"xfs"}"#),
            400,
            &["layout `block`"],
        ),
        ("POST", "/v1/volumes?wait=soon", Some(r#"{"name":"a"}"#), 400, &["500ms"]),
        (
            "POST",
            "/v1/volumes?wiat=1s",
            Some(r#"{"name":"a"}"#),
            400,
            &["unknown field `wiat`", "did you mean `wait`?"],
        ),
        ("GET", "/v1/volumes?limit=0", None, 400, &["use 1 to 10000"]),
        ("GET", "/v1/volumes?limit=x", None, 400, &["limit"]),
        ("GET", "/v1/volumes?selector=a;;b", None, 400, &["selector"]),
        ("DELETE", "/v1/volumes/db?snapshots=keep", None, 400, &["write `delete`"]),
        ("POST", "/v1/adopt", Some("{}"), 400, &["neither a volume is named"]),
        ("POST", "/v1/adopt", Some(r#"{"volume":"nix"}"#), 404, &["there is no volume without record `nix`"]),
        ("POST", "/v1/volumes/db/restore", Some(r#"{"snapshot":"nix"}"#), 404, &["nix"]),
        ("GET", "/v1/operations/op-99999", None, 404, &["forgotten"]),
        ("GET", "/v1/operations/x", None, 404, &["there is no operation `x`"]),
        ("GET", "/v1/volumes/db/snapshots/x", None, 404, &["snapshot of volume `db`"]),
        ("GET", "/v2", None, 404, &["there is no GET /v2", "/openapi.json"]),
        ("DELETE", "/v1/pools", None, 405, &["does not know DELETE"]),
        ("GET", "/v1/backends/men", None, 404, &["did you mean `mem`?"]),
        ("DELETE", "/v1/classes/glod", None, 404, &["did you mean `gold`?"]),
        ("DELETE", "/v1/nodes/nix", None, 404, &["there is no node"]),
        ("DELETE", "/v1/backends/mem", None, 409, &["has 1 volumes"]),
    ];
    for (method, path, body, status, parts) in table {
        let (got, _, text) = rig.send(method, path, *body).await;
        assert_eq!(got, *status, "{method} {path} {body:?}: {text}");
        assert!(serde_json::from_str::<api::ErrorBody>(&text).is_ok(), "{method} {path}: {text}");
        for part in *parts {
            assert!(text.replace("\\\"", "\"").contains(part), "{method} {path} {body:?}: {text}");
        }
    }
    let (got, _, text) = rig.send_as("text/plain", "POST", "/v1/volumes", Some("{}")).await;
    assert_eq!(got, 415, "{text}");
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(2 << 20));
    let (got, _, text) = rig.send("POST", "/v1/volumes", Some(&large)).await;
    assert_eq!((got, text.contains("larger than 1024 KiB")), (413, true), "{text}");
}

#[tokio::test]
async fn classes_come_in_any_shape_and_all_or_none() {
    let rig = Rig::start().await;
    let text =
        "name: a\nparameters: {provisioningType: thin}\n---\nkind: StorageClass\nmetadata: {name: b}\n";
    assert_eq!(rig.client.create_classes(text).await.unwrap().len(), 2);
    let error =
        refused(rig.client.create_classes("name: c\n---\nname: d\nparameters: {mediaa: ssd}\n").await);
    assert!(error.message.contains("did you mean `media`"), "{error:?}");
    let names: Vec<String> =
        rig.client.classes().await.unwrap().into_iter().map(|class| class.name).collect();
    assert_eq!(names, ["a", "b", CLASS]);
    rig.client.delete_class("a").await.unwrap();
    assert_eq!(refused(rig.client.class("a").await).kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_backend_that_cannot_be_opened_replaces_none() {
    let rig = Rig::start().await;
    let error =
        refused(rig.client.create_backend("version: 1\nstorageDriverName: nix\nbackendName: mem\n").await);
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    let error =
        refused(rig.client.create_backend("version: 1\nstorageDriverName: memory\nbackendName: [x]\n").await);
    assert_eq!(error.field.as_deref(), Some("backendName"), "{error:?}");
    let backend = rig.client.backend("mem").await.unwrap();
    assert_eq!((backend.driver.as_str(), backend.health), ("memory", api::BackendHealth::Online));
    rig.client
        .create_backend("{\"version\":1,\"storageDriverName\":\"memory\",\"backendName\":\"second\"}")
        .await
        .unwrap();
    assert_eq!(rig.client.pools().await.unwrap().len(), 2);
    rig.client.delete_backend("second").await.unwrap();
    assert_eq!(rig.client.backends().await.unwrap().len(), 1);
}

#[tokio::test]
async fn volumes_are_forgotten_adopted_and_imported() {
    let rig = Rig::start().await;
    done(rig.client.create_volume(&wanted("db"), Wait::Done).await.unwrap());
    assert_eq!(rig.client.preview_forget("db").await.unwrap().name, "db");
    rig.client.forget_volume("db").await.unwrap();
    assert_eq!(refused(rig.client.volume("db", false).await).kind, ErrorKind::NotFound);
    assert_eq!(rig.client.doctor().await.unwrap().len(), 1);

    let all = AdoptRequest { all: true, ..AdoptRequest::default() };
    let trial = rig.client.adopt(&all, true).await.unwrap();
    assert_eq!((trial.found.len(), trial.adopted.len()), (1, 0));
    let adopted = rig.client.adopt(&all, false).await.unwrap();
    assert_eq!((adopted.adopted[0].name.as_str(), adopted.failed.len()), ("db", 0));
    assert_eq!(adopted.adopted[0].origin, "adopted");
    assert!(rig.client.doctor().await.unwrap().is_empty());

    let wish = ImportRequest {
        name: "old".to_owned(),
        backend: "mem".to_owned(),
        original: "nix".to_owned(),
        class: None,
        filesystem: None,
        labels: Default::default(),
    };
    assert_eq!(refused(rig.client.preview_import(&wish).await).kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn the_server_tells_of_itself() {
    let rig = Rig::start().await;
    assert_eq!(rig.client.version().await.unwrap().node, "here");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(rig.send("GET", path, None).await.0, 200);
    }
    let (status, headers, metrics) = rig.send("GET", "/metrics", None).await;
    assert_eq!(status, 200);
    assert!(headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    let (_, headers, _) = rig.send("GET", "/v1/version", None).await;
    assert!(headers.contains_key("x-request-id"));
    let (_, _, described) = rig.send("GET", "/openapi.json", None).await;
    assert_eq!(described, rest::openapi());
}

#[tokio::test]
async fn pages_of_other_sites_are_kept_out_of_the_port() {
    let rig = Rig::start().await;
    assert_eq!(rig.at_port(&[("host", "127.0.0.1:1")]).await, 200);
    assert_eq!(rig.at_port(&[("host", "evil.example")]).await, 403);
    assert_eq!(rig.at_port(&[("host", "127.0.0.1:1"), ("origin", "https://evil.example")]).await, 403);
}

#[tokio::test]
async fn a_port_that_others_can_reach_must_be_wished_for() {
    let settings =
        rest::RestSettings { address: Some("0.0.0.0:0".parse().unwrap()), ..rest::RestSettings::default() };
    let error = rest::Server::claim(&settings).await.unwrap_err().to_string();
    assert!(error.contains("there is no password"), "{error}");
}

/// `UPDATE=1 cargo test -p rest` writes it anew.
#[test]
fn the_checked_in_description_is_the_served_one() {
    let path = "../../../docs/openapi.json";
    let described = rest::openapi();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &described).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(checked_in == described, "docs/openapi.json is out of date; run `UPDATE=1 cargo test -p rest`");
}
