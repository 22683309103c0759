"""Every argument of the tables of docs/deepep.md has a test that tries it, and the tables have every name there is."""
import inspect
import pathlib
import re

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import argument_tests  # noqa: E402

from transload import deep_ep  # noqa: E402
from transload.deep_ep import Buffer, Config, ElasticBuffer, EPHandle, EventOverlap  # noqa: E402

FOLDER = pathlib.Path(__file__).parent
PAGE = FOLDER.parents[2] / "docs/deepep.md"
PLACED = "test_deep_ep_low_latency.test_places"
IGNORED = {  # each of these tests sees the warning, once, and no other effect
    "test_deep_ep_buffer.test_ignored_arguments_say_so_once",
    "test_deep_ep_buffer.test_config",
    "test_deep_ep_low_latency.test_ignored_arguments_say_so_once",
    "test_deep_ep_elastic_arguments.test_ignored_of_the_buffer",
    "test_deep_ep_elastic_arguments.test_ignored_of_the_size_hint",
    "test_deep_ep_elastic_arguments.test_ignored_of_the_sms",
    "test_deep_ep_elastic_arguments.test_num_qps_is_ignored",
}
TESTS = {
    Buffer.__init__: {
        "test_deep_ep_groups.test_members_of_a_process_group": "group",
        "test_deep_ep_buffer.test_comm_is_the_group": "comm",
        "test_deep_ep_buffer.test_attributes": "num_nvl_bytes num_rdma_bytes low_latency_mode explicitly_destroy",
        "test_deep_ep_buffer.test_ignored_arguments_say_so_once":
            "num_qps_per_rank allow_nvlink_for_low_latency_mode allow_mnnvl use_fabric",
        "test_deep_ep_buffer.test_no_ranks": "enable_shrink",
    },
    Buffer.set_num_sms: {"test_deep_ep_buffer.test_parameters_have_names_and_order": "new_num_sms"},
    Buffer.get_dispatch_config: {"test_deep_ep_buffer.test_configs_and_hints_for_any_number_of_ranks": "num_ranks"},
    Buffer.get_combine_config: {"test_deep_ep_buffer.test_configs_and_hints_for_any_number_of_ranks": "num_ranks"},
    Buffer.get_low_latency_rdma_size_hint: {
        "test_deep_ep_buffer.test_configs_and_hints_for_any_number_of_ranks": "hidden num_ranks num_experts",
        "test_deep_ep_serving.test_decode_of_two_batches": "num_max_dispatch_tokens_per_rank",
    },
    Buffer.get_dispatch_layout: {
        "test_deep_ep_buffer.test_layout_refuses": "topk_idx num_experts",
        "test_deep_ep_calls.test_order_of_calls": "previous_event async_finish allocate_on_comm_stream",
    },
    Buffer.dispatch: {
        "test_deep_ep_calls.test_what_x_and_choices_must_be": "x topk_idx topk_weights config",
        "test_deep_ep_calls.test_a_handle_and_choices_are_not_both": "handle",
        "test_deep_ep_calls.test_layout_tensors_are_asked_for": "num_tokens_per_rank num_tokens_per_rdma_rank",
        "test_deep_ep_calls.test_ranks_that_are_read": "is_token_in_rank num_tokens_per_expert",
        "test_deep_ep_calls.test_alignment": "expert_alignment",
        "test_deep_ep_calls.test_worst_tokens": "num_worst_tokens",
        "test_deep_ep_calls.test_order_of_calls": "previous_event async_finish allocate_on_comm_stream",
    },
    Buffer.combine: {
        "test_deep_ep_calls.test_rows_longer_than_were_dispatched": "x handle topk_weights bias",
        "test_deep_ep_calls.test_config_is_taken": "config",
        "test_deep_ep_calls.test_order_of_calls": "previous_event async_finish allocate_on_comm_stream",
    },
    Buffer.low_latency_dispatch: {
        "test_deep_ep_refusals.test_one_rank_refuses": "x topk_idx num_max_dispatch_tokens_per_rank num_experts",
        PLACED: "cumulative_local_expert_recv_stats",
        "test_deep_ep_low_latency.test_ignored_arguments_say_so_once": "dispatch_wait_recv_cost_stats",
        "test_deep_ep_low_latency.test_casts_to_the_bit": "use_fp8 round_scale use_ue8m0",
        "test_deep_ep_low_latency.test_order_of_calls": "async_finish",
        "test_deep_ep_low_latency.test_hooks_run_the_second_half": "return_recv_hook",
    },
    Buffer.low_latency_combine: {
        "test_deep_ep_low_latency.test_what_is_refused": "x topk_idx topk_weights handle out",
        "test_deep_ep_low_latency.test_ignored_arguments_say_so_once": "use_logfmt combine_wait_recv_cost_stats",
        "test_deep_ep_low_latency.test_zero_copy_takes_what_lies_in_the_buffer": "zero_copy",
        "test_deep_ep_low_latency.test_order_of_calls": "async_finish",
        "test_deep_ep_low_latency.test_hooks_run_the_second_half": "return_recv_hook",
    },
    Buffer.clean_low_latency_buffer: {
        "test_deep_ep_buffer.test_parameters_have_names_and_order":
            "num_max_dispatch_tokens_per_rank hidden num_experts",
    },
    Buffer.get_next_low_latency_combine_buffer: {
        "test_deep_ep_low_latency.test_zero_copy_takes_what_lies_in_the_buffer": "handle",
    },
    Buffer.get_local_buffer_tensor: {
        "test_deep_ep_buffer.test_what_is_not_there": "dtype use_rdma_buffer",
        "test_deep_ep_buffer.test_parameters_have_names_and_order": "size offset",
    },
    Buffer.low_latency_update_mask_buffer: {"test_deep_ep_buffer.test_what_is_not_there": "rank_to_mask mask"},
    Buffer.low_latency_query_mask_buffer: {"test_deep_ep_buffer.test_parameters_have_names_and_order": "mask_status"},
    Config.__init__: {
        "test_deep_ep_buffer.test_configs_and_hints_for_any_number_of_ranks": "num_sms",
        "test_deep_ep_buffer.test_config":
            "num_max_nvl_chunked_send_tokens num_max_nvl_chunked_recv_tokens num_max_rdma_chunked_send_tokens "
            "num_max_rdma_chunked_recv_tokens",
    },
    Config.get_nvl_buffer_size_hint: {
        "test_deep_ep_training.test_autograd_functions_over_a_kept_buffer": "hidden_bytes",
        "test_deep_ep_buffer.test_configs_and_hints_for_any_number_of_ranks": "num_ranks",
    },
    Config.get_rdma_buffer_size_hint: {
        "test_deep_ep_training.test_autograd_functions_over_a_kept_buffer": "hidden_bytes",
        "test_deep_ep_buffer.test_configs_and_hints_for_any_number_of_ranks": "num_ranks",
    },
    EventOverlap.__init__: {"test_deep_ep_events.test_context_hooks_and_release": "event extra_tensors"},
    EventOverlap.__call__: {"test_deep_ep_events.test_let_go_by_the_end_of_a_block": "release_handle"},
    EventOverlap.current_stream_wait: {"test_deep_ep_events.test_context_hooks_and_release": "release_handle"},
    EventOverlap.register_hook_after_wait: {"test_deep_ep_events.test_a_hook_by_its_name": "hook_after_wait"},
    ElasticBuffer.__init__: {
        "test_deep_ep_elastic_arguments.test_attributes": "group",
        "test_deep_ep_elastic_arguments.test_num_bytes_is_kept_and_nothing_else": "num_bytes",
        "test_deep_ep_elastic_arguments.test_refused_buffers": "num_cpu_bytes",
        "test_deep_ep_elastic_arguments.test_sizes_that_are_given_make_one_group_do":
            "num_max_tokens_per_rank hidden num_topk",
        "test_deep_ep_elastic_arguments.test_ignored_of_the_buffer":
            "use_fp8_dispatch allow_hybrid_mode prefer_overlap_with_compute sl_idx num_allocated_qps "
            "num_cpu_timeout_secs",
        "test_deep_ep_elastic_arguments.test_deterministic_is_no_news": "deterministic",
        "test_deep_ep_elastic.test_rounded_after_each_rank_or_once": "allow_multiple_reduction",
        "test_deep_ep_elastic_arguments.test_the_gpu_timeout_is_the_deadline": "num_gpu_timeout_secs",
        "test_deep_ep_elastic_arguments.test_destroy": "explicitly_destroy",
    },
    ElasticBuffer.get_buffer_size_hint: {
        "test_deep_ep_elastic_arguments.test_size_hint_grows_with_its_arguments":
            "group num_max_tokens_per_rank hidden num_topk",
        "test_deep_ep_elastic_arguments.test_ignored_of_the_size_hint":
            "use_fp8_dispatch allow_hybrid_mode allow_multiple_reduction",
    },
    ElasticBuffer.barrier: {"test_deep_ep_elastic_arguments.test_barrier": "use_comm_stream with_cpu_sync sequential"},
    ElasticBuffer.get_theoretical_num_sms: {
        "test_deep_ep_elastic_arguments.test_sms_of_every_size": "num_experts num_topk",
        "test_deep_ep_elastic_arguments.test_ignored_of_the_sms":
            "num_scaleout_topk rdma_gbs nvlink_gbs sm_read_gbs sm_write_gbs",
    },
    ElasticBuffer.get_theoretical_num_qps: {"test_deep_ep_elastic_arguments.test_sms_of_every_size": "num_sms"},
    ElasticBuffer.dispatch: {
        "test_deep_ep_elastic_arguments.test_refused_dispatches":
            "x topk_idx topk_weights num_experts num_max_tokens_per_rank",
        "test_deep_ep_elastic_arguments.test_stats_are_added_up": "cumulative_local_expert_recv_stats expert_alignment",
        "test_deep_ep_elastic_arguments.test_sms_are_kept_in_the_handle": "num_sms",
        "test_deep_ep_elastic_arguments.test_num_qps_is_ignored": "num_qps",
        "test_deep_ep_elastic_arguments.test_events_of_calls":
            "previous_event previous_event_before_epilogue async_with_compute_stream allocate_on_comm_stream",
        "test_deep_ep_elastic_arguments.test_refused_with_a_handle": "handle",
        "test_deep_ep_elastic_arguments.test_ids_are_copied_unless_told_not_to": "do_handle_copy",
        "test_deep_ep_elastic.test_dispatch_and_cached_dispatch":
            "do_cpu_sync do_expand do_zero_padding use_tma_aligned_col_major_sf",
    },
    ElasticBuffer.combine: {
        "test_deep_ep_elastic_arguments.test_refused_with_a_handle": "x handle topk_weights num_sms",
        "test_deep_ep_elastic.test_there_and_back": "bias",
        "test_deep_ep_elastic_arguments.test_num_qps_is_ignored": "num_qps",
        "test_deep_ep_elastic_arguments.test_events_of_calls":
            "previous_event previous_event_before_epilogue async_with_compute_stream allocate_on_comm_stream",
    },
}


