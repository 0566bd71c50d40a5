"""asyncio without sockets: an event loop whose only events are its own timers, and lenient helpers.

Tools answer at once, so `gather` and its like take plain values as well as awaitables.
"""

import asyncio
import functools
import inspect
import time
from asyncio import base_events, events, tasks


class _Selector:
    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise RuntimeError("every task waits, and nothing is left that could wake one")
        if timeout > 0:
            time.sleep(timeout)
        return []

    def close(self) -> None:
        pass


class Loop(base_events.BaseEventLoop):
    """An event loop of one thread, without files and sockets."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Selector()
        # A sleep of the host may end some microseconds early.
        self._clock_resolution = max(self._clock_resolution, 1e-3)

    def _process_events(self, event_list: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def run_in_executor(self, executor, func, *args):
        """Runs `func` at once: there are no threads."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        pass


async def wait(value):
    """The value of an awaitable, or a plain value as it is."""
    return await value if inspect.isawaitable(value) else value


def run(awaitable):
    """The value of an awaitable, from code that runs in no loop or in one."""
    outer = events._get_running_loop()
    # Since 3.12 a thread has one current task, whichever loop it is of.
    swap = getattr(tasks, "_swap_current_task", None) if outer else None
    task = swap(outer, None) if swap else None
    events._set_running_loop(None)
    loop = Loop()
    try:
        return loop.run_until_complete(wait(awaitable))
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            events._set_running_loop(outer)
            if swap:
                swap(outer, task)


def _cancel_all(loop: Loop) -> None:
    left = tasks.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(tasks.gather(*left, return_exceptions=True))


def install() -> None:
    """Make asyncio use this loop, and its helpers take plain values."""
    gather, wait_for, shield = tasks.gather, tasks.wait_for, tasks.shield
    create_task, ensure_future = tasks.create_task, tasks.ensure_future
    group_task = asyncio.TaskGroup.create_task

    def awaitable(value):
        return value if inspect.isawaitable(value) else wait(value)

    def coroutine(value):
        return value if inspect.iscoroutine(value) else wait(value)

    def new_event_loop():
        return Loop()

    def run_(main, *, debug=None, loop_factory=None):
        return run(main)

    @functools.wraps(gather)
    def gather_(*values, return_exceptions=False):
        if events._get_running_loop() is None:
            # Nothing runs yet: whoever awaits it will have a loop.
            return _later(gather, [awaitable(v) for v in values], return_exceptions=return_exceptions)
        return gather(*map(awaitable, values), return_exceptions=return_exceptions)

    @functools.wraps(wait_for)
    async def wait_for_(fut, timeout):
        return await wait_for(awaitable(fut), timeout)

    @functools.wraps(create_task)
    def create_task_(coro, **kwargs):
        return create_task(coroutine(coro), **kwargs)

    @functools.wraps(ensure_future)
    def ensure_future_(value, **kwargs):
        return ensure_future(awaitable(value), **kwargs)

    @functools.wraps(shield)
    def shield_(value):
        return shield(awaitable(value))

    @functools.wraps(group_task)
    def group_task_(self, coro, **kwargs):
        return group_task(self, coroutine(coro), **kwargs)

    asyncio.TaskGroup.create_task = group_task_
    events.new_event_loop = asyncio.new_event_loop = new_event_loop
    asyncio.run = asyncio.runners.run = run_
    for name, function in {
        "gather": gather_,
        "wait_for": wait_for_,
        "create_task": create_task_,
        "ensure_future": ensure_future_,
        "shield": shield_,
    }.items():
        setattr(asyncio, name, function)


async def _later(function, values, **kwargs):
    return await function(*values, **kwargs)
