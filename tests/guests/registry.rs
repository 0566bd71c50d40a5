// Every tool of every guest. The guests serve what stands here, and the host's tests name a test for each: a tool without
// a function, a function without an entry and an entry without a test do not compile.

#[allow(unused_macros, reason = "each guest reads its own part")]
macro_rules! foreach_evil_tool {
    ($do:ident) => {
        $do! {
            environment, escape_codes, exit, false_json, flood_random, huge_log, huge_result, keep_pollables, memory_bomb,
            memory_coping, panics, recurse, sleep, spin, spin_in_host_calls
        }
    };
}

#[allow(unused_macros, reason = "each guest reads its own part")]
macro_rules! foreach_files_tool {
    ($do:ident) => {
        $do! { hard_link, list, open_at, read, rename, symlink, write }
    };
}

#[allow(unused_macros, reason = "each guest reads its own part")]
macro_rules! foreach_net_tool {
    ($do:ident) => {
        $do! { fetch, flood, follow, forge }
    };
}

#[allow(unused_macros, reason = "each guest reads its own part")]
macro_rules! foreach_probe_tool {
    ($do:ident) => {
        $do! {
            child_await, child_cancel, child_check, child_spawn, code_run, engage_run, flood, ledger_append,
            ledger_formatted, ledger_read, llm_complete, llm_embed, llm_list_models, llm_open_stream, memory_forget,
            memory_get, memory_recall, memory_store, memory_tag, memory_update, memory_versions, swallow_a_denial,
            tool_call, tool_describe, tool_list
        }
    };
}
