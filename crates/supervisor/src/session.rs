//! One run of a cluster under supervision: the loop that takes in exits, sights, signals and the clock, one at a time.
//!
//! What is to be done meanwhile (forming, a workload, nothing) is a future handed to [`Session::until`]; the loop goes on
//! around it, so that processes are restarted whatever else is going on.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::time::Duration;

use synod_protocol::message::{LearnerStatus, Status};
use synod_protocol::{LearnerId, NodeId};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::fleet::{Counts, Fleet};
use crate::layout::Layout;
use crate::meter::Meter;
use crate::policy::Chaos;
use crate::process::Exit;
use crate::timeline::{Happening, Timeline};
use crate::watch::{self, Leadership, Sight};

/// Time in which leadership may be passed on without being called lost: a proposer's own answers come every 100 ms.
const HANDOVER: Duration = Duration::from_millis(150);

/// Time between two looks at the sizes of processes.
const METER_INTERVAL: Duration = Duration::from_secs(5);

/// How a stretch of a session ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended<T> {
    /// What was waited for is done.
    Done(T),
    /// The supervisor was asked to stop (SIGINT or SIGTERM).
    Asked,
}

/// A cluster under supervision.
#[derive(Debug)]
pub struct Session {
    fleet: Fleet,
    exits: mpsc::UnboundedReceiver<Exit>,
    sights: mpsc::UnboundedReceiver<Sight>,
    /// What others have to tell the timeline.
    happenings: (mpsc::UnboundedSender<Happening>, mpsc::UnboundedReceiver<Happening>),
    leadership: Leadership,
    leaderless_at: Option<Instant>,
    /// Processes that answered last time they were asked; of acceptors, those that vote.
    serving: BTreeSet<NodeId>,
    chaos: Option<(Chaos, Instant)>,
    meter: Option<(Meter, Instant)>,
    /// What each learner said of itself last.
    learners: BTreeMap<LearnerId, LearnerStatus>,
    interrupt: Signal,
    terminate: Signal,
}

impl Session {
    /// Starts every process of `layout`, and the watch over them.
    ///
    /// # Errors
    /// When the timeline's file or the signals can't be had; nothing was started then.
    pub fn start(layout: &Layout) -> std::io::Result<Session> {
        let timeline = Timeline::begin(&layout.timeline())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        let (exits_in, exits) = mpsc::unbounded_channel();
        let (sights_in, sights) = mpsc::unbounded_channel();
        let mut fleet = Fleet::start(layout.programs(), timeline, exits_in);
        println!("{}", layout.table(|node| fleet.pid(node)));
        let processes = fleet.nodes().filter(|node| fleet.pid(*node).is_some()).count();
        fleet.tell(&Happening::Started { processes });
        watch::start(&layout.cluster, &sights_in);
        Ok(Session {
            fleet,
            exits,
            sights,
            happenings: mpsc::unbounded_channel(),
            leadership: Leadership::default(),
            leaderless_at: None,
            serving: BTreeSet::new(),
            chaos: None,
            meter: None,
            learners: BTreeMap::new(),
            interrupt,
            terminate,
        })
    }

    /// Supervises until `work` is done or somebody asks to stop.
    pub async fn until<T>(&mut self, work: impl Future<Output = T>) -> Ended<T> {
        self.until_or(work, |_| false)
            .await
            .map_or(Ended::Asked, |done| done.map_or(Ended::Asked, Ended::Done))
    }

    /// Supervises until every process serves, or `deadline`; whether they do.
    pub async fn until_all_serve(&mut self, deadline: Instant) -> Ended<bool> {
        let all = |session: &Session| session.fleet.nodes().all(|node| session.serves(node));
        match self.until_or(sleep_until(deadline), all).await {
            Some(Some(())) => Ended::Done(false),
            Some(None) => Ended::Done(true),
            None => Ended::Asked,
        }
    }

