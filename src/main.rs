//! The command `sdlab`: parses the command line and calls `cli`.
fn main() {}
