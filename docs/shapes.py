"""Show annotations as they are written: griffe reads the shape "c *s" as a product of two names."""

import ast
from typing import Any

from griffe import Attribute, Extension, Function


def written(annotation: ast.AST | None) -> str | None:
    """The source of an annotation that holds a shape, or None where there is none."""
    shapes = annotation and [n for n in ast.walk(annotation) if isinstance(n, ast.Constant)]
    if not annotation or not any(isinstance(shape.value, str) for shape in shapes or []):
        return None
    return ast.unparse(annotation).replace("'", '"')


class Shapes(Extension):
    """Griffe calls these when it has read a function or an attribute."""

    def on_function_instance(self, *, node: Any, func: Function, **_: Any) -> None:
        """Arguments and the result."""
        if not isinstance(node, ast.FunctionDef):
            return
        for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            if text := written(arg.annotation):
                func.parameters[arg.arg].annotation = text
        if text := written(node.returns):
            func.returns = text

    def on_attribute_instance(self, *, node: Any, attr: Attribute, **_: Any) -> None:
        """Fields of records."""
        if isinstance(node, ast.AnnAssign) and (text := written(node.annotation)):
            attr.annotation = text
