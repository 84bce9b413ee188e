//! S12: a disk restored from a copy while every proposer and learner is down is noticed by new ones, through what the other acceptors
//! remember; sound ones never are. The roles alone, with all their messages, restarted from what they made durable.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};

use synod_acceptor::{Acceptor, Durable, Record};
use synod_planted::Bug;
use synod_proposer::{Proposer, Timer};
use synod_protocol::command::{BatchBuilder, Command};
use synod_protocol::incarnations::POSITION_STEP;
use synod_protocol::message::{
    Admit, Message, PhaseName, Promise, Propose, Status, Subscribe, ToAcceptor, ToClient, ToProposer, Wants,
};
use synod_protocol::role::{Effects, NothingToPersist, Persist, Role};
use synod_protocol::tuning::Tuning;
use synod_protocol::{
    AcceptorId, Ballot, ClientId, Cluster, DiskAt, DiskId, Incarnations, LearnerId, NodeId, ProposerId,
    QuorumSystem, Slot,
};

use super::check;

const P1: ProposerId = ProposerId(1);
const L1: LearnerId = LearnerId(1);
const A1: AcceptorId = AcceptorId(1);
const A2: AcceptorId = AcceptorId(2);
const A3: AcceptorId = AcceptorId(3);

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

fn disk(acceptor: AcceptorId) -> DiskId {
    DiskId(u64::from(acceptor.0) * 11)
}

/// What was made durable.
#[derive(Clone, Default)]
struct Records(Vec<Record>);

impl Persist<Record> for Records {
    type Error = std::convert::Infallible;
    fn persist(&mut self, records: Vec<Record>) -> Result<(), Self::Error> {
        self.0.extend(records);
        Ok(())
    }
}

fn formed(acceptor: AcceptorId) -> Records {
    let disks: Vec<_> = [A1, A2, A3].map(|id| (id, disk(id))).to_vec();
    let cluster = Cluster::id_of(1, 5, &disks);
    Records(vec![Record::Prepared { formation: 5, disk: disk(acceptor) }, Record::Opened { disks, cluster }])
}

fn acceptor(id: AcceptorId, records: &Records) -> Acceptor {
    let config = synod_acceptor::Config {
        id,
        acceptors: [A1, A2, A3].into(),
        parameters: 1,
        election_timeout_ms: 100,
        chunk_bytes: 1 << 20,
        cache_bytes: u64::MAX,
    };
    let mut durable = Durable::empty(id);
    records.0.iter().for_each(|record| durable.apply(record));
    Acceptor::new(config, durable)
}

/// One message to an acceptor: what it answers, and why it ends itself.
fn tell(
    role: &mut Acceptor,
    records: &mut Records,
    message: ToAcceptor,
) -> (Vec<(NodeId, Message)>, Option<String>) {
    STEPS.set(STEPS.get() + 1);
    let mut effects = Effects::default();
    role.on_message(P1.into(), message, &mut effects).unwrap();
    role.end_of_batch(&mut effects);
    let Ok(released) = effects.release(records);
    (released.messages, released.halt)
}

/// One life of a proposer with the acceptors that run.
struct World {
    proposer: Proposer,
    acceptors: BTreeMap<AcceptorId, (Acceptor, Records)>,
    sent: VecDeque<(NodeId, NodeId, Message)>,
    /// Those that ended themselves, and why.
    ended: BTreeMap<AcceptorId, String>,
}

impl World {
    /// All start from what is on their disks.
    fn start(life: u64, disks: impl IntoIterator<Item = (AcceptorId, Records)>) -> World {
        let quorums = QuorumSystem::majority([A1, A2, A3]).unwrap();
        let (learners, tuning) =
            ([L1].into(), Tuning { window_slots: 1, thrifty_ms: 0, ..Tuning::default() });
        let config = synod_proposer::Config { id: P1, life, quorums, learners, tuning };
        let acceptors =
            disks.into_iter().map(|(id, records)| (id, (acceptor(id, &records), records))).collect();
        let proposer = Proposer::new(config);
        let mut world = World { proposer, acceptors, sent: VecDeque::new(), ended: BTreeMap::new() };
        let subscribe = ToProposer::Subscribe(Subscribe {
            next: Slot::FIRST,
            synced: Slot::ZERO,
            pinned: None,
            wants: Wants::AtOnce,
        });
        world.propose(|proposer, effects| proposer.on_message(L1.into(), subscribe, effects).unwrap());
        world
    }

