//! Random clients whose calls are retried, repeated, reordered and lost, against a model that never forgets a reply (S9, S7).
//!
//! A failure prints its seed; `SYNOD_SEED=<seed>` replays it alone.

use std::collections::BTreeMap;

use synod_protocol::cluster::Limits;
use synod_protocol::command::{BatchBuilder, Call, Command, Operation, Outcome, Refusal, Reply, SessionId};
use synod_protocol::{Revision, Slot, Value};
use synod_store::{MemoryStorage, StateMachine};

const LIMITS: Limits = Limits { key_bytes: 1, value_bytes: 8, session_window: 6, sessions: 3 };
const SEEDS: u64 = 300;
const SLOTS: u64 = 250;

/// Steele et al., "Fast splittable pseudorandom number generators" (2014): splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A command that owns its bytes, so that it can wait on the way.
#[derive(Clone, Debug)]
struct Sent {
    session: SessionId,
    sequence: u64,
    lowest: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    KeepAlive,
    Close,
}

impl Sent {
    fn command(&self) -> Command<'_> {
        let operation = match &self.what {
            What::Put(key, value) => Operation::Put { key, value },
            What::Delete(key) => Operation::Delete { key },
            What::KeepAlive => Operation::KeepAlive,
            What::Close => Operation::Close,
        };
        let Sent { session, sequence, lowest, .. } = *self;
        Command::Call(Call { session, sequence, lowest, operation })
    }
}

/// The model: every reply ever given, the marks, the keys.
#[derive(Default)]
struct Model {
    marks: BTreeMap<SessionId, u64>,
    replies: BTreeMap<(SessionId, u64), Reply>,
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    revision: u64,
    repeated: u64,
    refused: u64,
}

impl Model {
    fn call(&mut self, slot: Slot, sent: &Sent) -> Reply {
        let Sent { session, sequence, lowest, ref what } = *sent;
        let reply = |outcome| Reply { session, sequence, slot, outcome };
        let Some(mark) = self.marks.get_mut(&session) else {
            return reply(Outcome::Refused(Refusal::NoSession));
        };
        *mark = lowest.max(*mark);
        if !(*mark..*mark + LIMITS.session_window).contains(&sequence) {
            self.refused += 1;
            return reply(Outcome::Refused(Refusal::OutsideWindow));
        }
        if let Some(reply) = self.replies.get(&(session, sequence)) {
            self.repeated += 1;
            return reply.clone();
        }
        let reply = reply(match what {
            What::Put(key, _) | What::Delete(key) if key.len() > 1 => {
                Outcome::Refused(Refusal::KeyTooLong { limit: 1 })
            }
            What::Put(_, value) if value.len() > 8 => Outcome::Refused(Refusal::ValueTooLong { limit: 8 }),
            What::Put(key, value) => {
                self.keys.insert(key.clone(), value.clone());
                self.revision += 1;
                Outcome::Put { revision: Revision(self.revision) }
            }
            What::Delete(key) => {
                let existed = self.keys.remove(key).is_some();
                self.revision += u64::from(existed);
                Outcome::Deleted { revision: existed.then_some(Revision(self.revision)) }
            }
            What::KeepAlive => Outcome::Renewed,
            What::Close => {
                self.marks.remove(&session);
                Outcome::Closed
            }
        });
        self.replies.insert((session, sequence), reply.clone());
        reply
    }
}

/// A client that retries what it hasn't heard of, and at times gives a call up.
struct Client {
    session: SessionId,
    next: u64,
    waiting: BTreeMap<u64, What>,
}

impl Client {
    fn lowest(&self) -> u64 {
        self.waiting.keys().next().copied().unwrap_or(self.next)
    }

    fn send(&mut self, random: &mut Random) -> Sent {
        if self.waiting.is_empty() || (random.below(2) == 0 && self.next - self.lowest() < 8) {
            let key = b"abcdefg"[random.below(7) as usize];
            let key = vec![key; 1 + usize::from(random.below(20) == 0)];
            let what = match random.below(20) {
                0..10 => What::Put(key, random.next().to_le_bytes()[..random.below(9) as usize].to_vec()),
                10 => What::Put(key, vec![0; 9]),
                11..17 => What::Delete(key),
                17 | 18 => What::KeepAlive,
                _ if random.below(10) == 0 => What::Close,
                _ => What::KeepAlive,
            };
            self.waiting.insert(self.next, what);
            self.next += 1;
        }
        if random.below(40) == 0 {
            self.waiting.pop_first();
        }
        let at = random.below(self.waiting.len().max(1) as u64) as usize;
        let (sequence, what) = self
            .waiting
            .iter()
            .nth(at)
            .map_or((self.next, What::KeepAlive), |(sequence, what)| (*sequence, what.clone()));
        Sent { session: self.session, sequence, lowest: self.lowest(), what }
    }
}

