//! Classes, backends, nodes, placement and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use driver::Outcome;
use driver::config::BackendFile;
use model::{Bytes, Class, ClassName};
use orchestrator::{BackendHealth, BackendOrigin, CreateRequest, ErrorKind, Request};

use crate::house::*;

fn class(name: &str, parameters: &[(&str, &str)]) -> Class {
    Class {
        name: ClassName::new(name).unwrap(),
        parameters: parameters
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        mount_options: vec!["soft".into()],
    }
}

fn of_class(name: &str, class: &str) -> Request {
    let class = Some(ClassName::new(class).unwrap());
    Request::Create(Box::new(CreateRequest { class, ..CreateRequest::named(id(name)) }))
}

#[test]
fn a_class_decides_and_a_wrong_one_is_refused() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        let thick = class("thick", &[("provisioningType", "thick")]);
        assert!(matches!(o.create_class(thick.clone()).await.unwrap(), Outcome::Changed(_)));
        assert!(matches!(o.create_class(thick).await.unwrap(), Outcome::Unchanged(_)));
        run(&o, of_class("v", "thick")).await.unwrap();
        let record = o.catalogue().volume(&id("v")).unwrap();
        assert_eq!(record.spec.provisioning, model::Provisioning::Thick);
        assert_eq!(record.spec.mount_options, ["soft"]);

        let error = o.create_class(class("odd", &[("medai", "ssd")])).await.unwrap_err();
        assert!(
            error.kind == ErrorKind::Invalid && error.message.contains("did you mean `media`"),
            "{error}"
        );
        let error = run(&o, of_class("w", "thik")).await.unwrap_err();
        assert!(error.sentence().contains("did you mean `thick`"), "{}", error.sentence());
    });
}

#[test]
fn a_refusal_names_the_reason_of_each_pool() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        o.create_class(class("fast", &[("media", "ssd")])).await.unwrap();
        let error = run(&o, of_class("v", "fast")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains("array/memory: it offers no media; ssd was asked for"), "{error}");
        assert_eq!(o.catalogue().volume_count(), 0);
    });
}

#[test]
fn backends_come_and_go_but_not_while_volumes_are_on_them() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        let second = "version: 1\nstorageDriverName: memory\nbackendName: second\nstoragePrefix: x\n";
        let view =
            o.create_backend(BackendFile::parse(second, "t").unwrap(), BackendOrigin::Stored).await.unwrap();
        assert_eq!(view.health, BackendHealth::Online);
        let on_second = CreateRequest {
            backend: Some(model::BackendName::new("second").unwrap()),
            ..CreateRequest::named(id("v"))
        };
        run(&o, Request::Create(Box::new(on_second))).await.unwrap();
        let name = model::BackendName::new("second").unwrap();
        assert_eq!(o.delete_backend(&name).await.unwrap_err().kind, ErrorKind::InUse);
        let moved = second.replace("storagePrefix: x", "storagePrefix: y");
        let error = o
            .create_backend(BackendFile::parse(&moved, "t").unwrap(), BackendOrigin::Stored)
            .await
            .unwrap_err();
        assert!(error.message.contains("storagePrefix cannot change"), "{error}");
        o.stop().await;

        let o = house.open().await;
        until("the stored backend is open", || o.is_ready().is_ok()).await;
        let view = o.backend(&name).await.unwrap().expect("it is stored");
        assert_eq!(view.health, BackendHealth::Online);
        run(&o, delete("v")).await.unwrap();
        assert!(o.delete_backend(&name).await.unwrap());
        assert!(!o.delete_backend(&name).await.unwrap());
        let error = o.delete_backend(&backend()).await.unwrap_err();
        assert!(error.message.contains("defined in test.yaml"), "{error}");
    });
}

