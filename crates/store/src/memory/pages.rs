//! An array that can be shared as it is: in pages, copied when they are changed while another holds them.
//!
//! A copy of the array counts a reference for each page. imbl's vector counts one for all of it, but checks one at each of its
//! levels for every change, and a put is to wait for as little as it can.

use std::sync::Arc;

/// Elements of a page.
const PAGE: usize = 512;

#[derive(Clone, Debug)]
pub(super) struct Pages<T> {
    pages: Vec<Arc<[T; PAGE]>>,
    length: usize,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Pages { pages: Vec::new(), length: 0 }
    }
}

impl<T> Pages<T> {
    /// The element at `index`, which is there.
    pub(super) fn get(&self, index: usize) -> &T {
        &self.pages[index / PAGE][index % PAGE]
    }

    /// The same, to be changed, if nobody else holds its page.
    pub(super) fn get_own(&mut self, index: usize) -> Option<&mut T> {
        Some(&mut Arc::get_mut(&mut self.pages[index / PAGE])?[index % PAGE])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.iter()).take(self.length)
    }
}

impl<T: Clone + Default> Pages<T> {
    /// The element at `index`, which is there, to be changed.
    pub(super) fn get_mut(&mut self, index: usize) -> &mut T {
        &mut Arc::make_mut(&mut self.pages[index / PAGE])[index % PAGE]
    }

    /// Adds an element that is nothing yet; its index.
    pub(super) fn push(&mut self) -> usize {
        if self.length.is_multiple_of(PAGE) {
            self.pages.push(Arc::new(std::array::from_fn(|_| T::default())));
        }
        self.length += 1;
        self.length - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_as_it_is_and_a_shared_page_is_nobodys_own() {
        let (mut pages, mut expected) = (Pages::default(), Vec::new());
        for number in 0..3 * PAGE + 7 {
            assert_eq!(pages.push(), number);
            *pages.get_mut(number) = number;
            expected.push(number);
        }
        let copy = pages.clone();
        assert!(pages.get_own(PAGE).is_none());
        *pages.get_mut(PAGE) = 0;
        *pages.get_own(PAGE + 1).expect("the page was copied for the element before it") = 0;
        assert!(pages.get_own(0).is_none());
        assert!(copy.iter().eq(&expected));
        expected[PAGE..PAGE + 2].fill(0);
        assert!(pages.iter().eq(&expected));
        drop(copy);
        assert_eq!(pages.get_own(3 * PAGE + 6), Some(&mut (3 * PAGE + 6)));
    }
}
