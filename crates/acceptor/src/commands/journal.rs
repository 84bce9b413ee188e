//! `synod-acceptor journal inspect|verify`: a journal on standard output, as text or as JSON lines. Exit code 0: sound; 1: damaged; 2: it
//! couldn't be read, for instance because its acceptor is running.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::{Value as Json, json};
use synod_acceptor::inspect::{Found, inspect, is_damage};
use synod_acceptor::{Durable, Head, Record};
use synod_journal::Summary;
use synod_journal::directory::read_only::ReadOnly;
use synod_protocol::{Incarnation, Incarnations, SlotRange};

/// The word that tells this command from a daemon's flags.
pub(crate) const WORD: &str = "journal";

#[derive(Debug, Parser)]
#[command(
    name = "synod-acceptor journal",
    version,
    about = "Looks at an acceptor's journal while the acceptor is down; never changes anything"
)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows segments, and what an acceptor would start with.
    Inspect {
        /// The acceptor's --data-dir.
        directory: PathBuf,
        /// Shows every record too.
        #[arg(long)]
        records: bool,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Reads everything and says whether it is sound, or where it is damaged.
    Verify {
        /// The acceptor's --data-dir.
        directory: PathBuf,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command; the first argument is the program, the second is [`WORD`].
pub(crate) fn main(arguments: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let flags = Flags::parse_from(arguments.enumerate().filter(|(at, _)| *at != 1).map(|(_, text)| text));
    let (directory, records, json, segments) = match flags.command {
        Command::Inspect { directory, records, json } => (directory, records, json, true),
        Command::Verify { directory, json } => (directory, false, json, false),
    };
    let looked = ReadOnly::open(&directory).and_then(|disk| {
        inspect(disk, |found| match found {
            Found::Segment { segment, first_batch, head } if segments => {
                say(json, || segment_text(segment, first_batch, head), || segment_json(segment, first_batch, head));
            }
            Found::Record { place, record } if records => {
                let (batch, offset) = (place.batch(), place.offset());
                say(
                    json,
                    || format!("  batch {batch} at {offset}: {}", record_text(record)),
                    || json!({ "batch": batch, "segment": place.segment(), "offset": offset, "record": record_json(record) }),
                );
            }
            Found::Segment { .. } | Found::Record { .. } => {}
        })
    });
    match looked {
        Ok(Some((durable, summary))) => {
            say(json, || sound_text(&durable, &summary), || sound_json(&durable, &summary));
            ExitCode::SUCCESS
        }
        Ok(None) => {
            let text = format!("{}: no journal here", directory.display());
            say(json, || text.clone(), || json!({ "sound": null, "error": text }));
            ExitCode::from(2)
        }
        Err(error) => {
            let damaged = is_damage(&error);
            let text = format!("{}: {error}", directory.display());
            say(json, || text.clone(), || json!({ "sound": damaged.then_some(false), "error": text }));
            ExitCode::from(if damaged { 1 } else { 2 })
        }
    }
}

/// One line. Whoever reads it may have stopped (`| head`): no reason to fail.
fn say(json: bool, text: impl FnOnce() -> String, object: impl FnOnce() -> Json) {
    use std::io::Write;
    let line = if json { object().to_string() } else { text() };
    drop(writeln!(std::io::stdout(), "{line}"));
}

fn segment_text(segment: u64, first_batch: u64, head: &Head) -> String {
    let Head { acceptor, promised, floor, held, highest, position, .. } = head;
    format!(
        "segment {segment:016x} of {acceptor} from batch {first_batch}: promised {promised}, floor {floor}, held {held}, highest \
         {highest}, records before {position}"
    )
}

fn head_json(head: &Head) -> Json {
    json!({
        "acceptor": head.acceptor.to_string(),
        "cluster": head.formation.cluster().map(|cluster| cluster.to_string()),
        "disk": head.formation.disk().map(|disk| disk.to_string()),
        "promised": head.promised.to_string(),
        "floor": head.floor.0,
        "held": head.held.0,
        "highest": head.highest.0,
        "position": head.position,
    })
}

fn segment_json(segment: u64, first_batch: u64, head: &Head) -> Json {
    json!({ "segment": segment, "first_batch": first_batch, "head": head_json(head) })
}

fn slots(record: &Record) -> String {
    let mut ranges = Vec::new();
    if let Record::Voted { entries, .. } = record {
        entries.iter().for_each(|entry| SlotRange::push(&mut ranges, entry.slot));
    }
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn value_bytes(record: &Record) -> usize {
    match record {
        Record::Voted { entries, .. } => entries.iter().map(|entry| entry.value.len()).sum(),
        Record::Prepared { .. }
        | Record::Opened { .. }
        | Record::Promised { .. }
        | Record::Truncated { .. }
        | Record::Readmitted { .. }
        | Record::Reached { .. }
        | Record::Replaced { .. }
        | Record::Entered { .. } => 0,
    }
}

fn reached(rows: &Incarnations) -> Vec<String> {
    let row = |(acceptor, row): (_, Incarnation)| {
        format!("{acceptor}'s disk {} has had {} records", row.disk, row.position)
    };
    rows.rows().map(row).collect()
}

fn record_text(record: &Record) -> String {
    match record {
        Record::Prepared { formation, disk } => {
            format!("prepared under formation {formation:x} as disk {disk}")
        }
        Record::Opened { cluster, disks } => {
            format!("open in cluster {cluster} of {} acceptors", disks.len())
        }
        Record::Promised { ballot } => format!("promised {ballot}"),
        Record::Voted { ballot, held, .. } => {
            format!(
                "voted at {ballot} for slots [{}] ({} bytes), held {held}",
                slots(record),
                value_bytes(record)
            )
        }
        Record::Truncated { floor } => format!("floor {floor}"),
        Record::Readmitted { admit } => {
            format!("readmitted {} with disk {} at {}", admit.acceptor, admit.disk, admit.ballot)
        }
        Record::Reached { rows } => format!("knows that {}", reached(rows).join(", ")),
        Record::Replaced { disk } => format!("replaces a lost disk, as disk {disk}"),
        Record::Entered { admission, cluster } => {
            format!("entered cluster {cluster} at {}, floor {}", admission.admit.ballot, admission.floor)
        }
    }
}

fn record_json(record: &Record) -> Json {
    match record {
        Record::Prepared { formation, disk } => {
            json!({ "kind": "prepared", "formation": format!("{formation:x}"), "disk": disk.to_string() })
        }
        Record::Opened { cluster, .. } => json!({ "kind": "opened", "cluster": cluster.to_string() }),
        Record::Promised { ballot } => json!({ "kind": "promised", "ballot": ballot.to_string() }),
        Record::Voted { ballot, held, .. } => json!({
            "kind": "voted",
            "ballot": ballot.to_string(),
            "held": held.0,
            "slots": slots(record),
            "bytes": value_bytes(record),
        }),
        Record::Truncated { floor } => json!({ "kind": "truncated", "floor": floor.0 }),
        Record::Readmitted { admit } => json!({
            "kind": "readmitted",
            "ballot": admit.ballot.to_string(),
            "acceptor": admit.acceptor.to_string(),
            "disk": admit.disk.to_string(),
        }),
        Record::Reached { rows } => json!({ "kind": "reached", "disks": reached(rows) }),
        Record::Replaced { disk } => json!({ "kind": "replaced", "disk": disk.to_string() }),
        Record::Entered { admission, cluster } => json!({
            "kind": "entered",
            "ballot": admission.admit.ballot.to_string(),
            "cluster": cluster.to_string(),
            "floor": admission.floor.0,
        }),
    }
}

fn sound_text(durable: &Durable, summary: &Summary) -> String {
    let Head { acceptor, promised, floor, held, highest, .. } = durable.head();
    let votes = durable.votes_above(floor.previous()).count();
    let tail = match (&summary.cut, summary.rewritten) {
        (Some(cut), _) => format!(
            "; a torn tail that was never acknowledged will be cut: {} at offset {}, {} bytes",
            cut.name, cut.offset, cut.bytes
        ),
        (None, true) => "; the last batch isn't sealed, and will be written again".to_owned(),
        (None, false) => "; all of it is sealed".to_owned(),
    };
    format!(
        "sound: {acceptor}, {} segments (and {} to be used again), {} records up to batch {}, {votes} votes from floor {floor} to {highest}, promised {promised}, held \
         {held}{tail}",
        summary.segments, summary.unneeded, summary.records, summary.batches
    )
}

fn sound_json(durable: &Durable, summary: &Summary) -> Json {
    json!({
        "sound": true,
        "state": head_json(durable.head()),
        "votes": durable.votes_above(durable.head().floor.previous()).count(),
        "segments": summary.segments,
        "unneeded_segments": summary.unneeded,
        "records": summary.records,
        "batches": summary.batches,
        "sealed": !summary.rewritten,
        "cut": summary.cut.as_ref().map(|cut| json!({ "file": cut.name, "offset": cut.offset, "bytes": cut.bytes })),
    })
}
