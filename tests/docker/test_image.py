"""The files in docker/: what an engine would refuse, and what nobody should ship."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {"migrate", "web", "worker", "watch", "beat"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continuation lines joined, comments gone."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line.strip()]


def final_stage() -> list[tuple[str, str]]:
    every = instructions()
    last = max(i for i, (word, _) in enumerate(every) if word == "FROM")
    return every[last:]


def test_the_compose_file_keeps_to_the_schema() -> None:
    schema = json.loads((Path(__file__).parent / "compose.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    errors = jsonschema.Draft202012Validator(schema).iter_errors(COMPOSE)
    assert [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [(("image",), "postgres:latest"), (("image",), "postgres"), (("privileged",), True), (("read_only",), False)],
)
def test_the_schema_refuses_what_must_not_ship(path: tuple[str, ...], value: object) -> None:
    schema = json.loads((Path(__file__).parent / "compose.schema.json").read_text())
    changed = json.loads(json.dumps(COMPOSE))
    changed["services"]["postgres"][path[0]] = value
    assert not jsonschema.Draft202012Validator(schema).is_valid(changed)


def test_the_compose_file_has_every_part() -> None:
    assert set(SERVICES) == OURS | {"postgres", "valkey", "proxy"}
    assert SERVICES["web"]["deploy"]["replicas"] == 2
    assert {SERVICES[name]["command"][0] for name in OURS} == OURS


def test_what_services_use_is_declared_and_what_is_declared_is_used() -> None:
    for kind in ("networks", "secrets"):
        assert {name for service in SERVICES.values() for name in service.get(kind, [])} == set(COMPOSE[kind])
    mounted = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert {name for name in mounted if not name.startswith(".")} == set(COMPOSE["volumes"])
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_files_that_the_compose_file_mounts_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DOCKER / source).is_file(), volume
    assert (DOCKER / SERVICES["web"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / SERVICES["web"]["build"]["dockerfile"]).is_file()


def test_only_the_proxy_is_reachable_from_outside() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"proxy"}
    assert COMPOSE["networks"]["data"]["internal"] is True
    for name in ("postgres", "valkey"):
        assert SERVICES[name]["networks"] == ["data"]


def test_no_secret_stands_in_the_compose_file() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", variable):
                assert value.startswith("/run/secrets/"), (name, variable)
                assert value.removeprefix("/run/secrets/") in service["secrets"], (name, variable)
            assert not re.search(r"://[^@/]*:[^@/]+@", value), (name, variable)


def test_every_server_has_a_health_check_that_others_wait_for() -> None:
    waited = {
        other
        for service in SERVICES.values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }
    assert waited == {"postgres", "valkey", "web"}
    for name in waited | {"worker", "proxy"}:
        assert "test" in SERVICES[name]["healthcheck"], name


def test_the_application_migrates_first() -> None:
    for name in OURS - {"migrate"}:
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_every_variable_of_the_compose_file_stands_in_the_example() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    example = set(re.findall(r"^#?(AGENTOPS_[A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert set(re.findall(r"AGENTOPS_[A-Z_]+", text)) <= example


def test_base_images_are_pinned_by_tag() -> None:
    stages: set[str] = set()
    for _, rest in (pair for pair in instructions() if pair[0] == "FROM"):
        image, *alias = rest.split(" AS ")
        assert image in stages or re.fullmatch(r"[a-z0-9./-]+:(?!latest$)[\w.-]+", image), rest
        stages.update(alias)


def test_the_image_runs_as_an_ordinary_user_and_passes_signals() -> None:
    final = dict(final_stage())
    user, group = final["USER"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    for word in ("ENTRYPOINT", "CMD"):
        assert isinstance(json.loads(final[word]), list), "the shell form swallows signals"
    assert json.loads(final["CMD"])[0] in OURS
    words = [word for word, _ in final_stage()]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word in {"COPY", "RUN"}), "code is root's"


def test_the_dockerfile_copies_and_never_adds() -> None:
    words = {word for word, _ in instructions()}
    assert words <= {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}


def test_dependencies_are_locked_and_nothing_is_compiled() -> None:
    runs = " ".join(rest for word, rest in instructions() if word == "RUN")
    assert "--require-hashes" in runs
    assert "--only-binary :all:" in runs
    assert "apt" not in runs
    assert "curl" not in runs


def test_only_what_is_copied_enters_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert lines[0] == "*"
    assert allowed == copied
    assert all((ROOT / name).exists() for name in copied)


def test_the_entrypoint_can_be_executed() -> None:
    assert os.access(DOCKER / "entrypoint", os.X_OK)


def test_the_proxy_buffers_nothing_and_keeps_the_inside_inside() -> None:
    caddyfile = (DOCKER / "Caddyfile").read_text()
    assert "reverse_proxy" in caddyfile
    assert not re.search(r"request_buffers|response_buffers|request_body|encode", caddyfile)
    assert re.search(r"@inside path .*/metrics", caddyfile)
    assert SERVICES["proxy"]["environment"].keys() == set(re.findall(r"\{\$(\w+)\}", caddyfile))
