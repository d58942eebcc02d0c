//! The thread that says in the state that this server is there, and keeps the list of all that are.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use spring_core::{
    Store,
    spring_store::{Replica as Row, Result as StoreResult},
};
use spring_serve::{Replica, Replicas, advertised};

/// How often a server says that it is there, and looks who else is.
const BEAT: Duration = Duration::from_secs(1);

/// How long that counts, by the clock of whoever keeps the state.
const LASTS: Duration = Duration::from_secs(5);

/// After a time in which the state could not be reached, who is not found again stays on the list
/// for so many beats: the rows have run out meanwhile, and the first server back would otherwise
/// send everybody to itself.
const KEPT: u32 = 3;

/// How long after a server has left the list the others may still send people to it: until their
/// next beat, with one to spare.
pub const STILL_ASKED: Duration = BEAT.saturating_mul(2);

/// How long the program's end waits for the row to go. Where the state cannot be reached, the row
/// ends by itself.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Who is there, as the thread last saw it. Where the state cannot be reached it stays as it was:
/// no server answers then, and an empty list would help nobody.
pub struct Herald {
    list: Arc<Mutex<Arc<Replicas>>>,
    sender: Sender<Told>,
    ended: Mutex<Receiver<()>>,
}

/// What the thread is told.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// Not to say any more that the server is there.
    Leave,
    /// That, and to end.
    End,
}

/// Takes a server off the list.
#[derive(Debug, Clone)]
pub struct Leaving(Sender<Told>);

impl Leaving {
    /// From now on the server does not say any more that it is there. It does not wait.
    pub fn leave(&self) {
        // A thread that has ended has taken it off.
        let _ = self.0.send(Told::Leave);
    }
}

/// Whoever announces a server.
struct Announcer<L> {
    store: Arc<Store>,
    url: String,
    /// What it has to do; `None` while it takes no requests.
    load: L,
    /// Whether the row may be there.
    is_there: bool,
    /// Who was there at the last beat.
    listed: Vec<Listed>,
    /// When the state was last reached; `None` if it was not at the last beat.
    reached: Option<Instant>,
}

/// A server on the list.
#[derive(Debug, Clone, PartialEq)]
struct Listed {
    replica: Replica,
    /// For how many beats more it stays though it is not found; `None` if it was found.
    left: Option<u32>,
}

impl Herald {
    /// Says that a server is there under an address, and goes on to say so for as long as `load`
    /// gives what it has to do.
    ///
    /// # Errors
    ///
    /// If the state cannot be written, or the system refuses a thread.
    pub fn start(
        store: Arc<Store>,
        url: String,
        load: impl Fn() -> Option<f64> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let reached = Some(Instant::now());
        let mut announcer =
            Announcer { store, url, load, is_there: false, listed: Vec::new(), reached };
        let list = Arc::new(Mutex::new(announcer.look(true)?));
        let (sender, receiver) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        let shared = Arc::clone(&list);
        let work = move || {
            announcer.run(&receiver, &shared);
            let _ = ending.send(());
        };
        thread::Builder::new().name("herald".into()).spawn(work)?;
        Ok(Self { list, sender, ended: Mutex::new(ended) })
    }

    /// Who is there.
    pub fn list(&self) -> Arc<Replicas> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What takes the server off the list.
    pub fn leaving(&self) -> Leaving {
        Leaving(self.sender.clone())
    }

    /// Takes the server off the list, and waits a little until that is done.
    pub fn end(&self) {
        let _ = self.sender.send(Told::End);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(LAST_WORD);
    }
}

impl<L: Fn() -> Option<f64>> Announcer<L> {
    fn run(&mut self, receiver: &Receiver<Told>, list: &Mutex<Arc<Replicas>>) {
        let mut is_wanted = true;
        loop {
            match receiver.recv_timeout(BEAT) {
                Ok(Told::Leave) => is_wanted = false,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.withdraw() {
                        tracing::warn!("this server stays on the list for some seconds: {error}");
                    }
                    return;
                }
            }
            match self.look(is_wanted) {
                Ok(found) => *list.lock().unwrap_or_else(PoisonError::into_inner) = found,
                // Said once, not every second.
                Err(error) => {
                    if self.reached.take().is_some() {
                        tracing::warn!("the list of servers stays as it was: {error}");
                    }
                }
            }
        }
    }

    /// Says that the server is there, if it is wanted and takes requests, and gives who is.
    fn look(&mut self, is_wanted: bool) -> StoreResult<Arc<Replicas>> {
        let url = &self.url;
        let rows = match (self.load)().filter(|_| is_wanted) {
            Some(load) => {
                self.is_there = true;
                self.store.announce(&Row { url: url.clone(), load }, LASTS)?
            }
            None => {
                self.withdraw()?;
                self.store.replicas(LASTS)?
            }
        };
        // Half of the time that a row counts is early: others may have been cut off before.
        let is_back = self.reached.is_none_or(|reached| reached.elapsed() > LASTS / 2);
        self.reached = Some(Instant::now());
        self.listed = listed(&self.url, &self.listed, rows.into_iter().filter_map(known), is_back);
        let all = self.listed.iter().map(|listed| listed.replica.clone());
        Ok(Arc::new(Replicas::new(&*self.url, all)))
    }

    fn withdraw(&mut self) -> StoreResult<()> {
        if self.is_there {
            self.store.withdraw(&self.url)?;
            self.is_there = false;
        }
        Ok(())
    }
}

