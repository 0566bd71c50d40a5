//! What `wit-bindgen` makes of `wit/`. Plugins see only the names that the other modules re-export.

/// What a plugin may import. A component keeps only the imports that its code really calls.
pub mod imports {
    wit_bindgen::generate!({
        path: "../wit",
        world: "animus:plugin/imports",
        generate_all,
        additional_derives: [PartialEq],
    });
}

/// `wasi:config`.
pub mod config {
    wit_bindgen::generate!({ path: "wit", world: "wasi:config/imports", generate_all });
}

/// The exports of a tool plugin.
pub mod tool_plugin {
    wit_bindgen::generate!({
        path: "../wit",
        world: "animus:plugin/tool-plugin",
        with: {
            "animus:types/types@0.1.0": super::imports::animus::types::types,
            "animus:llm/llm@0.1.0": super::imports::animus::llm::llm,
            "animus:ledger/ledger@0.1.0": super::imports::animus::ledger::ledger,
            "animus:memory/memory@0.1.0": super::imports::animus::memory::memory,
            "animus:tool/types@0.1.0": super::imports::animus::tool::types,
            "animus:tool/tool@0.1.0": super::imports::animus::tool::tool,
            "animus:faculty/engage@0.1.0": super::imports::animus::faculty::engage,
            "animus:interpreter/types@0.1.0": super::imports::animus::interpreter::types,
            "animus:interpreter/code@0.1.0": super::imports::animus::interpreter::code,
            "animus:spawn-child/spawn-child@0.1.0": super::imports::animus::spawn_child::spawn_child,
            "animus:tool/tools@0.1.0": generate,
        },
        export_macro_name: "export_tool_plugin",
        pub_export_macro: true,
        default_bindings_module: "$crate::bindings::tool_plugin",
    });
}

/// The exports of a faculty.
pub mod faculty_plugin {
    wit_bindgen::generate!({
        path: "../wit",
        world: "animus:plugin/faculty-plugin",
        with: {
            "animus:types/types@0.1.0": super::imports::animus::types::types,
            "animus:llm/llm@0.1.0": super::imports::animus::llm::llm,
            "animus:ledger/ledger@0.1.0": super::imports::animus::ledger::ledger,
            "animus:memory/memory@0.1.0": super::imports::animus::memory::memory,
            "animus:tool/types@0.1.0": super::imports::animus::tool::types,
            "animus:tool/tool@0.1.0": super::imports::animus::tool::tool,
            "animus:faculty/engage@0.1.0": super::imports::animus::faculty::engage,
            "animus:interpreter/types@0.1.0": super::imports::animus::interpreter::types,
            "animus:interpreter/code@0.1.0": super::imports::animus::interpreter::code,
            "animus:spawn-child/spawn-child@0.1.0": super::imports::animus::spawn_child::spawn_child,
            "animus:faculty/types@0.1.0": generate,
            "animus:faculty/faculty@0.1.0": generate,
        },
        additional_derives: [PartialEq],
        export_macro_name: "export_faculty_plugin",
        pub_export_macro: true,
        default_bindings_module: "$crate::bindings::faculty_plugin",
    });
}

/// The export of the phase before a faculty's work. Each phase is a world of its own, so that a component exports those
/// that its author wrote and no others.
pub mod orient_phase {
    wit_bindgen::generate!({
        path: "../wit",
        world: "animus:plugin/orient-phase",
        with: {
            "animus:types/types@0.1.0": super::imports::animus::types::types,
            "animus:faculty/types@0.1.0": super::faculty_plugin::animus::faculty::types,
            "animus:faculty/orient@0.1.0": generate,
        },
        export_macro_name: "export_orient_phase",
        pub_export_macro: true,
        default_bindings_module: "$crate::bindings::orient_phase",
    });
}

/// The export of the phase after a faculty's work.
pub mod consolidate_phase {
    wit_bindgen::generate!({
        path: "../wit",
        world: "animus:plugin/consolidate-phase",
        with: {
            "animus:types/types@0.1.0": super::imports::animus::types::types,
            "animus:faculty/types@0.1.0": super::faculty_plugin::animus::faculty::types,
            "animus:faculty/consolidate@0.1.0": generate,
        },
        export_macro_name: "export_consolidate_phase",
        pub_export_macro: true,
        default_bindings_module: "$crate::bindings::consolidate_phase",
    });
}

/// The export of the phase after a failure of a faculty.
pub mod recover_phase {
    wit_bindgen::generate!({
        path: "../wit",
        world: "animus:plugin/recover-phase",
        with: {
            "animus:types/types@0.1.0": super::imports::animus::types::types,
            "animus:faculty/types@0.1.0": super::faculty_plugin::animus::faculty::types,
            "animus:faculty/recover@0.1.0": generate,
        },
        export_macro_name: "export_recover_phase",
        pub_export_macro: true,
        default_bindings_module: "$crate::bindings::recover_phase",
    });
}

/// The exports of a hook.
pub mod hook_plugin {
    wit_bindgen::generate!({
        path: "../wit",
        world: "animus:plugin/hook-plugin",
        with: {
            "animus:types/types@0.1.0": super::imports::animus::types::types,
            "animus:llm/llm@0.1.0": super::imports::animus::llm::llm,
            "animus:ledger/ledger@0.1.0": super::imports::animus::ledger::ledger,
            "animus:memory/memory@0.1.0": super::imports::animus::memory::memory,
            "animus:tool/types@0.1.0": super::imports::animus::tool::types,
            "animus:tool/tool@0.1.0": super::imports::animus::tool::tool,
            "animus:faculty/engage@0.1.0": super::imports::animus::faculty::engage,
            "animus:spawn-child/spawn-child@0.1.0": super::imports::animus::spawn_child::spawn_child,
            "animus:interpreter/types@0.1.0": super::imports::animus::interpreter::types,
            "animus:interpreter/code@0.1.0": super::imports::animus::interpreter::code,
            "animus:hook/hook@0.1.0": generate,
        },
        additional_derives: [PartialEq],
        export_macro_name: "export_hook_plugin",
        pub_export_macro: true,
        default_bindings_module: "$crate::bindings::hook_plugin",
    });
}
