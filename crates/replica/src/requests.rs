//! Client requests: what is refused at once, and what becomes of the others.

use crate::node::{Output, Read, Replica, RequestId};
use crate::writes::error_down;
use api::limits::{TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX};
use api::{Call, Error, ErrorCode, Level, MemberChange, Reference, Request, Value};
use bytes::Bytes;
use paxos::{Policy, ReadId, Slot};
use store::Command;

impl Replica {
    pub(crate) fn on_request(&mut self, id: RequestId, call: Call, now_ms: u64) {
        match call.request {
            Request::Status { hash: true } => {
                self.outputs.push(Output::Query { id, request: call.request });
            }
            Request::Status { hash: false } => {
                let status = self.status_document();
                self.reply(id, Ok(Value::Document(status)));
            }
            Request::Members => {
                let members = self.members_list();
                self.reply(id, Ok(Value::Array(members)));
            }
            _ => match self.admit(&call) {
                Err(error) => self.reply(id, Err(error)),
                Ok(()) if let Request::Member(change) = &call.request => {
                    let deadline = self.deadline(call.options.timeout_ms);
                    self.begin_change(id, change, deadline);
                }
                Ok(()) if call.request.is_write() => self.begin_write(id, call, now_ms),
                Ok(()) => self.begin_read(id, call),
            },
        }
    }

    /// Refuses what can be refused at once.
    fn admit(&self, call: &Call) -> Result<(), Error> {
        store::validate(&call.request)?;
        if self.pending_writes() + self.pending_reads() >= self.config.requests_max {
            let message =
                format!("{} requests are under way at this node", self.config.requests_max);
            return Err(Error::new(ErrorCode::Busy, message));
        }
        if self.delivered.0 - self.applied().0 > self.config.apply_lag_slots_max {
            let message = "the store of this node is behind the log; try again or another member";
            return Err(Error::new(ErrorCode::Busy, message));
        }
        let is_write = call.request.is_write();
        // Who watches is to go on where something may happen.
        let is_watch = matches!(call.request, Request::Watch(_));
        let local = !is_write && !is_watch && self.reads_locally(call);
        let is_vouched = matches!(
            &call.request,
            Request::Member(MemberChange::Lead { node: Some(_) } | MemberChange::Alone { .. })
        );
        if self.is_down() && !local && !is_vouched {
            return Err(error_down());
        }
        if is_write && self.is_disk_full {
            let message = "the disk of this node is full; it takes writes again once there is room";
            return Err(Error::new(ErrorCode::DiskFull, message));
        }
        if is_write && self.policy() == Policy::Passive {
            self.admit_at_primary()?;
        }
        Ok(())
    }

    /// Under the passive policy writes go to the leader alone (spec D14).
    fn admit_at_primary(&self) -> Result<(), Error> {
        match self.paxos.leader() {
            Some(leader) if leader == self.paxos.node() => Ok(()),
            Some(leader) => {
                let address = self.address_of(leader).unwrap_or_else(|| leader.to_string());
                Err(Error::not_leader(&address))
            }
            None => Err(error_down()),
        }
    }

    /// Whether the answer is what this node's store says: asked for, or all there is under the passive policy.
    fn reads_locally(&self, call: &Call) -> bool {
        let is_here = match &call.request {
            // What was opened at this node.
            Request::Next { .. } | Request::Close { .. } => true,
            // It waits for what is applied; where it begins now, now must not be long ago.
            Request::Watch(watch) => watch.from.is_some(),
            _ => call.options.level == Level::Local,
        };
        is_here || self.policy() == Policy::Passive
    }

    /// No leader has been known for a while.
    pub(crate) fn is_down(&self) -> bool {
        self.leader.is_none() && self.now >= self.leaderless_since + self.config.down_ticks
    }

    fn deadline(&self, timeout_ms: Option<u64>) -> u64 {
        let ms = timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT).min(TIMEOUT_MS_MAX);
        self.now + ms.div_ceil(self.config.tick_ms).max(1)
    }

    fn begin_write(&mut self, id: RequestId, call: Call, now_ms: u64) {
        let deadline = self.deadline(call.options.timeout_ms);
        let (reference, acked) = match call.options.reference {
            Some(reference) => (reference, call.options.acked.unwrap_or(0)),
            None => {
                self.sequence += 1;
                let reference = Reference::new(self.config.session.clone(), self.sequence);
                let lowest = self.writes.lowest_under_way(&self.config.session);
                (reference, lowest.unwrap_or(self.sequence))
            }
        };
        let request = call.request;
        let command_reference = reference.clone();
        let encode = move || {
            let command = Command { reference: command_reference, acked, time_ms: now_ms, request };
            Bytes::from(command.encode())
        };
        self.writes.begin(&reference, encode, id, deadline);
    }

    fn begin_read(&mut self, id: RequestId, call: Call) {
        if self.reads_locally(&call) {
            self.outputs.push(Output::Query { id, request: call.request });
            return;
        }
        let deadline = self.deadline(call.options.timeout_ms);
        self.reads.insert(id, Read { request: call.request, deadline });
        self.paxos.step(paxos::Input::Read(ReadId(id.0)));
    }

    pub(crate) fn expire(&mut self) {
        let is_down = self.is_down();
        for (id, error) in self.writes.expire(self.now, is_down) {
            self.reply(id, Err(error));
        }
        let now = self.now;
        let late: Vec<RequestId> = (self.reads.iter())
            .filter(|(_, read)| is_down || now >= read.deadline)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.reads.remove(&id);
            self.reply(id, Err(error_down()));
        }
        self.expire_ready();
    }

    /// Reads that may be served once the store is as far: it need not come so far, and without room it will not.
    fn expire_ready(&mut self) {
        let now = self.now;
        let lacks_room = |slot: Slot| self.is_disk_full && slot > self.delivered;
        let late: Vec<((Slot, RequestId), bool)> = (self.ready.iter())
            .map(|(key, read)| (*key, lacks_room(key.0), now >= read.deadline))
            .filter(|(_, lacks_room, is_late)| *lacks_room || *is_late)
            .map(|(key, lacks_room, _)| (key, lacks_room))
            .collect();
        for (key, lacks_room) in late {
            self.ready.remove(&key);
            let error = if lacks_room {
                let message = "the disk of this node is full, so it lags behind; ask another member, or read with \
                               level local";
                Error::new(ErrorCode::DiskFull, message)
            } else {
                let message = "this node lags behind, and has not caught up with what the read must show in its time";
                Error::new(ErrorCode::Timeout, message)
            };
            self.reply(key.1, Err(error));
        }
    }
}
