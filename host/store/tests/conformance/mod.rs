//! What every back end of the store must do, whatever it is built on. Each case is a function of a fresh store, named
//! for the fact that it proves; [`suite`] makes a test of each for one back end.

pub(crate) mod audit;
pub(crate) mod compiled;
pub(crate) mod events;
pub(crate) mod hooks;
pub(crate) mod journal;
pub(crate) mod ledger;
pub(crate) mod memories;
pub(crate) mod plugins;
pub(crate) mod queue;
pub(crate) mod secrets;
pub(crate) mod skills;
pub(crate) mod tenants;
pub(crate) mod works;

use std::sync::Arc;

use animus_core::{
    Error,
    id::{FocusId, TenantId, WorkId},
    store::{Store, Tenant},
    work::{Claim, Host, Lease, NewWork, Settlement, State, Work},
};
use serde_json::json;

/// Runs all cases. `$fresh` is an async function that gives an empty store, and what must live as long; or nothing, where
/// the back end is left out.
macro_rules! suite {
    ($fresh:path) => {
        $crate::conformance::cases! { $fresh;
            tenants {
                a_tenant_is_made_once_and_listed
                the_store_is_healthy_and_says_where_it_is
            }
            works {
                a_new_item_is_queued_and_reads_back
                items_are_listed_newest_first_by_state_and_within_the_limit
                items_are_found_by_the_beginning_of_their_identifier
                a_focus_begins_only_from_the_state_that_was_seen
                of_many_who_begin_at_once_one_does
                a_focus_ends_once_and_only_the_one_that_runs
                costs_add_up_over_attempts
                a_focus_whose_process_is_gone_is_recovered_once
                work_of_another_tenant_is_out_of_reach
                other_work_is_told_newest_first_within_limits_and_without_oneself
            }
            hooks {
                a_hook_stays_as_it_was_switched_last_and_the_audit_log_says_who
                what_no_hook_is_called_is_not_switched
                switches_of_another_tenant_are_out_of_reach
            }
            queue {
                the_greatest_priority_comes_first_and_of_equals_the_oldest
                only_what_is_asked_for_is_given_out
                of_many_who_claim_at_once_each_item_goes_to_one
                work_is_not_given_out_before_its_time
                a_lease_that_runs_out_gives_the_same_focus_to_another_host
                a_lease_that_is_renewed_does_not_run_out
                what_ends_its_hosts_too_often_is_dead
                what_is_let_go_of_is_taken_over_at_once_and_counts_no_lost_host
                hosts_of_a_machine_that_are_gone_are_not_waited_for
                a_host_that_comes_back_in_the_last_moment_keeps_its_focus
                what_a_focus_spent_counts_however_it_ended
                equal_work_is_merged_while_it_is_queued_or_running
                of_many_equal_submits_at_once_one_is_canonical
                a_submit_that_is_repeated_is_made_once
                a_failure_is_tried_again_after_a_while_until_it_is_dead
                an_operator_has_failed_work_tried_again
                a_cancel_reaches_all_children_and_marks_what_runs
                what_was_to_be_cancelled_when_its_host_died_is_not_begun_again
                children_are_only_so_deep
                items_are_counted_by_state_and_by_what_is_ready
                a_list_goes_on_where_the_one_before_ended
                what_one_handle_commits_wakes_the_watch_of_another
                the_queue_of_another_tenant_is_out_of_reach
                hosts_are_listed_as_they_last_said
                ten_thousand_equal_submits_at_once_leave_one_item
            }
            events {
                events_read_back_in_order_after_a_number
                a_number_that_is_taken_keeps_its_event
                a_read_of_events_is_bounded
                events_of_another_tenant_are_out_of_reach
            }
            ledger {
                numbers_count_from_one_within_each_item
                parallel_appends_leave_no_gap_and_no_duplicate
                type_and_last_n_compose
                a_read_gives_the_last_thousand
                content_up_to_the_limit_is_kept_and_beyond_it_refused
                a_ledger_of_another_tenant_is_out_of_reach
            }
            journal {
                intents_count_from_one_and_read_back_in_order
                an_outcome_is_written_once_and_only_to_an_intent
                a_long_response_is_kept_whole
                a_parent_is_an_earlier_intent
                a_journal_is_counted_without_being_read
                nothing_begins_in_a_focus_that_has_ended
                a_journal_of_another_tenant_is_out_of_reach
            }
            memories {
                words_find_memories_best_first
                other_forms_of_a_word_find_it_too
                kind_and_tags_are_searched_and_narrow
                an_empty_query_gives_the_newest
                no_query_text_is_an_error
                a_limit_out_of_range_is_refused
                a_forgotten_memory_is_found_by_nothing
                a_tag_is_added_once_and_found
                malformed_memories_are_refused
                memories_of_another_tenant_are_out_of_reach
                the_order_of_hits_tells_nothing_of_other_tenants
                what_points_the_same_way_is_found_without_a_word_in_common
                what_is_found_both_ways_comes_first
                vectors_of_another_model_are_left_out_and_counted
                filters_hold_for_words_and_vectors_alike
                a_narrow_filter_finds_what_is_far_away
                age_counts_when_it_is_asked_to
                an_update_is_a_new_version_and_the_old_ones_are_readable
                an_update_moves_the_vector_too
                a_named_memory_is_stored_once
                of_many_who_store_one_name_at_once_one_does
                a_forgotten_vector_is_found_by_nothing
                every_handle_sees_the_vectors_that_another_wrote
                vectors_of_another_tenant_are_out_of_reach_and_change_no_order
            }
            plugins {
                what_requests_nothing_serves_at_once
                what_requests_something_waits_for_a_grant
                a_grant_survives_an_upgrade_and_a_rollback
                a_rollback_goes_one_back_or_where_it_is_told
                a_new_generation_after_a_rollback_has_a_new_number
                the_last_ten_generations_are_kept
                a_removed_plugin_leaves_nothing_behind
                every_change_raises_the_revision_and_is_audited
                a_failed_change_changes_nothing
                a_manifest_that_does_not_parse_is_not_installed
                plugins_of_another_tenant_are_out_of_reach
                equal_bytes_stay_while_one_tenant_needs_them
                failures_count_in_a_row_and_change_nothing_else
                a_failing_generation_gives_way_to_the_last_one_that_was_not_retired
                only_the_serving_generation_is_retired_and_only_once
                an_operator_may_serve_a_retired_generation_again
                failures_go_with_their_generation
                a_fault_stays_until_its_source_loads
                faults_and_their_texts_are_bounded
                health_and_faults_of_another_tenant_are_out_of_reach
            }
            skills {
                a_version_is_active_at_once_or_waits
                an_update_is_a_new_version_and_the_old_one_is_kept
                an_approved_version_takes_the_place_of_the_active_one
                a_rejected_version_never_becomes_active
                a_decision_is_made_once
                of_many_who_decide_at_once_one_does
                an_old_version_does_not_undo_a_newer_one
                the_last_ten_versions_and_the_active_one_are_kept
                what_is_not_a_skill_is_not_stored
                a_tenant_keeps_so_many_skills_and_no_more
                a_tenant_keeps_so_many_bytes_and_no_more
                activations_are_counted_once_for_each_focus
                what_nobody_approved_is_not_activated
                decisions_are_counted_also_when_the_skill_is_gone
                a_removed_skill_leaves_only_its_counts
                every_change_of_a_skill_raises_the_revision_and_is_audited
                a_failed_change_of_a_skill_changes_nothing
                skills_of_another_tenant_are_out_of_reach
            }
            compiled {
                a_version_and_its_plugin_are_stored_together_or_not_at_all
                an_effect_makes_one_version_however_often_it_is_repeated
                of_many_who_repeat_an_effect_at_once_one_makes_it
                an_approval_installs_what_it_approves
                what_serves_is_what_is_read
                a_version_that_a_rollback_leads_to_is_kept
                a_removed_plugin_leaves_the_text_without_tools
                what_an_operator_took_back_stays_so_whatever_version_follows
                an_approval_gives_nothing_back_that_was_narrowed
            }
            secrets {
                a_secret_reads_back_and_is_replaced
                handles_are_listed_without_values
                a_removed_secret_is_gone
                malformed_handles_and_values_are_refused
                no_value_reaches_audit_or_errors
                secrets_of_another_tenant_are_out_of_reach
            }
            audit {
                entries_are_chained_and_read_back
                an_empty_log_verifies
                parallel_entries_keep_one_chain
                every_detail_that_json_can_say_verifies
                a_log_of_another_tenant_is_out_of_reach
            }
        }
    };
}
macro_rules! cases {
    ($fresh:path; $($room:ident { $($case:ident)+ })+) => {$(
        mod $room {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let Some((store, _alive)) = $fresh().await else { return };
                $crate::conformance::$room::$case(store).await;
            }
        )+}
    )+};
}
pub(crate) use {cases, suite};

