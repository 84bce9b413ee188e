//! The bytes of every message, reply and command, against `golden.txt`.

use std::fmt::Write as _;

use super::*;
use crate::command::{Opened, Outcome, Refusal, Reply};
use crate::ids::{LearnerId, SlotRange};
use crate::incarnations::{DiskAt, Incarnation};
use crate::message::*;

/// What the file says above its first message.
const ABOUT: &str = "\
# Bytes of frames, written by a test that compares them. When a form changes on purpose, raise VERSION in hello.rs, so that
# processes of two releases refuse each other, and put what the test prints here.
";

/// Each kind of message; that this doesn't compile shows which one `messages` lacks.
fn kind(message: &Message) -> &'static str {
    match message {
        Message::Acceptor(message) => match message {
            ToAcceptor::Prepare { .. } => "prepare",
            ToAcceptor::Accept(_) => "accept",
            ToAcceptor::Probe { .. } => "probe",
            ToAcceptor::QuorumRead { .. } => "quorum-read",
            ToAcceptor::Fetch(_) => "fetch",
            ToAcceptor::Admit(_) => "admit",
            ToAcceptor::Reached { .. } => "reached",
            ToAcceptor::Form { .. } => "form",
            ToAcceptor::Status { .. } => "status-of-acceptor",
        },
        Message::Proposer(message) => match message {
            ToProposer::Promise(_) => "promise",
            ToProposer::Nack { .. } => "nack",
            ToProposer::Accepted(_) => "accepted",
            ToProposer::ProbeReply { .. } => "probe-reply",
            ToProposer::Fetched(_) => "fetched-by-proposer",
            ToProposer::Propose(_) => "propose",
            ToProposer::Subscribe(_) => "subscribe",
            ToProposer::Settle { .. } => "settle",
            ToProposer::Admitted(_) => "admitted",
            ToProposer::Readmit { .. } => "readmit",
            ToProposer::Status { .. } => "status-of-proposer",
        },
        Message::Learner(message) => match message {
            ToLearner::Chosen(_) => "chosen",
            ToLearner::Fetched(_) => "fetched-by-learner",
            ToLearner::QuorumReadReply { .. } => "quorum-read-reply",
            ToLearner::Refused { .. } => "refused-forward",
            ToLearner::Fetch(_) => "fetch-of-learner",
            ToLearner::SnapshotFetch(_) => "snapshot-fetch",
            ToLearner::SnapshotChunk(_) => "snapshot-chunk",
            ToLearner::NoSnapshot(_) => "no-snapshot",
            ToLearner::Chains(_) => "chains",
            ToLearner::Attach(_) => "attach",
            ToLearner::Read(_) => "read",
            ToLearner::Forward(_) => "forward",
            ToLearner::Status { .. } => "status-of-learner",
        },
        Message::Client(message) => match message {
            ToClient::Opened(_) => "opened",
            ToClient::Attached { .. } => "attached",
            ToClient::Replies(_) => "replies",
            ToClient::ReadReplies(_) => "read-replies",
            ToClient::Refused { .. } => "refused",
            ToClient::SnapshotChunk(_) => "snapshot-chunk-to-client",
            ToClient::NoSnapshot(_) => "no-snapshot-to-client",
            ToClient::Formed { .. } => "formed",
            ToClient::Readmission { .. } => "readmission",
            ToClient::Status { .. } => "status",
        },
    }
}

/// Kinds of message.
const KINDS: usize = 9 + 11 + 13 + 10;

fn disk() -> DiskAt {
    DiskAt { id: DiskId(8), position: 9 }
}

fn incarnations() -> Incarnations {
    let mut rows = Incarnations::default();
    rows.note(AcceptorId(2), Incarnation { since: ballot(), disk: DiskId(8), position: 9 });
    rows
}

fn admit() -> Admit {
    Admit { ballot: ballot(), acceptor: AcceptorId(2), disk: DiskId(8) }
}

fn founding() -> Founding {
    Founding { formation: 6, disks: vec![(AcceptorId(1), DiskId(7))] }
}

fn admission() -> Box<Admission> {
    let (floor, highest) = (Slot(3), Slot(9));
    Box::new(Admission { admit: admit(), founding: founding(), incarnations: incarnations(), floor, highest })
}

fn session() -> SessionId {
    SessionId { slot: Slot(3), position: 4 }
}

fn chunk() -> SnapshotChunk {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let (cursor, next) = (bytes("c"), Some(bytes("d")));
    SnapshotChunk { slot: Slot(3), cursor, bytes: bytes("ab"), next, checksum: 5 }
}

fn fetched() -> Fetched {
    Fetched { first: Slot(3), values: vec![value("x"), value("yz")], held: Slot(4), floor: Slot(1) }
}

fn propose() -> Propose {
    Propose { tag: 4, commands: value("batch") }
}