#[test]
fn a_declared_backend_comes_changes_and_goes_but_never_from_under_its_volumes() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        let gold = "version: 1\nstorageDriverName: memory\nbackendName: gold\nstoragePrefix: x\n";
        let file = |text: &str| BackendFile::parse(text, "t").unwrap();
        let name = model::BackendName::new("gold").unwrap();
        let (one, two) = ("Backend ns/one", "Backend ns/two");
        let refused = async |text: &str, object: &str| {
            o.declare_backend(file(text), object).await.unwrap_err().sentence()
        };
        // Stored first, then declared: what the cluster says holds.
        o.create_backend(file(gold), BackendOrigin::Stored).await.unwrap();
        let suspended = format!("{gold}userState: suspended\n");
        o.declare_backend(file(&suspended), one).await.unwrap();
        let view = o.backend(&name).await.unwrap().unwrap();
        assert!(view.suspended && view.origin == BackendOrigin::Declared(one.to_owned()), "{view:?}");
        o.declare_backend(file(gold), one).await.unwrap();
        assert!(refused(gold, two).await.contains("defined in Backend ns/one"));
        assert!(refused(CONFIG, two).await.contains("defined in test.yaml"));
        let error = o.create_backend(file(gold), BackendOrigin::Stored).await.unwrap_err();
        assert!(error.sentence().contains("kubectl"), "{error}");
        assert!(o.delete_backend(&name).await.unwrap_err().sentence().contains("kubectl"));

        let wish = CreateRequest { backend: Some(name.clone()), ..CreateRequest::named(id("v")) };
        run(&o, Request::Create(Box::new(wish))).await.unwrap();
        let moved = gold.replace("storagePrefix: x", "storagePrefix: y");
        assert!(refused(&moved, one).await.contains("storagePrefix cannot change"));
        // One that does not open replaces none that does.
        house
            .faults()
            .always(driver::memory::Call::Pools, driver::memory::Fault::Refuse(driver::ErrorKind::Denied));
        refused(&suspended, one).await;
        assert!(!o.backend(&name).await.unwrap().unwrap().suspended);
        house.faults().lift();
        assert_eq!(o.withdraw_backend(&name, one).unwrap_err().kind, ErrorKind::InUse);
        assert!(!o.withdraw_backend(&name, two).unwrap());
        run(&o, delete("v")).await.unwrap();
        assert!(o.withdraw_backend(&name, one).unwrap());
        let view = o.backend(&name).await.unwrap().expect("it is stored still");
        assert_eq!(view.origin, BackendOrigin::Stored);
        assert!(o.delete_backend(&name).await.unwrap());
    });
}

#[test]
fn a_suspended_backend_gets_no_new_volumes() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("old", Bytes::mib(1))).await.unwrap();
        let suspended = format!("{CONFIG}userState: suspended\n");
        let file = BackendFile::parse(&suspended, "t").unwrap();
        o.create_backend(file, BackendOrigin::File("test.yaml".into())).await.unwrap();
        let error = run(&o, create("v", Bytes::mib(1))).await.unwrap_err();
        assert!(error.message.contains("suspended"), "{error}");
        run(&o, grow("old", Bytes::mib(2))).await.unwrap();
    });
}

#[test]
fn metrics_tell_of_operations_calls_volumes_and_pools() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        o.ask_storage_classes_of(Arc::new(|record| (record.id.as_str() == "v").then(|| "gold".to_owned())));
        let text = o.metrics();
        for line in [
            ",storage_class=\"gold\"} 1",
            "leister_operation_duration_seconds_count{verb=\"create\",backend=\"array\",outcome=\"ok\"} 1",
            "leister_backend_call_duration_seconds_count{backend=\"array\",call=\"create volume\",outcome=\"ok\"} 1",
            "leister_volumes{backend=\"array\",state=\"ready\"} 1",
            "leister_queue_depth{backend=\"array\",queue=\"create\"} 0",
            "leister_pool_capacity_bytes{backend=\"array\",pool=\"memory\",kind=\"total\"} 1073741824000",
            "leister_volume_info{volume=\"v\",backend=\"array\"",
            "leister_volume_size_bytes{volume=\"v\"} 1073741824",
            "# EOF",
        ] {
            assert!(text.contains(line), "no `{line}` in:\n{text}");
        }
    });
}

#[test]
fn without_a_pool_the_refusal_names_what_is_wrong_with_the_backends() {
    block_on(async {
        let house = House::new();
        let o = house.open_without_backend().await;
        let error = run(&o, create("v", Bytes::mib(1))).await.unwrap_err();
        assert!(error.sentence().contains("create a backend with"), "{}", error.sentence());
        house.faults().always(driver::memory::Call::Pools, driver::memory::Fault::Hang);
        o.add_backend(BackendFile::parse(CONFIG, "t").unwrap(), BackendOrigin::File("t".into()));
        let error = run(&o, create("v", Bytes::mib(1))).await.unwrap_err();
        assert!(error.message.contains("backend `array` is opening"), "{error}");
    });
}
