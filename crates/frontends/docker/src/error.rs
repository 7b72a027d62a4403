use std::path::PathBuf;

use host::SocketError;

/// Why the plugin cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    #[error("instance `{name}` already runs: {} is answered; stop that instance or choose another name", socket.display())]
    Runs { name: String, socket: PathBuf },
    #[error("the plugin's socket cannot be had")]
    Socket(#[source] SocketError),
    #[error("the mount table of this node could not be read")]
    Node(#[source] host::HostError),
}
