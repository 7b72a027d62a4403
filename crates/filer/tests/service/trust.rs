//! Who is turned away, and with which words.

use std::sync::Arc;
use std::time::Duration;

use filer::{Authority, Client, ErrorKind, Tenant, TrustFiles};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::Rig;

/// A pair signed by the rig's authority, from one year's first day to another's.
fn signed(rig: &Rig, name: &str, usage: ExtendedKeyUsagePurpose, from: i32, until: i32) -> TrustFiles {
    let folder = rig.dir.path().join("trust");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let issuer =
        Issuer::from_ca_cert_pem(&read("ca.crt"), KeyPair::from_pem(&read("ca.key")).unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(until, 1, 1));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let file = |ending: &str| rig.dir.path().join(format!("{from}-{until}.{ending}"));
    std::fs::write(file("crt"), certificate.pem()).unwrap();
    std::fs::write(file("key"), key.serialize_pem()).unwrap();
    TrustFiles { certificate: file("crt"), key: file("key"), ca: folder.join("ca.crt") }
}

/// What the filer's side says to a client that does not look at its own certificate.
async fn knock(rig: &Rig, pair: Option<&TrustFiles>) -> Result<String, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(rig.dir.path().join("trust/ca.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_root_certificates(roots);
    let config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain =
                CertificateDer::pem_file_iter(&pair.certificate).unwrap().map(Result::unwrap).collect();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&pair.key).unwrap()).unwrap()
        }
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(rig.address()).await.unwrap();
    let talk = async {
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
        stream.write_all(b"GET /v1/volumes HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    talk.await.map_err(|e| e.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_without_a_valid_certificate_of_the_authority_is_heard() {
    let rig = Rig::new().await;
    rig.client("acme", "acme").await;
    assert!(knock(&rig, Some(&rig.pair("acme"))).await.unwrap().starts_with("HTTP/1.1 200"));
    let (other, _) = Authority::init(rig.dir.path().join("other"), &["localhost".to_owned()], 30).unwrap();
    let stranger = other.issue(&Tenant::new("acme").unwrap(), 30).unwrap().files;
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    for (what, pair, part) in [
        ("none", None, "CertificateRequired"),
        ("another authority's", Some(stranger), "fatal alert"),
        ("expired", Some(signed(&rig, "acme", client.clone(), 2000, 2001)), "CertificateExpired"),
        ("not valid yet", Some(signed(&rig, "acme", client.clone(), 2200, 2201)), "CertificateExpired"),
        ("a server's", Some(signed(&rig, "acme", ExtendedKeyUsagePurpose::ServerAuth, 2002, 2200)), "alert"),
    ] {
        let error = knock(&rig, pair.as_ref()).await.unwrap_err();
        assert!(error.contains(part), "{what}: {error}");
    }
    let nameless = signed(&rig, "a b/c", client, 2003, 2200);
    let answer = knock(&rig, Some(&nameless)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("names no tenant"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_says_what_is_wrong_with_the_trust() {
    let mut rig = Rig::new().await;
    let pair = rig.pair("acme");
    let refused = async |url: &str, trust: &TrustFiles| match Client::new(url, "i", trust) {
        Ok(client) => client.list().await.unwrap_err(),
        Err(e) => e,
    };
    let (other, _) = Authority::init(rig.dir.path().join("other"), &["localhost".to_owned()], 30).unwrap();
    let stranger = other.issue(&Tenant::new("acme").unwrap(), 30).unwrap().files;
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    let by_address = format!("https://127.0.0.2:{}", rig.address().port());
    for (url, trust, kind, part) in [
        (
            rig.url(),
            TrustFiles { ca: stranger.ca.clone(), ..pair.clone() },
            ErrorKind::Denied,
            "no authority in",
        ),
        (
            rig.url(),
            TrustFiles { ca: pair.ca.clone(), ..stranger.clone() },
            ErrorKind::Denied,
            "another authority than the filer's has signed it",
        ),
        (rig.url(), signed(&rig, "acme", usage.clone(), 2000, 2001), ErrorKind::Invalid, "has expired at"),
        (rig.url(), signed(&rig, "acme", usage.clone(), 2200, 2201), ErrorKind::Invalid, "set the clock"),
        (rig.url(), signed(&rig, "a/b", usage, 2003, 2200), ErrorKind::Denied, "names no tenant"),
        (by_address, pair.clone(), ErrorKind::Unreachable, "refuses the connection"),
        ("https://127.0.0.1:1".to_owned(), pair.clone(), ErrorKind::Unreachable, "refuses the connection"),
    ] {
        let error = refused(&url, &trust).await;
        assert!(error.kind() == kind && error.to_string().contains(part), "{part}: {error}");
    }
    for (server, part) in [
        (signed(&rig, "f", ExtendedKeyUsagePurpose::ServerAuth, 2000, 2001), "has expired, and here it is"),
        (signed(&rig, "f", ExtendedKeyUsagePurpose::ServerAuth, 2200, 2201), "the clock of one of the two"),
    ] {
        rig.stop().await;
        rig.start_with(server).await;
        let error = refused(&rig.url(), &pair).await;
        assert!(error.kind() == ErrorKind::Denied && error.to_string().contains(part), "{part}: {error}");
    }
    rig.stop().await;
    let (_, elsewhere) =
        Authority::init(rig.dir.path().join("trust"), &["filer.example".to_owned()], 30).unwrap();
    rig.start_with(elsewhere.files).await;
    let error = refused(&rig.url(), &pair).await.to_string();
    assert!(error.contains("is not for the name `localhost`"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_speak_tls_is_turned_away_and_disturbs_nobody() {
    let rig = Rig::new().await;
    let client = rig.client("acme", "acme").await;
    let say = async |text: &[u8]| {
        let mut stream = TcpStream::connect(rig.address()).await.unwrap();
        let _ = stream.write_all(text).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(60), read).await.expect("the connection stays open");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let plain = say(b"GET /v1/volumes HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 400") && plain.ends_with("write https:// here"), "{plain}");
    assert!(!say(&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).await.contains("HTTP"));
    assert!(!say(&[0; 4096]).await.contains("200"));
    assert!(client.list().await.unwrap().is_empty());

    // A port where something else answers, without TLS.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    let error = Client::new(&url, "i", &rig.pair("acme")).unwrap().list().await.unwrap_err();
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    answering.abort();
}
