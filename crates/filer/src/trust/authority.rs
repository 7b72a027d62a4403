//! A small authority of one's own, for those who have none.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use super::{Tenant, TrustFiles};
use crate::error::{Context, FilerError, Result};

/// A folder with an authority's certificate and key, and the pairs it has made.
#[derive(Clone, Debug)]
pub struct Authority {
    folder: PathBuf,
}

/// A pair that was made, with the authority to believe beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    pub files: TrustFiles,
    /// The last day on which it is believed.
    pub until: Date,
}

const CA: &str = "ca";
const SERVER: &str = "server";
const CA_YEARS: i32 = 20;

impl Authority {
    /// Makes an authority where there is none, and a certificate for a filer that is reached by `names`.
    ///
    /// # Behavior
    /// An authority that is there is kept: repeating it renews the filer's certificate. Keys are for root alone.
    ///
    /// # Errors
    /// `Invalid` for a name that is neither an address nor a host's, `Conflict` for half an authority.
    pub fn init(folder: impl Into<PathBuf>, names: &[String], days: u16) -> Result<(Authority, Issued)> {
        let authority = Authority { folder: folder.into() };
        let mut params = CertificateParams::new(names).map_err(|e| {
            FilerError::Invalid(format!("{names:?} cannot all be names or addresses of a host: {e}"))
        })?;
        if names.is_empty() {
            return Err(FilerError::Invalid(
                "a filer needs a name or an address that it is reached by".into(),
            ));
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&authority.folder)
            .while_doing("create directory", &authority.folder)?;
        let (certificate, key) = (authority.file(CA, "crt"), authority.file(CA, "key"));
        match (certificate.exists(), key.exists()) {
            (false, false) => authority.found()?,
            (true, true) => {}
            _ => {
                return Err(FilerError::Conflict(format!(
                    "of {} and {} one is missing; bring it back, or remove the other to begin anew",
                    certificate.display(),
                    key.display()
                )));
            }
        }
        params.distinguished_name = called(names.first().map_or(SERVER, String::as_str));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issued = authority.sign(SERVER, params, days)?;
        Ok((authority, issued))
    }

    /// The authority that [`init`](Authority::init) has made.
    ///
    /// # Errors
    /// `NotFound` without one.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Authority> {
        let authority = Authority { folder: folder.into() };
        let key = authority.file(CA, "key");
        if !key.exists() {
            return Err(FilerError::NotFound(format!(
                "{} does not exist; make an authority first with `leister filer trust init`",
                key.display()
            )));
        }
        Ok(authority)
    }

    /// A pair for a client that asks for the volumes of `tenant`. Repeating it renews the pair.
    ///
    /// # Errors
    /// `Invalid` for a name that the authority uses itself.
    pub fn issue(&self, tenant: &Tenant, days: u16) -> Result<Issued> {
        if [CA, SERVER].contains(&tenant.as_str()) {
            return Err(FilerError::Invalid(format!(
                "the name `{tenant}` is the authority's own; use another"
            )));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = called(tenant.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(tenant.as_str(), params, days)
    }

    fn found(&self) -> Result<()> {
        let key = KeyPair::generate().map_err(broken)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = called("Leister filer authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid_until(&mut params, today().saturating_add(CA_YEARS.years()));
        let certificate = params.self_signed(&key).map_err(broken)?;
        // The key first: without its certificate it is seen as half an authority, never used.
        write(&self.file(CA, "key"), &key.serialize_pem(), 0o600)?;
        write(&self.file(CA, "crt"), &certificate.pem(), 0o644)
    }

    fn sign(&self, name: &str, mut params: CertificateParams, days: u16) -> Result<Issued> {
        let until = today().saturating_add(i64::from(days).days());
        valid_until(&mut params, until);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let files = TrustFiles {
            certificate: self.file(name, "crt"),
            key: self.file(name, "key"),
            ca: self.file(CA, "crt"),
        };
        let (ca, ca_key) = (self.read(&files.ca)?, self.read(&self.file(CA, "key"))?);
        let unusable = |e: rcgen::Error| {
            FilerError::Invalid(format!("the authority in {} is damaged: {e}", self.folder.display()))
        };
        let issuer =
            Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&ca_key).map_err(unusable)?).map_err(unusable)?;
        let key = KeyPair::generate().map_err(broken)?;
        let certificate = params.signed_by(&key, &issuer).map_err(broken)?;
        write(&files.key, &key.serialize_pem(), 0o600)?;
        write(&files.certificate, &certificate.pem(), 0o644)?;
        Ok(Issued { files, until })
    }

    fn file(&self, name: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{name}.{ending}"))
    }

    fn read(&self, path: &Path) -> Result<String> {
        fs::read_to_string(path).while_doing("read", path)
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

/// From yesterday on, so that a clock that is a little behind does not refuse it.
fn valid_until(params: &mut CertificateParams, until: Date) {
    let day = |date: Date| {
        rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = day(today().saturating_sub(1.day()));
    params.not_after = day(until);
}

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// In one piece, with its rights from the first moment.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let new = path.with_added_extension("new");
    let _ = fs::remove_file(&new);
    let mut options = OpenOptions::new();
    let mut file: File =
        options.write(true).create_new(true).mode(mode).open(&new).while_doing("create", &new)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).while_doing("write", &new)?;
    fs::rename(&new, path).while_doing("replace", path)
}

fn broken(error: rcgen::Error) -> FilerError {
    FilerError::Invalid(format!("cannot make a certificate: {error}"))
}
