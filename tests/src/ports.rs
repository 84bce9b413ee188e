//! Ports for one cluster: a block below the range from which the kernel takes ports for outgoing connections.
//!
//! The first port of a block is listened on for as long as the block is held, so that no other test takes it, even while a
//! process of the cluster is down. Ports of the kernel's own range would not do: a process that dials one while nobody listens
//! can be connected to itself.

use std::net::TcpListener;

/// Ports in a block, the claim included.
const SIZE: u16 = 16;
const LOWEST: u16 = 12_000;
/// Below 32,768, where Linux starts to take ports for outgoing connections unless told otherwise.
const BLOCKS: u16 = 1_250;

/// A claimed block.
#[derive(Debug)]
pub struct Block {
    base: u16,
    _claim: TcpListener,
}

impl Block {
    /// Claims a block whose ports are all free.
    pub fn claim() -> Block {
        let first: u16 = rand::random();
        for step in 0..BLOCKS {
            let base = LOWEST + (first.wrapping_add(step) % BLOCKS) * SIZE;
            let Ok(claim) = listen(base) else { continue };
            if (base + 1..base + SIZE).all(|port| listen(port).is_ok()) {
                return Block { base, _claim: claim };
            }
        }
        panic!("no {SIZE} free ports in a row between {LOWEST} and 32000");
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = String> + use<> {
        (self.base + 1..self.base + SIZE).map(|port| format!("127.0.0.1:{port}"))
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
}

#[test]
fn two_blocks_never_share_a_port() {
    let blocks: Vec<_> = (0..8).map(|_| Block::claim()).collect();
    let all: Vec<_> = blocks.iter().flat_map(Block::addresses).collect();
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (8 * 15, 8 * 15));
}
