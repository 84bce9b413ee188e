//! The trials of the two engines side by side; also run with bugs planted.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use synod_engine::{DiskSnapshot, DiskStorage, EngineError, Options, open};
use synod_protocol::cluster::Limits;
use synod_protocol::{Slot, Value};
use synod_store::{Builder, Cursor, Image, MemoryStorage, Snapshot, StateMachine, Storage};

use super::support::{LIMITS, Log, Random};

thread_local! {
    static RUNS: Cell<u64> = const { Cell::new(0) };
}

/// How many stores were opened since the last call.
pub(crate) fn take_runs() -> u64 {
    RUNS.take()
}

const SMALL: Options = Options { cache_bytes: 1 << 20, spill_bytes: 2_000, most_overlay_bytes: 1 << 30 };

/// A folder of its own, empty, and gone when the test has passed.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "{name}-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }

    fn open(&self) -> StateMachine<DiskStorage> {
        RUNS.set(RUNS.get() + 1);
        open(&self.0, LIMITS, SMALL).expect("I10: a store that was kept opens again")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

fn chunks<T: Snapshot>(image: &Image<T>, most_bytes: u64) -> Vec<Bytes> {
    let (mut chunks, mut at) = (Vec::new(), Some(Cursor::start()));
    while let Some(cursor) = at {
        let chunk = image.chunk(&cursor, most_bytes);
        chunks.push(chunk.bytes);
        at = chunk.next;
    }
    chunks
}

fn assert_equal(disk: &StateMachine<DiskStorage>, memory: &StateMachine<MemoryStorage>) {
    assert_eq!(
        (disk.applied(), disk.chain(), disk.revision()),
        (memory.applied(), memory.chain(), memory.revision())
    );
    assert_eq!(disk.storage().len(), memory.storage().len());
    memory.image().keys().scan(None, |key, record| {
        assert_eq!(disk.get(key), Some(record.to_record()), "the engines hold different records");
        ControlFlow::Continue(())
    });
    assert!(chunks(&disk.image(), 300) == chunks(&memory.image(), 300), "images differ");
}

/// The two, the log so far, and a checkpoint that has begun.
struct Sides {
    folder: Folder,
    disk: Option<StateMachine<DiskStorage>>,
    memory: StateMachine<MemoryStorage>,
    log: Vec<(Slot, Value)>,
    begun: Option<Image<DiskSnapshot>>,
    kept: Slot,
}

impl Sides {
    fn apply(&mut self, slot: Slot, value: Value) {
        let applied = self.memory.apply(slot, &value);
        let same = self.disk.as_mut().unwrap().apply(slot, &value) == applied;
        assert!(same, "S7: the engines answer differently");
        self.log.push((slot, value));
    }

    fn begin(&mut self) {
        let disk = self.disk.as_mut().unwrap();
        self.begun.get_or_insert_with(|| disk.checkpoint());
    }

    fn keep(&mut self, tell: bool) {
        let Some(image) = self.begun.take() else { return };
        let disk = self.disk.as_mut().unwrap();
        disk.storage().vault().keep(&image).unwrap();
        disk.storage().vault().compact().unwrap();
        self.kept = image.applied();
        drop(image);
        if tell {
            disk.checkpointed();
        } else {
            // The process ends between the two.
            self.restart();
        }
    }

    /// Opens the store again and learns what came after its checkpoint.
    fn restart(&mut self) {
        (self.begun, self.disk) = (None, None);
        let mut disk = self.folder.open();
        assert_eq!(disk.applied(), self.kept, "I10: it opens at its last checkpoint");
        for (slot, value) in &self.log[self.kept.0 as usize..] {
            disk.apply(*slot, value);
        }
        assert_eq!(disk.chain(), self.memory.chain(), "S7: what was learned again is another state");
        self.disk = Some(disk);
    }
}

/// A random log on both, with checkpoints, restarts and images at random moments.
pub(crate) fn a_random_log(seed: u64) {
    let folder = Folder::new(&format!("side-by-side-{seed}"));
    let disk = Some(folder.open());
    let memory = StateMachine::new(LIMITS, MemoryStorage::default());
    let mut sides = Sides { folder, disk, memory, log: Vec::new(), begun: None, kept: Slot::ZERO };
    let (mut log, mut random) = (Log::new(seed), Random(!seed));
    let mut older: Option<(Image<DiskSnapshot>, StateMachine<MemoryStorage>)> = None;
    for _ in 0..400 {
        let (slot, value) = log.slot();
        sides.apply(slot, value);
        match random.below(40) {
            0..3 => sides.begin(),
            3 | 4 => sides.keep(true),
            5 => {
                older = None;
                sides.keep(false);
            }
            6 => {
                older = None;
                sides.restart();
            }
            7 => assert_equal(sides.disk.as_ref().unwrap(), &sides.memory),
            8 => older = Some((sides.disk.as_ref().unwrap().image(), sides.memory.clone())),
            9 => {
                // An image stays as it was; changes since it are right whatever was checkpointed meanwhile.
                let Some((image, then)) = older.take() else { continue };
                assert!(chunks(&image, 300) == chunks(&then.image(), 300), "an image has changed");
                let now = sides.disk.as_ref().unwrap().image();
                let mut builder = Builder::on(then);
                builder
                    .take(&now.changes_since(&image.mark()).chunk(&Cursor::start(), u64::MAX).bytes)
                    .unwrap();
                assert_eq!(builder.finish().unwrap(), sides.memory);
            }
            _ => {}
        }
    }
    assert_equal(sides.disk.as_ref().unwrap(), &sides.memory);
    drop(older);
    sides.restart();
    assert_equal(sides.disk.as_ref().unwrap(), &sides.memory);
}

/// An image stays as it was through many checkpoints whose tables are merged.
pub(crate) fn an_image_that_is_held() {
    let folder = Folder::new("held");
    let (mut disk, mut memory) = (folder.open(), StateMachine::new(LIMITS, MemoryStorage::default()));
    let (mut log, mut held) = (Log::new(3), Vec::new());
    for _ in 0..20 {
        for _ in 0..20 {
            let (slot, value) = log.slot();
            disk.apply(slot, &value);
            memory.apply(slot, &value);
        }
        let image = disk.checkpoint();
        disk.storage().vault().keep(&image).unwrap();
        disk.checkpointed();
        drop(image);
        held.push((disk.image(), chunks(&memory.image(), 300)));
        disk.storage().vault().compact().unwrap();
        assert!(held.iter().all(|(image, then)| chunks(image, 300) == *then), "S7: an image has changed");
    }
}

fn filled(name: &str, slots: u64) -> (Folder, StateMachine<MemoryStorage>) {
    let folder = Folder::new(name);
    let mut log = Log::new(1);
    let mut memory = StateMachine::new(LIMITS, MemoryStorage::default());
    for _ in 0..slots {
        let (slot, value) = log.slot();
        memory.apply(slot, &value);
    }
    (folder, memory)
}

/// A state is built of the other engine's image.
pub(crate) fn built_of_an_image() {
    let (folder, memory) = filled("built", 300);
    let chunks = chunks(&memory.image(), 200);
    let build = || {
        let mut builder = Builder::around(LIMITS, open_storage(&folder));
        chunks.iter().for_each(|chunk| builder.take(chunk).unwrap());
        builder.finish().unwrap()
    };
    drop(build());
    assert_eq!(folder.open().storage().len(), 0, "keys without a checkpoint are no state");
    let mut disk = build();
    assert!(disk.storage().overlay_bytes() <= 2 * SMALL.spill_bytes, "keys are spilled as they come");
    let image = disk.checkpoint();
    disk.storage().vault().keep(&image).unwrap();
    disk.checkpointed();
    drop((image, disk));
    assert_equal(&folder.open(), &memory);
}

fn open_storage(folder: &Folder) -> DiskStorage {
    folder.open().into_storage()
}

/// Limits under which a store can't be opened.
pub(crate) fn refused_limits() {
    let folder = Folder::new("limits");
    let mut disk = folder.open();
    let image = disk.checkpoint();
    disk.storage().vault().keep(&image).unwrap();
    drop((image, disk));
    let other = Limits { sessions: 9, ..LIMITS };
    assert!(matches!(open(&folder.0, other, SMALL), Err(EngineError::Image(_))));
    let long = Limits { key_bytes: 65_535, ..LIMITS };
    assert!(matches!(open(&folder.0, long, SMALL), Err(EngineError::KeysTooLong { .. })));
}

/// An overlay that holds as much as it may, until a checkpoint of it is durable.
pub(crate) fn full_until_kept() {
    let folder = Folder::new("side-by-side-full");
    let options = Options { most_overlay_bytes: 4_000, ..SMALL };
    let mut disk = open(&folder.0, LIMITS, options).unwrap();
    let mut log = Log::new(9);
    let apply = |disk: &mut StateMachine<DiskStorage>, log: &mut Log| {
        let (slot, value) = log.slot();
        disk.apply(slot, &value);
    };
    let keep = |disk: &mut StateMachine<DiskStorage>| {
        let image = disk.checkpoint();
        disk.storage().vault().keep(&image).unwrap();
        disk.checkpointed();
    };
    (0..500).for_each(|_| apply(&mut disk, &mut log));
    assert!(!disk.storage().is_full(), "what belongs to no checkpoint is written down as it comes");
    keep(&mut disk);
    for _ in 0..3 {
        assert!(!disk.storage().is_full());
        while !disk.storage().is_full() {
            assert!(disk.storage().overlay_bytes() < 4_000);
            apply(&mut disk, &mut log);
        }
        // One that fails leaves what it was to write.
        disk.checkpoint();
        assert!(disk.storage().is_full());
        keep(&mut disk);
    }
}
