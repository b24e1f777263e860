"""A receiver that raises SystemExit ends its own work; a signal ends the process."""

from __future__ import annotations

import signal
from functools import partial

import pytest

from apps.integrity.exceptions import ReceiverExits
from apps.integrity.exceptions.failures import contained, isolated

PERSONAL = "ann@example.com"
RAISED = {
    "an error": ValueError(PERSONAL),
    "an exit": SystemExit(PERSONAL),
    "a generator's end": GeneratorExit(PERSONAL),
    "a group": BaseExceptionGroup(PERSONAL, [SystemExit(PERSONAL)]),
}


def throw(error: BaseException) -> None:
    raise error


def handler(_signal, _frame):
    raise SystemExit(0)


def shy(*_):
    raise SystemExit(0)


def deep(_signal, _frame):
    throw(SystemExit(0))


class Told:
    def __call__(self, _signal, _frame):
        raise SystemExit(0)


@pytest.mark.parametrize("error", RAISED.values(), ids=RAISED)
def test_what_a_piece_of_work_raises_ends_it_alone(error, caplog):
    done = []
    for number in range(2):
        with isolated("work"):
            done.append(number)
            throw(error)
    assert done == [0, 1]
    assert PERSONAL not in caplog.text


def test_what_all_pieces_have_in_common_passes():
    with pytest.raises(KeyError), isolated("work", passing=(KeyError,)):
        throw(KeyError())


@pytest.mark.parametrize("error", [*RAISED.values()][1:])
def test_a_receivers_exit_is_its_failure(error):
    with pytest.raises(ReceiverExits) as caught, contained():
        throw(error)
    assert PERSONAL not in str(caught.value)
    assert type(error).__name__ in str(caught.value)


def test_an_error_of_a_receiver_stays_what_it_is():
    with pytest.raises(ValueError, match=PERSONAL), contained():
        throw(ValueError(PERSONAL))


@pytest.mark.parametrize(
    "handle", [handler, shy, deep, Told(), partial(handler)], ids=lambda each: str(type(each))
)
@pytest.mark.parametrize("around", [contained, partial(isolated, "work")])
def test_a_signals_exit_ends_the_process(handle, around):
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with pytest.raises(SystemExit), around():
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_ctrl_c_ends_it():
    for around in (contained, partial(isolated, "work")):
        with pytest.raises(KeyboardInterrupt), around():
            throw(KeyboardInterrupt())


def test_so_does_how_a_framework_stops_what_it_runs():
    class GreenletExit(BaseException):
        pass

    for around in (contained, partial(isolated, "work")):
        with pytest.raises(GreenletExit), around():
            throw(GreenletExit())
