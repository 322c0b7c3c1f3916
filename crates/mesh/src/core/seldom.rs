//! What nearly all zones have nothing of nearly all the time: apart from the rest while there is something, and nowhere otherwise.

use std::ops::{Deref, DerefMut};

/// Read and written as if it were here. What is written to stays until [`Seldom::tidy`] finds nothing in it.
#[derive(Default)]
pub(super) struct Seldom<T>(Option<Box<T>>);

/// Something of which there may be nothing.
pub(super) trait Rare: Default + 'static {
    /// Nothing, to be read.
    const NOTHING: &'static Self;

    /// Whether it is no other than that.
    fn is_nothing(&self) -> bool;
}

impl<T: Rare> Seldom<T> {
    /// Gives back the room where there is nothing.
    pub(super) fn tidy(&mut self) {
        self.0.take_if(|rare| rare.is_nothing());
    }
}

impl<T: Rare> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::NOTHING)
    }
}

impl<T: Rare> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}
