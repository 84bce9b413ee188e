//! The world as stateright explores it: nodes, the messages ever sent, the ghost, and how much of each bounded thing was spent.
//!
//! The network is a set of messages for each node that only grows: a message delivered again is repeated, one never delivered is
//! lost, and any order can come about.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, RwLock};
use std::sync::atomic::{AtomicU32, Ordering};

use stateright::{Model, Property};
use synod_acceptor::Durable;
use synod_protocol::message::{Message, ToAcceptor};
use synod_protocol::{AcceptorId, Ballot, LearnerId, NodeId, ProposerId, Slot, Value};

use crate::acceptor::AcceptorCell;
use crate::history::History;
use crate::intern::{Interner, Memo};
use crate::learner::LearnerCell;
use crate::proposer::ProposerCell;
use crate::settle::Promises;
use crate::step::{Cell, Event, Fact, Failure, Outcome, Rule};
use crate::symmetry::{Renaming, renamings};
use crate::world::{Config, Envelope, NODES, Start};

/// A node: its cell and the messages on their way to it, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Node {
    pub(crate) cell: u32,
    pub(crate) inbox: u32,
}

/// A global state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct State {
    pub(crate) nodes: [Node; NODES],
    pub(crate) history: u32,
    spent: Spent,
    /// The failure that the last step showed, from 1; nothing goes on from there.
    failure: u32,
}

/// How often each bounded thing has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Spent {
    crashes: u8,
    fires: u8,
    learner_fires: u8,
    reads: u8,
}

/// One thing that happens at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Action {
    pub(crate) place: u8,
    pub(crate) event: Event,
}

/// What an event does to a cell, by numbers.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) cell: u32,
    /// Whom to send which message.
    sends: Vec<(u8, u32)>,
    facts: u32,
    failure: u32,
    witnesses: u32,
    /// Whether an acceptor's disk has changed.
    written: bool,
}

/// A configuration with everything that was worked out about it.
#[derive(Debug)]
pub(crate) struct Synod {
    pub(crate) config: Config,
    pub(crate) cells: Interner<Cell>,
    pub(crate) envelopes: Interner<Envelope>,
    pub(crate) inboxes: Interner<Vec<u32>>,
    pub(crate) histories: Interner<History>,
    facts: Interner<Vec<Fact>>,
    failures: Interner<Failure>,
    disks: Interner<Durable>,
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
    steps: Memo<(u32, Event), Option<Arc<Step>>>,
    events: Memo<(u32, u32), Arc<[Event]>>,
    arrivals: Memo<(u32, u32), u32>,
    pub(crate) spent_messages: Memo<(u32, u32), u32>,
    extensions: Memo<(u32, u32), (u32, u32, u32)>,
    disk_of: Memo<u32, u32>,
    learnable: Memo<[u32; NODES], Arc<BTreeMap<Slot, Value>>>,
    /// Phase-1 quorums of the smallest size, as places.
    quorums: Vec<Vec<u8>>,
    witnesses: AtomicU32,
}

