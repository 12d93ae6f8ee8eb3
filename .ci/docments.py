"""Griffe extension: comments behind parameters, results and fields become part of the docstring.

The package documents a parameter by a comment on its line, as nbdev does. Griffe reads docstrings only.
"""

import ast
import io
import tokenize

from griffe import Attribute, Class, Docstring, Extension, Function


def comments_of(code: str) -> dict[int, str]:
    "Comments of a module that stand behind code, by line."
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
            text = token.string.lstrip("#").strip()
            if not text.startswith(("noqa", "type:", "pyrefly:")):
                found[token.start[0]] = text.partition("  # noqa")[0]
    return found


def described_parameters(node: ast.FunctionDef, comments: dict[int, str]) -> dict[str, str]:
    "Comments by parameter; of several parameters on a line the last one has it."
    arguments = [*node.args.posonlyargs, *node.args.args, node.args.vararg, *node.args.kwonlyargs, node.args.kwarg]
    by_line = {argument.lineno: argument.arg for argument in arguments if argument is not None}
    if node.returns is not None:
        by_line.pop(node.returns.end_lineno, None)
    return {name: comments[line] for line, name in by_line.items() if line in comments}


def section(title: str, entries: dict[str, str]) -> str:
    lines = [f"    {name}: {text}" if name else f"    {text}" for name, text in entries.items()]
    return "\n".join(["", "", f"{title}:", *lines]) if entries else ""


def paired(line: ast.Assign) -> list[tuple[str, ast.expr]]:
    "Names and values of an assignment of several names."
    target, value = line.targets[0], line.value
    if not isinstance(target, ast.Tuple) or not isinstance(value, ast.Tuple):
        return []
    return [(name.id, part) for name, part in zip(target.elts, value.elts, strict=True) if isinstance(name, ast.Name)]


class Docments(Extension):
    def __init__(self):
        super().__init__()
        self.files = {}

    def comments(self, agent) -> dict[int, str]:
        if agent.filepath not in self.files:
            self.files[agent.filepath] = comments_of(agent.code)
        return self.files[agent.filepath]

    def on_function_instance(self, *, node, func: Function, agent, **kwargs):
        comments = self.comments(agent)
        result = comments.get(node.returns.end_lineno) if node.returns is not None else None
        added = section("Args", described_parameters(node, comments)) + section(
            "Returns", {"": result} if result else {}
        )
        self.add(func, added)

    def on_class_members(self, *, node, cls: Class, agent, **kwargs):
        comments = self.comments(agent)
        fields = [field for field in node.body if isinstance(field, ast.AnnAssign) and field.end_lineno in comments]
        self.add(
            cls, section("Attributes", {ast.unparse(field.target): comments[field.end_lineno] for field in fields})
        )

    def on_module_members(self, *, node, mod, agent, **kwargs):
        "Griffe leaves out `A, B = 1, 2`."
        for line in node.body:
            pairs = paired(line) if isinstance(line, ast.Assign) else []
            for name, value in pairs:
                attribute = Attribute(name, value=ast.unparse(value), lineno=line.lineno, endlineno=line.end_lineno)
                mod.set_member(name, attribute)
                self.on_attribute_instance(node=line, attr=attribute, agent=agent)

    def on_attribute_instance(self, *, node, attr: Attribute, agent, **kwargs):
        comment = self.comments(agent).get(getattr(node, "end_lineno", None))
        if comment and attr.docstring is None:
            attr.docstring = Docstring(comment, parent=attr)

    def add(self, documented, text: str) -> None:
        if text and documented.docstring is None:
            documented.docstring = Docstring(text.strip(), parent=documented)
        elif text:
            documented.docstring.value += text
