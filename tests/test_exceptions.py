import inspect
import re

import pytest

from lightning_interp import exceptions

CLASSES = {name: obj for name, obj in vars(exceptions).items() if inspect.isclass(obj)}


def test_the_docstring_draws_the_tree_as_it_is():
    parents, path = {}, {}
    for line in exceptions.__doc__.splitlines():
        found = re.match(r"    ([ |]*)(?:\+-- )?([A-Z]\w+)", line)
        if found:
            depth = len(found.group(1)) // 4 + ("+--" in line)
            path[depth] = found.group(2)
            parents[found.group(2)] = path.get(depth - 1)
    assert CLASSES.keys() <= parents.keys()
    for name, cls in CLASSES.items():
        assert cls.__bases__[0].__name__ == parents[name]


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_says_when_it_is_raised(name):
    assert CLASSES[name].__doc__.endswith(".") or "\n" in CLASSES[name].__doc__
