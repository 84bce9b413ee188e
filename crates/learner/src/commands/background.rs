//! Checkpoints on a thread of their own, while the role goes on: takes an image when one is due, and tells the role what came of it.
//!
//! It is written at a rate that leaves the rest to clients ([`Rate`]). One checkpoint at a time; the thread ends with the process. A failure other than a full disk is handed to the run loop, which ends the process (S3).

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use synod_learner::Learner;
use synod_protocol::{ClusterId, Slot};
use synod_store::{Image, Snapshot, Storage};

use super::throttle::Rate;

/// How long a stop waits for a checkpoint under way, and for a last one: the next start then has less to learn. What isn't done by then is left.
const LAST_CHECKPOINT: Duration = Duration::from_secs(3);

/// How much lower the thread's priority is: it gets a third of a processor that another wants all of (Linux: nice is a thread's).
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// Batches after which an empty storage is tried again that there was no room for: seconds, if nothing but timers fires.
const BATCHES: u32 = 256;

/// Why a checkpoint, or an empty storage, wasn't made.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The disk is full; what was synced before is as it was.
    NoRoom,
    /// The process must end.
    Fatal(String),
}

/// A checkpoint to be made.
pub(crate) struct Job<T, P> {
    pub(crate) image: Image<T>,
    pub(crate) cluster: ClusterId,
    /// Where the state lies, if it is another than the one before: a peer's that was installed.
    pub(crate) other: Option<P>,
}

/// Makes checkpoints durable.
pub(crate) trait Keep: Send + 'static {
    /// What an engine's images are made of.
    type Snapshot: Snapshot;
    /// Where a state lies that was built of a peer's snapshot.
    type Place: Send;

    /// Makes a checkpoint durable, at that rate; blocks.
    fn keep(&mut self, job: Job<Self::Snapshot, Self::Place>, rate: &Rate) -> Result<Slot, Failed>;

    /// Whatever an engine does with what it has written, when a checkpoint has been told of; blocks, and fails for good only.
    fn tidy(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// Where empty storages come from.
pub(crate) trait Empty<S, P> {
    /// An empty storage for a peer's state, and where it lies. `unused`: the one before, if nothing has become of it.
    fn empty(&mut self, unused: Option<P>) -> Result<(S, P), Failed>;
}

/// The thread, as seen from the run loop.
pub(crate) struct Background<K: Keep, E> {
    jobs: Sender<Job<K::Snapshot, K::Place>>,
    done: Receiver<Result<Slot, Failed>>,
    /// How quickly it writes.
    rate: Rate,
    is_busy: bool,
    empty: E,
    /// Batches until a storage is asked for again that there was no room for.
    empty_after: u32,
    /// Where the storage lies that the role was given last.
    place: Option<K::Place>,
    /// Installed states whose checkpoint has been begun.
    installed: u64,
}

impl<K: Keep, E> Background<K, E> {
    pub(crate) fn start(mut keep: K, empty: E) -> std::io::Result<Self> {
        let (jobs, inbox) = channel::<Job<K::Snapshot, K::Place>>();
        let (outbox, done) = channel();
        let rate = Rate::new(1);
        let throttled = rate.clone();
        std::thread::Builder::new().name("checkpoints".into()).spawn(move || {
            step_back();
            while let Ok(job) = inbox.recv() {
                let kept = keep.keep(job, &throttled);
                let told = outbox.send(kept).is_ok();
                let failed = keep.tidy().is_err_and(|why| outbox.send(Err(Failed::Fatal(why))).is_ok());
                if failed || !told {
                    return;
                }
            }
        })?;
        Ok(Background { jobs, done, rate, is_busy: false, empty, empty_after: 0, place: None, installed: 0 })
    }

    /// Tells the role what came of a checkpoint, and begins another if one is due.
    pub(crate) fn after_batch<S>(&mut self, role: &mut Learner<S>) -> Result<(), String>
    where
        S: Storage<Snapshot = K::Snapshot>,
        E: Empty<S, K::Place>,
    {
        match self.done.try_recv() {
            Ok(done) => self.tell(role, done)?,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(GONE.into()),
        }
        self.rate.set(role.checkpoint_bytes_per_s());
        if role.needs_storage() {
            self.give_storage(role)?;
        }
        if self.is_busy || !role.is_checkpoint_due() { Ok(()) } else { self.begin(role) }
    }

    /// Without room for an empty one, the role waits.
    fn give_storage<S: Storage>(&mut self, role: &mut Learner<S>) -> Result<(), String>
    where
        E: Empty<S, K::Place>,
    {
        if self.empty_after > 0 {
            self.empty_after -= 1;
            return Ok(());
        }
        match self.empty.empty(self.place.take()) {
            Ok((storage, place)) => {
                self.place = Some(place);
                role.on_storage(storage);
            }
            Err(Failed::NoRoom) => {
                tracing::warn!(
                    "no room on disk for the state that a peer gives: tries again; make room in the data directory"
                );
                self.empty_after = BATCHES;
            }
            Err(Failed::Fatal(why)) => return Err(why),
        }
        Ok(())
    }

    fn begin<S: Storage<Snapshot = K::Snapshot>>(&mut self, role: &mut Learner<S>) -> Result<(), String> {
        let Some(cluster) = role.cluster() else { return Ok(()) };
        let is_other = self.installed < role.installed();
        let other = if is_other { self.place.take() } else { None };
        self.installed = role.installed();
        let image = role.checkpoint();
        self.is_busy = true;
        self.jobs.send(Job { image, cluster, other }).map_err(|_| GONE.to_string())
    }

    fn tell<S: Storage>(&mut self, role: &mut Learner<S>, done: Result<Slot, Failed>) -> Result<(), String> {
        self.is_busy = false;
        match done {
            Ok(slot) => {
                tracing::debug!(%slot, "checkpoint synced");
                role.on_checkpointed(slot);
            }
            Err(Failed::NoRoom) => role.on_no_room(),
            Err(Failed::Fatal(why)) => return Err(why),
        }
        Ok(())
    }

    /// Makes a last checkpoint, if that is done soon.
    pub(crate) fn shut_down<S>(&mut self, role: &mut Learner<S>) -> Result<(), String>
    where
        S: Storage<Snapshot = K::Snapshot>,
        E: Empty<S, K::Place>,
    {
        self.rate.set(u64::MAX);
        self.wait(role)?;
        if !self.is_busy && role.may_checkpoint() {
            self.begin(role)?;
            self.wait(role)?;
        }
        Ok(())
    }

    fn wait<S: Storage>(&mut self, role: &mut Learner<S>) -> Result<(), String> {
        if !self.is_busy {
            return Ok(());
        }
        match self.done.recv_timeout(LAST_CHECKPOINT) {
            Ok(done) => self.tell(role, done),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(GONE.into()),
        }
    }
}

/// Whoever waits for a client's call goes first. Not by much: on a machine that is never idle a checkpoint must go on too.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "checkpoints are written at the same priority as the rest");
    }
}

const GONE: &str = "the thread that makes checkpoints has ended";
