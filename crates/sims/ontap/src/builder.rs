//! What kind of array a simulator is.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sim_kit::{Certificate, Clock, Server, StartError, Tls, TlsError};
use thiserror::Error;

use crate::array::{Account, Array, Limits, Manner};
use crate::seed::{self, AggregateSeed, InterfaceSeed, Seed};
use crate::state::State;
use crate::{Backing, Sim};

/// An array to be started.
pub struct Builder {
    seed: Seed,
    accounts: Vec<Account>,
    certificates: Vec<(String, String)>,
    clock: Clock,
    listen: SocketAddr,
    tls: Option<Tls>,
    manner: Manner,
    file: Option<PathBuf>,
    given: Option<State>,
    backing: Option<Arc<dyn Backing>>,
}

/// The three kinds of ONTAP systems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Personality {
    /// Files and blocks, on aggregates of the SVM's.
    #[default]
    Unified,
    /// Blocks only, as storage units.
    AsaR2,
    /// Files and blocks, where the array places volumes.
    Afx,
}

#[derive(Debug, Error)]
pub enum BuildError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the client certificate of `{user}` cannot be used")]
    ClientCertificate { user: String, source: TlsError },
    #[error("the state file {path} cannot be read")]
    ReadState { path: PathBuf, source: io::Error },
    #[error("the state file {path} holds no state of this simulator")]
    ForeignState { path: PathBuf },
    #[error("`{version}` is no ONTAP version such as 9.15.1")]
    Version { version: String },
}

impl Default for Builder {
    fn default() -> Self {
        let localhost = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            seed: Seed::default(),
            accounts: Vec::new(),
            certificates: Vec::new(),
            clock: Clock::real(),
            listen: localhost,
            tls: Some(Tls::default()),
            manner: Manner::default(),
            file: None,
            given: None,
            backing: None,
        }
    }
}

impl Builder {
    /// The name of the SVM; `svm1` without it. A second call adds a second SVM.
    #[must_use]
    pub fn svm(mut self, name: &str) -> Self {
        self.seed.svms.push(name.into());
        self
    }

