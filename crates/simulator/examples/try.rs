use synod_simulator::{Coverage, Plan, run};
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let mut cov = Coverage::default();
    let mut ev = 0;
    let t = std::time::Instant::now();
    let mut bad = 0;
    for seed in args[0]..args[0] + args[1] {
        let plan = Plan::draw(seed);
        let o = if args.len() > 2 {
            let mut f = |l: String| println!("{l}");
            run(&plan, Some(&mut f))
        } else {
            run(&plan, None)
        };
        ev += o.events;
        cov.merge(&o.coverage);
        if let Some(v) = o.violation {
            bad += 1;
            println!("seed {seed}: {v}  (events {}, {} ms)", o.events, o.virtual_us / 1000);
        }
    }
    println!("{cov}\nevents {ev} bad {bad} {:?}", t.elapsed());
}
