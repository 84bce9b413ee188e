//! Readmission broken off after each of its steps and repeated, the old disk beside the new one, and what is said when it is refused (S12).

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use synod_client::ask;
use synod_client::readmission::{PATIENCE, ReadmitError, Readmitted, readmit};
use synod_protocol::message::{FormStep, Formation, PhaseName, Readmission, Status};
use synod_protocol::{AcceptorId, DiskId, NodeId, ProposerId};
use synod_tests::{Block, Daemons};

const A2: AcceptorId = AcceptorId(2);
const STEP: Duration = Duration::from_secs(5);

async fn formation(daemons: &Daemons) -> Option<Formation> {
    match daemons.status(A2).await {
        Some(Status::Acceptor(acceptor)) => Some(acceptor.formation),
        _ => None,
    }
}

fn signal(daemons: &Daemons, node: ProposerId, signal: &str) {
    let pid = daemons.pids()[&node.into()].to_string();
    assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

/// Starts a2 with an empty directory; what it had is moved aside.
async fn wipe(daemons: &mut Daemons, aside: &str) -> PathBuf {
    daemons.kill(A2);
    let kept = daemons.folder.join(aside);
    std::fs::rename(daemons.data_dir(A2), &kept).unwrap();
    daemons.start(A2);
    let formation = daemons.wait_for("a2 to answer", formation).await;
    assert_eq!(formation, Formation::Empty);
    kept
}

async fn replaced(daemons: &Daemons, disk: DiskId) -> Formation {
    let step = FormStep::Replace { disk };
    let (formation, refused) = ask::form(&daemons.cluster, A2, step, STEP).await.unwrap();
    assert_eq!(refused, None);
    formation
}

#[tokio::test]
async fn s12_a_readmission_broken_off_after_any_step_is_finished_by_running_it_again() {
    let mut daemons = Daemons::formed("readmission-steps", (3, 2, 1)).await;
    let client = synod_client::Client::connect(daemons.cluster.clone(), synod_client::Options::default());
    client.put("before", "1").await.unwrap();
    let run = async |daemons: &Daemons| readmit(&daemons.cluster, A2, PATIENCE, |_| {}).await.unwrap();
    let first = wipe(&mut daemons, "first").await;

    // Killed after the disk got its name; named again, it keeps the name, and it is lost on no restart.
    let disk = DiskId(21);
    assert_eq!(replaced(&daemons, disk).await, Formation::Replaced { disk });
    assert_eq!(replaced(&daemons, DiskId(22)).await, Formation::Replaced { disk });
    daemons.kill(A2);
    daemons.start(A2);
    let waits = daemons.wait_for("a2 to answer", formation).await;
    assert_eq!(waits, Formation::Replaced { disk });
    // Killed after the leader had granted it, before the acceptor heard of it.
    daemons
        .wait_for("a leader to grant it", async |daemons| {
            let (leader, _) = daemons.leader().await?;
            match ask::readmit(&daemons.cluster, leader, A2, disk, STEP).await.ok()? {
                Readmission::Granted(_) => Some(()),
                Readmission::UnderWay { .. } | Readmission::NotLeading { .. } => None,
                Readmission::Refused { why } => panic!("{why}"),
            }
        })
        .await;
    assert_eq!(formation(&daemons).await, Some(Formation::Replaced { disk }));
    client.put("meanwhile", "2").await.unwrap();
    // Run again, it finishes that; and once more, it does nothing.
    assert_eq!(run(&daemons).await, Readmitted { disk, already: false });
    assert_eq!(run(&daemons).await, Readmitted { disk, already: true });

    // The same acceptor loses its disk a second time, while the proposer that readmitted the first one sleeps. Awake again, it knows of the first one
    // alone, and what it says of that stops nobody.
    let (asleep, _) = daemons.wait_for_leader().await;
    signal(&daemons, asleep, "-STOP");
    let other = daemons.cluster.proposers.keys().copied().find(|other| *other != asleep).unwrap();
    daemons
        .wait_for("the other proposer to lead", async |daemons| match daemons.status(other).await? {
            Status::Proposer(status) => (status.phase == PhaseName::Leading).then_some(()),
            Status::Acceptor(_) | Status::Learner(_) => None,
        })
        .await;
    let second = wipe(&mut daemons, "second").await;
    let third = run(&daemons).await;
    assert!(!third.already && third.disk != disk, "{third:?}");
    let dialed = |daemons: &Daemons| {
        let log = daemons.log(asleep);
        log.matches("connected peer=a2").count() + log.matches("a2 is told to stop").count()
    };
    let before = dialed(&daemons);
    signal(&daemons, asleep, "-CONT");
    daemons.wait_for("it to dial a2", async |daemons| (dialed(daemons) > before).then_some(())).await;
    client.put("after", "3").await.unwrap();
    daemons.wait_for("a2 to be in", async |daemons| daemons.status(A2).await).await;

    // Old disks come back beside the new one, where a proposer with an outdated cluster file finds them: they are told to stop.
    for (number, old) in [(1, &first), (2, &second)] {
        let ports = Block::claim();
        let address = ports.addresses().next().unwrap().to_string();
        let text = std::fs::read_to_string(&daemons.file).unwrap();
        let text = text.replace(daemons.cluster.address(A2.into()).unwrap(), &address);
        let file = daemons.folder.join(format!("outdated-{number}.toml"));
        std::fs::write(&file, text).unwrap();
        let beside = Mutex::new(daemons.daemon(A2.into(), &file, old).spawn().unwrap());
        let p2 = NodeId::from(ProposerId(2));
        daemons.kill(p2);
        // It has to lead, and so hears which disk counts.
        daemons.kill(ProposerId(1));
        let mut outdated = daemons.daemon(p2, &file, &daemons.data_dir(p2)).spawn().unwrap();
        let ended = daemons.wait_for("the old disk to be told to stop", async |_| {
            beside.lock().unwrap().try_wait().unwrap()
        });
        let code = ended.await.code();
        assert_eq!(code, Some(1), "{}", daemons.log(A2));
        assert!(daemons.log(A2).contains("was replaced by disk"), "{}", daemons.log(A2));
        outdated.kill().unwrap();
        outdated.wait().unwrap();
        daemons.start_all();
        client.put("served", format!("{number}")).await.unwrap();
    }
    for (key, value) in [("before", "1"), ("meanwhile", "2"), ("after", "3")] {
        assert_eq!(client.get(key).await.unwrap().value.as_deref(), Some(value.as_bytes()));
    }
}

#[tokio::test]
async fn s12_a_refused_readmission_says_why_and_what_to_do() {
    let mut daemons = Daemons::formed("readmission-refused", (3, 1, 1)).await;
    let refused = async |daemons: &Daemons| {
        let patience = Duration::from_millis(500);
        readmit(&daemons.cluster, A2, patience, |_| {}).await.unwrap_err()
    };
    // Not enough others: nobody can lead.
    wipe(&mut daemons, "old").await;
    daemons.kill(AcceptorId(3));
    daemons.wait_for("nobody to lead", async |daemons| daemons.leader().await.is_none().then_some(())).await;
    let error = refused(&daemons).await;
    assert!(matches!(error, ReadmitError::NoLeader(..)), "{error}");
    assert!(error.to_string().contains("run this again once the cluster has a leader"), "{error}");
    // What was begun then is gone on with as soon as there are enough.
    daemons.start(AcceptorId(3));
    daemons.wait_for_leader().await;
    assert!(!readmit(&daemons.cluster, A2, PATIENCE, |_| {}).await.unwrap().already);

    // A disk that isn't new: under a formation of its own.
    wipe(&mut daemons, "older").await;
    let step = FormStep::Prepare { formation: 9, disk: DiskId(31) };
    let (prepared, _) = ask::form(&daemons.cluster, A2, step, STEP).await.unwrap();
    assert!(matches!(prepared, Formation::Prepared { .. }), "{prepared:?}");
    let error = refused(&daemons).await;
    assert!(error.to_string().contains("empty its data directory"), "{error}");

    // It doesn't run.
    daemons.kill(A2);
    let error = refused(&daemons).await;
    assert!(error.to_string().contains("start it with an empty data directory"), "{error}");
}
