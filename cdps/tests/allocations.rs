//! What a send costs in allocations.

mod cluster;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::IoSlice;

use cdps::{AckModel, SendOptions};
use cluster::*;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Counts the allocations of each thread.
struct Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more, and is not measured.
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller says.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// [M5] A send allocates nothing of its own: neither a borrowed one, nor a copied one that fits the thread's chunk. What is left is the
/// growth of queues, and a chunk for many messages.
#[test]
fn sends_do_not_allocate() {
    let pair = Pair::with(1, |c| c.ack = AckModel::Asynchronous, |_| (), User::new(), User::new);
    let memory = pattern(64, 1);
    let parts = [IoSlice::new(&memory)];
    let rounds = 20_000u64;
    for borrow in [true, false] {
        // The first ones fill the pools.
        let mut allocations = 0;
        for i in 0..rounds {
            let options = SendOptions { context: i, ..SendOptions::default() };
            let before = COUNT.get();
            if borrow {
                // SAFETY: `memory` lives until both nodes are gone, below.
                unsafe { pair.port.send_borrowed(&parts, &options) }.expect("is accepted");
            } else {
                pair.port.send(&parts, &options).expect("is accepted");
            }
            if i >= rounds / 2 {
                allocations += COUNT.get() - before;
            }
            if i % 500 == 499 {
                let sent = if borrow { i + 1 } else { rounds + i + 1 };
                pair.user.wait_ends(sent as usize);
                let lent = if borrow { i + 1 } else { rounds };
                pair.user.wait("loans", |seen| (released(seen).len() as u64 >= lent).then_some(()));
            }
        }
        assert!(
            allocations < rounds / 2 / 100,
            "{allocations} allocations in {} sends, borrow: {borrow}",
            rounds / 2
        );
    }
    pair.end();
}
