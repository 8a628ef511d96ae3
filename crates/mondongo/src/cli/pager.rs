//! Long answers, page by page.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

/// What shows long answers if nobody says otherwise: it ends by itself if they fit, and leaves them on the screen.
const PAGER: &str = "less";
const LESS_OPTIONS: &str = "FRX";

/// Shows `text` on the terminal, through a pager if it is longer than the screen and `wanted`.
///
/// # Errors
/// If it cannot be written.
pub(super) fn show(text: &str, wanted: bool) -> io::Result<()> {
    let lines = text.bytes().filter(|byte| *byte == b'\n').count();
    if wanted && io::stdout().is_terminal() && lines >= screen_lines() && page(text) {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Whether a pager showed it.
fn page(text: &str) -> bool {
    let pager = std::env::var("PAGER").unwrap_or_else(|_| PAGER.into());
    if pager.trim().is_empty() {
        return false;
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(&pager).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", LESS_OPTIONS);
    }
    let Ok(mut child) = command.spawn() else { return false };
    if let Some(mut input) = child.stdin.take() {
        // Whoever leaves the pager early wants no more of it.
        let _ = input.write_all(text.as_bytes());
    }
    // A shell that finds no pager ends with 127.
    child.wait().is_ok_and(|status| status.code() != Some(127))
}

fn screen_lines() -> usize {
    const USUAL: usize = 24;
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 => usize::from(size.ws_row),
        _ => USUAL,
    }
}
