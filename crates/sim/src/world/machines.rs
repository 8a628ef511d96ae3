//! What a node wants done, and the machine that does it in its own time: log, store, snapshots.

use super::{Event, World};
use crate::node::{Incoming, LogWork, StoreWork, Up, index_of};
use bytes::Bytes;
use paxos::{NodeId, Slot};
use replica::{Imported, Input, Output, RequestId, encode_peer_message};
use store::{Cursor, Import};

impl World {
    pub(super) fn carry_out(&mut self, node: usize, output: Output) -> Result<(), String> {
        match output {
            Output::Persist { id, records } => self.log_work(node, LogWork::Persist(id, records)),
            Output::Cut { upto } => {
                self.report.cuts += 1;
                self.log_work(node, LogWork::Cut(upto));
            }
            Output::Send { to, message } => {
                self.message_buffer.clear();
                encode_peer_message(&message, &mut self.message_buffer);
                self.send(node, to, message.kind());
            }
            Output::Apply { entries } => {
                self.store_work(node, StoreWork::Apply(entries));
            }
            Output::BeginImport => self.store_work(node, StoreWork::BeginImport),
            Output::Import { chunk } => self.store_work(node, StoreWork::Import(chunk)),
            Output::FinishImport => self.store_work(node, StoreWork::FinishImport),
            Output::SwitchStore { slot } => self.store_work(node, StoreWork::Switch(slot)),
            Output::ReadSnapshot { to, slot, cursor, bytes_max } => {
                self.store_work(node, StoreWork::Read { to, slot, cursor, bytes_max });
            }
            Output::DropSnapshot { slot } => self.store_work(node, StoreWork::Drop(slot)),
            Output::Query { id, request } => {
                let life = self.nodes[node].life;
                let delay = self.rng.u64(0..500);
                self.after(delay, Event::Query { node, life, id, request: Box::new(request) });
            }
            Output::Reply { id, answer } => self.answer(node, id, &answer),
            Output::Fetch { to, from, upto, bytes_max } => {
                let life = self.nodes[node].life;
                let delay = self.rng.u64(0..500);
                self.after(delay, Event::Fetch { node, life, to, from, upto, bytes_max });
            }
            Output::Membership(membership) => {
                let members: Vec<_> =
                    membership.members.iter().map(|(id, m)| (id.0 - 1, m.standing)).collect();
                self.trace.event(self.now_us, format_args!("{node} members {members:?}"));
            }
            Output::Removed => self.on_removed(node)?,
            Output::Overwritten { slot, entry } => self.on_overwritten(node, slot, &entry),
            Output::Diverged { from } => self.on_diverged(node, from)?,
            Output::Unsupported { level } => {
                return Err(format!("node {node}: level {level} is not supported"));
            }
        }
        Ok(())
    }

    /// Sends what is in the buffer.
    fn send(&mut self, from: usize, to: NodeId, kind: &str) {
        let (plan, rng, link) = (&self.plan, &mut self.rng, (from, index_of(to)));
        let from = self.nodes[from].id;
        let arrivals = self.network.arrivals_on(plan, rng, link, kind, self.now_us);
        for at in arrivals.into_iter().flatten() {
            let bytes = Bytes::copy_from_slice(&self.message_buffer);
            self.at(at, Event::Deliver { to, from, bytes });
        }
    }

    fn log_work(&mut self, node: usize, work: LogWork) {
        let (min, max) = self.plan.sync_us;
        let life = self.nodes[node].life;
        let Some(up) = &mut self.nodes[node].up else { return };
        up.log_work.push(work);
        if !up.is_syncing {
            up.is_syncing = true;
            let delay = self.rng.u64(min..=max);
            self.after(delay, Event::Synced(node, life));
        }
    }

