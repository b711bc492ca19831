//! [`Line`]: a line to an agentd that fails as networks do: it is slow, it holds everything back, or it loses
//! what is on it while both ends take it to be there.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A line from where it listens to an agentd. Whatever goes over it is cut when it is dropped.
#[derive(Debug)]
pub struct Line {
    shared: Arc<Shared>,
    entrance: Entrance,
}

/// What happens to the bytes on a line, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// They arrive.
    Open,
    /// They arrive so much later.
    Late(Duration),
    /// They wait until the line is open again, and so does whoever connects.
    Held,
    /// What is asked arrives; what is answered waits.
    Unanswered,
}

/// From whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    course: Course,
    /// Connections of earlier generations are lost: nothing comes out of them any more.
    generation: u64,
    /// Both ends of every connection so far, to be closed in the end.
    ends: Vec<Ends>,
    is_over: bool,
}

/// Where a line listens.
#[derive(Debug)]
enum Entrance {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

#[derive(Debug)]
enum Ends {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Line {
    /// From a new socket to another one.
    pub fn between_sockets(from: &Path, to: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(from)?;
        let (line, to) = (Self::new(Entrance::Unix(from.to_owned())), to.to_owned());
        let shared = Arc::clone(&line.shared);
        thread::Builder::new().name("line".to_owned()).spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if shared.lock().is_over {
                    return;
                }
                // Where nobody listens, the caller is told by its end.
                let Ok(far) = UnixStream::connect(&to) else { continue };
                // Out of descriptors: the caller is told by its end, too.
                let _ = join(&shared, near, far);
            }
        })?;
        Ok(line)
    }

    /// From a free port of the loopback to another one.
    pub fn between_ports(to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((to.ip(), 0))?;
        let line = Self::new(Entrance::Tcp(listener.local_addr()?));
        let shared = Arc::clone(&line.shared);
        thread::Builder::new().name("line".to_owned()).spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if shared.lock().is_over {
                    return;
                }
                // As above.
                let Ok(far) = TcpStream::connect(to) else { continue };
                let _ = join(&shared, near, far);
            }
        })?;
        Ok(line)
    }

    fn new(entrance: Entrance) -> Self {
        let state = State { course: Course::Open, generation: 0, ends: Vec::new(), is_over: false };
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new() };
        Self { shared: Arc::new(shared), entrance }
    }

    /// The port that it listens on; 0 for a line between sockets.
    pub fn port(&self) -> u16 {
        match &self.entrance {
            Entrance::Unix(_) => 0,
            Entrance::Tcp(address) => address.port(),
        }
    }

    /// What happens to the bytes from now on.
    pub fn set(&self, course: Course) {
        self.shared.lock().course = course;
        self.shared.changed.notify_all();
    }

    /// Loses every connection that there is, and tells neither end: what is written to it arrives nowhere.
    /// New ones are not touched.
    pub fn lose(&self) {
        self.shared.lock().generation += 1;
        self.shared.changed.notify_all();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        (state.is_over, state.course) = (true, Course::Open);
        for end in &state.ends {
            // Fails where it is closed already.
            let _ = match end {
                Ends::Unix(end) => end.shutdown(Shutdown::Both),
                Ends::Tcp(end) => end.shutdown(Shutdown::Both),
            };
        }
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the thread that waits for callers.
        match &self.entrance {
            Entrance::Unix(path) => drop(UnixStream::connect(path)),
            Entrance::Tcp(address) => drop(TcpStream::connect(address)),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until bytes of a connection may go on, and says how much later they arrive; `None` where they
    /// are lost.
    fn passage(&self, generation: u64, way: Way) -> Option<Duration> {
        let mut state = self.lock();
        loop {
            match (state.course, way) {
                _ if state.generation != generation => return None,
                (Course::Open, _) | (Course::Unanswered, Way::There) => {
                    return Some(Duration::ZERO);
                }
                (Course::Late(time), _) => return Some(time),
                (Course::Held, _) | (Course::Unanswered, Way::Back) => {
                    let waited = self.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// One end of a connection.
trait End: Read + Write + Send + Sized + 'static {
    fn twin(&self) -> io::Result<Self>;
    fn into_ends(self) -> Ends;
    /// Tells the other side that nothing more comes.
    fn end(&self) -> io::Result<()>;
}

impl End for UnixStream {
    fn twin(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn into_ends(self) -> Ends {
        Ends::Unix(self)
    }

    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl End for TcpStream {
    fn twin(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn into_ends(self) -> Ends {
        Ends::Tcp(self)
    }

    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// Carries bytes between two ends, both ways, until one of them ends.
fn join<E: End>(shared: &Arc<Shared>, near: E, far: E) -> io::Result<()> {
    let generation = {
        let mut state = shared.lock();
        let ends = [near.twin()?.into_ends(), far.twin()?.into_ends()];
        state.ends.extend(ends);
        state.generation
    };
    for (from, to, way) in [(near.twin()?, far.twin()?, Way::There), (far, near, Way::Back)] {
        let shared = Arc::clone(shared);
        let carrier = thread::Builder::new().name("line-bytes".to_owned());
        carrier.spawn(move || carry(&shared, (generation, way), from, &to))?;
    }
    Ok(())
}

/// One way. What comes while it waits goes on together, so that a late line is not a thin one.
fn carry<E: End>(shared: &Shared, (generation, way): (u64, Way), mut from: E, to: &E) {
    let Ok(mut to) = to.twin() else { return };
    let mut part = vec![0; PART];
    while let Ok(read @ 1..) = from.read(&mut part) {
        let Some(later) = shared.passage(generation, way) else { continue };
        linger(later);
        let whole = part.get(..read).unwrap_or_default();
        if to.write_all(whole).is_err() {
            break;
        }
    }
    // The end of a connection that is lost arrives nowhere, either.
    if shared.passage(generation, way).is_some() {
        // Fails where the other side has closed first.
        let _ = to.end();
    }
}

#[allow(clippy::disallowed_methods, reason = "a slow line is slow by the clock")]
fn linger(time: Duration) {
    thread::sleep(time);
}

/// Bytes that are carried at once.
const PART: usize = 64 * 1024;
