//! Limits of one plugin call. Every one has a default that is not "none", and bites.

use serde::{Deserialize, Serialize};

macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident = $default:expr),+ $(,)?) => {
        /// The limits in force for one plugin call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Limits {
            $($(#[$doc])* pub $field: u64,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        /// Some limits, as a manifest requests or an operator grants them; the rest is silent.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct SomeLimits {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<u64>,)+
        }

        impl Limits {
            /// The names of all limits.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($field)),+];

            /// No limit at all: the ceiling of a host whose operator set none.
            #[must_use]
            pub fn unlimited() -> Self {
                Self { $($field: u64::MAX,)+ }
            }

            /// The lower of both, limit by limit.
            #[must_use]
            pub fn meet(self, other: Self) -> Self {
                Self { $($field: self.$field.min(other.$field),)+ }
            }

            /// Whether no limit is higher than the other's.
            #[must_use]
            pub fn within(&self, other: &Self) -> bool {
                true $(&& self.$field <= other.$field)+
            }
        }

        impl SomeLimits {
            /// What is silent is taken from `rest`.
            #[must_use]
            pub fn or(self, rest: Limits) -> Limits {
                Limits { $($field: self.$field.unwrap_or(rest.$field),)+ }
            }

            /// All of them.
            #[must_use]
            pub fn all(limits: Limits) -> Self {
                Self { $($field: Some(limits.$field),)+ }
            }

            /// The limit of that name, as in [`Limits::NAMES`], if it is set.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($field) => self.$field,)+
                    _ => None,
                }
            }

            /// The limits that are set higher than in `than`, in written form: whoever grants has to see them.
            #[must_use]
            pub fn above(&self, than: &Limits) -> Vec<String> {
                let mut above = Vec::new();
                $(if let Some(limit) = self.$field.filter(|limit| *limit > than.$field) {
                    above.push(format!("limit:{} {limit} (over {})", stringify!($field), than.$field));
                })+
                above
            }

            /// Limits of both, the lower where both speak.
            #[must_use]
            pub fn meet(self, other: Self) -> Self {
                Self { $($field: match (self.$field, other.$field) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                },)+ }
            }
        }
    };
}

limits! {
    /// Linear memory, the sum over all memories of the call's store, in bytes.
    memory_bytes = 256 << 20,
    /// The whole call by the clock, in milliseconds.
    wall_ms = 60_000,
    /// Time that the guest itself computes, in milliseconds, counted in ticks of 10 ms.
    cpu_ms = 30_000,
    /// Elements, the sum over all tables of the call's store.
    table_elements = 100_000,
    /// Resources alive at once (streams, requests, directory handles).
    resources = 4_096,
    /// Calls from the guest into the host's own interfaces.
    host_calls = 10_000,
    /// Bytes that one such call may carry into the host.
    host_call_bytes = 4 << 20,
    /// The answer of one tool call, in bytes.
    output_bytes = 4 << 20,
    /// Captured standard output and error, in bytes; the rest is dropped and counted.
    log_bytes = 64 << 10,
    /// HTTP requests of one call.
    http_requests = 64,
    /// The body of one HTTP request, in bytes.
    http_request_bytes = 4 << 20,
    /// The body of one HTTP response, in bytes.
    http_response_bytes = 16 << 20,
    /// One HTTP exchange, in milliseconds.
    http_ms = 30_000,
    /// Tool calls inside tool calls.
    call_depth = 8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_takes_the_rest_and_the_lower_wins() {
        let asked = SomeLimits { wall_ms: Some(5), ..SomeLimits::default() };
        let limits = asked.or(Limits::default()).meet(Limits { cpu_ms: 1, ..Limits::unlimited() });
        assert_eq!((limits.wall_ms, limits.cpu_ms), (5, 1));
        assert_eq!(limits.memory_bytes, Limits::default().memory_bytes);
        assert!(limits.within(&Limits::default()) && !Limits::default().within(&limits));
    }

    #[test]
    fn only_what_is_set_higher_is_above() {
        let asked = SomeLimits { wall_ms: Some(60_001), cpu_ms: Some(1), call_depth: Some(8), ..SomeLimits::default() };
        assert_eq!(asked.above(&Limits::default()), ["limit:wall_ms 60001 (over 60000)"]);
    }
}