    pub(super) fn on_synced(&mut self, node: usize, life: u64) -> Result<(), String> {
        if !self.is_alive(node, life) {
            return Ok(());
        }
        let machine = &mut self.nodes[node];
        if machine.stalled_until_us > self.now_us {
            let until = machine.stalled_until_us;
            self.at(until, Event::Synced(node, life));
            return Ok(());
        }
        let Some(up) = &mut machine.up else { return Ok(()) };
        up.is_syncing = false;
        match up.work_on_log() {
            Ok(None) => Ok(()),
            Ok(Some(last)) => {
                let what = format_args!("{node} synced {}", last.0);
                self.trace.numbers(self.now_us, &[node as u64, last.0], what);
                self.step(node, Input::Persisted(last))
            }
            Err(error) => self.on_log_failed(node, &error.to_string()),
        }
    }

    pub(super) fn on_fetch(
        &mut self,
        node: usize,
        to: NodeId,
        (from, upto): (Slot, Slot),
        bytes_max: usize,
    ) -> Result<(), String> {
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        // What has been cut meanwhile cannot be had.
        let entries = if from <= up.journal.floor() {
            Vec::new()
        } else {
            let entries = up.journal.entries(from, upto, bytes_max);
            entries.map_err(|e| format!("node {node}: {e}"))?
        };
        self.step(node, Input::Fetched { to, first: from, entries })
    }

    fn store_work(&mut self, node: usize, work: StoreWork) {
        let Some(up) = &mut self.nodes[node].up else { return };
        match (up.store_work.back_mut(), work) {
            (Some(StoreWork::Apply(waiting)), StoreWork::Apply(entries)) => waiting.extend(entries),
            (_, work) => up.store_work.push_back(work),
        }
        self.begin_storing(node);
    }

    fn begin_storing(&mut self, node: usize) {
        let (min, max) = self.plan.apply_us;
        let life = self.nodes[node].life;
        let Some(up) = &mut self.nodes[node].up else { return };
        if !up.is_storing && !up.store_work.is_empty() {
            up.is_storing = true;
            let delay = self.rng.u64(min..=max);
            self.after(delay, Event::Stored(node, life));
        }
    }

    pub(super) fn on_stored(&mut self, node: usize, life: u64) -> Result<(), String> {
        if !self.is_alive(node, life) {
            return Ok(());
        }
        let persist = self.rng.f64() < self.plan.persist_store;
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        up.is_storing = false;
        let Some(work) = up.store_work.pop_front() else { return Ok(()) };
        let inputs = match work {
            StoreWork::Apply(entries) => up.apply(&entries, persist),
            StoreWork::Import(chunk) => up.import(&chunk),
            StoreWork::Read { to, slot, cursor, bytes_max } => {
                up.read_snapshot(to, slot, &cursor, bytes_max)
            }
            StoreWork::Drop(slot) => {
                up.views.remove(&slot);
                Ok(Vec::new())
            }
            StoreWork::BeginImport => self.begin_import(node),
            StoreWork::FinishImport => self.finish_import(node),
            StoreWork::Switch(slot) => self.switch_store(node, slot),
        };
        let inputs = inputs.map_err(|what| format!("node {node}: {what}"))?;
        for input in inputs {
            if let Input::Applied { through, .. } = &input {
                let what = format_args!("{node} applied {through}");
                self.trace.numbers(self.now_us, &[node as u64, through.0], what);
            }
            self.step(node, input)?;
        }
        self.begin_storing(node);
        Ok(())
    }

    fn begin_import(&mut self, node: usize) -> Result<Vec<Input>, String> {
        let machine = &mut self.nodes[node];
        machine.ready = None;
        let Some(up) = &mut machine.up else { return Ok(Vec::new()) };
        up.successor = None;
        let disk = store::MemoryDisk::new();
        let import = Import::begin(disk.engine()).map_err(|e| e.to_string())?;
        up.incoming = Some(Incoming { disk, import });
        Ok(Vec::new())
    }

