//! Answers that come in any order and leave in the order of their requests.

use crate::service::ReplySink;
use api::frame::LengthField;
use api::{Error, Value};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// What is to be written for one request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) result: Result<Value, Error>,
    /// The length field from the answer after this one on (`hello`).
    pub(super) length_field_after: Option<LengthField>,
}

impl Answer {
    pub(super) fn refusal(error: Error) -> Answer {
        Answer { result: Err(error), length_field_after: None }
    }
}

/// The answers of one connection.
///
/// Invariants: slot `i` belongs to ticket `first_ticket + i`; the front is what is written next; the
/// waker is there only while the connection's task waits for the front.
#[derive(Default)]
pub(super) struct Answers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: VecDeque<Option<Answer>>,
    first_ticket: u64,
    waker: Option<Waker>,
}

impl Answers {
    /// Makes room for the answer of the next request; returns its ticket.
    pub(super) fn open(&self) -> u64 {
        let mut state = self.lock();
        state.slots.push_back(None);
        state.first_ticket + state.slots.len() as u64 - 1
    }

    /// Adds an answer that the gateway gives by itself.
    pub(super) fn push(&self, answer: Answer) {
        self.lock().slots.push_back(Some(answer));
    }

    /// Takes the front if it is ready; else keeps `waker` to be woken when it is.
    pub(super) fn pop(&self, waker: &Waker) -> Option<Answer> {
        let mut state = self.lock();
        match state.slots.front_mut() {
            None => {
                if state.slots.capacity() > 8 {
                    state.slots = VecDeque::new();
                }
                return None;
            }
            Some(None) => {
                state.waker = Some(waker.clone());
                return None;
            }
            Some(Some(_)) => {}
        }
        state.first_ticket += 1;
        state.slots.pop_front().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReplySink for Answers {
    fn deliver(&self, ticket: u64, result: Result<Value, Error>) {
        let mut state = self.lock();
        assert!(ticket >= state.first_ticket, "one answer per request");
        let position = (ticket - state.first_ticket) as usize;
        let slot = &mut state.slots[position];
        assert!(slot.is_none(), "one answer per request");
        *slot = Some(Answer { result, length_field_after: None });
        let waker = if position == 0 { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
