use std::io;
use std::path::PathBuf;

/// Why the plugin cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    #[error("instance `{name}` already runs: {} is answered; stop that instance or choose another name", socket.display())]
    Runs { name: String, socket: PathBuf },
    #[error("{} is not a socket; remove it or choose another name", path.display())]
    Occupied { path: PathBuf },
    #[error("could not {doing}")]
    Socket {
        doing: String,
        #[source]
        source: io::Error,
    },
    #[error("the mount table of this node could not be read")]
    Node(#[source] host::HostError),
}
