//! What functions compiled to, so that the next version of a plugin costs the functions that changed.
//!
//! The compiler asks by a digest of everything that a function's code depends on: its own intermediate form, the
//! processor, the settings. The answers are machine code, and are trusted because they never leave this process's memory.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use wasmtime::CacheStore;

/// The most that is kept, in bytes. What is kept of a component is some 3.5 times its size.
const MAX: usize = 16 << 20;

/// The code of functions that were compiled lately.
pub(crate) struct Functions {
    halves: Mutex<Halves>,
    /// The most of one half, in bytes.
    half: usize,
}

/// What was asked for or added lately is in the newer half. When that is full it becomes the older one, whose content is
/// forgotten: so what two halves in a row did not need is gone.
#[derive(Default)]
struct Halves {
    newer: HashMap<Box<[u8]>, Vec<u8>>,
    older: HashMap<Box<[u8]>, Vec<u8>>,
    /// The bytes of the newer half, keys included.
    size: usize,
}

impl Default for Functions {
    fn default() -> Self {
        Self::bounded(MAX)
    }
}

impl Functions {
    fn bounded(max: usize) -> Self {
        Self { halves: Mutex::default(), half: max / 2 }
    }

    fn lock(&self) -> MutexGuard<'_, Halves> {
        // A half-made change here is a forgotten function at worst.
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts code into the newer half. Says whether it fits into one at all.
    fn keep(&self, halves: &mut Halves, key: &[u8], code: Vec<u8>) -> bool {
        let size = key.len() + code.len();
        if size > self.half {
            return false;
        }
        if halves.size + size > self.half {
            halves.older = std::mem::take(&mut halves.newer);
            halves.size = 0;
        }
        halves.size += size;
        // Two threads may have compiled the same function.
        if let Some(before) = halves.newer.insert(key.into(), code) {
            halves.size -= key.len() + before.len();
        }
        true
    }
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let mut halves = self.lock();
        if let Some(code) = halves.newer.get(key) {
            return Some(Cow::Owned(code.clone()));
        }
        let code = halves.older.remove(key)?;
        self.keep(&mut halves, key, code.clone());
        Some(Cow::Owned(code))
    }

    fn insert(&self, key: &[u8], code: Vec<u8>) -> bool {
        self.keep(&mut self.lock(), key, code)
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use animus_core::id::Digest;
    use wasmtime::{
        Store, WasmBacktrace,
        component::{Component, Linker},
    };

    use super::*;
    use crate::{Artifacts, Engine, EngineConfig};

    #[test]
    fn what_is_kept_is_bounded_and_what_is_asked_for_stays() {
        let functions = Functions::bounded(20_000);
        let keys: Vec<_> = (0..100_u32).map(|i| [i.to_le_bytes(); 8].concat()).collect();
        for key in &keys {
            assert!(functions.insert(key, vec![key[0]; 968]));
            assert_eq!(functions.get(&keys[0]).unwrap()[0], 0, "asked for all the time");
            let halves = functions.lock();
            let bytes = |half: &HashMap<Box<[u8]>, Vec<u8>>| half.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
            assert_eq!(bytes(&halves.newer), halves.size);
            assert!(bytes(&halves.newer) + bytes(&halves.older) <= 20_000);
        }
        assert_eq!(functions.get(&keys[99]).unwrap()[0], 99);
        assert!(functions.get(&keys[50]).is_none(), "long forgotten");
        assert!(!functions.insert(b"key", vec![0; 10_000]), "larger than a half");
        for _ in 0..100 {
            assert!(functions.insert(&keys[0], vec![1; 5_000]), "the same again takes no more");
        }
        assert!(functions.lock().size <= 10_000);
    }

    fn component(functions: &str) -> String {
        format!(
            r#"(component
                (core module $m
                    (type $number (func (result i32)))
                    (memory 1)
                    (table funcref (elem $one $two))
                    (global $n (mut i32) (i32.const 3))
                    {functions}
                    (func (export "answer") (result i32)
                        (i32.add (call $one) (call_indirect (type $number) (i32.const 1))))
                    (func $far (param i32) (result i32)
                        (block (block (block (br_table 0 1 2 (local.get 0))) unreachable)
                            (return (i32.load (i32.const -8))))
                        (loop (br_if 0 (i32.eqz (global.get $n))))
                        (i32.div_u (i32.const 1) (i32.sub (global.get $n) (i32.const 3))))
                    (func (export "trap") (param i32) (result i32) (call $far (local.get 0))))
                (core instance $i (instantiate $m))
                (func (export "answer") (result u32) (canon lift (core func $i "answer")))
                (func (export "trap") (param "how" u32) (result u32) (canon lift (core func $i "trap"))))"#
        )
    }

    /// Three versions in which the functions that the others call are others, are in another order, or lie elsewhere.
    fn versions() -> [(Vec<u8>, u32); 3] {
        let one = |n: i32| format!("(func $one (result i32) (i32.const {n}))");
        let two = |n: i32| format!("(func $two (result i32) (i32.add (global.get $n) (i32.const {n})))");
        let new = "(func $new (param i64) (result i64) (i64.mul (local.get 0) (i64.const 77)))";
        [
            (format!("{} {}", one(1), two(20)), 24),
            (format!("{} {}", two(30), one(1)), 34),
            (format!("{new} {} {}", one(5), two(20)), 28),
        ]
        .map(|(functions, answer)| (wat::parse_str(component(&functions)).unwrap(), answer))
    }

    /// The answer, and how each trap is told.
    fn run(engine: &Engine, component: &Component) -> (u32, Vec<String>) {
        let linker = Linker::<()>::new(engine.wasmtime());
        let call = |name: &str, how: Option<u32>| {
            let mut store = Store::new(engine.wasmtime(), ());
            store.set_epoch_deadline(1 << 40);
            let instance = linker.instantiate(&mut store, component).unwrap();
            match how {
                None => instance.get_typed_func::<(), (u32,)>(&mut store, name).unwrap().call(&mut store, ()),
                Some(how) => {
                    instance.get_typed_func::<(u32,), (u32,)>(&mut store, name).unwrap().call(&mut store, (how,))
                }
            }
        };
        let traps = (0..3).map(|how| {
            let error = call("trap", Some(how)).unwrap_err();
            let frames = error.downcast_ref::<WasmBacktrace>().unwrap().to_string();
            format!("{} {frames}", error.root_cause())
        });
        (call("answer", None).unwrap().0, traps.collect())
    }

    #[tokio::test]
    async fn what_is_made_of_remembered_functions_is_what_is_compiled_afresh() {
        let dir = tempfile::tempdir().unwrap();
        let engine = || Engine::new(&EngineConfig { instances: 4 }).unwrap();
        let remembering = engine();
        let artifacts = Arc::new(Artifacts::open(remembering.clone(), dir.path()).unwrap());
        // There and back: the second time everything is remembered.
        for i in [0, 1, 2, 0, 2, 1] {
            let (wasm, answer) = versions()[i].clone();
            let fresh = engine();
            let code = fresh.wasmtime().precompile_component(&wasm).unwrap();
            assert!(remembering.wasmtime().precompile_component(&wasm).unwrap() == code, "version {i}");
            let component = artifacts.load(Digest::of(&wasm), async { Ok(wasm.clone().into()) }).await.unwrap();
            let afresh = Component::new(fresh.wasmtime(), &wasm).unwrap();
            let (says, traps) = run(&remembering, &component);
            assert_eq!(says, answer);
            assert!(traps.iter().all(|trap| trap.contains("wasm function")), "{traps:?}");
            assert_eq!((says, traps), run(&fresh, &afresh));
        }
    }

    #[test]
    fn the_next_version_costs_what_differs() {
        let functions = Arc::new(Functions::default());
        let mut config = wasmtime::Config::new();
        config.enable_incremental_compilation(functions.clone()).unwrap();
        let engine = wasmtime::Engine::new(&config).unwrap();
        let mut kept = versions().map(|(wasm, _)| {
            engine.precompile_component(&wasm).unwrap();
            functions.lock().newer.len()
        });
        assert!(kept[0] >= 6, "functions and ways into them: {kept:?}");
        // Of the second version `$two`; of the third `$one` and `$new`; and what calls others by another place.
        for i in (1..3).rev() {
            kept[i] -= kept[i - 1];
        }
        assert!(kept[1] < kept[0] / 2 && kept[2] < kept[0] / 2, "{kept:?}");
    }
}
