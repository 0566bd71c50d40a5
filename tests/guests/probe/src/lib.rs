//! Tools that call each host function.

mod tools;

include!("../../registry.rs");
use fixture::serve;
foreach_probe_tool!(serve);
