from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from registry import Registry

OpenPage = Callable[..., AppTest]


def test_smoke(filled: Registry, open_page: OpenPage) -> None:
    app = open_page()
    print(app)
