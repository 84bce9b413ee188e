//! Random logs: batches of random commands of a few sessions over a few keys, valid and not.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helpers of tests fail as tests do, and not every test needs all of them"
)]

use synod_protocol::Slot;
use synod_protocol::Value;
use synod_protocol::cluster::Limits;
use synod_protocol::command::{BatchBuilder, Call, Command, Operation, SessionId};

pub(crate) const LIMITS: Limits = Limits { key_bytes: 3, value_bytes: 40, session_window: 6, sessions: 4 };

/// Steele et al., "Fast splittable pseudorandom number generators" (2014): splitmix64.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The seeds to run: those of the test, or the one of `SYNOD_SEED`.
pub(crate) fn seeds(most: u64) -> Vec<u64> {
    match std::env::var("SYNOD_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..most).collect(),
    }
}

/// Makes one slot after another.
pub(crate) struct Log {
    random: Random,
    slot: u64,
    sessions: Vec<(SessionId, u64)>,
}

impl Log {
    pub(crate) fn new(seed: u64) -> Log {
        Log { random: Random(seed), slot: 0, sessions: Vec::new() }
    }

    /// The next slot and its value.
    pub(crate) fn slot(&mut self) -> (Slot, Value) {
        self.slot += 1;
        let mut builder = BatchBuilder::default();
        for position in 0..self.random.below(7) as u32 {
            self.command(position, &mut builder);
        }
        (Slot(self.slot), builder.finish().0)
    }

    fn command(&mut self, position: u32, builder: &mut BatchBuilder) {
        let random = &mut self.random;
        if self.sessions.is_empty() || random.below(40) == 0 {
            let id = SessionId { slot: Slot(self.slot), position };
            self.sessions.push((id, 1));
            return builder.push(&Command::Open { nonce: random.next().into() });
        }
        let at = random.below(self.sessions.len() as u64) as usize;
        let (session, next) = self.sessions[at];
        if random.below(60) == 0 {
            return builder.push(&Command::Expire { session, renewed: Slot(self.slot.saturating_sub(1)) });
        }
        let key = [b'a' + random.below(4) as u8, b'a' + random.below(26) as u8, b'x', b'y'];
        let key = &key[..[0, 1, 2, 2, 2, 3, 4][random.below(7) as usize]];
        let value = vec![random.next() as u8; random.below(44) as usize];
        let operation = match random.below(20) {
            0..11 => Operation::Put { key, value: &value },
            11..17 => Operation::Delete { key },
            17 | 18 => Operation::KeepAlive,
            _ if random.below(6) == 0 => Operation::Close,
            _ => Operation::Put { key: b"", value: &value },
        };
        let again = random.below(5) == 0;
        let sequence = if again { next.saturating_sub(1) } else { next };
        self.sessions[at].1 += u64::from(!again);
        let lowest = next.saturating_sub(random.below(8));
        builder.push(&Command::Call(Call { session, sequence, lowest, operation }));
    }
}
