"""How many arrays live at once in a step of GRAM: those that are used up give their place to the next ones."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

from pipeline.bench.objectives import batch, of, step

ROWS = 512  # as many as a row is long, so that [B, B] and [B, D] are arrays of one size


def largest(call: Callable[[], object]) -> float:
    """Most memory that is allocated at once during a call, by torch's own count, in arrays [ROWS, ROWS]."""
    call()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    events = sorted((e.start_ns(), e.nbytes()) for e in seen.profiler.kineto_results.events() if e.name() == "[memory]")
    most = now = 0
    for _, size in events:
        now += size
        most = max(most, now)
    return most / (4 * ROWS * ROWS)


def test_a_step_of_gram_holds_nine_arrays():
    """Unit rows and their gradients, three each, two products that weigh pairs, one whose place is not yet free."""
    assert largest(step(of("gram"), batch(ROWS, 3))) < 9.1


def test_without_the_gathered_gradient_it_holds_two_more():
    """The products are wanted twice: once for the text, once for the tuple."""
    assert largest(step(of("gram", gather="no-grad"), batch(ROWS, 3))) < 11.1
