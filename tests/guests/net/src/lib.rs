//! Tools that reach for the network.

mod tools;

include!("../../registry.rs");
use fixture::serve;
foreach_net_tool!(serve);
