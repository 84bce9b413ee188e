//! S12: an acceptor whose disk was replaced, or went back, is told to stop by whoever dials it, and does.

use synod_protocol::hello::Refused;
use synod_protocol::message::ToProposer;
use synod_protocol::{Ballot, DiskAt, Incarnation, ProposerId};

use super::*;

const P1: ProposerId = ProposerId(1);

fn since() -> Ballot {
    Ballot { round: 3, proposer: P1, life: 1 }
}

fn replaced(cluster: u128, disk: u64) -> Refused {
    let cluster = ClusterId(cluster);
    Refused::Replaced { refused_by: P1.into(), cluster, disk, by: DiskId(9), since: since() }
}

/// Takes the next call at an acceptor's address; what it is refused with, if that is what the caller says.
async fn called(world: &World, listener: &TcpListener, standing: Standing) -> Result<Link, Refused> {
    let (stream, _) = patient(listener.accept()).await.unwrap();
    let own = Own { standing, ..world.own(A1, None) };
    match link::answer(stream, PATIENCE, |_| (own, Ok(()))).await {
        Ok(link) => Ok(link),
        Err(LinkError::Refused(refused)) => Err(refused),
        Err(error) => panic!("{error}"),
    }
}

fn standing(incarnation: u64, position: u64) -> Standing {
    Standing { cluster: Some(ClusterId(7)), incarnation, position, ..Standing::default() }
}

#[tokio::test]
async fn s12_an_acceptor_told_that_its_disk_was_replaced_ends_with_what_to_do() {
    for refused in [
        replaced(7, 1),
        Refused::RolledBack { refused_by: P1.into(), cluster: ClusterId(7), disk: 1, known: 9, told: 1 },
    ] {
        let mut world = World::new(1, "").await;
        let acceptor = world.acceptor(1, Disk::default());
        for other in [replaced(8, 1), replaced(7, 2), Refused::NotReady { refused_by: P1.into() }] {
            link::refuse(&world.address(A1), other, PATIENCE).await.unwrap();
            let mut link = world.call(world.own(CLIENT, None), A1).await.unwrap();
            assert!(answers_status(&mut link, 1).await, "that is for another disk, cluster or process");
        }
        link::refuse(&world.address(A1), refused, PATIENCE).await.unwrap();
        let why = patient(acceptor.task).await.unwrap().unwrap_err().to_string();
        assert!(why.contains("S12") && why.contains("readmit-acceptor"), "{why}");
    }
}

#[tokio::test]
async fn s12_a_replaced_disk_is_told_so_by_whoever_dials_it_and_never_used() {
    let mut world = World::new(1, "").await;
    let a1 = world.listener(A1.into());
    let mut proposer = world.run(P1, ToyPlan::<ToProposer>::default(), Disk::default());
    let mut table = Incarnations::default();
    table.note(A1, Incarnation::new(since(), DiskId(6)));
    proposer.door.note_incarnations(&table);
    let mut old = called(&world, &a1, standing(5, 1)).await.unwrap();
    assert!(is_closed(&mut old).await);
    let told = called(&world, &a1, standing(5, 1)).await.map(|_| ()).unwrap_err();
    let expected = Refused::Replaced {
        refused_by: P1.into(),
        cluster: ClusterId(7),
        disk: 5,
        by: DiskId(6),
        since: since(),
    };
    assert_eq!(told, expected);
    let _new = called(&world, &a1, standing(6, 1)).await.unwrap();
    assert_eq!(proposer.sees().await, Seen::Link(A1.into(), true), "the first link of all");
}

/// Something a proposer takes.
fn reply(probe: u64) -> Message {
    Message::Proposer(ToProposer::ProbeReply { probe, promised: Ballot::NONE, silent: false })
}

/// Seen by the proposer, of a1's link.
async fn hears(proposer: &mut Running<ToProposer>, probe: u64) {
    let seen = proposer.sees().await;
    assert!(
        matches!(&seen, Seen::Message(_, ToProposer::ProbeReply { probe: told, .. }) if *told == probe),
        "{seen:?}"
    );
}

