//! A way to the apiserver for programs outside of the cluster's namespaces.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const APISERVER: &str = "127.0.0.1:6443";

/// Connections through it end with it.
pub struct Door {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_shut: AtomicBool,
    is_deaf: AtomicBool,
    is_over: AtomicBool,
    /// How many of the connections carry nothing any more.
    dead: AtomicUsize,
    made: AtomicUsize,
    connections: Mutex<Vec<TcpStream>>,
}

impl Door {
    pub(crate) fn new(network: OwnedFd) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::<State>::default();
        let theirs = state.clone();
        // What a thread opens after it has moved is inside; what it had before stays outside.
        std::thread::spawn(move || -> Result<()> {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                .context("cannot enter the network")?;
            for client in listener.incoming() {
                if theirs.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(client) = client else { continue };
                if theirs.is_shut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(APISERVER) else { continue };
                let mut connections = theirs.connections.lock().unwrap_or_else(PoisonError::into_inner);
                connections.extend([client.try_clone()?, server.try_clone()?]);
                drop(connections);
                let number = theirs.made.fetch_add(1, Ordering::SeqCst);
                carry(client.try_clone()?, server.try_clone()?, theirs.clone(), number, false);
                carry(server, client, theirs.clone(), number, true);
            }
            Ok(())
        });
        Ok(Self { address, state })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections have come through.
    pub fn connections(&self) -> usize {
        self.state.made.load(Ordering::SeqCst)
    }

    /// What is connected now carries nothing any more and does not end, as when an apiserver loses its power; others
    /// go through.
    pub fn lose(&self) {
        self.state.dead.store(self.connections(), Ordering::SeqCst);
    }

    /// Cuts what is connected, and lets nobody in until it is opened.
    pub fn shut(&self) {
        self.state.is_shut.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Questions go through and answers do not, until it is opened.
    pub fn deafen(&self) {
        self.state.is_deaf.store(true, Ordering::SeqCst);
    }

    pub fn open(&self) {
        if self.state.is_deaf.swap(false, Ordering::SeqCst) {
            self.cut();
        }
        self.state.is_shut.store(false, Ordering::SeqCst);
    }

    fn cut(&self) {
        let mut connections = self.state.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        self.cut();
        let _ = TcpStream::connect(self.address);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, state: Arc<State>, number: usize, is_answer: bool) {
    // What comes in pieces goes on in pieces, and at once.
    let _ = to.set_nodelay(true);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let is_unheard = is_answer && state.is_deaf.load(Ordering::SeqCst);
            if is_unheard || number < state.dead.load(Ordering::SeqCst) {
                continue;
            }
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