fn run(seed: u64) -> Model {
    let mut random = Random(seed);
    let mut machine = StateMachine::new(LIMITS, MemoryStorage::default());
    let mut model = Model::default();
    let mut clients: Vec<Client> = Vec::new();
    let mut on_the_way: Vec<Sent> = Vec::new();
    let mut log = Vec::new();
    for slot in (1..=SLOTS).map(Slot) {
        let mut batch = BatchBuilder::default();
        if slot == Slot::FIRST || random.below(60) == 0 {
            batch.push(&Command::Open { nonce: u128::from(random.next()) });
        }
        clients.iter_mut().for_each(|client| on_the_way.push(client.send(&mut random)));
        let mut arrived = Vec::new();
        for _ in 0..random.below(6).min(on_the_way.len() as u64) {
            let at = random.below(on_the_way.len() as u64) as usize;
            match random.below(4) {
                0 => drop(on_the_way.swap_remove(at)),
                1 => arrived.push(on_the_way[at].clone()),
                _ => arrived.push(on_the_way.swap_remove(at)),
            }
        }
        arrived.iter().for_each(|sent| batch.push(&sent.command()));
        let value = batch.finish().0;
        let applied = machine.apply(slot, &value);
        log.push(value);
        for session in applied.opened.iter().filter_map(|opened| opened.session) {
            model.marks.insert(session, 1);
            clients.push(Client { session, next: 1, waiting: BTreeMap::new() });
        }
        let expected: Vec<_> = arrived.iter().map(|sent| model.call(slot, sent)).collect();
        assert_eq!(applied.replies, expected, "slot {slot}");
        for reply in applied.replies.iter().filter(|_| random.below(3) != 0) {
            let client = clients.iter_mut().find(|client| client.session == reply.session);
            client.map(|client| client.waiting.remove(&reply.sequence));
        }
        clients.retain(|client| model.marks.contains_key(&client.session));
        check(&machine, &model);
    }
    check_chain(&machine, &log, &mut random);
    model
}

fn check(machine: &StateMachine<MemoryStorage>, model: &Model) {
    assert!(b"abcdefg".iter().all(|key| machine.get(&[*key]).map(|record| record.value.to_vec())
        == model.keys.get(&vec![*key]).cloned()));
    assert_eq!(machine.session_count(), model.marks.len() as u64);
    for (session, mark) in &model.marks {
        let all: Vec<u64> = (0..=mark + 10).collect();
        let kept: Vec<_> = machine.kept_replies(*session, &all).collect();
        let window = (*session, *mark)..(*session, mark + 11);
        assert_eq!(kept, model.replies.range(window).map(|(_, reply)| reply.clone()).collect::<Vec<_>>());
    }
}

/// The same log gives the same chain; one flipped bit, wherever it is, another one.
fn check_chain(machine: &StateMachine<MemoryStorage>, log: &[Value], random: &mut Random) {
    let replay = |log: &[Value]| {
        let mut machine = StateMachine::new(LIMITS, MemoryStorage::default());
        (1..).map(Slot).zip(log).for_each(|(slot, value)| drop(machine.apply(slot, value)));
        machine
    };
    assert_eq!(replay(log), *machine);
    let mut other = log.to_vec();
    let changed = other.iter_mut().filter(|value| !value.is_noop());
    let value = changed.max_by_key(|_| random.next()).expect("a run puts something into its log");
    let mut bytes = value.bytes().to_vec();
    let bit = random.below(bytes.len() as u64 * 8);
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    *value = Value::new(bytes.into());
    assert_ne!(replay(&other).chain(), machine.chain());
}

#[test]
fn s9_calls_take_effect_at_most_once_whatever_is_retried() {
    let only =
        std::env::var("SYNOD_SEED").ok().map(|seed| seed.parse::<u64>().expect("SYNOD_SEED is a number"));
    let seeds = only.map_or(0..SEEDS, |seed| seed..seed + 1);
    let (mut calls, mut repeated, mut refused) = (0, 0, 0);
    for seed in seeds {
        let model = std::panic::catch_unwind(|| run(seed))
            .unwrap_or_else(|_| panic!("replay with SYNOD_SEED={seed}"));
        calls += model.replies.len() as u64;
        repeated += model.repeated;
        refused += model.refused;
    }
    assert!(only.is_some() || calls.min(repeated).min(refused) > SEEDS * 10, "{calls} {repeated} {refused}");
}
