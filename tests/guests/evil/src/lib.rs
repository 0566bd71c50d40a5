//! Tools that use up what they can.

mod tools;

include!("../../registry.rs");
use fixture::serve;
foreach_evil_tool!(serve);