    /// One durable step: the snapshot lies beside the store, whole.
    fn finish_import(&mut self, node: usize) -> Result<Vec<Input>, String> {
        let machine = &mut self.nodes[node];
        let Some(up) = &mut machine.up else { return Ok(Vec::new()) };
        let Some(incoming) = up.incoming.take() else { return Ok(Vec::new()) };
        let store = incoming.import.finish().map_err(|e| e.to_string())?;
        let slot = Slot(store.applied_slot());
        let group = store.group().map(|(slot, bytes)| (Slot(slot), bytes));
        machine.ready = Some((slot, incoming.disk));
        up.successor = Some(store);
        self.trace.event(self.now_us, format_args!("{node} has a snapshot of {slot}"));
        Ok(vec![Input::ImportFinished { slot, group }])
    }

    /// One durable step: the snapshot takes the store's place.
    fn switch_store(&mut self, node: usize, slot: Slot) -> Result<Vec<Input>, String> {
        let machine = &mut self.nodes[node];
        let Some(up) = &mut machine.up else { return Ok(Vec::new()) };
        let (Some(store), Some((found, disk))) = (up.successor.take(), machine.ready.take()) else {
            return Err(format!("there is no snapshot of {slot} to switch to"));
        };
        if found != slot || store.applied_slot() != slot.0 {
            return Err(format!("the snapshot of {found} is not that of {slot}"));
        }
        machine.engine_disk = disk;
        up.store = store;
        self.report.snapshots += 1;
        self.trace.event(self.now_us, format_args!("{node} switches to {slot}"));
        Ok(vec![Input::Switched(slot), Input::Stored(slot)])
    }

    pub(super) fn on_query(
        &mut self,
        node: usize,
        id: RequestId,
        request: &api::Request,
    ) -> Result<(), String> {
        let Some(up) = &mut self.nodes[node].up else { return Ok(()) };
        let answer = up.store.reader().query(request);
        let answer = answer.map_err(|e| format!("node {node}: store: {e}"))?;
        self.answer(node, id, &answer);
        Ok(())
    }
}

impl Up {
    fn apply(
        &mut self,
        entries: &[(Slot, replica::Effect)],
        persist: bool,
    ) -> Result<Vec<Input>, String> {
        let Some((through, _)) = entries.last() else { return Ok(Vec::new()) };
        let through = *through;
        let batch: Vec<store::Entry<'_>> = (entries.iter())
            .map(|(slot, effect)| store::Entry { slot: slot.0, effect: effect.as_store() })
            .collect();
        let outcomes = self.store.apply(&batch).map_err(|e| format!("store: {e}"))?;
        let mut inputs = vec![Input::Applied { through, outcomes }];
        if persist {
            self.store.persist().map_err(|e| format!("store: {e}"))?;
            inputs.push(Input::Stored(through));
        }
        Ok(inputs)
    }

    fn import(&mut self, chunk: &Bytes) -> Result<Vec<Input>, String> {
        let Some(incoming) = &mut self.incoming else { return Ok(Vec::new()) };
        let imported = match incoming.import.add(chunk) {
            Ok(progress) => Imported::Chunk {
                slot: Slot(progress.slot.unwrap_or_default()),
                cursor: Bytes::from(progress.cursor.encode()),
                is_complete: progress.is_complete,
            },
            Err(error) if error.is_retryable() => Imported::Misfit,
            Err(error) => return Err(error.to_string()),
        };
        Ok(vec![Input::Imported(imported)])
    }

    fn read_snapshot(
        &mut self,
        to: NodeId,
        slot: Slot,
        cursor: &Bytes,
        bytes_max: usize,
    ) -> Result<Vec<Input>, String> {
        let start = Cursor::start();
        let (slot, cursor) = match Cursor::decode(cursor) {
            Ok(cursor) if self.views.contains_key(&slot) => (slot, cursor),
            _ => {
                let view = self.store.reader().snapshot().map_err(|e| e.to_string())?;
                let slot = Slot(view.slot());
                self.views.entry(slot).or_insert(view);
                (slot, start)
            }
        };
        let chunk = self.views[&slot].chunk(&cursor, bytes_max).map_err(|e| e.to_string())?;
        Ok(vec![Input::SnapshotRead { to, slot, chunk }])
    }
}
