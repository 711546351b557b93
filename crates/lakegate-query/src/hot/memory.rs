//! Block cache: decoded columns of all resident tables under one memory budget.
//!
//! Reads take no lock. Evicts with CLOCK (second chance): a block that was not read since the last sweep goes first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, internal_datafusion_err};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::pack::{least_mapping, packed};

/// The approximate overhead of a cached array beside its values, in bytes.
const BESIDE: usize = 512;

/// The memory budget for decoded columns of all tables.
#[derive(Debug)]
pub(crate) struct HotMemory {
    budget: usize,
    used: AtomicUsize,
    queue: Mutex<VecDeque<Weak<Pack>>>,
    /// Limits concurrent decoding, because arrays that are being decoded do not count towards the budget yet.
    decoding: Semaphore,
}

/// The cached column chunk of a file: one slot for each block.
#[derive(Debug)]
pub(crate) struct Slots(Box<[ArcSwapOption<Held>]>);

/// Arrays that were decoded together; they are cached and evicted together.
#[derive(Debug)]
struct Pack {
    places: Vec<Place>,
    is_used: AtomicBool,
    _taken: Taken,
}

/// The slot of a cached array.
#[derive(Debug)]
struct Place {
    slots: Weak<Slots>,
    at: usize,
}

/// A decoded block of a column.
#[derive(Debug)]
struct Held {
    array: ArrayRef,
    pack: Arc<Pack>,
}

/// A decoded block to put into the cache.
pub(crate) struct Decoded<'a> {
    pub(crate) slots: &'a Arc<Slots>,
    pub(crate) at: usize,
    pub(crate) array: &'a mut ArrayRef,
}

/// A reservation of memory, returned to the budget on drop.
#[derive(Debug)]
pub(crate) struct Taken {
    bytes: usize,
    memory: Arc<HotMemory>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl HotMemory {
    /// A cache with a budget in bytes.
    pub(crate) fn new(budget: usize) -> Arc<Self> {
        let at_once = std::thread::available_parallelism().map_or(1, usize::from) * 2;
        let decoding = Semaphore::new(at_once);
        Arc::new(Self { budget, used: AtomicUsize::new(0), queue: Mutex::default(), decoding })
    }

    /// Waits for a permit to decode. This cannot deadlock, because no holder of a permit waits for another one.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        let turn = self.decoding.acquire().await;
        // The semaphore is never closed.
        turn.map_err(|_| internal_datafusion_err!("nothing is decoded any more"))
    }

