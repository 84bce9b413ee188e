//! Tests across crates: processes and tidiness.
