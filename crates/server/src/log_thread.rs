//! The log thread: owns the journal. Everything queued becomes one write and one sync.
//!
//! Its queue holds records that the core has not been told are durable, which the core bounds
//! (`undecided_bytes_max`, `inflight_bytes_max`), and few requests for old entries.

use crate::diverged::DivergedFile;
use crate::error::ServerError;
use crate::inbox::{Alarm, Fetched, Inbox};
use crate::queue::{Queue, Taken};
use paxos::{Entry, NodeId, PersistId, Record, Slot};
use replica::{Journal, JournalError};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use wal::{FolderDisk, Spare};

/// How long nothing must come before the log is sealed.
const IDLE: Duration = Duration::from_millis(100);
/// The wait before another try when the disk is full.
const FULL_WAIT: Duration = Duration::from_secs(1);
/// Between two complaints about a full disk, and two tries to make a spare segment.
const COMPLAINT_WAIT: Duration = Duration::from_secs(10);

/// Bytes of entries that are read at a time to be kept in a file.
const FILE_CHUNK_BYTES: usize = 4 << 20;

/// What the log thread is asked for.
#[derive(Debug)]
pub(crate) enum LogJob {
    /// Make these durable.
    Persist {
        /// The batch's name.
        id: PersistId,
        /// Its records.
        records: Vec<Record>,
    },
    /// Read old entries.
    Fetch {
        /// For whom.
        to: NodeId,
        /// The first slot.
        from: Slot,
        /// The last slot.
        upto: Slot,
        /// Most bytes of them.
        bytes_max: usize,
    },
    /// Read entries for those who watch, or tell that they are cut up to a slot.
    Tell {
        /// The first slot, which is applied.
        from: Slot,
        /// The last slot.
        upto: Slot,
        /// Most bytes of them.
        bytes_max: usize,
        /// Where they go.
        answer: mpsc::Sender<Result<Vec<Entry>, Slot>>,
    },
    /// Cut the entries up to this slot.
    Cut(Slot),
    /// Keep this entry, which gives way to another, in a file (passive policy).
    Keep {
        /// Where it was.
        slot: Slot,
        /// The entry.
        entry: Entry,
    },
    /// Keep all entries from this slot on in a file, and let the node start over (passive policy).
    Diverged(Slot),
    /// A spare segment is ready, or could not be made.
    Spare(SpareResult),
}

/// What came of preparing a segment.
pub(crate) struct SpareResult(Result<Spare<FolderDisk>, wal::Error>);

impl std::fmt::Debug for SpareResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SpareResult").field(&self.0.as_ref().map(|_| ())).finish()
    }
}

pub(crate) struct LogThread {
    pub(crate) journal: Journal<FolderDisk>,
    pub(crate) diverged: DivergedFile,
    pub(crate) path: PathBuf,
    pub(crate) queue: Arc<Queue<LogJob>>,
    pub(crate) inbox: Arc<Inbox>,
}

impl LogThread {
    /// Starts the thread. When its queue is closed it writes what is left, seals the log and ends.
    ///
    /// # Errors
    /// [`ServerError::Thread`].
    pub(crate) fn spawn(self) -> Result<JoinHandle<()>, ServerError> {
        let start = || {
            let _alarm = Alarm { inbox: Arc::clone(&self.inbox), part: "log" };
            let (inbox, path) = (Arc::clone(&self.inbox), self.path.clone());
            let mut worker = Worker { thread: self, is_sealed: false, spare: SpareState::Idle };
            if let Err(source) = worker.run() {
                inbox.fail(ServerError::Log { path, source });
            }
        };
        let spawned = thread::Builder::new().name("mondongo-log".into()).spawn(start);
        spawned.map_err(|source| ServerError::Thread { what: "the log thread", source })
    }
}

struct Worker {
    thread: LogThread,
    is_sealed: bool,
    spare: SpareState,
}

/// Whether a segment is being prepared.
enum SpareState {
    Idle,
    UnderWay,
    /// It failed then.
    Failed(Instant),
}

impl Worker {
    fn run(&mut self) -> Result<(), JournalError> {
        self.want_spare();
        loop {
            let wait = (!self.is_sealed).then_some(IDLE);
            match self.thread.queue.take(usize::MAX, wait) {
                Taken::Items(jobs) => self.carry_out(jobs)?,
                Taken::Nothing => self.seal()?,
                Taken::Closed => return self.seal(),
            }
        }
    }

    fn carry_out(&mut self, jobs: Vec<LogJob>) -> Result<(), JournalError> {
        let mut last = None;
        let (mut cut, mut diverged) = (None, None);
        let (mut fetches, mut tells) = (Vec::new(), Vec::new());
        for job in jobs {
            match job {
                LogJob::Persist { id, records } => {
                    self.thread.journal.append(&records)?;
                    last = Some(id);
                }
                LogJob::Fetch { to, from, upto, bytes_max } => {
                    fetches.push((to, from, upto, bytes_max));
                }
                LogJob::Tell { from, upto, bytes_max, answer } => {
                    tells.push((from, upto, bytes_max, answer));
                }
                LogJob::Cut(upto) => cut = Some(upto),
                LogJob::Keep { slot, entry } => self.keep(&[(slot, entry)]),
                LogJob::Diverged(from) => diverged = Some(from),
                LogJob::Spare(SpareResult(result)) => self.on_spare(result)?,
            }
        }
        if let Some(id) = last {
            self.flush()?;
            self.is_sealed = false;
            self.thread.inbox.put(|mail| mail.persisted = Some(id));
            self.want_spare();
        }
        if let Some(upto) = cut {
            self.cut(upto)?;
        }
        if let Some(from) = diverged {
            self.leave_group(from)?;
        }
        for (from, upto, bytes_max, answer) in tells {
            let floor = self.thread.journal.floor();
            let told = match from <= floor {
                true => Err(floor),
                false => Ok(self.thread.journal.entries(from, upto, bytes_max)?),
            };
            // Who asked may have given up.
            let _ = answer.send(told);
        }
        for (to, from, upto, bytes_max) in fetches {
            if from <= self.thread.journal.floor() {
                continue;
            }
            let entries = self.thread.journal.entries(from, upto, bytes_max)?;
            self.thread.inbox.put(|mail| {
                mail.fetched.push(Fetched { to, first: from, entries });
            });
        }
        Ok(())
    }

