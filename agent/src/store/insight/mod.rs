//! What the reports on spend ask of the ledger: `explain`, `waste` and `index`. The first two walk once
//! over the calls of a window.

mod cache;
mod columns;
mod explain;
mod index;
mod kept;
mod met;
mod passing;
mod waste;

pub use cache::MissCause;
pub use explain::{CLASSES, PricedUse, SessionChange, Spent};
pub use index::{LengthBucket, Slice};
pub use kept::NotKept;
pub use waste::{Candidates, MissedRead, Unseen, Waste, WastedCall};
