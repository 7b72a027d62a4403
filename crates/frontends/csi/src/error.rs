use std::path::PathBuf;

use host::SocketError;

/// Why the plugin cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum CsiError {
    #[error("another process answers on {}; stop it, or choose another socket", socket.display())]
    Runs { socket: PathBuf },
    #[error(
        "another process is the CSI plugin `{name}` of this node's kubelet, at {}; stop it, or choose another --csi-name",
        entry.display()
    )]
    Named { name: String, entry: PathBuf },
    #[error("the socket of the CSI plugin cannot be had")]
    Socket(#[source] SocketError),
    #[error("there is no directory of a kubelet at {}", folder.display())]
    NoKubelet { folder: PathBuf },
    #[error("cannot {doing}, so that the kubelet learns of the CSI plugin")]
    Registration {
        doing: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the CSI plugin does not serve any more")]
    Serving(#[source] tonic::transport::Error),
}
