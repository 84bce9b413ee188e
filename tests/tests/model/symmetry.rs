//! Acceptors are alike: a state and the same state with its acceptors renamed have the same future, so one of them is enough.
//!
//! Roles can't be renamed from outside. Instead each cell's image is what the renamed events make of the renamed start, worked out by the
//! roles' own code; that renaming and coming back leads to the same cell is checked for every cell, so that a role which
//! did prefer one acceptor would be found out. For configurations where that is right (healing takes the first holder it finds)
//! this reduction is off.

use std::sync::Arc;

use synod_protocol::{AcceptorId, NodeId};

use crate::model::{Node, State};
use crate::step::Event;
use crate::tables::Synod;
use crate::world::{Config, Envelope, NODES};

/// A renaming of acceptors, by place.
pub(crate) type Renaming = [u8; NODES];

/// Renamings of four acceptors, the most that any configuration has.
const MOST: usize = 24;

/// Every renaming of the acceptors, the identity first.
pub(crate) fn renamings(config: &Config) -> Vec<Renaming> {
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    let count = u8::try_from(config.acceptors).unwrap();
    for _ in 0..count {
        let longer = |names: &Vec<u8>| {
            let names = names.clone();
            let free = (0..count).filter(|name| !names.contains(name)).collect::<Vec<_>>();
            free.into_iter().map(move |name| [names.as_slice(), &[name]].concat())
        };
        found = found.iter().flat_map(longer).collect();
    }
    let whole = |names: &Vec<u8>| std::array::from_fn(|at| names.get(at).copied().unwrap_or(at as u8));
    found.iter().map(whole).collect()
}

fn inverse(renaming: &Renaming) -> Renaming {
    let mut inverse = [0; NODES];
    (0u8..).zip(renaming).for_each(|(from, to)| inverse[usize::from(*to)] = from);
    inverse
}

impl Synod {
    /// The least of the states that differ from this one by their acceptors' names alone.
    pub(crate) fn representative(&self, state: &State) -> State {
        let mut all = [*state; MOST];
        let all = &mut all[..self.renamings.len()];
        for (place, node) in state.nodes.iter().enumerate().take(self.config.nodes()) {
            let images = self.node_images.of((node.cell, node.inbox), |_| self.images_of_node(*node));
            for ((renamed, image), renaming) in all.iter_mut().zip(images.iter()).zip(&self.renamings) {
                renamed.nodes[usize::from(renaming[place])] = *image;
            }
        }
        let histories = self.history_images.of(state.history, |history| self.images_of_history(*history));
        all.iter_mut().zip(histories.iter()).for_each(|(renamed, history)| renamed.history = *history);
        *all.iter().min().expect("there is the identity")
    }

    fn images_of_node(&self, node: Node) -> Arc<[Node]> {
        let image = |number| Node {
            cell: self.cell_image(node.cell, number),
            inbox: self.inbox_image(node.inbox, number),
        };
        (0u8..).take(self.renamings.len()).map(image).collect()
    }

    fn images_of_history(&self, history: u32) -> Arc<[u32]> {
        let history = self.histories.get(history);
        let image = |renaming| self.histories.number((*history).clone().renamed(renaming));
        self.renamings.iter().map(image).collect()
    }

    fn cell_image(&self, cell: u32, renaming: u8) -> u32 {
        let image = self.cell_image_unchecked(cell, renaming);
        let back = inverse(&self.renamings[usize::from(renaming)]);
        let back =
            self.renamings.iter().position(|renaming| *renaming == back).expect("renamings form a group");
        let again = self.cell_image_unchecked(image, u8::try_from(back).unwrap());
        assert!(
            again == cell,
            "a role prefers an acceptor: {:?} {:?}",
            self.cells.get(cell),
            self.cells.get(again)
        );
        image
    }

    fn cell_image_unchecked(&self, cell: u32, renaming: u8) -> u32 {
        self.cell_images.of((cell, renaming), |_| {
            let names = &self.renamings[usize::from(renaming)];
            let origin = self.origins.read().unwrap().get(&cell).copied();
            match origin {
                None => {
                    let place = self.starts.read().unwrap().iter().position(|start| *start == cell);
                    let place = place.expect("a cell without an origin is one of the start");
                    self.starts.read().unwrap()[usize::from(names[place])]
                }
                Some((place, parent, event)) => {
                    let parent = self.cell_image_unchecked(parent, renaming);
                    let place = names[usize::from(place)];
                    let step = self.step(place, parent, self.event_image(event, renaming));
                    step.expect("what happens to a cell happens to its image").cell
                }
            }
        })
    }

    fn event_image(&self, event: Event, renaming: u8) -> Event {
        match event {
            Event::Deliver(number) => Event::Deliver(self.envelope_image(number, renaming)),
            Event::DeliverThenCrash(number, kept) => {
                Event::DeliverThenCrash(self.envelope_image(number, renaming), kept)
            }
            Event::Run(number) => {
                let events = self.runs.get(number);
                let events = events.iter().map(|event| self.event_image(*event, renaming)).collect();
                Event::Run(self.runs.number(events))
            }
            Event::Sync
            | Event::Crash(_)
            | Event::Stand
            | Event::StepDown
            | Event::Offer
            | Event::Readmit
            | Event::Fire(_)
            | Event::FireLearner(_)
            | Event::Read
            | Event::Restart => event,
        }
    }

    fn envelope_image(&self, number: u32, renaming: u8) -> u32 {
        let names = &self.renamings[usize::from(renaming)];
        let renamed = |node: NodeId| match node {
            NodeId::Acceptor(AcceptorId(id)) => {
                NodeId::from(AcceptorId(u16::from(names[usize::from(id) - 1]) + 1))
            }
            NodeId::Proposer(_) | NodeId::Learner(_) | NodeId::Client(_) => node,
        };
        let Envelope { from, to, message } = (*self.envelopes.get(number)).clone();
        self.envelopes.number(Envelope { from: renamed(from), to: renamed(to), message })
    }

    fn inbox_image(&self, inbox: u32, renaming: u8) -> u32 {
        let mut messages: Vec<u32> =
            self.inboxes.get(inbox).iter().map(|number| self.envelope_image(*number, renaming)).collect();
        messages.sort_unstable();
        self.inboxes.number(messages)
    }
}