    /// An account of the cluster. Without any account, `admin` with the password `netapp123` is let in.
    #[must_use]
    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.accounts.push(account(user, Some(password), None));
        self
    }

    /// An account that belongs to an SVM, and sees nothing else.
    #[must_use]
    pub fn svm_user(mut self, svm: &str, user: &str, password: &str) -> Self {
        self.accounts.push(account(user, Some(password), Some(svm)));
        self
    }

    /// An account of the cluster that shows this client certificate (PEM) instead of a password.
    #[must_use]
    pub fn client_certificate(mut self, user: &str, certificate: &str) -> Self {
        self.certificates.push((user.into(), certificate.into()));
        self
    }

    /// The version it shows; 9.15.1 without it.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.seed.version = version.into();
        self
    }

    #[must_use]
    pub fn personality(mut self, personality: Personality) -> Self {
        self.seed.personality = personality;
        self
    }

    /// How many nodes it has; two without it.
    #[must_use]
    pub fn nodes(mut self, nodes: u32) -> Self {
        self.seed.nodes = nodes.max(1);
        self
    }

    /// An aggregate of this many bytes; `media` is what ONTAP calls its disks: `ssd`, `hdd`, `ssd-nvm`, `fas`….
    /// Without any, there are `aggr1` and `aggr2` of 10 TiB on SSD. All belong to every SVM.
    #[must_use]
    pub fn aggregate(mut self, name: &str, bytes: u64, media: &str) -> Self {
        self.seed.aggregates.push(AggregateSeed { name: name.into(), bytes, media: media.into() });
        self
    }

    /// A network interface of the first SVM; `services` are such as `data_nfs`, `data_iscsi`, `data_nvme_tcp`,
    /// `management_https`. Without any, there is one on each node for all data.
    #[must_use]
    pub fn lif(mut self, name: &str, address: &str, services: &[&str]) -> Self {
        let services = services.iter().map(|service| (*service).to_owned()).collect();
        self.seed.interfaces.push(InterfaceSeed { name: name.into(), address: address.into(), services });
        self
    }

    /// The licences it has; `nfs`, `iscsi`, `nvme_of`, `flexclone`, `snapmirror` and `snaprestore` without a call.
    #[must_use]
    pub fn licences(mut self, names: &[&str]) -> Self {
        self.seed.licences = Some(names.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Without TLS.
    #[must_use]
    pub fn http(mut self) -> Self {
        self.tls = None;
        self
    }

    /// The certificate that it shows instead of one made at the start.
    #[must_use]
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.tls = Some(Tls { certificate: Some(certificate) });
        self
    }

    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.manner.limits);
        self
    }

    /// How long jobs take by the clock; nothing without it.
    #[must_use]
    pub fn job_time(mut self, time: Duration) -> Self {
        self.manner.job_time = time;
        self
    }

    /// How long the split of a clone takes by the clock; nothing without it.
    #[must_use]
    pub fn split_time(mut self, time: Duration) -> Self {
        self.manner.split_time = time;
        self
    }

    /// A mounted volume can be deleted. ONTAP's description says that it must be unmounted first.
    #[must_use]
    pub fn deletes_mounted(mut self) -> Self {
        self.manner.deletes_mounted = true;
        self
    }

    /// What is wrong with a change that has a job is said by the failed job, not by the call.
    #[must_use]
    pub fn errors_by_job(mut self) -> Self {
        self.manner.errors_by_job = true;
        self
    }

    /// Takes the state from this file when it is there, and writes it back after changes and at the end.
    #[must_use]
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// The state it begins with, instead of that of a new array.
    #[must_use]
    pub fn state(mut self, state: State) -> Self {
        self.given = Some(state);
        self
    }

    /// Real storage that follows each change. Whoever has it keeps the state, too: it shall outlive a death.
    #[must_use]
    pub fn backing(mut self, backing: Arc<dyn Backing>) -> Self {
        self.backing = Some(backing);
        self
    }

    /// The state that the array would begin with.
    ///
    /// # Errors
    /// The version or the state file cannot be used.
    pub fn first_state(&self) -> Result<State, BuildError> {
        if let Some(state) = &self.given {
            return Ok(state.clone());
        }
        if let Some(path) = &self.file {
            let read = |source| BuildError::ReadState { path: path.clone(), source };
            if let Some(dump) = sim_kit::load(path).map_err(read)? {
                let state = State::from_dump(&dump).filter(|state| state.count("cluster") == 1);
                return state.ok_or_else(|| BuildError::ForeignState { path: path.clone() });
            }
        }
        let version = || BuildError::Version { version: self.seed.version.clone() };
        seed::state(&self.seed, self.clock.now()).ok_or_else(version)
    }

    /// Starts the array.
    ///
    /// # Errors
    /// The address is taken; a certificate, the version or the state file cannot be used.
    pub async fn start(mut self) -> Result<Sim, BuildError> {
        for (user, certificate) in std::mem::take(&mut self.certificates) {
            let der = Certificate { certificate, key: String::new() }.der();
            let der = der.map_err(|source| BuildError::ClientCertificate { user: user.clone(), source })?;
            self.accounts.push(Account { certificate: Some(der), ..account(&user, None, None) });
        }
        if self.accounts.is_empty() {
            self.accounts.push(account("admin", Some("netapp123"), None));
        }
        let state = self.first_state()?;
        let array = Array::new(state, self.manner, self.clock, self.accounts, self.backing);
        let array = Arc::new(array);
        let server = Server::start(array.clone(), self.listen, self.tls).await?;
        Ok(Sim::new(array, server, self.file))
    }
}

// Not derived: it holds passwords.
impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("listen", &self.listen)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

fn account(user: &str, password: Option<&str>, svm: Option<&str>) -> Account {
    Account {
        user: user.into(),
        password: password.map(str::to_owned),
        certificate: None,
        svm: svm.map(str::to_owned),
    }
}
