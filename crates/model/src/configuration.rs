//! How large the model is, and which of its lines is left out.

use crate::value::{Ballot, NODES, NodeIndex, Slot, Voters};

/// How large the model is. Every behaviour within these bounds is explored.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The owner of ballot 1, 2, …
    pub owners: &'static [NodeIndex],
    /// How many slots can be filled.
    pub slots: Slot,
    /// The voters at the beginning; the other nodes follow and do not count.
    pub founding: Voters,
    /// How many memberships may be proposed, each one voter more or less than the one before it.
    pub changes: u8,
    /// How many crashes there may be, at whichever nodes.
    pub crashes: u8,
    /// Whether a leader proposes a membership only once it has decided an entry of its own. Safety does not
    /// hang on it (I12 is about reads), and without it fewer slots show more.
    pub settled_first: bool,
    /// Most entries in one answer of phase 1.
    pub told_max: Slot,
    /// Whether the check on every change plays it.
    pub is_quick: bool,
    /// Which line is left out.
    pub planted: Option<PlantedBug>,
}

impl Configuration {
    const BASE: Configuration = Configuration {
        name: "",
        about: "",
        owners: &[0, 1],
        slots: 2,
        founding: Voters(0b111),
        changes: 0,
        crashes: 0,
        settled_first: false,
        told_max: Slot::MAX,
        is_quick: true,
        planted: None,
    };

