//! The plan, over every combination of states of three acceptors.

use super::*;

const FRESH: u128 = 9;
const OURS: u128 = 5;
const OTHER: u128 = 6;

fn disk(id: u16) -> DiskId {
    DiskId(u64::from(id) * 11)
}

fn table() -> Vec<(AcceptorId, DiskId)> {
    (1..=3).map(|id| (AcceptorId(id), disk(id))).collect()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Empty,
    Prepared,
    /// Prepared under another formation.
    PreparedOther,
    /// Prepared under the formation, but with a disk that the open ones don't know.
    PreparedOtherDisk,
    Open,
    OpenOther,
}

const KINDS: [Kind; 6] =
    [Kind::Empty, Kind::Prepared, Kind::PreparedOther, Kind::PreparedOtherDisk, Kind::Open, Kind::OpenOther];

fn state(id: u16, kind: Kind) -> Formation {
    let open = |formation, cluster| Formation::Open {
        formation,
        disk: disk(id),
        disks: table(),
        cluster: ClusterId(cluster),
    };
    match kind {
        Kind::Empty => Formation::Empty,
        Kind::Prepared => Formation::Prepared { formation: OURS, disk: disk(id) },
        Kind::PreparedOther => Formation::Prepared { formation: OTHER, disk: disk(id) },
        Kind::PreparedOtherDisk => Formation::Prepared { formation: OURS, disk: DiskId(999) },
        Kind::Open => open(OURS, 1),
        Kind::OpenOther => open(OTHER, 2),
    }
}

fn combinations() -> impl Iterator<Item = [Kind; 3]> {
    KINDS
        .into_iter()
        .flat_map(|a| KINDS.into_iter().flat_map(move |b| KINDS.into_iter().map(move |c| [a, b, c])))
}

fn planned(kinds: [Kind; 3]) -> Result<Plan, FormError> {
    let states = (1..).zip(kinds).map(|(id, kind)| (AcceptorId(id), state(id, kind))).collect();
    plan(&states, FRESH)
}

#[test]
fn s12_an_empty_acceptor_is_never_prepared_once_any_is_open() {
    let mut refused = 0;
    for kinds in combinations() {
        let open = kinds.iter().any(|kind| matches!(kind, Kind::Open | Kind::OpenOther));
        let planned = planned(kinds);
        if open && kinds.contains(&Kind::Empty) {
            refused += 1;
            assert!(
                matches!(planned, Err(FormError::LostDisk(_) | FormError::DifferentClusters(_))),
                "{kinds:?}: {planned:?}"
            );
        } else if open {
            assert!(!matches!(planned, Ok(Plan::Prepare { .. })), "{kinds:?}: {planned:?}");
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn s12_none_is_opened_before_all_are_prepared_under_one_formation() {
    for kinds in combinations() {
        let Ok(Plan::Open { formation, disks, prepared }) = planned(kinds) else { continue };
        assert!(!kinds.contains(&Kind::Empty), "{kinds:?}");
        let mut formations: Vec<_> = (1..)
            .zip(kinds)
            .map(|(id, kind)| match state(id, kind) {
                Formation::Empty | Formation::Replaced { .. } => panic!("{kinds:?}"),
                Formation::Prepared { formation, .. } | Formation::Open { formation, .. } => formation,
            })
            .collect();
        formations.dedup();
        assert_eq!(formations, [formation], "{kinds:?}");
        assert_eq!(disks.len(), 3);
        for (id, kind) in (1..).zip(kinds) {
            let id = AcceptorId(id);
            let open = matches!(kind, Kind::Open | Kind::OpenOther);
            assert_eq!(prepared.contains(&id), !open, "{kinds:?}");
            let known = state(id.0, kind).disk().unwrap();
            assert!(disks.contains(&(id, known)), "{kinds:?}");
        }
    }
}

#[test]
fn each_combination_has_its_plan() {
    use Kind::*;
    let all = |empty: &[u16]| empty.iter().map(|id| AcceptorId(*id)).collect::<Vec<_>>();
    assert_eq!(
        planned([Empty, Empty, Empty]).unwrap(),
        Plan::Prepare { formation: FRESH, empty: all(&[1, 2, 3]) }
    );
    assert_eq!(
        planned([Prepared, Empty, Prepared]).unwrap(),
        Plan::Prepare { formation: OURS, empty: all(&[2]) }
    );
    let open = |prepared: &[u16]| Plan::Open { formation: OURS, disks: table(), prepared: all(prepared) };
    assert_eq!(planned([Prepared, Prepared, Prepared]).unwrap(), open(&[1, 2, 3]));
    assert_eq!(planned([Prepared, Open, Prepared]).unwrap(), open(&[1, 3]));
    assert_eq!(planned([Open, Open, Open]).unwrap(), Plan::Formed(ClusterId(1)));
    assert!(matches!(planned([Prepared, PreparedOther, Empty]), Err(FormError::Mixed(_))));
    assert!(
        matches!(planned([Open, PreparedOther, Open]), Err(FormError::Stranger(Named(ids))) if ids == all(&[2]))
    );
    assert!(
        matches!(planned([Open, Open, PreparedOtherDisk]), Err(FormError::Stranger(Named(ids))) if ids == all(&[3]))
    );
    assert!(
        matches!(planned([Open, Empty, Prepared]), Err(FormError::LostDisk(Named(ids))) if ids == all(&[2]))
    );
    assert!(matches!(planned([Open, OpenOther, Prepared]), Err(FormError::DifferentClusters(_))));
}

#[test]
fn s12_a_disk_that_waits_to_be_readmitted_is_never_formed() {
    for others in [Kind::Empty, Kind::Prepared, Kind::Open] {
        let mut states: BTreeMap<_, _> = (1..=3).map(|id| (AcceptorId(id), state(id, others))).collect();
        states.insert(AcceptorId(2), Formation::Replaced { disk: DiskId(9) });
        let refused = plan(&states, OURS).unwrap_err().to_string();
        assert!(refused.contains("a2") && refused.contains("readmit-acceptor"), "{refused}");
    }
}
