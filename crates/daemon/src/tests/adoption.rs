//! Proposers and learners take part only once a Phase-1 quorum of acceptors tells the same cluster (S12).

use synod_protocol::ProposerId;
use synod_protocol::hello::Refused;
use synod_protocol::message::{Subscribe, ToProposer, Wants};

use super::*;

const P1: ProposerId = ProposerId(1);

fn standing(cluster: Option<u128>, incarnation: u64, position: u64) -> Standing {
    Standing { cluster: cluster.map(ClusterId), incarnation, position, ..Standing::default() }
}

/// Takes the next call at an acceptor's address and answers it with `standing`.
async fn answer(
    world: &World,
    listener: &TcpListener,
    id: u16,
    standing: Standing,
) -> Result<Link, LinkError> {
    let (stream, _) = patient(listener.accept()).await.unwrap();
    let own = Own { standing, ..world.own(AcceptorId(id), None) };
    link::answer(stream, PATIENCE, |_| (own, Ok(()))).await
}

#[tokio::test]
async fn s12_links_come_up_only_after_a_quorum_of_equal_ids() {
    let mut world = World::new(3, "").await;
    let [a1, a2, a3] = [1, 2, 3].map(|id| world.listener(AcceptorId(id).into()));
    let mut proposer = world.run(P1, ToyPlan::<ToProposer>::default(), Disk::default());
    let _one = answer(&world, &a1, 1, standing(Some(7), 1, 1)).await.unwrap();
    let mut two = answer(&world, &a2, 2, standing(Some(8), 2, 1)).await.unwrap();
    let mut three = answer(&world, &a3, 3, standing(None, 0, 0)).await.unwrap();
    assert!(is_closed(&mut three).await, "an acceptor that isn't formed isn't kept");

    // Not ready for learners; clients may ask how it is.
    let learner = world.call(world.own(L1, Some(7)), P1).await;
    assert!(matches!(learner, Err(LinkError::Refused(Refused::NotReady { .. }))));
    let _client = world.call(world.own(CLIENT, None), P1).await.unwrap();
    assert_eq!(proposer.sees().await, Seen::Link(CLIENT.into(), true), "the first link of all");
    assert_eq!(proposer.door.own().standing.cluster, None);

    let mut three = answer(&world, &a3, 3, standing(Some(7), 3, 1)).await.unwrap();
    let mut up = [proposer.sees().await, proposer.sees().await].map(|seen| format!("{seen:?}"));
    up.sort();
    assert_eq!(up, ["Link(a1, true)", "Link(a3, true)"]);
    assert_eq!(proposer.door.own().standing.cluster, Some(ClusterId(7)));
    assert!(is_closed(&mut two).await, "a2 told another id");
    let _learner = world.call(world.own(L1, Some(7)), P1).await.unwrap();
    assert!(matches!(proposer.sees().await, Seen::Link(NodeId::Learner(_), true)));

    // By now its hello tells the cluster, so that a2 refuses it too.
    let other = answer(&world, &a2, 2, standing(Some(8), 2, 1)).await;
    assert!(matches!(other, Err(LinkError::Refused(Refused::OtherCluster { .. }))));
    send(
        &mut three,
        [Message::Proposer(ToProposer::Subscribe(Subscribe {
            next: Slot(1),
            synced: Slot::ZERO,
            pinned: None,
            wants: Wants::AtOnce,
        }))],
    );
    let message = ToProposer::Subscribe(Subscribe {
        next: Slot(1),
        synced: Slot::ZERO,
        pinned: None,
        wants: Wants::AtOnce,
    });
    assert_eq!(proposer.sees().await, Seen::Message(AcceptorId(3).into(), message));
}

#[tokio::test]
async fn s12_an_acceptor_whose_disk_went_back_is_not_used() {
    let mut world = World::new(1, "").await;
    let a1 = world.listener(A1.into());
    let mut proposer = world.run(P1, ToyPlan::<ToProposer>::default(), Disk::default());
    drop(answer(&world, &a1, 1, standing(Some(7), 5, 10)).await.unwrap());
    assert_eq!(proposer.sees().await, Seen::Link(A1.into(), true));
    assert_eq!(proposer.sees().await, Seen::Link(A1.into(), false));
    for position in [9, 11] {
        let mut back = answer(&world, &a1, 1, standing(Some(7), 5, position)).await.unwrap();
        assert!(is_closed(&mut back).await, "at {position}");
        let told = answer(&world, &a1, 1, standing(Some(7), 5, position)).await;
        assert!(matches!(told, Err(LinkError::Refused(Refused::RolledBack { .. }))), "at {position}");
    }
    let _other_disk = answer(&world, &a1, 1, standing(Some(7), 6, 1)).await.unwrap();
    assert_eq!(proposer.sees().await, Seen::Link(A1.into(), true));
    assert!(proposer.sees.try_recv().is_err(), "nothing was reported of the disk that went back");
}

#[tokio::test]
async fn a_learner_dials_acceptors_proposers_and_lower_learners_and_dials_again() {
    let mut world = World::new(1, "").await;
    let mut acceptor = world.acceptor(1, Disk::default());
    let mut proposer = world.run(P1, ToyPlan::<ToProposer>::default(), Disk::default());
    let mut first = world.run(L1, ToyPlan::<ToLearner>::default(), Disk::default());
    let l2 = LearnerId(2);
    let mut second = world.run(l2, ToyPlan::<ToLearner>::default(), Disk::default());
    let expected =
        |nodes: &[NodeId]| nodes.iter().map(|node| format!("Link({node}, true)")).collect::<Vec<_>>();
    let mut linked = Vec::new();
    for _ in 0..3 {
        linked.push(format!("{:?}", second.sees().await));
    }
    linked.sort();
    assert_eq!(linked, expected(&[A1.into(), L1.into(), P1.into()]));
    for _ in 0..3 {
        first.sees().await;
    }
    for _ in 0..3 {
        assert!(matches!(proposer.sees().await, Seen::Link(_, true)));
        assert!(matches!(acceptor.sees().await, Seen::Link(_, true)));
    }
    // The acceptor closes l2's connection, as if it had started again: l2 comes back by itself.
    let _usurper = world.call(world.own(l2, Some(7)), A1).await.unwrap();
    assert_eq!(second.sees().await, Seen::Link(A1.into(), false));
    assert_eq!(second.sees().await, Seen::Link(A1.into(), true));
}

#[test]
fn each_role_dials_those_below_it() {
    let mut text = String::from("name = \"x\"\n");
    for (place, table) in (1..).zip(["acceptors", "proposers", "learners"]) {
        for id in 1..=2 {
            text += &format!("[[{table}]]\nid = {id}\naddress = \"host:{place}{id}\"\n");
        }
    }
    let cluster = Cluster::parse(&text, &[]).unwrap();
    let dialed = |node: NodeId| {
        crate::dialer::below(node, &cluster)
            .iter()
            .map(|(node, _)| node.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(dialed(A1.into()), "");
    assert_eq!(dialed(P1.into()), "a1 a2");
    assert_eq!(dialed(L1.into()), "a1 a2 p1 p2");
    assert_eq!(dialed(LearnerId(2).into()), "a1 a2 p1 p2 l1");
}