def functions_of(kind):
    """What users may call, if it takes arguments. V2's functions that do other things refuse whatever they get."""
    for name, function in inspect.getmembers(kind, callable):
        if name in ("__init__", "__call__") or not name.startswith("_"):
            if isinstance(inspect.getattr_static(kind, name), type) or name == "__call__" and name not in vars(kind):
                continue
            names = argument_tests.of_function(function)
            if names and not names[0].startswith("_"):
                yield function


@pytest.mark.parametrize("function", TESTS, ids=lambda function: function.__qualname__)
def test_every_argument_is_tried(function):
    argument_tests.check(FOLDER, argument_tests.of_function(function), TESTS[function])


@pytest.mark.parametrize("kind", [Buffer, ElasticBuffer, Config, EventOverlap])
def test_every_function_is_in_the_table(kind):
    assert {each.__qualname__ for each in functions_of(kind)} == {
        each.__qualname__ for each in TESTS if each.__qualname__.startswith(f"{kind.__name__}.")}


def part_of_the_page(heading):
    """What stands under a heading, each point of a list in one line."""
    part = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.sub(r"\n  (?=\S)", " ", part)


def names_in(part):
    """What tables have in their first column, headings, and the list of attributes."""
    told = re.findall(r"^\| (`.*?) \| .* \|$|^### (.*)$|^- Attributes: ([^.]*)", part, re.MULTILINE)
    return {re.match(r"[\w*]+", name)[0] for texts in told for name in re.findall(r"`([^`]+)`", " ".join(texts))}


