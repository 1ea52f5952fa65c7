//! What ranks have in common, whatever they share: their connection, and its first failure.

use super::{Collective, CollectiveError};
use crate::backend::Backend;
use std::cell::RefCell;

/// The ranks of a training, seen from one of them.
pub struct Team<'a, C> {
    pub collective: &'a C,
    failure: RefCell<Option<CollectiveError>>,
}

impl<'a, C: Collective> Team<'a, C> {
    pub fn new(collective: &'a C) -> Self {
        Self { collective, failure: RefCell::new(None) }
    }

    /// True after the first failure, when ranks do nothing together any more.
    pub fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// The first failure.
    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().as_ref().map(ToString::to_string)
    }

    /// Keeps the first failure, after which the ranks do nothing together.
    pub fn note<T>(&self, result: Result<T, CollectiveError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.collective.give_up();
                self.failure.borrow_mut().get_or_insert(error);
                None
            }
        }
    }

    /// What every rank gives; nothing after a failure. A rank whose device has failed comes as well and says so, so that all ranks stop at the same
    /// call and none waits for another one.
    pub fn gather<B: Backend>(&self, inner: &B, own: &[u8]) -> Option<Vec<Vec<u8>>> {
        if self.has_failed() {
            return None;
        }
        let own = [&[u8::from(inner.failure().is_some())][..], own].concat();
        let all = self.note(self.collective.gather(&own))?;
        if let Some(rank) = all.iter().position(|given| given.first() != Some(&0)) {
            return self.note(Err(CollectiveError::Broken { rank }));
        }
        Some(all.into_iter().map(|mut given| given.split_off(1)).collect())
    }

    /// True where it is true for any rank; without the others there is nothing to go on with.
    pub fn agreed<B: Backend>(&self, inner: &B, stop: bool) -> bool {
        self.gather(inner, &[stop.into()]).is_none_or(|all| all.iter().any(|given| given.as_slice() != [0]))
    }

    /// Sums over ranks, in their order.
    pub fn sums<B: Backend>(&self, inner: &B, terms: &[f64]) -> Option<Vec<f64>> {
        let bytes: Vec<u8> = terms.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut sums = vec![0.0; terms.len()];
        for given in &self.gather(inner, &bytes)? {
            let given = given.as_chunks::<8>().0.iter().map(|x| f64::from_le_bytes(*x));
            sums.iter_mut().zip(given).for_each(|(sum, x)| *sum += x);
        }
        Some(sums)
    }
}
