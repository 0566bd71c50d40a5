//! Language models: one canonical conversation, several wire formats.
//!
//! [`Router`] implements [`animus_core::llm::Models`]. A request names a *role*; the configuration says which models
//! serve it, in order of preference. Inside, every answer takes the same path, whatever the vendor and whether it
//! arrives whole or in pieces: bytes → frames (`sse`) → the vendor's decoder → one assembler (`assemble`). So a streamed
//! answer and a whole one cannot differ.
//!
//! Failures are classed once (`failure`): try again, try the next model, or stop. A vendor that is overloaded, limits us,
//! wants payment or cannot be reached is `unavailable`; a refused or missing key and a refused request are `invalid`; an
//! unknown model is `not-found`; a conversation that is too long is an `Error::context_overflow`. Only a request that a
//! vendor finds wrong is not taken to the next model. Keys are fetched when a request leaves, and are removed from every
//! text that comes back.
//!
//! # Embeddings
//! The role `embed` serves memories; `lexical:384` does where the configuration names no model for it. `lexical` is
//! computed here, without network or download, and matches words and parts of words, not meanings (`lexical`). OpenAI
//! and what is compatible with it, and Ollama, embed by their own endpoints; Anthropic has none.
//!
//! # Transcripts
//! `scripted:FILE` plays a recorded transcript in place of a model; the tools that it calls run for real.
//! The file is JSON:
//!
//! ```json
//! {"turns": [
//!   {"content": [{"type": "text", "text": "I look."},
//!                {"type": "tool_use", "name": "fs.read_file", "input": {"path": "README.md"}}],
//!    "usage": {"input_tokens": 812, "output_tokens": 40, "cached_tokens": 0, "cache_write_tokens": 0}},
//!   {"expect": {"tool_error": false, "contains": "Animus"},
//!    "content": [{"type": "text", "text": "It says what Animus is."}]}
//! ]}
//! ```
//!
//! Which turn is played follows from the conversation alone: the one after as many turns as the conversation has
//! messages of the assistant. So a transcript needs no state, and a resumed conversation goes on where it was.
//!
//! Optional: `usage` (default: nothing counted), `stop` (default: `tool_use` when tools are called, else `end_turn`),
//! a tool use's `id`, and `expect`, by which a transcript guards against a world that went another way: `tool_error` (did
//! any of the last tool results fail), `contains` (text of the last message, tool results included); `pace_ms`, how long
//! each word takes (default: no time).

mod anthropic;
mod assemble;
mod config;
mod embed;
mod failure;
mod http;
mod keys;
mod lexical;
mod names;
mod ollama;
mod openai;
mod price;
mod probe;
mod provider;
mod router;
mod scripted;
mod sse;
mod vendor;

pub use config::{Candidates, Kind, LlmConfig, ProviderConfig, RetryConfig, Timeouts};
pub use keys::{EnvKeys, KeySource};
pub use probe::{Detected, Probe, ProbeState, detect};
pub use router::{NO_MODEL, Router};
