//! What clients see when the store fails, that both stores do the same, and that what was acknowledged is there after a crash.

mod both;
mod crash;
mod failing;
mod moving;