    /// `Some(Some(..))`: the work is done; `Some(None)`: `enough` holds; nothing: asked to stop.
    async fn until_or<T>(
        &mut self,
        work: impl Future<Output = T>,
        enough: impl Fn(&Session) -> bool,
    ) -> Option<Option<T>> {
        tokio::pin!(work);
        loop {
            if enough(self) {
                return Some(None);
            }
            let wake_at = self.wake_at();
            let wake = async move {
                match wake_at {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                done = &mut work => return Some(Some(done)),
                _ = self.interrupt.recv() => return None,
                _ = self.terminate.recv() => return None,
                Some(exit) = self.exits.recv() => self.on_exit(&exit),
                Some(sight) = self.sights.recv() => self.on_sight(&sight),
                Some(happening) = self.happenings.1.recv() => self.tell(&happening),
                () = wake => self.on_time(Instant::now()),
            }
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let next_kill = self.chaos.as_ref().map(|(_, at)| *at);
        let next_look = self.meter.as_ref().map(|(_, at)| *at);
        [self.fleet.next_start(), next_kill, next_look, self.leaderless_at].into_iter().flatten().min()
    }

    fn on_exit(&mut self, exit: &Exit) {
        self.serving.remove(&exit.node);
        self.fleet.on_exit(exit);
    }

    fn on_sight(&mut self, sight: &Sight) {
        if let (NodeId::Learner(id), Some(Status::Learner(status))) = (sight.node, &sight.status) {
            self.learners.insert(id, status.clone());
        }
        if sight.status.as_ref().is_some_and(watch::serves) {
            self.serving.insert(sight.node)
        } else {
            self.serving.remove(&sight.node)
        };
        match self.leadership.see(sight) {
            Some(Some(ballot)) => {
                self.leaderless_at = None;
                self.fleet.tell(&Happening::elected(ballot));
            }
            Some(None) => self.leaderless_at = Some(Instant::now() + HANDOVER),
            None => {}
        }
    }

    fn on_time(&mut self, now: Instant) {
        self.fleet.start_due(now);
        if let Some((meter, next_look)) = &mut self.meter
            && *next_look <= now
        {
            *next_look = now + METER_INTERVAL;
            let sizes = meter.look(&self.fleet);
            self.fleet.tell(&sizes);
        }
        if self.leaderless_at.is_some_and(|at| at <= now) {
            self.leaderless_at = None;
            self.fleet.tell(&Happening::NoLeader);
        }
        let mut down = self.fleet.down();
        down.extend(self.fleet.nodes().filter(|node| !self.serving.contains(node)));
        let Some((chaos, next_kill)) = &mut self.chaos else { return };
        if *next_kill > now {
            return;
        }
        *next_kill = now + Duration::from_millis(chaos.next_ms());
        if let Some(kill) = chaos.pick(&down) {
            self.serving.remove(&kill.node);
            self.fleet.kill(kill, self.leadership.leader() == Some(kill.node));
        }
    }

    /// Whether a process runs and serves.
    fn serves(&self, node: NodeId) -> bool {
        self.serving.contains(&node) && self.fleet.pid(node).is_some()
    }

    /// Lets `chaos` loose.
    pub fn start_chaos(&mut self, mut chaos: Chaos) {
        let first = Instant::now() + Duration::from_millis(chaos.next_ms());
        self.chaos = Some((chaos, first));
    }

    /// Ends chaos, and brings back what it keeps down.
    pub fn end_chaos(&mut self) {
        self.chaos = None;
        self.fleet.start_killed();
    }

    /// Lets `meter` look at every process now and then.
    pub fn start_meter(&mut self, meter: Meter) {
        self.meter = Some((meter, Instant::now() + METER_INTERVAL));
    }

    /// A last look, and the meter back.
    pub fn end_meter(&mut self) -> Option<Meter> {
        let (mut meter, _) = self.meter.take()?;
        let sizes = meter.look(&self.fleet);
        self.fleet.tell(&sizes);
        Some(meter)
    }

    /// Supervises until every learner has said that it has applied the same slot as the others, or `deadline`. Then tells each one's
    /// hash chain there; nothing when they didn't come to the same slot.
    pub async fn until_learners_are_level(
        &mut self,
        deadline: Instant,
    ) -> Ended<Option<BTreeMap<LearnerId, u64>>> {
        self.learners.clear();
        let all = self.fleet.nodes().filter(|node| matches!(node, NodeId::Learner(_))).count();
        let level = |session: &Session| {
            let applied: BTreeSet<_> = session.learners.values().map(|status| status.applied).collect();
            session.learners.len() == all && applied.len() == 1
        };
        match self.until_or(sleep_until(deadline), level).await {
            Some(Some(())) => Ended::Done(None),
            Some(None) => {
                Ended::Done(Some(self.learners.iter().map(|(id, status)| (*id, status.chain)).collect()))
            }
            None => Ended::Asked,
        }
    }

    /// Where the work that goes on meanwhile can tell the timeline something.
    pub fn happenings(&self) -> mpsc::UnboundedSender<Happening> {
        self.happenings.0.clone()
    }

    /// Tells the timeline.
    pub fn tell(&mut self, happening: &Happening) {
        self.fleet.tell(happening);
    }

    /// Kills, restarts and deaths so far.
    pub fn counts(&self) -> Counts {
        self.fleet.counts()
    }

    /// Stops every process; how many had to be killed.
    pub async fn stop(mut self) -> usize {
        self.fleet.stop(&mut self.exits).await
    }
}
