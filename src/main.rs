//! The command line; see `cli.rs`.

fn main() {}
