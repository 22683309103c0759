"""What a caller can give that is bad has a test that gives it. This table says which, and is held to the sources."""
import pathlib

import argument_tests
import pytest

FOLDER = pathlib.Path(__file__).parent
TESTS = {  # what is bad: (test, words of its source)
    "no DLPack": ("test_refusals.test_dispatch", "a str, must be an array"),
    "another device": ("test_refusals.test_dispatch", "on cuda 0, must be on the CPU"),
    "type": ("test_refusals.test_dispatch", "int16, must be int32 or int64"),
    "shape": ("test_refusals.test_dispatch", r"topk_idx: \[5, 2\], must be \[6"),
    "strides": ("test_refusals.test_dispatch", "must be contiguous"),
    "byte order": ("test_refusals.test_dispatch", "in this machine's byte order"),
    "read-only": ("test_refusals.test_combine", "READ_ONLY"),
    "read-only, of JAX": ("with_torch/test_jax_arrays.test_an_array_of_jax_cannot_be_written", "out: read-only"),
    "bf16 that is not of ml_dtypes": ("test_refusals.test_dispatch", '"V2"'),
    "a FakeTensor": ("with_torch/test_torch_calls.test_refusals", "x: a FakeTensor"),
    "a meta tensor": ("with_torch/test_torch_calls.test_refusals", "x: .*meta"),
    "ids that need grad": ("with_torch/test_torch_calls.test_refusals", "topk_idx: a tensor that requires grad"),
    "a closed group": ("test_refusals.test_closed", "the group is closed"),
    "a group of another process": ("test_processes.test_a_forked_child", "fork"),
    "two threads": ("test_refusals.test_two_threads_at_once", "of another thread, must be called by one"),
    "device cuda:9": ("test_refusals.test_not_there_yet", "device: 'cuda:9', must be 'cpu'"),
    "a process group of another size": ("with_torch/test_torch_process_group.test_refusals", "ranks: 3, must be 2"),
    "hosts not node by node": ("deep_ep/test_deep_ep_groups.test_hosts_that_are_not_node_by_node", "rank 2 is on the"),
    "an all-gather of too few": ("test_refusals.test_all_gathers_that_lie", "it gave 1 parts"),
    "an all-gather of other lengths": ("test_refusals.test_all_gathers_that_lie", "of rank 1 it gave"),
    "a handle of another group": ("test_refusals.test_handles_of_others", "of another group"),
    "a handle of the other mode": ("deep_ep/test_deep_ep_low_latency.test_what_is_refused", "handle"),
    "a call after destroy": ("deep_ep/test_deep_ep_buffer.test_destroy", "destroyed"),
    "weights without ids": ("deep_ep/test_deep_ep_calls.test_by_ranks_alone", "topk_weights: given without topk_idx"),
    "a stream": ("test_refusals.test_not_there_yet", "stream: 7, must be None"),
    "odd num_sms": ("deep_ep/test_deep_ep_buffer.test_num_sms", '(23, "even")'),
    "experts that do not divide": ("deep_ep/test_deep_ep_groups.test_experts_differ_or_do_not_divide", "a multiple of"),
    "ids of a type that is none": ("deep_ep/test_deep_ep_refusals.test_one_rank_refuses", "topk_idx: torch.uint16"),
    "two packages named deep_ep": ("deep_ep/test_deep_ep_package.test_the_doctor_says_whose", "another library"),
}


@pytest.mark.parametrize("what", TESTS)
def test_it_is_tried(what):
    test, words = TESTS[what]
    folder, _, name = test.rpartition("/")
    assert words in argument_tests.source_of(FOLDER / folder, name), f"{test} has no {words!r}"