fn to_acceptors() -> Vec<ToAcceptor> {
    let form = |step| ToAcceptor::Form { request: 1, step };
    let disks = vec![(AcceptorId(1), DiskId(7))];
    vec![
        ToAcceptor::Prepare { ballot: ballot(), after: Slot(2) },
        accept(),
        ToAcceptor::Probe { probe: 1 },
        ToAcceptor::QuorumRead { round: 1 },
        ToAcceptor::Fetch(Fetch { first: Slot(1), last: Slot(2) }),
        ToAcceptor::Admit(admit()),
        ToAcceptor::Reached { ballot: ballot(), rows: incarnations() },
        form(FormStep::Query),
        form(FormStep::Prepare { formation: 6, disk: DiskId(8) }),
        form(FormStep::Open { formation: 6, disks }),
        form(FormStep::Replace { disk: DiskId(8) }),
        form(FormStep::Enter(admission())),
        ToAcceptor::Status { request: 1 },
    ]
}

fn to_proposers() -> Vec<ToProposer> {
    let subscribe =
        |pinned, wants| ToProposer::Subscribe(Subscribe { next: Slot(4), synced: Slot(2), pinned, wants });
    let promise = Promise {
        ballot: ballot(),
        disk: disk(),
        incarnations: incarnations(),
        floor: Slot(1),
        held: Slot(2),
        after: Slot(2),
        upto: Slot(9),
        complete: true,
        votes: vec![Vote { slot: Slot(3), ballot: ballot(), value: value("v") }],
    };
    let accepted = Accepted {
        ballot: ballot(),
        disk: disk(),
        slots: SlotRange::new(Slot(3), Slot(5)).into_iter().collect(),
        held: Slot(2),
        floor: Slot(1),
        full: false,
    };
    vec![
        ToProposer::Promise(promise),
        ToProposer::Nack { ballot: ballot(), promised: Ballot::NONE },
        ToProposer::Accepted(accepted),
        ToProposer::ProbeReply { probe: 1, promised: ballot(), silent: true },
        ToProposer::Fetched(fetched()),
        ToProposer::Propose(propose()),
        subscribe(None, Wants::AtOnce),
        subscribe(Some(Slot(1)), Wants::Late),
        subscribe(None, Wants::Nothing),
        ToProposer::Settle { slot: Slot(1) },
        ToProposer::Admitted(Admitted { admit: admit(), disk: disk(), founding: founding() }),
        ToProposer::Readmit { request: 1, acceptor: AcceptorId(2), disk: DiskId(8) },
        ToProposer::Status { request: 1 },
    ]
}

fn to_learners() -> Vec<ToLearner> {
    let refused = |reason| ToLearner::Refused { tag: 4, reason };
    let chosen = Chosen {
        ballot: ballot(),
        prefix: Slot(4),
        first: Slot(4),
        values: vec![value("c")],
        withheld_bytes: 7,
    };
    vec![
        ToLearner::Chosen(chosen),
        ToLearner::Fetched(fetched()),
        ToLearner::QuorumReadReply { round: 1, highest: Slot(9), disk: disk(), incarnations: incarnations() },
        refused(NotTaken::Busy { retry_ms: 20 }),
        refused(NotTaken::NotLeader { leader: Some(ProposerId(2)) }),
        refused(NotTaken::Malformed),
        ToLearner::Fetch(Fetch { first: Slot(1), last: Slot(2) }),
        ToLearner::SnapshotFetch(SnapshotFetch {
            slot: Some(Slot(3)),
            least: Slot(2),
            cursor: Bytes::from_static(b"c"),
        }),
        ToLearner::SnapshotChunk(chunk()),
        ToLearner::NoSnapshot(NoSnapshot { slot: Some(Slot(3)), applied: Slot(4) }),
        ToLearner::Chains(Chains { told: vec![(Slot(3), 5)], asked: vec![Slot(4)] }),
        ToLearner::Attach(Attach::Nonce(6)),
        ToLearner::Attach(Attach::Session { session: session(), pending: vec![5, 7] }),
        reads(),
        ToLearner::Forward(propose()),
        ToLearner::Status { request: 1 },
    ]
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Put { revision: Revision(2) },
        Outcome::Deleted { revision: Some(Revision(2)) },
        Outcome::Deleted { revision: None },
        Outcome::Renewed,
        Outcome::Closed,
        Outcome::Restored,
        Outcome::Refused(Refusal::KeyTooLong { limit: 5 }),
        Outcome::Refused(Refusal::ValueTooLong { limit: 5 }),
        Outcome::Refused(Refusal::NoSession),
        Outcome::Refused(Refusal::OutsideWindow),
        Outcome::Refused(Refusal::Restoring),
        Outcome::Refused(Refusal::NotEmpty { revision: Revision(2) }),
        Outcome::Refused(Refusal::BadRevision),
        Outcome::Refused(Refusal::OtherBackup { backup: 6 }),
    ]
}

