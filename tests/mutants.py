"""Mutants of a Python source: small changes of its syntax tree, one at a time (see tests/mutation.py).

A term or factor left out, + and − or × and ÷ swapped, a sign turned, a constant halved or doubled, a comparison turned
round, a method left out or swapped for its relative (sum and mean, add_ and sub_, …), a keyword left out, a true made
false. Not changed: checks that raise, messages, annotations, devices.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

#: Methods and functions that a slip of the pen confuses.
RELATIVES = [("sum", "mean"), ("min", "max"), ("amin", "amax"), ("minimum", "maximum"), ("clamp_min", "clamp_max"),
             ("add_", "sub_"), ("mul_", "div_"), ("add", "sub"), ("mul", "div"), ("sin", "cos"), ("argmin", "argmax"),
             ("log", "exp"), ("zeros_like", "ones_like"), ("prod", "sum"), ("arccos", "arcsin")]  # fmt: skip
SWAPPED = {a: b for pair in RELATIVES for a, b in (pair, pair[::-1])} | {"sum": "mean"}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}  # fmt: skip
TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
#: Receivers whose methods are functions, not steps of a calculation that could be left out.
MODULES = {"torch", "math", "dist", "functools", "Tensor", "ctx", "self", "linalg", "autograd", "special", "nn", "F"}
#: Nothing is computed in them.
SKIPPED_NODES = (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Assert)
#: Of keywords: `strict` is a check, and there is one device here.
SKIPPED_KEYWORDS = {"strict", "device"}
SKIPPED_FIELDS = {"annotation", "returns", "decorator_list", "bases", "type_params"}
#: Shown beside a change are no more than its statement and so many characters.
BLOCKS = (ast.Module, ast.FunctionDef, ast.ClassDef, ast.If, ast.For, ast.While, ast.With)
SHORT = 24


@dataclass(frozen=True)
class Mutant:
    """One change; `number` tells equal changes of a function apart."""

    file: Path
    function: str
    line: int
    before: str
    after: str
    number: int = 1

    def __str__(self) -> str:
        """A name that stays when lines move."""
        again = f" #{self.number}" if self.number > 1 else ""
        return f"{self.file} {self.function or 'module'}: {self.before} → {self.after}{again}"


def compiled(file: Path, source: str | ast.Module) -> CodeType:
    """Code of a source as the import system would make it."""
    tree = ast.parse(source) if isinstance(source, str) else ast.fix_missing_locations(source)
    return compile(tree, str(file.resolve()), "exec", dont_inherit=True)


def mutants(file: Path, text: str) -> Iterator[tuple[Mutant, Callable[[], CodeType]]]:
    """Every mutant of a source with a function that compiles it, valid until the next one is asked for."""
    tree = ast.parse(text, str(file))
    seen: Counter[Mutant] = Counter()

    for places, function in _places(tree, [], ""):
        parent, field, index = places[-1]
        node = _get(parent, field, index)
        for change in changes(node):
            shown = _shown(places)
            before = ast.unparse(shown)
            _put(parent, field, index, ast.copy_location(change, node) if isinstance(change, ast.AST) else change)
            after = ast.unparse(shown if shown is not node else _get(parent, field, index))
            mutant = Mutant(file, function, node.lineno, _line(before), _line(after))
            seen[replace(mutant, line=0)] += 1
            yield replace(mutant, number=seen[replace(mutant, line=0)]), lambda: compiled(file, tree)
            _put(parent, field, index, node)


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Mult() | ast.BitAnd() | ast.BitOr() as op, right=right):
            yield from (left, right, ast.BinOp(left, OPERATORS[type(op)](), right))
        case ast.BinOp(left=left, op=ast.Sub() as op, right=right):
            yield from (left, ast.UnaryOp(ast.USub(), right), ast.BinOp(left, ast.Add(), right))
        case ast.BinOp(left=left, op=ast.Div() as op, right=right):
            yield from (left, ast.BinOp(left, ast.Mult(), right))
        case ast.BinOp(left=left, op=ast.Pow()):
            yield left
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)) if not isinstance(value, bool):
            yield from (_number(-(value // 2)), _number(-2 * value))  # an index or an exponent
        case ast.UnaryOp(op=ast.USub() | ast.Invert() | ast.Not(), operand=operand):
            yield operand
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            near = {0: [1], 1: [0, 2]}.get(value) if isinstance(value, int) else [1.0] if value == 0 else None
            yield from map(_number, near or [value // 2 if isinstance(value, int) else value / 2, value * 2])
        case ast.Compare(left=left, ops=[op], comparators=comparators) if type(op) in TURNED:
            yield ast.Compare(left, [TURNED[type(op)]()], comparators)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.And() if isinstance(op, ast.Or) else ast.Or(), values)
        case ast.AugAssign(target=target, op=op, value=value):
            yield ast.Pass()
            if type(op) in OPERATORS:
                yield ast.AugAssign(target, OPERATORS[type(op)](), value)
        case ast.Call():
            yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    function = node.func
    for number, keyword in enumerate(node.keywords):
        if keyword.arg in SKIPPED_KEYWORDS:
            continue
        yield ast.Call(function, node.args, node.keywords[:number] + node.keywords[number + 1 :])
    if isinstance(function, ast.Attribute):
        if function.attr in SWAPPED:
            name = ast.Attribute(function.value, SWAPPED[function.attr], ast.Load())
            yield ast.Call(name, node.args, node.keywords)
        last = function.value
        name_of = last.id if isinstance(last, ast.Name) else last.attr if isinstance(last, ast.Attribute) else ""
        if name_of not in MODULES and function.attr != "to":
            yield last
    elif isinstance(function, ast.Name) and function.id in SWAPPED:
        yield ast.Call(ast.Name(SWAPPED[function.id], ast.Load()), node.args, node.keywords)


def _number(value: float) -> ast.AST:
    constant = ast.Constant(abs(value))
    return ast.UnaryOp(ast.USub(), constant) if value < 0 else constant


Place = tuple[ast.AST, str, int | None]


def _places(node: ast.AST, above: list[Place], function: str) -> Iterator[tuple[list[Place], str]]:
    """The way to every node that computes something, with the qualified name of its function or class."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}" if function else node.name
    inside = f"{function}.<locals>" if isinstance(node, ast.FunctionDef) else function
    for field, value in ast.iter_fields(node):
        if field in SKIPPED_FIELDS:
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            check = isinstance(node, ast.If) and field == "test" and isinstance(node.body[0], ast.Raise)
            check |= isinstance(child, ast.keyword) and child.arg in SKIPPED_KEYWORDS
            if isinstance(child, ast.AST) and not isinstance(child, SKIPPED_NODES) and not check:
                way = [*above, (node, field, index)]
                yield way, function
                nested = isinstance(child, ast.FunctionDef | ast.ClassDef)
                yield from _places(child, way, inside if nested else function)


