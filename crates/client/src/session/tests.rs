//! The session against scripted peers, and in `random.rs` against a cluster that loses, repeats and reorders.

mod busy;
#[path = "../../tests/support/machine.rs"]
mod machine;
mod outcomes;
mod random;
mod routes;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use synod_protocol::cluster::Limits;
use synod_protocol::command::{Command, Opened, Operation, Outcome, Reply, SessionId, commands};
use synod_protocol::message::{
    Attach, Consistency, Message, NotTaken, Propose, ToClient, ToLearner, ToProposer,
};
use synod_protocol::{Cluster, NodeId, ProposerId, Revision, Slot};

use super::{Effect, Randomness, Session, Write};
use crate::outcome::{Answer, CallError, Ended, Failure, What};

/// What a put came to.
const PUT: Outcome = Outcome::Put { revision: Revision(9) };
const WHAT_PUT: What = What::Put { revision: Revision(9) };

const SESSION: SessionId = SessionId { slot: Slot(7), position: 0 };

pub(super) fn cluster() -> Cluster {
    let mut text = String::from("name = \"test\"\n[limits]\nsession_window = 4\nvalue_bytes = 1000\n");
    for (table, port) in [("acceptors", 7100), ("proposers", 7200), ("learners", 7300)] {
        for id in 1..=3 {
            text += &format!("[[{table}]]\nid = {id}\naddress = \"127.0.0.1:{}\"\n", port + id);
        }
    }
    Cluster::parse(&text, &[]).unwrap()
}

fn p(id: u16) -> NodeId {
    ProposerId(id).into()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A session, its clock, and what it has asked for.
struct Bench {
    session: Session<u32>,
    now: Duration,
    /// Nodes that can't be dialed.
    dead: BTreeSet<NodeId>,
    sent: Vec<(NodeId, Message)>,
    ended: Vec<(u32, Ended)>,
}

/// A command of a proposal, for comparing.
type Told = (u64, u64, String);

impl Bench {
    fn new() -> Bench {
        Bench::with(cluster().limits)
    }

    fn with(limits: Limits) -> Bench {
        let cluster = Cluster { limits, ..cluster() };
        Bench {
            session: Session::new(&cluster, ms(5_000), Randomness { seed: 1, nonce: 50 }),
            now: ms(1),
            dead: BTreeSet::new(),
            sent: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// With an open session: ready for writes that leave at once.
    fn open() -> Bench {
        Bench::open_with(cluster().limits)
    }

    fn open_with(limits: Limits) -> Bench {
        let mut bench = Bench::with(limits);
        bench.put(0, "first");
        bench.step();
        bench.opened();
        bench.reply(1, PUT);
        assert_eq!(bench.ended(), vec![(0, ok(WHAT_PUT))]);
        bench.sent.clear();
        bench
    }

    fn put(&mut self, ticket: u32, value: &str) {
        let write = Write::Put { key: Bytes::from("k"), value: Bytes::from(value.to_string()) };
        self.session.write(ticket, write, self.now + ms(5_000));
    }

    fn get(&mut self, ticket: u32) {
        let deadline = self.now + ms(5_000);
        self.session.read(ticket, Bytes::from("k"), Consistency::Linearizable, deadline);
    }

    /// Steps until nothing is dialed any more.
    fn step(&mut self) {
        loop {
            self.session.step(self.now);
            let effects = self.session.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Dial(node) if self.dead.contains(&node) => {
                        self.session.on_link_down(node, "refused".into(), self.now);
                    }
                    Effect::Dial(node) => self.session.on_link_up(node),
                    Effect::HangUp(_) => {}
                    Effect::Send(to, message) => self.sent.push((to, message)),
                    Effect::Ended(ticket, ended) => self.ended.push((ticket, ended)),
                }
            }
        }
    }

    /// Lets time pass, waking when the session asks to.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.step();
        let mut wakes = 0;
        while let Some(wake) = self.session.next_wake(self.now).filter(|wake| *wake <= end) {
            wakes += 1;
            assert!(wakes < 10_000, "it keeps waking at {wake:?}");
            self.now = self.now.max(wake);
            self.step();
        }
        self.now = end;
        self.step();
    }

    fn tell(&mut self, from: NodeId, message: ToClient) {
        self.session.on_message(from, message, self.now);
        self.step();
    }

    fn home(&self) -> NodeId {
        self.session.home.learner().unwrap().into()
    }

    fn opened(&mut self) {
        let nonce = self.session.next_nonce - 1;
        self.tell(self.home(), ToClient::Opened(Opened { nonce, session: Some(SESSION) }));
    }

    fn reply(&mut self, sequence: u64, outcome: Outcome) {
        let reply = Reply { session: SESSION, sequence, slot: Slot(9), outcome };
        self.tell(self.home(), ToClient::Replies(vec![reply]));
    }

    fn refuse(&mut self, from: NodeId, tag: u64, reason: NotTaken) {
        self.tell(from, ToClient::Refused { tag, reason });
    }

    fn not_leader(&mut self, from: NodeId, tag: u64, leader: Option<u16>) {
        self.refuse(from, tag, NotTaken::NotLeader { leader: leader.map(ProposerId) });
    }

    fn ended(&mut self) -> Vec<(u32, Ended)> {
        std::mem::take(&mut self.ended)
    }

    /// Proposals sent since the last time: to whom, tag, and (sequence, lowest, operation) of each call.
    fn proposals(&mut self) -> Vec<(NodeId, u64, Vec<Told>)> {
        let mut found = Vec::new();
        self.sent.retain(|(to, message)| {
            let propose = match message {
                Message::Proposer(ToProposer::Propose(propose)) => propose,
                Message::Learner(ToLearner::Forward(propose)) => propose,
                _ => return true,
            };
            found.push((*to, propose.tag, told(propose)));
            false
        });
        found
    }

    fn attachments(&mut self) -> Vec<(NodeId, Attach)> {
        let mut found = Vec::new();
        self.sent.retain(|(to, message)| {
            let Message::Learner(ToLearner::Attach(attach)) = message else { return true };
            found.push((*to, attach.clone()));
            false
        });
        found
    }
}

