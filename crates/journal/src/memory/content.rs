//! A file's bytes in shared chunks: two states of a file (seen and synced, or before and after) share what is equal, so
//! that copying a whole disk costs little, and zeros written ahead cost nothing. Absent on purpose: truncation.

use std::rc::Rc;

const CHUNK_BYTES: usize = 4096;
type Chunk = [u8; CHUNK_BYTES];
static ZEROS: Chunk = [0; CHUNK_BYTES];

thread_local! {
    static ZERO_CHUNK: Rc<Chunk> = Rc::new(ZEROS);
}

/// The bytes of a file. What the last chunk holds beyond the end is zero.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    chunks: Vec<Rc<Chunk>>,
    bytes: usize,
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Content {
        let mut content = Content::default();
        content.put(0, bytes);
        content
    }

    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// Makes it at least so long, with zeros.
    fn grow(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.bytes = bytes;
            self.chunks.resize_with(bytes.div_ceil(CHUNK_BYTES), || ZERO_CHUNK.with(Rc::clone));
        }
    }

    /// Writes these bytes here, with zeros before them when the file ended earlier.
    pub(super) fn put(&mut self, at: usize, mut bytes: &[u8]) {
        self.grow(at + bytes.len());
        let mut at = at;
        while !bytes.is_empty() {
            let inside = at % CHUNK_BYTES;
            let (part, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES - inside));
            let chunk = &mut self.chunks[at / CHUNK_BYTES];
            if part == ZEROS {
                *chunk = ZERO_CHUNK.with(Rc::clone);
            } else {
                Rc::make_mut(chunk)[inside..inside + part.len()].copy_from_slice(part);
            }
            at += part.len();
            bytes = rest;
        }
    }

    /// Fills the buffer from here; `false` when the file is shorter.
    pub(super) fn get(&self, at: usize, buffer: &mut [u8]) -> bool {
        if at.checked_add(buffer.len()).is_none_or(|end| end > self.bytes) {
            return false;
        }
        let mut done = 0;
        while done < buffer.len() {
            let inside = (at + done) % CHUNK_BYTES;
            let bytes = (buffer.len() - done).min(CHUNK_BYTES - inside);
            let chunk = &self.chunks[(at + done) / CHUNK_BYTES];
            buffer[done..done + bytes].copy_from_slice(&chunk[inside..inside + bytes]);
            done += bytes;
        }
        true
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes];
        self.get(0, &mut bytes);
        bytes
    }

    /// Takes over, shared, every chunk in which these bytes lie; only for states that agree in the rest of those chunks.
    pub(super) fn share(&mut self, other: &Content, at: usize, bytes: usize) {
        self.grow(at + bytes);
        if bytes > 0 {
            let chunks = at / CHUNK_BYTES..=(at + bytes - 1) / CHUNK_BYTES;
            self.chunks[chunks.clone()].clone_from_slice(&other.chunks[chunks]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_put_as_a_plain_vector_does() {
        let (mut content, mut plain) = (Content::default(), Vec::new());
        let puts = [
            (5, 10, 1),
            (4090, 20, 2),
            (0, 4096, 0),
            (8000, 9000, 3),
            (8192, 4096, 0),
            (16_999, 1, 9),
            (3, 0, 1),
        ];
        for (at, bytes, fill) in puts {
            let before = content.clone();
            let unchanged = plain.clone();
            content.put(at, &vec![fill; bytes]);
            plain.resize(plain.len().max(at + bytes), 0);
            plain[at..at + bytes].fill(fill);
            assert_eq!(content.to_vec(), plain, "{at} {bytes}");
            assert_eq!(before.to_vec(), unchanged, "a copy stays as it was");
            let mut shared = before;
            shared.share(&content, at, bytes);
            assert_eq!(shared.to_vec(), plain, "{at} {bytes}");
        }
        assert!(!content.get(16_999, &mut [0; 2]) && content.get(16_998, &mut [0; 2]));
        assert!(!content.get(usize::MAX, &mut [0; 2]));
    }
}