#[tokio::test]
async fn s12_a_link_in_use_is_hung_up_when_its_disk_turns_out_to_be_replaced_and_no_other_is() {
    let mut world = World::new(1, "").await;
    let a1 = world.listener(A1.into());
    let mut proposer = world.run(P1, ToyPlan::<ToProposer>::default(), Disk::default());
    let mut old = called(&world, &a1, standing(5, 1)).await.unwrap();
    assert_eq!(proposer.sees().await, Seen::Link(A1.into(), true));
    proposer.told.lock().unwrap().note(A1, Incarnation::new(since(), DiskId(6)));
    send(&mut old, [reply(1)]);
    hears(&mut proposer, 1).await;
    assert_eq!(proposer.sees().await, Seen::Link(A1.into(), false));
    assert!(is_closed(&mut old).await);
    let mut again = called(&world, &a1, standing(5, 1)).await.unwrap();
    assert!(is_closed(&mut again).await, "its hello tells the same");
    let refused = called(&world, &a1, standing(5, 1)).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, Refused::Replaced { disk: 5, by: DiskId(6), .. }), "{refused:?}");

    // Readmitted again, which this proposer hasn't heard of: what it has heard of is older, and stays so when it is told more of it.
    let later = Ballot { round: since().round + 1, ..since() };
    let newer = Standing { since: later, ..standing(8, 1) };
    let mut link = called(&world, &a1, newer).await.unwrap();
    assert_eq!(proposer.sees().await, Seen::Link(A1.into(), true));
    let further = DiskAt { id: DiskId(6), position: 500 };
    assert!(proposer.told.lock().unwrap().reached(A1, further));
    for probe in 2..5 {
        send(&mut link, [reply(probe)]);
        hears(&mut proposer, probe).await;
    }
    proposer.told.lock().unwrap().note(A1, Incarnation::new(later, DiskId(8)));
    send(&mut link, [reply(5), reply(6)]);
    hears(&mut proposer, 5).await;
    hears(&mut proposer, 6).await;
    send(&mut link, [reply(7)]);
    hears(&mut proposer, 7).await;
}

#[tokio::test]
async fn s12_a_disk_that_went_back_is_told_so() {
    let mut world = World::new(1, "").await;
    let a1 = world.listener(A1.into());
    let mut proposer = world.run(P1, ToyPlan::<ToProposer>::default(), Disk::default());
    drop(called(&world, &a1, standing(5, 10)).await.unwrap());
    assert_eq!(proposer.sees().await, Seen::Link(A1.into(), true));
    assert_eq!(proposer.sees().await, Seen::Link(A1.into(), false));
    let mut back = called(&world, &a1, standing(5, 9)).await.unwrap();
    assert!(is_closed(&mut back).await);
    let told = called(&world, &a1, standing(5, 9)).await.map(|_| ()).unwrap_err();
    let cluster = ClusterId(7);
    assert_eq!(told, Refused::RolledBack { refused_by: P1.into(), cluster, disk: 5, known: 10, told: 9 });
}

/// An acceptor that was readmitted a second time, and a proposer that has heard of the first time alone: the disk that counts must go on.
#[tokio::test]
async fn s12_whoever_is_behind_stops_no_acceptor() {
    let mut world = World::new(1, "").await;
    let later = Ballot { round: since().round + 1, ..since() };
    let standing = Standing { since: later, ..standing(1, 1) };
    let plan = ToyPlan { standing, on_message: Box::new(answers), ..ToyPlan::default() };
    let acceptor = world.run(A1, plan, Disk::default());
    link::refuse(&world.address(A1), replaced(7, 1), PATIENCE).await.unwrap();
    let mut link = world.call(world.own(CLIENT, None), A1).await.unwrap();
    assert!(answers_status(&mut link, 1).await, "it was readmitted since");
    let newest = Refused::Replaced {
        refused_by: P1.into(),
        cluster: ClusterId(7),
        disk: 1,
        by: DiskId(9),
        since: Ballot { round: later.round + 1, ..later },
    };
    link::refuse(&world.address(A1), newest, PATIENCE).await.unwrap();
    assert!(patient(acceptor.task).await.unwrap().is_err(), "it was replaced since");
}
