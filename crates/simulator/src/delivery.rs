//! How messages and news of connections get from one process to another, or don't.

use bytes::Bytes;
use synod_protocol::message::{
    Fetched, Message, NotTaken, ReadOutcome, Status, ToAcceptor, ToClient, ToLearner, ToProposer,
};
use synod_protocol::{NodeId, Value, wire};

use crate::coverage::Seen;
use crate::node::Input;
use crate::plan::Us;
use crate::seating::OPERATOR;
use crate::story::Teller;
use crate::violation::{Check, Violation, check};
use crate::world::{Event, World};

/// Per mille of messages that are encoded and decoded on their way.
const ENCODED: u64 = 20;

impl<T: Teller> World<T> {
    /// A message leaves at `at`, which may lie ahead. What it claims is checked; then the weather has it.
    pub(crate) fn send(&mut self, from: NodeId, to: NodeId, message: Message, at: Us) -> Check {
        self.ledger.on_sent(from, &message, self.now, &mut self.coverage)?;
        self.count_message(from, to, &message);
        if to == NodeId::Client(OPERATOR) {
            self.operator_is_told(&message);
            return self.check_health(from, &message);
        }
        let (place, target) = (self.place(from), self.place(to));
        // Whoever isn't there, or not any more, has no connection.
        let Some(connection) = self.network.connection(place, target).filter(|_| self.nodes[target].id == to)
        else {
            return Ok(());
        };
        if self.network.is_cut(place, target) {
            self.see(Seen::MessageCut);
            return Ok(());
        }
        if self.random.network.happens(self.weather.lost) {
            self.see(Seen::MessageLost);
            return Ok(());
        }
        if self.random.network.happens(ENCODED) {
            round_trip(&message)?;
        }
        let with_client = matches!(from, NodeId::Client(_)) || matches!(to, NodeId::Client(_));
        // What a learner pins ends with its connection: nothing said on it may come afterwards.
        let subscribes = matches!(message, Message::Proposer(ToProposer::Subscribe(_)));
        let connection = (self.weather.ordered || with_client || subscribes).then_some(connection);
        // A refused proposal is certain to have no effect only if it came once; connections see to that.
        let once = matches!(
            message,
            Message::Proposer(ToProposer::Propose(_)) | Message::Learner(ToLearner::Forward(_))
        );
        if !once && self.random.network.happens(self.weather.repeated) {
            self.see(Seen::MessageRepeated);
            let at = at + self.random.network.between(0, self.weather.late_us.max(1_000));
            self.arrive(at, Event::Arrive { from, to, message: message.clone(), connection });
        }
        let mut at = at + self.random.network.between(self.weather.latency_us.0, self.weather.latency_us.1);
        if self.random.network.happens(self.weather.late) {
            self.see(Seen::MessageLate);
            at += self.random.network.between(0, self.weather.late_us);
        }
        if self.weather.ordered {
            at = self.network.in_order(place, target, at);
        }
        self.arrive(at, Event::Arrive { from, to, message, connection });
        Ok(())
    }

    fn arrive(&mut self, at: Us, event: Event) {
        self.after(at - self.now, event);
    }

    pub(crate) fn on_arrive(
        &mut self,
        from: NodeId,
        to: NodeId,
        message: Message,
        connection: Option<u64>,
    ) -> Check {
        let (place, target) = (self.place(from), self.place(to));
        let alive = connection.is_none() || self.network.connection(place, target) == connection;
        if alive && self.nodes[target].id == to {
            self.put_in(target, Input::Message { from, message });
        }
        Ok(())
    }

    /// Somebody tries to connect after so much time.
    pub(crate) fn dial_after(&mut self, dialer: usize, peer: usize, us: Us) {
        let life = self.nodes[dialer].life;
        self.after(us, Event::Dial { dialer, life, peer });
    }

    fn redial(&mut self, dialer: usize, peer: usize) {
        let tuning = &self.plan.cluster.tuning;
        let (least, most) = (tuning.reconnect_min_ms * 1000, tuning.reconnect_max_ms * 1000);
        let us = self.random.nodes.between(least, most);
        self.dial_after(dialer, peer, us);
    }

