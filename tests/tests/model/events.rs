//! What can happen to a node, and what comes of it.

use std::cell::Cell as ThreadCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use synod_protocol::message::{Message, Subscribe, ToAcceptor, ToLearner, ToProposer, Wants};
use synod_protocol::{NodeId, ProposerId, Slot};

use crate::model::Node;
use crate::step::{Cell, Event, Fact, Outcome, Rule};
use crate::tables::{Step, Synod};
use crate::world::{CLIENT, Envelope, LISTENER};

thread_local! {
    static EXPECTED: ThreadCell<bool> = const { ThreadCell::new(false) };
}

/// Whether a role runs on this thread, whose panics are findings.
pub(crate) fn is_expected() -> bool {
    EXPECTED.get()
}

impl Synod {
    pub(crate) fn step(&self, place: u8, cell: u32, event: Event) -> Option<Arc<Step>> {
        self.steps.of((cell, event), |_| {
            if let Event::Run(number) = event {
                return self.run(place, cell, &self.runs.get(number));
            }
            let before = self.cells.get(cell);
            EXPECTED.set(true);
            let outcome = catch_unwind(AssertUnwindSafe(|| self.happen(&before, event)));
            EXPECTED.set(false);
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
        let Outcome { cell, mut sends, mut facts, witnesses, failure } = outcome;
        if self.config.reports {
            let synced = sends.iter().filter_map(|(_, message)| match message {
                Message::Learner(ToLearner::Chosen(chosen)) => Some(chosen.prefix),
                Message::Learner(_) | Message::Acceptor(_) | Message::Proposer(_) | Message::Client(_) => {
                    None
                }
            });
            if let Some(synced) = synced.max().filter(|synced| *synced > Slot::ZERO) {
                facts.push(Fact::Synced { slot: synced });
                let report = ToProposer::Subscribe(Subscribe {
                    next: synced.next(),
                    synced,
                    pinned: None,
                    wants: Wants::AtOnce,
                });
                let proposers = (1..=self.config.proposers).map(|id| NodeId::from(ProposerId(id)));
                sends.extend(proposers.map(|to| (to, Message::Proposer(report.clone()))));
            }
        }
        let beyond = |fact: &Fact| matches!(fact, Fact::Asked { slot, .. } if slot.0 > self.config.slots);
        if facts.iter().any(beyond) || (cell == *before && sends.is_empty() && failure.is_none()) {
            return None;
        }
        let written = match (before, &cell) {
            (Cell::Acceptor(before), Cell::Acceptor(after)) => before.durable != after.durable,
            _ => false,
        };
        let from = self.config.node(usize::from(place));
        let sends = sends.into_iter().flat_map(|(to, message)| self.sent(from, to, message)).collect();
        let failure = failure.map_or(0, |failure| self.failures.number(failure) + 1);
        let (cell, facts) = (self.cells.number(cell), self.facts.number(facts));
        Some(Arc::new(Step { cell, sends, facts, failure, witnesses, written }))
    }

    /// A message under way, unless it is for nobody here, or a probe ([`crate::proposer`] says why).
    /// An acceptor's message may reach any process with its id; only the disk that waits heeds the admin command.
    pub(crate) fn sent(&self, from: NodeId, to: NodeId, message: Message) -> Vec<(u8, u32)> {
        // Proposers send nothing to each other: it is the report of the learner that listens.
        let from = if matches!(to, NodeId::Proposer(_)) && matches!(from, NodeId::Proposer(_)) {
            LISTENER.into()
        } else {
            from
        };
        let probe = matches!(&message, Message::Acceptor(ToAcceptor::Probe { .. }));
        let form = matches!(&message, Message::Acceptor(ToAcceptor::Form { .. }));
        let others =
            self.config.others().filter(|(_, id, _)| to == NodeId::from(*id)).map(|(place, ..)| place);
        let own = self.config.place(to).filter(|_| !form);
        let places: Vec<u8> = own.into_iter().chain(others).filter(|_| !probe).collect();
        if places.is_empty() {
            return Vec::new();
        }
        // The admin command carries to the disk that waits what a leader grants.
        let from = if form { CLIENT.into() } else { from };
        let number = self.envelopes.number(Envelope { from, to, message });
        places.into_iter().map(|place| (place, number)).collect()
    }

    fn happen(&self, cell: &Cell, event: Event) -> Option<Outcome> {
        let config = &self.config;
        match (cell.clone(), event) {
            (Cell::Acceptor(acceptor), Event::Deliver(number)) => {
                let (from, message) = self.acceptor_message(number);
                if config.batch == 0 {
                    let absorbed = acceptor.absorb(from, message);
                    let Cell::Acceptor(acceptor) = absorbed.cell else {
                        unreachable!("it stays an acceptor")
                    };
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
                Some(proposer.deliver(config, from, message))
            }
            (Cell::Proposer(proposer), Event::Stand) => proposer.stand(config),
            (Cell::Proposer(proposer), Event::StepDown) => Some(proposer.step_down()),
            (Cell::Proposer(proposer), Event::Readmit) => proposer.readmit(config),
            (Cell::Proposer(proposer), Event::Offer) => proposer.offer(config),
            (Cell::Proposer(proposer), Event::Fire(timer)) => proposer.fire(config, timer),
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
    pub(crate) fn events(&self, place: u8, node: Node) -> Arc<[Event]> {
        self.events.of((node.cell, node.inbox), |_| {
            if self.config.lazy && self.config.seat(place).is_none() {
                self.lazily(place, node.cell, &self.candidates(node))
            } else {
                self.plain_events(place, node)
            }
            .into()
        })
    }

    /// What can happen to a node, one event at a time.
    pub(crate) fn plain_events(&self, place: u8, node: Node) -> Vec<Event> {
        let mut events = self.candidates(node);
        events.retain(|event| self.step(place, node.cell, *event).is_some());
        events
    }

    /// What might happen to a node, whatever its cell makes of it.
    fn candidates(&self, node: Node) -> Vec<Event> {
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
                events.extend(self.config.replacement().map(|_| Event::Readmit));
                events.extend(self.config.timers.iter().map(|(_, timer, _)| Event::Fire(*timer)));
            }
            Cell::Learner(_) => {
                events.extend([Event::Read, Event::Restart]);
                events.extend(self.config.learner_timers.iter().copied().map(Event::FireLearner));
            }
        }
        events
    }

    /// A receipt that sends nothing concerns its receiver alone, and the message doesn't go away: so it may as well happen just
    /// before the step that shows it. Every event that shows is preceded here by each set of such receipts that makes it
    /// show something else than fewer of them would.
    fn lazily(&self, place: u8, cell: u32, events: &[Event]) -> Vec<Event> {
        let receipts: Vec<(u32, Event)> = events
            .iter()
            .filter_map(
                |event| if let Event::Deliver(number) = event { Some((*number, *event)) } else { None },
            )
            .collect();
        let shows = |step: &Step| {
            !step.sends.is_empty() || !self.facts.get(step.facts).is_empty() || step.failure != 0
        };
        // Each set of receipts that show nothing, in an order in which they can come, with the cell it leads to; smaller ones first.
        let mut hidden: Vec<(Vec<Event>, u32)> = vec![(Vec::new(), cell)];
        let mut known: BTreeSet<(BTreeSet<u32>, u32)> = BTreeSet::new();
        let mut at = 0;
        while let Some((order, cell)) = hidden.get(at).cloned() {
            for (number, event) in &receipts {
                let Some(step) = self.step(place, cell, *event).filter(|step| !shows(step)) else { continue };
                let order: Vec<Event> = order.iter().copied().chain([*event]).collect();
                let numbers =
                    receipts.iter().filter(|(_, event)| order.contains(event)).map(|(number, _)| *number);
                if known.insert((numbers.chain([*number]).collect(), step.cell)) {
                    hidden.push((order, step.cell));
                }
            }
            at += 1;
        }
        let mut runs: Vec<(Vec<Event>, Arc<Step>)> = Vec::new();
        for (set, cell) in hidden {
            for event in events {
                let Some(step) = self.step(place, cell, *event) else { continue };
                if matches!(event, Event::Deliver(_)) && !shows(&step) {
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
        runs.into_iter()
            .map(|(run, _)| if run.len() == 1 { run[0] } else { Event::Run(self.runs.number(run)) })
            .collect()
    }
}
