"""Wrong answers by the hundred: each exercise's solution with one small thing changed.

`python -m tests.exercises.mutants` prints how many of them each examiner refuses, and the others.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from segformer_edu.exercises import all_exercises
from segformer_edu.exercises.exercise import Exercise, judge

OPERATORS: Mapping[type[ast.operator], list[type[ast.operator]]] = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div, ast.Add],
    ast.Div: [ast.Mult, ast.FloorDiv],
    ast.FloorDiv: [ast.Div, ast.Mult],
    ast.Mod: [ast.FloorDiv],
    ast.Pow: [ast.Mult],
    ast.MatMult: [ast.Mult],
}
IN_THIS_ORDER_ONLY = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)
COMPARISONS: Mapping[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
PAIRS = "min max, ceil floor, any all, zeros ones, sum mean, argmax argmin, sqrt rsqrt, prod sum"
NAMES = {
    name: other
    for first, second in map(str.split, PAIRS.split(","))
    for name, other in ((first, second), (second, first))
}
SYMMETRIC = ("min", "max", "transpose")  # do not care which argument comes first
TEXTS = {"bilinear": "nearest"}
TURNS = 20_000  # of a loop, after which a mutant is taken to go on for ever


def mutants(solution: Any) -> dict[str, Any]:
    """What was changed → the solution with this change, a function or a class."""
    module = sys.modules[solution.__module__]
    tree = ast.parse(textwrap.dedent(inspect.getsource(solution)))
    found: dict[str, Any] = {}
    seen = {ast.unparse(tree)}
    for path in _paths(tree):
        for changed in _changes(_at(tree, path), _bound_before(tree, path)):
            mutant = copy.deepcopy(tree)
            _put(mutant, path, copy.deepcopy(changed))
            ast.fix_missing_locations(mutant)
            if (source := ast.unparse(mutant)) not in seen:
                seen.add(source)
                text = _statement(mutant, path)
                while text in found:  # two lines alike: the second of them
                    text += " (again)"
                found[text] = _compiled(mutant, module, solution.__name__)
    return found


def _compiled(tree: ast.Module, module: Any, name: str) -> Any:
    turns = iter(range(TURNS))

    def turn() -> None:
        if next(turns, None) is None:
            raise RuntimeError("the loop does not end")

    for node in ast.walk(tree):
        if isinstance(node, ast.While):
            node.body.insert(0, ast.Expr(ast.Call(ast.Name("__turn", ast.Load()), [], [])))
    namespace = {**vars(module), "__turn": turn}
    exec(compile(ast.fix_missing_locations(tree), "<mutant>", "exec"), namespace)
    return namespace[name]


Path = tuple[tuple[str, int | None], ...]  # field, and place in it where it is a list


def _paths(node: ast.AST, here: Path = ()) -> Iterator[Path]:
    """The way to every node that may change: not to annotations and docstrings."""
    if here:
        yield here
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "ctx", "decorator_list"):
            continue
        parts = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, part in parts:
            documents = isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
            if isinstance(part, ast.AST) and not documents:
                yield from _paths(part, (*here, (field, index)))


def _at(tree: ast.AST, path: Path) -> Any:
    for field, index in path:
        tree = getattr(tree, field)
        tree = tree if index is None else tree[index]  # type: ignore[index]
    return tree


def _put(tree: ast.AST, path: Path, node: ast.AST) -> None:
    *way, (field, index) = path
    parent = _at(tree, tuple(way))
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _statement(tree: ast.AST, path: Path) -> str:
    """The first line of the innermost statement on a path."""
    on_the_way = [_at(tree, path[:length]) for length in range(1, len(path) + 1)]
    return ast.unparse([node for node in on_the_way if isinstance(node, ast.stmt)][-1]).split("\n")[
        0
    ]


def _bound_before(tree: ast.AST, path: Path) -> set[str]:
    """Names that have a value before the statement at a path: without it, others stay undefined."""
    bound: set[str] = set()
    line = getattr(_at(tree, path), "lineno", 0)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.lineno < line:
            bound.add(node.id)
    return bound


def _changes(node: Any, bound: set[str]) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    match node:
        case ast.BinOp(left, operator, right):
            for other in OPERATORS.get(type(operator), []):
                yield ast.BinOp(left, other(), right)
            if isinstance(operator, IN_THIS_ORDER_ONLY):
                yield ast.BinOp(right, operator, left)
            yield left
            yield right
        case ast.UnaryOp(_, operand):
            yield operand
        case ast.Compare(left, [operator], right):
            for comparison in COMPARISONS.get(type(operator), []):
                yield ast.Compare(left, [comparison()], right)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
            yield from values
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield from map(ast.Constant, (value + 1, value - 1, 2 * value, 0))
        case ast.Constant(str(value)) if value in TEXTS:
            yield ast.Constant(TEXTS[value])
        case ast.IfExp(_, body, orelse):
            yield body
            yield orelse
        case ast.If(_, body, orelse):
            yield ast.If(ast.Constant(True), body, orelse)
            yield ast.If(ast.Constant(False), body, orelse)
        case ast.Call(function, arguments, keywords):
            yield from _changed_calls(function, arguments, keywords)
        case ast.Name(name, ast.Load()) if name in NAMES:
            yield ast.Name(NAMES[name], ast.Load())
        case ast.Attribute(value, name, context) if name in NAMES:
            yield ast.Attribute(value, NAMES[name], context)
        case ast.Tuple(parts, context) | ast.List(parts, context):
            for swapped in _neighbours_swapped(parts):
                yield type(node)(swapped, context)
        case ast.Subscript(value, _, ast.Load()):
            yield value
        case ast.Slice(lower, upper, step):
            yield ast.Slice(None, upper, step)
            yield ast.Slice(lower, None, step)
        case ast.comprehension(target, iterator, [_, *_], is_async):
            yield ast.comprehension(target, iterator, [], is_async)
        case ast.AugAssign(target, operator, value):
            for other in OPERATORS.get(type(operator), []):
                yield ast.AugAssign(target, other(), value)
            yield ast.Assign([target], value)
            yield ast.Pass()
        case ast.Assign(targets):
            stored = (name.id for name in ast.walk(targets[0]) if isinstance(name, ast.Name))
            if bound.issuperset(stored):
                yield ast.Pass()
        case ast.Expr():
            yield ast.Pass()


def _changed_calls(
    function: ast.expr, arguments: list[ast.expr], keywords: list[ast.keyword]
) -> Iterator[ast.AST]:
    for swapped in [] if _name(function) in SYMMETRIC else _neighbours_swapped(arguments):
        yield ast.Call(function, swapped, keywords)
    for index in range(len(keywords)):
        yield ast.Call(function, arguments, keywords[:index] + keywords[index + 1 :])
    modules = ("torch", "math", "F", "np", "nn")
    if isinstance(function, ast.Attribute) and ast.unparse(function.value) not in modules:
        yield function.value  # x.f(…) → x
    elif arguments and not isinstance(arguments[0], ast.Starred):
        yield arguments[0]  # f(x, …) → x


def _name(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]


def _neighbours_swapped(parts: list[ast.expr]) -> Iterator[list[ast.expr]]:
    for index in range(len(parts) - 1):
        yield [*parts[:index], parts[index + 1], parts[index], *parts[index + 2 :]]


@dataclass(frozen=True)
class Count:
    """How an examiner deals with the mutants of its solution."""

    total: int
    survivors: tuple[str, ...]  # those that it does not refuse
    reasons: Mapping[str, str]  # those for which a reason is given why it need not

    @property
    def share_refused(self) -> float:
        """Of the mutants that compute something else than the solution."""
        same = sum(reason.startswith("same: ") for reason in self.reasons.values())
        return (self.total - len(self.survivors)) / max(self.total - same, 1)


def count(exercise: Exercise) -> Count:
    lesson = importlib.import_module(f"tests.exercises.lesson{exercise.id[:2]}")
    changed = mutants(exercise.solution)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        statuses = {text: judge(exercise, mutant).status for text, mutant in changed.items()}
    survivors = tuple(text for text, status in statuses.items() if status != "Incorrect")
    return Count(len(changed), survivors, getattr(lesson, "SURVIVORS", {}).get(exercise.id, {}))


def with_code() -> list[Exercise]:
    return [exercise for exercise in all_exercises().values() if callable(exercise.solution)]


def main(exercises: list[Exercise], examine: Callable[[Exercise], Count] = count) -> None:
    print("exercise  mutants  refused  of those that change something")
    for exercise in exercises:
        counted = examine(exercise)
        refused = counted.total - len(counted.survivors)
        print(f"{exercise.id:8} {counted.total:8} {refused:8} {counted.share_refused:8.0%}")
        for text in counted.survivors:
            print(f"{'':10}{text}\n{'':14}{counted.reasons.get(text, 'no reason given')}")


if __name__ == "__main__":
    main(with_code())
