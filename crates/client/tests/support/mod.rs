//! What the client's tests share.

pub(crate) mod fake;
pub(crate) mod machine;
