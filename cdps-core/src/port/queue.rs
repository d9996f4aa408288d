//! A queue in blocks. It can grow long and empty again many times a second, and does neither by moving what is in it, nor by giving large
//! memory back to the system and asking for it anew.

use std::collections::VecDeque;
use std::mem;

/// Items of a block.
const BLOCK: usize = 128;
/// Items that a new block has room for: a port with little to tell needs little.
const FIRST: usize = 4;
/// Most empty blocks that are kept.
const SPARE: usize = 32;

/// First in, first out.
#[derive(Debug)]
pub struct Queue<T> {
    /// None is empty.
    blocks: VecDeque<Block<T>>,
    spare: Vec<Block<T>>,
}

/// Some items, in order.
#[derive(Debug)]
struct Block<T> {
    /// `None` but for those from `first` on, up to `end`.
    items: Vec<Option<T>>,
    first: usize,
    end: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { blocks: VecDeque::new(), spare: Vec::new() }
    }
}

impl<T> Queue<T> {
    /// Adds an item behind the others: made where it will lie. Made elsewhere and moved, it would cost more to move than to make.
    #[inline(always)]
    pub fn push_back_with(&mut self, make: impl FnOnce() -> T) {
        if let Some(last) = self.blocks.back_mut()
            && let Some(place) = last.items.get_mut(last.end)
        {
            last.end += 1;
            // There is nothing in it, which the compiler cannot know.
            mem::forget(place.replace(make()));
        } else {
            self.push_back(make());
        }
    }

    /// Adds an item behind the others.
    #[inline(never)]
    pub fn push_back(&mut self, item: T) {
        if self.blocks.back().is_none_or(|last| last.end >= BLOCK) {
            self.blocks.push_back(self.spare.pop().unwrap_or_else(Block::new));
        }
        let alone = self.blocks.len() == 1;
        if let Some(last) = self.blocks.back_mut() {
            if last.end == last.items.len() {
                let room = if alone { (last.items.len() * 2).max(FIRST) } else { BLOCK };
                last.items.resize_with(room, || None);
            }
            last.items[last.end] = Some(item);
            last.end += 1;
        }
    }

    /// The first item.
    pub fn front(&self) -> Option<&T> {
        let first = self.blocks.front()?;
        first.items[first.first].as_ref()
    }

    /// The first item, to be changed.
    #[inline]
    pub fn front_mut(&mut self) -> Option<&mut T> {
        let first = self.blocks.front_mut()?;
        first.items[first.first].as_mut()
    }

    /// Takes the first item.
    #[inline]
    pub fn pop_front(&mut self) -> Option<T> {
        let first = self.blocks.front_mut()?;
        let item = first.items[first.first].take();
        first.first += 1;
        if first.first == first.end {
            self.recycle();
        }
        item
    }

    /// Puts the first block, which is empty, aside.
    #[cold]
    fn recycle(&mut self) {
        if let Some(mut block) = self.blocks.pop_front()
            && self.spare.len() < SPARE
        {
            (block.first, block.end) = (0, 0);
            self.spare.push(block);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// All of them, in order.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flat_map(|block| block.items.iter().flatten())
    }

    /// Drops the items of which `keep` says false.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for block in mem::take(&mut self.blocks) {
            block.items.into_iter().flatten().filter(&mut keep).for_each(|item| self.push_back(item));
        }
    }
}

impl<T> Block<T> {
    fn new() -> Block<T> {
        Block { items: Vec::new(), first: 0, end: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    /// As a `VecDeque` of the same items, whatever is done, and what it keeps for later is limited.
    #[test]
    fn as_a_deque_would_do() {
        for seed in 0..20 {
            let mut prng = Prng::new(seed);
            let (mut queue, mut deque) = (Queue::default(), VecDeque::new());
            let mut next = 0;
            for _ in 0..200 {
                for k in 0..prng.below(600) {
                    if k % 3 > 0 {
                        queue.push_back_with(|| next)
                    } else {
                        queue.push_back(next)
                    }
                    deque.push_back(next);
                    next += 1;
                }
                for _ in 0..prng.below(700) {
                    assert_eq!(queue.front(), deque.front(), "seed {seed}");
                    assert_eq!(queue.pop_front(), deque.pop_front(), "seed {seed}");
                }
                match prng.below(10) {
                    0 => {
                        if let (Some(a), Some(b)) = (queue.front_mut(), deque.front_mut()) {
                            assert_eq!(std::mem::replace(a, next), std::mem::replace(b, next), "seed {seed}");
                        }
                        next += 1;
                    }
                    1 => {
                        let keep = prng.below(200);
                        queue.retain(|item| item % 200 < keep);
                        deque.retain(|item| item % 200 < keep);
                    }
                    _ => {}
                }
                assert_eq!(queue.is_empty(), deque.is_empty());
                assert!(queue.iter().eq(&deque), "seed {seed}");
                assert!(queue.spare.len() <= SPARE && queue.blocks.iter().all(|b| b.first < b.end));
            }
        }
    }
}