    fn propose(
        &mut self,
        event: impl FnOnce(&mut Proposer, &mut Effects<synod_protocol::role::Never, Timer>),
    ) {
        STEPS.set(STEPS.get() + 1);
        let mut effects = Effects::default();
        event(&mut self.proposer, &mut effects);
        self.proposer.end_of_batch(&mut effects);
        let Ok(released) = effects.release(&mut NothingToPersist);
        self.sent.extend(released.messages.into_iter().map(|(to, message)| (P1.into(), to, message)));
    }

    /// Until nothing is under way.
    fn deliver(&mut self) {
        while let Some((from, to, message)) = self.sent.pop_front() {
            match (to, message) {
                (NodeId::Acceptor(id), Message::Acceptor(message)) => {
                    let Some((role, records)) = self.acceptors.get_mut(&id) else { continue };
                    let (answers, halt) = tell(role, records, message);
                    self.sent.extend(answers.into_iter().map(|(to, answer)| (id.into(), to, answer)));
                    if let Some(why) = halt {
                        self.ended.insert(id, why);
                        self.acceptors.remove(&id);
                    }
                }
                (NodeId::Proposer(_), Message::Proposer(message)) => {
                    self.propose(|proposer, effects| proposer.on_message(from, message, effects).unwrap());
                }
                // Nobody listens.
                _ => {}
            }
        }
    }

    fn timer(&mut self, timer: Timer) {
        self.propose(|proposer, effects| proposer.on_timer(timer, effects));
        self.deliver();
    }

    /// Everybody has been silent for long; whether a leader comes of it.
    fn stands(&mut self) -> bool {
        for (role, _) in self.acceptors.values_mut() {
            role.on_timer(synod_acceptor::Timer::LeaderSilent, &mut Effects::default());
        }
        for timer in [Timer::Probe, Timer::Stand, Timer::Resend] {
            self.timer(timer);
        }
        // Only a leader has heartbeats; and whoever went back hears of it by then.
        self.timer(Timer::Heartbeat);
        self.leads()
    }

    fn leads(&mut self) -> bool {
        let mut effects = Effects::default();
        let ask = ToProposer::Status { request: 1 };
        self.proposer.on_message(ClientId(1).into(), ask, &mut effects).unwrap();
        let Ok(released) = effects.release(&mut NothingToPersist);
        let [(_, Message::Client(ToClient::Status { status: Status::Proposer(status), .. }))] =
            &released.messages[..]
        else {
            panic!("no status: {released:?}")
        };
        status.phase == PhaseName::Leading
    }

    /// A slot for each command.
    fn choose(&mut self, commands: u64) {
        for tag in 0..commands {
            let mut batch = BatchBuilder::default();
            batch.push(&Command::Open { nonce: tag.into() });
            let commands = batch.finish().0;
            let propose = ToProposer::Propose(Propose { tag, commands });
            self.propose(|proposer, effects| proposer.on_message(L1.into(), propose, effects).unwrap());
            self.deliver();
        }
        self.timer(Timer::Heartbeat);
    }

    fn disks(&self) -> BTreeMap<AcceptorId, Records> {
        self.acceptors.iter().map(|(id, (_, records))| (*id, records.clone())).collect()
    }
}

