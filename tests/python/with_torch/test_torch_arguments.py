"""Every argument of transload.torch's calls has a test that tries it."""
import pathlib

import argument_tests
import pytest

import transload.torch as tl

FOLDER = pathlib.Path(__file__).parent
OF_THE_LIBRARY = "test_torch_options.test_what_reaches_the_library"
TESTS = {
    tl.dispatch: {
        "test_torch_calls.test_trip": "x topk_idx topk_weights scales",
        "test_torch_calls.test_refusals": "group",
        "test_torch_gradients.test_cached_dispatch_has_gradients": "handle",
        "test_torch_options.test_expert_alignment": "expert_alignment",
        "test_torch_options.test_overflow": "rows_max overflow",
        OF_THE_LIBRARY: "landing channels",
        "test_torch_options.test_backwards_have_the_deadline_of_their_call": "deadline_s",
    },
    tl.combine: {
        "test_torch_calls.test_trip": "x handle topk_weights bias",
        "test_torch_calls.test_refusals": "group",
        "test_torch_options.test_wire": "wire",
        OF_THE_LIBRARY: "source channels",
        "test_torch_options.test_the_deadline_of_a_call": "deadline_s",
    },
    tl.group: {
        "test_torch_process_group.test_processes": "process_group",
        "test_torch_process_group.test_refusals": "options",
    },
}


@pytest.mark.parametrize("function", TESTS, ids=lambda function: function.__name__)
def test_every_argument_is_tried(function):
    argument_tests.check(FOLDER, argument_tests.of_function(function), TESTS[function])
