//! The world as stateright explores it: nodes, the messages ever sent, the ghost, and how much of each bounded thing was spent.
//!
//! The network is a set of messages for each node that only grows: a message delivered again is repeated, one never delivered is
//! lost, and any order can come about.

use std::sync::atomic::Ordering;

use stateright::{Model, Property};

use crate::step::{Event, Rule};
use crate::tables::Synod;
use crate::world::{NODES, Start};

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
    pub(crate) spent: Spent,
    /// The failure that the last step showed, from 1; nothing goes on from there.
    pub(crate) failure: u32,
}

/// How often each bounded thing has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Spent {
    crashes: u8,
    reads: u8,
}

/// One thing that happens at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Action {
    pub(crate) place: u8,
    pub(crate) event: Event,
}

impl Synod {
    /// A message is under way to a node.
    pub(crate) fn arrive(&self, state: &mut State, place: u8, number: u32) {
        let node = &mut state.nodes[usize::from(place)];
        node.inbox = self.arrivals.of((node.inbox, number), |_| {
            let mut inbox = (*self.inboxes.get(node.inbox)).clone();
            if let Err(at) = inbox.binary_search(&number) {
                inbox.insert(at, number);
            }
            self.inboxes.number(inbox)
        });
    }

    /// Counts what is bounded by the world as a whole; false when there was enough of it.
    fn spend(&self, spent: &mut Spent, event: Event) -> bool {
        let config = &self.config;
        let (used, most) = match event {
            Event::Run(number) => {
                let last = *self.runs.get(number).last().expect("a run has events");
                return self.spend(spent, last);
            }
            Event::Deliver(_)
            | Event::Sync
            | Event::Stand
            | Event::StepDown
            | Event::Offer
            | Event::Readmit
            | Event::Fire(_)
            | Event::FireLearner(_)
            | Event::Restart => return true,
            Event::DeliverThenCrash(..) | Event::Crash(_) => match config.crashes {
                Some(most) => (&mut spent.crashes, most),
                None => return true,
            },
            Event::Read => (&mut spent.reads, config.reads),
        };
        *used += 1;
        *used <= most
    }

    /// What an action makes of a state, before what can't matter is taken out of it.
    pub(crate) fn next_plainly(&self, state: &State, Action { place, event }: Action) -> Option<State> {
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
            && let Some(lost) = self.unlearnable(&next)
        {
            next.failure = self.failures.number(lost) + 1;
        }
        let witnesses = witnesses | step.witnesses;
        if witnesses & !self.witnesses() != 0 {
            self.witnesses.fetch_or(witnesses, Ordering::Relaxed);
        }
        (next != *state).then_some(next)
    }
}

impl Model for Synod {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        synod_planted::plant(self.config.bug);
        vec![match self.config.start {
            Start::Fresh => self.fresh(),
            Start::Led => self.led(),
            Start::Filled => self.filled(),
            Start::Heard => self.heard(),
            Start::ChosenWithLast => self.chosen_with_last(),
            Start::Readmitted => self.readmitted(),
            Start::Overruled => self.overruled(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        synod_planted::plant(self.config.bug);
        if state.failure != 0 {
            return;
        }
        for (place, node) in (0u8..).zip(state.nodes.iter().take(self.config.nodes())) {
            let events = self.events(place, *node);
            if self.config.lazy && events.contains(&Event::Sync) {
                // What it absorbs shows to nobody before its sync or crash, so the others may as well wait for that.
                actions.clear();
                actions.extend(events.iter().map(|event| Action { place, event: *event }));
                return;
            }
            actions.extend(events.iter().map(|event| Action { place, event: *event }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        synod_planted::plant(self.config.bug);
        let mut next = self.next_plainly(state, action)?;
        if next.failure == 0 {
            if self.config.forget {
                self.settle(&mut next);
            }
            if !self.renamings.is_empty() {
                next = self.representative(&next);
            }
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds<const RULE: usize>(model: &Synod, state: &State) -> bool {
            if RULE == 0 && model.config.collect {
                model.collect(state);
            }
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
            Property::always("I11", holds::<7>),
            Property::always("I13", holds::<8>),
            Property::always("no panic", holds::<9>),
        ]
    }
}
