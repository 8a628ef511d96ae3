//! Finding the group to join.

use crate::error::ServerError;
use crate::folder::{ClusterId, Identity};
use crate::inbox::{Inbox, PeerNews};
use crate::peer::{GreetError, Greeting, Hello, greet};
use paxos::NodeId;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The wait between two rounds through the addresses.
const ROUND_WAIT: Duration = Duration::from_millis(250);
/// How long none need answer before the first complaint.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two complaints that none can be reached.
const COMPLAINT_WAIT: Duration = Duration::from_secs(3);
/// Between two looks for another member to join through, while joining.
const SEED_WAIT: Duration = Duration::from_secs(2);
/// How long a group that can be reached may take to let this node in before that is told, and between two such words.
const ENTRY_WAIT: Duration = Duration::from_secs(10);

/// Who asks, and at which addresses.
pub(crate) struct Asking {
    pub(crate) node: NodeId,
    pub(crate) address: String,
    pub(crate) seeds: Vec<String>,
}

/// What came of asking all addresses once.
enum Round {
    Reached(String, Greeting),
    /// None answered; the last trouble.
    Unreachable(String, GreetError),
}

impl Asking {
    /// Asks until one answers; says every few seconds that none does.
    ///
    /// # Errors
    /// [`ServerError::Refused`] if one answers that it does not want to.
    pub(crate) async fn find(&self) -> Result<Greeting, ServerError> {
        // A moment's patience first: the member may be starting, too.
        let mut complain_at = Instant::now() + PATIENCE;
        loop {
            match self.round().await? {
                Round::Reached(_, greeting) => return Ok(greeting),
                Round::Unreachable(address, error) => {
                    if Instant::now() >= complain_at {
                        complain_at = Instant::now() + COMPLAINT_WAIT;
                        tracing::warn!(address, %error, "no member to join through can be reached; trying again");
                    }
                }
            }
            tokio::time::sleep(ROUND_WAIT).await;
        }
    }

    /// Asks until a member of `cluster` answers.
    ///
    /// # Errors
    /// [`ServerError::Refused`] if one answers that it does not want to.
    pub(crate) async fn find_in(&self, cluster: ClusterId) -> Result<(), ServerError> {
        loop {
            let greeting = self.find().await?;
            if greeting.cluster == cluster {
                return Ok(());
            }
            tracing::warn!(address = greeting.address, "a node of another cluster answers there");
            tokio::time::sleep(SEED_WAIT).await;
        }
    }

    /// Asks once whether the addresses belong to the group `own` of `folder`. That none answers is no
    /// error: a node that was a member needs nobody's leave to start again.
    ///
    /// # Errors
    /// [`ServerError::OtherCluster`]; [`ServerError::Refused`].
    pub(crate) async fn check(&self, folder: &Path, own: ClusterId) -> Result<(), ServerError> {
        match self.round().await? {
            Round::Reached(address, greeting) if greeting.cluster != own => {
                Err(ServerError::OtherCluster {
                    folder: folder.into(),
                    own: own.to_string(),
                    address,
                    other: greeting.cluster.to_string(),
                })
            }
            Round::Reached(..) => Ok(()),
            Round::Unreachable(address, error) => {
                tracing::info!(address, %error, "cannot be asked for its cluster; starting without");
                Ok(())
            }
        }
    }

    /// Names a member to the event loop. A node that is no member yet needs one until it is; the one
    /// named may have to be another later. Any other node needs one only if all addresses it knows
    /// from before are outdated, so the first that is reached will do.
    pub(crate) async fn keep_seed(
        self,
        identity: Arc<Identity>,
        inbox: Arc<Inbox>,
        must_join: bool,
        mut is_member: watch::Receiver<bool>,
    ) {
        let mut complain_at = Instant::now() + ENTRY_WAIT;
        while !(must_join && *is_member.borrow()) {
            match self.round().await {
                Ok(Round::Reached(_, greeting)) if greeting.cluster == identity.cluster => {
                    let Greeting { node, address, .. } = greeting;
                    let seed = address.clone();
                    inbox.put(|mail| mail.news.push(PeerNews::Seed { node, address: seed }));
                    if !must_join {
                        return;
                    }
                    if Instant::now() >= complain_at {
                        complain_at = Instant::now() + ENTRY_WAIT;
                        tracing::warn!(
                            member = address,
                            "the group has not let this node in yet: it may have no leader; what to do says \
                             \"mondongo status {address}\""
                        );
                    }
                }
                Ok(Round::Reached(address, _)) => {
                    tracing::warn!(address, "a node of another cluster answers there");
                }
                Ok(Round::Unreachable(..)) if !must_join => {}
                Ok(Round::Unreachable(address, error)) => {
                    tracing::warn!(address, %error, "no member to join through can be reached; trying again");
                }
                Err(error) => tracing::warn!(%error, "cannot join; trying again"),
            }
            // Whichever comes first; an error only means that the node ends.
            let _ = tokio::time::timeout(SEED_WAIT, is_member.wait_for(|is| *is)).await;
        }
    }

    async fn round(&self) -> Result<Round, ServerError> {
        let hello =
            Hello { cluster: None, node: self.node, expected: None, address: self.address.clone() };
        let mut trouble = None;
        for address in &self.seeds {
            match greet(address, &hello).await {
                Ok((_, greeting)) => return Ok(Round::Reached(address.clone(), greeting)),
                Err(GreetError::Refused { for_now: false, reason }) => {
                    return Err(ServerError::Refused { address: address.clone(), reason });
                }
                Err(error) => trouble = Some((address.clone(), error)),
            }
        }
        let (address, error) = trouble.expect("there is at least one address");
        Ok(Round::Unreachable(address, error))
    }
}
