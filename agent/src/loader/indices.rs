//! In: requests for a place in an array map. Out: the lowest free index, or nothing when all are taken.

use std::collections::BTreeSet;

/// Which of `capacity` indices are taken.
#[derive(Debug)]
pub struct Indices {
    capacity: u32,
    taken: BTreeSet<u32>,
}

impl Indices {
    /// All free.
    pub fn new(capacity: u32) -> Indices {
        Indices { capacity, taken: BTreeSet::new() }
    }

    /// Takes the lowest free index.
    pub fn take(&mut self) -> Option<u32> {
        let index = (0..self.capacity).find(|index| !self.taken.contains(index))?;
        self.taken.insert(index);
        Some(index)
    }

    /// Gives one back.
    pub fn give_back(&mut self, index: u32) {
        self.taken.remove(&index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_index_is_taken_until_none_is_left() {
        let mut indices = Indices::new(3);
        assert_eq!(
            [indices.take(), indices.take(), indices.take(), indices.take()],
            [Some(0), Some(1), Some(2), None]
        );
        indices.give_back(1);
        assert_eq!([indices.take(), indices.take()], [Some(1), None]);
    }
}
