//! The thread that says in the state that this server is there, and keeps the list of all that are.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use spring_core::{
    Store,
    spring_store::{Replica as Row, Result as StoreResult},
};
use spring_serve::{Replica, Replicas};

/// How often a server says that it is there, and looks who else is.
const BEAT: Duration = Duration::from_secs(1);

/// How long that counts, by the clock of whoever keeps the state.
const LASTS: Duration = Duration::from_secs(5);

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
        let mut announcer = Announcer { store, url, load, is_there: false };
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
        let (mut is_wanted, mut is_reached) = (true, true);
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
                Ok(found) => {
                    is_reached = true;
                    *list.lock().unwrap_or_else(PoisonError::into_inner) = found;
                }
                // Once, not every second.
                Err(error) if is_reached => {
                    is_reached = false;
                    tracing::warn!("the list of servers stays as it was: {error}");
                }
                Err(_) => {}
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
        let all = rows.into_iter().map(|Row { url, load }| Replica { url, load });
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
