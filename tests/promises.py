"""Each promise of promptmill, the tests that hold it, and the figure last seen.

`tests/test_promises.py` checks that every test named here exists. What is unfinished is said here, by promise.
"""

from __future__ import annotations

from typing import NamedTuple


class Promise(NamedTuple):
    """One promise: `tests` as `file::test`, `seen` the figure of the last campaign, `open` what is not kept yet."""

    number: int
    text: str
    tests: tuple[str, ...]
    seen: str
    open: str = ""


PROMISES = (
    Promise(
        1,
        "Nothing lost, nothing twice: one result row per input row, in input order, under kill -9 at any instant.",
        (
            "tests/system/kills/test_failpoints.py::test_a_run_killed_at_a_failpoint_continues_to_the_same_table",
            "tests/system/kills/test_failpoints.py::test_a_rewrite_killed_in_any_step_leaves_the_part_whole",
            "tests/system/kills/test_random_kills.py::test_a_run_killed_again_and_again_loses_nothing_and_pays_nothing_twice",
            "tests/system/runs/test_whole.py::test_every_jsonl_row_has_one_answer_in_order_beside_its_own_columns",
            "tests/system/runs/test_streams.py::test_a_stream_gives_the_table_that_sync_gives",
            "tests/system/runs/test_stops.py::test_a_limited_run_that_was_killed_loses_no_row_when_continued",
            "tests/system/runs/test_disk.py::test_a_full_disk_ends_the_run_with_advice_and_more_room_finishes_it",
            "tests/system/nights/test_seven_nights.py::test_seven_nights_leave_each_key_once_and_the_books_exact",
            "tests/system/nights/test_mornings.py::test_five_nights_of_a_team_and_what_it_finds_in_the_morning",
            "tests/system/runs/test_early_parts.py::test_an_early_publication_killed_at_any_step_loses_and_doubles_nothing",
            "tests/system/faults/test_storage.py::test_a_disk_that_fails_at_any_operation_loses_nothing_acknowledged",
            "tests/system/kills/test_history.py::test_any_prefix_of_any_history_goes_on_to_the_same_table",
            "tests/system/runs/test_frozen.py::test_a_killed_sync_run_of_then_is_continued",
            "tests/system/stores/test_kills.py::test_a_run_killed_at_each_step_continues_to_the_same_table_in_the_store",
            "tests/system/stores/test_kills.py::test_a_lost_machine_is_made_up_for_from_the_store",
            "tests/system/runs/test_shards.py::test_three_shards_at_a_time_are_one_run",
            "tests/system/runs/test_shards.py::test_a_killed_shard_goes_on_alone",
            "tests/system/stores/test_shards.py::test_shards_on_three_machines_make_one_table_in_the_store",
            "tests/output/test_stores.py::test_a_part_of_another_writer_is_never_written_over",
        ),
        "scripts/chaos, 40 kills per lane: 0 rows lost, 0 doubled; scripts/storage, 799 refused or cut operations: "
        "0 acknowledged records lost; every failpoint; scripts/stores, 20 kills per lane over SeaweedFS with 46 lost answers "
        "to writes each: 0 rows lost, 0 doubled",
    ),
    Promise(
        2,
        "Nothing paid twice that can be known: saved task ids are collected, at most `concurrency` calls are at risk.",
        (
            "tests/system/kills/test_failpoints.py::test_a_run_in_batches_killed_at_a_failpoint_buys_nothing_twice",
            "tests/system/kills/test_failpoints.py::test_a_run_killed_while_its_rows_change_lane_buys_nothing_twice",
            "tests/system/runs/test_lost_batches.py::test_batches_are_found_again_by_what_they_carry",
            "tests/system/runs/test_lost_batches.py::test_a_run_that_takes_lines_and_is_killed_goes_on",
            "tests/system/kills/test_failpoints.py::test_a_run_killed_at_a_failpoint_continues_to_the_same_table",
            "tests/system/kills/test_random_kills.py::test_a_run_killed_again_and_again_loses_nothing_and_pays_nothing_twice",
            "tests/system/runs/test_stops.py::test_tasks_are_left_with_their_ids_and_collected_by_the_next_run",
            "tests/system/runs/test_tasks.py::test_a_task_that_was_late_is_collected_by_the_next_run_and_not_submitted_again",
            "tests/run/test_adoption.py::test_a_restart_with_many_saved_ids_asks_for_each_once_at_an_even_pace",
            "tests/system/runs/test_deadlines.py::test_the_id_of_a_task_is_kept_and_polled_first_by_the_next_run",
            "tests/system/runs/test_deadlines.py::test_a_kill_does_not_make_a_row_younger",
            "tests/system/kills/test_effects.py::test_no_file_is_written_twice_wherever_the_run_is_killed",
            "tests/system/kills/test_effects.py::test_a_half_conversation_that_is_dropped_and_asked_anew_does_not_act_again",
            "tests/system/runs/test_frozen.py::test_task_ids_that_were_accepted_then_are_collected_and_not_bought_again",
        ),
        "scripts/chaos: 637 unknown calls over 40 kills at 16 slots (sync), 632 (stream), 44 (task), 0 tasks bought twice; "
        "scripts/damage, 40 folders: 0 answers bought again without a word, each usable again by the way out named; "
        "scripts/chaos, 30 kills of an agent per policy at every step of a tool: 0 files written twice but with rerun; "
        "scripts/chaos, 40 kills of lane bulk, alone and before sync, at 9 durable steps and at random: 0 unknown calls, "
        "1,440 of 1,440 calls billed once; scripts/budget, 40 trials in batches, killed at a step: never above",
    ),
    Promise(
        3,
        "Switching lane, limits or price never re-buys an answer; changing what is asked does.",
        (
            "tests/system/runs/test_again.py::test_a_change_that_asks_nothing_else_buys_nothing",
            "tests/system/runs/test_lanes.py::test_a_job_moved_from_lane_to_lane_half_way_buys_each_row_once",
            "tests/system/runs/test_again.py::test_a_changed_template_asks_every_row_again_and_keeps_its_place",
            "tests/system/runs/test_again.py::test_an_edited_row_runs_alone_and_keeps_its_place",
        ),
        "",
    ),
    Promise(
        4,
        "The limit is a line over any window of its own length, and it is used.",
        (
            "tests/limits/test_limiter.py::test_no_mixture_of_callers_crosses_a_limit_or_waits_for_ever",
            "tests/limits/test_limiter.py::test_a_request_limit_is_used_and_never_crossed",
            "tests/limits/test_limiter.py::test_a_process_that_follows_another_goes_on_in_its_window",
            "tests/system/runs/test_faults.py::test_requests_never_exceed_the_limit_in_any_window_and_use_it",
            "tests/system/runs/test_shards.py::test_all_shards_together_keep_to_the_limit_of_the_job",
            "tests/system/runs/test_fleet_endpoints.py::test_two_workers_keep_the_limits_of_three_addresses",
            "tests/system/runs/test_faults.py::test_in_flight_never_exceeds_concurrency_while_everything_fails_and_retries",
            "tests/system/runs/test_limits_judged.py::test_a_limit_is_a_line_and_is_used",
            "tests/system/runs/test_limits_judged.py::test_a_limit_a_minute_that_is_looked_at_by_the_second_is_kept",
            "tests/system/runs/test_outages.py::test_no_outage_fails_a_row_and_its_end_is_noticed",
            "tests/system/runs/test_outages.py::test_a_service_that_tells_its_limits_is_obeyed_without_being_told_of_them",
            "tests/limits/test_limiter_adapt.py::test_a_cap_that_changes_without_a_word_is_found_and_used",
            "tests/limits/test_limiter_adapt.py::test_a_token_limit_is_used_and_never_crossed",
            "tests/limits/test_tokens.py::test_no_window_holds_more_than_the_limit",
            "tests/run/ray/test_coretime.py::test_whatever_the_ways_and_the_clocks_do_the_core_is_never_taken_to_be_earlier",
        ),
        "scripts/limits, 20 mixes and 6 pairs of models in real time: 0 windows over, 0 refused, 98.3 to 100 % of requests, "
        "97.0 to 98.2 % of tokens",
    ),
    Promise(
        5,
        "Every token is booked where it was spent; booked <= bill <= booked + the bound on unknown calls.",
        (
            "tests/system/kills/test_random_kills.py::test_a_run_killed_again_and_again_loses_nothing_and_pays_nothing_twice",
            "tests/system/runs/test_faults.py::test_every_row_is_ok_in_the_end_and_the_bill_is_bounded",
            "tests/system/runs/test_faults.py::test_usage_that_was_not_said_is_null_and_counted_and_never_zero",
            "tests/system/runs/test_faults.py::test_what_was_booked_is_told_the_same_everywhere",
            "tests/system/nights/test_month.py::test_thirty_nights_that_were_bought_answer_the_questions_of_the_readme",
            "tests/system/real/test_llama_cpp.py::test_both_lanes_give_the_same_answers_and_book_the_tokens_that_the_server_counts",
            "tests/system/real/test_nginx.py::test_a_gateway_that_closes_after_five_requests_costs_no_call",
        ),
        "gsm8k and banking77, sync on both dialects and task on GLM: equal to the simulator's books call by call; "
        "banking77 moved from sync to task, to batches of 500 (2 % failed lines, one expired) and back: 3,080 calls alike",
    ),
    Promise(
        6,
        "Memory is flat in the number of rows; a straggler holds up nothing but its own part.",
        (
            "tests/system/runs/test_memory.py::test_peak_memory_is_the_same_for_three_times_the_rows",
            "tests/system/runs/test_memory.py::test_peak_memory_stays_bounded_with_rows_of_a_hundred_kilobytes",
            "tests/system/runs/test_memory.py::test_peak_memory_stays_bounded_with_a_file_of_a_megabyte_in_every_prompt",
            "tests/system/runs/test_stalled_model.py::test_a_stalled_model_does_not_stop_the_other",
        ),
        "200,000 rows: peak 170 MB, 169 MB over 50,000; 300 prompts of 1 MB: 194 MB; 1,000,000 rows in batches of 50,000: "
        "233 MB",
    ),
    Promise(
        7,
        "A hostile row is one failed row; a fault of the run stops it cleanly with what to do next.",
        (
            "tests/system/runs/test_refusals.py::test_hostile_rows_are_one_failed_row_each_and_all_others_are_ok",
            "tests/system/runs/test_refusals.py::test_a_refused_key_stops_the_run_and_the_right_one_finishes_it",
            "tests/system/runs/test_refusals.py::test_fifty_rows_failing_with_one_permanent_code_condemn_the_job",
            "tests/system/faults/test_hostile_files.py::test_a_hostile_file_is_told_with_place_and_way_out",
            "tests/system/runs/test_hostile.py::test_a_tool_that_exits_prints_or_returns_nonsense_is_its_rows_matter",
            "tests/system/runs/test_outages.py::test_a_provider_that_stays_away_stops_the_run_after_the_park_time",
            "tests/test_behaviours.py::test_a_line_says_who_shows_the_behaviour_and_who_meets_it",
        ),
        "Each hostile row one failed row with kind, code and place, each of 75 hostile files a failed row or exit 2; exit codes "
        "1, 2, 5 and 6 as documented",
    ),
    Promise(
        8,
        "Secrets never land in logs, ledger, results, reports or error texts. No telemetry, no update check.",
        (
            "tests/system/runs/test_refusals.py::test_the_key_is_nowhere_even_when_the_provider_echoes_it",
            "tests/system/runs/test_refusals.py::test_the_key_is_nowhere_wherever_in_its_answer_the_provider_echoes_it",
            "tests/system/runs/test_refusals.py::test_the_key_of_a_run_in_good_health_is_nowhere_either",
            "tests/system/faults/test_keys.py::test_a_key_that_comes_in_by_this_way_is_found_nowhere",
            "tests/system/faults/test_fetched_keys.py::test_what_a_command_says_when_it_fails_is_found_nowhere",
            "tests/system/faults/test_fetched_keys.py::test_a_key_that_ends_in_mid_run_is_fetched_again",
            "tests/cli/test_variables.py::test_a_key_in_a_file_is_used_and_lands_nowhere",
            "tests/system/runs/test_quiet.py::test_a_run_as_a_process_connects_to_its_provider_alone",
            "tests/system/runs/test_quiet.py::test_every_other_command_speaks_to_nobody",
            "tests/run/ray/test_calls.py::test_no_key_goes_over_the_line_and_the_worker_puts_its_own",
            "tests/run/ray/test_cluster.py::test_usage_statistics_are_off_before_ray_is_started",
        ),
        "scripts/keys, 15 ways in, 12 forms: 1,329 texts and files, the key in 0 of them",
    ),
)
