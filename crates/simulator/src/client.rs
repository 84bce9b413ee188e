//! Simulated callers: the client session that ships, with somebody behind it who puts, deletes and reads, and writes down all answers.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use synod_checker::{Call, CallId, Reply};
use synod_client::session::{Effect, Randomness, Session, Write};
use synod_client::{CallError, Ended, Failure, What};
use synod_protocol::message::Consistency;
use synod_protocol::{NodeId, Slot};

use crate::coverage::Seen;
use crate::node::{Input, Process, Timer};
use crate::plan::Us;
use crate::story::Teller;
use crate::violation::{Check, Violation, check};
use crate::world::World;

/// Keys are left behind after so long, so that calls with an unknown outcome don't pile up on one.
const KEY_LIFE_US: Us = 1_500_000;

/// Calls that the probe makes, all of which must end well.
pub(crate) const PROBES: u64 = 6;

/// A call under way.
pub(crate) struct UnderWay {
    /// Which of the client's callers waits for it.
    caller: u64,
    key: Bytes,
    /// Its place in the history; absent for a stale read, which promises less.
    call: Option<CallId>,
    what: Call,
}

/// A client.
pub(crate) struct ClientProcess {
    session: Session<u64>,
    under_way: BTreeMap<u64, UnderWay>,
    next_ticket: u64,
    /// Whether this one shows, after the faults, that every call ends well.
    pub(crate) is_probe: bool,
    /// Calls of a probe that ended well.
    pub(crate) answered: u64,
}

impl ClientProcess {
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }
}

impl<T: Teller> World<T> {
    /// A client begins, with all its callers.
    pub(crate) fn new_client(&mut self, is_probe: bool) -> ClientProcess {
        let deadline = Duration::from_micros(self.plan.workload.deadline_us.1);
        let seed = self.random.nodes.bits();
        let nonce = u128::from(self.random.nodes.bits()) << 64 | u128::from(self.random.nodes.bits());
        let session = Session::new(&self.plan.cluster, deadline, Randomness { seed, nonce });
        ClientProcess { session, under_way: BTreeMap::new(), next_ticket: 0, is_probe, answered: 0 }
    }

    /// One wake-up of a client: everything that has arrived, then one look at what is due.
    pub(crate) fn wake_client(&mut self, place: usize, inputs: Vec<Input>) -> Check {
        let Some(Process::Client(mut client)) = self.nodes[place].process.take() else { return Ok(()) };
        let now = Duration::from_micros(self.nodes[place].clock.local(self.now));
        for input in inputs {
            match input {
                Input::Message { from, message } => {
                    let synod_protocol::message::Message::Client(message) = message else { continue };
                    client.session.on_message(from, message, now);
                }
                Input::Link { peer, up: true } => client.session.on_link_up(peer),
                Input::Link { peer, up: false } => {
                    client.session.on_link_down(peer, "simulated".to_string(), now);
                }
                Input::Timer(Timer::Think(caller)) => self.call(place, &mut client, caller, now),
                Input::Timer(_) => {}
            }
        }
        client.session.step(now);
        let effects = client.session.take_effects();
        let wake = client.session.next_wake(now);
        let outcome =
            effects.into_iter().try_for_each(|effect| self.client_effect(place, &mut client, effect));
        self.nodes[place].process = Some(Process::Client(client));
        if let Some(wake) = wake {
            let local_us = wake.saturating_sub(now).as_micros() as u64 + 1;
            let us = self.nodes[place].clock.really(local_us);
            self.set_timer(place, Timer::Session, us);
        }
        outcome
    }

    fn client_effect(&mut self, place: usize, client: &mut ClientProcess, effect: Effect<u64>) -> Check {
        let id = self.nodes[place].id;
        match effect {
            Effect::Dial(peer) => {
                let us = self.random.nodes.between(50, 2_000);
                self.dial_after(place, self.place(peer), us);
            }
            Effect::HangUp(peer) => self.hang_up(place, self.place(peer)),
            Effect::Send(to, message) => return self.send(id, to, message, self.now),
            Effect::Ended(ticket, ended) => return self.client_ended(place, client, ticket, ended),
        }
        Ok(())
    }

