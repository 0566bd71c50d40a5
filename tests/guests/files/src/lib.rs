//! Tools that reach for files.

mod tools;

include!("../../registry.rs");
use fixture::serve;
foreach_files_tool!(serve);