impl Synod {
    pub(crate) fn new(config: Config) -> Synod {
        let count = u8::try_from(config.acceptors).unwrap();
        let quorums = (0..1u32 << count)
            .filter(|set| set.count_ones() as usize == config.phase1)
            .map(|set| (0..count).filter(|place| set & (1 << place) != 0).collect())
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
            spent_messages: Memo::new(),
            extensions: Memo::new(),
            disk_of: Memo::new(),
            learnable: Memo::new(),
            quorums,
            witnesses: AtomicU32::new(0),
        }
    }

    /// The witnesses seen so far, as bits.
    pub(crate) fn witnesses(&self) -> u32 {
        self.witnesses.load(Ordering::Relaxed)
    }

    pub(crate) fn failure(&self, state: &State) -> Option<Arc<Failure>> {
        state.failure.checked_sub(1).map(|number| self.failures.get(number))
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

    fn fresh(&self) -> State {
        let mut state = State { history: self.histories.number(History::default()), ..State::default() };
        let none = self.inboxes.number(Vec::new());
        let mut sends = Vec::new();
        for place in 0..self.config.nodes() {
            let cell = match self.config.node(place) {
                NodeId::Acceptor(AcceptorId(id)) => {
                    Cell::Acceptor(Box::new(AcceptorCell::new(&self.config, id)))
                }
                NodeId::Proposer(ProposerId(id)) => {
                    Cell::Proposer(Box::new(ProposerCell::new(&self.config, ProposerId(id), 1, 0)))
                }
                NodeId::Learner(id @ LearnerId(_)) => {
                    let (cell, sent) = LearnerCell::new(&self.config, id, 1);
                    sends.extend(sent.into_iter().map(|(to, message)| (place, to, message)));
                    Cell::Learner(Box::new(cell))
                }
                NodeId::Client(_) => unreachable!("clients have no place"),
            };
            state.nodes[place] = Node { cell: self.cells.number(cell), inbox: none };
        }
        *self.starts.write().unwrap() =
            state.nodes.iter().take(self.config.nodes()).map(|node| node.cell).collect();
        for (place, to, message) in sends {
            if let Some((to, number)) = self.sent(self.config.node(place), to, message) {
                self.arrive(&mut state, to, number);
            }
        }
        state
    }

    /// p1 stands, and every message of Phase 1 and of its first heartbeat comes; nothing is spent.
    fn led(&self) -> State {
        let mut state = self.fresh();
        let place = u8::try_from(self.config.acceptors).unwrap();
        state = self.next_state(&state, Action { place, event: Event::Stand }).unwrap();
        let mut actions = Vec::new();
        loop {
            actions.clear();
            self.actions(&state, &mut actions);
            let delivers = |action: &&Action| matches!(action.event, Event::Deliver(_) | Event::Sync);
            let next = actions.iter().filter(delivers).find_map(|action| self.next_state(&state, *action));
            let Some(next) = next else { break };
            state = next;
        }
        state.spent = Spent::default();
        state
    }

    pub(crate) fn step(&self, place: u8, cell: u32, event: Event) -> Option<Arc<Step>> {
        self.steps.of((cell, event), |_| {
            if let Event::Run(number) = event {
                return self.run(place, cell, &self.runs.get(number));
            }
            let before = self.cells.get(cell);
            let outcome = catch_unwind(AssertUnwindSafe(|| self.happen(&before, event)));
            let outcome = outcome.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()));
                let mut outcome = Outcome::new((*before).clone());
                outcome.fail(Rule::Panic, || text.unwrap_or_else(|| "a panic without a text".into()));
                Some(outcome)
            })?;
            let step = self.number(place, &before, outcome)?;
            if !self.starts.read().unwrap().contains(&step.cell) {
                self.origins.write().unwrap().entry(step.cell).or_insert((place, cell, event));
            }
            Some(step)
        })
    }

    /// Several events of one node as one step.
    fn run(&self, place: u8, cell: u32, events: &[Event]) -> Option<Arc<Step>> {
        let mut whole = Step { cell, ..Step::default() };
        let mut facts = Vec::new();
        for event in events {
            let step = self.step(place, whole.cell, *event)?;
            whole.cell = step.cell;
            whole.sends.extend(&step.sends);
            facts.extend(self.facts.get(step.facts).iter().cloned());
            whole.failure = if whole.failure == 0 { step.failure } else { whole.failure };
            whole.witnesses |= step.witnesses;
            whole.written |= step.written;
        }
        whole.facts = self.facts.number(facts);
        Some(Arc::new(whole))
    }

    /// Names an outcome by numbers; nothing if nothing came of it, or if it goes beyond the bounds.
    fn number(&self, place: u8, before: &Cell, outcome: Outcome) -> Option<Arc<Step>> {
        let Outcome { cell, sends, facts, witnesses, failure } = outcome;
        let beyond = |fact: &Fact| matches!(fact, Fact::Asked { slot, .. } if slot.0 > self.config.slots);
        if facts.iter().any(beyond) || (cell == *before && sends.is_empty() && failure.is_none()) {
            return None;
        }
        let written = match (before, &cell) {
            (Cell::Acceptor(before), Cell::Acceptor(after)) => before.durable != after.durable,
            _ => false,
        };
        let from = self.config.node(usize::from(place));
        let sends = sends.into_iter().filter_map(|(to, message)| self.sent(from, to, message)).collect();
        let failure = failure.map_or(0, |failure| self.failures.number(failure) + 1);
        let (cell, facts) = (self.cells.number(cell), self.facts.number(facts));
        Some(Arc::new(Step { cell, sends, facts, failure, witnesses, written }))
    }

    /// A message under way, unless it is for nobody here, or a probe ([`crate::proposer`] says why).
    fn sent(&self, from: NodeId, to: NodeId, message: Message) -> Option<(u8, u32)> {
        let probe = matches!(&message, Message::Acceptor(ToAcceptor::Probe { .. }));
        let place = self.config.place(to).filter(|_| !probe)?;
        Some((place, self.envelopes.number(Envelope { from, to, message })))
    }

    fn happen(&self, cell: &Cell, event: Event) -> Option<Outcome> {
        let config = &self.config;
        match (cell.clone(), event) {
            (Cell::Acceptor(acceptor), Event::Deliver(number)) => {
                let (from, message) = self.acceptor_message(number);
                if config.batch == 0 {
                    let absorbed = acceptor.absorb(from, message);
                    let Cell::Acceptor(acceptor) = absorbed.cell else { unreachable!("it stays an acceptor") };
                    let mut outcome = acceptor.sync();
                    outcome.witnesses |= absorbed.witnesses;
                    return Some(outcome);
                }
                (acceptor.absorbed < config.batch).then(|| acceptor.absorb(from, message))
            }
            (Cell::Acceptor(acceptor), Event::DeliverThenCrash(number, kept)) => {
                let (from, message) = self.acceptor_message(number);
                let Cell::Acceptor(acceptor) = acceptor.absorb(from, message).cell else {
                    unreachable!("it stays an acceptor")
                };
                (kept <= acceptor.records()).then(|| acceptor.crash(config, kept))
            }
            (Cell::Acceptor(acceptor), Event::Sync) => (acceptor.absorbed > 0).then(|| acceptor.sync()),
            (Cell::Acceptor(acceptor), Event::Crash(kept)) => {
                (acceptor.absorbed > 0 && kept <= acceptor.records()).then(|| acceptor.crash(config, kept))
            }
            (Cell::Proposer(proposer), Event::Deliver(number)) => {
                let Envelope { from, message, .. } = (*self.envelopes.get(number)).clone();
                let Message::Proposer(message) = message else { unreachable!("{message:?} to a proposer") };
                Some(proposer.deliver(from, message))
            }
            (Cell::Proposer(proposer), Event::Stand) => proposer.stand(config),
            (Cell::Proposer(proposer), Event::StepDown) => Some(proposer.step_down()),
            (Cell::Proposer(proposer), Event::Offer) => proposer.offer(config),
            (Cell::Proposer(proposer), Event::Fire(timer)) => proposer.fire(timer),
            (Cell::Proposer(proposer), Event::Restart) => proposer.restart(config),
            (Cell::Learner(learner), Event::Deliver(number)) => {
                let Envelope { from, message, .. } = (*self.envelopes.get(number)).clone();
                let Message::Learner(message) = message else { unreachable!("{message:?} to a learner") };
                Some(learner.deliver(from, message))
            }
            (Cell::Learner(learner), Event::FireLearner(timer)) => learner.fire(timer),
            (Cell::Learner(learner), Event::Read) => Some(learner.read()),
            (Cell::Learner(learner), Event::Restart) => learner.restart(config),
            (cell, event) => unreachable!("{event:?} at {cell:?}"),
        }
    }

    fn acceptor_message(&self, number: u32) -> (NodeId, ToAcceptor) {
        let Envelope { from, message, .. } = (*self.envelopes.get(number)).clone();
        let Message::Acceptor(message) = message else { unreachable!("{message:?} to an acceptor") };
        (from, message)
    }

    /// Everything that can happen to a node and would change something.
    fn events(&self, place: u8, node: Node) -> Arc<[Event]> {
        self.events.of((node.cell, node.inbox), |_| {
            let cell = self.cells.get(node.cell);
            let inbox = self.inboxes.get(node.inbox);
            let mut events: Vec<Event> = inbox.iter().copied().map(Event::Deliver).collect();
            match &*cell {
                Cell::Acceptor(acceptor) if acceptor.absorbed > 0 => {
                    events.push(Event::Sync);
                    events.extend((0..=acceptor.records()).map(Event::Crash));
                }
                Cell::Acceptor(_) if self.config.batch == 0 => {
                    let crashes = |number| (0..=2).map(move |kept| Event::DeliverThenCrash(number, kept));
                    events.extend(inbox.iter().copied().flat_map(crashes));
                }
                Cell::Acceptor(_) => {}
                Cell::Proposer(_) => {
                    events.extend([Event::Stand, Event::Offer, Event::Restart]);
                    events.extend(self.config.timers.iter().copied().map(Event::Fire));
                }
                Cell::Learner(_) => {
                    events.extend([Event::Read, Event::Restart]);
                    events.extend(self.config.learner_timers.iter().copied().map(Event::FireLearner));
                }
            }
            events.retain(|event| self.step(place, node.cell, *event).is_some());
            if self.config.lazy && matches!(&*cell, Cell::Proposer(_)) {
                events = self.lazily(place, node.cell, &events);
            }
            events.into()
        })
    }

    /// A receipt that sends nothing concerns its receiver alone, and the message doesn't go away: so it may as well happen just
    /// before the step that shows it. Every event that shows is preceded here by each set of such receipts that makes it
    /// show something else than fewer of them would.
    fn lazily(&self, place: u8, cell: u32, events: &[Event]) -> Vec<Event> {
        let receipts: Vec<Event> =
            events.iter().copied().filter(|event| matches!(event, Event::Deliver(_))).collect();
        let shows = |step: &Step| {
            !step.sends.is_empty() || !self.facts.get(step.facts).is_empty() || step.failure != 0
        };
        // Each set of receipts that show nothing, as (members, last member's place, cell), smaller sets first.
        let mut hidden: Vec<(Vec<Event>, usize, u32)> = vec![(Vec::new(), 0, cell)];
        let mut at = 0;
        while let Some((set, from, cell)) = hidden.get(at).cloned() {
            for (next, event) in receipts.iter().enumerate().skip(from) {
                if let Some(step) = self.step(place, cell, *event).filter(|step| !shows(step)) {
                    hidden.push((set.iter().copied().chain([*event]).collect(), next + 1, step.cell));
                }
            }
            at += 1;
        }
        let mut runs: Vec<(Vec<Event>, Arc<Step>)> = Vec::new();
        for (set, _, cell) in hidden {
            for event in events {
                let Some(step) = self.step(place, cell, *event) else { continue };
                let receipt = matches!(event, Event::Deliver(_));
                if set.contains(event) || (receipt && !shows(&step)) {
                    continue;
                }
                let run: Vec<Event> = set.iter().copied().chain([*event]).collect();
                let fewer = |(other, shown): &(Vec<Event>, Arc<Step>)| {
                    other.len() < run.len()
                        && other.iter().all(|member| run.contains(member))
                        && (shown.sends == step.sends && shown.facts == step.facts)
                        && shown.failure == step.failure
                };
                if !runs.iter().any(fewer) {
                    runs.push((run, step));
                }
            }
        }
        runs.into_iter().map(|(run, _)| if run.len() == 1 { run[0] } else { Event::Run(self.runs.number(run)) }).collect()
    }

    fn arrive(&self, state: &mut State, place: u8, number: u32) {
        let node = &mut state.nodes[usize::from(place)];
        node.inbox = self.arrivals.of((node.inbox, number), |_| {
            let mut inbox = (*self.inboxes.get(node.inbox)).clone();
            if let Err(at) = inbox.binary_search(&number) {
                inbox.insert(at, number);
            }
            self.inboxes.number(inbox)
        });
    }

    /// Drops what a proposer will never heed again, where the configuration says so.
    pub(crate) fn drop_spent(&self, node: &mut Node) {
        let Node { cell, inbox } = *node;
        node.inbox = self.spent_messages.of((cell, inbox), |_| {
            let Cell::Proposer(proposer) = &*self.cells.get(cell) else { return inbox };
            let mut messages = (*self.inboxes.get(inbox)).clone();
            messages.retain(|number| {
                let envelope = self.envelopes.get(*number);
                let Message::Proposer(message) = &envelope.message else { unreachable!("to a proposer") };
                !proposer.is_spent(&self.config, envelope.from, message)
            });
            self.inboxes.number(messages)
        });
    }

    fn spend(&self, spent: &mut Spent, event: Event) -> bool {
        let config = &self.config;
        let (used, most) = match event {
            Event::Run(number) => {
                let last = *self.runs.get(number).last().expect("a run has events");
                return self.spend(spent, last);
            }
            Event::Deliver(_) | Event::Sync | Event::Stand | Event::StepDown | Event::Offer | Event::Restart => return true,
            Event::DeliverThenCrash(..) | Event::Crash(_) => match config.crashes {
                Some(most) => (&mut spent.crashes, most),
                None => return true,
            },
            Event::Fire(_) => (&mut spent.fires, config.fires),
            Event::FireLearner(_) => (&mut spent.learner_fires, config.learner_fires),
            Event::Read => (&mut spent.reads, config.reads),
        };
        *used += 1;
        *used <= most
    }

    /// What the members of each Phase-1 quorum would let a new leader learn, by the very code that the leader runs.
    fn is_learnable(&self, state: &State) -> Option<Failure> {
        let history = self.histories.get(state.history);
        for quorum in &self.quorums {
            let mut disks = [u32::MAX; NODES];
            for place in quorum {
                let cell = state.nodes[usize::from(*place)].cell;
                disks[usize::from(*place)] = self.disk_of.of(cell, |cell| {
                    let Cell::Acceptor(acceptor) = &*self.cells.get(*cell) else { unreachable!("an acceptor") };
                    self.disks.number(acceptor.durable.clone())
                });
            }
            let learnable = self.learnable.of(disks, |disks| {
                let disks = disks.iter().filter(|disk| **disk != u32::MAX);
                Arc::new(learnable(disks.map(|disk| self.disks.get(*disk)).collect()))
            });
            let lost = history.chosen().find(|(slot, value)| learnable.get(slot) != Some(*value));
            if let Some((slot, value)) = lost {
                let (value, found) = (crate::world::tell_value(value), learnable.get(&slot));
                let text = format!("places {quorum:?} make {found:?} of slot {slot}, for which {value} is chosen");
                return Some(Failure { rule: Rule::I8, text });
            }
        }
        None
    }
}

