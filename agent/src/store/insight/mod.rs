//! What the reports on spend ask of the ledger: `explain`, `waste` and `index`. What may be waste is
//! found ahead, in a walk over calls; all else is made of sums.

mod cache;
mod columns;
mod explain;
mod find;
mod index;
mod kept;
mod met;
mod passing;
pub(super) mod walked;
mod waste;

pub use cache::MissCause;
pub use explain::{CLASSES, PricedUse, SessionChange, Spent};
pub use index::{LengthBucket, Slice};
pub use kept::NotKept;
pub use waste::{Candidates, MissedRead, Unseen, Waste, WastedCall};
