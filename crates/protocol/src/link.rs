//! One connection: the handshake, frames in, batched writes out. Used by daemons and clients alike.
//!
//! Frames come in through tokio-util's `LengthDelimitedCodec`, whose cap is checked before anything is allocated: 4 KiB
//! before the hello, then by kind of peer. What goes out is collected in an [`Outbox`] and leaves in one write when it is
//! flushed; heads share one buffer, values go out from where they lie. Reconnecting, roles and timers are elsewhere.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use crate::hello::{self, Greeting, Hello, Refused, Standing};
use crate::ids::NodeId;
use crate::message::Message;
use crate::wire::{self, WireError};

/// Initial size of the buffer that frames are cut from, bytes.
const READ_BUFFER: usize = 64 << 10;
/// Slices handed to the kernel in one write, at most.
const SLICES: usize = 1024;
/// Bytes of heads already written that may lie in front of those that wait.
const WRITTEN_HEADS: usize = 256 << 10;
/// Quiet after which the kernel asks whether the other host is still there, and then the time between two questions.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(1));
/// How long the other host may leave what was sent to it without any answer before the connection is given up: a host that
/// lost its power says nothing, and is dialed again only once its old connection has ended.
const GONE: Duration = Duration::from_secs(10);

/// Why a connection could not be made or was given up.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket failed, or the other side is gone.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side sent something else than a message.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// Refused at hello, by either side.
    #[error("{0}")]
    Refused(Refused),
    /// No hello in time.
    #[error("no hello within {0:?}")]
    NoHello(Duration),
    /// The other side closed the connection instead of saying hello.
    #[error("the connection was closed before the hello")]
    ClosedEarly,
}

/// Our own side of a handshake.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Who we are.
    pub node: NodeId,
    /// Hash of our fixed parameters.
    pub parameters: u64,
    /// What our role adds.
    pub standing: Standing,
}

impl Own {
    fn hello_to(&self, to: NodeId) -> Hello {
        Hello { from: self.node, to, parameters: self.parameters, standing: self.standing }
    }
}

/// An established connection.
#[derive(Debug)]
pub struct Link {
    /// What the other side said of itself.
    pub hello: Hello,
    /// Frames from it.
    pub reader: FrameReader,
    /// Messages to it.
    pub outbox: Outbox,
}

/// Calls `to` at `address` and shakes hands within `timeout`.
pub async fn dial(address: &str, own: Own, to: NodeId, timeout: Duration) -> Result<Link, LinkError> {
    let handshake = async {
        let stream = TcpStream::connect(address).await?;
        let (mut reader, mut half) = split(stream)?;
        write_greeting(&mut half, &Greeting::Hello(own.hello_to(to))).await?;
        let hello = match read_greeting(&mut reader).await? {
            Greeting::Hello(hello) => hello,
            Greeting::Refused(refused) => return Err(LinkError::Refused(refused)),
        };
        if hello.from != to {
            return Err(LinkError::Refused(Refused::WrongAddress { expected: to, found: hello.from }));
        }
        hello::check(own.node, own.parameters, own.standing.cluster, &hello).map_err(LinkError::Refused)?;
        Ok(establish(hello, reader, half, own.node))
    };
    tokio::time::timeout(timeout, handshake).await.map_err(|_| LinkError::NoHello(timeout))?
}

/// Calls whoever is at `address` only to say why it isn't used.
pub async fn refuse(address: &str, refused: Refused, timeout: Duration) -> Result<(), LinkError> {
    let call = async {
        let (_reader, mut half) = split(TcpStream::connect(address).await?)?;
        write_greeting(&mut half, &Greeting::Refused(refused)).await?;
        Ok(half.shutdown().await?)
    };
    tokio::time::timeout(timeout, call).await.map_err(|_| LinkError::NoHello(timeout))?
}

