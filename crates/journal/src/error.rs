//! What can go wrong with a journal. Each text says what happened, what is safe and what to do.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// What to do about a journal that has lost something it may have promised to keep (S12).
const REMEDY: &str = "This acceptor may have voted on what is lost, so it must not start. What a quorum of the other \
    acceptors holds is safe. Wipe this directory and readmit the acceptor; never restore it from a copy or an image.";

/// Why the journal can't go on. Cheap to clone: a poisoned journal answers every later call with the same one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A disk operation failed. The journal does not retry it (S3): after a failed sync nobody knows what is on the
    /// disk.
    #[error(
        "can't {action} {name}: {source}. Nothing was acknowledged that is not synced. The operation is not retried: \
         stop the process, see to the disk, start again"
    )]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file.
        name: String,
        /// The operating system's error.
        source: Arc<io::Error>,
    },

    /// The disk has no room for another segment. The journal stays usable for what fits into the space it has.
    #[error(
        "no space for {name} of {needed_bytes} bytes. Everything acknowledged is safe. Free space on this disk, then try \
         again: nothing was written to the log"
    )]
    NoSpace {
        /// The file that was being prepared.
        name: String,
        /// Its size.
        needed_bytes: u64,
    },

    /// A segment does not hold what the journal knows was synced.
    #[error("damaged journal: {name} at offset {offset}: {what}. {REMEDY}")]
    Damaged {
        /// The segment's file.
        name: String,
        /// Where the damage starts, in bytes from the start of the file.
        offset: u64,
        /// What is wrong.
        what: String,
    },

    /// A segment is not there, though those around it are.
    #[error("incomplete journal: {name} is missing. {REMEDY}")]
    Missing {
        /// The segment's file.
        name: String,
    },

    /// A segment has another format than this program writes.
    #[error(
        "{name} has journal format {found}, and this program reads {supported}. The data is untouched. Start the program \
         version that wrote it"
    )]
    Format {
        /// The segment's file.
        name: String,
        /// The format in the segment's head.
        found: u32,
        /// The format of this program.
        supported: u32,
    },

    /// The caller refused a head or a record during recovery, by its own rules (identity, order, meaning).
    #[error("refused at {name}, offset {offset}: {source}")]
    Refused {
        /// The segment's file.
        name: String,
        /// Where the refused head or batch starts.
        offset: u64,
        /// The caller's reason.
        source: Arc<dyn StdError + Send + Sync>,
    },

    /// Another process has this directory open.
    #[error(
        "{} is in use by process {pid}. Nothing was changed. Stop that process first, or give this one a directory of its \
         own", directory.display()
    )]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// The process that holds it, as it wrote it.
        pid: String,
    },

    /// The directory can't be opened, created or locked.
    #[error("can't open the directory {}: {source}. Nothing was changed", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The operating system's error.
        source: Arc<io::Error>,
    },

    /// The options contradict each other.
    #[error("unusable journal options: {what}. Nothing was changed")]
    Options {
        /// What is wrong.
        what: String,
    },
}

impl Error {
    /// Whether the journal stays usable after this error.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::NoSpace { .. })
    }

    pub(crate) fn io(action: &'static str, name: &str, source: io::Error) -> Error {
        Error::Io { action, name: name.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn damaged(name: &str, offset: u64, what: impl Into<String>) -> Error {
        Error::Damaged { name: name.to_owned(), offset, what: what.into() }
    }
}
