//! In: one kind's watch events. Out: all its objects, complete at each moment.

use std::collections::BTreeMap;

use kube::runtime::watcher::Event;

/// The objects of one kind, by identity.
#[derive(Debug)]
pub(super) struct Index<K, V> {
    objects: BTreeMap<K, V>,
    /// What a list that goes on has brought so far; it replaces `objects` when it is complete.
    arriving: Option<BTreeMap<K, V>>,
    complete: bool,
}

impl<K: Ord, V: PartialEq> Index<K, V> {
    /// Knows nothing yet.
    pub(super) fn new() -> Index<K, V> {
        Index { objects: BTreeMap::new(), arriving: None, complete: false }
    }

    /// Takes one event in and tells whether [`Index::objects`] changed. A deletion's value is not looked at.
    pub(super) fn apply(&mut self, event: Event<(K, Option<V>)>) -> bool {
        match event {
            Event::Init => {
                self.arriving = Some(BTreeMap::new());
                false
            }
            Event::InitApply((key, value)) => {
                if let (Some(arriving), Some(value)) = (&mut self.arriving, value) {
                    arriving.insert(key, value);
                }
                false
            }
            Event::InitDone => {
                let before = self.complete;
                self.complete = true;
                match self.arriving.take() {
                    Some(arrived) if arrived != self.objects => {
                        self.objects = arrived;
                        true
                    }
                    _ => !before,
                }
            }
            Event::Apply((key, Some(value))) => {
                if self.objects.get(&key) == Some(&value) {
                    return false;
                }
                self.objects.insert(key, value);
                true
            }
            Event::Apply((_, None)) => false,
            Event::Delete((key, _)) => self.objects.remove(&key).is_some(),
        }
    }

    /// Whether a list has been complete.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// What is known.
    pub(super) fn objects(&self) -> &BTreeMap<K, V> {
        &self.objects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str, value: u8) -> (&'static str, Option<u8>) {
        (key, Some(value))
    }

    #[test]
    fn a_new_list_replaces_the_old_one_in_one_step() {
        let mut index = Index::new();
        assert!(!index.is_complete());
        assert!(!index.apply(Event::Init));
        assert!(!index.apply(Event::InitApply(put("a", 1))));
        assert!(!index.apply(Event::InitApply(put("b", 1))));
        assert!(index.objects().is_empty() && !index.is_complete());
        assert!(index.apply(Event::InitDone));
        assert!(index.is_complete());

        // The connection broke: what was deleted meanwhile goes only when the new list is complete.
        assert!(!index.apply(Event::Init));
        assert!(!index.apply(Event::InitApply(put("b", 2))));
        assert_eq!(index.objects().len(), 2);
        assert!(!index.apply(Event::Init), "the list broke off and begins anew");
        assert!(!index.apply(Event::InitApply(put("c", 1))));
        assert!(index.apply(Event::InitDone));
        assert_eq!(index.objects().iter().collect::<Vec<_>>(), [(&"c", &1)]);
    }

    #[test]
    fn only_changes_count() {
        let mut index = Index::new();
        index.apply(Event::Init);
        assert!(index.apply(Event::InitDone), "an empty cluster is news too");
        assert!(index.apply(Event::Apply(put("a", 1))));
        assert!(!index.apply(Event::Apply(put("a", 1))));
        assert!(index.apply(Event::Apply(put("a", 2))));
        assert!(index.apply(Event::Delete(("a", None))));
        assert!(!index.apply(Event::Delete(("a", None))));
        index.apply(Event::Init);
        assert!(!index.apply(Event::InitDone));
    }
}
