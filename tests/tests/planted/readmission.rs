//! Steps of readmission of which one alone may be left out without harm, as the model shows by exploring its worlds to their ends: each is
//! doubled by another. Phase 1 without the replaced acceptor closes every ballot below to a quorum; so does the record at a quorum, as long as it
//! raises the promise; what is closed twice needs neither the new disk's promise nor a refusal that is heeded. They are kept, since
//! the argument of each step then stands alone; here each of them is seen to be done.

use std::cell::Cell;

use synod_acceptor::{Acceptor, Durable, Record};
use synod_planted::Bug;
use synod_proposer::{Proposer, Timer};
use synod_protocol::cluster::Cluster;
use synod_protocol::message::{
    Admission, Admit, FormStep, Founding, Message, PhaseName, Promise, Status, Subscribe, ToAcceptor,
    ToClient, ToProposer, Wants,
};
use synod_protocol::role::{Effects, NothingToPersist, Persist, Role};
use synod_protocol::tuning::Tuning;
use synod_protocol::{
    AcceptorId, Ballot, ClientId, DiskId, Incarnation, Incarnations, LearnerId, NodeId, ProposerId,
    QuorumSystem, Slot,
};

use super::check;

const ADMIN: ClientId = ClientId(1);
const A3: AcceptorId = AcceptorId(3);
const OLD: DiskId = DiskId(1);
const NEW: DiskId = DiskId(2);

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

type Sent = Vec<(NodeId, Message)>;

fn propose(
    proposer: &mut Proposer,
    event: impl FnOnce(&mut Proposer, &mut Effects<synod_protocol::role::Never, Timer>),
) -> Sent {
    STEPS.set(STEPS.get() + 1);
    let mut effects = Effects::default();
    event(proposer, &mut effects);
    proposer.end_of_batch(&mut effects);
    let Ok(released) = effects.release(&mut NothingToPersist);
    released.messages
}

fn hear(proposer: &mut Proposer, from: impl Into<NodeId>, message: ToProposer) -> Sent {
    let from = from.into();
    propose(proposer, |proposer, effects| proposer.on_message(from, message, effects).unwrap())
}

/// Its phase and ballot.
fn phase(proposer: &mut Proposer) -> (PhaseName, Ballot) {
    let sent = hear(proposer, ADMIN, ToProposer::Status { request: 0 });
    let Some((_, Message::Client(ToClient::Status { status: Status::Proposer(status), .. }))) = sent.first()
    else {
        panic!("not a status: {sent:?}")
    };
    (status.phase, status.ballot)
}

fn promise(proposer: &mut Proposer, from: u16, ballot: Ballot) {
    let (slot, incarnations) = (Slot::ZERO, Incarnations::default());
    let promise = Promise {
        ballot,
        disk: OLD.into(),
        incarnations,
        floor: Slot::FIRST,
        held: slot,
        after: slot,
        upto: slot,
        complete: true,
        votes: Vec::new(),
    };
    hear(proposer, AcceptorId(from), ToProposer::Promise(promise));
}

/// A proposer in Phase 1 of its first ballot.
fn stands() -> (Proposer, Ballot) {
    let quorums = QuorumSystem::majority((1..=3).map(AcceptorId)).unwrap();
    let (learners, tuning) = ([LearnerId(1)].into(), Tuning::default());
    let config = synod_proposer::Config { id: ProposerId(1), life: 7, quorums, learners, tuning };
    let mut proposer = Proposer::new(config);
    let subscribe = ToProposer::Subscribe(Subscribe {
        next: Slot::FIRST,
        synced: Slot::ZERO,
        pinned: None,
        wants: Wants::AtOnce,
    });
    hear(&mut proposer, LearnerId(1), subscribe);
    for timer in [Timer::Probe, Timer::Stand] {
        let sent = propose(&mut proposer, |proposer, effects| proposer.on_timer(timer, effects));
        let Some((_, Message::Acceptor(ToAcceptor::Probe { probe }))) = sent.first() else {
            panic!("no probe: {sent:?}")
        };
        for from in [1, 2] {
            let reply = ToProposer::ProbeReply { probe: *probe, promised: Ballot::NONE, silent: true };
            hear(&mut proposer, AcceptorId(from), reply);
        }
    }
    let (_, ballot) = phase(&mut proposer);
    (proposer, ballot)
}

