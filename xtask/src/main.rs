//! Build, check, test and bench the workspace.
fn main() {}
