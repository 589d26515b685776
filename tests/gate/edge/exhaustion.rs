//! Running out (DESIGN section 10 rules 9 and 13): of connections and of descriptors. It neither spins, nor dies, nor stays deaf.

use std::fs;
use std::net::TcpStream;

use crate::support::eventually;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wire::{Wire, request};

/// Processor time that a process has used, in clock ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("behind the name").split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum()
}

#[test]
fn running_out_of_descriptors_neither_spins_nor_kills() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).descriptors(64).start();
    let token = gate.token("read");
    assert_eq!(Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token)).status, 200);
    let address = gate.http();
    let flood: Vec<TcpStream> = (0..200).map_while(|_| TcpStream::connect(address).ok()).collect();
    assert!(flood.len() > 64, "the kernel takes them in its queue");
    let (before, clock) = (ticks(gate.pid()), std::time::Instant::now());
    eventually("a second passes", || clock.elapsed().as_millis() >= 1000);
    let used = ticks(gate.pid()) - before;
    assert!(used < 50, "{used} ticks of processor in a second in which nothing can be done");
    drop(flood);
    eventually("it serves again", || {
        let mut wire = Wire::tls(&gate);
        wire.send(request("GET", "/api/resource/ToDo", &token));
        matches!(wire.try_reply(), Ok(Some(reply)) if reply.status == 200)
    });
}

#[test]
fn one_address_cannot_take_every_connection() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[bounds]\nconnections_per_address_max = 4\nconnections_max = 100").start();
    let token = gate.token("read");
    let mut kept: Vec<Wire> = (0..4).map(|_| Wire::tls(&gate)).collect();
    for wire in &mut kept {
        assert_eq!(wire.exchange(request("GET", "/api/resource/ToDo", &token)).status, 200);
    }
    let mut fifth = Wire::tls(&gate);
    fifth.send(request("GET", "/api/resource/ToDo", &token));
    assert!(!matches!(fifth.try_reply(), Ok(Some(reply)) if reply.status == 200), "the fifth is one too many");
    drop(kept);
    eventually("there is room again", || {
        let mut wire = Wire::tls(&gate);
        wire.send(request("GET", "/api/resource/ToDo", &token));
        matches!(wire.try_reply(), Ok(Some(reply)) if reply.status == 200)
    });
}
