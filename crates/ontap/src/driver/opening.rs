//! What has to be known of an array before it can be used.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use driver::config::BackendFile;
use driver::{DriverError, DriverInfo, ErrorKind, Result};
use model::{InstanceId, PoolName};

use super::{OPEN, OntapDriver};
use crate::access::Sound;
use crate::access::nfs::Book;
use crate::client::Client;
use crate::config::{Account, Config, Kind, SanType};
use crate::error::{CallError, EXISTS};
use crate::layout::{Array, Known, Shelves};
use crate::wire::interfaces::{self, Service};
use crate::wire::svms::{self, Svm};
use crate::wire::{cluster, exports, iscsi};

impl OntapDriver {
    pub(crate) async fn open(file: BackendFile, config: Config, instance: InstanceId) -> Result<OntapDriver> {
        let client = Client::new(&config).map_err(|e| refuse(ErrorKind::Invalid, e))?;
        let place = client.place().to_owned();
        let account = config.account.clone();
        let fail = |error: CallError| blame(error, &place, &account);
        let cluster = cluster::get(&client).await.map_err(fail)?;
        if !cluster.version.is_enough() {
            let message =
                format!("ONTAP {} at {place} is too old; version 9.12.1 or later is needed", cluster.version);
            return Err(refuse(ErrorKind::Unsupported, message));
        }
        if cluster.san_optimized && cluster.disaggregated {
            let message = format!("{place} is an ASA r2, whose storage units are not supported yet");
            return Err(refuse(ErrorKind::Unsupported, message));
        }
        let svm = choose(svms::list(&client, config.svm.as_deref()).await.map_err(fail)?, &config)?;
        let aggregates = aggregates(&svm, &config)?;
        let service = match (config.kind.is_nas(), config.san) {
            (true, _) => Service::Nfs,
            (false, SanType::Iscsi) => Service::Iscsi,
            (false, SanType::Nvme) => Service::Nvme,
        };
        let data_addresses = interfaces::addresses(&client, &svm.name, service).await.map_err(fail)?;
        let target = match service {
            Service::Iscsi => Some(target(&client, &svm.name).await.map_err(fail)??),
            Service::Nfs | Service::Nvme => None,
        };
        if data_addresses.is_empty() && config.data_address.is_none() {
            let message = format!(
                "SVM `{}` (`svm` of the backend file) has no data interface for {service:?} that is up",
                svm.name
            );
            return Err(refuse(ErrorKind::Unreachable, message));
        }
        let first_pool = match config.kind {
            Kind::NasFlexGroup => PoolName::new(&svm.name),
            _ => PoolName::new(&aggregates[0]),
        };
        let first_pool = file.virtual_pools().next().cloned().map_or(first_pool, Ok).map_err(|e| {
            refuse(ErrorKind::Unsupported, "a name on the array cannot be a pool's".to_owned()).because(e)
        })?;
        let array = Array {
            client,
            svm: svm.name,
            instance,
            config,
            aggregates,
            target,
            data_addresses,
            first_pool,
            confined: AtomicBool::new(false),
            known: Known::default(),
            shelves: Shelves::default(),
            sound: Sound::default(),
        };
        let book = Book::default();
        if array.config.kind == Kind::NasEconomy {
            match exports::create(&array.client, &array.svm, &array.doors(), &[]).await {
                Err(error) if !error.is(EXISTS) => return Err(fail(error)),
                _ => {}
            }
        }
        if array.config.kind.is_nas() {
            book.read(&array).await.map_err(fail)?;
            match exports::create(&array.client, &array.svm, &array.empty_policy(), &[]).await {
                Err(error) if !error.is(EXISTS) => return Err(fail(error)),
                _ => {}
            }
        }
        Ok(OntapDriver {
            info: DriverInfo {
                backend: file.name().clone(),
                driver: array.config.kind.name(),
                instance: array.instance.clone(),
            },
            file,
            array,
            book,
            seen: Mutex::new(HashMap::new()),
            cloned: Mutex::new(HashMap::new()),
        })
    }
}