/// A row as a server: `None` if no server writes such a one. Whoever can write the state could
/// otherwise have proxies send people to what is no address, or leave one out by its load.
fn known(row: Row) -> Option<Replica> {
    let Row { url, load } = row;
    let is_address = advertised(&url).is_ok_and(|told| told == url);
    (is_address && load.is_finite() && load >= 0.0).then_some(Replica { url, load })
}

/// The list at a beat, from that of the last one and those that are found. Who is found no more has
/// left, and is not on it; where the state `is_back`, so that it may not know everybody yet, others
/// than `own` stay for [`KEPT`] beats, and no longer whatever happens meanwhile.
fn listed(
    own: &str,
    before: &[Listed],
    found: impl IntoIterator<Item = Replica>,
    is_back: bool,
) -> Vec<Listed> {
    let mut all: Vec<Listed> =
        found.into_iter().map(|replica| Listed { replica, left: None }).collect();
    let found = all.len();
    for Listed { replica, left } in before {
        let left = match left {
            None if is_back => Some(KEPT - 1),
            None => None,
            Some(left) => left.checked_sub(1),
        };
        let is_found = || all[..found].iter().any(|other| other.replica.url == replica.url);
        if left.is_some() && replica.url != own && !is_found() {
            all.push(Listed { replica: replica.clone(), left });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "http://10.0.0.1:8080";
    const OTHER: &str = "http://10.0.0.2:8080";
    const THIRD: &str = "http://10.0.0.3:8080";

    /// The addresses on the list after a beat.
    fn beat(list: &mut Vec<Listed>, found: &[&str], is_back: bool) -> Vec<String> {
        let found = found.iter().map(|url| Replica { url: (*url).into(), load: 0.5 });
        *list = listed(OWN, list, found, is_back);
        list.iter().map(|listed| listed.replica.url.clone()).collect()
    }

    #[test]
    fn who_is_found_no_more_has_left() {
        let mut list = Vec::new();
        assert_eq!(beat(&mut list, &[OWN, OTHER], true), [OWN, OTHER]);
        assert_eq!(beat(&mut list, &[OWN, OTHER, THIRD], false), [OWN, OTHER, THIRD]);
        assert_eq!(beat(&mut list, &[OWN, THIRD], false), [OWN, THIRD]);
        assert_eq!(beat(&mut list, &[], false), [""; 0]);
    }

    #[test]
    fn the_first_server_back_does_not_take_everybody() {
        let mut list = Vec::new();
        beat(&mut list, &[OWN, OTHER, THIRD], false);
        // The rows of all have run out, and one after the other says again that it is there.
        assert_eq!(beat(&mut list, &[OWN], true), [OWN, OTHER, THIRD]);
        assert_eq!(beat(&mut list, &[OWN, THIRD], false), [OWN, THIRD, OTHER]);
        assert_eq!(beat(&mut list, &[OWN, THIRD], false), [OWN, THIRD, OTHER]);
        // Who does not is gone.
        assert_eq!(beat(&mut list, &[OWN, THIRD], false), [OWN, THIRD]);
        // Who has come back and leaves then leaves at once.
        assert_eq!(beat(&mut list, &[OWN], false), [OWN]);
    }

    #[test]
    fn nobody_stays_for_longer_though_every_beat_is_late() {
        let mut list = Vec::new();
        beat(&mut list, &[OWN, OTHER], true);
        for _ in 0..KEPT {
            assert_eq!(beat(&mut list, &[OWN], true), [OWN, OTHER]);
        }
        assert_eq!(beat(&mut list, &[OWN], true), [OWN]);
        // A server that leaves stays on no list of its own.
        assert_eq!(beat(&mut list, &[], true), [""; 0]);
    }

    #[test]
    fn what_no_server_writes_is_not_on_the_list() {
        let row = |url: &str, load| known(Row { url: url.into(), load });
        for load in [0.0, 0.5, 64.0] {
            assert_eq!(row(OWN, load), Some(Replica { url: OWN.into(), load }));
        }
        for load in [-0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(row(OWN, load), None, "{load}");
        }
        for url in [
            "",
            "10.0.0.1:8080",
            "ftp://10.0.0.1",
            "http://ada:secret@10.0.0.1",
            "http://10.0.0.1/?to=",
            "http://10.0.0.1\r\nx-evil: 1",
            // It is told without the slash.
            "http://10.0.0.1/",
        ] {
            assert_eq!(row(url, 0.5), None, "{url:?}");
        }
    }
}