/// What a new leader learns of these acceptors: what it fetches of the held prefixes, and what it must propose.
fn learnable(disks: Vec<Arc<Durable>>) -> BTreeMap<Slot, Value> {
    let reports: Vec<_> = disks
        .iter()
        .map(|disk| synod_proposer::safe_value::Report {
            floor: disk.head().floor,
            held: disk.head().held,
            votes: disk
                .votes_above(Slot::ZERO)
                .map(|(slot, vote)| (slot, (vote.ballot, vote.value.clone())))
                .collect(),
        })
        .collect();
    let inheritance = synod_proposer::safe_value::inherit(Slot::ZERO, reports.iter());
    let mut learnable: BTreeMap<Slot, Value> =
        inheritance.entries.into_iter().map(|entry| (entry.slot, entry.value)).collect();
    for disk in disks {
        let held = disk.held_values(Slot::FIRST, inheritance.chosen);
        learnable.extend((1..).map(Slot).zip(held.cloned()));
    }
    learnable
}

impl Model for Synod {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        synod_planted::plant(self.config.bug);
        vec![match self.config.start {
            Start::Fresh => self.fresh(),
            Start::Led => self.led(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        synod_planted::plant(self.config.bug);
        if state.failure != 0 {
            return;
        }
        for (place, node) in (0u8..).zip(state.nodes.iter().take(self.config.nodes())) {
            let events = self.events(place, *node);
            actions.extend(events.iter().map(|event| Action { place, event: *event }));
        }
    }

    fn next_state(&self, state: &State, Action { place, event }: Action) -> Option<State> {
        synod_planted::plant(self.config.bug);
        let mut next = *state;
        if !self.spend(&mut next.spent, event) {
            return None;
        }
        let cell = state.nodes[usize::from(place)].cell;
        let step = self.step(place, cell, event)?;
        next.nodes[usize::from(place)].cell = step.cell;
        for (to, number) in &step.sends {
            self.arrive(&mut next, *to, *number);
        }
        let (history, failure, witnesses) = self.extensions.of((state.history, step.facts), |_| {
            let facts = self.facts.get(step.facts);
            let extended = self.histories.get(state.history).extended(&facts, &self.config);
            let failure = extended.failure.map_or(0, |failure| self.failures.number(failure) + 1);
            (self.histories.number(extended.history), failure, extended.witnesses)
        });
        next.history = history;
        next.failure = if step.failure == 0 { failure } else { step.failure };
        if next.failure == 0
            && (step.written || history != state.history)
            && let Some(lost) = self.is_learnable(&next)
        {
            next.failure = self.failures.number(lost) + 1;
        }
        let witnesses = witnesses | step.witnesses;
        if witnesses & !self.witnesses() != 0 {
            self.witnesses.fetch_or(witnesses, Ordering::Relaxed);
        }
        if self.config.forget && next.failure == 0 {
            self.settle(&mut next);
        }
        if !self.renamings.is_empty() && next.failure == 0 {
            next = self.representative(&next);
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds<const RULE: usize>(model: &Synod, state: &State) -> bool {
            model.failure(state).is_none_or(|failure| failure.rule != Rule::ALL[RULE])
        }
        vec![
            Property::always("I1", holds::<0>),
            Property::always("I2", holds::<1>),
            Property::always("I3", holds::<2>),
            Property::always("I4", holds::<3>),
            Property::always("I5", holds::<4>),
            Property::always("I6", holds::<5>),
            Property::always("I8", holds::<6>),
            Property::always("I13", holds::<7>),
            Property::always("no panic", holds::<8>),
        ]
    }
}
