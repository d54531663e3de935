//! Callers at once: where there are too many, the oldest gives way, so that slow or hostile callers cannot block
//! others.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// The callers that are inside.
#[derive(Debug)]
pub(super) struct Crowd {
    most: usize,
    /// The oldest first, each with its number.
    inside: Mutex<(u64, VecDeque<(u64, CancellationToken)>)>,
}

/// A caller's place in a crowd, left when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    /// Cancelled when the caller must give way.
    pub(super) out: CancellationToken,
}

impl Crowd {
    pub(super) fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { most, inside: Mutex::default() })
    }

    /// Takes one more in. Where that is one too many, the oldest is told to leave.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let out = CancellationToken::new();
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let (numbers, callers) = &mut *inside;
        let number = *numbers;
        *numbers += 1;
        callers.push_back((number, out.clone()));
        if callers.len() > self.most
            && let Some((_, oldest)) = callers.pop_front()
        {
            oldest.cancel();
        }
        drop(inside);
        Place { crowd: Arc::clone(self), number, out }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.crowd.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.1.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_to_one_too_many() {
        let crowd = Crowd::of(2);
        let (first, second) = (crowd.enter(), crowd.enter());
        assert!(!first.out.is_cancelled());
        let third = crowd.enter();
        assert!(first.out.is_cancelled() && !second.out.is_cancelled());
        // The first has left its place already, and leaves no other one.
        drop(first);
        drop(third);
        let fourth = crowd.enter();
        assert!(!second.out.is_cancelled() && !fourth.out.is_cancelled());
        let _fifth = crowd.enter();
        assert!(second.out.is_cancelled() && !fourth.out.is_cancelled());
    }
}
