//! The connection to an apiserver.

use std::path::Path;
use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt as _, RustlsTlsError};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

use super::client::unusable;
use crate::StoreError;

const CONNECT: Duration = Duration::from_secs(3);
/// How often a silent connection is asked whether it is still there, and how long it has for its answer: together less
/// than a lease lasts behind its renewal.
const ALIVE: Duration = Duration::from_secs(1);
const DEAD: Duration = Duration::from_secs(3);

/// A client of a cluster that a kubeconfig names, or, without one, of that whose pod this process is.
///
/// # Behavior
/// All calls and watches share one connection where the apiserver speaks HTTP/2: a thousand changes at once would
/// otherwise be a thousand connections. One that is dead without saying so is noticed within 4 s, and made anew.
///
/// # Errors
/// `Damaged`: a kubeconfig that cannot be used, or none and this is no pod. Nothing is sent yet.
pub async fn kubernetes_client(kubeconfig: Option<&Path>) -> Result<kube::Client, StoreError> {
    let config = config(kubeconfig).await?;
    if config.proxy_url.is_some() {
        return Err(unusable(
            "`proxy-url` of the kubeconfig is not supported",
            "use one by which the apiserver is reached directly",
        ));
    }
    connect(config).map_err(|e| unusable(e.to_string(), "look at the kubeconfig and its certificates"))
}

async fn config(file: Option<&Path>) -> Result<Config, StoreError> {
    let Some(file) = file else {
        return Config::incluster().map_err(|e| {
            unusable(
                format!("this is not a pod with a service account: {e}"),
                "outside of the cluster, give a file with --kubeconfig",
            )
        });
    };
    let failed = |e: kube::config::KubeconfigError| {
        unusable(format!("the kubeconfig {} cannot be read: {e}", file.display()), "give another one")
    };
    let kubeconfig = Kubeconfig::read_from(file).map_err(failed)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)
}

fn connect(config: Config) -> kube::Result<kube::Client> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT));
    http.set_nodelay(true);
    let tls = config.rustls_client_config()?;
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let builder = match &config.tls_server_name {
        Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(
            name.clone()
                .try_into()
                .map_err(|e| kube::Error::RustlsTls(RustlsTlsError::InvalidServerName(e)))?,
        )),
        None => builder,
    };
    let http = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(ALIVE)
        .http2_keep_alive_timeout(DEAD)
        .build::<_, Body>(builder.enable_all_versions().wrap_connector(http));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}
