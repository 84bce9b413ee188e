//! Planted bugs (draft).
use crate::configurations::catching;
use crate::explore::{explore, lacking};
use crate::step::Witness;
use synod_planted::Bug;

#[test]
fn bugs() {
    let only = std::env::var("ONLY").unwrap_or_default();
    for bug in Bug::ALL.iter().copied().filter(|bug| only.is_empty() || bug.name() == only) {
        let Some(config) = catching(bug) else { continue };
        let found = explore(bug.name(), config, 2);
        match &found.broken {
            Some((rule, story)) => println!(
                "   {:?}: {}",
                rule,
                if only.is_empty() { story.lines().next().unwrap_or_default() } else { story.as_str() }
            ),
            None => println!("   NOT CAUGHT, lacking {:?}", lacking(&found, &[Witness::Chosen])),
        }
    }
}
