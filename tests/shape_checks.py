"""Runtime checks, under test only, of the shapes that argument names state, such as x_BxHxWxC.

The import hook annotates such arguments with jaxtyping's types and checks the calls with beartype. Axes of the same
letter must have the same length in all arguments of a call; a digit is a length, as in boxes_Nx4.
"""

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

MODULES = ("resjax.models.", "resjax.data.augment", "resjax.detection.", "resjax.studies.", "resjax.train.")
SHAPE = re.compile(r"_([A-Z](?:x[A-Z\d])*)$")
checked: set[str] = set()  # qualified names of the checked functions


class _Annotate(ast.NodeTransformer):
  """Annotates arguments with the shape in their names, drops other annotations, and decorates their functions."""

  def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
    self.generic_visit(node)
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments += [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
    shapes = {argument.arg: match[1] for argument in arguments if (match := SHAPE.search(argument.arg))}
    if shapes:
      for argument in arguments:
        optional = ast.Constant(argument.annotation is not None and "None" in ast.unparse(argument.annotation))
        axes = ast.Constant(" ".join(shapes.get(argument.arg, "").split("x")))
        argument.annotation = ast.Call(ast.Name("_shaped_", ast.Load()), [axes, optional], []) if axes.value else None
      node.returns = None
      node.decorator_list.append(ast.Name("_checked_", ast.Load()))  # the last decorator is applied first
    return node


class _Loader(importlib.machinery.SourceFileLoader):
  """Loads a module with checks; does not read or write cached bytecode, which has none."""

  def get_code(self, fullname: str) -> Any:
    path = self.get_filename(fullname)
    tree = ast.fix_missing_locations(_Annotate().visit(ast.parse(self.get_data(path))))
    return compile(tree, path, "exec", dont_inherit=True)

  def exec_module(self, module: ModuleType) -> None:
    module.__dict__.update(_shaped_=_shaped, _checked_=_checked)
    super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
  """Finds the modules that are checked."""

  def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
    if not fullname.startswith(MODULES):
      return None
    spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
    if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
      spec.loader = _Loader(fullname, spec.loader.path)
    return spec


def _shaped(axes: str, optional: bool) -> Any:
  import jax
  import numpy as np
  from jaxtyping import Shaped

  arrays = Shaped[jax.Array, axes] | Shaped[np.ndarray, axes]
  return arrays | None if optional else arrays


def _checked(function: Any) -> Any:
  from beartype import beartype
  from jaxtyping import jaxtyped

  checked.add(f"{function.__module__}.{function.__qualname__}")
  return jaxtyped(function, typechecker=beartype)


def install() -> None:
  """Installs the import hook, if jaxtyping and beartype are installed; call it before the modules are imported."""
  if all(map(importlib.util.find_spec, ("jaxtyping", "beartype"))):
    assert not any(name.startswith(MODULES) for name in sys.modules), "import tests.shape_checks first"
    sys.meta_path.insert(0, _Finder())