    /// The budget, in bytes.
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// The reserved bytes.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Reserves memory for something that is never evicted. Evicts other blocks to make room.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Taken {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.make_room();
        Taken { bytes, memory: Arc::clone(self) }
    }

    /// Caches arrays that were decoded together, except for slots that are already filled. Replaces each newly cached
    /// array in `decoded` with its cached copy. Pinned arrays stay for as long as their files are served.
    ///
    /// # Errors
    /// If arrow cannot copy an array; no such array is known.
    pub(crate) fn keep(self: &Arc<Self>, decoded: &mut [Decoded<'_>], is_pinned: bool) -> Result<()> {
        let mut new = decoded.iter_mut().filter(|of| of.slots.0[of.at].load().is_none()).collect::<Vec<_>>();
        let bytes = new.iter().map(|of| of.array.get_array_memory_size()).sum::<usize>();
        if new.is_empty() || bytes > self.budget {
            return Ok(());
        }
        let (packed, bytes) = {
            let arrays = new.iter().map(|of| Arc::clone(of.array)).collect::<Vec<_>>();
            packed(&arrays, least_mapping(self.budget))?
        };
        let bytes = bytes + new.len() * BESIDE;
        self.used.fetch_add(bytes, Ordering::Relaxed);
        let taken = Taken { bytes, memory: Arc::clone(self) };
        let places = new.iter().map(|of| Place { slots: Arc::downgrade(of.slots), at: of.at }).collect();
        // Marked as used, because a caller has just asked for it.
        let pack = Arc::new(Pack { places, is_used: AtomicBool::new(true), _taken: taken });
        for (of, array) in new.iter_mut().zip(packed) {
            of.array.clone_from(&array);
            of.slots.0[of.at].store(Some(Arc::new(Held { array, pack: Arc::clone(&pack) })));
        }
        if !is_pinned {
            self.queue().push_back(Arc::downgrade(&pack));
        }
        drop(pack);
        self.make_room();
        Ok(())
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Weak<Pack>>> {
        // The queue is consistent after each step, so a poisoned lock is safe to use.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_room(&self) {
        if self.used() <= self.budget {
            return;
        }
        let mut queue = self.queue();
        // Two sweeps: the first marks each pack as unused, the second evicts.
        let mut left = queue.len() * 2;
        while self.used() > self.budget && left > 0 {
            left -= 1;
            let Some(waiting) = queue.pop_front() else { return };
            let Some(pack) = waiting.upgrade() else { continue };
            match pack.is_used.swap(false, Ordering::Relaxed) {
                true => queue.push_back(waiting),
                false => pack.leave(),
            }
        }
    }
}

impl Pack {
    fn leave(self: Arc<Self>) {
        for Place { slots, at } in &self.places {
            let Some(slots) = slots.upgrade() else { continue };
            let is_of_this = slots.0[*at].load().as_ref().is_some_and(|held| Arc::ptr_eq(&held.pack, &self));
            if is_of_this {
                slots.0[*at].store(None);
            }
        }
    }
}

impl Slots {
    /// Creates `count` empty slots.
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self((0..count).map(|_| ArcSwapOption::empty()).collect()))
    }

    /// The array in a slot; `None` if the slot is empty.
    pub(crate) fn get(&self, at: usize) -> Option<ArrayRef> {
        let held = self.0[at].load();
        let held = held.as_ref()?;
        // Stores only a changed value, because a cache line that all threads write is slow.
        if !held.pack.is_used.load(Ordering::Relaxed) {
            held.pack.is_used.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(&held.array))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Int64Array;

    fn array(rows: usize) -> ArrayRef {
        Arc::new(Int64Array::from(vec![7; rows]))
    }

    fn keep(memory: &Arc<HotMemory>, slots: &Arc<Slots>, at: usize, rows: usize, is_pinned: bool) {
        let mut array = array(rows);
        memory.keep(&mut [Decoded { slots, at, array: &mut array }], is_pinned).unwrap();
    }

    /// Bytes reserved for an array of `rows` rows.
    fn taken(rows: usize) -> usize {
        let (memory, slots) = (HotMemory::new(1 << 30), Slots::new(1));
        keep(&memory, &slots, 0, rows, false);
        memory.used()
    }

    #[test]
    fn who_was_not_read_leaves_first_and_the_budget_holds() {
        let memory = HotMemory::new(3 * taken(1000));
        let slots = Slots::new(5);
        for at in 0..3 {
            keep(&memory, &slots, at, 1000, false);
        }
        // The fourth array marks all as unused. Then the first is read again and stays, and the second is evicted.
        keep(&memory, &slots, 3, 1000, false);
        assert!(memory.used() <= memory.budget());
        let kept = (0..4).filter(|at| slots.get(*at).is_some()).count();
        assert_eq!(kept, 3);
        drop(slots);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn what_was_decoded_together_leaves_together() {
        let memory = HotMemory::new(2 * taken(1000) + taken(10));
        let slots = Slots::new(4);
        let (mut first, mut second) = (array(1000), array(10));
        let mut together =
            [Decoded { slots: &slots, at: 0, array: &mut first }, Decoded { slots: &slots, at: 1, array: &mut second }];
        memory.keep(&mut together, false).unwrap();
        assert!(slots.get(0).is_some() && slots.get(1).is_some());
        // A slot that is already filled keeps its array.
        let before = memory.used();
        keep(&memory, &slots, 1, 10, false);
        assert_eq!(memory.used(), before);
        for at in [2, 3] {
            keep(&memory, &slots, at, 1000, false);
        }
        let kept = (0..4).filter(|at| slots.get(*at).is_some()).collect::<Vec<_>>();
        assert_eq!(kept, [2, 3]);
    }

    #[test]
    fn what_is_larger_than_all_memory_is_not_kept_and_pinned_ones_stay() {
        let one = taken(1000);
        let memory = HotMemory::new(one);
        let slots = Slots::new(3);
        keep(&memory, &slots, 0, 2000, false);
        assert!(slots.get(0).is_none());
        keep(&memory, &slots, 1, 1000, true);
        keep(&memory, &slots, 2, 1000, false);
        assert!(slots.get(1).is_some());
        assert!(slots.get(2).is_none(), "there is no room beside the pinned one");
        let taken = memory.take(10);
        assert_eq!(memory.used(), one + 10);
        drop(taken);
        assert_eq!(memory.used(), one);
    }
}
