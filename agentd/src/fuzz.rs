//! What the fuzz targets call.
pub fn config(_: &[u8]) {}
pub fn scenario(_: &[u8]) {}
pub fn state(_: &[u8]) {}
pub fn statistics(_: &[u8]) {}
