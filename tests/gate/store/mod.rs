//! What clients see when the store fails, and that both stores do the same.

mod both;
mod failing;