def words_after(mark, text):
    """`names` of sentences that begin with a mark, such as "Ignored: `a`, `b`."."""
    return {name for part in re.findall(rf"{mark}:(.*?)(?:\.|;|\||$)", text, re.MULTILINE)
            for name in re.findall(r"`(\w+)`", part)}


PAGES = [(Buffer, "V1: `Buffer`"), (ElasticBuffer, "V2: `ElasticBuffer`")]


@pytest.mark.parametrize("kind,heading", PAGES)
def test_the_page_has_every_name(kind, heading):
    named = names_in(part_of_the_page(heading))
    patterns = [re.compile(name.replace("*", r"\w*") + "$") for name in named]
    own = [name for name in vars(kind) if not name.startswith("_")]
    lacking = [name for name in own if not any(each.match(name) for each in patterns)]
    # "All-gather and their size hints": the page says so in words.
    assert not [name for name in lacking if not re.match(r"get_(engram|pp|agrs)_\w+$", name)], lacking
    unknown = [name for name in named if "*" not in name and not hasattr(kind, name)]
    others = {"HybridEPBuffer", "utils", "_C"} | set(vars(deep_ep)) | set(vars(Config))
    source = inspect.getsource(kind.__init__)
    assert not [name for name in unknown if name not in others and f"self.{name}" not in source], unknown


@pytest.mark.parametrize("kind,heading", PAGES)
def test_what_the_page_says_is_ignored_warns(kind, heading):
    """And what warns stands there."""
    said = words_after("Ignored", part_of_the_page(heading))
    kinds = [kind.__name__ + "."]
    warns = {name for function, tests in TESTS.items() if function.__qualname__.startswith(tuple(kinds))
             for test, names in tests.items() if test in IGNORED for name in names.split()}
    in_words = {"dispatch_wait_recv_cost_stats", "combine_wait_recv_cost_stats",  # "both wait statistics"
                "num_scaleout_topk", "rdma_gbs", "nvlink_gbs", "sm_read_gbs", "sm_write_gbs"}  # "all but .."
    assert said - {"num_experts", "num_topk"} == warns - in_words


def test_the_fields_of_a_handle_are_told():
    own = argument_tests.of_function(EPHandle.__init__)
    told = EPHandle.__doc__
    assert own and not [name for name in own if not re.search(rf"\b{name}\b", told)]
