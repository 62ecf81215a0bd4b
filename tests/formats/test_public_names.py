import formats


def test_every_public_name_exists_once_and_in_order() -> None:
    def order(name: str) -> tuple[bool, bool, str]:
        return (not name.isupper(), not name[0].isupper(), name)

    assert formats.__all__ == sorted(set(formats.__all__), key=order)
    assert all(hasattr(formats, name) for name in formats.__all__)


def test_every_error_is_a_format_error() -> None:
    errors = [getattr(formats, name) for name in formats.__all__ if isinstance(getattr(formats, name), type)]
    assert all(issubclass(error, formats.FormatError) for error in errors if issubclass(error, Exception))