    /// A caller has thought long enough.
    fn call(&mut self, place: usize, client: &mut ClientProcess, caller: u64, now: Duration) {
        let calls_on = if client.is_probe { client.next_ticket < PROBES } else { self.is_calling };
        if !calls_on {
            return;
        }
        let own_patience = 3 * self.patience_us();
        let random = &mut self.random.workload;
        let workload = &self.plan.workload;
        let (least, most) = workload.deadline_us;
        let patience = if client.is_probe { own_patience } else { random.between(least, most) };
        let deadline = now + Duration::from_micros(patience);
        let age = self.now / KEY_LIFE_US;
        let key = Bytes::from(format!("k{age}.{}", random.between(1, workload.keys)));
        let ticket = client.next_ticket;
        client.next_ticket += 1;
        // A probe puts and reads in turn.
        let kind = if client.is_probe { ticket % 2 * 999 } else { random.between(0, 999) };
        let mut stale = false;
        let what = if kind < workload.puts {
            let value = Bytes::from(format!("v{}.{ticket}", self.nodes[place].id));
            let write = Write::Put { key: key.clone(), value: value.clone() };
            client.session.write(ticket, write, deadline);
            Call::Put(value)
        } else if kind < workload.puts + workload.deletes {
            client.session.write(ticket, Write::Delete { key: key.clone() }, deadline);
            Call::Delete
        } else {
            stale = !client.is_probe && random.happens(100);
            let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
            client.session.read(ticket, key.clone(), consistency, deadline);
            Call::Get
        };
        let tick = self.tick();
        let who = place as u64;
        let call = (!stale).then(|| self.history.call(who, key.clone(), what.clone(), tick));
        client.under_way.insert(ticket, UnderWay { caller, key, call, what });
    }

    fn client_ended(&mut self, place: usize, client: &mut ClientProcess, ticket: u64, ended: Ended) -> Check {
        let Some(call) = client.under_way.remove(&ticket) else {
            return Err(Violation { rule: "I9", what: "a call has ended twice".to_string() });
        };
        let think = self.random.workload.between(0, self.plan.workload.think_us);
        self.set_timer(place, Timer::Think(call.caller), think);
        let tick = self.tick();
        self.story.ended(self.now, self.nodes[place].id, &call.key, &ended);
        if client.is_probe {
            client.answered += 1;
            check(ended.is_ok(), "I15", || format!("a call that began after the faults ended as {ended:?}"))?;
        }
        match ended {
            Ok(answer) => self.client_answered(&call, &answer.value, answer.slot, tick),
            Err(CallError::Unknown) => {
                self.coverage.see(Seen::CallUnknown);
                call.call.into_iter().for_each(|call| self.history.unknown(call, tick));
                check(call.what != Call::Get, "I9", || "a read ended as unknown".to_string())
            }
            Err(CallError::Failed(failure)) => {
                self.coverage.see(Seen::CallFailed);
                self.coverage.add(Seen::Busy, u64::from(failure == Failure::Busy));
                call.call.into_iter().for_each(|call| self.history.failed(call, tick));
                Ok(())
            }
        }
    }

    fn client_answered(&mut self, call: &UnderWay, what: &What, slot: Slot, tick: u64) -> Check {
        self.coverage.see(Seen::CallOk);
        let reply = match what {
            What::Put { .. } => Reply::Put,
            What::Deleted { revision } => Reply::Deleted { existed: revision.is_some() },
            What::Value(record) => {
                self.coverage.see(if call.call.is_some() { Seen::ReadOk } else { Seen::ReadStale });
                let right = self.ledger.record_at(&call.key, slot);
                check(right == record.as_ref(), "I13", || {
                    format!("a read of {:?} at slot {slot} found {record:?}, there was {right:?}", call.key)
                })?;
                Reply::Found(record.as_ref().map(|record| record.value.clone()))
            }
            What::Restored | What::Renewed | What::Closed => {
                return Err(Violation { rule: "I9", what: format!("a caller was answered {what:?}") });
            }
        };
        call.call.into_iter().for_each(|call| self.history.ok(call, reply.clone(), Some(slot.0), tick));
        Ok(())
    }

    /// Where a process sits.
    pub(crate) fn place(&self, node: NodeId) -> usize {
        self.seating.place(node)
    }
}
