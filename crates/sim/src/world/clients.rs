//! Clients: what they ask, and what the answers must be.

use super::{AUDITOR, Event, OPERATOR, World};
use crate::checker::{Action, Operation};
use crate::client::Meaning;
use api::{Call, ErrorCode, Request, Value};
use paxos::Policy;
use replica::{Input, RequestId};

/// Clients.
impl World {
    /// The client begins, or loses patience and tries again elsewhere.
    pub(super) fn on_patience(&mut self, client: usize, number: u64, attempt: u64) {
        if client == AUDITOR {
            self.audit_again(number);
            return;
        }
        let begun = self.clients[client].current.is_some();
        if !begun {
            if self.clients[client].is_done() {
                return;
            }
            let current = self.clients[client].begin(&self.plan, &mut self.rng, self.now_us);
            self.written.extend(current.value().map(str::to_owned));
        }
        let Some(current) = &mut self.clients[client].current else { return };
        if begun && (current.number, current.attempt) != (number, attempt) {
            return;
        }
        current.attempt += 1;
        let (number, attempt, call) = (current.number, current.attempt, current.call.clone());
        self.send_request(client, number, &call);
        if call.request.is_write() && self.rng.f64() < self.plan.double_send {
            self.send_request(client, number, &call);
        }
        let patience = self.rng.u64(100_000..2_000_000);
        self.after(patience, Event::Patience { client, number, attempt });
    }

    pub(super) fn send_request(&mut self, client: usize, number: u64, call: &Call) {
        let mut node = self.rng.usize(..self.nodes.len());
        if let Some(home) = self.clients[client].home
            && self.rng.f64() < self.plan.loyalty
        {
            node = home;
        }
        self.clients[client].home = Some(node);
        let arrivals = self.network.arrivals(&self.plan, &mut self.rng, self.now_us);
        for at in arrivals.into_iter().flatten() {
            self.at(at, Event::Request { node, client, number, call: Box::new(call.clone()) });
        }
    }

    pub(super) fn on_request(
        &mut self,
        node: usize,
        client: usize,
        number: u64,
        call: Call,
    ) -> Result<(), String> {
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        let what = format_args!("{node} asked {client}/{number} {call:?}");
        self.trace.numbers(self.now_us, &[node as u64, client as u64, number], what);
        up.request_next += 1;
        let id = RequestId(up.request_next);
        up.requests.insert(id, (client, number));
        let now_ms = self.now_us / 1000;
        self.step(node, Input::Request { id, call, now_ms })
    }

    pub(super) fn answer(
        &mut self,
        node: usize,
        id: RequestId,
        answer: &Result<Value, api::Error>,
    ) {
        let Some(up) = &mut self.nodes[node].up else { return };
        let Some((client, number)) = up.requests.remove(&id) else { return };
        let what = format_args!("{node} tells {client}/{number} {answer:?}");
        let is_granted = u64::from(answer.is_ok());
        self.trace.numbers(self.now_us, &[node as u64, client as u64, number, is_granted], what);
        let arrivals = self.network.arrivals(&self.plan, &mut self.rng, self.now_us);
        for at in arrivals.into_iter().flatten() {
            self.at(at, Event::Answer { client, number, answer: Box::new(answer.clone()) });
        }
    }

    pub(super) fn on_answer(
        &mut self,
        client: usize,
        number: u64,
        answer: Result<Value, api::Error>,
    ) -> Result<(), String> {
        if client == AUDITOR {
            return self.on_audit(number, answer);
        }
        if client == OPERATOR {
            return Ok(());
        }
        let current = self.clients[client].current.as_ref().filter(|c| c.number == number);
        let Some(current) = current.cloned() else {
            return self.check_repeat(client, number, answer);
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.on_refusal(client, &current.call, current.attempt, &error),
        };
        self.report.answers += 1;
        if current.call.request.is_write() {
            self.answered.insert((client, number), answer.clone());
            if self.rng.f64() < self.plan.repeat_answered {
                let delay = self.rng.u64(0..500_000);
                self.after(delay, Event::Repeat { client, number, call: Box::new(current.call) });
            }
        }
        match self.clients[client].finish(&answer, self.now_us)? {
            Meaning::Keys(operations) => {
                for (key, operation) in operations {
                    match self.plan.policy {
                        Policy::Passive => self.on_answer_of_primary(key, operation)?,
                        Policy::Paxos => self.histories[key].add(operation),
                    }
                }
            }
            Meaning::Inserted(ids) => self.inserted.extend(ids),
            Meaning::Nothing => {}
        }
        let pause = self.rng.u64(0..=self.plan.think_us);
        self.after(pause, Event::Patience { client, number: 0, attempt: 0 });
        Ok(())
    }

    /// Under the passive policy a read may tell of any earlier moment. What was written is in order, unless nodes
    /// have parted.
    fn on_answer_of_primary(&mut self, key: usize, operation: Operation) -> Result<(), String> {
        match &operation.action {
            Action::Read(Value::Null) => Ok(()),
            Action::Read(Value::String(value)) if self.written.contains(value) => Ok(()),
            Action::Read(_) => Err(format!("a value was read that nobody wrote: {operation}")),
            Action::Write(value) | Action::Swap(_, value) if self.plan.may_part => {
                self.acknowledged.extend(value.as_str().map(str::to_owned));
                Ok(())
            }
            _ => {
                self.histories[key].add(operation);
                Ok(())
            }
        }
    }

    /// A write that was sent again after its answer must get the same answer, or none.
    fn check_repeat(
        &mut self,
        client: usize,
        number: u64,
        answer: Result<Value, api::Error>,
    ) -> Result<(), String> {
        match (self.answered.get(&(client, number)), answer) {
            (Some(first), Ok(second)) if *first != second && !self.plan.may_part => Err(format!(
                "client {client} got {first:?} for its operation {number}, and later {second:?}"
            )),
            _ => Ok(()),
        }
    }

    fn on_refusal(
        &mut self,
        client: usize,
        call: &Call,
        attempt: u64,
        error: &api::Error,
    ) -> Result<(), String> {
        match error.code {
            ErrorCode::Down
            | ErrorCode::Busy
            | ErrorCode::Timeout
            | ErrorCode::DiskFull
            | ErrorCode::NotLeader => {
                let Some(current) = &self.clients[client].current else { return Ok(()) };
                let number = current.number;
                if error.code == ErrorCode::NotLeader {
                    self.clients[client].home = None;
                }
                let wait = self.rng.u64(1_000..100_000);
                self.after(wait, Event::Patience { client, number, attempt });
                Ok(())
            }
            // The collection is made by client 0, perhaps later; this operation had no effect.
            ErrorCode::UnknownCollection | ErrorCode::UnknownIndex | ErrorCode::IndexExists
                if is_about_documents(&call.request) =>
            {
                self.clients[client].current = None;
                self.after(1_000, Event::Patience { client, number: 0, attempt: 0 });
                Ok(())
            }
            _ => Err(format!("client {client} was refused: {error} ({call:?})")),
        }
    }
}

/// Whether it needs the collection that a client makes, or an index that comes and goes.
fn is_about_documents(request: &Request) -> bool {
    matches!(
        request,
        Request::Insert { .. }
            | Request::Update { .. }
            | Request::CreateIndex { .. }
            | Request::DropIndex { .. }
    )
}
