"""Runs the commands by name: `resjax COMMAND ...`, or `python -m resjax COMMAND ...`."""

import ast
import runpy
import sys
from importlib import resources

import resjax

# Command to module; `python -m resjax.MODULE` does the same.
COMMANDS = {
  "train": "main",
  "report": "report",
  "summary": "summary",
  "evaluate": "evaluate",
  "convert": "convert",
  "study": "study",
  "plan": "plan",
}
_WRONG = 2  # exit code


def main() -> None:
  """Runs the command named first on the command line, or lists the commands."""
  name, *rest = sys.argv[1:] or ["--help"]
  if name in ("--help", "-h", "help"):
    print(_overview())
  elif name == "--version":
    print(f"resjax {resjax.__version__}")
  elif name in COMMANDS:
    sys.argv = [f"resjax {name}", *rest]
    # Under the module's own name: worker processes import it as `__main__` again.
    runpy.run_module(f"resjax.{COMMANDS[name]}", run_name="__main__", alter_sys=True)
  else:
    print(f"resjax: {name!r} is not a command: use one of {', '.join(COMMANDS)}", file=sys.stderr)
    sys.exit(_WRONG)


def _overview() -> str:
  """Lists the commands with the first sentence of their modules, without importing them."""
  lines = [f"resjax {resjax.__version__}: {(resjax.__doc__ or '').removeprefix('resjax: ')}", ""]
  for name, module in COMMANDS.items():
    source = resources.files(resjax).joinpath(f"{module}.py").read_text("utf-8")
    summary = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    lines.append(f"  resjax {name:<9} {summary}")
  return "\n".join([*lines, "", "`resjax COMMAND --help` describes its options."])


if __name__ == "__main__":
  main()
