//! Where an exploration begins.

use synod_protocol::{AcceptorId, LearnerId, NodeId, ProposerId};

use crate::acceptor::AcceptorCell;
use crate::history::History;
use crate::learner::LearnerCell;
use crate::model::{Action, Node, Spent, State};
use crate::proposer::ProposerCell;
use crate::step::{Cell, Event};
use crate::tables::Synod;

impl Synod {
    /// Nothing has happened.
    pub(crate) fn fresh(&self) -> State {
        let mut state =
            State { history: self.histories.number(History::new(&self.config)), ..State::default() };
        let none = self.inboxes.number(Vec::new());
        let mut sends = Vec::new();
        for place in 0..self.config.nodes() {
            let cell = match self.config.node(place) {
                NodeId::Acceptor(AcceptorId(_)) => {
                    Cell::Acceptor(Box::new(AcceptorCell::new(&self.config, u8::try_from(place).unwrap())))
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
            for (to, number) in self.sent(self.config.node(place), to, message) {
                self.arrive(&mut state, to, number);
            }
        }
        state
    }

    /// p1 stands, and every message of Phase 1 and of its first heartbeat comes.
    pub(crate) fn led(&self) -> State {
        let mut state = self.fresh();
        let leader = u8::try_from(self.config.acceptors).unwrap();
        self.happen_at(&mut state, leader, Event::Stand);
        let everybody: Vec<u8> = (0..u8::try_from(self.config.nodes()).unwrap()).collect();
        while everybody.iter().any(|place| self.deliver_all(&mut state, *place, None)) {}
        state.spent = Spent::default();
        state
    }

    /// The same, and p2 has heard of p1's ballot.
    pub(crate) fn heard(&self) -> State {
        let mut state = self.led();
        let p1 = usize::from(self.config.acceptors);
        let promised = match &*self.cells.get(state.nodes[p1].cell) {
            Cell::Proposer(proposer) => proposer.status().ballot,
            Cell::Acceptor(_) | Cell::Learner(_) => unreachable!("it is p1's place"),
        };
        for place in p1 + 1..p1 + usize::from(self.config.proposers) {
            let Cell::Proposer(proposer) = (*self.cells.get(state.nodes[place].cell)).clone() else {
                unreachable!("it is a proposer's place")
            };
            let heard = proposer.heard(promised);
            state.nodes[place].cell = self.cells.number(Cell::Proposer(Box::new(heard)));
        }
        state
    }

    /// p1 is offered a value, and a1 and a3 vote for it; the last learner, if there is any, has told a client.
    pub(crate) fn chosen_with_last(&self) -> State {
        let mut state = self.heard();
        let leader = u8::try_from(self.config.acceptors).unwrap();
        self.happen_at(&mut state, leader, Event::Offer);
        for place in [0, 2] {
            self.deliver_all(&mut state, place, None);
        }
        if self.config.learners > 0 {
            let last = leader + u8::try_from(self.config.proposers + self.config.learners).unwrap() - 1;
            self.deliver_all(&mut state, leader, None);
            self.deliver_all(&mut state, last, None);
        }
        state
    }

    /// Then p1 readmits a3's new disk.
    pub(crate) fn readmitted(&self) -> State {
        let mut state = self.heard();
        let leader = u8::try_from(self.config.acceptors).unwrap();
        self.happen_at(&mut state, leader, Event::Readmit);
        let everybody: Vec<u8> = (0..u8::try_from(self.config.nodes()).unwrap()).collect();
        while everybody.iter().any(|place| self.deliver_all(&mut state, *place, None)) {}
        state
    }

    /// Then p1 is offered three values: a1 and a2 vote for the first, which so is chosen; a2 alone votes for the others, and learns with
    /// them that slot 1 is chosen.
    pub(crate) fn filled(&self) -> State {
        let mut state = self.led();
        let leader = u8::try_from(self.config.acceptors).unwrap();
        self.happen_at(&mut state, leader, Event::Offer);
        for place in [0, 1, leader] {
            self.deliver_all(&mut state, place, None);
        }
        self.happen_at(&mut state, leader, Event::Offer);
        self.happen_at(&mut state, leader, Event::Offer);
        self.deliver_all(&mut state, 1, None);
        state
    }

    /// p1 is offered a value for which a3 alone votes; then p2 leads with a1 and a2, and its value is chosen.
    pub(crate) fn overruled(&self) -> State {
        let mut state = self.led();
        let p1 = u8::try_from(self.config.acceptors).unwrap();
        let p2 = p1 + 1;
        self.happen_at(&mut state, p1, Event::Offer);
        self.deliver_all(&mut state, 2, None);
        for event in [Event::Stand, Event::Offer] {
            self.happen_at(&mut state, p2, event);
            for place in [0, 1] {
                self.deliver_all(&mut state, place, Some(p2));
            }
            self.deliver_all(&mut state, p2, None);
        }
        state
    }

    fn happen_at(&self, state: &mut State, place: u8, event: Event) {
        *state = self.next_plainly(state, Action { place, event }).expect("the script can be followed");
    }

    /// Everything that is under way to a node (from one other, if told) comes, until nothing of it changes anything; whether anything did.
    fn deliver_all(&self, state: &mut State, place: u8, from: Option<u8>) -> bool {
        let mut changed = false;
        loop {
            let events = self.plain_events(place, state.nodes[usize::from(place)]);
            let delivers = |event: &&Event| match event {
                Event::Deliver(number) => {
                    let sender = self.config.place(self.envelopes.get(*number).from);
                    from.is_none() || sender == from
                }
                _ => **event == Event::Sync,
            };
            let next = events
                .iter()
                .filter(delivers)
                .find_map(|event| self.next_plainly(state, Action { place, event: *event }));
            let Some(next) = next else { return changed };
            (*state, changed) = (next, true);
        }
    }
}