fn the_leader_does_each_step() {
    let (mut proposer, ballot) = stands();
    promise(&mut proposer, 1, ballot);
    promise(&mut proposer, 2, ballot);
    assert_eq!(phase(&mut proposer).0, PhaseName::Leading);
    hear(&mut proposer, ADMIN, ToProposer::Readmit { request: 1, acceptor: A3, disk: NEW });
    let (_, fresh) = phase(&mut proposer);
    assert!(fresh > ballot, "a readmission begins a ballot");
    promise(&mut proposer, 1, fresh);
    promise(&mut proposer, 3, fresh);
    let now = phase(&mut proposer).0;
    assert_eq!(now, PhaseName::Preparing, "S12: Phase 1 counts the disk that was replaced");
    promise(&mut proposer, 2, fresh);
    assert_eq!(phase(&mut proposer).0, PhaseName::Leading);
    let promised = Ballot { round: 9, proposer: ProposerId(2), life: 1 };
    hear(&mut proposer, AcceptorId(2), ToProposer::Nack { ballot: fresh, promised });
    assert_eq!(phase(&mut proposer).0, PhaseName::Probing, "S12: goes on in a ballot that was refused");
}

struct Memory;

impl Persist<Record> for Memory {
    type Error = std::convert::Infallible;
    fn persist(&mut self, _records: Vec<Record>) -> Result<(), Self::Error> {
        Ok(())
    }
}

fn tell(acceptor: &mut Acceptor, from: impl Into<NodeId>, message: ToAcceptor) -> Sent {
    STEPS.set(STEPS.get() + 1);
    let mut effects = Effects::default();
    acceptor.on_message(from.into(), message, &mut effects).unwrap();
    acceptor.end_of_batch(&mut effects);
    let Ok(released) = effects.release(&mut Memory);
    released.messages
}

fn at(round: u64) -> Ballot {
    Ballot { round, proposer: ProposerId(1), life: 7 }
}

fn acceptor(id: AcceptorId, records: &[Record]) -> Acceptor {
    let config = synod_acceptor::Config {
        id,
        acceptors: (1..=3).map(AcceptorId).collect(),
        parameters: 1,
        election_timeout_ms: 100,
        chunk_bytes: 1 << 20,
        cache_bytes: u64::MAX,
    };
    let mut durable = Durable::empty(id);
    records.iter().for_each(|record| durable.apply(record));
    Acceptor::new(config, durable)
}

fn refuses_below(acceptor: &mut Acceptor, words: &str) {
    let prepare = ToAcceptor::Prepare { ballot: at(4), after: Slot::ZERO };
    let sent = tell(acceptor, ProposerId(1), prepare);
    let refused = matches!(sent.as_slice(), [(_, Message::Proposer(ToProposer::Nack { .. }))]);
    assert!(refused, "S12: {words}: {sent:?}");
}

fn acceptors_promise_the_ballot_of_a_readmission() {
    let disks: Vec<_> = (1..=3).map(|id| (AcceptorId(id), OLD)).collect();
    let cluster = Cluster::id_of(1, 5, &disks);
    let opened = Record::Opened { disks: disks.clone(), cluster };
    let mut other = acceptor(AcceptorId(2), &[Record::Prepared { formation: 5, disk: OLD }, opened]);
    let admit = Admit { ballot: at(5), acceptor: A3, disk: NEW };
    let sent = tell(&mut other, ProposerId(1), ToAcceptor::Admit(admit));
    assert!(matches!(sent.as_slice(), [(_, Message::Proposer(ToProposer::Admitted(_)))]), "{sent:?}");
    refuses_below(&mut other, "the record raised no promise");

    let mut incarnations = Incarnations::default();
    incarnations.note(A3, Incarnation::new(at(5), NEW));
    let founding = Founding { formation: 5, disks };
    let admission = Admission { admit, founding, incarnations, floor: Slot::FIRST, highest: Slot::ZERO };
    let mut new = acceptor(A3, &[Record::Replaced { disk: NEW }]);
    tell(&mut new, ADMIN, ToAcceptor::Form { request: 1, step: FormStep::Enter(Box::new(admission)) });
    refuses_below(&mut new, "the new disk entered without a promise");
}

#[test]
fn steps_of_readmission_that_are_doubled_by_others_are_done() {
    let leader = [
        (Bug::ReadmissionCountsReplaced, "counts the disk that was replaced"),
        (Bug::ReadmissionSurvivesNack, "goes on in a ballot that was refused"),
    ];
    check("a leader that readmits", "steps", the_leader_does_each_step, || STEPS.take(), &leader);
    let acceptors = [
        (Bug::ReadmittedRaisesNoPromise, "the record raised no promise"),
        (Bug::EntersWithoutPromise, "entered without a promise"),
    ];
    let trial = acceptors_promise_the_ballot_of_a_readmission;
    check("acceptors in a readmission", "steps", trial, || STEPS.take(), &acceptors);
}