    /// Makes durable what was appended. With a full disk it waits for room: what is buffered stays, and
    /// nothing is acknowledged meanwhile.
    fn flush(&mut self) -> Result<(), JournalError> {
        let mut complained: Option<Instant> = None;
        loop {
            match self.thread.journal.flush() {
                // A node that is stopping waits no more: what is buffered was never acknowledged.
                Err(JournalError::Log(error))
                    if error.is_no_space() && !self.thread.queue.is_closed() =>
                {
                    if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_WAIT) {
                        complained = Some(Instant::now());
                        let path = self.thread.path.display();
                        tracing::error!(%path, %error, "writes wait for room on the disk");
                    }
                    thread::sleep(FULL_WAIT);
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    if complained.is_some() {
                        tracing::info!("there is room on the disk again; writes go on");
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Frees what nobody needs any more. With a full disk that can wait: it needs a little room itself.
    fn cut(&mut self, upto: Slot) -> Result<(), JournalError> {
        match self.thread.journal.cut(upto) {
            Err(JournalError::Log(error)) if error.is_no_space() => {
                tracing::warn!(%error, "the log cannot be cut");
                Ok(())
            }
            cut => {
                self.is_sealed = false;
                cut
            }
        }
    }

    /// Writes down what the group does not have, and lets the node start over.
    fn leave_group(&mut self, from: Slot) -> Result<(), JournalError> {
        let first = from.max(self.thread.journal.floor().next());
        let last = self.thread.journal.last();
        if first > from {
            let upto = first.previous();
            tracing::error!(
                %from,
                %upto,
                "entries that are not in the group's log were cut from this node's: what they did is in its store, \
                 which is kept aside, and not in the file of entries"
            );
        }
        let mut slot = first;
        while slot <= last {
            let entries = self.thread.journal.entries(slot, last, FILE_CHUNK_BYTES)?;
            let count = entries.len() as u64;
            let slots = (slot.0..).map(Slot);
            self.keep(&slots.zip(entries).collect::<Vec<_>>());
            slot = Slot(slot.0 + count);
        }
        let reason = format!("it went on apart from its group from slot {from} on");
        self.thread.inbox.fail(ServerError::StartOver { kind: "diverged", reason });
        Ok(())
    }

    fn keep(&self, entries: &[(Slot, Entry)]) {
        match self.thread.diverged.keep(entries) {
            Ok(0) => {}
            Ok(count) => {
                let path = self.thread.diverged.path().display().to_string();
                tracing::error!(
                    path,
                    count,
                    "entries that are not in the group's log were kept in a file"
                );
            }
            Err(error) => {
                let path = self.thread.diverged.path().display().to_string();
                tracing::error!(path, %error, "entries that are not in the group's log cannot be kept");
            }
        }
    }

    fn seal(&mut self) -> Result<(), JournalError> {
        match self.thread.journal.log_mut().seal() {
            // There is no room for the mark: it can wait.
            Err(error) if !error.is_no_space() => return Err(error.into()),
            _ => self.is_sealed = true,
        }
        Ok(())
    }

    /// Lets another thread prepare the next segment, if none is ready.
    fn want_spare(&mut self) {
        match self.spare {
            SpareState::UnderWay => return,
            SpareState::Failed(at) if at.elapsed() < COMPLAINT_WAIT => return,
            _ => {}
        }
        let Some(plan) = self.thread.journal.log_mut().spare_wanted() else { return };
        let queue = Arc::clone(&self.thread.queue);
        let prepare = move || queue.push(LogJob::Spare(SpareResult(plan.execute())));
        match thread::Builder::new().name("mondongo-spare".into()).spawn(prepare) {
            Ok(_) => self.spare = SpareState::UnderWay,
            // The log makes its segments by itself then, which only takes longer.
            Err(error) => self.spare_failed(&error),
        }
    }

    fn on_spare(
        &mut self,
        result: Result<Spare<FolderDisk>, wal::Error>,
    ) -> Result<(), JournalError> {
        match result {
            Ok(spare) => {
                self.spare = SpareState::Idle;
                self.thread.journal.log_mut().adopt_spare(spare)?;
            }
            Err(error) => self.spare_failed(&error),
        }
        Ok(())
    }

    fn spare_failed(&mut self, error: &dyn std::error::Error) {
        let path = self.thread.path.display();
        tracing::warn!(%path, %error, "cannot prepare the next segment of the log");
        self.spare = SpareState::Failed(Instant::now());
    }
}