def _shown(places: list[Place]) -> ast.AST:
    """The smallest expression around a change that says enough to be recognised."""
    node = _get(*places[-1])
    for parent, _, _ in reversed(places):
        if len(ast.unparse(node)) >= SHORT or isinstance(parent, BLOCKS):
            break
        node = parent
    return node


def _line(text: str) -> str:
    return " ".join(text.split())


def _get(parent: ast.AST, field: str, index: int | None) -> ast.AST:
    value = getattr(parent, field)
    return value if index is None else value[index]


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def install(file: Path, code: CodeType) -> None:
    """Put a changed source in the place of its imported module: in its functions and classes, whoever holds them."""
    module = sys.modules[".".join(file.with_suffix("").parts).removesuffix(".__init__")]
    changed = {key: value for key, value in vars(module).items() if key.startswith("__")}
    exec(code, changed)
    seen: set[int] = set()
    for name, new in changed.items():
        old = vars(module).get(name)
        if (name.startswith("__") and name != "__getattr__") or old is new:
            continue
        if isinstance(new, int | float) and new != old:
            holders = [m for n, m in sys.modules.items() if n.startswith((file.parts[0], "tests")) and m is not None]
            for holder in (each for each in holders if vars(each).get(name) is old):
                setattr(holder, name, new)
        elif isinstance(new, dict) and isinstance(old, dict) and all(isinstance(v, int | float) for v in new.values()):
            old.update(new)
        else:
            _replace(old, new, str(module.__name__), seen)


def install_inner(file: Path, code: CodeType, function: str) -> None:
    """The same for a function that others made when they were imported (what a decorator returns), wherever it is."""
    new = {one.co_qualname: one for one in _codes(code)}[function]
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and (one.__code__.co_filename, one.__code__.co_qualname) == (
            str(file.resolve()),
            function,
        ):
            one.__code__ = new


def _codes(code: CodeType) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _codes(one)


def _replace(old: Any, new: Any, module: str, seen: set[int]) -> None:
    """Make an old function or class of the module do what the new one does."""
    if id(old) in seen or type(old) is not type(new):
        return
    seen.add(id(old))
    if isinstance(old, staticmethod):
        _replace(old.__func__, new.__func__, module, seen)
    elif isinstance(old, FunctionType):
        inner = zip(old.__closure__ or (), new.__closure__ or (), strict=True)
        for before, after in inner:
            _replace(before.cell_contents, after.cell_contents, module, seen)
        if old.__module__ == module:
            old.__code__ = new.__code__
        old.__defaults__, old.__kwdefaults__ = new.__defaults__, new.__kwdefaults__
    elif isinstance(old, type) and old.__module__ == module:
        for name, value in vars(new).items():
            if isinstance(value, int | float) and not name.startswith("_"):
                setattr(old, name, value)
            elif name in vars(old):
                _replace(vars(old)[name], value, module, seen)