/// Answers a caller within `timeout`; `own` is asked when its hello has come, and may refuse it beyond the usual checks.
pub async fn answer(
    stream: TcpStream,
    timeout: Duration,
    own: impl FnOnce(&Hello) -> (Own, Result<(), Refused>),
) -> Result<Link, LinkError> {
    let handshake = async {
        let (mut reader, mut half) = split(stream)?;
        let hello = match read_greeting(&mut reader).await? {
            Greeting::Hello(hello) => hello,
            Greeting::Refused(refused) => return Err(LinkError::Refused(refused)),
        };
        let (own, served) = own(&hello);
        let checked = hello::check(own.node, own.parameters, own.standing.cluster, &hello).and(served);
        if let Err(refused) = checked {
            write_greeting(&mut half, &Greeting::Refused(refused.clone())).await?;
            return Err(LinkError::Refused(refused));
        }
        write_greeting(&mut half, &Greeting::Hello(own.hello_to(hello.from))).await?;
        Ok(establish(hello, reader, half, own.node))
    };
    tokio::time::timeout(timeout, handshake).await.map_err(|_| LinkError::NoHello(timeout))?
}

fn split(stream: TcpStream) -> Result<(FrameReader, OwnedWriteHalf), LinkError> {
    stream.set_nodelay(true)?;
    notice_a_dead_host(&stream)?;
    let (read, write) = stream.into_split();
    let codec = LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_length(4)
        .max_frame_length(wire::CAP_BEFORE_HELLO)
        .new_codec();
    Ok((FrameReader { frames: FramedRead::with_capacity(read, codec, READ_BUFFER) }, write))
}

fn notice_a_dead_host(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE.0)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE.1)?;
    sockopt::set_tcp_keepcnt(stream, (GONE.as_secs() - KEEP_ALIVE.0.as_secs()) as u32)?;
    // Covers what keep-alive doesn't: bytes under way that nobody acknowledges.
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, GONE.as_millis() as u32)?;
    Ok(())
}

fn establish(hello: Hello, mut reader: FrameReader, half: OwnedWriteHalf, own: NodeId) -> Link {
    let cap = match (hello.from, own) {
        (NodeId::Client(_), _) | (_, NodeId::Client(_)) => wire::CAP_CLIENT,
        (
            NodeId::Acceptor(_) | NodeId::Proposer(_) | NodeId::Learner(_),
            NodeId::Acceptor(_) | NodeId::Proposer(_) | NodeId::Learner(_),
        ) => wire::CAP_PEER,
    };
    reader.frames.decoder_mut().set_max_frame_length(cap);
    Link { hello, reader, outbox: Outbox::new(half) }
}

async fn write_greeting(half: &mut OwnedWriteHalf, greeting: &Greeting) -> Result<(), LinkError> {
    let mut bytes = Vec::new();
    wire::encode_greeting(greeting, &mut bytes);
    Ok(half.write_all(&bytes).await?)
}

async fn read_greeting(reader: &mut FrameReader) -> Result<Greeting, LinkError> {
    let body = reader.next().await.ok_or(LinkError::ClosedEarly)??;
    Ok(wire::decode_greeting(&body)?)
}

/// Frames of one connection, in order; each is the body without its length.
#[derive(Debug)]
pub struct FrameReader {
    frames: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
}

impl FrameReader {
    /// The next frame; nothing once the other side has closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        Some(self.frames.next().await?.map(BytesMut::freeze))
    }
}

/// What a flush left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is with the kernel.
    All,
    /// The socket is full: wait for [`Outbox::writable`], then flush again.
    Blocked,
}

#[derive(Debug)]
enum Piece {
    /// A range of the shared head buffer.
    Heads { start: usize, end: usize },
    /// A value's bytes.
    Value(Bytes),
}

/// Messages on their way out of one connection.
#[derive(Debug)]
pub struct Outbox {
    half: Arc<OwnedWriteHalf>,
    heads: Vec<u8>,
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that the kernel has taken.
    taken: usize,
    queued_bytes: usize,
}

impl Outbox {
    fn new(half: OwnedWriteHalf) -> Self {
        Outbox { half: Arc::new(half), heads: Vec::new(), pieces: VecDeque::new(), taken: 0, queued_bytes: 0 }
    }

