//! Stores of several shapes, and what is done to their files; also run with bugs planted.

#[path = "files.rs"]
mod files;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use synod_engine::{DiskStorage, Options, open, verify};
use synod_store::{Builder, Cursor, Image, MemoryStorage, Snapshot, StateMachine, Storage};

use self::files::{Files, files, write};
use super::support::{LIMITS, Log, Random};

const OPTIONS: Options = Options { cache_bytes: 1 << 20, spill_bytes: 2_000, most_overlay_bytes: 1 << 30 };
const SLOTS: u64 = 300;
/// Slots between two checkpoints.
const STEP: u64 = 10;

/// How many stores were opened since the last call.
pub(crate) fn take_runs() -> u64 {
    RUNS.take()
}

/// What came of the tries.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) tries: u64,
    /// It opened as it was.
    pub(crate) unharmed: u64,
    /// It didn't open, or ended the process.
    pub(crate) noticed: u64,
    /// It opened as an older checkpoint.
    pub(crate) older: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It didn't open, or opened as an empty one.
    Refused,
    /// It ended the process, and is refused from then on.
    Ended,
    State(u64),
}

/// A store and how it came to be.
pub(crate) struct Shape {
    name: &'static str,
    folder: PathBuf,
    files: Files,
    /// As it was after each checkpoint.
    moments: Vec<Files>,
}

pub(crate) const SHAPES: [fn() -> Shape; 4] = [
    || Shape::of_checkpoints("one", SLOTS, false),
    || Shape::of_checkpoints("many", STEP, false),
    || Shape::of_checkpoints("compacted", STEP, true),
    Shape::built,
];

thread_local! {
    static RUNS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    /// The state after each slot, as one image: made once.
    static IMAGES: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) };
}

fn image_after(slot: u64) -> Bytes {
    IMAGES.with_borrow_mut(|images| {
        if images.is_empty() {
            let (mut log, mut memory) = (Log::new(1), StateMachine::new(LIMITS, MemoryStorage::default()));
            images.push(whole(&memory.image()));
            for _ in 0..SLOTS + STEP {
                let (slot, value) = log.slot();
                memory.apply(slot, &value);
                images.push(whole(&memory.image()));
            }
        }
        images[slot as usize].clone()
    })
}

fn whole<T: Snapshot>(image: &Image<T>) -> Bytes {
    image.chunk(&Cursor::start(), u64::MAX).bytes
}