    /// All of them, the quick ones first.
    pub fn all() -> Vec<Configuration> {
        let base = Configuration::BASE;
        let full = Configuration { is_quick: false, ..base.clone() };
        vec![
            Configuration {
                name: "steady",
                about: "two leaders, three slots; messages lost, repeated, overtaken",
                slots: 3,
                ..base.clone()
            },
            Configuration {
                name: "parts",
                about: "as steady, and phase 1 tells one entry at a time",
                slots: 3,
                told_max: 1,
                ..base.clone()
            },
            Configuration {
                name: "change",
                about: "three voters, one change; three slots",
                slots: 3,
                changes: 1,
                ..base.clone()
            },
            Configuration {
                name: "two-changes",
                about: "three voters, two changes behind each other",
                slots: 3,
                changes: 2,
                ..base.clone()
            },
            Configuration {
                name: "grow",
                about: "one voter and two learners, two changes, four slots",
                slots: 4,
                changes: 2,
                founding: Voters(0b001),
                ..base.clone()
            },
            Configuration {
                name: "three-ballots",
                about: "a leader deposed that wins again, two changes",
                owners: &[0, 1, 0],
                changes: 2,
                ..base.clone()
            },
            Configuration {
                name: "crash",
                about: "one crash, disks that lag, one change",
                crashes: 1,
                changes: 1,
                ..base
            },
            Configuration {
                name: "crash-change",
                about: "one crash, one change, three slots",
                slots: 3,
                crashes: 1,
                changes: 1,
                ..full.clone()
            },
            Configuration {
                name: "crash-two-changes",
                about: "one crash, two changes, three slots",
                slots: 3,
                crashes: 1,
                changes: 2,
                ..full.clone()
            },
            Configuration {
                name: "crash-grow",
                about: "two voters and a learner, one crash, two changes, three slots",
                slots: 3,
                crashes: 1,
                changes: 2,
                founding: Voters(0b011),
                ..full.clone()
            },
            Configuration {
                name: "crash-parts",
                about: "one crash, one change, phase 1 tells one entry at a time",
                crashes: 1,
                changes: 1,
                told_max: 1,
                ..full.clone()
            },
            Configuration {
                name: "crash-three-ballots",
                about: "one crash, two changes, a leader that wins again",
                owners: &[0, 1, 0],
                crashes: 1,
                changes: 2,
                ..full.clone()
            },
            Configuration {
                name: "crash-three-owners",
                about: "one crash, three would-be leaders",
                owners: &[0, 1, 2],
                crashes: 1,
                ..full.clone()
            },
            Configuration {
                name: "two-crashes",
                about: "two crashes, of one node or of two, one change",
                crashes: 2,
                changes: 1,
                ..full.clone()
            },
            Configuration {
                name: "three-owners",
                about: "three would-be leaders, two changes, three slots",
                owners: &[0, 1, 2],
                slots: 3,
                changes: 2,
                ..full.clone()
            },
            Configuration {
                name: "three-changes",
                about: "three changes behind each other, four slots",
                slots: 4,
                changes: 3,
                ..full.clone()
            },
            Configuration {
                name: "settled",
                about: "no change before an entry of one's own is decided, as in the code; two changes",
                slots: 4,
                changes: 2,
                settled_first: true,
                ..full.clone()
            },
            Configuration {
                name: "crash-settled",
                about: "as settled, with one crash; one change, three slots",
                slots: 3,
                crashes: 1,
                changes: 1,
                settled_first: true,
                ..full
            },
        ]
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Configuration> {
        Configuration::all().into_iter().find(|configuration| configuration.name == name)
    }

    /// The same with a line left out.
    #[must_use]
    pub fn planted(self, bug: PlantedBug) -> Configuration {
        Configuration { planted: Some(bug), ..self }
    }

    /// The ballots, in order.
    pub fn ballots(&self) -> impl Iterator<Item = Ballot> + use<> {
        1..=self.owners.len() as Ballot
    }

    /// Who owns `ballot`.
    pub fn owner(&self, ballot: Ballot) -> NodeIndex {
        self.owners[usize::from(ballot) - 1]
    }

    /// Everybody but the owner of `ballot`.
    pub fn others(&self, ballot: Ballot) -> impl Iterator<Item = NodeIndex> + use<> {
        let owner = self.owner(ballot);
        (0..NODES).filter(move |node| *node != owner)
    }

    /// Whether this line is left out.
    pub fn is_planted(&self, bug: PlantedBug) -> bool {
        self.planted == Some(bug)
    }

    /// How many of `voters` it takes.
    pub fn quorum(&self, voters: Voters) -> u32 {
        if self.is_planted(PlantedBug::QuorumOfOneTooFew) {
            return voters.quorum() - 1;
        }
        voters.quorum()
    }

    /// Whether those of `voters` who are in `present` are enough.
    pub fn has_quorum(&self, voters: Voters, present: Voters) -> bool {
        let counted = if self.is_planted(PlantedBug::LearnersVote) {
            present.count()
        } else {
            voters.and(present).count()
        };
        counted >= self.quorum(voters)
    }

    /// Whether answers of phase 1 come in parts.
    pub fn tells_in_parts(&self) -> bool {
        self.told_max < self.slots
    }
}

/// A line of the protocol that can be left out, to see that the check notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// A promise leaves before it is durable.
    PromiseBeforePersisted,
    /// A candidate asks for promises before its own is durable.
    OwnPromiseBeforePersisted,
    /// Accepted entries are reported before they are durable.
    AcceptedBeforePersisted,
    /// The leader counts its own vote before its entry is durable.
    OwnVoteBeforePersisted,
    /// A new leader takes any value it was told, not that of the highest ballot.
    AdoptAnyBallot,
    /// A new leader does not propose again what it was told.
    ForgetAcceptedSuffix,
    /// A new leader does not first reach what it was told to be decided.
    LeadWithoutReaching,
    /// A leader that a late promise tells of decided slots beyond its own goes on proposing there.
    LateReachIgnored,
    /// Entries of an outdated ballot are accepted.
    AcceptOutdatedBallot,
    /// Entries after a membership are proposed before it is decided.
    NoMembershipBarrier,
    /// A membership that an outdated leader proposed to itself is proposed again.
    StaleMembershipStays,
    /// Who is no voter counts for quorums.
    LearnersVote,
    /// A follower takes the leader's decided slot for its own, whatever it has accepted.
    DecidedBeyondAccepted,
    /// A leader takes what a late promise knows to be decided for decided with its own value.
    LatePromiseDecides,
    /// A decided value does not replace another one accepted before.
    CatchUpKeepsAccepted,
    /// One voter less than a majority is enough.
    QuorumOfOneTooFew,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: [PlantedBug; 16] = [
        PlantedBug::PromiseBeforePersisted,
        PlantedBug::OwnPromiseBeforePersisted,
        PlantedBug::AcceptedBeforePersisted,
        PlantedBug::OwnVoteBeforePersisted,
        PlantedBug::AdoptAnyBallot,
        PlantedBug::ForgetAcceptedSuffix,
        PlantedBug::LeadWithoutReaching,
        PlantedBug::LateReachIgnored,
        PlantedBug::AcceptOutdatedBallot,
        PlantedBug::NoMembershipBarrier,
        PlantedBug::StaleMembershipStays,
        PlantedBug::LearnersVote,
        PlantedBug::DecidedBeyondAccepted,
        PlantedBug::LatePromiseDecides,
        PlantedBug::CatchUpKeepsAccepted,
        PlantedBug::QuorumOfOneTooFew,
    ];
}
