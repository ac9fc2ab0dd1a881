//! The sum of parts: what lanx does to each chunk, with the same kernels over the same sockets, and nothing
//! around it. No session, no messages, no comparison, no part file: read, hash, seal, send; receive, open,
//! hash, write. What a transfer takes beyond this is the program's own.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use lanx::content::chunk::{ChunkIndex, Layout};
use lanx::content::tree::chunk_value;
use lanx::limits::{CHUNK_BYTES, CONNECTIONS_FIRST, SILENCE_TIMEOUT};
use lanx::net::tcp::dial;
use lanx::wire::seal::{Cipher, DataKeys, SessionSecret, TAG_BYTES};

const CONNECTIONS: u32 = CONNECTIONS_FIRST as u32;
/// Index of the chunk and its length.
const HEADER_BYTES: usize = 16;

fn keys(connection: u32) -> DataKeys {
    SessionSecret::new([1; 32]).data_keys(Cipher::preferred(), &[2; 16], connection).unwrap()
}

pub fn send(args: &[String]) {
    let [address, path] = args else { panic!("--parts-send ADDRESS FILE") };
    let file = Arc::new(File::open(path).unwrap());
    let layout = Layout::new(file.metadata().unwrap().len());
    let cursor = Arc::new(AtomicU64::new(0));
    let threads = (0..CONNECTIONS).map(|number| {
        let (file, cursor, mut stream) = (file.clone(), cursor.clone(), connect_to(address));
        thread::spawn(move || {
            let (mut sealer, _) = keys(number).for_sender();
            stream.write_all(&number.to_le_bytes()).unwrap();
            stream.write_all(&sealer.prove(b"hello").unwrap()).unwrap();
            let mut buffer = vec![0; CHUNK_BYTES];
            loop {
                let index = ChunkIndex(cursor.fetch_add(1, Ordering::Relaxed));
                let (Some(len), Some(offset)) = (layout.len_of(index), layout.offset_of(index)) else {
                    return;
                };
                let content = &mut buffer[..len];
                file.read_exact_at(content, offset).unwrap();
                std::hint::black_box(chunk_value(layout, index, content));
                let mut header = [0; HEADER_BYTES];
                header[..8].copy_from_slice(&index.0.to_le_bytes());
                header[8..].copy_from_slice(&(len as u64).to_le_bytes());
                let tag = sealer.seal(&header, content).unwrap();
                let mut parts: &mut [IoSlice] =
                    &mut [IoSlice::new(&header), IoSlice::new(content), IoSlice::new(&tag)];
                while !parts.is_empty() {
                    let written = stream.write_vectored(parts).unwrap();
                    IoSlice::advance_slices(&mut parts, written);
                }
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
}

/// As lanx does, with all that it asks of a socket.
fn connect_to(address: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(dial::data(address.parse().unwrap(), None, SILENCE_TIMEOUT)).unwrap();
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

pub fn receive(args: &[String]) {
    let [address, path] = args else { panic!("--parts-receive ADDRESS FILE") };
    let file = Arc::new(File::create(path).unwrap());
    let listener = TcpListener::bind(address).unwrap();
    let threads = (0..CONNECTIONS).map(|_| {
        let (mut stream, file) = (listener.accept().unwrap().0, file.clone());
        thread::spawn(move || {
            let (mut number, mut proof) = ([0; 4], [0; TAG_BYTES]);
            stream.read_exact(&mut number).unwrap();
            stream.read_exact(&mut proof).unwrap();
            let (_, mut opener) = keys(u32::from_le_bytes(number)).for_receiver();
            opener.check_proof(b"hello", &proof).unwrap();
            let mut buffer = vec![0; CHUNK_BYTES];
            let (mut header, mut tag) = ([0; HEADER_BYTES], [0; TAG_BYTES]);
            while stream.read_exact(&mut header).is_ok() {
                let index = u64::from_le_bytes(header[..8].try_into().unwrap());
                let len = u64::from_le_bytes(header[8..].try_into().unwrap()) as usize;
                let content = &mut buffer[..len];
                stream.read_exact(content).unwrap();
                stream.read_exact(&mut tag).unwrap();
                opener.open(&header, content, &tag).unwrap();
                let offset = index * CHUNK_BYTES as u64;
                let layout = Layout::new(offset + len as u64 + 1);
                if len == CHUNK_BYTES {
                    std::hint::black_box(chunk_value(layout, ChunkIndex(index), content));
                }
                file.write_all_at(content, offset).unwrap();
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
}