fn folder(name: &str) -> PathBuf {
    let name = format!("damage-{name}-{}-{:?}", std::process::id(), std::thread::current().id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn keep(disk: &mut StateMachine<DiskStorage>) {
    let image = disk.checkpoint();
    disk.storage().vault().keep(&image).unwrap();
    disk.checkpointed();
}

impl Shape {
    fn of_checkpoints(name: &'static str, step: u64, compacted: bool) -> Shape {
        let folder = folder(name);
        let mut disk = open(&folder, LIMITS, OPTIONS).unwrap();
        let (mut log, mut moments) = (Log::new(1), Vec::new());
        for slot in 1..=SLOTS {
            let (slot, value) = (slot, log.slot().1);
            disk.apply(synod_protocol::Slot(slot), &value);
            if slot % step == 0 {
                keep(&mut disk);
                if compacted {
                    disk.storage().vault().compact().unwrap();
                }
                moments.push(files(&folder));
            }
        }
        drop(disk);
        Shape::tidy(name, folder, moments)
    }

    /// Opened once more, it holds no file that nothing names: each of them counts.
    fn tidy(name: &'static str, folder: PathBuf, moments: Vec<Files>) -> Shape {
        drop(open(&folder, LIMITS, OPTIONS).unwrap());
        Shape { name, files: files(&folder), folder, moments }
    }

    /// Of another's image, spilled as it came, with one checkpoint more.
    fn built() -> Shape {
        let folder = folder("built");
        let mut log = Log::new(1);
        let mut memory = StateMachine::new(LIMITS, MemoryStorage::default());
        for _ in 0..SLOTS - STEP {
            let (slot, value) = log.slot();
            memory.apply(slot, &value);
        }
        let storage = open(&folder, LIMITS, OPTIONS).unwrap().into_storage();
        let mut builder = Builder::around(LIMITS, storage);
        builder.take(&whole(&memory.image())).unwrap();
        let mut disk = builder.finish().unwrap();
        keep(&mut disk);
        let moments = vec![files(&folder)];
        for _ in 0..STEP {
            let (slot, value) = log.slot();
            disk.apply(slot, &value);
        }
        keep(&mut disk);
        drop(disk);
        Shape::tidy("built", folder, moments)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    fn restore(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
        write(&self.folder, &self.files);
    }

    /// Does something to the files and opens them; then they are as before.
    fn found(&self, damage: impl FnOnce(&Path)) -> Found {
        damage(&self.folder);
        let sound = verify(&self.folder).flaws.is_empty();
        let found = state(&self.folder);
        if files(&self.folder) != self.files {
            self.restore();
        }
        let is_state = matches!(found, Found::State(_));
        assert!(!sound || is_state, "every byte was the one written, and it is {found:?}");
        found
    }

    fn count(&self, tally: &mut Tally, found: Found, what: &dyn Fn() -> String) {
        tally.tries += 1;
        match found {
            Found::State(SLOTS) => tally.unharmed += 1,
            Found::State(slot) => panic!("{}, {}: the state of slot {slot} is served", self.name, what()),
            Found::Refused | Found::Ended => tally.noticed += 1,
        }
    }

    /// Every bit, or so many.
    pub(crate) fn changed_bits(&self, tries: Option<u64>) -> Tally {
        let mut tally = Tally::default();
        for (path, at) in self.places(tries, 8) {
            let content = &self.files[path];
            let found = self.found(|folder| {
                let mut content = content.clone();
                content[(at / 8) as usize] ^= 1 << (at % 8);
                std::fs::write(folder.join(path), content).unwrap();
            });
            self.count(&mut tally, found, &|| format!("bit {at} of {}", path.display()));
        }
        tally
    }

    /// To every length, or so many.
    pub(crate) fn shortened(&self, tries: Option<u64>) -> Tally {
        let mut tally = Tally::default();
        for (path, at) in self.places(tries, 1) {
            let found = self.found(|folder| {
                std::fs::write(folder.join(path), &self.files[path][..at as usize]).unwrap();
            });
            self.count(&mut tally, found, &|| format!("{} cut to {at}", path.display()));
        }
        tally
    }

    /// Places in files, so many for each byte.
    fn places(&self, tries: Option<u64>, for_each: u64) -> Vec<(&PathBuf, u64)> {
        let all = self.files.iter().map(|(path, content)| (path, content.len() as u64 * for_each));
        let Some(tries) = tries else {
            return all.flat_map(|(path, places)| (0..places).map(move |at| (path, at))).collect();
        };
        // Small files as often as large ones: manifests matter as much as tables.
        let (all, mut random) = (all.filter(|(_, places)| *places > 0).collect::<Vec<_>>(), Random(7));
        (0..tries)
            .map(|_| {
                let (path, places) = all[random.below(all.len() as u64) as usize];
                (path, random.below(places))
            })
            .collect()
    }

    pub(crate) fn missing(&self) -> Tally {
        let mut tally = Tally::default();
        for path in self.files.keys() {
            let found = self.found(|folder| std::fs::remove_file(folder.join(path)).unwrap());
            self.count(&mut tally, found, &|| format!("without {}", path.display()));
        }
        tally
    }

    /// A file under the name of another, alone or in exchange: so many of them, or all.
    pub(crate) fn swapped(&self, tries: Option<u64>) -> Tally {
        let mut tally = Tally::default();
        let paths: Vec<_> = self.files.keys().collect();
        let count = paths.len() as u64;
        let mut pairs: Vec<_> = (0..count * count).filter(|pair| pair / count != pair % count).collect();
        if let Some(tries) = tries {
            let mut random = Random(5);
            pairs = (0..tries).map(|_| pairs[random.below(pairs.len() as u64) as usize]).collect();
        }
        for pair in pairs {
            let (one, other) = (paths[(pair / count) as usize], paths[(pair % count) as usize]);
            for both in [false, true] {
                let found = self.found(|folder| {
                    std::fs::write(folder.join(one), &self.files[other]).unwrap();
                    if both {
                        std::fs::write(folder.join(other), &self.files[one]).unwrap();
                    }
                });
                self.count(&mut tally, found, &|| format!("{} as {}", other.display(), one.display()));
            }
        }
        tally
    }

    /// Each file as it was at each moment, alone; then random sets of files, each as it was at a random moment.
    pub(crate) fn older(&self, tries: Option<u64>) -> Tally {
        let (mut tally, mut random) = (Tally::default(), Random(11));
        let (every, tries) = tries.map_or((1, 3_000), |tries| (5, tries));
        for moment in self.moments.iter().step_by(every) {
            for (path, content) in
                moment.iter().filter(|(path, content)| self.files.get(*path) != Some(content))
            {
                let found = self.found(|folder| std::fs::write(folder.join(path), content).unwrap());
                // A manifest alone that is older names tables that have gone, or is one that nothing names.
                tally.count_older(found);
            }
        }
        for _ in 0..tries {
            let mut mixed = self.files.clone();
            for _ in 0..=random.below(3) {
                let moment = &self.moments[random.below(self.moments.len() as u64) as usize];
                let all = random.below(2) == 0;
                mixed.extend(
                    moment
                        .iter()
                        .filter(|_| all || random.below(2) == 0)
                        .map(|(path, old)| (path.clone(), old.clone())),
                );
            }
            let found = self.found(|folder| {
                let _ = std::fs::remove_dir_all(folder);
                write(folder, &mixed);
            });
            tally.count_older(found);
        }
        // The first moment as a whole is the store of then.
        let found = self.found(|folder| {
            let _ = std::fs::remove_dir_all(folder);
            write(folder, &self.moments[0]);
        });
        assert!(matches!(found, Found::State(_)), "{found:?}");
        // Nothing at all is an empty store, and no state.
        assert_eq!(self.found(|folder| std::fs::remove_dir_all(folder).unwrap()), Found::Refused);
        tally.noticed += 1;
        tally
    }
}

impl Drop for Shape {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Tally {
    fn count_older(&mut self, found: Found) {
        self.tries += 1;
        match found {
            Found::State(SLOTS) => self.unharmed += 1,
            Found::State(_) => self.older += 1,
            Found::Refused | Found::Ended => self.noticed += 1,
        }
    }
}

/// Opens a store and reads all of it: it must be a whole checkpoint.
fn state(folder: &Path) -> Found {
    RUNS.set(RUNS.get() + 1);
    let Ok(disk) = catch(|| open(folder, LIMITS, OPTIONS)) else { return Found::Refused };
    let Ok(disk) = disk else { return Found::Refused };
    let slot = disk.applied().0;
    if slot == 0 {
        assert_eq!(disk.storage().len(), 0, "keys without a state");
        return Found::Refused;
    }
    let read = catch(|| whole(&disk.image()));
    drop(disk);
    match read {
        Ok(image) => {
            assert!(
                slot % STEP == 0 && image == image_after(slot),
                "another state than that of slot {slot} is served"
            );
            Found::State(slot)
        }
        Err(()) => {
            let again = catch(|| open(folder, LIMITS, OPTIONS).is_err());
            assert_eq!(again, Ok(true), "what was found while it was read is forgotten at the next start");
            Found::Ended
        }
    }
}

/// Whether it ends the process.
fn catch<T>(work: impl FnOnce() -> T) -> Result<T, ()> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| ())
}

/// Every bit that tells which tables there are, and how old each is.
pub(crate) fn every_bit_of_a_manifest() {
    let shape = Shape::of_checkpoints("manifest", 150, false);
    let is_manifest = |path: &&PathBuf| path.to_string_lossy().starts_with('v');
    let path = shape.files.keys().find(is_manifest).unwrap().clone();
    let mut tally = Tally::default();
    for at in 0..8 * shape.files[&path].len() {
        let found = shape.found(|folder| {
            let mut content = shape.files[&path].clone();
            content[at / 8] ^= 1 << (at % 8);
            std::fs::write(folder.join(&path), content).unwrap();
        });
        shape.count(&mut tally, found, &|| format!("bit {at} of the manifest"));
    }
    assert_eq!(
        (tally.noticed, tally.unharmed),
        (tally.tries, 0),
        "a changed manifest is taken for the one written"
    );
}

pub(crate) fn told_to_the_next_start() {
    let shape = Shape::of_checkpoints("told", STEP, true);
    // The first block of the largest table: keys that opening doesn't read.
    let largest = shape.files.iter().max_by_key(|(_, content)| content.len()).unwrap().0;
    let found = shape.found(|folder| {
        let mut content = shape.files[largest].clone();
        content[200] ^= 1;
        std::fs::write(folder.join(largest), content).unwrap();
    });
    assert_eq!(found, Found::Ended);
}
