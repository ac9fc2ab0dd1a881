//! Sockets of the test's own: what this machine has, what refuses, and what is handed over.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::process::Command;

use socket2::{Domain, Socket, Type};

use super::{Process, Scene};

/// Whether this machine has IPv6. Where it has none, it says that this is not tested.
pub fn has_ipv6() -> bool {
    let bound = TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    if let Err(error) = &bound {
        eprintln!("skipped: this machine has no IPv6: {error}");
    }
    bound.is_ok()
}

pub fn socket(addr: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(addr).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A port of this machine that refuses connections for as long as it is held: a socket has it and does not listen.
pub fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// What systemd does for a service with a socket: the shell becomes the program, with `sockets` as its descriptors from 3
/// on. The shell has them as its input and output, which is all that can be handed to it; it gives the program its error
/// output for both.
pub fn activated(scene: &Scene, sockets: &[&dyn AsFd], args: &[&str]) -> Process {
    let handed = ["3<&0 0</dev/null", "3<&0 4>&1 0</dev/null 1>&2"][sockets.len() - 1];
    let script = format!(r#"LISTEN_PID=$$ LISTEN_FDS={} exec "$0" "$@" {handed}"#, sockets.len());
    let mut command = Command::new("sh");
    scene.isolate(&mut command);
    command.arg("-c").arg(script).args([env!("CARGO_BIN_EXE_lanx"), "recv"]).args(args).arg(&scene.dst);
    let fd = |n: usize| sockets[n].as_fd().try_clone_to_owned().unwrap();
    match sockets.len() {
        1 => Process::spawn_fed(command, fd(0)),
        _ => Process::spawn_between(command, fd(0), fd(1)),
    }
}
