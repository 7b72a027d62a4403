use super::*;

fn class(text: &str) -> ClassCreate {
    classes(text).unwrap().remove(0)
}

fn parameter<'a>(class: &'a ClassCreate, key: &str) -> Option<&'a str> {
    class.parameters.get(key).map(String::as_str)
}

#[test]
fn a_class_is_read_in_our_shape_with_scalars_as_text() {
    let class = class("name: gold\nparameters:\n  snapshots: true\n  IOPS: 500\nmountOptions: [noatime]\n");
    assert_eq!(class.name, "gold");
    assert_eq!(parameter(&class, "snapshots"), Some("true"));
    assert_eq!(parameter(&class, "IOPS"), Some("500"));
    assert_eq!(class.mount_options, ["noatime"]);
}

#[test]
fn a_class_is_read_in_the_shape_trident_stores() {
    let inner = r#"{"version":"1","name":"gold","attributes":{"media":"ssd"},"storagePools":{"a":["p1","p2"],"b":[".*"]}}"#;
    for text in [inner.to_owned(), format!("{{\"Config\":{inner},\"storage\":{{}}}}")] {
        let class = class(&text);
        assert_eq!(parameter(&class, "media"), Some("ssd"), "{text}");
        assert_eq!(parameter(&class, "storagePools"), Some("a:p1,p2;b:.*"));
    }
}

#[test]
fn a_class_is_read_from_a_storageclass_and_its_annotations_win() {
    let class = class(
        "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata:\n  name: gold\n  annotations:\n    \
         trident.netapp.io/selector: tier=gold\n    other/annotation: x\nprovisioner: csi.trident.netapp.io\n\
         reclaimPolicy: Delete\nparameters:\n  trident.netapp.io/selector: tier=lead\n  media: ssd\n",
    );
    assert_eq!(parameter(&class, "selector"), Some("tier=gold"));
    assert_eq!(parameter(&class, "trident.netapp.io/selector"), None);
    assert_eq!(parameter(&class, "media"), Some("ssd"));
}

#[test]
fn one_file_holds_many_documents_and_lists() {
    let text =
        "name: a\n---\nstorageDriverName: linux\npool: /x\n---\n# nothing\n---\n- name: b\n- name: c\n";
    let found: Vec<String> = read(text)
        .unwrap()
        .into_iter()
        .map(|document| match document {
            Document::Class(class) => class.name,
            Document::Backend(value) => value["pool"].as_str().unwrap().to_owned(),
        })
        .collect();
    assert_eq!(found, ["a", "/x", "b", "c"]);
    assert_eq!(classes("kind: List\nitems:\n- name: d\n").unwrap()[0].name, "d");
}

#[test]
fn json_with_tabs_and_several_objects_is_read() {
    assert_eq!(classes("{\n\t\"name\": \"a\"\n}\n{\"name\":\"b\"}").unwrap().len(), 2);
}

#[test]
fn mistakes_are_explained() {
    for (text, part) in [
        ("", "the text is empty"),
        ("---\n", "the text is empty"),
        ("a: [", "not valid YAML or JSON"),
        ("just words", "expected `key: value` lines, found text"),
        ("pool: x", "neither a backend (no `storageDriverName`) nor a class"),
        ("name: a\nparametres: {}", "unknown field `parametres`; known in a class: name, parameters"),
        ("name: [a]", "name is a list; write text"),
        ("name: a\nparameters: [x]", "parameters is a list; write `key: value` lines"),
        ("name: a\nparameters: {media: [ssd]}", "parameters.media is a list; write text"),
        ("name: a\nmountOptions: hard", "mountOptions is text; write a list of texts"),
        ("name: a\nstoragePools: 7", "storagePools is a number; write `backend: [pool, pool]`"),
        ("kind: Pod\nmetadata: {name: a}", "only StorageClass is read here"),
        ("kind: StorageClass\nparameters: {}", "metadata.name is missing"),
        ("kind: StorageClass\nmetadata: {labels: {}}", "metadata.name is missing"),
        ("name: a\n---\nname: 7", "document 2: name is a number"),
        ("storageDriverName: linux", "a class was expected"),
    ] {
        let error = classes(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text:?}: {error}");
    }
}
