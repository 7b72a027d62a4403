//! A way from this machine to the rig's networks.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use rig::Rig;

/// Takes connections on a port of this machine to an address on the rig's networks, as long as this process lives.
pub(crate) fn forward(rig: &'static Rig, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let here = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A socket stays on the network that it was made on.
            if let Ok(Ok(server)) = rig.in_namespace(|| TcpStream::connect(to)) {
                let (answers, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pass(client, server));
                thread::spawn(move || pass(answers, to_client));
            }
        }
    });
    here
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    // Either end may go away at any time.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
