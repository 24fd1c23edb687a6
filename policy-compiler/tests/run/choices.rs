//! In: bytes that proptest draws. Out: decisions of the generators.
//!
//! A generator asks one question after the other; when the bytes run out every answer is the first one. So
//! shrinking the bytes shrinks what is generated, whatever its structure.

/// Source of decisions.
pub struct Choices<'a> {
    bytes: &'a [u8],
}

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        usize::from(*first) % n
    }

    pub fn flip(&mut self) -> bool {
        self.below(2) == 1
    }

    /// True once in `n`.
    pub fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of these.
    pub fn of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    /// Between `min` and `max` of something.
    pub fn list<T>(&mut self, min: usize, max: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = min + self.below(max - min + 1);
        (0..count).map(|_| one(self)).collect()
    }
}