    /// Bytes not yet with the kernel.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Adds a message; nothing is written before the next flush.
    pub fn push(&mut self, message: &Message) {
        let start = self.heads.len();
        let (pieces, queued) = (&mut self.pieces, &mut self.queued_bytes);
        let mut values = Vec::new();
        wire::encode_frame(message, &mut self.heads, &mut |value| {
            if !value.is_empty() {
                values.push(value.bytes().clone());
            }
        });
        let end = self.heads.len();
        *queued += end - start;
        match pieces.back_mut() {
            Some(Piece::Heads { end: last, .. }) if *last == start => *last = end,
            Some(Piece::Heads { .. } | Piece::Value(_)) | None => {
                pieces.push_back(Piece::Heads { start, end });
            }
        }
        for value in values {
            *queued += value.len();
            pieces.push_back(Piece::Value(value));
        }
    }

    /// Writes as much as the kernel takes, without waiting.
    pub fn flush(&mut self) -> io::Result<Flushed> {
        while !self.pieces.is_empty() {
            match self.half.try_write_vectored(&self.slices()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Flushed::All)
    }

    /// Completes when the kernel takes bytes again; owns what it needs, so that it can wait apart from the outbox.
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let half = Arc::clone(&self.half);
        async move { half.writable().await }
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut skip = self.taken;
        let slice = |piece| {
            let bytes = match piece {
                &Piece::Heads { start, end } => &self.heads[start..end],
                Piece::Value(bytes) => bytes,
            };
            IoSlice::new(&bytes[std::mem::take(&mut skip)..])
        };
        self.pieces.iter().take(SLICES).map(slice).collect()
    }

    fn advance(&mut self, written: usize) {
        self.queued_bytes -= written;
        self.taken += written;
        while let Some(piece) = self.pieces.front_mut() {
            let length = match piece {
                Piece::Heads { start, end } => *end - *start,
                Piece::Value(bytes) => bytes.len(),
            };
            if self.taken < length {
                if let Piece::Heads { start, .. } = piece {
                    *start += std::mem::take(&mut self.taken);
                }
                return self.forget_written_heads();
            }
            self.taken -= length;
            self.pieces.pop_front();
        }
        self.heads.clear();
    }

    /// A peer that always lags a little never empties its outbox: what it has taken must not pile up all the same.
    fn forget_written_heads(&mut self) {
        let starts = self.pieces.iter().find_map(|piece| match piece {
            Piece::Heads { start, .. } => Some(*start),
            Piece::Value(_) => None,
        });
        let written = starts.unwrap_or(self.heads.len());
        // Moving is rarer than writing: at most once for as many bytes as are moved.
        if written < WRITTEN_HEADS || written * 2 < self.heads.len() {
            return;
        }
        self.heads.drain(..written);
        for piece in &mut self.pieces {
            match piece {
                Piece::Heads { start, end } => {
                    *start -= written;
                    *end -= written;
                }
                Piece::Value(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Propose, ToProposer};
    use crate::value::Value;
    use tokio::net::TcpListener;

    /// A peer that takes a little at a time, and never all of it, gets every message whole and in order.
    #[tokio::test]
    async fn i14_an_outbox_that_is_never_empty_stays_small_and_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_reader, half) = split(stream).unwrap();
        let (mut received, mut expected) = (Vec::new(), Vec::new());
        let mut outbox = Outbox::new(half);
        for tag in 0..40_000_u64 {
            // First without values, so that all heads are one piece; then heads and values in turn.
            let length = if tag < 20_000 { 0 } else { (tag % 50) as usize };
            let commands = Value::new(Bytes::from(vec![tag as u8; length]));
            let message = Message::Proposer(ToProposer::Propose(Propose { tag, commands }));
            wire::encode_frame(&message, &mut expected, &mut |_| {});
            expected.extend(std::iter::repeat_n(tag as u8, length));
            outbox.push(&message);
            if tag > 0 {
                // As flush does, with a kernel that never takes the last message.
                let all: Vec<u8> = outbox.slices().iter().flat_map(|slice| slice.iter().copied()).collect();
                let taken = all.len() - 7;
                received.extend_from_slice(&all[..taken]);
                outbox.advance(taken);
            }
            assert!(outbox.heads.len() <= 2 * WRITTEN_HEADS, "{} bytes of heads", outbox.heads.len());
        }
        assert_eq!(outbox.queued_bytes(), 7);
        assert_eq!(received, expected[..expected.len() - 7]);
    }
}
