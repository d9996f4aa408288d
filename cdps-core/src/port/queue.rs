//! A queue in blocks. It can grow long and empty again many times a second, and does neither by moving what is in it, nor by giving large
//! memory back to the system and asking for it anew.

use std::collections::VecDeque;

/// Items of a block.
const BLOCK: usize = 128;
/// Most empty blocks that are kept.
const SPARE: usize = 32;

/// First in, first out.
#[derive(Debug)]
pub struct Queue<T> {
    /// None is empty.
    blocks: VecDeque<VecDeque<T>>,
    spare: Vec<VecDeque<T>>,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { blocks: VecDeque::new(), spare: Vec::new() }
    }
}

impl<T> Queue<T> {
    /// Adds an item behind the others.
    #[inline]
    pub fn push_back(&mut self, item: T) {
        match self.blocks.back_mut() {
            Some(last) if last.len() < BLOCK => last.push_back(item),
            Some(_) | None => self.push_block(item),
        }
    }

    #[cold]
    fn push_block(&mut self, item: T) {
        // A new one grows as it is filled: a port with little to tell needs little.
        let mut block = self.spare.pop().unwrap_or_default();
        block.push_back(item);
        self.blocks.push_back(block);
    }

    /// Puts an item before the others.
    pub fn push_front(&mut self, item: T) {
        match self.blocks.front_mut() {
            Some(first) => first.push_front(item),
            None => self.push_block(item),
        }
    }

    /// The first item.
    pub fn front(&self) -> Option<&T> {
        self.blocks.front()?.front()
    }

    /// Takes the first item.
    #[inline]
    pub fn pop_front(&mut self) -> Option<T> {
        match self.blocks.front_mut() {
            Some(first) if first.len() > 1 => first.pop_front(),
            Some(_) | None => self.pop_block(),
        }
    }

    /// Takes a block that has one item, and the item.
    #[cold]
    fn pop_block(&mut self) -> Option<T> {
        let mut block = self.blocks.pop_front()?;
        let item = block.pop_front();
        if self.spare.len() < SPARE {
            self.spare.push(block);
        }
        item
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// All of them, in order.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten()
    }

    /// Drops the items of which `keep` says false.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for block in &mut self.blocks {
            block.retain(&mut keep);
        }
        self.blocks.retain(|block| !block.is_empty());
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
                for _ in 0..prng.below(600) {
                    queue.push_back(next);
                    deque.push_back(next);
                    next += 1;
                }
                for _ in 0..prng.below(700) {
                    assert_eq!(queue.front(), deque.front(), "seed {seed}");
                    assert_eq!(queue.pop_front(), deque.pop_front(), "seed {seed}");
                }
                match prng.below(10) {
                    0 => {
                        queue.push_front(next);
                        deque.push_front(next);
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
                assert!(queue.spare.len() <= SPARE && queue.blocks.iter().all(|b| !b.is_empty()));
            }
        }
    }
}
