//! Faults that clients may turn on at this node, to see the group cope with them (spec P5).
//!
//! They strike at the messages between nodes alone, in [`crate::peer`]. Connections of clients and the
//! greetings between nodes go on, so a node can always be told to listen again.

use api::{Document, Error, ErrorCode, FaultSwitch, Value};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Which faults are on at this node.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Whether they may be turned on at all.
    is_allowed: bool,
    is_deaf: AtomicBool,
    /// The share of messages that is lost, as the bits of a float.
    loss: AtomicU64,
}

impl Faults {
    pub(crate) fn new(is_allowed: bool) -> Faults {
        Faults { is_allowed, ..Faults::default() }
    }

    /// Turns a fault on or off. Returns which are on now.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] if this node does not allow it.
    pub(crate) fn switch(&self, switch: FaultSwitch) -> Result<Value, Error> {
        if !self.is_allowed {
            let message = format!(
                "{}: this node has no fault switches; start it with `mondongo serve --fault-injection` \
                 to have them",
                switch.name()
            );
            return Err(Error::new(ErrorCode::Unavailable, message));
        }
        match switch {
            FaultSwitch::Deaf => self.is_deaf.store(true, Ordering::Relaxed),
            FaultSwitch::Listen => self.is_deaf.store(false, Ordering::Relaxed),
            FaultSwitch::Unreliable { loss } => self.loss.store(loss.to_bits(), Ordering::Relaxed),
            FaultSwitch::Reliable => self.loss.store(0, Ordering::Relaxed),
        }
        let (deaf, loss) = (self.is_deaf.load(Ordering::Relaxed), self.loss());
        tracing::warn!(deaf, loss, "fault switch: {}", switch.name());
        Ok(Value::Document(self.document()))
    }

    /// What `status` tells of the faults; nothing where none can be on.
    pub(crate) fn describe(&self, status: &mut Document) {
        if self.is_allowed {
            status.insert("faults", self.document());
        }
    }

    /// Whether a message that has come in is to be dropped.
    pub(crate) fn drops_incoming(&self) -> bool {
        self.is_deaf.load(Ordering::Relaxed) || self.loses()
    }

    /// Whether a message that is to go out is to be dropped. A deaf node may speak.
    pub(crate) fn drops_outgoing(&self) -> bool {
        self.loses()
    }

    /// Drawn for each message.
    fn loses(&self) -> bool {
        let loss = self.loss();
        loss > 0.0 && fastrand::f64() < loss
    }

    fn loss(&self) -> f64 {
        f64::from_bits(self.loss.load(Ordering::Relaxed))
    }

    fn document(&self) -> Document {
        let mut document = Document::new();
        document.insert("deaf", self.is_deaf.load(Ordering::Relaxed));
        document.insert("loss", self.loss());
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_strike_only_where_they_are_turned_on() {
        let faults = Faults::new(true);
        assert!(!faults.drops_incoming() && !faults.drops_outgoing());
        faults.switch(FaultSwitch::Deaf).expect("allowed");
        assert!(faults.drops_incoming() && !faults.drops_outgoing(), "a deaf node may speak");
        faults.switch(FaultSwitch::Listen).expect("allowed");
        faults.switch(FaultSwitch::Unreliable { loss: 1.0 }).expect("allowed");
        assert!(faults.drops_incoming() && faults.drops_outgoing());
        faults.switch(FaultSwitch::Unreliable { loss: 0.5 }).expect("allowed");
        let lost = (0..1_000).filter(|_| faults.drops_incoming()).count();
        assert!((300..700).contains(&lost), "{lost} of 1000, each drawn by itself");
        faults.switch(FaultSwitch::Reliable).expect("allowed");
        assert!(!faults.drops_incoming() && !faults.drops_outgoing());
    }

    #[test]
    fn a_node_without_the_option_refuses_and_says_what_to_do() {
        let faults = Faults::new(false);
        let error = faults.switch(FaultSwitch::Deaf).expect_err("not allowed");
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(error.message.contains("--fault-injection"), "{error}");
        assert!(!faults.drops_incoming());
        let mut status = Document::new();
        faults.describe(&mut status);
        assert!(status.is_empty());
    }
}
