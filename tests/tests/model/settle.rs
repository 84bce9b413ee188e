//! What can show no more is taken out of a state, where the configuration says so: refusals are lost on their way, and with them
//! everything that could only bring a refusal or be ignored. Each rule is about messages that stay without effect for ever, since
//! promises never fall (I3, checked at every step of an acceptor).

use synod_planted::Bug;
use synod_protocol::message::{Message, ToAcceptor, ToProposer};
use synod_protocol::{Ballot, ProposerId};

use crate::model::{Node, State};
use crate::step::{Cell, Event};
use crate::tables::Synod;
use crate::world::{Envelope, NODES};

/// What a disk that waits to be readmitted will at least promise: a ballot begun for that, so never a proposer's first.
const WAITS: Ballot = Ballot { round: 1, proposer: ProposerId(u16::MAX), life: 0 };

/// Each acceptor's promise, by place and as a number of [`Synod::ballots`].
pub(crate) type Promises = [u8; NODES];

impl Synod {
    /// Takes out of the state what can show no more.
    pub(crate) fn settle(&self, state: &mut State) {
        let acceptors = usize::from(self.config.acceptors);
        let proposers = usize::from(self.config.proposers);
        let mut promises: Promises = [0; NODES];
        for (place, node) in state.nodes.iter_mut().enumerate().take(acceptors) {
            (node.inbox, promises[place]) = self.unrefused.of((node.cell, node.inbox), |_| {
                let promised = self.promise_of(node.cell);
                (self.drop_refused(*node, promised), u8::try_from(self.ballots.number(promised)).unwrap())
            });
        }
        let others: Vec<_> =
            self.config.others().map(|(place, id, _)| (usize::from(place), usize::from(id.0) - 1)).collect();
        for (place, acceptor) in &others {
            let node = &mut state.nodes[*place];
            let (inbox, promise) = self.unrefused.of((node.cell, node.inbox), |_| {
                let promised = self.promise_of(node.cell);
                (self.drop_refused(*node, promised), u8::try_from(self.ballots.number(promised)).unwrap())
            });
            node.inbox = inbox;
            // What either of its disks may yet vote for, the acceptor may.
            let either = [promises[*acceptor], promise].map(|number| *self.ballots.get(u32::from(number)));
            let least = either.into_iter().min().expect("there are two");
            promises[*acceptor] = u8::try_from(self.ballots.number(least)).unwrap();
        }
        for place in acceptors..acceptors + proposers {
            let node = &mut state.nodes[place];
            *node = self.settled.of((node.cell, node.inbox, promises), |_| {
                let mut node = *node;
                if self.is_overtaken(node, &promises) {
                    let place = u8::try_from(place).unwrap();
                    node.cell =
                        self.step(place, node.cell, Event::StepDown).map_or(node.cell, |step| step.cell);
                }
                self.drop_spent(&mut node);
                node
            });
        }
        for node in &mut state.nodes[acceptors + proposers..self.config.nodes() - others.len()] {
            let mut learner = *node;
            node.inbox = self.unspent.of((node.cell, node.inbox), |_| {
                self.drop_spent(&mut learner);
                learner.inbox
            });
        }
        state.history = self.pruned.of((state.history, promises), |_| {
            let history = (*self.histories.get(state.history)).clone();
            self.histories.number(history.pruned(&self.told(&promises), self.config.phase2))
        });
    }

    fn told(&self, promises: &Promises) -> Vec<Ballot> {
        let acceptors = promises.iter().take(usize::from(self.config.acceptors));
        acceptors.map(|number| *self.ballots.get(u32::from(*number))).collect()
    }

    /// What its disk promises: the promise in its memory may yet be lost.
    fn promise_of(&self, cell: u32) -> Ballot {
        let Cell::Acceptor(acceptor) = &*self.cells.get(cell) else { unreachable!("acceptors come first") };
        if self.is_open(cell) { acceptor.durable.head().promised } else { WAITS }
    }

    fn is_open(&self, cell: u32) -> bool {
        matches!(&*self.cells.get(cell), Cell::Acceptor(acceptor) if acceptor.durable.cluster().is_some())
    }

    /// An acceptor's messages without those at ballots below its promise.
    fn drop_refused(&self, node: Node, promised: Ballot) -> u32 {
        let mut messages = (*self.inboxes.get(node.inbox)).clone();
        messages.retain(|number| match &self.envelopes.get(*number).message {
            Message::Acceptor(ToAcceptor::Prepare { ballot, .. }) => *ballot >= promised,
            Message::Acceptor(ToAcceptor::Accept(accept)) => accept.ballot >= promised,
            Message::Acceptor(ToAcceptor::Admit(admit)) => {
                // Where that bug is planted, it isn't refused.
                admit.ballot >= promised || self.config.bug == Some(Bug::ReadmittedDespitePromise)
            }
            Message::Acceptor(ToAcceptor::Form { .. }) => !self.is_open(node.cell),
            Message::Acceptor(_) | Message::Proposer(_) | Message::Learner(_) | Message::Client(_) => true,
        });
        self.inboxes.number(messages)
    }

    /// Whether a proposer's ballot can show nothing more: every acceptor has promised a higher one, or it is in Phase 1 and too
    /// few are left that have promised to it or still may.
    fn is_overtaken(&self, node: Node, promises: &Promises) -> bool {
        let Cell::Proposer(proposer) = &*self.cells.get(node.cell) else { unreachable!("it is a proposer") };
        let Some((ballot, leads)) = proposer.ballot() else { return false };
        let promises = self.told(promises);
        if promises.iter().all(|promised| *promised > ballot) && leads {
            return true;
        }
        let inbox = self.inboxes.get(node.inbox);
        let promised_to_it = |place: usize| {
            inbox.iter().any(|number| {
                let envelope = self.envelopes.get(*number);
                self.config.place(envelope.from) == u8::try_from(place).ok()
                    && matches!(&envelope.message, Message::Proposer(ToProposer::Promise(promise))
                        if promise.ballot == ballot)
            })
        };
        let may = |(place, promised): (usize, &Ballot)| *promised <= ballot || promised_to_it(place);
        // Chunks may have been received before and be gone; then nothing is said here.
        !leads
            && self.config.is_unchunked()
            && promises.iter().enumerate().filter(|at| may(*at)).count() < self.config.phase1
    }

    /// Drops what a proposer or learner will never heed again.
    fn drop_spent(&self, node: &mut Node) {
        let cell = self.cells.get(node.cell);
        let spent = |envelope: &Envelope| match (&*cell, &envelope.message) {
            (Cell::Proposer(proposer), Message::Proposer(message)) => {
                proposer.is_spent(&self.config, envelope.from, message)
            }
            (Cell::Learner(learner), Message::Learner(message)) => learner.is_spent(envelope.from, message),
            (cell, message) => unreachable!("{message:?} came to {cell:?}"),
        };
        let mut messages = (*self.inboxes.get(node.inbox)).clone();
        messages.retain(|number| !spent(&self.envelopes.get(*number)));
        node.inbox = self.inboxes.number(messages);
    }
}
