//! Our words for the protocol against the official ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost_types::field_descriptor_proto::Label;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};

const OURS: &str = "../frontends/csi/proto";
/// Services that we do not serve.
const LEFT_OUT: [&str; 1] = ["SnapshotMetadata"];

#[test]
fn our_protocol_is_the_official_one_in_names_numbers_and_types() {
    let folder = match go_suite::spec() {
        Ok(folder) => folder,
        Err(why) => return println!("skipped: the official protocol cannot be had: {why:#}"),
    };
    let (ours, official) = (facts(Path::new(OURS)), facts(&folder));
    for (name, fact) in &ours {
        assert_eq!(official.get(name), Some(fact), "{name}");
    }
    let is_method = |name: &&String| name.starts_with("rpc ");
    let served: BTreeSet<&String> = ours.keys().filter(is_method).collect();
    let all: BTreeSet<&String> = official.keys().filter(is_method).collect();
    let missing: Vec<&&String> = all
        .difference(&served)
        .filter(|name| !LEFT_OUT.iter().any(|service| name.contains(&format!("{service}."))))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    // A message that we have, we have whole.
    let owner = |name: &str| name.rsplit_once('.').map(|(owner, _)| owner.to_owned());
    let owners: BTreeSet<_> = ours.keys().filter_map(|name| owner(name)).collect();
    let incomplete: Vec<&String> = official
        .keys()
        .filter(|name| !name.starts_with("rpc ") && owner(name).is_some_and(|o| owners.contains(&o)))
        .filter(|name| !ours.contains_key(*name))
        .collect();
    assert!(incomplete.is_empty(), "{incomplete:?}");
    println!("{} facts of the protocol agree, {} methods among them", ours.len(), served.len());
}

/// Every fact of a protocol by its full name.
fn facts(folder: &Path) -> BTreeMap<String, String> {
    let set = protox::compile(["csi.proto"], [folder]).unwrap();
    let file = set.file.iter().find(|file| file.name() == "csi.proto").unwrap();
    let mut facts = BTreeMap::from([("package".to_owned(), format!("{} {}", file.package(), file.syntax()))]);
    services(file, &mut facts);
    for message in &file.message_type {
        add_message(file.package(), message, &mut facts);
    }
    for words in &file.enum_type {
        add_enum(file.package(), words, &mut facts);
    }
    facts
}

fn services(file: &FileDescriptorProto, facts: &mut BTreeMap<String, String>) {
    for service in &file.service {
        for method in &service.method {
            let streams = (method.client_streaming(), method.server_streaming());
            let fact = format!("{} -> {} {streams:?}", method.input_type(), method.output_type());
            facts.insert(format!("rpc {}.{}", service.name(), method.name()), fact);
        }
    }
}

fn add_message(scope: &str, message: &DescriptorProto, facts: &mut BTreeMap<String, String>) {
    let name = format!("{scope}.{}", message.name());
    for field in &message.field {
        facts.insert(format!("{name}.{}", field.name()), field_fact(message, field));
    }
    for nested in &message.nested_type {
        add_message(&name, nested, facts);
    }
    for words in &message.enum_type {
        add_enum(&name, words, facts);
    }
}

fn field_fact(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let number = field.number();
    let one_of = field.oneof_index.map(|index| message.oneof_decl[usize::try_from(index).unwrap()].name());
    let is_list = field.label() == Label::Repeated;
    format!("{number} {:?} {} list={is_list} oneof={one_of:?}", field.r#type(), field.type_name())
}

fn add_enum(scope: &str, words: &EnumDescriptorProto, facts: &mut BTreeMap<String, String>) {
    for value in &words.value {
        facts.insert(format!("{scope}.{}.{}", words.name(), value.name()), value.number().to_string());
    }
}
