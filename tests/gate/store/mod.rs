//! What clients see when the store fails, that both stores do the same, that what was acknowledged is there after a crash, and who has
//! applied what was revoked.

mod both;
mod crash;
mod failing;
mod moving;
mod waiting;