pub(crate) async fn tenant(store: &Arc<dyn Store>, name: &str) -> Arc<dyn Tenant> {
    store.tenant(&TenantId::new(name).unwrap()).await.unwrap()
}

pub(crate) async fn two_tenants(store: &Arc<dyn Store>) -> (Arc<dyn Tenant>, Arc<dyn Tenant>) {
    (tenant(store, "ada").await, tenant(store, "bob").await)
}

pub(crate) fn some_work() -> NewWork {
    NewWork::held("assistant", "cli", "count the files", json!({ "deep": true }))
}

pub(crate) async fn submitted(tenant: &Arc<dyn Tenant>) -> WorkId {
    tenant.work_submit(some_work()).await.unwrap().work.id
}

/// What this process asks when it begins work of its own.
pub(crate) fn claim() -> Claim {
    Claim::held(Host::this("here"), 60_000, json!({}))
}

/// The lease of a focus that nobody took over.
pub(crate) fn lease(focus: FocusId) -> Lease {
    Lease { focus, token: 1 }
}

pub(crate) async fn begin(tenant: &Arc<dyn Tenant>, work: WorkId, from: State) -> Result<FocusId, Error> {
    Ok(tenant.focus_begin(work, from, &claim()).await?.lease.focus)
}

pub(crate) async fn end(
    tenant: &Arc<dyn Tenant>,
    focus: FocusId,
    to: State,
    settlement: Settlement,
) -> Result<Work, Error> {
    tenant.focus_end(lease(focus), to, settlement).await
}

pub(crate) async fn begun(tenant: &Arc<dyn Tenant>) -> (WorkId, FocusId) {
    let work = submitted(tenant).await;
    (work, begin(tenant, work, State::Queued).await.unwrap())
}

/// The class of an error that must be one.
pub(crate) fn class<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.unwrap_err().class()
}
