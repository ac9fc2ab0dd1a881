//! A relay that writes down every byte that passes, in both directions.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What one connection carried, in one direction.
type Record = Arc<Mutex<Vec<u8>>>;

pub struct Tap {
    pub addr: SocketAddr,
    /// For each connection what was said to the receiver and what was said to the sender.
    records: Arc<Mutex<Vec<(Record, Record)>>>,
}

impl Tap {
    pub fn to(target: SocketAddr) -> Tap {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let records: Arc<Mutex<Vec<(Record, Record)>>> = Arc::default();
        let tap = Tap { addr, records: records.clone() };
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(target) else { continue };
                let (there, back) = (Record::default(), Record::default());
                records.lock().unwrap().push((there.clone(), back.clone()));
                let (client_again, server_again) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || carry(client, server, &there));
                thread::spawn(move || carry(server_again, client_again, &back));
            }
        });
        tap
    }

    /// What each connection has said to the receiver so far.
    pub fn to_receiver(&self) -> Vec<Vec<u8>> {
        self.records.lock().unwrap().iter().map(|(there, _)| there.lock().unwrap().clone()).collect()
    }

    /// Everything that has passed, in both directions.
    pub fn everything(&self) -> Vec<Vec<u8>> {
        let records = self.records.lock().unwrap();
        records.iter().flat_map(|(a, b)| [a, b]).map(|record| record.lock().unwrap().clone()).collect()
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, record: &Record) {
    let mut buffer = vec![0; 65_536];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        record.lock().unwrap().extend_from_slice(&buffer[..n]);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
