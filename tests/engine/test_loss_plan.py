"""Who probes whom, and when the observers' reports make a machine unreachable: tables, and what holds for every ring."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.engine.loss.plan import FAN, OBJECTION, QUORUM, Report, concerned, deposable, judge, observers, probes, successors
from argosy.engine.loss.watch import LossWatch
from argosy.model import Machine, Probes, ProbeTarget

NOW = 100.0


def reports(text: str, seen: float = 0.0) -> dict[str, dict[str, Report]]:
    """`b<a b<c`: a and c report b, in this order; `b<b`: b objects. All were seen at `seen`, unless `b<a@99.8` says when."""
    found: dict[str, dict[str, Report]] = {}
    for number, item in enumerate(text.split(), start=1):
        pair, _, at = item.partition("@")
        machine, _, observer = pair.partition("<")
        found.setdefault(machine, {})[observer] = Report(number, float(at or seen))
    return found


RINGS: list[tuple[str, str, str, str, str]] = [
    ("alone", "a", "a", "", ""),
    ("of two, each probes the other", "ab", "a", "b", "b"),
    ("of three, each probes both others", "abc", "b", "ca", "ac"),
    ("of four, each probes all others", "abcd", "a", "bcd", "dcb"),
    ("of more, the next three", "abcdef", "b", "cde", "afe"),
    ("... around the end", "abcdef", "e", "fab", "dcb"),
    ("a machine that is not in the ring has its place there nevertheless", "abdef", "c", "def", "baf"),
]


@pytest.mark.parametrize(("sentence", "ring", "machine", "probed", "observed_by"), RINGS, ids=[row[0] for row in RINGS])
def test_ring(sentence: str, ring: str, machine: str, probed: str, observed_by: str) -> None:
    assert successors(list(ring), machine) == tuple(probed), sentence
    assert observers(list(ring), machine) == tuple(observed_by), sentence


JUDGED: list[tuple[str, str, str, str]] = [
    ("nobody reports anything", "abc", "", ""),
    ("all observers report a machine", "abc", "b<a b<c", "b"),
    ("one of two does not: it answers somebody", "abc", "b<a", ""),
    ("one of three does not", "abcde", "e<d e<c", ""),
    ("all three do", "abcde", "e<d e<c e<b", "e"),
    ("somebody who is no observer has no voice", "abcdef", "f<e f<d f<a", ""),
    ("in a cluster of two one voice is all there is", "ab", "b<a", "b"),
    ("an objection that is newer than the reports", "abc", "b<a b<c b<b", ""),
    ("an objection that is older than the reports", "abc", "b<b b<a b<c", "b"),
    ("an objection between the reports: the second has not been answered", "abc", "b<a b<b b<c", "b"),
    ("a leader that is cut off and reports everybody, alone", "abc", "a<c b<c", ""),
    ("... while the others report it: nobody's word counts", "abc", "a<c b<c c<a c<b", ""),
    ("two machines die at once: the survivors' word is enough", "abcde", "a<c a<d a<e b<c b<d b<e", "ab"),
    ("the silence of an observer that died as well vouches for nobody", "abcde", "a<d a<c b<e b<d", "b"),
    ("... of each other", "abcde", "e<d e<b c<b c<a", "ce"),
    ("with one voice left of three a machine is not judged", "abcde", "e<b d<a d<b c<a c<b", "cd"),
    ("a reported observer that objects keeps its voice", "abc", "b<a b<c c<a c<c", "b"),
    ("a machine whose lease has ended", "ac", "b<a b<c", "b"),
    ("the judge's own machine is never judged", "zabc", "z<a z<c z<b", ""),
]


@pytest.mark.parametrize(("sentence", "ring", "told", "unreachable"), JUDGED, ids=[row[0] for row in JUDGED])
def test_judged(sentence: str, ring: str, told: str, unreachable: str) -> None:
    verdict = judge(sorted(ring), reports(told), NOW, "z")
    assert (verdict.unreachable, verdict.again) == (frozenset(unreachable), None), sentence


def test_a_machine_has_time_to_object_from_the_first_report_that_it_has_not_answered() -> None:
    young = reports("b<a@99.8 b<c@100.0")
    verdict = judge(list("abc"), young, NOW)
    assert verdict.unreachable == frozenset()
    assert verdict.again == pytest.approx(OBJECTION - 0.2)
    assert judge(list("abc"), young, 99.81 + OBJECTION).unreachable == {"b"}
    again = reports("b<a@50 b<b@50 b<c@99.9")
    assert judge(list("abc"), again, NOW).again == pytest.approx(OBJECTION - 0.1)


DEPOSED: list[tuple[str, str, int, bool]] = [
    ("nobody reports its machine", "", 3, False),
    ("one of two", "l<a", 3, False),
    ("both", "l<a l<b", 3, True),
    ("of two machines, the other", "l<a", 2, True),
    ("it objects", "l<a l<b l<l", 3, False),
    ("observers that are reported themselves have no voice", "l<a l<b a<l b<l", 3, False),
    ("... unless they object", "l<a l<b a<l b<l a<a b<b", 3, True),
]


@pytest.mark.parametrize(("sentence", "told", "machines", "may"), DEPOSED, ids=[row[0] for row in DEPOSED])
def test_a_leader_may_be_replaced(sentence: str, told: str, machines: int, may: bool) -> None:
    assert deposable("l", reports(told), machines) is may, sentence


rings = st.lists(st.text("abcdefghij", min_size=1, max_size=3), unique=True, max_size=12).map(sorted)


@given(rings)
def test_every_machine_is_observed_by_those_who_probe_it_and_by_no_more_than_there_are(ring: list[str]) -> None:
    for machine in ring:
        probing = {other for other in ring if machine in successors(ring, other)}
        assert set(observers(ring, machine)) == probing
        assert len(probing) == min(FAN, len(ring) - 1)
        assert machine not in probing


@given(rings, st.text("abcdefghij", min_size=1, max_size=3))
def test_a_machine_that_comes_changes_the_targets_of_few(ring: list[str], new: str) -> None:
    bigger = sorted({*ring, new})
    changed = {machine for machine in ring if successors(ring, machine) != successors(bigger, machine)}
    assert changed <= set(concerned(bigger, new))
    assert len(concerned(bigger, new)) <= FAN + 1


@given(rings, st.data())
def test_nobody_is_unreachable_for_whom_an_observer_that_nobody_reports_does_not_speak(ring: list[str], data: st.DataObject) -> None:
    if not ring:
        return
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(ring), st.sampled_from(ring)), max_size=30))
    told = {
        machine: {observer: Report(number, 0.0) for number, (about, observer) in enumerate(pairs, 1) if about == machine}
        for machine, _ in pairs
    }
    for machine in judge(ring, told, NOW).unreachable:
        silent = [other for other in observers(ring, machine) if other in told[machine]]
        assert len(silent) >= min(QUORUM, len(ring) - 1)
        assert all(other in told for other in observers(ring, machine) if other not in silent), "it answers one that is well"


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["", "x:1", "y:2"])), max_size=40))
def test_assignments_kept_up_are_those_of_a_ring_read_anew(steps: list[tuple[str, str]]) -> None:
    watch = LossWatch("z")
    doors: dict[str, str] = {}
    assigned: dict[str, Probes] = {}
    for machine, door in steps:
        watch.set_machine(machine, Machine(machine, door=door) if door else None)
        doors = {**doors, machine: door} if door else {name: known for name, known in doors.items() if name != machine}
        for name, record in watch.take_assignments().items():
            if record is None:
                del assigned[name]
            else:
                assigned[name] = record
    ring = sorted(doors)
    assert assigned == {machine: probes(ring, doors, machine) for machine in ring}


def test_what_the_leader_before_assigned_is_put_right_and_not_written_again() -> None:
    watch = LossWatch("a")
    for machine in "ab":
        watch.set_machine(machine, Machine(machine, door=f"{machine}:1"))
    watch.set_assigned({"a": Probes("a", (ProbeTarget("b", "b:1"),)), "gone": Probes("gone", ())}, ["broken"])
    assert watch.take_assignments() == {"b": Probes("b", (ProbeTarget("a", "a:1"),)), "gone": None, "broken": None}
    assert watch.take_assignments() == {}


def test_a_machine_without_a_listener_for_others_neither_probes_nor_is_probed() -> None:
    watch = LossWatch("a")
    watch.set_machine("a", Machine("a", door="a:1"))
    watch.set_machine("b", Machine("b"))
    assert watch.take_assignments() == {"a": Probes("a", ())}
