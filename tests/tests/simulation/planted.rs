//! Planted bugs: each must break a promise within a bounded number of seeds; the same seeds without it break none.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use synod_planted::{Bug, plant};
use synod_simulator::{Plan, run};

/// Seeds within which a planted bug must show.
const MOST_SEEDS: u64 = 3000;
const LIST: &[Bug] = &[Bug::HintsAlwaysFollowed, Bug::SetbacksForgotten];

#[test]
fn explore() {
    let next = AtomicUsize::new(0);
    let out = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(bug) = LIST.get(at) else { return };
                    plant(Some(*bug));
                    let t = std::time::Instant::now();
                    let mut line = format!("{:36} not caught in {MOST_SEEDS}", bug.name());
                    for seed in 1..=MOST_SEEDS {
                        let o = run(&Plan::draw(seed), None);
                        if let Some(v) = o.violation {
                            line = format!(
                                "{:36} seed {seed} {}",
                                bug.name(),
                                v.to_string().chars().take(100).collect::<String>()
                            );
                            break;
                        }
                    }
                    plant(None);
                    out.lock().unwrap().push(format!("{line} {:?}", t.elapsed()));
                }
            });
        }
    });
    let mut out = out.into_inner().unwrap();
    out.sort();
    println!("{}", out.join("\n"));
}
