"""docker-compose.yml runs the whole service, and each part of it can be told healthy or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from creditledger.api.jobs import Job
from creditledger.infra.embedded_postgres import ROOM
from creditledger.infra.heartbeat import beat

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]

LONG_RUNNING = sorted(SERVICES.keys() - {"migrate"})
WORKING = [name for name in SERVICES if SERVICES[name].get("command", [""])[0] == "work"]


def test_the_services() -> None:
    assert sorted(SERVICES) == ["api", "consumers", "kafka", "migrate", "postgres", "projector"]


@pytest.mark.parametrize("name", SERVICES)
def test_everything_is_limited(name: str) -> None:
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory"}


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_what_runs_on_has_a_health_check_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ["postgres", "kafka"])
def test_what_keeps_data_keeps_it_in_a_volume(name: str) -> None:
    ((volume, _),) = [mount.split(":") for mount in SERVICES[name]["volumes"]]
    assert volume in COMPOSE["volumes"]


def test_postgresql_has_as_much_room_as_the_embedded_one() -> None:
    room = [word for name, value in ROOM.items() for word in ("-c", f"{name}={value}")]
    assert SERVICES["postgres"]["command"] == ["postgres", *room]


def test_every_job_is_done_by_one_service() -> None:
    named = [word for name in WORKING for word in SERVICES[name]["command"][1:-2]]
    assert sorted(named) == sorted(job.value for job in Job)


@pytest.mark.parametrize("name", WORKING)
def test_the_health_check_reads_the_file_that_the_jobs_touch(name: str, tmp_path: Path) -> None:
    option, file = SERVICES[name]["command"][-2:]
    how, python, *check = SERVICES[name]["healthcheck"]["test"]
    assert (option, how, python, check[-1]) == ("--heartbeat", "CMD", "python", file)
    here = tmp_path / "heartbeat"
    command = [sys.executable, *check[:-1], str(here)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1
    beat(here)
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_the_image_has_all_that_the_package_is_built_from() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    let_through = (ROOT / ".dockerignore").read_text()
    for folder in ("domain", "projections", "api", "consumers", "infra"):
        assert f"COPY {folder} {folder}\n" in dockerfile
        assert f"!{folder}\n" in let_through
