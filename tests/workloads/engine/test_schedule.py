"""Loops and places by hand: which statements share a loop, what is written in an argument's place, what is copied."""

from __future__ import annotations

from workloads.engine.schedule import (
    MOST_ON_STACK,
    Statement,
    array,
    copied,
    grouped,
    homes_and_copies,
    linear,
    passing_arrays,
    scheduled,
)


def pointwise(target: str, *reads: str, shape: tuple[int, ...] = (3,), at: str = "(i0)") -> Statement:
    """A statement whose elements are a sum of what it reads, at its own place or at `at`."""
    text = "+".join(f"@{name}@[{at}]" for name in reads) or "one"
    return Statement(target, "f32", shape, [], {(name, at) for name in reads}, pointwise=text)


def summed(target: str, *reads: str) -> Statement:
    """A statement that reads whole arrays."""
    return Statement(target, "f32", (), [f"@{target}@[0]=sum;"], {(name, "(r0)") for name in reads})


def names(groups: list[list[Statement]]) -> list[list[str]]:
    return [[statement.target for statement in group] for group in groups]


def test_the_place_of_an_element_row_by_row() -> None:
    assert linear((2, 3, 4), ["a", "b", "c"]) == "(a)*12+(b)*4+(c)"
    assert linear((2, 1, 4), ["a", "0", "0"]) == "(a)*4"
    assert linear((), []) == "0"


def test_pointwise_statements_of_one_shape_share_a_loop() -> None:
    statements = [pointwise("a", "x"), pointwise("b", "a"), pointwise("c", "x", shape=(4,)), pointwise("d", "b")]
    assert names(grouped(statements)) == [["a", "b", "d"], ["c"]]


def test_a_statement_that_reads_other_places_waits_for_the_whole_loop() -> None:
    assert names(grouped([pointwise("a", "x"), pointwise("b", "a", at="(i0)+1")])) == [["a"], ["b"]]


def test_a_sum_stands_between_what_it_reads_and_what_reads_it() -> None:
    statements = [pointwise("a", "x"), summed("s", "a"), pointwise("b", "s", at="0"), pointwise("c", "x")]
    assert names(grouped(statements)) == [["a", "c"], ["s"], ["b"]]


def test_a_result_takes_its_arguments_place_only_after_the_last_reading() -> None:
    early = grouped([pointwise("a", "x"), summed("s", "x")])
    assert homes_and_copies(early, {"a": ["x"]}, ["x"]) == ({}, [("a", "x")])
    late = grouped([summed("s", "x"), pointwise("a", "s", "x")])
    assert homes_and_copies(late, {"a": ["x"]}, ["x"]) == ({"a": "x"}, [])


def test_a_result_is_copied_where_its_loop_reads_the_argument_elsewhere() -> None:
    groups = grouped([pointwise("a", "x", at="2-(i0)")])
    assert homes_and_copies(groups, {"a": ["x"]}, ["x"]) == ({}, [("a", "x")])


def test_what_only_its_own_loop_reads_has_no_array() -> None:
    groups = grouped([pointwise("a", "x"), pointwise("b", "a"), pointwise("c", "b"), summed("s", "c")])
    assert passing_arrays(groups, {"b": ["x"]}) == {"a"}


def test_arguments_that_trade_places_are_put_aside_before_any_is_overwritten() -> None:
    lines = "\n".join(copied([("x", "y"), ("y", "x")], {"x": ("f32", 2), "y": ("f32", 2)}))
    assert lines.index("old_x[i]=@x@[i]") < lines.index("old_y[i]=@y@[i]") < lines.index("@y@[i]=old_x[i]")


def test_the_whole_body_of_a_pointwise_update() -> None:
    lines = "".join(scheduled([pointwise("a", "x"), pointwise("b", "a", "x")], {"x": ("f32", 3)}, {"b": ["x"]}))
    assert "f32v a[" not in lines and "f32v b[" not in lines  # a stays in a register, b is x's new value
    assert "const f32v v_a=x[(i0)];" in lines and "const f32v v_b=v_a+x[(i0)];" in lines and "x[(i0)]=v_b;" in lines


def test_a_large_array_is_kept_off_the_stack() -> None:
    assert array("f32v", "a", MOST_ON_STACK) == f"f32v a[{MOST_ON_STACK}];"
    assert "static thread_local f32v a[" in array("f32v", "a", MOST_ON_STACK + 1)