/// A cluster that has had more than two steps of records; and a3's disk when it had one.
fn written() -> (BTreeMap<AcceptorId, Records>, Records) {
    let mut world = World::start(1, [A1, A2, A3].map(|id| (id, formed(id))));
    assert!(world.stands(), "a new cluster has a leader");
    world.choose(POSITION_STEP);
    assert!(world.ended.is_empty(), "a sound disk is refused: {:?}", world.ended);
    let copy = world.disks()[&A3].clone();
    world.choose(2 * POSITION_STEP);
    assert!(world.ended.is_empty(), "a sound disk is refused: {:?}", world.ended);
    (world.disks(), copy)
}

fn a_disk_that_went_back_is_noticed_by_new_processes() {
    let (disks, copy) = written();
    for other in [A1, A2] {
        let mut world = World::start(2, [(other, disks[&other].clone()), (A3, copy.clone())]);
        assert!(!world.stands(), "S12: a leader by the promise of a disk that went back");
        let why = world.ended.get(&A3).expect("S12: a disk that went back isn't told to stop");
        assert!(why.contains("S12") && why.contains("readmit-acceptor"), "{why}");
    }
    let with_all = [(A1, disks[&A1].clone()), (A2, disks[&A2].clone()), (A3, copy)];
    let mut world = World::start(2, with_all);
    assert!(world.stands(), "the others make a quorum");
    assert_eq!(world.ended.keys().collect::<Vec<_>>(), [&A3]);
    // Nobody is refused who comes back with all that it had, or with more.
    let mut world = World::start(2, disks);
    assert!(world.stands());
    world.choose(POSITION_STEP);
    assert!(world.ended.is_empty(), "a sound disk is refused: {:?}", world.ended);
}

fn at(round: u64) -> Ballot {
    Ballot { round, proposer: P1, life: 1 }
}

fn promise(role: &mut Acceptor, records: &mut Records, round: u64) -> Promise {
    let prepare = ToAcceptor::Prepare { ballot: at(round), after: Slot::ZERO };
    match tell(role, records, prepare).0.pop() {
        Some((_, Message::Proposer(ToProposer::Promise(promise)))) => promise,
        other => panic!("no promise: {other:?}"),
    }
}

fn what_is_recorded_of_others() {
    let mut records = formed(A1);
    let mut role = acceptor(A1, &records);
    let mut rows = Incarnations::default();
    rows.reached(A3, DiskAt::new(disk(A3), 3 * POSITION_STEP));
    promise(&mut role, &mut records, 2);
    tell(&mut role, &mut records, ToAcceptor::Reached { ballot: at(3), rows: rows.clone() });
    // The promise of a3 at ballot 2 may be late: it was made before a3 reached that.
    let told = promise(&mut role, &mut records, 2).incarnations;
    assert!(told.is_empty(), "S12: ballot 2 is told of a position reached at ballot 3");
    promise(&mut role, &mut records, 3);
    tell(&mut role, &mut records, ToAcceptor::Reached { ballot: at(3), rows });
    let admit = Admit { ballot: at(4), acceptor: A3, disk: DiskId(99) };
    tell(&mut role, &mut records, ToAcceptor::Admit(admit));
    let told = promise(&mut role, &mut records, 5).incarnations;
    let fresh = DiskAt::from(DiskId(99));
    assert!(!told.is_older(A3, fresh), "S12: a new disk is held to positions of the lost one");
}

#[test]
fn s12_a_disk_that_went_back_is_noticed_though_everyone_restarted() {
    let take = || STEPS.take();
    let bugs = [
        (Bug::PositionRoundedUp, "a sound disk is refused"),
        (Bug::PositionIgnored, "by the promise of a disk that went back"),
        (Bug::PositionsNotTold, "by the promise of a disk that went back"),
        (Bug::PositionsNotRecorded, "by the promise of a disk that went back"),
    ];
    let trial = a_disk_that_went_back_is_noticed_by_new_processes;
    check("a disk restored from a copy", "steps", trial, take, &bugs);
    let bugs = [
        (Bug::PositionsOfAnyBallot, "is told of a position reached at"),
        (Bug::PositionOfReplacedDisk, "held to positions of the lost one"),
    ];
    check("positions of others", "steps", what_is_recorded_of_others, take, &bugs);
}
