//! A disk that is really full: a small file system of its own for one acceptor's directory.
//!
//! Takes root and a loop device; where the machine has none, the test says SKIPPED, loudly, and shows nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use synod_client::{Client, Options};
use synod_protocol::AcceptorId;
use synod_protocol::message::{AcceptorStatus, Status};
use synod_tests::Daemons;

const A1: AcceptorId = AcceptorId(1);
/// Bytes of the file system.
const DISK_BYTES: u64 = 64 << 20;
/// Bytes of the file that takes up room on it until it is removed.
const BALLAST_BYTES: usize = 16 << 20;
const VALUE_BYTES: usize = 64 << 10;
/// Puts at once: small batches, beside which the next segment is prepared in time, or found to have no space.
const AT_ONCE: usize = 2;

/// A mounted file system; unmounted in the end.
struct Mounted(PathBuf);

impl Mounted {
    /// Makes a file system in a file beside `directory`, with what lies there, and mounts it in its place; or why not.
    fn over(directory: &Path) -> Result<Mounted, String> {
        let image = directory.with_extension("image");
        let file = std::fs::File::create(&image).and_then(|file| file.set_len(DISK_BYTES));
        file.map_err(|error| format!("{}: {error}", image.display()))?;
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-d"]).arg(directory).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(directory))?;
        Ok(Mounted(directory.to_path_buf()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(why) = run(Command::new("umount").arg("--lazy").arg(&self.0)) {
            eprintln!("left mounted: {why}");
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {said}")) }
}

async fn a1(daemons: &Daemons) -> Option<AcceptorStatus> {
    match daemons.status(A1).await {
        Some(Status::Acceptor(status)) => Some(status),
        _ => None,
    }
}

#[tokio::test]
async fn an_acceptor_whose_disk_is_full_votes_on_nothing_new_and_goes_on_when_there_is_space() {
    let mut daemons = Daemons::formed("full-disk", (3, 2, 1)).await;
    daemons.kill(A1);
    let directory = daemons.data_dir(A1);
    let mounted = match Mounted::over(&directory) {
        Ok(mounted) => mounted,
        Err(why) => {
            eprintln!("SKIPPED: a full disk needs root, mkfs.ext4 and a loop device: {why}");
            return;
        }
    };
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![7; BALLAST_BYTES]).unwrap();
    daemons.start(A1);
    daemons.wait_for("a1 to answer", a1).await;
    let pid = daemons.pids()[&A1.into()];

    // Written until it is full; the others serve, so that no put fails.
    let client = Client::connect(daemons.cluster.clone(), Options { deadline: Duration::from_secs(20) });
    let mut put = 0;
    loop {
        let puts = (put..put + AT_ONCE).map(|number| client.put(format!("k{number}"), vec![1; VALUE_BYTES]));
        let slots = join_all(puts).await.into_iter().map(|ended| ended.unwrap().slot);
        let last = slots.max().unwrap();
        put += AT_ONCE;
        // The others don't wait for it, but this test does.
        let status = daemons
            .wait_for("a1 to vote on it, or to be full", async |daemons| {
                a1(daemons).await.filter(|status| status.full || status.highest >= last)
            })
            .await;
        if status.full {
            break;
        }
        assert!((put * VALUE_BYTES) as u64 <= DISK_BYTES, "{put} puts fill no disk of {DISK_BYTES} bytes");
    }
    println!("full after {put} puts of {VALUE_BYTES} bytes");
    let last = client.put("last", vec![1; VALUE_BYTES]).await.unwrap();
    let full = a1(&daemons).await.unwrap();
    assert!(full.full && full.held < last.slot, "it voted on what it has no room for: {full:?}");
    assert!(daemons.log(A1).contains("the disk is full"), "{}", daemons.log(A1));

    // Room again: it takes up what it has missed by itself.
    std::fs::remove_file(&ballast).unwrap();
    daemons
        .wait_for("a1 to catch up", async |daemons| {
            a1(daemons).await.filter(|status| !status.full && status.held >= last.slot)
        })
        .await;
    assert_eq!(daemons.pids().get(&A1.into()), Some(&pid), "the same process");
    // The last write before the file system goes is the daemon's.
    daemons.kill_all();
    drop(mounted);
}