fn statuses() -> Vec<Status> {
    let open =
        Formation::Open { formation: 6, disk: DiskId(8), disks: founding().disks, cluster: ClusterId(0x22) };
    let acceptor = AcceptorStatus {
        formation: open,
        promised: ballot(),
        silent: true,
        floor: Slot(1),
        held: Slot(2),
        highest: Slot(3),
        full: false,
    };
    let proposer = |phase| ProposerStatus {
        phase,
        ballot: ballot(),
        chosen: Slot(1),
        floor: Slot(2),
        in_flight: 3,
        queued_bytes: 4,
        retained_bytes: 5,
        learners: vec![LearnerId(1)],
        held: vec![(AcceptorId(1), Slot(6))],
        full: vec![AcceptorId(2)],
    };
    let learner = LearnerStatus {
        applied: Slot(1),
        known: Slot(2),
        chain: 3,
        keys: 4,
        sessions: 5,
        waiting_reads: 6,
        leader: ballot(),
        synced: Slot(7),
        engine: "memory".into(),
        full: false,
        in_doubt: true,
        transfer: Some(Transfer { from: Some(LearnerId(1)), slot: Some(Slot(8)), bytes: 9 }),
        serving: Some(Slot(10)),
    };
    let phases = [PhaseName::Probing, PhaseName::Preparing, PhaseName::Leading];
    let proposers = phases.map(|phase| Status::Proposer(proposer(phase)));
    [Status::Acceptor(acceptor), Status::Learner(learner)].into_iter().chain(proposers).collect()
}

fn to_clients() -> Vec<ToClient> {
    let refused = |reason| ToClient::Refused { tag: 4, reason };
    let attached = |session, state| ToClient::Attached { session, state };
    let formed = |formation, why: Option<&str>| ToClient::Formed {
        request: 1,
        formation,
        refused: why.map(Into::into),
    };
    let readmission = |readmission| ToClient::Readmission { request: 1, readmission };
    let reply = |outcome| Reply { session: session(), sequence: 5, slot: Slot(9), outcome };
    let mut all = vec![
        ToClient::Opened(Opened { nonce: 6, session: Some(session()) }),
        attached(Some(session()), AttachState::Open),
        attached(None, AttachState::Behind),
        attached(None, AttachState::Ended),
        ToClient::Replies(outcomes().into_iter().map(reply).collect()),
        read_replies(),
        refused(NotTaken::Busy { retry_ms: 20 }),
        ToClient::SnapshotChunk(chunk()),
        ToClient::NoSnapshot(NoSnapshot { slot: None, applied: Slot(4) }),
        formed(Formation::Empty, Some("why")),
        formed(Formation::Prepared { formation: 6, disk: DiskId(8) }, None),
        formed(Formation::Replaced { disk: DiskId(8) }, None),
        readmission(Readmission::NotLeading { leader: Some(ProposerId(2)) }),
        readmission(Readmission::UnderWay { ballot: ballot(), slots: 3, acceptors: 2 }),
        readmission(Readmission::Granted(admission())),
        readmission(Readmission::Refused { why: "why".into() }),
    ];
    all.extend(statuses().into_iter().map(|status| ToClient::Status { request: 1, status }));
    all
}

fn commands() -> Vec<Command<'static>> {
    let stamp = Stamp { created: Revision(1), modified: Revision(2), version: 3 };
    let operations = [
        Operation::Put { key: b"k", value: b"vw" },
        Operation::Delete { key: b"k" },
        Operation::KeepAlive,
        Operation::Close,
        Operation::Restore { key: b"k", value: b"vw", stamp, backup: 6 },
        Operation::RestoreEnd { revision: Revision(2), backup: 6 },
    ];
    let call = |operation| Command::Call(Call { session: session(), sequence: 5, lowest: 2, operation });
    let others = [Command::Open { nonce: 6 }, Command::Expire { session: session(), renewed: Slot(9) }];
    operations.map(call).into_iter().chain(others).collect()
}

fn comes_back<T: Payload + PartialEq + std::fmt::Debug>(message: &T, body: Bytes) {
    assert_eq!(&decode_frame::<T>(body).unwrap(), message);
}

#[test]
fn every_message_and_command_has_its_golden_bytes_and_comes_back() {
    let messages: Vec<Message> = [
        to_acceptors().into_iter().map(Message::Acceptor).collect::<Vec<_>>(),
        to_proposers().into_iter().map(Message::Proposer).collect(),
        to_learners().into_iter().map(Message::Learner).collect(),
        to_clients().into_iter().map(Message::Client).collect(),
    ]
    .concat();
    let kinds: std::collections::BTreeSet<_> = messages.iter().map(kind).collect();
    assert_eq!(kinds.len(), KINDS, "no example of some");
    let mut text = format!("{ABOUT}version {VERSION}\n");
    for message in &messages {
        let body = body(message);
        writeln!(text, "{} {}", kind(message), hex(&body)).unwrap();
        match message {
            Message::Acceptor(message) => comes_back(message, body),
            Message::Proposer(message) => comes_back(message, body),
            Message::Learner(message) => comes_back(message, body),
            Message::Client(message) => comes_back(message, body),
        }
    }
    for command in commands() {
        let mut out = Vec::new();
        encode_command(&command, &mut out);
        writeln!(text, "command {}", hex(&out)).unwrap();
        assert_eq!(decode_command(&out).unwrap(), command);
    }
    let golden = include_str!("golden.txt");
    let differs = text.lines().zip(golden.lines()).find(|(is, was)| is != was);
    assert!(text == golden, "first difference (is, was): {differs:?}; all of it is:\n{text}");
}
