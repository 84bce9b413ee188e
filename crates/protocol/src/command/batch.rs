//! Commands in a batch: built by clients, counted, cut and joined by proposers, read by learners.

use bytes::{BufMut, Bytes, BytesMut};

use super::Command;
use crate::value::Value;
use crate::wire;

/// Bytes of the length before each command of a batch.
const LENGTH: usize = 4;

/// A batch under construction.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    count: u32,
}

impl BatchBuilder {
    /// Appends a command.
    pub fn push(&mut self, command: &Command<'_>) {
        let start = self.bytes.len() + LENGTH;
        self.bytes.extend_from_slice(&[0; LENGTH]);
        wire::encode_command(command, &mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start).expect("limits keep a command under 4 GiB");
        self.bytes[start - LENGTH..start].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch and how many commands it holds; the builder is empty afterwards.
    pub fn finish(&mut self) -> (Value, u32) {
        (Value::new(std::mem::take(&mut self.bytes).into()), std::mem::take(&mut self.count))
    }
}

/// How many commands a batch holds, or nothing if its lengths don't add up. Looks at no command.
pub fn count(batch: &Value) -> Option<u32> {
    let mut rest: &[u8] = batch.bytes();
    let mut count = 0;
    while !rest.is_empty() {
        rest = split_command(rest)?.1;
        count += 1;
    }
    Some(count)
}

/// Cuts a batch into pieces of at most `most_commands` commands and `most_bytes` bytes (a larger command goes alone), each
/// with its count; nothing if its lengths don't add up. Copies nothing and looks at no command.
pub fn pieces(batch: &Value, most_commands: u32, most_bytes: usize) -> Option<Vec<(Value, u32)>> {
    let bytes = batch.bytes();
    let mut pieces = Vec::new();
    let (mut start, mut end, mut count) = (0, 0, 0);
    while end < bytes.len() {
        let next = bytes.len() - split_command(&bytes[end..])?.1.len();
        if count > 0 && (count == most_commands || next - start > most_bytes) {
            pieces.push((Value::new(bytes.slice(start..end)), count));
            (start, count) = (end, 0);
        }
        end = next;
        count += 1;
    }
    if count > 0 {
        pieces.push((Value::new(bytes.slice(start..end)), count));
    }
    Some(pieces)
}

/// Joins batches into one; a single one is passed on as it is.
pub fn join(mut batches: Vec<Value>) -> Value {
    if batches.len() <= 1 {
        return batches.pop().unwrap_or(Value::NOOP);
    }
    let mut joined = BytesMut::with_capacity(batches.iter().map(Value::len).sum());
    for batch in &batches {
        joined.put_slice(batch.bytes());
    }
    Value::new(joined.freeze())
}

/// The commands of a chosen batch, in order; an entry that can't be decoded comes as `None` (it takes effect nowhere).
pub fn commands(batch: &Bytes) -> impl Iterator<Item = Option<Command<'_>>> {
    let mut rest: &[u8] = batch;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((command, after)) = split_command(rest) else {
            rest = &[];
            return Some(None);
        };
        rest = after;
        Some(wire::decode_command(command).ok())
    })
}

fn split_command(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Call, Operation, SessionId};
    use crate::ids::Slot;

    fn put(sequence: u64) -> Command<'static> {
        let session = SessionId { slot: Slot(3), position: 1 };
        let operation = Operation::Put { key: b"k", value: b"some value" };
        Command::Call(Call { session, sequence, lowest: 1, operation })
    }

    #[test]
    fn a_batch_gives_its_commands_back() {
        let mut builder = BatchBuilder::default();
        builder.push(&Command::Open { nonce: 9 });
        builder.push(&put(1));
        let (first, count_first) = builder.finish();
        builder.push(&put(2));
        let (second, _) = builder.finish();
        assert_eq!((count_first, count(&first)), (2, Some(2)));
        let joined = join(vec![first, second]);
        let all: Vec<_> = commands(joined.bytes()).map(Option::unwrap).collect();
        assert_eq!(all, vec![Command::Open { nonce: 9 }, put(1), put(2)]);
    }

    #[test]
    fn lengths_that_do_not_add_up_are_found_at_every_cut() {
        let mut builder = BatchBuilder::default();
        builder.push(&put(1));
        builder.push(&put(2));
        let (batch, _) = builder.finish();
        let whole = batch.len();
        for cut in 1..whole {
            let part = Value::new(batch.bytes().slice(..cut));
            let expected = if cut == whole / 2 { Some(1) } else { None };
            assert_eq!(count(&part), expected, "cut at {cut}");
            assert!(commands(part.bytes()).count() <= 2);
        }
    }

    #[test]
    fn pieces_keep_to_the_limits_and_lose_nothing() {
        let mut builder = BatchBuilder::default();
        (1..=10).for_each(|sequence| builder.push(&put(sequence)));
        let (batch, _) = builder.finish();
        let one = batch.len() / 10;
        for (most_commands, most_bytes, expected) in [
            (4, usize::MAX, vec![4, 4, 2]),
            (100, 3 * one, vec![3, 3, 3, 1]),
            (100, 1, vec![1; 10]),
            (10, 10 * one, vec![10]),
        ] {
            let cut = pieces(&batch, most_commands, most_bytes).unwrap();
            assert_eq!(cut.iter().map(|(_, count)| *count).collect::<Vec<_>>(), expected);
            assert!(cut.iter().all(|(piece, count)| super::count(piece) == Some(*count)));
            assert_eq!(join(cut.into_iter().map(|(piece, _)| piece).collect()), batch);
        }
        assert_eq!(pieces(&Value::new(batch.bytes().slice(..one + 1)), 4, 100), None);
        assert_eq!(pieces(&Value::NOOP, 4, 100), Some(Vec::new()));
    }

    #[test]
    fn a_command_that_is_garbage_is_skipped_alone() {
        let mut builder = BatchBuilder::default();
        builder.push(&put(2));
        let garbage = Value::new(Bytes::from_static(&[3, 0, 0, 0, 250, 250, 250]));
        let batch = join(vec![garbage, builder.finish().0]);
        assert_eq!(count(&batch), Some(2));
        assert_eq!(commands(batch.bytes()).collect::<Vec<_>>(), vec![None, Some(put(2))]);
    }
}
