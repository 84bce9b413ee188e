//! S1 and S2 on a real acceptor: what it has promised and voted is still so after kill -9.

use bytes::Bytes;
use synod_protocol::link::Link;
use synod_protocol::message::{Accept, Message, Promise, ToAcceptor, ToProposer, Vote};
use synod_protocol::value::Entry;
use synod_protocol::{AcceptorId, Ballot, ProposerId, Slot, SlotRange, Value, wire};
use synod_tests::{DEADLINE, Daemons, dial_as};

const A1: AcceptorId = AcceptorId(1);
const P1: ProposerId = ProposerId(1);

async fn ask(link: &mut Link, question: ToAcceptor) -> ToProposer {
    link.outbox.push(&Message::Acceptor(question));
    link.outbox.flush().unwrap();
    let frame = tokio::time::timeout(DEADLINE, link.reader.next()).await.expect("an answer in time");
    wire::decode_frame(frame.expect("the acceptor keeps the connection").unwrap()).unwrap()
}

/// An acceptor that is open, as seen by p1.
async fn as_p1(daemons: &Daemons) -> Link {
    daemons
        .wait_for("a1 to listen", async |daemons| dial_as(P1.into(), &daemons.cluster, A1.into()).await.ok())
        .await
}

#[tokio::test]
async fn s2_promise_and_vote_outlive_kill_9() {
    let mut daemons = Daemons::prepare("votes", (1, 1, 1), "");
    daemons.start(A1);
    daemons.form().await;
    let low = Ballot { round: 5, proposer: P1, life: 1 };
    let high = Ballot { round: 9, proposer: P1, life: 1 };
    let value = Value::new(Bytes::from(vec![7; 100_000]));
    let mut link = as_p1(&daemons).await;
    let promise = ask(&mut link, ToAcceptor::Prepare { ballot: low, after: Slot::ZERO }).await;
    assert!(matches!(promise, ToProposer::Promise(Promise { ballot, .. }) if ballot == low), "{promise:?}");
    let entries = vec![Entry { slot: Slot(1), value: value.clone() }];
    let accept = ToAcceptor::Accept(Accept { ballot: low, chosen: Slot::ZERO, floor: Slot::FIRST, entries });
    let voted = ask(&mut link, accept).await;
    let slots = vec![SlotRange { first: Slot(1), last: Slot(1) }];
    let ToProposer::Accepted(voted) = voted else { panic!("{voted:?}") };
    assert_eq!((voted.ballot, voted.slots, voted.held), (low, slots, Slot::ZERO));
    let promise = ask(&mut link, ToAcceptor::Prepare { ballot: high, after: Slot::ZERO }).await;
    assert!(matches!(promise, ToProposer::Promise(Promise { ballot, .. }) if ballot == high), "{promise:?}");

    for _ in 0..3 {
        daemons.kill(A1);
        daemons.start(A1);
        let mut link = as_p1(&daemons).await;
        let nack = ask(&mut link, ToAcceptor::Prepare { ballot: low, after: Slot::ZERO }).await;
        assert_eq!(nack, ToProposer::Nack { ballot: low, promised: high });
        let ToProposer::Promise(promise) =
            ask(&mut link, ToAcceptor::Prepare { ballot: high, after: Slot::ZERO }).await
        else {
            panic!("the promised ballot itself was refused");
        };
        assert_eq!(promise.votes, [Vote { slot: Slot(1), ballot: low, value: value.clone() }]);
        assert!(promise.complete);
    }
}
