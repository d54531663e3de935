//! Addresses that no connection reaches.

use crate::ports::Port;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

/// An address that refuses: the port is held, and has no listener.
pub fn refused() -> Port {
    Port::free()
}

/// An address that does not answer: its listener's queue is full, so that the kernel drops each SYN.
#[derive(Debug)]
pub struct Overflowing {
    /// The address that does not answer.
    pub addr: SocketAddr,
    _listener: socket2::Socket,
    _fillers: Vec<TcpStream>,
}

impl Default for Overflowing {
    fn default() -> Self {
        Self::new()
    }
}

impl Overflowing {
    /// Opens the listener and fills its queue.
    ///
    /// # Panics
    /// When the queue does not fill up.
    pub fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        listener.listen(0).unwrap();
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        let mut fillers = Vec::new();
        for _ in 0..16 {
            match TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
                Ok(filler) => fillers.push(filler),
                Err(_) => return Self { addr, _listener: listener, _fillers: fillers },
            }
        }
        panic!("the queue of {addr} never fills")
    }
}
