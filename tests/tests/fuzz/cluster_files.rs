//! Cluster files as people write them.

use bolero::check;
use synod_protocol::Cluster;

use crate::{RANDOM_INPUTS, alone};

/// Refused with a text for a person, or read; what was read is the same every time.
#[test]
fn of_any_text() {
    let _alone = alone();
    check!().with_iterations(RANDOM_INPUTS).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        match (Cluster::parse(&text, &[]), Cluster::parse(&text, &[])) {
            (Ok(cluster), Ok(again)) => {
                assert_eq!(cluster.parameters_hash(), again.parameters_hash());
                assert!(cluster.nodes().all(|(node, address)| cluster.address(node) == Some(address)));
            }
            (Err(error), Err(_)) => assert!(!error.to_string().is_empty()),
            (one, other) => panic!("{one:?}, then {other:?}"),
        }
    });
}