/// What went wrong with the first calls, and which key of the file to look at.
fn blame(error: CallError, place: &str, account: &Account) -> DriverError {
    let key = match &error {
        CallError::Refused(refusal) if refusal.kind() == ErrorKind::Denied => account.keys(),
        CallError::Silent(error) if is_about_certificates(error) => "`trustedCACertificate`",
        CallError::Silent(_) | CallError::Cut | CallError::Strange(_) => "`managementLIF`",
        CallError::Refused(refusal) if refusal.code.is_empty() => "`managementLIF`",
        CallError::Refused(_) | CallError::Failed(_) | CallError::Slow { .. } => {
            return error.in_operation(OPEN, place);
        }
    };
    let mut shown = error.in_operation(OPEN, place);
    let or_there = if shown.kind == ErrorKind::Denied { ", or in the secret that it names" } else { "" };
    shown.message.push_str(&format!("; look at {key} in the backend file{or_there}"));
    shown
}

fn is_about_certificates(error: &reqwest::Error) -> bool {
    let first: &dyn std::error::Error = error;
    std::iter::successors(Some(first), |error| error.source())
        .any(|error| error.to_string().contains("certificate"))
}

/// The one SVM that is meant.
fn choose(mut svms: Vec<Svm>, config: &Config) -> Result<Svm> {
    let names = svms.iter().map(|svm| format!("`{}`", svm.name)).collect::<Vec<_>>().join(", ");
    let svm = match (svms.pop(), svms.is_empty(), &config.svm) {
        (Some(svm), true, _) => svm,
        (Some(_), false, _) => {
            return Err(refuse(
                ErrorKind::Invalid,
                format!("the account sees several SVMs: {names}; write one as `svm`"),
            ));
        }
        (None, _, Some(svm)) => {
            return Err(refuse(
                ErrorKind::NotFound,
                format!(
                    "there is no SVM `{svm}` that the account can see; look at `svm` in the backend file"
                ),
            ));
        }
        (None, _, None) => {
            return Err(refuse(ErrorKind::NotFound, "the account sees no SVM".to_owned()));
        }
    };
    match svm.state.as_deref() {
        None | Some("running") => Ok(svm),
        Some(state) => {
            let message = format!("SVM `{}` (`svm` of the backend file) is {state}; start it", svm.name);
            Err(refuse(ErrorKind::Unreachable, message))
        }
    }
}

fn aggregates(svm: &Svm, config: &Config) -> Result<Vec<String>> {
    let assigned: Vec<&str> = svm.aggregates.iter().map(|aggregate| aggregate.name.as_str()).collect();
    if assigned.is_empty() {
        let message =
            format!("SVM `{}` (`svm` of the backend file) has no aggregates; assign some to it", svm.name);
        return Err(refuse(ErrorKind::NotFound, message));
    }
    let wanted = config.aggregates.iter().chain(config.slices.iter().flatten());
    for aggregate in wanted {
        if !assigned.contains(&aggregate.as_str()) {
            let message = format!(
                "`aggregate` of the backend file, `{aggregate}`, is not among those of SVM `{}`: {}",
                svm.name,
                assigned.join(", ")
            );
            return Err(refuse(ErrorKind::NotFound, message));
        }
    }
    match config.aggregates.is_empty() {
        true => Ok(assigned.into_iter().map(str::to_owned).collect()),
        false => Ok(config.aggregates.clone()),
    }
}

/// The name of the SVM's iSCSI target.
async fn target(client: &Client, svm: &str) -> Result<Result<String>, CallError> {
    let service = iscsi::service(client, svm).await?;
    let enabled = service.filter(|service| service.enabled.unwrap_or(true));
    Ok(enabled.and_then(|service| service.target).map(|target| target.name).ok_or_else(|| {
        refuse(ErrorKind::Unsupported, format!("SVM `{svm}` does not run iSCSI; start its service"))
    }))
}

fn refuse(kind: ErrorKind, message: String) -> DriverError {
    DriverError::new(kind, OPEN, message)
}
