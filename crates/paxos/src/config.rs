//! How a node is set up.

use crate::membership::LEVEL_MAX;
use crate::types::NodeId;

/// Settings of one node. Times are in ticks: whatever the driver makes of them (10 ms, usually).
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this node is.
    pub node: NodeId,
    /// Ticks between two heartbeats of a leader.
    pub heartbeat_ticks: u32,
    /// Least ticks without a sign of the leader before a follower looks for another.
    pub election_ticks_min: u32,
    /// Most such ticks; each wait is drawn between the two.
    pub election_ticks_max: u32,
    /// Ticks without progress after which anything unanswered is sent again.
    pub retransmit_ticks: u32,
    /// Most bytes of entries in one message.
    pub chunk_bytes_max: usize,
    /// Most bytes of entries sent to one follower and not yet answered.
    pub inflight_bytes_max: usize,
    /// Most bytes of entries proposed and not yet decided; further proposals wait.
    pub undecided_bytes_max: usize,
    /// Most bytes of proposals waiting at the leader; more are refused.
    pub waiting_bytes_max: usize,
    /// Most bytes of decided entries kept in memory for followers; older ones are read from disk.
    pub window_bytes_max: usize,
    /// Ticks without a sign of a voter after which it is no longer waited for; none: it always is.
    pub evict_ticks: Option<u64>,
    /// Least ticks between two changes of membership that nobody asked for.
    pub change_pause_ticks: u64,
    /// Under the passive policy: ticks without a sign of the leader before another takes over.
    pub takeover_ticks: u32,
    /// Ticks without a word of the own disk, while it has something to write, after which a leader hands over.
    pub disk_stall_ticks: u64,
    /// How many slots a learner may lag behind to become a voter.
    pub promote_lag_slots: u64,
    /// The newest feature level that is known here: [`LEVEL_MAX`] in every node that holds data.
    pub level_max: u32,
    /// A safety line switched off, so that a test can show that it is needed. `None` in every node
    /// that holds data.
    pub planted: Option<PlantedBug>,
}

impl Config {
    /// The usual settings of `node`, for ticks of 10 ms.
    pub fn new(node: NodeId) -> Config {
        Config {
            node,
            heartbeat_ticks: 3,
            election_ticks_min: 20,
            election_ticks_max: 30,
            retransmit_ticks: 15,
            chunk_bytes_max: 1 << 20,
            inflight_bytes_max: 8 << 20,
            undecided_bytes_max: 32 << 20,
            waiting_bytes_max: 32 << 20,
            window_bytes_max: 16 << 20,
            evict_ticks: None,
            change_pause_ticks: 100,
            takeover_ticks: 300,
            disk_stall_ticks: 200,
            promote_lag_slots: 1_000,
            level_max: LEVEL_MAX,
            planted: None,
        }
    }

    /// Checks that the settings make sense together.
    ///
    /// # Panics
    /// If they do not: a mistake of the programmer, not of the user.
    pub(crate) fn check(&self) {
        assert!(self.node.0 != 0, "a node needs an identity");
        assert!(self.heartbeat_ticks >= 1);
        assert!(self.election_ticks_min > 2 * self.heartbeat_ticks, "two heartbeats may be lost");
        assert!(self.election_ticks_max > self.election_ticks_min);
        assert!(self.retransmit_ticks >= 1);
        assert!(
            self.takeover_ticks >= self.election_ticks_min,
            "an election time is the least wait"
        );
        assert!(
            self.evict_ticks.is_none_or(|ticks| ticks > 2 * u64::from(self.heartbeat_ticks)),
            "two heartbeats may be lost"
        );
        assert!(self.chunk_bytes_max >= 1 && self.inflight_bytes_max >= self.chunk_bytes_max);
    }

    /// Whether this safety line is switched off.
    pub(crate) fn is_planted(&self, bug: PlantedBug) -> bool {
        self.planted == Some(bug)
    }
}

/// A safety line of the core that tests can switch off, to show that a test notices.
/// `docs/design/planted-bugs.md` names the test for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Promises leave before they are durable.
    PromiseBeforePersisted,
    /// Accepted entries are reported before they are durable.
    AcceptedBeforePersisted,
    /// The leader counts its own vote before its entry is durable.
    OwnVoteBeforePersisted,
    /// A new leader takes any reported value, not that of the highest ballot.
    AdoptAnyBallot,
    /// A new leader does not propose again what it finds accepted.
    ForgetAcceptedSuffix,
    /// Entries of an outdated ballot are accepted.
    AcceptOutdatedBallot,
    /// A read is served without asking a quorum whether there is a newer leader.
    ReadWithoutProbe,
    /// A new leader serves reads before it has decided an entry of its own ballot.
    ReadBeforeOwnEntry,
    /// Answers to a probe of an earlier ballot count for reads of this one.
    StaleProbeCounts,
    /// One voter's repeated answers count as several.
    DuplicateVotesCount,
    /// Entries after a membership are proposed before it is decided.
    NoMembershipBarrier,
    /// A learner counts for quorums.
    LearnersVote,
    /// Entries are handed out before they are durable here.
    DeliverBeforePersisted,
    /// A follower takes the leader's decided slot for its own, whatever it has accepted.
    DecidedBeyondAccepted,
    /// A leader takes what a late promise knows to be decided for decided with its own value.
    LatePromiseDecides,
    /// A decided value that is caught up with does not replace another value accepted before.
    CatchUpKeepsAccepted,
    /// Questions are named alike in every life of a node.
    TokensStartAgain,
    /// A membership that an outdated leader proposed to itself is proposed again.
    StaleMembershipStays,
    /// A snapshot takes the place of all that was accepted, also beyond it.
    InstallForgetsAccepted,
    /// A leader leaves out of the quorum whom it does not hear, without asking the log.
    EvictByOpinion,
    /// A leader proposes under a new membership before a quorum of it has promised.
    NewQuorumUnasked,
    /// A node goes on without another one also where there are more than two voters.
    AloneOfMany,
    /// A member that is away comes to count again on any word of it, also one from before it was set down as away.
    StaleAnswersReturn,
    /// A membership does not tell who was left out last, so that the vote in reserve is anybody's.
    AnyVoteInReserve,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: [PlantedBug; 24] = [
        PlantedBug::PromiseBeforePersisted,
        PlantedBug::AcceptedBeforePersisted,
        PlantedBug::OwnVoteBeforePersisted,
        PlantedBug::AdoptAnyBallot,
        PlantedBug::ForgetAcceptedSuffix,
        PlantedBug::AcceptOutdatedBallot,
        PlantedBug::ReadWithoutProbe,
        PlantedBug::ReadBeforeOwnEntry,
        PlantedBug::StaleProbeCounts,
        PlantedBug::DuplicateVotesCount,
        PlantedBug::NoMembershipBarrier,
        PlantedBug::LearnersVote,
        PlantedBug::DeliverBeforePersisted,
        PlantedBug::DecidedBeyondAccepted,
        PlantedBug::LatePromiseDecides,
        PlantedBug::CatchUpKeepsAccepted,
        PlantedBug::TokensStartAgain,
        PlantedBug::StaleMembershipStays,
        PlantedBug::InstallForgetsAccepted,
        PlantedBug::EvictByOpinion,
        PlantedBug::NewQuorumUnasked,
        PlantedBug::AloneOfMany,
        PlantedBug::StaleAnswersReturn,
        PlantedBug::AnyVoteInReserve,
    ];
}
