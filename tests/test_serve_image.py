"""The image and the file for Docker Compose, as far as they can be read without Docker."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from typer.main import get_command

from innerloop.cli.app import app

HOME = Path(__file__).resolve().parents[1]


def test_the_image_copies_what_is_there_and_installs_extras_that_there_are() -> None:
    text = (HOME / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    allowed = (HOME / ".dockerignore").read_text().split()
    assert copied
    assert all((HOME / name).exists() and f"!{name}" in allowed for name in copied)
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"'\.\[(.*)\]'", text)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    assert project["readme"] in copied
    (start,) = re.findall(r"^ENTRYPOINT \[(.*)\]", text, re.MULTILINE)
    assert start == '"innerloop", "serve"'
    # It does not run as root.
    assert text.index("USER innerloop") < text.index("ENTRYPOINT")


def test_two_replicas_share_a_database_behind_a_proxy() -> None:
    made = yaml.safe_load((HOME / "compose.yaml").read_text())
    services = made["services"]
    replicas = [name for name, one in services.items() if one.get("build") == "."]
    proxied = re.search(r"reverse_proxy (.*) \{", made["configs"]["caddy"]["content"])
    assert proxied is not None
    assert proxied[1].split() == [f"{name}:8080" for name in replicas]
    assert len(replicas) == 2
    options = {name for one in get_command(app).commands["serve"].params for name in (one.envvar or (),) if name}  # type: ignore[attr-defined]
    for name in replicas:
        assert set(services[name]["environment"]) <= options
        assert services[name]["depends_on"] == {"db": {"condition": "service_healthy"}}
    # Only the proxy is reached from outside, and only from this machine.
    assert {name: one["ports"] for name, one in services.items() if "ports" in one} == {
        "proxy": ["127.0.0.1:8080:8080"]
    }
    (volume,) = services["db"]["volumes"]
    assert volume.partition(":")[0] in made["volumes"]
