//! The one port, and the addresses under which other machines find it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::os::said::Said;

/// Connections that wait in the kernel to be accepted.
const LISTEN_BACKLOG: i32 = 1024;

/// Why a port cannot be listened on. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("port {} is taken at {addr}; stop what listens there (another `lanx recv`?), or choose another port with --listen ADDR:PORT", addr.port())]
    Taken { addr: SocketAddr, source: io::Error },
    #[error(
        "{addr} is not an address of this machine; choose one with --listen ADDR:PORT, or leave it out to use all"
    )]
    NotOurs { addr: SocketAddr, source: io::Error },
    #[error("this user may not listen on port {}; choose one above 1023 with --listen ADDR:PORT", addr.port())]
    Denied { addr: SocketAddr, source: io::Error },
    #[error(
        "cannot listen on {addr}: {}; choose another address or port with --listen ADDR:PORT",
        Said(source)
    )]
    Other { addr: SocketAddr, source: io::Error },
}

/// Listens on `addr`. An unspecified IPv6 address takes IPv4 as well.
pub fn listen(addr: SocketAddr) -> Result<TcpListener, ListenError> {
    bind(addr).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken { addr, source },
        io::ErrorKind::AddrNotAvailable => ListenError::NotOurs { addr, source },
        io::ErrorKind::PermissionDenied => ListenError::Denied { addr, source },
        _ => ListenError::Other { addr, source },
    })
}

/// Listens on `port` of every address; of every IPv4 address where this machine has no IPv6.
pub fn listen_everywhere(port: u16) -> Result<TcpListener, ListenError> {
    match listen((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(ListenError::Other { .. } | ListenError::NotOurs { .. }) => {
            listen((Ipv4Addr::UNSPECIFIED, port).into())
        }
        result => result,
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Otherwise a receiver that was restarted would have to wait for its old connections to time out.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The addresses by which another machine may reach a listener: all of ours where it listens on all, without
/// those that only this machine or only one link knows. Empty where there is none.
pub fn reachable_addresses(bound: SocketAddr) -> Vec<IpAddr> {
    let ip = bound.ip().to_canonical();
    if !ip.is_unspecified() {
        return vec![ip];
    }
    let mut ips: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(|interface| interface.ip())
        .filter(|candidate| bound.is_ipv6() || candidate.is_ipv4())
        .collect();
    ips.sort_by_key(|ip| (ip.is_ipv6(), *ip));
    ips.dedup();
    ips
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn everywhere_takes_ipv4_as_well() {
        let listener = listen_everywhere(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    #[test]
    fn a_taken_port_is_called_so() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(listener.local_addr().unwrap()).unwrap_err();
        assert!(matches!(error, ListenError::Taken { .. }), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_is_called_so() {
        let error = listen("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(matches!(error, ListenError::NotOurs { .. }), "{error}");
    }

    #[test]
    fn a_bound_address_is_the_reachable_one() {
        assert_eq!(
            reachable_addresses("127.0.0.1:1".parse().unwrap()),
            ["127.0.0.1".parse::<IpAddr>().unwrap()]
        );
        assert!(reachable_addresses("[::]:1".parse().unwrap()).iter().all(|ip| !ip.is_loopback()));
    }
}
