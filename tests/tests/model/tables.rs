//! Everything that was worked out about a configuration, once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use synod_acceptor::Durable;
use synod_protocol::Ballot;

use crate::history::History;
use crate::intern::{Interner, Memo};
use crate::model::{Node, State};
use crate::settle::Promises;
use crate::step::{Cell, Event, Fact, Failure};
use crate::symmetry::{Renaming, renamings};
use crate::world::{Config, Envelope, NODES, Shown};

/// What an event does to a cell, by numbers.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) cell: u32,
    /// Whom to send which message.
    pub(crate) sends: Vec<(u8, u32)>,
    pub(crate) facts: u32,
    pub(crate) failure: u32,
    pub(crate) witnesses: u32,
    /// Whether an acceptor's disk has changed.
    pub(crate) written: bool,
}

/// A configuration with everything that was worked out about it.
#[derive(Debug)]
pub(crate) struct Synod {
    pub(crate) config: Config,
    pub(crate) cells: Interner<Cell>,
    pub(crate) envelopes: Interner<Envelope>,
    pub(crate) inboxes: Interner<Vec<u32>>,
    pub(crate) histories: Interner<History>,
    pub(crate) facts: Interner<Vec<Fact>>,
    pub(crate) failures: Interner<Failure>,
    pub(crate) disks: Interner<Durable>,
    pub(crate) runs: Interner<Vec<Event>>,
    /// Of each cell that isn't of the start: whose step led to it first, from which cell, by which event.
    pub(crate) origins: RwLock<HashMap<u32, (u8, u32, Event)>>,
    /// The cells of the start.
    pub(crate) starts: RwLock<Vec<u32>>,
    pub(crate) renamings: Vec<Renaming>,
    pub(crate) ballots: Interner<Ballot>,
    pub(crate) unrefused: Memo<(u32, u32), (u32, u8)>,
    pub(crate) settled: Memo<(u32, u32, Promises), Node>,
    pub(crate) pruned: Memo<(u32, Promises), u32>,
    pub(crate) node_images: Memo<(u32, u32), Arc<[Node]>>,
    pub(crate) cell_images: Memo<(u32, u8), u32>,
    pub(crate) history_images: Memo<u32, Arc<[u32]>>,
    pub(crate) steps: Memo<(u32, Event), Option<Arc<Step>>>,
    pub(crate) events: Memo<(u32, u32), Arc<[Event]>>,
    pub(crate) arrivals: Memo<(u32, u32), u32>,
    pub(crate) unspent: Memo<(u32, u32), u32>,
    pub(crate) extensions: Memo<(u32, u32), (u32, u32, u32)>,
    pub(crate) disk_of: Memo<u32, u32>,
    pub(crate) learnable: Memo<[u32; NODES], Option<Arc<crate::learnable::Learnable>>>,
    /// Phase-1 quorums of the smallest size, as places; with every disk that an acceptor ever had.
    pub(crate) quorums: Vec<Vec<u8>>,
    pub(crate) witnesses: AtomicU32,
    /// What was seen on disks and chosen, where that is collected.
    pub(crate) collected: Mutex<HashSet<Shown>>,
}

impl Synod {
    pub(crate) fn new(config: Config) -> Synod {
        let count = u8::try_from(config.acceptors).unwrap();
        let places: Vec<u8> = (0..count).chain(config.others().map(|(place, ..)| place)).collect();
        let distinct = |set: &Vec<u8>| {
            let ids: BTreeSet<_> = set.iter().map(|place| config.node(usize::from(*place))).collect();
            ids.len() == set.len()
        };
        let quorums = (0..1u32 << places.len())
            .filter(|set| set.count_ones() as usize == config.phase1)
            .map(|set| (0..places.len()).filter(|at| set & (1 << at) != 0).map(|at| places[at]).collect())
            .filter(distinct)
            .collect();
        let renamings = if config.symmetry { renamings(&config) } else { Vec::new() };
        Synod {
            config,
            renamings,
            cells: Interner::new(),
            envelopes: Interner::new(),
            inboxes: Interner::new(),
            histories: Interner::new(),
            facts: Interner::new(),
            failures: Interner::new(),
            disks: Interner::new(),
            runs: Interner::new(),
            origins: RwLock::new(HashMap::new()),
            starts: RwLock::new(Vec::new()),
            ballots: Interner::new(),
            unrefused: Memo::new(),
            settled: Memo::new(),
            pruned: Memo::new(),
            node_images: Memo::new(),
            cell_images: Memo::new(),
            history_images: Memo::new(),
            steps: Memo::new(),
            events: Memo::new(),
            arrivals: Memo::new(),
            unspent: Memo::new(),
            extensions: Memo::new(),
            disk_of: Memo::new(),
            learnable: Memo::new(),
            quorums,
            witnesses: AtomicU32::new(0),
            collected: Mutex::new(HashSet::new()),
        }
    }

    /// The witnesses seen so far, as bits.
    pub(crate) fn witnesses(&self) -> u32 {
        self.witnesses.load(Ordering::Relaxed)
    }

    pub(crate) fn failure(&self, state: &State) -> Option<Arc<Failure>> {
        state.failure.checked_sub(1).map(|number| self.failures.get(number))
    }

    /// Notes a state's disks and chosen values.
    pub(crate) fn collect(&self, state: &State) {
        let acceptors = state.nodes.iter().take(usize::from(self.config.acceptors));
        let disks = acceptors.map(|node| match &*self.cells.get(node.cell) {
            Cell::Acceptor(acceptor) => acceptor.durable.clone(),
            Cell::Proposer(_) | Cell::Learner(_) => unreachable!("acceptors come first"),
        });
        let history = self.histories.get(state.history);
        let chosen = history.chosen().map(|(slot, value)| (slot, value.clone()));
        self.collected.lock().unwrap().insert((disks.collect(), chosen.collect()));
    }

    /// How many distinct things of each kind there were.
    pub(crate) fn sizes(&self) -> String {
        format!(
            "{} cells, {} messages, {} inboxes, {} histories",
            self.cells.len(),
            self.envelopes.len(),
            self.inboxes.len(),
            self.histories.len()
        )
    }
}
