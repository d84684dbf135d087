//! Which of several processes may write: the one that holds a lease, which all of them see.
//!
//! ```text
//!  a store of leases ◀─▶ keeper ◀─▶ election (pure) ─▶ standing ─▶ the controller: leads, or stands by
//!                          │                              └────────▶ the writer: may a write begin now?
//!                          └─▶ telemetry (logs)
//! ```
//!
//! | file | what is in it |
//! |---|---|
//! | `election.rs` | what is to be asked of the store next, and until when this process may write |
//! | `leadership.rs` | what the rest of the program sees of it |
//! | `keeper.rs` | keeps asking, and tells what comes of it |
//! | `kubernetes.rs` | the store: a Lease of Kubernetes' (feature `kubernetes`) |
//!
//! Does not know what is written. What must stay true: **no two processes write within overlapping leases.** The holder
//! counts from the moment when the last renewal that succeeded was *sent*, and lets no write begin that might not end before
//! [`Terms::renew_within`] is over; everybody else counts from the moment when they *saw* the record change last, and takes
//! the lease no earlier than [`Terms::duration`] after that. Each by its own clock: clocks are never compared.
//!
//! What a lease cannot do: IAM takes a write from whoever sends it. A process that its machine freezes between its last look
//! at the clock and the sending of a write sends that one write when it thaws.

mod election;
mod keeper;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod leadership;
#[cfg(test)]
mod simulation;

#[cfg(feature = "kubernetes")]
pub use self::kubernetes::KubernetesLeases;
pub use self::{
    election::{Answer, Ask, Election, Failure, Moment, Record, Stored, Terms},
    keeper::{Keeper, Leases},
    leadership::{Leadership, Standing, Tenure},
};
