//! The prompt on a folder without a server: runs the node of the folder within this process (spec D4).

use client::Client;
use server::{Access, Dialer, LocalOptions, Stop};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::watch;

/// Memory for blocks of the store, in bytes.
const CACHE_BYTES: u64 = 32 << 20;

/// The node of a folder, on threads of its own.
pub(crate) struct LocalNode {
    path: PathBuf,
    /// What can be done with it.
    pub(crate) access: Access,
    dialer: Dialer,
    stopper: watch::Sender<bool>,
    thread: JoinHandle<Result<(), server::ServerError>>,
}

impl LocalNode {
    /// Opens the folder at `path`, which becomes a group of one if there is nothing.
    ///
    /// # Errors
    /// In words, why it cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<LocalNode, String> {
        crate::serve::die_of_defects();
        let (stopper, stop) = watch::channel(false);
        let (ready, readied) = mpsc::channel();
        let options = LocalOptions { folder: path.to_path_buf(), cache_bytes: CACHE_BYTES };
        let run = move || run(&options, stop, &ready);
        let thread = std::thread::Builder::new().name("mondongo-local".into()).spawn(run);
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        match readied.recv() {
            Ok((access, dialer)) => {
                Ok(LocalNode { path: path.to_path_buf(), access, dialer, stopper, thread })
            }
            // It ended before it was ready.
            Err(_) => Err(ended(thread).err().unwrap_or_else(|| "it ended at once".into())),
        }
    }

    /// A client of the node.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) async fn client(&self, options: client::Options) -> Result<Client, api::Error> {
        let dialer = self.dialer.clone();
        Client::within(&self.path.display().to_string(), options, move || dialer.connect()).await
    }

    /// Stops the node in order; its clients are gone.
    ///
    /// # Errors
    /// In words, why it had stopped before.
    pub(crate) fn close(self) -> Result<(), String> {
        self.stopper.send_replace(true);
        drop(self.dialer);
        ended(self.thread)
    }
}

fn run(
    options: &LocalOptions,
    stop: Stop,
    ready: &mpsc::Sender<(Access, Dialer)>,
) -> Result<(), server::ServerError> {
    server::run_local(options, stop, |access, dialer| {
        // Whoever waits for it is there until it comes.
        let _ = ready.send((access, dialer));
    })
}

fn ended(thread: JoinHandle<Result<(), server::ServerError>>) -> Result<(), String> {
    match thread.join() {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(_) => Err("a defect ended the node".into()),
    }
}
