//! memctl.

fn main() {}
