import registry
import registry.jobs


def test_public_names_are_sorted_and_there() -> None:
    for package in (registry, registry.jobs):
        assert package.__all__ == sorted(set(package.__all__), key=lambda name: (not name.isupper(), name))
        assert all(hasattr(package, name) for name in package.__all__)