    pub(crate) fn on_dial(&mut self, dialer: usize, life: u64, peer: usize) {
        let caller = &self.nodes[dialer];
        if caller.life != life || !caller.is_up() || self.network.connection(dialer, peer).is_some() {
            return;
        }
        let cut = self.network.is_cut(dialer, peer) || self.network.is_cut(peer, dialer);
        if cut || !self.nodes[peer].is_up() {
            match self.nodes[dialer].id {
                NodeId::Client(_) => self.tell_link(dialer, peer, false),
                NodeId::Acceptor(_) | NodeId::Proposer(_) | NodeId::Learner(_) => self.redial(dialer, peer),
            }
            return;
        }
        let (tell_dialer, tell_peer) = self.network.connect(dialer, peer);
        if tell_dialer {
            self.tell_link(dialer, peer, false);
        }
        if tell_peer {
            self.tell_link(peer, dialer, false);
        }
        self.tell_link(dialer, peer, true);
        self.tell_link(peer, dialer, true);
    }

    pub(crate) fn tell_link(&mut self, place: usize, peer: usize, up: bool) {
        let peer = self.nodes[peer].id;
        self.put_in(place, Input::Link { peer, up });
    }

    /// A client closes its connection; the other end hears of it.
    pub(crate) fn hang_up(&mut self, client: usize, peer: usize) {
        if self.network.disconnect(client, peer) {
            self.network.tell_down(client, peer);
            self.network.tell_down(peer, client);
            self.tell_link(peer, client, false);
        }
    }

    /// A connection ends. Each end is told within `most_us`; who dialed it dials again.
    pub(crate) fn disconnect(&mut self, one: usize, other: usize, most_us: Us) {
        if !self.network.disconnect(one, other) {
            return;
        }
        for (place, peer) in [(one, other), (other, one)] {
            let us = self.random.network.between(0, most_us);
            self.after(us, Event::Down { place, peer });
            if self.nodes[place].id.dials(self.nodes[peer].id) {
                self.redial(place, peer);
            }
        }
    }

    /// A process has ended: so have its connections. Without power nobody says so, and the others find out by silence.
    pub(crate) fn disconnect_all(&mut self, place: usize, power: bool) {
        let most_us = if power { 2_000_000 } else { 2_000 };
        for peer in 0..self.seating.count() {
            if peer == place || self.network.connection(place, peer).is_none() {
                continue;
            }
            if matches!(self.nodes[place].id, NodeId::Client(_)) {
                // Another client will sit here: its predecessor's end is told at once, by its own name.
                self.hang_up(place, peer);
            } else {
                self.disconnect(place, peer, most_us);
                self.network.tell_down(place, peer);
            }
        }
    }

    fn count_message(&mut self, from: NodeId, to: NodeId, message: &Message) {
        let seen = match message {
            Message::Acceptor(ToAcceptor::Accept(accept)) => {
                if self.ballots.insert(accept.ballot) {
                    self.see(Seen::Election);
                }
                let healed = accept.entries.iter().filter(|entry| entry.slot <= accept.chosen).count();
                return self.coverage.add(Seen::HealedSlot, healed as u64);
            }
            Message::Proposer(ToProposer::Promise(promise)) if promise.floor < self.ledger.floor() => {
                Seen::FloorsDiffer
            }
            Message::Proposer(ToProposer::Promise(promise)) if !promise.complete => {
                self.coverage.add(Seen::HeldIncomplete, u64::from(promise.held.0 > 0));
                Seen::ChunkedPromise
            }
            Message::Proposer(ToProposer::Nack { .. }) => Seen::Preempted,
            Message::Proposer(ToProposer::Settle { .. }) => Seen::Settled,
            Message::Proposer(ToProposer::Fetched(fetched)) => {
                return self.count_fetched(Seen::FetchedByLeader, fetched);
            }
            Message::Learner(ToLearner::Fetched(fetched))
                if fetched.values.is_empty() && fetched.first < fetched.floor =>
            {
                Seen::FetchBelowFloor
            }
            Message::Learner(ToLearner::Fetched(fetched)) => match from {
                NodeId::Acceptor(_) => return self.count_fetched(Seen::FetchedByLearner, fetched),
                NodeId::Proposer(_) | NodeId::Learner(_) | NodeId::Client(_) => {
                    return self.count_fetched(Seen::FetchedFromPeer, fetched);
                }
            },
            Message::Learner(ToLearner::SnapshotFetch(fetch)) => {
                let changed = self.transfers.asked(from, to, !fetch.cursor.is_empty());
                return self.coverage.add(Seen::GiverChanged, u64::from(changed));
            }
            Message::Learner(ToLearner::SnapshotChunk(_)) => {
                if let Some((node, down_us)) = self.transfers.given(from, to) {
                    self.after(0, Event::Crash { node, down_us });
                }
                return;
            }
            Message::Learner(ToLearner::Forward(_)) => Seen::Forwarded,
            Message::Learner(ToLearner::Refused { reason: NotTaken::Busy { .. }, .. })
            | Message::Client(ToClient::Refused { reason: NotTaken::Busy { .. }, .. }) => Seen::Busy,
            Message::Client(ToClient::ReadReplies(replies)) => {
                let busy = replies.iter().filter(|reply| matches!(reply.outcome, ReadOutcome::Busy { .. }));
                return self.coverage.add(Seen::Busy, busy.count() as u64);
            }
            Message::Acceptor(_) | Message::Proposer(_) | Message::Learner(_) | Message::Client(_) => return,
        };
        self.see(seen);
    }

