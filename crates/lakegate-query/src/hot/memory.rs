//! The memory that decoded columns share: a budget, and who leaves when it is full.
//!
//! Reading takes no lock. Who was not read since it was last looked at leaves first ("second chance").

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, internal_datafusion_err};
use tokio::sync::{Semaphore, SemaphorePermit};

/// A budget for decoded columns of all tables.
#[derive(Debug)]
pub(crate) struct HotMemory {
    budget: usize,
    used: AtomicUsize,
    queue: Mutex<VecDeque<Place>>,
    /// Who decodes holds one: what is being decoded is not counted yet.
    decoding: Semaphore,
}

/// One column of a file: a slot for each of its blocks.
#[derive(Debug)]
pub(crate) struct Slots(Box<[ArcSwapOption<Held>]>);

/// A place that may be freed.
#[derive(Debug)]
struct Place {
    slots: Weak<Slots>,
    at: usize,
}

/// A decoded block of a column, counted while it is kept.
#[derive(Debug)]
struct Held {
    array: ArrayRef,
    is_used: AtomicBool,
    _taken: Taken,
}

/// Memory that is taken from the budget until this is dropped.
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
    /// A budget in bytes.
    pub(crate) fn new(budget: usize) -> Arc<Self> {
        let at_once = std::thread::available_parallelism().map_or(1, usize::from) * 2;
        let decoding = Semaphore::new(at_once);
        Arc::new(Self { budget, used: AtomicUsize::new(0), queue: Mutex::default(), decoding })
    }

    /// Waits for a turn to decode. Nobody who has one waits for another.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        let turn = self.decoding.acquire().await;
        // Nobody closes it.
        turn.map_err(|_| internal_datafusion_err!("nothing is decoded any more"))
    }

    /// The budget, in bytes.
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// What is taken of it, in bytes.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes memory for something that is not evicted; others make room for it.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Taken {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.make_room();
        Taken { bytes, memory: Arc::clone(self) }
    }

    /// Keeps a decoded block, unless it is kept already. A pinned one stays as long as its file is served.
    pub(crate) fn keep(self: &Arc<Self>, slots: &Arc<Slots>, at: usize, array: ArrayRef, is_pinned: bool) {
        let bytes = array.get_array_memory_size();
        if slots.0[at].load().is_some() || bytes > self.budget {
            return;
        }
        self.used.fetch_add(bytes, Ordering::Relaxed);
        let taken = Taken { bytes, memory: Arc::clone(self) };
        // It has just been wanted.
        let held = Held { array, is_used: AtomicBool::new(true), _taken: taken };
        slots.0[at].store(Some(Arc::new(held)));
        if !is_pinned {
            self.queue().push_back(Place { slots: Arc::downgrade(slots), at });
        }
        self.make_room();
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Place>> {
        // A queue is whole after each step.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_room(&self) {
        if self.used() <= self.budget {
            return;
        }
        let mut queue = self.queue();
        // Twice round: once to find everybody unused, once to free them.
        let mut left = queue.len() * 2;
        while self.used() > self.budget && left > 0 {
            left -= 1;
            let Some(place) = queue.pop_front() else { return };
            let Some(slots) = place.slots.upgrade() else { continue };
            let was_used =
                slots.0[place.at].load().as_ref().is_some_and(|held| held.is_used.swap(false, Ordering::Relaxed));
            match was_used {
                true => queue.push_back(place),
                false => slots.0[place.at].store(None),
            }
        }
    }
}

impl Slots {
    /// So many empty slots.
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self((0..count).map(|_| ArcSwapOption::empty()).collect()))
    }

    /// What is in a slot.
    pub(crate) fn get(&self, at: usize) -> Option<ArrayRef> {
        let held = self.0[at].load();
        let held = held.as_ref()?;
        // Written only where it changes: a cache line that all threads write is slow.
        if !held.is_used.load(Ordering::Relaxed) {
            held.is_used.store(true, Ordering::Relaxed);
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

    #[test]
    fn who_was_not_read_leaves_first_and_the_budget_holds() {
        let memory = HotMemory::new(3 * array(1000).get_array_memory_size());
        let slots = Slots::new(5);
        for at in 0..3 {
            memory.keep(&slots, at, array(1000), false);
        }
        // The fourth makes everybody unused once; then the first, which is read again, stays and the second goes.
        memory.keep(&slots, 3, array(1000), false);
        assert!(memory.used() <= memory.budget());
        let kept = (0..4).filter(|at| slots.get(*at).is_some()).count();
        assert_eq!(kept, 3);
        drop(slots);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn what_is_larger_than_all_memory_is_not_kept_and_pinned_ones_stay() {
        let one = array(1000).get_array_memory_size();
        let memory = HotMemory::new(one);
        let slots = Slots::new(3);
        memory.keep(&slots, 0, array(2000), false);
        assert!(slots.get(0).is_none());
        memory.keep(&slots, 1, array(1000), true);
        memory.keep(&slots, 2, array(1000), false);
        assert!(slots.get(1).is_some());
        assert!(slots.get(2).is_none(), "there is no room beside the pinned one");
        let taken = memory.take(10);
        assert_eq!(memory.used(), one + 10);
        drop(taken);
        assert_eq!(memory.used(), one);
    }
}