fn told(propose: &Propose) -> Vec<Told> {
    let tell = |command: Option<Command<'_>>| match command.unwrap() {
        Command::Open { .. } => (0, 0, "open".to_string()),
        Command::Call(call) => {
            let what = match call.operation {
                Operation::Put { value, .. } => String::from_utf8(value.to_vec()).unwrap(),
                Operation::Delete { .. } => "delete".into(),
                Operation::Restore { .. } | Operation::RestoreEnd { .. } => "restore".into(),
                Operation::KeepAlive => "keep alive".into(),
                Operation::Close => "close".into(),
            };
            (call.sequence, call.lowest, what)
        }
        Command::Expire { .. } => panic!("clients expire nothing"),
    };
    commands(propose.commands.bytes()).map(tell).collect()
}

fn ok(value: What) -> Ended {
    Ok(Answer { value, slot: Slot(9) })
}

fn call(sequence: u64, lowest: u64, what: &str) -> Told {
    (sequence, lowest, what.to_string())
}

fn is_no_quorum(ended: &[(u32, Ended)], ticket: u32) -> bool {
    matches!(ended, [(found, Err(CallError::Failed(Failure::NoQuorum { .. })))] if *found == ticket)
}

#[test]
fn the_first_write_opens_a_session_and_reads_need_none() {
    let mut bench = Bench::new();
    bench.get(1);
    bench.step();
    assert!(matches!(&bench.sent[..], [(_, Message::Learner(ToLearner::Read(reads)))] if reads.len() == 1));
    bench.put(2, "a");
    bench.step();
    assert_eq!(
        bench.proposals().iter().map(|(.., told)| told.clone()).collect::<Vec<_>>(),
        vec![vec![(0, 0, "open".to_string())]]
    );
    assert!(matches!(&bench.attachments()[..], [(_, Attach::Nonce(50))]));
    bench.opened();
    assert_eq!(bench.proposals()[0].2, vec![call(1, 1, "a")]);
    assert_eq!(bench.attachments(), Vec::new(), "the learner that told of the opening knows");
}

#[test]
fn what_is_ready_leaves_as_one_proposal_within_the_window() {
    let mut bench = Bench::open();
    (1..=6).for_each(|ticket| bench.put(ticket, &ticket.to_string()));
    bench.step();
    let sent = bench.proposals();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].2, vec![call(2, 2, "1"), call(3, 2, "2"), call(4, 2, "3"), call(5, 2, "4")]);
    bench.reply(3, PUT);
    assert_eq!(bench.ended(), vec![(2, ok(WHAT_PUT))]);
    assert_eq!(bench.proposals(), Vec::new(), "2 is waited for, so 6 lies outside the window");
    bench.reply(2, PUT);
    assert_eq!(bench.proposals()[0].2, vec![call(6, 4, "5"), call(7, 4, "6")]);
}

#[test]
fn stale_repeated_and_reordered_replies_end_each_call_once() {
    let mut bench = Bench::open();
    (1..=3).for_each(|ticket| bench.put(ticket, &ticket.to_string()));
    bench.step();
    bench.reply(4, PUT);
    bench.reply(1, PUT);
    bench.reply(4, PUT);
    bench.reply(99, PUT);
    bench.reply(3, Outcome::Deleted { revision: Some(Revision(9)) });
    let foreign =
        Reply { session: SessionId { slot: Slot(3), position: 0 }, sequence: 2, slot: Slot(9), outcome: PUT };
    bench.tell(bench.home(), ToClient::Replies(vec![foreign]));
    assert_eq!(bench.ended(), vec![(3, ok(WHAT_PUT))]);
    bench.reply(2, PUT);
    bench.reply(3, PUT);
    assert_eq!(bench.ended(), vec![(1, ok(WHAT_PUT)), (2, ok(WHAT_PUT))]);
}

#[test]
fn an_idle_session_is_renewed_and_a_closed_one_is_ended() {
    let mut bench = Bench::open();
    bench.pass(ms(19_000));
    assert_eq!(bench.proposals(), Vec::new());
    bench.pass(ms(1_500));
    assert_eq!(bench.proposals()[0].2, vec![call(2, 2, "keep alive")]);
    bench.reply(2, Outcome::Renewed);
    bench.put(1, "last");
    bench.session.close(2, bench.now + ms(5_000));
    bench.put(3, "too late");
    bench.step();
    assert_eq!(bench.proposals()[0].2, vec![call(3, 3, "last")]);
    bench.reply(3, PUT);
    assert_eq!(bench.proposals()[0].2, vec![call(4, 4, "close")]);
    bench.reply(4, Outcome::Closed);
    let closed = Err(Failure::Closed.into());
    assert_eq!(bench.ended(), vec![(3, closed), (1, ok(WHAT_PUT)), (2, ok(What::Closed))]);
    bench.pass(ms(60_000));
    assert_eq!(bench.proposals(), Vec::new(), "nothing is renewed any more");
}
