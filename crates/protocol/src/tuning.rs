//! Every timeout and limit that may differ from process to process, with its default and unit.
//!
//! None of them decides what a vote means or how a command applies (those are [`crate::cluster::Limits`], fixed at
//! formation): a process with other numbers is slower or hungrier, never wrong.

use serde::{Deserialize, Serialize};

macro_rules! tuning {
    ($($(#[doc = $doc:literal])+ $name:ident = $default:expr, $least:expr;)+) => {
        /// The numbers of `[tuning]` in a cluster file; a missing one has its default.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Tuning {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Default for Tuning {
            fn default() -> Self {
                Tuning { $($name: $default,)+ }
            }
        }

        impl Tuning {
            /// Key, default and explanation of each number, in the order of the file.
            pub const KEYS: &'static [(&'static str, u64, &'static str)] =
                &[$((stringify!($name), $default, concat!($($doc),+)),)+];

            /// The keys whose number is below the least that works, with the number and that least.
            pub fn too_small(&self) -> Vec<(&'static str, u64, u64)> {
                let mut found = Vec::new();
                $(if !($least..).contains(&self.$name) { found.push((stringify!($name), self.$name, $least)); })+
                found
            }
        }
    };
}

tuning! {
    /// Milliseconds between a leader's messages to the acceptors when it has nothing else to send.
    heartbeat_ms = 40, 1;
    /// Milliseconds an acceptor hears nothing of its leader before it calls it silent.
    election_timeout_ms = 250, 5;
    /// Milliseconds, at most, that a proposer waits at random before it runs Phase 1.
    election_jitter_ms = 100, 1;
    /// Milliseconds between a waiting proposer's probes of the acceptors.
    probe_ms = 50, 1;
    /// Milliseconds after which what was not answered is sent again (Prepare, Accept, QuorumRead, Fetch).
    resend_ms = 100, 1;
    /// Milliseconds after which new slots also go to the acceptors beyond the Phase-2 quorum that is asked at once, and chosen ones to learners for
    /// which no client waits; 0: to all at once.
    thrifty_ms = 10, 0;
    /// Milliseconds between two rounds of healing of acceptors that missed slots.
    heal_ms = 20, 1;
    /// Bytes of values that heal one acceptor in one round.
    heal_bytes = 1 << 20, 1;
    /// Slots a leader keeps in flight.
    window_slots = 16, 1;
    /// Bytes of values a leader keeps in flight. More only makes what is under way wait in
    /// line, unless round trips are long: it should hold what the slowest disk or link takes in one of them.
    window_bytes = 2 << 20, 1;
    /// Commands in one batch, at most.
    batch_commands = 256, 1;
    /// Bytes in one batch, at most (a larger single proposal still goes alone), and half of what is kept back for thrifty_ms.
    batch_bytes = 64 << 10, 1;
    /// Bytes of commands that wait at the leader; beyond it, or what it gives slots to in two of resend_ms, clients are told Busy.
    queue_bytes = 64 << 20, 1;
    /// Bytes of chosen values a leader keeps for acceptors and learners that are behind; beyond it clients are told Busy.
    retained_bytes = 256 << 20, 1;
    /// Milliseconds a client told Busy waits before it tries again.
    busy_retry_ms = 20, 1;
    /// Bytes of values in one chunk of a Promise or a Fetched, at most (one larger value still goes alone).
    chunk_bytes = 1 << 20, 1;
    /// Milliseconds between two subscriptions of a learner.
    subscribe_ms = 100, 1;
    /// Milliseconds a learner waits for a missing slot, or for the answer to a Fetch, before it asks (another).
    catch_up_ms = 40, 1;
    /// Bytes of chosen values a learner buffers above a gap.
    learner_buffer_bytes = 64 << 20, 1;
    /// Bytes of applied values a learner keeps for its peers.
    learner_tail_bytes = 32 << 20, 1;
    /// Bytes of applied values after which a learner makes a checkpoint; each slot counts as its value rounded up to 4 KiB.
    checkpoint_bytes = 256 << 20, 1;
    /// Bytes of a state that a learner that joins fetches in a second, and twice as many as of the log after it; more where the log grows quickly.
    join_bytes_per_s = 32 << 20, 1;
    /// Bytes of a checkpoint that a learner writes in a second; more while the log is ahead of it by more than checkpoint_bytes.
    checkpoint_bytes_per_s = 32 << 20, 1;
    /// Milliseconds without a request after which a learner drops the snapshot it gives to others.
    snapshot_keep_ms = 5_000, 1;
    /// Bytes of values applied after a snapshot that is being given to others, beside three times as many as were given, at most; then it is dropped, and acceptors need not keep them.
    pin_bytes = 1 << 30, 1;
    /// Bytes the disk engine of a learner keeps of what it has read.
    engine_cache_bytes = 256 << 20, 1;
    /// Milliseconds a read waits for an unsettled slot before the learner sends Settle.
    settle_ms = 40, 1;
    /// Reads that wait in one learner; beyond it clients are told Busy.
    waiting_reads = 1 << 16, 1;
    /// Milliseconds without any command after which a learner proposes that a session expires.
    session_ttl_ms = 60_000, 100;
    /// Milliseconds before the first attempt to connect again; doubles up to reconnect_max_ms, with jitter.
    reconnect_min_ms = 20, 1;
    /// Milliseconds, at most, between two attempts to connect.
    reconnect_max_ms = 500, 1;
    /// Milliseconds within which a connection must say hello.
    hello_timeout_ms = 5_000, 1;
    /// Bytes that may wait to be written to one peer; what comes beyond is dropped and sent again later.
    peer_queue_bytes = 64 << 20, 1;
    /// Bytes read from one connection that may wait to be handled; beyond it the connection isn't read.
    inbound_bytes = 64 << 20, 65_536;
    /// Connections that one daemon serves at once; more are closed at the door.
    connections = 20_000, 1;
    /// Bytes of one journal segment.
    segment_bytes = 16 << 20, 1 << 16;
    /// Bytes of values an acceptor keeps in memory; older ones are read from its journal.
    acceptor_cache_bytes = 16 << 20, 1;
    /// Milliseconds of quiet after which an acceptor seals its journal.
    seal_ms = 200, 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_large_enough_and_explained() {
        assert_eq!(Tuning::default().too_small(), Vec::new());
        assert!(Tuning::KEYS.iter().all(|(_, _, doc)| !doc.trim().is_empty()));
        let small = Tuning { heartbeat_ms: 0, ..Tuning::default() };
        assert_eq!(small.too_small(), vec![("heartbeat_ms", 0, 1)]);
    }
}
