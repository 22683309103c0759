"""Ranks as processes of a gloo process group. Who does not answer in time is named, and none outlives the test."""
import multiprocessing
import os
import signal
import time

import torch.distributed as dist

PATIENCE_S = 300  # a process imports torch first


def _member(work, rank, ranks, meeting, pipe, arguments):
    try:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks)
        pipe.send((True, work(rank, *arguments)))
    except BaseException as error:  # pylint: disable=broad-except
        pipe.send((False, error))
    pipe.recv()  # until nobody needs this process any more


def in_processes(work, ranks, folder, *arguments, dies=()):
    """What work(rank, *arguments) gave in each process; None of those that are to die in it."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(ranks):
        mine, theirs = context.Pipe()
        pipes.append(mine)
        processes.append(context.Process(
            target=_member, args=(work, rank, ranks, folder / "meeting", theirs, arguments), daemon=True))
        processes[-1].start()
        theirs.close()
    try:
        return [None if rank in dies else _answer(rank, pipes[rank]) for rank in range(ranks)]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _answer(rank, pipe):
    assert pipe.poll(PATIENCE_S), f"rank {rank} says nothing in {PATIENCE_S} s"
    try:
        good, answer = pipe.recv()
    except EOFError:
        raise AssertionError(f"rank {rank} died") from None
    if not good:
        raise answer
    return answer


def die():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(PATIENCE_S)
