"""Where the registry lies and who uses it: argument, environment, the user's own config file, default."""

import getpass
import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from registry.errors import Unsupported

FILE_SCHEME = "file://"
LOCAL = "local"
AUTO = "auto"
LARGEST_DOWNLOAD = 32 << 30
"""Bytes of the largest file that is fetched from a URL unless TAU_URL_MAX_BYTES says otherwise."""


class Settings(BaseSettings):
    """TAU_HOME, TAU_DATABASE_URL, TAU_BLOB_URL, TAU_USER; the same keys in lower case in the user's config.toml.

    For what comes from outside: TAU_URL_HOSTS are hosts of a private network that files may be fetched from,
    TAU_URL_MAX_BYTES is the largest file, TAU_LOOKUP_URL the service that is asked about hashes (none: none is asked).
    TAU_EXECUTOR says where the processes of jobs run: local, or http://head:8265 for a cluster's Ray Jobs.
    TAU_DEVICE says where pictures are painted: auto, or cuda, cuda:1, mps, cpu.
    For the pages: TAU_IMPORT_ROOTS are the folders that may be imported from (none: no folder), separated as in PATH;
    TAU_BLUR_NSFW whether pictures of models that are marked so are blurred until they are asked for.
    """

    model_config = SettingsConfigDict(env_prefix="TAU_", extra="forbid", frozen=True)

    home: Path = Field(default_factory=lambda: platformdirs.user_data_path("tauworks", appauthor=False))
    database_url: str | None = None
    blob_url: str | None = None
    user: str = Field(default_factory=getpass.getuser)
    url_hosts: Annotated[frozenset[str], NoDecode] = frozenset()
    url_max_bytes: int = Field(default=LARGEST_DOWNLOAD, gt=0)
    lookup_url: str | None = None
    executor: str = LOCAL
    device: str = AUTO
    import_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    blur_nsfw: bool = True

    @field_validator("url_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, said: object) -> object:
        """Hosts separated by commas, as an environment variable has them; a config file may also have a list."""
        words = said.split(",") if isinstance(said, str) else said
        return [word.strip().lower() for word in words if word.strip()] if isinstance(words, list) else words

    @field_validator("import_roots", mode="before")
    @classmethod
    def _split_roots(cls, said: object) -> object:
        """Folders separated as in PATH, as an environment variable has them; a config file may also have a list."""
        return tuple(filter(None, said.split(os.pathsep))) if isinstance(said, str) else said

    @field_validator("import_roots")
    @classmethod
    def _require_whole_paths(cls, roots: tuple[Path, ...]) -> tuple[Path, ...]:
        """Folders that mean the same wherever a process stands."""
        roots = tuple(root.expanduser() for root in roots)
        for root in roots:
            if not root.is_absolute():
                raise ValueError(f"{str(root)!r}: expected the whole path of a folder, such as /srv/loras")
        return roots

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())

    @property
    def resolved_database_url(self) -> str:
        """The database's address; SQLite in `home` where none was given."""
        return self.database_url or f"sqlite:///{self.home / 'registry.db'}"

    @property
    def ray_address(self) -> str | None:
        """The address of the cluster whose Ray Jobs run the processes of jobs; None for this machine."""
        if self.executor == LOCAL:
            return None
        address = urlsplit(self.executor)
        if address.scheme not in ("http", "https") or not address.hostname or address.path not in ("", "/"):
            raise Unsupported(
                f"TAU_EXECUTOR {self.executor!r}: expected {LOCAL}, or the address of a Ray cluster's dashboard, "
                "such as http://head:8265."
            )
        return self.executor.rstrip("/")

    @property
    def blob_folder(self) -> Path:
        """The folder of blobs; a folder in `home` where none was given."""
        if self.blob_url is None:
            return self.home / "blobs"
        if not self.blob_url.startswith(FILE_SCHEME):
            raise Unsupported(
                f"TAU_BLOB_URL {self.blob_url!r}: expected file:///folder or s3://bucket/prefix. "
                "Unset it to use TAU_HOME."
            )
        return Path(self.blob_url.removeprefix(FILE_SCHEME))


def config_file() -> Path:
    """The user's own config file; a file in the working directory is never read."""
    return platformdirs.user_config_path("tauworks", appauthor=False) / "config.toml"
