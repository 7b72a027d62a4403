use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

#[test]
fn two_commands_make_a_pair_that_fits_and_repeating_them_renews_it() {
    let dir = TempDir::new().unwrap();
    let names = ["filer.example".to_owned(), "10.0.0.1".to_owned(), "fd00::1".to_owned()];
    let (authority, server) = Authority::init(dir.path(), &names, 30).unwrap();
    let tenant = Tenant::new("docker-1").unwrap();
    let client = authority.issue(&tenant, 30).unwrap();
    server.files.for_server().unwrap();
    client.files.for_client().unwrap();
    let chain = files::certificates(&client.files.certificate).unwrap();
    assert_eq!(Tenant::of(&chain[0]).unwrap(), tenant);
    for name in ["ca.key", "server.key", "docker-1.key"] {
        let mode = dir.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let ca = std::fs::read(&server.files.ca).unwrap();
    let (again, renewed) = Authority::init(dir.path(), &names, 30).unwrap();
    assert_eq!(std::fs::read(&renewed.files.ca).unwrap(), ca);
    again.issue(&tenant, 30).unwrap().files.for_client().unwrap();
    Authority::open(dir.path()).unwrap();
}

#[test]
fn what_cannot_be_a_pair_is_refused_by_its_file() {
    let dir = TempDir::new().unwrap();
    let absent = Authority::open(dir.path()).unwrap_err().to_string();
    assert!(absent.contains("leister filer trust init"), "{absent}");
    assert!(Authority::init(dir.path(), &[], 30).unwrap_err().to_string().contains("needs a name"));
    let (authority, server) = Authority::init(dir.path(), &["filer".to_owned()], 30).unwrap();
    assert!(authority.issue(&Tenant::new("ca").unwrap(), 30).is_err());
    let one = authority.issue(&Tenant::new("one").unwrap(), 30).unwrap().files;
    let two = authority.issue(&Tenant::new("two").unwrap(), 30).unwrap().files;
    let text = dir.path().join("text");
    std::fs::write(&text, "no certificate").unwrap();
    for (files, part) in [
        (TrustFiles { key: two.key.clone(), ..one.clone() }, "do not fit together"),
        (TrustFiles { key: one.certificate.clone(), ..one.clone() }, "holds no private key"),
        (TrustFiles { certificate: text.clone(), ..one.clone() }, "holds no certificate"),
        (TrustFiles { ca: dir.path().join("gone"), ..one.clone() }, "gone: No such file"),
    ] {
        let error = files.for_client().unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
        assert!(TrustFiles { ca: files.ca.clone(), ..files }.for_server().is_err());
    }
    std::fs::remove_file(dir.path().join("ca.key")).unwrap();
    let half = Authority::init(dir.path(), &["filer".to_owned()], 30).unwrap_err().to_string();
    assert!(half.contains("one is missing"), "{half}");
    server.files.for_server().unwrap();
}

#[test]
fn a_tenant_is_a_plain_word() {
    for name in ["", "a.b", "a/b", "a b", "ä", &"x".repeat(64)] {
        assert!(Tenant::new(name).is_err(), "{name}");
    }
    assert_eq!(Tenant::new("Node-1_a").unwrap().as_str(), "Node-1_a");
}
