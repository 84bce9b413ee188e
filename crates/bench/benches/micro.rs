//! What single steps cost: codec, journal append, an acceptor's vote, a learner's store. `cargo bench -p synod-bench`.
//!
//! Each is told for one command, in batches of 64 puts of 256 bytes. The journal lies on a real disk, below the build's
//! directory, and its figure is the sync's. Absent on purpose: sockets and whole clusters, which `synod-bench` measures.

#![allow(clippy::unwrap_used, reason = "a benchmark fails as a test does")]
#![allow(missing_docs, reason = "the macros of criterion write a function without")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use synod_acceptor::{Acceptor, Durable};
use synod_journal::directory::Directory;
use synod_journal::{Journal, Options, Recovery};
use synod_protocol::cluster::Limits;
use synod_protocol::command::{self, BatchBuilder, Call, Command, Operation, SessionId};
use synod_protocol::message::{Accept, FormStep, Message, ToAcceptor};
use synod_protocol::role::{Effects, Persist, Role};
use synod_protocol::value::Entry;
use synod_protocol::{AcceptorId, Ballot, ClientId, DiskId, ProposerId, Slot, Value, wire};
use synod_store::{MemoryStorage, StateMachine};

const BATCH: u64 = 64;
const VALUE: [u8; 256] = [7; 256];
const SESSION: SessionId = SessionId { slot: Slot(1), position: 0 };

/// A batch of puts that count on from `first`, over so many keys in no order.
fn puts(first: u64, keys: u64) -> Value {
    let mut batch = BatchBuilder::default();
    for sequence in first..first + BATCH {
        let key = format!("key-{:012}", sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) % keys);
        let operation = Operation::Put { key: key.as_bytes(), value: &VALUE };
        batch.push(&Command::Call(Call { session: SESSION, sequence, lowest: first, operation }));
    }
    batch.finish().0
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("encode commands", |b| b.iter(|| puts(1, 1 << 20)));
    let batch = puts(1, 1 << 20);
    group.bench_function("decode commands", |b| {
        b.iter(|| command::commands(batch.bytes()).for_each(|command| assert!(black_box(command).is_some())));
    });
    let message = Message::Acceptor(ToAcceptor::Accept(accept(1, batch)));
    group.bench_function("encode an Accept", |b| {
        let mut out = Vec::new();
        b.iter(|| {
            out.clear();
            wire::encode_frame(&message, &mut out, &mut |value| drop(black_box(value.bytes().clone())));
        });
    });
    let mut frame = Vec::new();
    let mut tail = Vec::new();
    wire::encode_frame(&message, &mut frame, &mut |value| tail.extend_from_slice(value.bytes()));
    frame.extend_from_slice(&tail);
    let body = Bytes::from(frame).slice(4..);
    group.bench_function("decode an Accept", |b| {
        b.iter(|| wire::decode_frame::<ToAcceptor>(black_box(body.clone())).unwrap());
    });
}

fn accept(slot: u64, value: Value) -> Accept {
    let ballot = Ballot { round: 1, proposer: ProposerId(1), life: 1 };
    let entries = vec![Entry { slot: Slot(slot), value }];
    Accept { ballot, chosen: Slot(slot - 1), floor: Slot(slot), entries }
}

struct Nowhere;

impl<R> Persist<R> for Nowhere {
    type Error = std::convert::Infallible;
    fn persist(&mut self, records: Vec<R>) -> Result<(), Self::Error> {
        drop(black_box(records));
        Ok(())
    }
}

fn acceptor(c: &mut Criterion) {
    let mut group = c.benchmark_group("acceptor");
    group.throughput(Throughput::Elements(BATCH));
    let config = synod_acceptor::Config {
        id: AcceptorId(1),
        acceptors: (1..=3).map(AcceptorId).collect(),
        parameters: 1,
        election_timeout_ms: 1_000,
        chunk_bytes: 1 << 20,
        cache_bytes: 1 << 20,
    };
    let mut acceptor = Acceptor::new(config, Durable::empty(AcceptorId(1)));
    let mut step = |from, message| {
        let mut effects = Effects::default();
        acceptor.on_message(from, message, &mut effects).unwrap();
        acceptor.end_of_batch(&mut effects);
        let Ok(released) = effects.release(&mut Nowhere);
        released.messages.len()
    };
    let disks = (1..=3).map(|id| (AcceptorId(id), DiskId(id.into()))).collect();
    for form in [FormStep::Prepare { formation: 1, disk: DiskId(1) }, FormStep::Open { formation: 1, disks }]
    {
        step(ClientId(1).into(), ToAcceptor::Form { request: 1, step: form });
    }
    let (batch, mut slot) = (puts(1, 1 << 20), 0);
    group.bench_function("vote", |b| {
        b.iter(|| {
            slot += 1;
            step(ProposerId(1).into(), ToAcceptor::Accept(accept(slot, batch.clone())))
        });
    });
}

fn journal(c: &mut Criterion) {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("micro-journal");
    let _absent = std::fs::remove_dir_all(&path);
    let directory = Directory::open(&path).unwrap();
    let options = Options { segment_bytes: 64 << 20, ..Options::default() };
    let mut journal: Journal<_> = Recovery::read(directory, options, |_| Ok(())).unwrap().start(&[]).unwrap();
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(BATCH));
    let batch = puts(1, 1 << 20);
    group.bench_function("append and sync", |b| {
        b.iter(|| {
            journal.append(b"head", [batch.bytes().clone()]);
            journal.commit(Vec::new).unwrap();
            journal.release(journal.position());
            journal.prepare_step().unwrap()
        });
    });
    drop(journal);
    std::fs::remove_dir_all(&path).unwrap();
}

fn store(c: &mut Criterion) {
    let mut group = c.benchmark_group("store");
    group.throughput(Throughput::Elements(BATCH));
    group.sample_size(50);
    for keys in [10_000, 4_000_000] {
        let mut machine = StateMachine::new(Limits::default(), MemoryStorage::seeded(1));
        let mut open = BatchBuilder::default();
        open.push(&Command::Open { nonce: 1 });
        machine.apply(Slot(1), &open.finish().0);
        let mut next = 1;
        let mut batch = || {
            let value = puts(next, keys);
            next += BATCH;
            value
        };
        for slot in 2..keys / BATCH {
            machine.apply(Slot(slot), &batch());
        }
        group.bench_function(format!("apply puts over {keys} keys"), |b| {
            b.iter_batched(
                &mut batch,
                |value| machine.apply(machine.applied().next(), &value),
                BatchSize::PerIteration,
            );
        });
        let image = machine.image();
        group.bench_function(format!("the same with an image kept, {keys} keys"), |b| {
            b.iter_batched(
                &mut batch,
                |value| machine.apply(machine.applied().next(), &value),
                BatchSize::PerIteration,
            );
        });
        drop(image);
    }
}

criterion_group!(micro, codec, acceptor, journal, store);
criterion_main!(micro);
