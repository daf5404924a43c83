//! A TCP connection that can be cut or frozen on the way, for one who shall not reach what others still reach.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{LabError, free_port};

const BACKLOG: i32 = 128;
const BUFFER: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(1);
/// A free port can be lost to another process before we bind it.
const PORT_ATTEMPTS: usize = 5;

/// Forwards connections from a port of its own to a target, as long as it is whole. Dropping it cuts it for good.
#[derive(Debug)]
pub struct Cable {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    listener: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    condition: Condition,
    /// Both ends of every connection, to cut them by.
    open: Vec<(u64, TcpStream)>,
    /// How many there have been.
    count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Whole,
    Frozen,
    Cut,
    Gone,
}

impl Cable {
    /// A cable to `target`, with a free port on 127.0.0.1 as its near end.
    pub fn to(target: SocketAddr) -> Result<Cable, LabError> {
        let listener =
            (0..PORT_ATTEMPTS).find_map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, free_port().ok()?)).ok());
        Cable::from(listener.ok_or(LabError::NoPort)?, target)
    }

    /// A cable to `target` with this near end, for several servers that are to have one port: each has an address of its
    /// own in 127.0.0.0/8.
    pub fn between(near: SocketAddr, target: SocketAddr) -> Result<Cable, LabError> {
        Cable::from(TcpListener::bind(near).map_err(LabError::io("bind the cable's address"))?, target)
    }

    fn from(listener: TcpListener, target: SocketAddr) -> Result<Cable, LabError> {
        let address = listener.local_addr().map_err(LabError::io("find the cable's port"))?;
        let inner = Inner { condition: Condition::Whole, open: Vec::new(), count: 0 };
        let shared = Shared { listener, address, target, inner: Mutex::new(inner), changed: Condvar::new() };
        let shared = Arc::new(shared);
        let acceptor = Arc::clone(&shared);
        let acceptor = thread::spawn(move || acceptor.accept());
        Ok(Cable { shared, acceptor: Some(acceptor) })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Ends all connections, and refuses new ones.
    pub fn cut(&self) -> Result<(), LabError> {
        self.shared.end(Condition::Cut).map_err(LabError::io("cut the cable"))
    }

    /// Holds back everything, in both directions and from now on, and ends nothing: connections stay open, new ones
    /// are accepted, nobody hears anything. This is how a partition looks from a distance.
    pub fn freeze(&self) -> Result<(), LabError> {
        self.shared.mend(Condition::Frozen).map_err(LabError::io("freeze the cable"))
    }

    /// Forwards again: what was held back arrives now, what was cut may connect again.
    pub fn heal(&self) -> Result<(), LabError> {
        self.shared.mend(Condition::Whole).map_err(LabError::io("heal the cable"))
    }

    /// How many connections go through it at the moment.
    pub fn connections(&self) -> usize {
        self.shared.lock().open.len() / 2
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // A socket that does not listen any more, as after `cut`, is not to be woken up.
        let _ = self.shared.end(Condition::Gone);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The listening socket keeps its port when it stops listening, so that nobody else can take it meanwhile; the
    /// acceptor's call ends with an error (Linux: EINVAL).
    fn end(&self, condition: Condition) -> io::Result<()> {
        let mut inner = self.lock();
        let listened = !matches!(inner.condition, Condition::Cut | Condition::Gone);
        inner.condition = condition;
        for (_, stream) in inner.open.drain(..) {
            // Ended already by its peer.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
        if listened { Ok(rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both)?) } else { Ok(()) }
    }

    fn mend(&self, condition: Condition) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.condition == Condition::Cut {
            rustix::net::listen(&self.listener, BACKLOG)?;
        }
        inner.condition = condition;
        self.changed.notify_all();
        Ok(())
    }

    /// Waits while the cable is as it should not be; None when it is gone.
    fn wait_while(&self, bad: Condition) -> Option<MutexGuard<'_, Inner>> {
        let held = self.changed.wait_while(self.lock(), |inner| inner.condition == bad);
        let inner = held.unwrap_or_else(PoisonError::into_inner);
        (inner.condition != Condition::Gone).then_some(inner)
    }

    fn accept(self: Arc<Shared>) {
        while let Some(inner) = self.wait_while(Condition::Cut) {
            drop(inner);
            match self.listener.accept() {
                Ok((near, _)) => {
                    let shared = Arc::clone(&self);
                    // A connection that cannot be made ends with its near end.
                    thread::spawn(move || shared.carry(near));
                }
                // Cut; or out of descriptors, which may pass.
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    /// Carries one connection from its beginning to its end.
    fn carry(self: Arc<Shared>, near: TcpStream) -> Option<()> {
        let number = self.register(&near)?;
        let ended = self.connect(number, &near);
        self.lock().open.retain(|(other, _)| *other != number);
        ended
    }

    /// None when the cable was cut after the connection had been accepted.
    fn register(&self, near: &TcpStream) -> Option<u64> {
        let mut inner = self.lock();
        if matches!(inner.condition, Condition::Cut | Condition::Gone) {
            return None;
        }
        inner.count += 1;
        let number = inner.count;
        inner.open.push((number, near.try_clone().ok()?));
        Some(number)
    }

    fn connect(self: &Arc<Shared>, number: u64, near: &TcpStream) -> Option<()> {
        // Through a frozen cable not even a first packet goes.
        drop(self.wait_while(Condition::Frozen)?);
        let far = TcpStream::connect(self.target).ok()?;
        {
            let mut inner = self.lock();
            // Cut in the meantime.
            inner.open.iter().any(|(other, _)| *other == number).then_some(())?;
            inner.open.push((number, far.try_clone().ok()?));
        }
        near.set_nodelay(true).and(far.set_nodelay(true)).ok()?;
        let (shared, from, to) = (Arc::clone(self), far.try_clone().ok()?, near.try_clone().ok()?);
        let back = thread::spawn(move || shared.pump(from, to));
        self.pump(near.try_clone().ok()?, far);
        back.join().ok()
    }

    /// Moves bytes one way until either side ends, which then ends both.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; BUFFER];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            // Also an end is something that a frozen cable does not tell.
            let passes = self.wait_while(Condition::Frozen).is_some();
            if read == 0 || !passes || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        for stream in [from, to] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(20);

    /// Sends back what it is sent, on every connection.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut back = stream.try_clone().unwrap();
                thread::spawn(move || io::copy(&mut &stream, &mut back));
            }
        });
        address
    }

    fn say(mut stream: &TcpStream, word: &[u8; 4]) {
        stream.write_all(word).unwrap();
    }

    fn hear(mut stream: &TcpStream, limit: Duration) -> io::Result<[u8; 4]> {
        stream.set_read_timeout(Some(limit)).unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).map(|()| word)
    }

    #[test]
    fn a_cut_cable_ends_what_is_open_and_refuses_until_it_is_healed() {
        let cable = Cable::to(echo()).unwrap();
        for _ in 0..2 {
            let stream = TcpStream::connect(cable.address()).unwrap();
            say(&stream, b"ping");
            assert_eq!(&hear(&stream, LONG).unwrap(), b"ping");
            assert_eq!(cable.connections(), 1);
            cable.cut().unwrap();
            assert!(matches!(
                hear(&stream, LONG).unwrap_err().kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ));
            let refused = TcpStream::connect(cable.address()).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(cable.connections(), 0);
            cable.heal().unwrap();
        }
    }

    #[test]
    fn cables_can_have_one_port_at_several_addresses() {
        let one = Cable::to(echo()).unwrap();
        let near = SocketAddr::from(([127, 0, 1, 1], one.address().port()));
        let other = Cable::between(near, echo()).unwrap();
        assert_eq!(other.address(), near);
        for cable in [one, other] {
            let stream = TcpStream::connect(cable.address()).unwrap();
            say(&stream, b"ping");
            assert_eq!(&hear(&stream, LONG).unwrap(), b"ping");
        }
    }

    #[test]
    fn a_frozen_cable_says_nothing_until_it_is_healed() {
        let cable = Cable::to(echo()).unwrap();
        let old = TcpStream::connect(cable.address()).unwrap();
        say(&old, b"ping");
        assert_eq!(&hear(&old, LONG).unwrap(), b"ping");
        cable.freeze().unwrap();
        let new = TcpStream::connect(cable.address()).unwrap();
        for stream in [&old, &new] {
            say(stream, b"pong");
            let silence = hear(stream, SHORT).unwrap_err().kind();
            assert!(matches!(silence, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{silence}");
        }
        cable.heal().unwrap();
        for stream in [&old, &new] {
            assert_eq!(&hear(stream, LONG).unwrap(), b"pong");
        }
    }

    #[test]
    fn a_frozen_cable_can_be_cut_and_a_cut_one_frozen() {
        let cable = Cable::to(echo()).unwrap();
        cable.freeze().unwrap();
        let held = TcpStream::connect(cable.address()).unwrap();
        cable.cut().unwrap();
        assert!(hear(&held, LONG).is_err());
        cable.freeze().unwrap();
        let silent = TcpStream::connect(cable.address()).unwrap();
        assert!(hear(&silent, SHORT).is_err());
        drop(cable);
        assert!(TcpStream::connect(silent.peer_addr().unwrap()).is_err());
    }

    #[test]
    fn a_target_that_refuses_ends_the_connection() {
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let stream = TcpStream::connect(Cable::to(nobody).unwrap().address());
        assert!(stream.is_err() || hear(&stream.unwrap(), LONG).is_err());
    }
}
