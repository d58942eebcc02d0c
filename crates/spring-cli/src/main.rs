//! The `spring` program.
fn main() {}
