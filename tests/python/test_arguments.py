"""Every argument of transload.Group's calls has a test that tries it."""
import pathlib

import argument_tests
import pytest

import transload

FOLDER = pathlib.Path(__file__).parent
TYPES = pathlib.Path(transload.__file__).parent / "_native.pyi"
TESTS = {
    "__init__": {
        "test_calls.test_properties": "rank ranks nodes experts device",
        "test_calls.test_numbers_of_numpy": "expert_owner",
        "test_calls.test_types": "dtype",
        "test_calls.test_scales_of_any_strides": "scales_max",
        "test_calls.test_wire_of_fp32": "combine_wire",
        "test_calls.test_dimensions_are_kept": "hidden",
        "test_refusals.test_groups": "tokens_max top_k_max network_memory",
        "test_options.test_what_is_asked_for_is_had": "channels slots peer_slots scale_out",
        "test_options.test_a_provider": "provider",
        "test_options.test_a_nic": "nic",
        "test_options.test_how_long_a_rank_looks_before_it_sleeps": "linger_us",
        "test_lifetimes.test_leases_are_given_back": "slab_bytes",
        "test_processes.test_a_rank_that_does_not_come": "deadline_s",
        "test_processes.test_nobody_comes_to_the_meeting": "create_deadline_s bootstrap",
        "test_processes.test_groups_by_name": "name secret",
        "test_refusals.test_not_there_yet": "sms",
    },
    "dispatch": {
        "test_calls.test_scales_of_any_strides": "scales",
        "test_calls.test_rows_max": "rows_max overflow expert_alignment",
        "test_calls.test_landing_and_out": "landing out",
        "test_calls.test_channels_of_a_call": "channels",
        "test_options.test_the_deadline_of_a_call": "deadline_s",
        "test_refusals.test_what_one_rank_refuses_all_do": "x topk_idx topk_weights refused",
        "test_calls.test_types": "handle",
        "test_refusals.test_not_there_yet": "sms stream",
    },
    "combine": {
        "test_calls.test_trip": "x handle topk_weights",
        "test_calls.test_biases": "bias",
        "test_calls.test_landing_and_out": "source",
        "test_calls.test_wire_of_fp32": "wire",
        "test_calls.test_out_for_weights": "out",
        "test_calls.test_channels_of_a_call": "channels",
        "test_refusals.test_not_there_yet": "sms stream",
        "test_options.test_the_deadline_of_a_call": "deadline_s",
    },
}


@pytest.mark.parametrize("call", TESTS)
def test_every_argument_is_tried(call):
    if call == "__init__":
        arguments = argument_tests.of_function(transload.Group.__init__)
    else:
        arguments = argument_tests.of_compiled(TYPES, "Group", call)
    argument_tests.check(FOLDER, arguments, TESTS[call])