    fn count_fetched(&mut self, seen: Seen, fetched: &Fetched) {
        self.coverage.add(seen, fetched.values.len() as u64);
    }

    /// Somebody asks one of the servers how it is.
    pub(crate) fn ask(&mut self) -> Check {
        self.after(100_000, Event::Ask);
        let place = self.random.nodes.below(self.seating.count() - 1);
        let message = match self.nodes[place].id {
            NodeId::Acceptor(_) => Message::Acceptor(ToAcceptor::Status { request: 0 }),
            NodeId::Proposer(_) => Message::Proposer(ToProposer::Status { request: 0 }),
            NodeId::Learner(_) => Message::Learner(ToLearner::Status { request: 0 }),
            NodeId::Client(_) => return Ok(()),
        };
        self.put_in(place, Input::Message { from: NodeId::Client(OPERATOR), message });
        Ok(())
    }

    /// I14: what waits in a process keeps to its limits.
    fn check_health(&mut self, from: NodeId, message: &Message) -> Check {
        let Message::Client(ToClient::Status { status, .. }) = message else { return Ok(()) };
        self.see(Seen::Healthy);
        let (tuning, limits) = (&self.plan.cluster.tuning, &self.plan.cluster.limits);
        let in_flight_bytes = tuning.window_bytes + tuning.batch_bytes;
        let within = match status {
            Status::Acceptor(status) => status.highest >= status.held,
            Status::Proposer(status) => {
                status.in_flight <= tuning.window_slots
                    && status.queued_bytes <= tuning.queue_bytes
                    && status.retained_bytes <= tuning.retained_bytes + in_flight_bytes
            }
            Status::Learner(status) => {
                check(!status.in_doubt, "S7", || format!("{from} doubts its state: {status:?}"))?;
                status.waiting_reads <= tuning.waiting_reads && status.sessions <= limits.sessions
            }
        };
        check(within, "I14", || format!("{from} is over its limits: {status:?}"))
    }
}

/// A message must come out of its frame as it went in.
fn round_trip(message: &Message) -> Check {
    let mut frame = Vec::new();
    let mut values: Vec<Bytes> = Vec::new();
    wire::encode_frame(message, &mut frame, &mut |value: &Value| values.push(value.bytes().clone()));
    values.iter().for_each(|value| frame.extend_from_slice(value));
    let body = Bytes::from(frame).slice(4..);
    let back = match message {
        Message::Acceptor(_) => wire::decode_frame(body).map(Message::Acceptor),
        Message::Proposer(_) => wire::decode_frame(body).map(Message::Proposer),
        Message::Learner(_) => wire::decode_frame(body).map(Message::Learner),
        Message::Client(_) => wire::decode_frame(body).map(Message::Client),
    };
    match back {
        Ok(back) => check(back == *message, "wire", || format!("{message:?} came out as {back:?}")),
        Err(error) => Err(Violation { rule: "wire", what: format!("{message:?}: {error}") }),
    }
}
